//! Sockets: listeners, batched UDP, connections and their flows.
//!
//! Every listener is bound once per worker with `SO_REUSEPORT`, so that a worker reads and writes its own sockets only. A connection
//! belongs to the worker that accepted or opened it; every worker puts packets into the connection's own bounded queue. Connections
//! are tasks over any byte stream, so that TLS and WebSocket are a matter of handing over another stream.

mod batch;
mod connection;
mod connections;
mod doorbell;
mod listener;
mod poller;
mod ring;
mod steering;
mod system;
mod udp;

pub(crate) use connection::{Arrival, ConnectionTasks};
pub(crate) use connections::{ConnectionKey, Connections, Outgoing, Reservation, Sender, Unsent};
pub(crate) use doorbell::Doorbell;
pub use listener::{BindError, BoundListener, ListenerSocket, bind};
pub(crate) use poller::Poller;
pub(crate) use ring::Ring;
pub use ring::has_io_uring;
pub(crate) use system::wait_for_turns;
pub(crate) use udp::{UdpReceivers, UdpSend, UdpSenders, Way, split as split_udp};
