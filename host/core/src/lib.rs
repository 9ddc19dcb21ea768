//! Every decision the SIP RFCs define, without input or output.
//!
//! [`door`] is all that a driver sees: it hands one [`door::Input`] at a time to the core and carries out each
//! [`door::Output`]. Time is an argument and randomness a seed, so that every decision can be replayed.

pub mod auth;
pub mod door;
pub mod registrar;
pub mod time;
pub mod timer;
pub mod transaction;
