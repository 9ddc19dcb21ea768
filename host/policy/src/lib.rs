//! Loads, checks, runs, limits and versions policies: WebAssembly components of the WIT package `patchbay:policy@0.1.0`.
//!
//! An [`Engine`] compiles components and checks that they fit; a [`Version`] is one that does. Each worker has its [`Instances`], in
//! which hooks run as futures that yield each millisecond and end at their deadline. [`Policies`] keeps the versions by name: which
//! one is active, which have to live on for transactions under way, which to go back to.
//!
//! What a policy asks of the router goes through the trait [`Host`]. Whatever it hands over is checked here first: a policy can't
//! break a message.

mod cache;
mod capability;
mod compilations;
mod digest;
mod direct;
mod engine;
mod exchange;
mod form;
mod guard;
mod hook_times;
mod host;
mod imports;
mod instance;
mod instances;
mod policies;
mod precompiled;
mod scope;
mod state;
mod ticker;
mod utf8;
mod verdict;
mod version;
mod world;

// The guests and the host of the integration tests, which know this crate by its name.
#[cfg(test)]
extern crate self as patchbay_policy;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;

pub use capability::{Capability, Want};
pub use digest::{Digest, DigestError};
pub use engine::{Engine, EngineConfig, EngineError, EngineStats, LoadError};
pub use form::not_a_component;
pub use guard::refuses_header;
pub use hook_times::HookTimes;
pub use host::*;
pub use instances::{HookDone, HookRun, Instances, Started};
pub use policies::{
    ActivateError, ActiveHistory, ActiveVersion, AutomaticRollback, Compiled, Loaded, Policies,
    PolicyReport, Reader, Refusing, RollbackError, Use, VersionReport, VersionState,
};
pub use scope::Scope;
pub use verdict::{Event, Fault, RegistrationEvent, Verdict};
pub use version::{Counts, Stats, Version};
pub use world::{CheckError, ComponentReport};
