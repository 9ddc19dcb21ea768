//! The sockets of a load process: what is to be sent is collected and leaves in batches, what has come is collected in one buffer.

use std::io::{self, ErrorKind, Read, Stdin, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::ops::Range;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::batch::{self, BATCH, Received};
use super::message::message_length;

/// The receive buffer of each socket, which takes a burst of a whole window.
const RECEIVE_BUFFER_BYTES: libc::c_int = 4 << 20;
/// Batches read from one socket before the others get their turn.
const BATCHES_PER_TURN: usize = 4;
/// Read at once from a connection.
const STREAM_BYTES: usize = 65_536;

/// Who a message came from, and so who gets the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    /// Over UDP, through this socket of ours.
    Datagram {
        /// The number of our socket.
        socket: usize,
        /// The other's address.
        address: SocketAddrV4,
    },
    /// At the other end of this connection.
    Stream {
        /// The number of the connection.
        number: usize,
    },
}

/// What has arrived, until the next wait.
#[derive(Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    messages: Vec<(Peer, Range<usize>)>,
}

impl Inbox {
    /// The messages in the order of their arrival.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (Peer, &[u8])> {
        self.messages
            .iter()
            .map(|(peer, range)| (*peer, self.bytes.get(range.clone()).unwrap_or(&[])))
    }

    fn push(&mut self, peer: Peer, message: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(message);
        self.messages.push((peer, start..self.bytes.len()));
    }
}

/// All sockets of a load process.
pub(crate) struct Sockets {
    datagrams: Vec<Datagrams>,
    listeners: Vec<TcpListener>,
    streams: Vec<Option<Stream>>,
    /// The end of this input ends the process.
    ends_with: Option<Stdin>,
    ended: bool,
    descriptors: Vec<libc::pollfd>,
    /// The datagrams that wait to be sent, one after the other.
    outgoing: Vec<u8>,
    received: Received,
    refused: u64,
}

struct Datagrams {
    socket: UdpSocket,
    outbox: Vec<(Range<usize>, SocketAddrV4)>,
}

struct Stream {
    socket: TcpStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Sockets {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self {
            datagrams: Vec::new(),
            listeners: Vec::new(),
            streams: Vec::new(),
            ends_with: None,
            ended: false,
            descriptors: Vec::new(),
            outgoing: Vec::new(),
            received: Received::new(),
            refused: 0,
        }
    }

    /// Opens a UDP socket and returns its number and address.
    pub(crate) fn bind(&mut self, address: SocketAddrV4) -> io::Result<(usize, SocketAddrV4)> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        batch::enlarge_receive_buffer(&socket, RECEIVE_BUFFER_BYTES)?;
        let local = v4(socket.local_addr()?)?;
        self.datagrams.push(Datagrams {
            socket,
            outbox: Vec::new(),
        });
        self.descriptors.clear();
        Ok((self.datagrams.len() - 1, local))
    }

    /// Accepts connections at this address, and returns the one that it got.
    pub(crate) fn listen(&mut self, address: SocketAddrV4) -> io::Result<SocketAddrV4> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let local = v4(listener.local_addr()?)?;
        self.listeners.push(listener);
        self.descriptors.clear();
        Ok(local)
    }

    /// Opens a connection and returns its number and our address.
    pub(crate) fn connect(
        &mut self,
        from: Ipv4Addr,
        to: SocketAddrV4,
    ) -> io::Result<(usize, SocketAddrV4)> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SockAddr::from(SocketAddrV4::new(from, 0)))?;
        socket.connect(&SockAddr::from(to))?;
        let stream = TcpStream::from(socket);
        let local = v4(stream.local_addr()?)?;
        Ok((self.add_stream(stream)?, local))
    }

    fn add_stream(&mut self, socket: TcpStream) -> io::Result<usize> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        self.streams.push(Some(Stream {
            socket,
            incoming: Vec::new(),
            outgoing: Vec::new(),
        }));
        self.descriptors.clear();
        Ok(self.streams.len() - 1)
    }

    /// From now on the end of this input shows in [`Sockets::ended`].
    pub(crate) fn end_with(&mut self, input: Stdin) {
        self.ends_with = Some(input);
        self.descriptors.clear();
    }

    /// Whether whoever started this process wants it to end.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Datagrams that the kernel did not take, and bytes for connections that are gone.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// Sends the message with the next [`Sockets::flush`].
    pub(crate) fn send(&mut self, to: Peer, message: &[u8]) {
        match to {
            Peer::Datagram { socket, address } => {
                let Some(datagrams) = self.datagrams.get_mut(socket) else {
                    return;
                };
                let start = self.outgoing.len();
                self.outgoing.extend_from_slice(message);
                let range = start..self.outgoing.len();
                datagrams.outbox.push((range, address));
            }
            Peer::Stream { number } => match self.streams.get_mut(number) {
                Some(Some(stream)) => stream.outgoing.extend_from_slice(message),
                _ => self.refused += 1,
            },
        }
    }

    /// Hands everything to the kernel.
    pub(crate) fn flush(&mut self) {
        for datagrams in &mut self.datagrams {
            let outgoing = &self.outgoing;
            let messages = datagrams
                .outbox
                .iter()
                .map(|(range, to)| (outgoing.get(range.clone()).unwrap_or(&[]), *to));
            self.refused += batch::send(&datagrams.socket, messages) as u64;
            datagrams.outbox.clear();
        }
        self.outgoing.clear();
        for stream in self.streams.iter_mut().flatten() {
            // A connection that fails shows when it is read.
            stream.flush();
        }
    }

    /// Waits for messages, at most this long, and puts them in place of what is in the inbox.
    pub(crate) fn wait(&mut self, timeout: Duration, inbox: &mut Inbox) {
        inbox.bytes.clear();
        inbox.messages.clear();
        self.list_descriptors();
        batch::wait(&mut self.descriptors, timeout);
        let descriptors = std::mem::take(&mut self.descriptors);
        let known = descriptors.len();
        let mut ready = descriptors.iter().map(|one| one.revents != 0);
        for socket in 0..self.datagrams.len() {
            if ready.next() == Some(true) {
                self.receive(socket, inbox);
            }
        }
        let listening = ready.by_ref().take(self.listeners.len());
        let calling = listening.filter(|&ready| ready).count() > 0;
        let mut changed = false;
        for number in 0..self.streams.len() {
            if ready.next() == Some(true) {
                changed |= !self.read(number, inbox);
            }
        }
        self.ended |= self.ends_with.is_some() && ready.next() == Some(true);
        if calling {
            self.accept();
        }
        // Where nothing came or went the list is still right.
        if !changed && known == self.descriptor_count() {
            self.descriptors = descriptors;
        }
    }

    fn descriptor_count(&self) -> usize {
        let end = usize::from(self.ends_with.is_some());
        self.datagrams.len() + self.listeners.len() + self.streams.len() + end
    }

    /// In the order in which [`Sockets::wait`] looks at them. A closed connection keeps its place.
    fn list_descriptors(&mut self) {
        if !self.descriptors.is_empty() {
            return;
        }
        let nothing = libc::pollfd {
            fd: -1,
            events: 0,
            revents: 0,
        };
        let sockets = self
            .datagrams
            .iter()
            .map(|one| batch::readable(&one.socket));
        let listeners = self.listeners.iter().map(batch::readable);
        let streams = self.streams.iter().map(|stream| match stream {
            Some(stream) => batch::readable(&stream.socket),
            None => nothing,
        });
        let end = self.ends_with.iter().map(batch::readable);
        self.descriptors = sockets.chain(listeners).chain(streams).chain(end).collect();
    }

    fn receive(&mut self, socket: usize, inbox: &mut Inbox) {
        let Some(datagrams) = self.datagrams.get(socket) else {
            return;
        };
        for _ in 0..BATCHES_PER_TURN {
            let count = self.received.receive(&datagrams.socket);
            for (message, address) in self.received.datagrams() {
                inbox.push(Peer::Datagram { socket, address }, message);
            }
            if count < BATCH {
                return;
            }
        }
    }

    fn accept(&mut self) {
        let mut accepted = Vec::new();
        for listener in &self.listeners {
            while let Ok((stream, _)) = listener.accept() {
                accepted.push(stream);
            }
        }
        for stream in accepted {
            // A connection that can't be set up is closed by dropping it; the other side sees that.
            if self.add_stream(stream).is_err() {
                self.refused += 1;
            }
        }
    }

    /// Whether the connection lives on.
    fn read(&mut self, number: usize, inbox: &mut Inbox) -> bool {
        let Some(place) = self.streams.get_mut(number) else {
            return false;
        };
        let lives = place.as_mut().is_some_and(|stream| {
            stream.read(|message| inbox.push(Peer::Stream { number }, message))
        });
        if !lives {
            *place = None;
        }
        lives
    }
}

impl Stream {
    fn flush(&mut self) {
        while !self.outgoing.is_empty() {
            match self.socket.write(&self.outgoing) {
                Ok(written) if written > 0 => {
                    self.outgoing.drain(..written);
                }
                _ => return,
            }
        }
    }

    /// Whether the connection lives on.
    fn read(&mut self, mut deliver: impl FnMut(&[u8])) -> bool {
        let mut buffer = [0; STREAM_BYTES];
        match self.socket.read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => self
                .incoming
                .extend_from_slice(buffer.get(..length).unwrap_or(&[])),
            Err(error) => {
                return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
            }
        }
        let mut start = 0;
        while let Some(rest) = self.incoming.get(start..) {
            // Line ends between messages keep connections alive.
            let blank = rest
                .iter()
                .take_while(|byte| matches!(byte, b'\r' | b'\n'))
                .count();
            let message = rest.get(blank..).unwrap_or(&[]);
            let Some(length) = message_length(message) else {
                break;
            };
            deliver(message.get(..length).unwrap_or(&[]));
            start += blank + length;
        }
        self.incoming.drain(..start);
        true
    }
}

fn v4(address: SocketAddr) -> io::Result<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => Err(io::Error::other("an IPv4 address was asked for")),
    }
}
