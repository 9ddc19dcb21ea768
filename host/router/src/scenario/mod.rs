//! `patchbay policy test`: scenarios against the real core and the real component, in virtual time and without sockets.
//!
//! [`sources`] are found and what they test is built; a [`bench`] loads it, and a [`suite`] plays it. Each scenario has a [`world`] of its own, with a
//! [worker](crate::worker::VirtualWorker) and [phones](phone), in which it is [played](play) step by step, or [at random](random).

mod bench;
mod compose;
mod dialog;
mod digest;
mod invariants;
mod ladder;
mod log;
mod matching;
mod outside;
mod phone;
mod play;
mod random;
mod report;
mod sources;
mod suite;
mod trace;
mod world;

pub(crate) use suite::{Options, run};
