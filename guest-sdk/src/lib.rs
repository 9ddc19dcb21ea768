//! Write routing policies for Patchbay in Rust.
//!
//! A policy is a type that implements [`Policy`]. Each method is a hook: the router calls it at one moment of a transaction,
//! and it answers with a [`Verdict`]. Hooks that you do not write are not exported and cost nothing.
//!
//! ```
//! use patchbay_sdk::prelude::*;
//!
//! /// Calls to a busy phone go to voicemail.
//! #[derive(Default)]
//! struct VoicemailOnBusy;
//!
//! #[patchbay_sdk::policy]
//! impl Policy for VoicemailOnBusy {
//!     fn request_route(&self, request: &mut Request) -> Result<Verdict> {
//!         if request.is_in_dialog() {
//!             return Ok(forward());
//!         }
//!         match request.method() {
//!             Method::Register => Ok(save()),
//!             _ => Ok(relay(location::lookup(request.uri())?).on_failure()),
//!         }
//!     }
//!
//!     fn failure_route(&self, _request: &mut Request, response: &Response) -> Result<Verdict> {
//!         match response.status() {
//!             486 => Ok(relay("sip:voicemail@127.0.0.1:5090")),
//!             _ => Ok(pass()),
//!         }
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! `cargo.toml` needs `crate-type = ["cdylib", "rlib"]`; `patchbay policy new NAME` writes all of it, and `patchbay policy build`
//! makes the component.
//!
//! # Errors
//! Calls to the router answer [`Result`], and `?` does what one wants on a SIP server: an [`Error`] carries the status that the
//! caller gets (an unknown user 404, what is not allowed 403, a limit 503, everything else 500) and is logged.
//!
//! # What it costs
//! A value crosses the border of the sandbox when it is asked for, about a fifth of a microsecond each. [`Request`] keeps what
//! nearly every policy reads several times (method and URIs), so that asking again is free. Looking up
//! [`Request::uri`] does not hand it over at all, and [`Request::headers_named`] brings several headers at once.
//!
//! # What has to be granted
//! [`http`], [`keyvalue`] and [`location::save_contact`] are imports of their own: a policy that uses one of them is refused by a router
//! whose operator has not granted it (`[policy.grants]`). What a policy does not call it does not import.
//!
//! # Testing
//! [`testing`] runs a policy natively, without WebAssembly, on a message given as text.

#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod export;

mod duration;
mod error;
mod event;
mod hooks;
mod host;
mod lent;
#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
mod memory;
mod message;
mod method;
mod request;
mod response;
mod targets;
mod uri;
mod verdict;

pub mod auth;
pub mod clock;
pub mod counters;
pub mod http;
pub mod keyvalue;
pub mod location;
pub mod log;
pub mod random;
pub mod settings;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod timers;
pub mod transaction;

pub use error::{Error, ErrorKind, Result};
pub use event::{Event, Registration};
pub use hooks::Policy;
pub use method::Method;
pub use patchbay_sdk_macros::policy;
pub use request::Request;
pub use response::Response;
pub use targets::{Target, Targets};
pub use uri::Uri;
pub use verdict::{Verdict, challenge, drop, forward, next, pass, relay, reply, save};

/// Everything a policy usually needs: `use patchbay_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Error, ErrorKind, Event, Method, Policy, Registration, Request, Response, Result, Target,
        Targets, Uri, Verdict, auth, challenge, clock, counters, debug, drop, error, forward, http,
        info, keyvalue, location, next, pass, random, relay, reply, save, settings, timers,
        transaction, warn,
    };
    pub use std::time::Duration;
}
