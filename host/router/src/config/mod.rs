//! The configuration: `patchbay.toml`, the development defaults, and what the command line changes.
//!
//! A [`Config`] is complete and checked: every default is filled in. It is replaced whole on a reload.

mod check;
mod node;
mod problem;
mod read;
mod route;
pub(crate) mod scenario;
mod section;
mod source;
mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub(crate) use check::supported;
pub use check::{is_policy_name, token};
pub use node::{Io, Node};
pub use patchbay_core::door::Transport;
pub use problem::{Place, Problem, Problems};
pub use read::Overrides;
pub(crate) use route::MAX_CHAIN;
pub use route::{PolicyRoute, RouteLimits};
pub use units::duration;
pub(crate) use units::{duration_text, size};

use crate::signature::PublicKey;

/// The ports a listener uses by default, and the address of the admin API.
pub const DEFAULT_SIP_PORT: u16 = 5060;
/// Where the admin API listens by default.
pub const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8060);
/// The name of the embedded default policy.
pub const BUILTIN: &str = "builtin";

/// Everything an operator can set.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[node]`.
    pub node: Node,
    /// `[[listen]]`, in order; `ListenerId` is the index in it.
    pub listen: Vec<Listen>,
    /// `[tls]`.
    pub tls: Option<Tls>,
    /// `[policy]`.
    pub policy: Policy,
    /// `[registrar]`.
    pub registrar: Registrar,
    /// `[auth]`.
    pub auth: Auth,
    /// `[limits]`.
    pub limits: Limits,
    /// `[timers]`.
    pub timers: Timers,
    /// `[admin]`.
    pub admin: Admin,
    /// `[log]`.
    pub log: Log,
}

/// One `[[listen]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The transport.
    pub transport: Transport,
    /// The address to bind; port 0 takes a free one.
    pub address: SocketAddr,
    /// `host[:port]` for Via and Record-Route; `None`: the local address of the flow.
    pub advertise: Option<String>,
}

/// `[tls]`: the certificates of tls and wss listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub private_key: PathBuf,
    /// Asks clients for certificates of this authority.
    pub client_ca: Option<PathBuf>,
    /// `[[tls.domain]]`: more certificates, chosen by SNI.
    pub domains: Vec<TlsDomain>,
}

/// One `[[tls.domain]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsDomain {
    /// The server name.
    pub name: String,
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub private_key: PathBuf,
}

/// `[policy]`: which policy routes and what it may use.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The watched directory of `NAME.wasm` files.
    pub directory: Option<PathBuf>,
    /// Which policy routes at the start.
    pub active: ActivePolicy,
    /// Where each setting is written.
    pub setting_places: BTreeMap<String, Place>,
    /// Where that is written.
    pub active_place: Place,
    /// Running time of one hook.
    pub hook_deadline: Duration,
    /// Running plus waiting time of one hook.
    pub hook_timeout: Duration,
    /// Waiting hooks per worker.
    pub max_concurrent_hooks: usize,
    /// Bytes per instance.
    pub memory_limit: usize,
    /// What is bound to the version that began it.
    pub pin: Pin,
    /// Who may sign policies; empty: nobody has to.
    pub trusted_keys: Vec<PublicKey>,
    /// Calls whose hook runs are kept for `patchbay call`; 0: none.
    pub call_ring: usize,
    /// `[policy.settings]`.
    pub settings: BTreeMap<String, String>,
    /// `[policy.grants]`.
    pub grants: Grants,
    /// `[[policy.route]]`, in order: the first that matches takes a request.
    pub routes: Vec<PolicyRoute>,
}

/// Which policy routes at the start, when no later activation is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActivePolicy {
    /// Nothing is configured: `default` when the directory has it, else the embedded one.
    Unset,
    /// The embedded default policy.
    Builtin,
    /// A policy of the directory.
    Named(String),
    /// `--policy FILE.wasm`: this file, as a policy of its stem's name.
    File(PathBuf),
}

/// What a policy version is pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// The hooks of a transaction run in one version.
    Transaction,
    /// The hooks of a dialog run in one version while it is kept.
    Dialog,
}

/// `[policy.grants]`: what a policy may import beyond messages, location and log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// URL prefixes that may be asked.
    pub http: Vec<String>,
    /// Key prefixes that may be read and written.
    pub keyvalue: Vec<String>,
    /// Header names that may be written in messages, `*` at the end stands for any rest; `None`: every one that is not the host's.
    pub write_headers: Option<Vec<String>>,
    /// Whether `location.save-contact` and `remove-contact` may be used.
    pub save_location: bool,
}

/// `[registrar]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registrar {
    /// For contacts that name no expiry.
    pub default_expires: Duration,
    /// RFC 3261 §10.3 step 7: shorter ones get 423.
    pub min_expires: Duration,
    /// Longer ones are shortened.
    pub max_expires: Duration,
    /// Contacts per address-of-record.
    pub max_contacts: usize,
    /// When a REGISTER is answered.
    pub durability: Durability,
}

/// When a REGISTER is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After the group commit.
    Batched,
    /// Before it.
    Relaxed,
    /// Nothing is stored.
    Memory,
}

/// `[auth]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// The realm of the challenges.
    pub realm: String,
    /// The digest algorithms, in the order of the challenges.
    pub algorithms: Vec<DigestAlgorithm>,
    /// Whether REGISTER needs verified credentials.
    pub registration: Registration,
    /// How long a nonce is good.
    pub nonce_lifetime: Duration,
    /// Whether a registered UDP address proves who calls.
    pub trust_udp_source: bool,
}

/// A digest algorithm (RFC 7616, RFC 8760).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// `MD5`.
    Md5,
    /// `SHA-256`.
    Sha256,
    /// `SHA-512-256`.
    Sha512_256,
}

/// `[auth] registration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// REGISTER needs verified credentials.
    Required,
    /// Anybody may register.
    Open,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message.
    pub max_message_bytes: usize,
    /// Connections of the process.
    pub max_connections: usize,
    /// Live transactions of the process.
    pub max_transactions: usize,
    /// Branches of a transaction, over all rounds.
    pub max_branches: usize,
    /// Rounds of `failure-route`.
    pub max_failure_rounds: u32,
    /// Requests per second and source address (IPv6: per /64); 0: no limit.
    pub requests_per_source: u32,
}

/// `[timers]`, in RFC 3261's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timers {
    /// RFC 3261 §17.1.1.1: estimate of the round-trip time.
    pub t1: Duration,
    /// RFC 3261 §17.1.2.2: longest interval between retransmissions.
    pub t2: Duration,
    /// RFC 3261 §17.1.2.2: how long a message stays in the network.
    pub t4: Duration,
    /// RFC 3261 §16.6 step 11.
    pub timer_c: Duration,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where the HTTP API listens.
    pub listen: SocketAddr,
    /// The file with the bearer token.
    pub token_file: Option<PathBuf>,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The form of the lines.
    pub format: LogFormat,
    /// As of `tracing-subscriber`'s `EnvFilter`.
    pub filter: String,
    /// Whether addresses and users are hidden.
    pub redact: bool,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for Listen {
    type Err = String;

    /// Reads `transport:ip:port`, `udp:[::1]:5060` included.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || {
            format!(
                "{text:?} is not of the form transport:ip:port, such as \"udp:127.0.0.1:5060\" or \"tcp:[::1]:5060\""
            )
        };
        let (transport, address) = text.split_once(':').ok_or_else(expected)?;
        let transport = match transport {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            "tls" => Transport::Tls,
            "ws" => Transport::Ws,
            "wss" => Transport::Wss,
            other => {
                return Err(format!(
                    "{other:?} is no transport: udp, tcp, tls, ws or wss"
                ));
            }
        };
        let address = address.parse().map_err(|_| expected())?;
        Ok(Listen {
            transport,
            address,
            advertise: None,
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", transport_name(self.transport), self.address)
    }
}

/// The name of a transport in configuration, logs and metrics.
pub fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
        Transport::Ws => "ws",
        Transport::Wss => "wss",
    }
}

impl DigestAlgorithm {
    /// The name in a challenge.
    pub fn name(self) -> &'static str {
        match self {
            DigestAlgorithm::Md5 => "MD5",
            DigestAlgorithm::Sha256 => "SHA-256",
            DigestAlgorithm::Sha512_256 => "SHA-512-256",
        }
    }
}
