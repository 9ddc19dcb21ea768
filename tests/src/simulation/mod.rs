//! The real core in virtual time, on a network that loses, delays, doubles and reorders.
//!
//! Everything that happens is drawn from one seed: what the phones do, what the network does to each datagram, how long hooks,
//! resolver and location service take and what they answer. The same seed gives the same run, so that a failing one can be
//! replayed. After each step the [`invariants`] are checked; at the end every call must have come to its end and every table must be empty.

mod callee;
mod caller;
mod invariants;
mod services;
mod world;

pub use world::{Network, World};

use crate::text::Text;

/// Where something is sent, and when something is to be done: what an agent wants after an event.
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
    /// Send a request again, unless it was answered; microseconds of the last wait.
    Repeat(&'static str, u64),
    /// Change the mind.
    Cancel,
    /// Hang up.
    HangUp,
    /// Answer the INVITE of this branch.
    Ring(usize),
    /// Answer it finally.
    Answer(usize),
    /// Send the final response again, unless it was acknowledged.
    RepeatFinal(usize, u64),
}

/// T1 and T2 in microseconds.
pub(crate) const T1: u64 = 500_000;
pub(crate) const T2: u64 = 4_000_000;

/// The value of the topmost Via.
pub(crate) fn branch(message: &Text) -> String {
    message.parameter("Via", "branch").unwrap_or_default()
}
