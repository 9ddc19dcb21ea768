//! The four transaction machines of RFC 3261 §17 with RFC 6026 and RFC 4320.
//!
//! A machine gets one event at a time and appends what to do to a list of the caller's, in the order to do it. It knows nothing
//! of sockets, hooks or other transactions. After each event the caller looks at `deadline()` and sets one timer for it; a
//! machine whose timeout is called too early does nothing.

mod derived;
mod invite_client;
mod invite_server;
mod key;
mod non_invite_client;
mod non_invite_server;
mod rest;
mod timing;

pub use derived::{build_ack, build_cancel, write_ack};
pub use invite_client::InviteClientTransaction;
pub use invite_server::InviteServerTransaction;
pub use key::{KeyBuildHasher, KeyHasher, KeyMaker, RequestKeys, TransactionKey};
pub use non_invite_client::NonInviteClientTransaction;
pub use non_invite_server::NonInviteServerTransaction;
pub use rest::{ClientRest, ServerRest};
pub use timing::{TIMER_D_MINIMUM, TRYING_DELAY, Timing};

use crate::door::Packet;

/// What a client transaction wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAction {
    /// Send the request or the ACK to the address, port and transport of the request.
    Send(Packet),
    /// Hand the response of this event to the transaction user.
    Response,
    /// Timer B or F: the transaction user gets no final response.
    TimedOut,
    /// The transaction user gets no response, because the request could not be sent.
    TransportFailed,
    /// Destroy the transaction now. Always the last action.
    Terminated,
}

/// What a server transaction wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAction {
    /// Send the response the way the request came.
    Send(Packet),
    /// Make a 100 (Trying) and give it to `send_provisional`.
    MakeTrying,
    /// Hand the ACK of this event to the transaction user: it is for a 2xx.
    AckToUser,
    /// Timer H: no ACK came for the 300-699.
    NoAck,
    /// A response could not be sent.
    TransportFailed,
    /// Destroy the transaction now. Always the last action.
    Terminated,
}

/// What the walks through the machines' tables share.
#[cfg(test)]
mod table {

    use crate::door::Packet;
    use crate::time::Instant;

    /// So many milliseconds after the start of the machine.
    pub(super) fn at(millis: u64) -> Instant {
        Instant(millis * 1_000)
    }

    pub(super) fn packet(text: &str) -> Packet {
        Packet::from(text.as_bytes())
    }
}
