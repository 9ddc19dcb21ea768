//! What a hook left behind.

use std::time::Duration;

use crate::host::targets::Target;
use crate::log::Level;

/// What a hook decided. What qualifies it is asked of the [`Run`](super::Run).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Relay: to the targets, or without any to where Route headers and Request-URI say.
    Relay,
    /// Reply with this status.
    Reply(u16),
    /// Ask for credentials.
    Challenge,
    /// Save the registration.
    Save,
    /// Say nothing, or do not forward.
    Drop,
    /// Leave it to the next policy.
    Next,
    /// Let it through.
    Pass,
}

/// Which hooks the verdict armed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Armed {
    /// `branch_route`.
    pub branch_route: bool,
    /// `onreply_route`.
    pub onreply_route: bool,
    /// `failure_route`.
    pub failure_route: bool,
}

/// A line the policy logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Its level.
    pub level: Level,
    /// Its text.
    pub text: String,
}

/// What qualifies a verdict, as the host functions collect it.
#[derive(Clone, Debug, Default)]
pub(super) struct Qualities {
    /// Groups of targets, tried one after the other.
    pub(super) groups: Vec<Vec<Target>>,
    pub(super) armed: Armed,
    pub(super) no_answer: Option<Duration>,
    pub(super) record_route: Option<bool>,
    pub(super) record_route_parameters: Vec<(String, String)>,
    pub(super) reply_headers: Vec<(String, String)>,
    pub(super) reply_body: Option<(String, Vec<u8>)>,
}

impl Qualities {
    /// The group that targets are added to.
    pub(super) fn add(&mut self, target: Target) {
        match self.groups.last_mut() {
            Some(group) => group.push(target),
            None => self.groups.push(vec![target]),
        }
    }

    pub(super) fn next_group(&mut self) {
        if self.groups.last().is_some_and(|group| !group.is_empty()) {
            self.groups.push(Vec::new());
        }
    }
}
