//! The other tests of hooks and versions once more, with policies that run as components: both ways have to do the same.

#[path = "every_hook.rs"]
mod every_hook;
#[path = "hooks.rs"]
mod hooks;
#[path = "lifetimes.rs"]
mod lifetimes;
#[path = "versions.rs"]
mod versions;
