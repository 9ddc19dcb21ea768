//! What a hook returns, what can go wrong instead, and what `event-route` is told.

use wasmtime::component::{ComponentType, Lift, Lower};

use crate::host::Hook;

/// What a hook decided. What qualifies it was set through [`Host`](crate::Host) before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `request-route`, `failure-route`: forward to the targets.
    Relay,
    /// `request-route`, `failure-route`: answer.
    Reply {
        /// 200 to 699.
        status: u16,
        /// Empty: the standard phrase.
        reason: String,
    },
    /// `request-route`: answer 401 or 407 with a challenge.
    Challenge,
    /// `request-route`: update the location service.
    Save,
    /// `request-route`: say nothing. `branch-route`: do not start the branch. `onreply-route`: do not forward.
    Drop,
    /// `request-route`: leave the decision to the next policy of the chain.
    Next,
    /// `branch-route`, `onreply-route`, `failure-route`: go on.
    Pass,
    /// `event-route` returns nothing.
    Done,
}

/// Why a hook has no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The guest trapped; the text is the trap with the innermost frames.
    #[error("the policy trapped: {0}")]
    Trap(String),
    /// It ran longer than `hook_deadline`.
    #[error("the policy ran longer than hook_deadline")]
    Deadline,
    /// It ran and waited longer than `hook_timeout`.
    #[error("the policy ran and waited longer than hook_timeout")]
    Timeout,
    /// It asked for more memory than `memory_limit` and gave up.
    #[error("the policy needs more memory than memory_limit")]
    Memory,
    /// What it returned is no valid verdict.
    #[error("the policy returned a bad verdict: {0}")]
    Verdict(String),
    /// It could not be run: too many hooks are running, or no instance could be made.
    #[error("the policy could not be run: {0}")]
    Unavailable(String),
}

const CROWDED: &str = "max_concurrent_hooks is reached";

impl Fault {
    /// How many kinds there are.
    pub const KINDS: usize = 6;

    /// The names of the kinds in the order of [`index`](Fault::index), for the `fault` label of metrics.
    pub const NAMES: [&'static str; Fault::KINDS] = [
        "trap",
        "deadline",
        "timeout",
        "memory",
        "verdict",
        "unavailable",
    ];

    /// The number of the kind for which the policy is not to blame.
    pub(crate) const UNAVAILABLE: usize = 5;

    /// The number of the kind, below [`KINDS`](Fault::KINDS).
    pub fn index(&self) -> usize {
        match self {
            Fault::Trap(_) => 0,
            Fault::Deadline => 1,
            Fault::Timeout => 2,
            Fault::Memory => 3,
            Fault::Verdict(_) => 4,
            Fault::Unavailable(_) => Fault::UNAVAILABLE,
        }
    }

    /// As many hooks wait as may, or there is no place for one more instance.
    pub(crate) fn crowded() -> Fault {
        Fault::Unavailable(CROWDED.into())
    }

    /// Whether `max_concurrent_hooks` was reached.
    pub fn is_of_crowding(&self) -> bool {
        matches!(self, Fault::Unavailable(text) if text == CROWDED)
    }

    /// Whether it says more of how busy the machine is than of the policy.
    pub(crate) fn is_of_the_machine(&self) -> bool {
        self.is_of_crowding() || matches!(self, Fault::Timeout)
    }

    /// The policy does not have the hook.
    pub(crate) fn missing(hook: Hook) -> Fault {
        Fault::Unavailable(format!("the policy does not export {}", hook.name()))
    }

    /// Nothing was said that `event-route` could be told.
    pub(crate) fn without_event() -> Fault {
        Fault::Unavailable("event-route was run without an event".into())
    }

    /// Whether the policy is to blame, and not the load of the router.
    pub fn is_policys(&self) -> bool {
        !matches!(self, Fault::Unavailable(_))
    }
}

/// What `event-route` is told (`event-route.event`).
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(variant)]
pub enum Event {
    /// A contact was added.
    #[component(name = "registration-added")]
    RegistrationAdded(RegistrationEvent),
    /// A contact was registered again.
    #[component(name = "registration-refreshed")]
    RegistrationRefreshed(RegistrationEvent),
    /// A contact was removed by its user or an operator.
    #[component(name = "registration-removed")]
    RegistrationRemoved(RegistrationEvent),
    /// A contact ran out.
    #[component(name = "registration-expired")]
    RegistrationExpired(RegistrationEvent),
    /// A timer of the policy, by its name.
    #[component(name = "timer")]
    Timer(String),
}

/// One contact of an address-of-record that changed (`event-route.registration`).
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(record)]
pub struct RegistrationEvent {
    /// The address-of-record.
    pub aor: String,
    /// The contact URI.
    pub contact: String,
    /// Seconds left; 0 when it is gone.
    #[component(name = "expires-secs")]
    pub expires_secs: u32,
}

#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct ResponseLine {
    pub(crate) status: u16,
    pub(crate) reason: String,
}

impl ResponseLine {
    fn verdict(self) -> Result<Verdict, Fault> {
        if !(200..=699).contains(&self.status) {
            return Err(Fault::Verdict(format!(
                "reply with status {}; a reply has 200 to 699",
                self.status
            )));
        }
        if self
            .reason
            .bytes()
            .any(|byte| byte < 0x20 && byte != b'\t' || byte == 0x7f)
        {
            return Err(Fault::Verdict(
                "the reason of a reply has a control character".into(),
            ));
        }
        Ok(Verdict::Reply {
            status: self.status,
            reason: self.reason,
        })
    }
}

#[derive(Clone, Debug, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum RequestVerdict {
    #[component(name = "relay")]
    Relay,
    #[component(name = "reply")]
    Reply(ResponseLine),
    #[component(name = "challenge")]
    Challenge,
    #[component(name = "save")]
    Save,
    #[component(name = "drop")]
    Drop,
    #[component(name = "next")]
    Next,
}

#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "the guest makes its values")]
pub(crate) enum PassVerdict {
    #[component(name = "pass")]
    Pass,
    #[component(name = "drop")]
    Drop,
}

#[derive(Clone, Debug, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum FailureVerdict {
    #[component(name = "pass")]
    Pass,
    #[component(name = "reply")]
    Reply(ResponseLine),
    #[component(name = "relay")]
    Relay,
}

impl RequestVerdict {
    pub(crate) fn checked(self) -> Result<Verdict, Fault> {
        Ok(match self {
            RequestVerdict::Relay => Verdict::Relay,
            RequestVerdict::Reply(line) => return line.verdict(),
            RequestVerdict::Challenge => Verdict::Challenge,
            RequestVerdict::Save => Verdict::Save,
            RequestVerdict::Drop => Verdict::Drop,
            RequestVerdict::Next => Verdict::Next,
        })
    }
}

impl PassVerdict {
    pub(crate) fn checked(self) -> Result<Verdict, Fault> {
        Ok(match self {
            PassVerdict::Pass => Verdict::Pass,
            PassVerdict::Drop => Verdict::Drop,
        })
    }
}

impl FailureVerdict {
    pub(crate) fn checked(self) -> Result<Verdict, Fault> {
        Ok(match self {
            FailureVerdict::Pass => Verdict::Pass,
            FailureVerdict::Reply(line) => return line.verdict(),
            FailureVerdict::Relay => Verdict::Relay,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, reason: &str) -> Result<Verdict, Fault> {
        RequestVerdict::Reply(ResponseLine {
            status,
            reason: reason.into(),
        })
        .checked()
    }

    #[test]
    fn a_reply_has_a_status_from_200_to_699() {
        for status in [0, 100, 180, 199, 700, 65535] {
            assert!(
                matches!(reply(status, ""), Err(Fault::Verdict(_))),
                "{status}"
            );
        }
        assert_eq!(
            reply(404, "Nobody"),
            Ok(Verdict::Reply {
                status: 404,
                reason: "Nobody".into()
            })
        );
    }

    #[test]
    fn a_reason_can_not_inject_a_header() {
        assert!(matches!(reply(404, "x\r\nVia: y"), Err(Fault::Verdict(_))));
    }

    #[test]
    fn names_are_in_the_order_of_the_kinds() {
        assert_eq!(Fault::NAMES[Fault::Memory.index()], "memory");
        assert_eq!(
            Fault::NAMES[Fault::Unavailable(String::new()).index()],
            "unavailable"
        );
    }
}
