//! What happened, as little of it as it takes to show it when a scenario fails.

use patchbay_core::door::{DropReason, Hook, HookFault, Packet, Target, Verdict};

/// Who sends or receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    /// The router.
    Router,
    /// The phone of this number.
    Phone(usize),
}

/// Something that happened.
#[derive(Debug)]
pub(super) struct Entry {
    /// Microseconds from the start.
    pub(super) at: u64,
    pub(super) what: Happening,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Happening {
    /// A message went from one to another.
    Message {
        from: Party,
        to: Party,
        packet: Packet,
        /// Nothing gets through to where it goes.
        is_lost: bool,
    },
    /// A hook returned.
    Hook {
        hook: Option<Hook>,
        result: Result<Verdict, HookFault>,
        targets: Vec<Target>,
    },
    /// `event-route` was given an event.
    Event(patchbay_policy::Event),
    /// The router dropped a message.
    Dropped(DropReason),
    /// Somebody logged a line.
    Log(String),
    /// A policy asked beyond the router, or was answered.
    Outside(String),
    /// Anything else.
    Note(&'static str),
}

/// Everything that happened, in order.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) entries: Vec<Entry>,
}

impl Trace {
    /// Notes what happened.
    pub(super) fn push(&mut self, at: u64, what: Happening) {
        self.entries.push(Entry { at, what });
    }
}

/// The name of a hook, as in the SDK.
pub(super) fn hook_name(hook: Option<Hook>) -> &'static str {
    match hook {
        Some(Hook::RequestRoute) => "request_route",
        Some(Hook::BranchRoute) => "branch_route",
        Some(Hook::OnreplyRoute) => "onreply_route",
        Some(Hook::FailureRoute) => "failure_route",
        None => "a hook",
    }
}

/// Why a hook failed, in words.
pub(super) fn fault_name(fault: HookFault) -> &'static str {
    match fault {
        HookFault::Trap => "it trapped",
        HookFault::Deadline => "it ran longer than hook_deadline",
        HookFault::Timeout => "it waited longer than hook_timeout",
        HookFault::Memory => "it asked for more than memory_limit",
        HookFault::Verdict => "its verdict is not possible there",
        HookFault::Unavailable => "no instance could be made",
        HookFault::NoPolicy => "a policy of the route has no version",
    }
}

impl Happening {
    /// What happened in the router, in one line; `None` for a message.
    pub(super) fn note(&self) -> Option<String> {
        Some(match self {
            Happening::Message { .. } => return None,
            Happening::Hook {
                hook,
                result,
                targets,
            } => format!("{}: {}", hook_name(*hook), decided(result, targets)),
            Happening::Event(event) => format!("event_route: {}", event_text(event)),
            Happening::Dropped(DropReason::Policy) => "dropped, as the policy said".to_owned(),
            Happening::Dropped(reason) => format!("dropped: {reason:?}"),
            Happening::Log(line) | Happening::Outside(line) => line.clone(),
            Happening::Note(text) => (*text).to_owned(),
        })
    }
}

fn decided(result: &Result<Verdict, HookFault>, targets: &[Target]) -> String {
    match result {
        Ok(Verdict::Relay) if targets.is_empty() => "relay".to_owned(),
        Ok(Verdict::Relay) => {
            let uris: Vec<_> = targets
                .iter()
                .map(|target| String::from_utf8_lossy(&target.uri))
                .collect();
            format!("relay to {}", uris.join(", "))
        }
        Ok(Verdict::Reply(reply)) => format!("reply {}", reply.status),
        Ok(Verdict::Challenge(_)) => "challenge".to_owned(),
        Ok(Verdict::Save) => "save".to_owned(),
        Ok(Verdict::Drop) => "drop".to_owned(),
        Ok(Verdict::Pass) => "pass".to_owned(),
        Err(fault) => format!("FAULT: {}", fault_name(*fault)),
    }
}

fn event_text(event: &patchbay_policy::Event) -> String {
    use patchbay_policy::Event;
    let of = |what: &str, registration: &patchbay_policy::RegistrationEvent| {
        format!("{} {what} {}", registration.aor, registration.contact)
    };
    match event {
        Event::RegistrationAdded(registration) => of("added", registration),
        Event::RegistrationRefreshed(registration) => of("refreshed", registration),
        Event::RegistrationRemoved(registration) => of("removed", registration),
        Event::RegistrationExpired(registration) => of("lost by expiry", registration),
        Event::Timer(name) => format!("timer {name}"),
    }
}
