//! What the whole-system tests share: the router as a process, user agents of ours, SIPp.
//!
//! The router is only ever driven from outside: its command line, its sockets, its admin API and its log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test harness reports by panicking"
)]

pub mod agent;
pub mod callgrind;
pub mod command;
pub mod core_events;
pub mod http_server;
pub mod load;
pub mod lock_step;
pub mod outside;
pub mod policies;
pub mod rollout;
pub mod router;
pub mod simulation;
pub mod sipp;
pub mod tenants;
pub mod text;
