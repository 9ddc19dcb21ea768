//! The real core in virtual time, on a network that loses, delays, doubles and reorders.
//!
//! Everything that happens is drawn from one seed: what the phones do, what the network does to each datagram, which connections
//! break, how long hooks, resolver and location service take and what they answer. The same seed gives the same run, so that a
//! failing one can be replayed. After each step the invariants are checked; at the end every call must have come to its end and
//! every table must be empty.

mod callee;
mod caller;
mod event;
mod invariants;
mod network;
mod services;
mod user_agent;
mod world;

pub use world::World;

use crate::text::Text;

/// What an agent wants after an event.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// Messages to the router.
    pub(crate) send: Vec<String>,
    /// Microseconds from now, and what the agent will know it by.
    pub(crate) timers: Vec<(u64, Alarm)>,
}

/// What a timer of an agent is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// Begin.
    Start,
    /// Send the request with this branch again, unless it was answered; microseconds waited so far.
    Repeat(String, u64),
    /// Change the mind.
    Cancel,
    /// Hang up.
    HangUp,
    /// Ask for another session description in the dialog.
    Reinvite,
    /// Send the INVITE once more although it was answered.
    RepeatInvite,
    /// Let it ring.
    Ring(usize),
    /// Send a reliable provisional response again, unless its PRACK came; microseconds waited so far.
    RepeatProvisional(usize, u64),
    /// Answer an INVITE.
    Answer(usize),
    /// Send the final response again, unless it was acknowledged; microseconds waited so far.
    RepeatFinal(usize, u64),
    /// Answer another request.
    AnswerLate(usize),
}

/// T1 and T2 in microseconds.
pub(crate) const T1: u64 = 500_000;
pub(crate) const T2: u64 = 4_000_000;

/// One second of virtual time.
pub(crate) const SECOND: u64 = 1_000_000;

/// The branch of the topmost Via.
pub(crate) fn branch(message: &Text) -> String {
    message.parameter("Via", "branch").unwrap_or_default()
}
