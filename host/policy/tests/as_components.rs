//! The other tests of hooks and versions once more, with policies that run as components: both ways have to do the same.

#![allow(
    clippy::duplicate_mod,
    reason = "each of these files has the support module of its own"
)]

#[path = "every_hook.rs"]
mod every_hook;
#[path = "hooks.rs"]
mod hooks;
#[path = "lifetimes.rs"]
mod lifetimes;
#[path = "outside.rs"]
mod outside;
#[path = "versions.rs"]
mod versions;
