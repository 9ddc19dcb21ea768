//! What is left of a transaction that has its final response: enough to absorb what still comes, and nothing else.
//!
//! Most of the transactions of a busy server are in this state, for 32 seconds each over UDP. The rows of the machines' tables for
//! Accepted, Confirmed and Completed are here once more, for them.

use crate::time::Instant;

/// A server transaction that only absorbs retransmissions.
#[derive(Debug)]
pub enum ServerRest {
    /// An INVITE that was answered with 2xx: its retransmissions are absorbed, its ACK is the user's. Until Timer L.
    Accepted(Instant),
    /// An INVITE whose final response was acknowledged, or that is never answered: everything is absorbed. Until Timer I.
    Confirmed(Instant),
    /// Another request: retransmissions get this response again; `None`: it is never answered. Until Timer J.
    Completed(Option<Vec<u8>>, Instant),
}

/// A client transaction that only absorbs retransmitted responses.
#[derive(Debug)]
pub enum ClientRest {
    /// An INVITE that was answered with 2xx: each further one is the user's. Until Timer M.
    Accepted(Instant),
    /// An INVITE that was answered with 300-699: retransmissions of that get this ACK again. Until Timer D.
    Acknowledged(Vec<u8>, Instant),
    /// Another request: responses are absorbed. Until Timer K.
    Completed(Instant),
}

impl ServerRest {
    /// The response that is kept, when it is no longer needed.
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            ServerRest::Completed(response, _) => response,
            ServerRest::Accepted(_) | ServerRest::Confirmed(_) => None,
        }
    }

    /// When it is over.
    pub fn end(&self) -> Instant {
        match self {
            ServerRest::Accepted(end)
            | ServerRest::Confirmed(end)
            | ServerRest::Completed(_, end) => *end,
        }
    }
}

impl ClientRest {
    /// The ACK that is kept, when it is no longer needed.
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            ClientRest::Acknowledged(ack, _) => Some(ack),
            ClientRest::Accepted(_) | ClientRest::Completed(_) => None,
        }
    }

    /// When it is over.
    pub fn end(&self) -> Instant {
        match self {
            ClientRest::Accepted(end)
            | ClientRest::Acknowledged(_, end)
            | ClientRest::Completed(end) => *end,
        }
    }

    /// Whether the request was an INVITE.
    pub fn is_invite(&self) -> bool {
        !matches!(self, ClientRest::Completed(_))
    }
}
