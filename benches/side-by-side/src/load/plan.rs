//! What a load process is told to do, as JSON on its command line.

use std::net::{Ipv4Addr, SocketAddrV4};

use serde::{Deserialize, Serialize};

/// What the callers' side does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// What kind of transaction.
    pub(crate) kind: Kind,
    /// The server.
    pub(crate) server: SocketAddrV4,
    /// How to reach it.
    pub(crate) transport: Transport,
    /// Where the callers are.
    pub(crate) local: Ipv4Addr,
    /// How many sockets or connections they have.
    pub(crate) sockets: usize,
    /// The domain of everybody.
    pub(crate) domain: String,
    /// The first part of the users' names, the second is a number.
    pub(crate) prefix: String,
    /// Numbers go from 0 to one below.
    pub(crate) users: u64,
    /// From each user to the next one: 1 takes them in turn.
    pub(crate) step: u64,
    /// Where phones say that they are.
    pub(crate) contact: SocketAddrV4,
    /// The password of all users, when the server asks.
    pub(crate) password: String,
    /// How fast.
    pub(crate) pace: Pace,
    /// No new transaction after this time.
    pub(crate) seconds: f64,
    /// No more than this many.
    pub(crate) count: u64,
    /// How long a call is up.
    pub(crate) hold_ms: u64,
    /// Whether answers to INVITE must have Record-Route, as those through a proxy that stays in the path.
    pub(crate) through_proxy: bool,
    /// RFC 3261 §17.1.1.1: T1, longer where the server is made slow by what watches it.
    pub(crate) t1_ms: u64,
}

/// The kinds of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// INVITE, its answers, ACK, BYE.
    Call,
    /// REGISTER of one contact, with credentials when they are asked for.
    Register,
    /// OPTIONS to the server itself.
    Options,
}

/// How to reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Transport {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
}

/// How fast transactions follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Pace {
    /// So many at a time, a new one for each that ends: the server has all it can do.
    Window(usize),
    /// So many each second, whatever happens.
    Rate(f64),
}

impl Plan {
    /// A call, registration or OPTIONS over UDP, unlimited in number.
    pub(crate) fn new(kind: Kind, server: SocketAddrV4) -> Self {
        Self {
            kind,
            server,
            transport: Transport::Udp,
            local: Ipv4Addr::new(127, 0, 0, 2),
            sockets: 4,
            domain: "bench.test".to_owned(),
            prefix: "u".to_owned(),
            users: 1000,
            step: 1,
            contact: SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 3), 6080),
            password: "secret".to_owned(),
            pace: Pace::Window(64),
            seconds: f64::MAX,
            count: u64::MAX,
            hold_ms: 10,
            through_proxy: true,
            t1_ms: 500,
        }
    }
}

impl Transport {
    /// As Via names it.
    pub(crate) fn in_via(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        }
    }

    /// What follows the address in a URI.
    pub(crate) fn uri_parameter(self) -> &'static str {
        match self {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
        }
    }
}
