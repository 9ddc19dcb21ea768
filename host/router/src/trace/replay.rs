//! Runs a trace on a version of a policy, with the answers that the trace has.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use patchbay_policy::{
    Engine, EngineConfig, EngineError, Event, Fault, Hook, HookDone, Instances, LoadError, Verdict,
    Version,
};

use super::differences::RunDifference;
use super::environment::{Environment, World};
use super::model::{Act, Answer, Effects, HookTrace, Outcome};
use super::redact::hide_as_in;
use crate::hooks::{HookHost, NO_NEXT, refuse_impossible};

/// How long the version that ran then may run here at least, and how many times its `hook_deadline`: what was done in time is no fault on
/// a slower machine.
const LENIENT_DEADLINE: Duration = Duration::from_millis(500);
const LENIENCE: u32 = 10;

/// A version can't be tried.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The engine does not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It is no policy, or refuses the settings of the recording.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// How a run went when it was played again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replayed {
    pub(super) outcome: Outcome,
    pub(super) effects: Effects,
    pub(super) answers: Vec<Answer>,
    pub(super) unknown: Vec<String>,
}

impl Replayed {
    pub(super) fn acts(&self) -> Vec<&Act> {
        let acts = self.answers.iter().filter_map(|answer| match answer {
            Answer::Act { act, .. } => Some(act),
            _ => None,
        });
        acts.collect()
    }

    /// Of a hook that the version does not have: what the router decides without it.
    fn without_hook(hook: Hook) -> Replayed {
        let outcome = match hook {
            Hook::RequestRoute => Outcome::Fault {
                fault: "verdict".to_owned(),
                detail: "the policy has no request-route".to_owned(),
            },
            Hook::BranchRoute | Hook::OnreplyRoute | Hook::FailureRoute => Outcome::Verdict {
                verdict: "pass".to_owned(),
                status: None,
                reason: String::new(),
            },
            Hook::EventRoute => Outcome::Verdict {
                verdict: "done".to_owned(),
                status: None,
                reason: String::new(),
            },
        };
        Replayed {
            outcome,
            effects: Effects::default(),
            answers: Vec::new(),
            unknown: Vec::new(),
        }
    }
}

/// Runs traces on one version. Nothing that the version does is real.
///
/// The deadline of the trace is that of another version, too. The version that ran then has it behind it: where it kept it, it gets more
/// time here, and where time ended it nothing is to be seen by running it again.
pub struct Replayer {
    engine: Engine<HookHost>,
    version: Arc<Version<HookHost>>,
    place: Option<Place>,
    own_place: Option<Place>,
}

/// Where the runs of one environment are played: instances know the settings that they were made with.
struct Place {
    environment: Arc<Environment>,
    world: Arc<World>,
    instances: Instances<HookHost>,
}

impl Replayer {
    /// Compiles a component, and runs its `init` in this environment.
    pub fn load(
        name: &str,
        bytes: &[u8],
        environment: &Environment,
    ) -> Result<Replayer, ReplayError> {
        let engine: Engine<HookHost> = Engine::new(EngineConfig {
            memory_limit: environment.memory_limit,
            hook_deadline: environment.hook_deadline().unwrap_or(LENIENT_DEADLINE),
            max_concurrent_hooks: 1,
            ..EngineConfig::default()
        })?;
        let config = Arc::new(environment.config());
        let version = engine.load(name, bytes, || {
            HookHost::for_init(Arc::clone(&config), "init")
        })?;
        Ok(Replayer::new(engine, version))
    }

    pub(super) fn new(engine: Engine<HookHost>, version: Arc<Version<HookHost>>) -> Replayer {
        Replayer {
            engine,
            version,
            place: None,
            own_place: None,
        }
    }

    /// The version.
    pub fn version(&self) -> &Arc<Version<HookHost>> {
        &self.version
    }

    /// Runs a trace and tells where the version parts from it; `None`: nowhere.
    pub fn compare(
        &mut self,
        trace: &HookTrace,
        environment: &Arc<Environment>,
    ) -> Option<RunDifference> {
        let is_own = trace.version == self.version.digest().as_str();
        if is_own && trace.outcome.is_of_time() {
            return None;
        }
        let mut replayed = self.replay(trace, environment, is_own);
        // Where the deadline cut them off is no difference.
        if trace.outcome.is_of_deadline() && replayed.outcome.is_of_deadline() {
            return None;
        }
        if environment.redacted {
            hide_as_in(&trace.effects, &mut replayed.effects);
        }
        RunDifference::of(trace, &replayed, self.version.digest().as_str())
    }

    fn replay(
        &mut self,
        trace: &HookTrace,
        environment: &Arc<Environment>,
        is_own: bool,
    ) -> Replayed {
        let hook = trace.input.hook;
        if !self.version.exports(hook) {
            return Replayed::without_hook(hook);
        }
        let version = Arc::clone(&self.version);
        let place = self.place(environment, is_own);
        let host = HookHost::for_replay(&version, trace, &place.world);
        let event = trace.input.event.as_ref().map(Event::from);
        let mut done = run(&place.instances, &version, hook, host, event);
        refuse_impossible(&mut done);
        if trace.outcome.is_of_no_next() && matches!(done.result, Ok(Verdict::Next)) {
            done.result = Err(Fault::Verdict(NO_NEXT.to_owned()));
        }
        let outcome = Outcome::from(&done.result);
        let heard = done
            .host
            .and_then(|host| host.end_replay(&trace.input, &done.result));
        match heard {
            Some((effects, heard)) => Replayed {
                outcome,
                effects,
                answers: heard.answers,
                unknown: heard.unknown,
            },
            // The fault has lost the host.
            None => Replayed {
                outcome,
                ..Replayed::without_hook(hook)
            },
        }
    }

    fn place(&mut self, environment: &Arc<Environment>, is_own: bool) -> &Place {
        let place = match is_own {
            true => &mut self.own_place,
            false => &mut self.place,
        };
        let is_same = |place: &Place| {
            Arc::ptr_eq(&place.environment, environment) || place.environment == *environment
        };
        let kept = place.take().filter(is_same);
        let engine = &self.engine;
        place.insert(kept.unwrap_or_else(|| Place::new(engine, environment, is_own)))
    }
}

impl Place {
    fn new(engine: &Engine<HookHost>, environment: &Arc<Environment>, is_own: bool) -> Place {
        let recorded = environment.hook_deadline();
        let recorded = recorded.unwrap_or(engine.config().hook_deadline);
        let engine = engine.with_hook_deadline(match is_own {
            true => LENIENT_DEADLINE.max(recorded.saturating_mul(LENIENCE)),
            false => recorded,
        });
        Place {
            environment: Arc::clone(environment),
            world: Arc::new(environment.world()),
            instances: Instances::new(engine, 0),
        }
    }
}

/// Runs a hook to its end on this thread.
fn run(
    instances: &Instances<HookHost>,
    version: &Arc<Version<HookHost>>,
    hook: Hook,
    host: HookHost,
    event: Option<Event>,
) -> HookDone<HookHost> {
    let mut run = instances.run(version, hook, host, event);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        // A guest that yields is ready again at once, and the answers are all there: waiting is polling.
        match Pin::new(&mut run).poll(&mut context) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::yield_now(),
        }
    }
}
