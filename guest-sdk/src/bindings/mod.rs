//! The bindings of the WIT package, written by `cargo xtask bindings`: what the host provides, and a file for each hook.

#![allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    rustdoc::all,
    reason = "generated code"
)]
#![allow(
    clippy::all,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "generated code"
)]

#[rustfmt::skip]
pub mod branch_route;
#[rustfmt::skip]
pub mod event_route;
#[rustfmt::skip]
pub mod failure_route;
#[rustfmt::skip]
pub mod imports;
#[rustfmt::skip]
pub mod init;
#[rustfmt::skip]
pub mod onreply_route;
#[rustfmt::skip]
pub mod request_route;
