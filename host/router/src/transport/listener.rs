//! Binding the configured listeners.

use std::io;
use std::net::SocketAddr;

use patchbay_core::door::{ListenerId, Transport};
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::{Listen, transport_name};

/// Enough for a burst of some thousand requests while a worker is busy.
const RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Enough for a full send queue of usual requests.
const SEND_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A listener as one worker has it.
#[derive(Debug)]
pub struct BoundListener {
    /// Its place in the configuration's order.
    pub id: ListenerId,
    /// Its transport.
    pub transport: Transport,
    /// The bound address: the port is the real one, the address may be a wildcard.
    pub address: SocketAddr,
    /// `host[:port]` for Via and Record-Route.
    pub advertise: Option<String>,
    /// This worker's socket.
    pub socket: ListenerSocket,
}

/// The socket of a listener.
#[derive(Debug)]
pub enum ListenerSocket {
    /// Datagrams.
    Udp(std::net::UdpSocket),
    /// A stream transport, to accept on.
    Stream(std::net::TcpListener),
}

/// A listener that could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refused.
    #[error("can't listen on {}:{address}: {source}", transport_name(*transport))]
    Refused {
        /// The transport.
        transport: Transport,
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// This build has no such transport.
    #[error("can't listen on {}:{address}: this transport is not available", transport_name(*transport))]
    Unavailable {
        /// The transport.
        transport: Transport,
        /// The address asked for.
        address: SocketAddr,
    },
    /// More listeners than a `ListenerId` can tell apart.
    #[error("more than 65535 listeners")]
    TooMany,
}

/// Binds every listener once per worker; the result has one list per worker.
///
/// With port 0 the first worker's socket takes a free port and the others share it.
pub fn bind(listens: &[Listen], workers: usize) -> Result<Vec<Vec<BoundListener>>, BindError> {
    let mut per_worker: Vec<Vec<BoundListener>> = (0..workers)
        .map(|_| Vec::with_capacity(listens.len()))
        .collect();
    for (index, listen) in listens.iter().enumerate() {
        let id = ListenerId(u16::try_from(index).map_err(|_| BindError::TooMany)?);
        let mut address = probe(listen)?;
        for worker in &mut per_worker {
            let listener = bind_one(id, listen, address)?;
            address = listener.address;
            worker.push(listener);
        }
        if workers > 1 {
            steer(per_worker.first().and_then(|listeners| listeners.last()));
        }
    }
    Ok(per_worker)
}

/// Has datagrams come to the workers that they belong to. Without it they are handed over, which is slower and the same otherwise.
fn steer(first: Option<&BoundListener>) {
    let Some(BoundListener {
        socket: ListenerSocket::Udp(socket),
        address,
        ..
    }) = first
    else {
        return;
    };
    if let Err(error) = super::steering::attach(socket) {
        tracing::info!(%address, %error, "the system does not take a filter for its sockets: more messages are handed over");
    }
}

/// `SO_REUSEPORT` would let a second router take half of the traffic of the first one: a plain bind tells whether the address is in use.
fn probe(listen: &Listen) -> Result<SocketAddr, BindError> {
    let refused = |source| BindError::Refused {
        transport: listen.transport,
        address: listen.address,
        source,
    };
    if listen.address.port() == 0 {
        return Ok(listen.address);
    }
    let socket = open(listen).map_err(refused)?;
    socket.bind(&listen.address.into()).map_err(refused)?;
    Ok(listen.address)
}

fn bind_one(
    id: ListenerId,
    listen: &Listen,
    address: SocketAddr,
) -> Result<BoundListener, BindError> {
    let socket = match listen.transport {
        Transport::Udp => bind_udp(listen, address).map(ListenerSocket::Udp),
        Transport::Tcp => bind_stream(listen, address).map(ListenerSocket::Stream),
        transport => return Err(BindError::Unavailable { transport, address }),
    };
    let refused = |source| BindError::Refused {
        transport: listen.transport,
        address,
        source,
    };
    let socket = socket.map_err(refused)?;
    let bound = match &socket {
        ListenerSocket::Udp(socket) => socket.local_addr(),
        ListenerSocket::Stream(socket) => socket.local_addr(),
    };
    Ok(BoundListener {
        id,
        transport: listen.transport,
        address: bound.map_err(refused)?,
        advertise: listen.advertise.clone(),
        socket,
    })
}

fn open(listen: &Listen) -> io::Result<Socket> {
    let (kind, protocol) = match listen.transport {
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        _ => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(listen.address), kind, Some(protocol))?;
    if listen.address.is_ipv6() {
        // IPv4 has listeners of its own: peers never show up as IPv4-mapped addresses.
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn bind_udp(listen: &Listen, address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = open(listen)?;
    socket.set_reuse_port(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    if address.ip().is_unspecified() {
        super::batch::ask_for_local_address(&socket, address.is_ipv6())?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn bind_stream(listen: &Listen, address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = open(listen)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(transport: Transport, address: &str) -> Listen {
        Listen {
            transport,
            address: address.parse().unwrap(),
            advertise: None,
        }
    }

    #[test]
    fn every_worker_shares_the_free_port_that_the_first_took() {
        let bound = bind(
            &[
                listen(Transport::Udp, "127.0.0.1:0"),
                listen(Transport::Tcp, "[::1]:0"),
            ],
            3,
        )
        .unwrap();
        assert_eq!(bound.len(), 3);
        for index in 0..2 {
            let first = bound[0][index].address;
            assert_ne!(first.port(), 0);
            assert!(bound.iter().all(|worker| worker[index].address == first));
        }
    }

    #[test]
    fn an_address_in_use_is_refused() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let first = bind(&[listen(transport, "127.0.0.1:0")], 1).unwrap();
            let taken = Listen {
                transport,
                address: first[0][0].address,
                advertise: None,
            };
            assert!(matches!(bind(&[taken], 1), Err(BindError::Refused { .. })));
        }
    }

    #[test]
    fn a_transport_that_is_not_built_in_is_refused() {
        assert!(matches!(
            bind(&[listen(Transport::Tls, "127.0.0.1:0")], 1),
            Err(BindError::Unavailable { .. })
        ));
    }
}
