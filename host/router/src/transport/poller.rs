//! Waiting for datagrams without io_uring: epoll says which sockets have some, and calls fetch them.
//!
//! It watches what a [`super::ring::Ring`] watches: the sockets, the runtime's epoll instance, and the worker's [`Doorbell`]. So the runtime,
//! which has far more to look at, has no part in a datagram here either.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::batch::{BATCH, Datagram, ReceiveBatch};
use super::doorbell::Doorbell;
use super::system::epoll_of_runtime;
use super::udp::BATCHES_PER_TURN;

/// Events fetched at a time; the others follow.
const EVENTS: usize = 64;

const RUNTIME: Token = Token(usize::MAX - 1);
const DOORBELL: Token = Token(usize::MAX - 2);

/// See the module.
pub(crate) struct Poller {
    poll: Poll,
    events: Events,
    sockets: Vec<Watched>,
    batch: ReceiveBatch,
    /// Kept open for `poll`.
    _runtime: OwnedFd,
    is_runtime_ready: bool,
    doorbell: Arc<Doorbell>,
    calls: u64,
}

struct Watched {
    socket: Rc<UdpSocket>,
    /// There may be datagrams that were not fetched.
    is_ready: bool,
}

impl Poller {
    /// One for the runtime of the current thread, without sockets. Only this thread can use it.
    pub(crate) fn new() -> io::Result<Poller> {
        let poll = Poll::new()?;
        let runtime = epoll_of_runtime()?;
        let doorbell = Arc::new(Doorbell::new()?);
        let watch = |fd, token| {
            poll.registry()
                .register(&mut SourceFd(&fd), token, Interest::READABLE)
        };
        watch(runtime.as_raw_fd(), RUNTIME)?;
        watch(doorbell.fd(), DOORBELL)?;
        Ok(Poller {
            poll,
            events: Events::with_capacity(EVENTS),
            sockets: Vec::new(),
            batch: ReceiveBatch::new(),
            _runtime: runtime,
            is_runtime_ready: false,
            doorbell,
            calls: 0,
        })
    }

    /// What wakes it from other threads.
    pub(crate) fn doorbell(&self) -> &Arc<Doorbell> {
        &self.doorbell
    }

    /// Receives from this socket from now on. Its place is the number of those before it.
    pub(super) fn add(&mut self, socket: Rc<UdpSocket>) -> io::Result<()> {
        let token = Token(self.sockets.len());
        self.poll.registry().register(
            &mut SourceFd(&socket.as_raw_fd()),
            token,
            Interest::READABLE,
        )?;
        self.sockets.push(Watched {
            socket,
            is_ready: true,
        });
        Ok(())
    }

    /// Hands over what has arrived, with the place of its socket, a few batches per socket; returns how many datagrams that were.
    pub(super) fn receive(&mut self, mut deliver: impl FnMut(usize, Datagram<'_>)) -> usize {
        let mut delivered = 0;
        for (place, watched) in self.sockets.iter_mut().enumerate() {
            for _ in 0..BATCHES_PER_TURN {
                if !watched.is_ready {
                    break;
                }
                self.calls += 1;
                delivered += watched.fetch(&mut self.batch);
                for datagram in self.batch.datagrams() {
                    deliver(place, datagram);
                }
            }
        }
        delivered
    }

    /// Whether a socket may have datagrams.
    pub(super) fn is_ready(&self) -> bool {
        self.sockets.iter().any(|watched| watched.is_ready)
    }

    /// System calls so far.
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// Whether the runtime has something to do, since the last time this was asked.
    pub(crate) fn take_runtime_ready(&mut self) -> bool {
        std::mem::take(&mut self.is_runtime_ready)
    }

    /// Sleeps until something happens, at most for `timeout`.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) {
        if !self.doorbell.fall_asleep() {
            return;
        }
        // What was not fetched is no event again.
        let timeout = match self.is_ready() {
            true => Some(Duration::ZERO),
            false => timeout,
        };
        self.calls += 1;
        let polled = self.poll.poll(&mut self.events, timeout);
        self.doorbell.wake_up();
        match polled {
            Ok(()) => self.take_events(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::error!(%error, "waiting for datagrams failed");
                // Without this the worker would try again and again and do nothing else.
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn take_events(&mut self) {
        for event in &self.events {
            match event.token() {
                RUNTIME => self.is_runtime_ready = true,
                // It has done what it is for.
                DOORBELL => {}
                Token(place) => {
                    if let Some(watched) = self.sockets.get_mut(place) {
                        watched.is_ready = true;
                    }
                }
            }
        }
    }
}

impl Watched {
    /// Fetches one batch and returns how many datagrams it has. Fewer than asked for: the socket is empty, and the next datagram is an
    /// event. That saves the call that would only find that out.
    fn fetch(&mut self, batch: &mut ReceiveBatch) -> usize {
        match batch.receive(self.socket.as_raw_fd()) {
            Ok(count) => {
                self.is_ready = count == BATCH;
                count
            }
            Err(error) => {
                // Another error is one that a peer caused (a pending ICMP error), and belongs to no datagram.
                self.is_ready = error.kind() != io::ErrorKind::WouldBlock;
                if self.is_ready {
                    tracing::debug!(%error, "receiving failed");
                }
                0
            }
        }
    }
}
