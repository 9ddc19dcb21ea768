//! Runs a policy natively, without WebAssembly, on a message given as text.
//!
//! A [`Scenario`] says what the router knows: users, contacts, settings, credentials. It runs a policy on a request and gives a
//! [`Run`], which tells what the policy decided and takes the transaction further.
//!
//! ```
//! use patchbay_sdk::prelude::*;
//! use patchbay_sdk::testing::{Decision, Scenario};
//!
//! #[derive(Default)]
//! struct VoicemailOnBusy;
//!
//! #[patchbay_sdk::policy]
//! impl Policy for VoicemailOnBusy {
//!     fn request_route(&self, request: &mut Request) -> Result<Verdict> {
//!         Ok(relay(location::lookup(request.uri())?).on_failure())
//!     }
//!
//!     fn failure_route(&self, _: &mut Request, response: &Response) -> Result<Verdict> {
//!         Ok(if response.status() == 486 { relay("sip:voicemail@192.0.2.9") } else { pass() })
//!     }
//! }
//!
//! const INVITE: &str = "\
//! INVITE sip:bob@example.com SIP/2.0
//! Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1
//! Max-Forwards: 70
//! From: <sip:alice@example.com>;tag=1
//! To: <sip:bob@example.com>
//! Call-ID: 1@192.0.2.1
//! CSeq: 1 INVITE
//! ";
//!
//! let call = Scenario::new(VoicemailOnBusy)
//!     .registered("sip:bob@example.com", "sip:bob@192.0.2.2:5060")
//!     .request(INVITE);
//! assert_eq!(call.targets(), ["sip:bob@192.0.2.2:5060"]);
//! assert!(call.armed().failure_route);
//!
//! let voicemail = call.failure(486);
//! assert_eq!(voicemail.targets(), ["sip:voicemail@192.0.2.9"]);
//! assert_eq!(call.failure(404).decision(), Decision::Pass);
//! ```
//!
//! Messages are read by the router's own parser, and edits keep the router's rules. What differs from the router is said at
//! the methods. A wrong use of this module panics with what to change, as tests do.

#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "tests state their expectations by panicking"
)]

pub(crate) mod host;
mod outcome;
pub(crate) mod outside;
mod router;
mod run;
mod scenario;
mod text;

pub use outcome::{Armed, Decision, LogLine};
pub use run::Run;
pub use scenario::Scenario;
