//! Between the types of hooks and those of traces.

use patchbay_core::door::{Flow, ListenerId, Transport};
use patchbay_policy::{
    ErrorKind, Event, Fault, HostError, RegistrationEvent, Verdict, Verification,
};

use super::model::{ErrorTrace, EventTrace, FlowTrace, Outcome, RegistrationTrace};
use crate::config::transport_name;

impl From<&Flow> for FlowTrace {
    fn from(flow: &Flow) -> FlowTrace {
        FlowTrace {
            transport: transport_name(flow.transport).to_owned(),
            remote: flow.remote,
            local: flow.local,
            listener: flow.listener.0,
        }
    }
}

impl FlowTrace {
    /// The flow. What it was a connection of is gone.
    pub fn flow(&self) -> Flow {
        Flow {
            listener: ListenerId(self.listener),
            transport: transport_named(&self.transport),
            local: self.local,
            remote: self.remote,
            connection: None,
        }
    }
}

/// The transport of this name; what is none of ours is UDP.
pub(crate) fn transport_named(name: &str) -> Transport {
    match name {
        "tcp" => Transport::Tcp,
        "tls" => Transport::Tls,
        "ws" => Transport::Ws,
        "wss" => Transport::Wss,
        _ => Transport::Udp,
    }
}

impl From<&Event> for EventTrace {
    fn from(event: &Event) -> EventTrace {
        let registration = |registration: &RegistrationEvent| RegistrationTrace {
            aor: registration.aor.clone(),
            contact: registration.contact.clone(),
            expires_secs: registration.expires_secs,
        };
        match event {
            Event::RegistrationAdded(event) => EventTrace::RegistrationAdded(registration(event)),
            Event::RegistrationRefreshed(event) => {
                EventTrace::RegistrationRefreshed(registration(event))
            }
            Event::RegistrationRemoved(event) => {
                EventTrace::RegistrationRemoved(registration(event))
            }
            Event::RegistrationExpired(event) => {
                EventTrace::RegistrationExpired(registration(event))
            }
            Event::Timer(name) => EventTrace::Timer { name: name.clone() },
        }
    }
}

impl From<&EventTrace> for Event {
    fn from(event: &EventTrace) -> Event {
        let registration = |registration: &RegistrationTrace| RegistrationEvent {
            aor: registration.aor.clone(),
            contact: registration.contact.clone(),
            expires_secs: registration.expires_secs,
        };
        match event {
            EventTrace::RegistrationAdded(event) => Event::RegistrationAdded(registration(event)),
            EventTrace::RegistrationRefreshed(event) => {
                Event::RegistrationRefreshed(registration(event))
            }
            EventTrace::RegistrationRemoved(event) => {
                Event::RegistrationRemoved(registration(event))
            }
            EventTrace::RegistrationExpired(event) => {
                Event::RegistrationExpired(registration(event))
            }
            EventTrace::Timer { name } => Event::Timer(name.clone()),
        }
    }
}

impl From<&Result<Verdict, Fault>> for Outcome {
    fn from(result: &Result<Verdict, Fault>) -> Outcome {
        let verdict = match result {
            Ok(Verdict::Relay) => "relay",
            Ok(Verdict::Reply { .. }) => "reply",
            Ok(Verdict::Challenge) => "challenge",
            Ok(Verdict::Save) => "save",
            Ok(Verdict::Drop) => "drop",
            Ok(Verdict::Next) => "next",
            Ok(Verdict::Pass) => "pass",
            Ok(Verdict::Done) => "done",
            Err(fault) => {
                let name = Fault::NAMES.get(fault.index()).copied().unwrap_or_default();
                return Outcome::Fault {
                    fault: name.to_owned(),
                    detail: fault.to_string(),
                };
            }
        };
        let (status, reason) = match result {
            Ok(Verdict::Reply { status, reason }) => (Some(*status), reason.clone()),
            _ => (None, String::new()),
        };
        Outcome::Verdict {
            verdict: verdict.to_owned(),
            status,
            reason,
        }
    }
}

/// The names of the kinds of errors, as in the WIT package.
const ERROR_KINDS: [(ErrorKind, &str); 6] = [
    (ErrorKind::NotFound, "not-found"),
    (ErrorKind::InvalidArgument, "invalid-argument"),
    (ErrorKind::WrongHook, "wrong-hook"),
    (ErrorKind::Denied, "denied"),
    (ErrorKind::Limit, "limit"),
    (ErrorKind::Unavailable, "unavailable"),
];

impl From<&HostError> for ErrorTrace {
    fn from(error: &HostError) -> ErrorTrace {
        let name = ERROR_KINDS.iter().find(|(kind, _)| *kind == error.kind);
        ErrorTrace {
            kind: name.map_or("unavailable", |(_, name)| name).to_owned(),
            message: error.message.clone(),
        }
    }
}

impl From<&ErrorTrace> for HostError {
    fn from(error: &ErrorTrace) -> HostError {
        let kind = ERROR_KINDS.iter().find(|(_, name)| *name == error.kind);
        HostError {
            kind: kind.map_or(ErrorKind::Unavailable, |(kind, _)| *kind),
            message: error.message.clone(),
        }
    }
}

/// The answers of `auth.verify`, as in the WIT package.
const VERIFICATIONS: [(Verification, &str); 4] = [
    (Verification::Verified, "verified"),
    (Verification::Missing, "missing"),
    (Verification::Stale, "stale"),
    (Verification::Failed, "failed"),
];

/// The name of an answer of `auth.verify`.
pub(crate) fn verification_name(verification: Verification) -> &'static str {
    let known = VERIFICATIONS.iter().find(|(kind, _)| *kind == verification);
    known.map_or("failed", |(_, name)| name)
}

/// The answer of `auth.verify` of this name.
pub(crate) fn verification_named(name: &str) -> Verification {
    let known = VERIFICATIONS.iter().find(|(_, known)| *known == name);
    known.map_or(Verification::Failed, |(kind, _)| *kind)
}
