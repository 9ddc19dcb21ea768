//! Sockets: listeners, batched UDP, connections and their flows.
//!
//! Every listener is bound once per worker with `SO_REUSEPORT`, so that a worker reads and writes its own sockets only. A connection
//! has one owner worker; the others send through the owner's mailbox. Connections are tasks over any byte stream, so that TLS and
//! WebSocket are a matter of handing over another stream.

mod batch;
mod connection;
mod connections;
mod listener;
mod udp;

pub use connection::{Arrival, Connector, Outgoing};
pub use connections::{ConnectionKey, Connections, Reservation};
pub use listener::{BindError, BoundListener, Listen, ListenerSocket, bind};
pub use udp::{UdpSend, UdpTransport};
