//! What a policy may ask of the host, in Rust types.
//!
//! The router implements [`Host`] for one hook run; this crate turns the component's imports into these calls and checks
//! what a guest hands over before it does (host-owned headers, grammar, limits).

mod http;
mod keyvalue;

use std::net::SocketAddr;
use std::time::Duration;

use patchbay_message::Draft;
use wasmtime::component::{ComponentType, Lift, Lower};

pub use http::{HttpAnswer, HttpRequest, HttpResponse, Sleep};
pub use keyvalue::{KeyValueAnswer, KeyValueRequest};

use crate::capability::Capability;

/// The hooks of the WIT package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// A new request.
    RequestRoute,
    /// A branch before it is sent.
    BranchRoute,
    /// A response.
    OnreplyRoute,
    /// Every branch failed.
    FailureRoute,
    /// Something outside of transactions.
    EventRoute,
}

/// The transports, as in the WIT package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum Transport {
    /// UDP.
    #[component(name = "udp")]
    Udp,
    /// TCP.
    #[component(name = "tcp")]
    Tcp,
    /// TLS over TCP.
    #[component(name = "tls")]
    Tls,
    /// WebSocket.
    #[component(name = "ws")]
    Ws,
    /// WebSocket over TLS.
    #[component(name = "wss")]
    Wss,
}

/// Where the current message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The transport.
    pub transport: Transport,
    /// The peer.
    pub remote: SocketAddr,
    /// Our address it came to.
    pub local: SocketAddr,
}

/// `types.error-kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum ErrorKind {
    /// What was asked for does not exist.
    #[component(name = "not-found")]
    NotFound,
    /// An argument breaks the grammar or a limit.
    #[component(name = "invalid-argument")]
    InvalidArgument,
    /// Not possible in this hook.
    #[component(name = "wrong-hook")]
    WrongHook,
    /// Not allowed.
    #[component(name = "denied")]
    Denied,
    /// A limit is reached.
    #[component(name = "limit")]
    Limit,
    /// Not available at the moment.
    #[component(name = "unavailable")]
    Unavailable,
}

/// `types.error`.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(record)]
pub struct HostError {
    /// The kind.
    pub kind: ErrorKind,
    /// What to change.
    pub message: String,
}

/// `targets.target`.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub struct Target {
    /// The Request-URI of the branch.
    pub uri: String,
    /// Thousandths.
    pub q: u16,
    /// Where to send instead.
    #[component(name = "next-hop")]
    pub next_hop: Option<String>,
    /// From which listener, `transport:ip:port`.
    pub listener: Option<String>,
    /// Milliseconds.
    #[component(name = "no-answer-ms")]
    pub no_answer_ms: Option<u32>,
}

/// `types.binding`.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(record)]
pub struct Binding {
    /// The contact URI.
    pub uri: String,
    /// Thousandths.
    pub q: u16,
    /// Seconds left.
    #[component(name = "expires-secs")]
    pub expires_secs: u32,
    /// `ip:port`.
    pub received: String,
    /// User-Agent of the registration.
    #[component(name = "user-agent")]
    pub user_agent: String,
    /// `+sip.instance`.
    pub instance: Option<String>,
}

/// `location.lookup-result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(record)]
pub struct LookupResult {
    /// The number of the lookup.
    pub lookup: u32,
    /// Live contacts.
    pub count: u32,
}

/// `auth.verification`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum Verification {
    /// Right.
    #[component(name = "verified")]
    Verified,
    /// None for the realm.
    #[component(name = "missing")]
    Missing,
    /// The nonce is too old.
    #[component(name = "stale")]
    Stale,
    /// Wrong.
    #[component(name = "failed")]
    Failed,
}

/// `log.level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub enum Level {
    /// Finest.
    #[component(name = "trace")]
    Trace,
    /// A normal failed call.
    #[component(name = "debug")]
    Debug,
    /// Start, stop, reload.
    #[component(name = "info")]
    Info,
    /// Someone must look.
    #[component(name = "warn")]
    Warn,
    /// Broken.
    #[component(name = "error")]
    Error,
}

/// `transaction.hooks`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Armed {
    /// Before each branch.
    pub branch_route: bool,
    /// For each response.
    pub onreply_route: bool,
    /// When all failed.
    pub failure_route: bool,
}

/// The host's side of one hook run.
///
/// Where no message is current (`init`, `event-route`) `message` is `None`, and every call about the transaction answers
/// `WrongHook` or an empty value. Nothing here blocks.
pub trait Host: Send + 'static {
    /// What is put back when a hook begins again.
    type Before: 'static;

    /// What a hook may change, as it is before one begins. `None`: it can't be put back, so that a hook that has begun can't begin again and
    /// runs on a fiber, which costs more.
    fn before(&mut self) -> Option<Self::Before>;
    /// The hook that began then, or was about to, has to begin again: nothing that it did is to be left. It has called nothing that
    /// writes a log, counts, sets a timer, saves a contact or a key, draws a random number, or waits.
    fn undo(&mut self, before: Self::Before);
    /// Whether the operator has granted anything of this capability: a version that imports it is refused otherwise.
    fn grants(&self, capability: Capability) -> bool;
    /// The current message: the request, in `branch-route` the branch's request, in `onreply-route` the response.
    fn message(&self) -> Option<&Draft>;
    /// The current message, to edit.
    fn message_mut(&mut self) -> Option<&mut Draft>;
    /// Whether the operator lets the policy write the header of this name; known headers are asked for by their long name.
    fn may_write(&self, name: &str) -> bool;
    /// `failure-route`: the best response; `onreply-route`: the current one.
    fn response(&self) -> Option<&Draft>;
    /// Where the current message came from.
    fn source(&self) -> Option<Source>;
    /// Whether the dialog's token was valid.
    fn in_dialog(&self) -> bool;
    /// Whether the host of this URI is ours.
    fn is_local_uri(&self, uri: &str) -> bool;
    /// Rounds of `failure-route` so far.
    fn failure_round(&self) -> u32;

    /// A variable of the transaction.
    fn variable(&self, name: &str) -> Option<&str>;
    /// Sets a variable.
    fn set_variable(&mut self, name: &str, value: &str) -> Result<(), HostError>;
    /// Arms hooks.
    fn arm(&mut self, hooks: Armed);
    /// Turns Record-Route on or off.
    fn set_record_route(&mut self, enabled: bool);
    /// Adds a parameter to our Record-Route.
    fn add_record_route_parameter(&mut self, name: &str, value: &str) -> Result<(), HostError>;
    /// A parameter of our Record-Route that came back.
    fn record_route_parameter(&self, name: &str) -> Option<&str>;

    /// Adds a target; the URI is checked already.
    fn add_target(&mut self, target: Target) -> Result<(), HostError>;
    /// Adds the contacts of a lookup.
    fn add_lookup(&mut self, lookup: u32) -> Result<u32, HostError>;
    /// Starts the next group of targets.
    fn next_group(&mut self);
    /// For targets without one of their own.
    fn set_no_answer_timeout(&mut self, ms: u32);
    /// Removes the targets of this hook.
    fn clear_targets(&mut self);
    /// How many there are.
    fn target_count(&self) -> u32;

    /// A header of the `reply` verdict; name and value are checked already.
    fn add_reply_header(&mut self, name: &str, value: &str) -> Result<(), HostError>;
    /// The body of the `reply` verdict.
    fn set_reply_body(&mut self, content_type: &str, body: &[u8]) -> Result<(), HostError>;

    /// The live contacts of an AOR.
    fn lookup(&mut self, uri: &str) -> Result<LookupResult, HostError>;
    /// The live contacts of the AOR in the Request-URI; `WrongHook` where no request is current.
    fn lookup_request_uri(&mut self) -> Result<LookupResult, HostError>;
    /// One of them.
    fn binding_at(&self, lookup: u32, index: u32) -> Option<Binding>;
    /// Whether the request came over the flow of a live contact of the AOR.
    fn is_registered_source(&self, uri: &str) -> bool;
    /// Adds or refreshes a contact.
    fn save_contact(
        &mut self,
        aor: &str,
        contact: &str,
        expires_secs: u32,
    ) -> Result<(), HostError>;
    /// Removes contacts.
    fn remove_contact(&mut self, aor: &str, contact: &str) -> Result<u32, HostError>;

    /// Checks the credentials of the request.
    fn verify(&mut self) -> Verification;
    /// `user@realm` that was verified.
    fn verified_user(&self) -> Option<&str>;
    /// `[auth] registration = "required"`.
    fn auth_required(&self) -> bool;
    /// The realm.
    fn realm(&self) -> &str;

    /// One of `[policy.settings]`.
    fn setting(&self, name: &str) -> Option<&str>;
    /// All of them.
    fn settings(&self) -> Vec<(String, String)>;
    /// Writes a log line.
    fn log(&self, level: Level, message: &str);
    /// Whether it would be written.
    fn log_enabled(&self, level: Level) -> bool;
    /// Milliseconds since 1970.
    fn unix_ms(&self) -> u64;
    /// Microseconds, monotonic.
    fn monotonic_us(&self) -> u64;
    /// 64 random bits.
    fn random_u64(&mut self) -> u64;
    /// Adds to a counter.
    fn add_counter(&mut self, name: &str, value: u64) -> Result<(), HostError>;
    /// Sets a timer.
    fn set_timer(&mut self, name: &str, delay_ms: u32) -> Result<(), HostError>;
    /// Cancels one.
    fn cancel_timer(&mut self, name: &str) -> bool;

    /// Sends a request over HTTP to where the operator has granted. The answer comes within `limit`: when there is none by then, it is an
    /// error.
    fn fetch(&mut self, request: HttpRequest, limit: Duration) -> HttpAnswer;
    /// Is over after this time. Where no time passes while a hook waits, it is over at once.
    fn sleep(&mut self, time: Duration) -> Sleep;
    /// Reads or writes the key-value store, where the operator has granted it.
    fn key_value(&mut self, request: KeyValueRequest<'_>) -> Result<KeyValueAnswer, HostError>;
}
