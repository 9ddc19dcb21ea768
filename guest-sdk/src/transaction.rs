//! The current transaction: where it came from, and what is kept with it from hook to hook.

use crate::error::Result;
use crate::host::transaction as host;

pub use crate::bindings::imports::patchbay::policy::transaction::Transport;

/// Where the current message came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The transport.
    pub transport: Transport,
    /// The address, without port.
    pub address: String,
    /// The port.
    pub port: u16,
    /// The local address it came to, `ip:port`.
    pub local: String,
}

/// Where the current message came from.
pub fn source() -> Source {
    let source = host::source();
    Source {
        transport: source.transport,
        address: source.address,
        port: source.port,
        local: source.local,
    }
}

/// The address the current message came from, without port.
pub fn source_address() -> String {
    host::source_address()
}

/// Whether the address the message came from is in this list of addresses and networks (`10.0.0.0/8 192.0.2.7`).
pub fn source_in(networks: &str) -> bool {
    host::source_in(networks)
}

/// Whether the host of this URI is one of the domains this router is responsible for.
pub fn is_local(uri: impl AsRef<str>) -> bool {
    host::is_local_uri(uri.as_ref())
}

/// How often `failure_route` has started new targets in this transaction.
pub fn failure_round() -> u32 {
    host::failure_round()
}

/// A text kept with the transaction.
pub fn variable(name: &str) -> Option<String> {
    host::variable(name)
}

/// Keeps a text with the transaction, for its later hooks.
///
/// # Errors
/// When there are too many, or the text is too long.
pub fn set_variable(name: &str, value: &str) -> Result<()> {
    Ok(host::set_variable(name, value)?)
}

/// A parameter of our Record-Route that an earlier request of this dialog was given with
/// [`Verdict::record_route_parameter`](crate::Verdict::record_route_parameter).
pub fn record_route_parameter(name: &str) -> Option<String> {
    host::record_route_parameter(name)
}
