//! Tracing a run of a hook, and running a hook from a trace.

use std::cell::OnceCell;
use std::sync::Arc;

use patchbay_core::door::{self, Armed, ChainPlaces, HookContext, RouteId, Routing};
use patchbay_core::time::{Instant, Now, UnixTime};
use patchbay_message::{Draft, SavedEdits};
use patchbay_policy::{Event, Fault, Hook, Host, Verdict, Version};

use super::carried::target_trace;
use super::services::Services;
use super::tape::{Heard, Played, Recorded, Tape};
use super::{HookHost, PolicyName, Rare, policy_hook};
use crate::trace::{
    Captured, Effects, EventTrace, FlowTrace, HookTrace, Input, MessageTrace, Outcome, Text, World,
};

/// Begins the trace of a hook on a message.
#[cold]
pub(super) fn begin_on_message(context: &HookContext, services: &Services) -> Box<Rare> {
    begin(input_of(context), services)
}

/// Begins the trace of a hook on a message that policies before in the chain have had.
#[cold]
pub(super) fn begin_in_chain(host: &HookHost, services: &Services) -> Option<Box<Rare>> {
    let input = Input {
        before: host.carried(),
        ..input_of(host.context.as_deref()?)
    };
    Some(begin(input, services))
}

/// Begins the trace of `event-route`.
#[cold]
pub(super) fn begin_on_event(event: &Event, services: &Services) -> Box<Rare> {
    let input = Input {
        event: Some(EventTrace::from(event)),
        ..Input::without_message(Hook::EventRoute)
    };
    begin(input, services)
}

fn begin(input: Input, services: &Services) -> Box<Rare> {
    let recorded = Recorded::new(input, services.clock.unix_ms());
    Box::new(Rare {
        tape: Some(Tape::Records(Box::new(recorded))),
        ..Rare::default()
    })
}

impl HookHost {
    /// Whether the run is traced.
    #[inline]
    pub(crate) fn is_traced(&self) -> bool {
        self.rare
            .as_ref()
            .is_some_and(|rare| matches!(rare.tape, Some(Tape::Records(_))))
    }

    /// The trace of a run that is over.
    #[cold]
    pub(crate) fn end_trace(
        &mut self,
        result: &Result<Verdict, Fault>,
        elapsed_us: u64,
    ) -> Option<Captured> {
        let rare = self.rare.as_deref_mut()?;
        let Some(Tape::Records(recorded)) = rare.tape.take() else {
            return None;
        };
        let (input, at_unix_ms, answers) = recorded.into_parts();
        let effects = self.effects(&input, result);
        // The run has seen this one, if it has seen any.
        self.config();
        let config = Arc::clone(self.config.get()?);
        let trace = HookTrace {
            environment: 0,
            at_unix_ms,
            policy: self.policy.name().to_owned(),
            version: self
                .policy
                .version()
                .map(ToString::to_string)
                .unwrap_or_default(),
            input,
            answers,
            outcome: Outcome::from(result),
            effects,
            elapsed_us,
        };
        Some(Captured { trace, config })
    }

    /// The host of a run that is played again: everything it asks is answered as it was then, and nothing it does is real.
    pub(crate) fn for_replay(
        version: &Arc<Version<HookHost>>,
        trace: &HookTrace,
        world: &Arc<World>,
    ) -> HookHost {
        HookHost::playing(PolicyName::Loaded(Arc::clone(version)), trace, world)
    }

    fn playing(policy: PolicyName, trace: &HookTrace, world: &Arc<World>) -> HookHost {
        let now = Now {
            instant: Instant(trace.at_unix_ms.saturating_mul(1000)),
            unix: UnixTime(trace.at_unix_ms / 1000),
        };
        let played = Played::new(Arc::clone(world), trace);
        let mut host = HookHost::new(None, policy, now, context_of(&trace.input).map(Box::new));
        host.take_up(trace.input.before.as_deref());
        HookHost {
            config: OnceCell::from(Arc::clone(&world.config)),
            rare: Some(Box::new(Rare {
                tape: Some(Tape::Plays(Box::new(played))),
                ..Rare::default()
            })),
            ..host
        }
    }

    /// What a run that was played has asked and done.
    pub(crate) fn end_replay(
        mut self,
        input: &Input,
        result: &Result<Verdict, Fault>,
    ) -> Option<(Effects, Heard)> {
        let effects = self.effects(input, result);
        match self.rare.as_deref_mut()?.tape.take() {
            Some(Tape::Plays(played)) => Some((effects, played.into_heard())),
            _ => None,
        }
    }

    /// What the hook changed, and what qualifies its verdict. After a fault nothing counts.
    fn effects(&self, input: &Input, result: &Result<Verdict, Fault>) -> Effects {
        let (Some(context), Ok(verdict)) = (&self.context, result) else {
            return Effects::default();
        };
        let mut effects = Effects {
            message: self.message().and_then(|message| {
                let before = match input.hook {
                    Hook::OnreplyRoute => input.response.as_ref(),
                    _ => input.request.as_ref(),
                };
                changed(message, before)
            }),
            variables: (context.variables != input.variables).then(|| context.variables.clone()),
            ..Effects::default()
        };
        match verdict {
            Verdict::Relay | Verdict::Next => self.add_routing(&context.routing, &mut effects),
            Verdict::Reply { .. } => self.add_reply(&mut effects),
            _ => {}
        }
        effects
    }

    fn add_routing(&self, routing: &Routing, effects: &mut Effects) {
        let no_answer = self.no_answer_ms.map(u64::from);
        let target = |target: &door::Target| {
            let mut target = target_trace(target);
            target.no_answer_ms = target.no_answer_ms.or(no_answer);
            target
        };
        effects.targets = routing.targets.iter().map(target).collect();
        let place = self.context.as_ref().map_or(0, |context| context.place);
        effects.armed = armed(routing.armed, ChainPlaces::at(place));
        effects.record_route = routing.record_route;
        effects
            .record_route_parameters
            .clone_from(&routing.record_route_parameters);
    }

    fn add_reply(&self, effects: &mut Effects) {
        let Some(reply) = self.rare.as_ref().and_then(|rare| rare.reply.as_ref()) else {
            return;
        };
        let pair = |(name, value): &(Vec<u8>, Vec<u8>)| (Text(name.clone()), Text(value.clone()));
        effects.reply_headers = reply.headers.iter().map(pair).collect();
        effects.reply_body = reply.body.as_ref().map(pair);
    }
}

/// What this policy has armed; others of its chain may have armed more.
fn armed(armed: Armed, own: ChainPlaces) -> Vec<String> {
    let hooks = [
        (armed.branch_route, Hook::BranchRoute),
        (armed.onreply_route, Hook::OnreplyRoute),
        (armed.failure_route, Hook::FailureRoute),
    ];
    let is_own = |by: ChainPlaces| by != by.without(own);
    let named = hooks.iter().filter(|(by, _)| is_own(*by));
    named.map(|(_, hook)| hook.name().to_owned()).collect()
}

/// The message when it is another one than before.
fn changed(message: &Draft, before: Option<&MessageTrace>) -> Option<Text> {
    if !message.is_edited() {
        return None;
    }
    let text = written(message);
    let is_same = before.is_some_and(|before| *before.seen() == text);
    (!is_same).then_some(text)
}

fn written(message: &Draft) -> Text {
    let mut text = Vec::new();
    message.write_to(&mut text);
    Text(text)
}

fn message_trace(message: &Draft) -> MessageTrace {
    MessageTrace {
        received: message.base().as_bytes().into(),
        current: message.is_edited().then(|| written(message)),
    }
}

fn input_of(context: &HookContext) -> Input {
    Input {
        hook: policy_hook(context.hook),
        request: Some(message_trace(&context.request)),
        response: context.response.as_ref().map(message_trace),
        source: Some(FlowTrace::from(&context.source)),
        in_dialog: context.in_dialog,
        failure_round: context.failure_round,
        variables: context.variables.clone(),
        record_route_parameters: context.record_route_parameters.clone(),
        verified_user: context.verified_user.clone(),
        before: None,
        event: None,
    }
}

/// The context of the hook in the trace; none in `event-route`, or when what was recorded is no message.
fn context_of(input: &Input) -> Option<HookContext> {
    let draft = |message: &MessageTrace| Some(Draft::new(Arc::new(message.parsed()?)));
    Some(HookContext {
        hook: match input.hook {
            Hook::RequestRoute => door::Hook::RequestRoute,
            Hook::BranchRoute => door::Hook::BranchRoute,
            Hook::OnreplyRoute => door::Hook::OnreplyRoute,
            Hook::FailureRoute => door::Hook::FailureRoute,
            Hook::EventRoute => return None,
        },
        request: draft(input.request.as_ref()?)?,
        response: input.response.as_ref().and_then(draft),
        source: input.source.as_ref()?.flow(),
        in_dialog: input.in_dialog,
        route: RouteId::NONE,
        place: 0,
        armed: Armed::default(),
        record_route_parameters: input.record_route_parameters.clone(),
        failure_round: input.failure_round,
        variables: input.variables.clone(),
        verified_user: input.verified_user.clone(),
        challenge: Vec::new(),
        routing: Routing::default(),
        saved_edits: SavedEdits::default(),
    })
}

#[cfg(test)]
pub(in crate::hooks) mod tests {
    use patchbay_core::door::Transport;
    use patchbay_policy::{ErrorKind, LookupResult, Target};

    use super::super::tests::{flow, host, register, services};
    use super::*;
    use crate::trace::{Act, Answer, Environment};

    const BOB: &str = "sip:bob@example.com";
    pub(in crate::hooks) const GRANTS: &str =
        "[policy.grants]\nhttp = [\"http://lcr.example/\"]\nkeyvalue = [\"calls/\"]\n";

    /// The answers that a verdict could depend on.
    type Answers = (Result<LookupResult, ErrorKind>, u64, u64, bool, bool);

    /// What a policy might ask and do.
    fn route(host: &mut HookHost) -> Answers {
        let found = host.lookup(BOB).map_err(|error| error.kind);
        if let Ok(found) = found {
            host.add_lookup(found.lookup).unwrap();
        }
        let random = host.random_u64();
        host.set_variable("random", &random.to_string()).unwrap();
        host.add_counter("calls", 2).unwrap();
        host.set_timer("tick", 60_000).unwrap();
        host.set_no_answer_timeout(5_000);
        let message = host.message_mut().unwrap();
        message
            .set("X-Random", random.to_string().as_bytes())
            .unwrap();
        (
            found,
            random,
            host.unix_ms(),
            host.is_registered_source(BOB),
            host.is_local_uri(BOB),
        )
    }

    fn world(extra: &str) -> Arc<World> {
        let services = services(extra);
        let environment = Environment::of(&services.config(), &services.shared.listeners);
        Arc::new(environment.world())
    }

    pub(in crate::hooks) fn traced_host(services: &Arc<Services>, source: door::Flow) -> HookHost {
        let host = host(services, source);
        HookHost {
            rare: Some(begin_on_message(host.context.as_deref().unwrap(), services)),
            ..host
        }
    }

    fn traced() -> (HookTrace, Answers) {
        let services = services("");
        let udp = flow(Transport::Udp, None);
        register(&services, "<sip:bob@127.0.0.1:2>;q=0.5", udp);
        let mut host = traced_host(&services, udp);
        let answers = route(&mut host);
        let captured = host.end_trace(&Ok(Verdict::Relay), 7).unwrap();
        (captured.trace, answers)
    }

    pub(in crate::hooks) fn playing(trace: &HookTrace) -> HookHost {
        let policy = PolicyName::Checked(Arc::new("test".to_owned()));
        HookHost::playing(policy, trace, &world(GRANTS))
    }

    #[test]
    fn a_trace_has_what_was_asked_and_what_was_done() {
        let (trace, (_, random, ..)) = traced();
        assert_eq!(trace.call_id(), "x");
        assert_eq!(trace.effects.targets.len(), 1);
        assert_eq!(trace.effects.targets[0].no_answer_ms, Some(5_000));
        let variables = vec![("random".to_owned(), random.to_string())];
        assert_eq!(trace.effects.variables, Some(variables));
        let edited = trace.effects.message.as_ref().unwrap().lossy();
        assert!(edited.contains(&format!("X-Random: {random}")), "{edited}");
        let timer = Act::SetTimer {
            name: "tick".to_owned(),
            delay_ms: 60_000,
        };
        assert!(trace.acts().contains(&&timer));
        assert_eq!(trace.elapsed_us, 7);
    }

    #[test]
    fn a_run_that_is_played_gets_the_same_answers_and_has_the_same_effects() {
        let (trace, answers) = traced();
        let mut host = playing(&trace);
        assert_eq!(route(&mut host), answers);
        let (effects, heard) = host.end_replay(&trace.input, &Ok(Verdict::Relay)).unwrap();
        assert_eq!(effects, trace.effects);
        assert!(heard.unknown.is_empty());
        let acts = |answers: &[Answer]| -> Vec<Answer> {
            let is_act = |answer: &&Answer| matches!(answer, Answer::Act { .. });
            answers.iter().filter(is_act).cloned().collect()
        };
        assert_eq!(acts(&heard.answers), acts(&trace.answers));
    }

    #[test]
    fn what_nobody_asked_then_is_unavailable_and_told() {
        let (trace, _) = traced();
        let mut host = playing(&trace);
        let unknown = host.lookup("sip:zoe@example.com").unwrap_err();
        assert_eq!(unknown.kind, ErrorKind::Unavailable);
        assert!(!host.is_registered_source("sip:zoe@example.com"));
        assert_eq!(host.verify(), patchbay_policy::Verification::Missing);
        let target = Target {
            uri: "sip:a@b".to_owned(),
            q: 1000,
            next_hop: None,
            listener: Some("udp:127.0.0.1:5060".to_owned()),
            no_answer_ms: None,
        };
        host.add_target(target).unwrap();
        let (_, heard) = host.end_replay(&trace.input, &Ok(Verdict::Relay)).unwrap();
        assert_eq!(
            heard.unknown,
            [
                "location.lookup sip:zoe@example.com",
                "location.is-registered-source sip:zoe@example.com"
            ]
        );
    }

    #[test]
    fn numbers_that_were_not_recorded_are_the_same_each_time() {
        let (mut trace, _) = traced();
        trace.answers.clear();
        let numbers = || {
            let mut host = playing(&trace);
            [host.random_u64(), host.random_u64(), host.unix_ms()]
        };
        assert_eq!(numbers(), numbers());
        assert_ne!(numbers()[0], numbers()[1]);
    }

    #[test]
    fn after_a_fault_nothing_counts() {
        let services = services("");
        let mut host = traced_host(&services, flow(Transport::Udp, None));
        host.set_variable("a", "b").unwrap();
        let captured = host.end_trace(&Err(Fault::Deadline), 1).unwrap();
        assert_eq!(captured.trace.effects, Effects::default());
        assert!(captured.trace.outcome.is_fault());
    }

    #[test]
    fn a_run_that_nobody_traces_has_no_trace() {
        let services = services("");
        let mut host = host(&services, flow(Transport::Udp, None));
        host.add_reply_header("X-A", "b").unwrap();
        assert!(!host.is_traced());
        assert!(host.end_trace(&Ok(Verdict::Pass), 1).is_none());
    }
}
