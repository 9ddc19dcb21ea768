//! Every decision the SIP RFCs define, without input or output.
//!
//! [`door`] is all that a driver sees: it hands one [`door::Input`] at a time to the core and carries out each
//! [`door::Output`]. Time is an argument and randomness a seed, so that every decision can be replayed.

mod alarm;
mod answered;
mod base32;
mod core;
mod date;
mod environment;
mod invariants;
mod keyed;
mod originating;
mod packet;
mod prefetch;
mod proxy;
mod table;
mod tenant;

pub mod affinity;
pub mod auth;
pub mod door;
pub mod local;
pub mod registrar;
pub mod time;
pub mod timer;
pub mod transaction;
pub mod user;

pub use crate::core::{Core, Counts, TransactionSnapshot};
