//! A ring of the kernel (io_uring) in place of a system call per step: a worker waits for datagrams, gets them and sends its own in one call.
//!
//! The ring receives from each socket on and on into buffers that it was given, and watches two descriptors: the runtime's epoll instance,
//! for connections and name queries, and the worker's [`Doorbell`], for other threads. What it takes from the kernel is 6.1 or later. Where
//! it is missing or forbidden, as in many containers, [`Ring::new`] fails and the worker uses [`super::batch`] alone.
//!
//! What makes the `unsafe` code sound: requests point into [`Buffers`] and [`Sends`] only, whose allocations don't move; both are freed after
//! all requests were cancelled, or never when the kernel can't say that they were.
#![allow(unsafe_code)]

mod buffers;
mod sends;

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::batch::Datagram;
use super::doorbell::Doorbell;
use super::system;
use super::udp::UdpSend;
use buffers::{Buffers, GROUP};
use sends::Sends;

/// Requests that wait to be submitted: sends, and one per socket and descriptor.
const QUEUE: u32 = 128;
/// Completions that wait to be looked at: every buffer, every send, and what else there may be.
const COMPLETIONS: u32 = 512;
/// The kernel cancels requests in microseconds.
const CANCEL: Timespec = Timespec::new().sec(1);

/// See the module.
pub(crate) struct Ring {
    ring: IoUring,
    buffers: Buffers,
    sends: Sends,
    sockets: Vec<RingSocket>,
    unsent: Vec<Unsent>,
    runtime: OwnedFd,
    is_runtime_watched: bool,
    is_runtime_ready: bool,
    doorbell: Arc<Doorbell>,
    is_doorbell_watched: bool,
    calls: u64,
}

struct RingSocket {
    socket: Rc<UdpSocket>,
    /// A request that receives is with the kernel.
    is_receiving: bool,
}

/// A datagram that the kernel refused.
pub(super) struct Unsent {
    /// The place of its socket.
    pub(super) socket: usize,
    pub(super) send: UdpSend,
    pub(super) error: io::Error,
}

/// What a request is for; it comes back with each completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Receive(u32),
    Send(u32),
    Runtime,
    Doorbell,
}

impl Purpose {
    fn encode(self) -> u64 {
        let (kind, index) = match self {
            Purpose::Receive(index) => (0, index),
            Purpose::Send(index) => (1, index),
            Purpose::Runtime => (2, 0),
            Purpose::Doorbell => (3, 0),
        };
        kind << 32 | u64::from(index)
    }

    fn decode(text: u64) -> Purpose {
        // The lower half is the index.
        let index = text as u32;
        match text >> 32 {
            0 => Purpose::Receive(index),
            1 => Purpose::Send(index),
            2 => Purpose::Runtime,
            _ => Purpose::Doorbell,
        }
    }
}

impl Ring {
    /// A ring for the runtime of the current thread, without sockets. Only this thread can use it.
    pub(crate) fn new() -> io::Result<Ring> {
        let runtime = system::epoll_of_runtime()?;
        let doorbell = Arc::new(Doorbell::new()?);
        let ring = build()?;
        let buffers = Buffers::register(&ring.submitter())?;
        Ok(Ring {
            ring,
            buffers,
            sends: Sends::new(),
            sockets: Vec::new(),
            unsent: Vec::new(),
            runtime,
            is_runtime_watched: false,
            is_runtime_ready: false,
            doorbell,
            is_doorbell_watched: false,
            calls: 0,
        })
    }

    /// What wakes the ring from other threads.
    pub(crate) fn doorbell(&self) -> &Arc<Doorbell> {
        &self.doorbell
    }

    /// Receives from this socket from now on. Its place is the number of those before it.
    pub(super) fn add(&mut self, socket: Rc<UdpSocket>) {
        self.sockets.push(RingSocket {
            socket,
            is_receiving: false,
        });
    }

    /// Whether this system has what a ring needs, and why not.
    pub(crate) fn is_available() -> io::Result<()> {
        let ring = build()?;
        let mut buffers = Buffers::register(&ring.submitter())?;
        drop(ring);
        // No request was ever made.
        buffers.free();
        Ok(())
    }

    /// Hands over what has arrived, with the place of its socket, about `limit` datagrams at most; returns how many that were.
    pub(super) fn receive(
        &mut self,
        limit: usize,
        mut deliver: impl FnMut(usize, Datagram<'_>),
    ) -> usize {
        self.watch_sockets();
        if self.ring.submission().taskrun() {
            self.enter(0, None);
        }
        let mut delivered = 0;
        while delivered < limit
            && let Some(completion) = self.next_completion()
        {
            match Purpose::decode(completion.user_data()) {
                Purpose::Receive(socket) => {
                    delivered += self.received(socket as usize, &completion, &mut deliver);
                }
                Purpose::Send(slot) => self.sent(slot, completion.result()),
                Purpose::Runtime => {
                    self.is_runtime_ready = true;
                    self.is_runtime_watched = false;
                }
                Purpose::Doorbell => self.is_doorbell_watched = cqueue::more(completion.flags()),
            }
        }
        delivered
    }

    fn next_completion(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    fn received(
        &mut self,
        place: usize,
        completion: &cqueue::Entry,
        deliver: &mut impl FnMut(usize, Datagram<'_>),
    ) -> usize {
        if !cqueue::more(completion.flags())
            && let Some(socket) = self.sockets.get_mut(place)
        {
            socket.is_receiving = false;
        }
        let length = usize::try_from(completion.result());
        let Some(buffer) = cqueue::buffer_select(completion.flags()) else {
            let error = io::Error::from_raw_os_error(-completion.result());
            // Without buffers the kernel stops until there are some again, which is at once. Another error is one that a peer caused.
            if length.is_err() && error.raw_os_error() != Some(libc::ENOBUFS) {
                tracing::debug!(%error, "receiving failed");
            }
            return 0;
        };
        if let Ok(length) = length
            && let Some(datagram) = self.buffers.datagram(buffer, length)
        {
            deliver(place, datagram);
        }
        self.buffers.provide(buffer);
        1
    }

    fn sent(&mut self, slot: u32, result: i32) {
        let ended = self.sends.end(slot);
        if let Some((socket, send)) = ended
            && result < 0
        {
            let error = io::Error::from_raw_os_error(-result);
            self.unsent.push(Unsent {
                socket,
                send,
                error,
            });
        }
    }

    /// Sends a datagram with the next call of the ring. It comes back when there is no room.
    pub(super) fn send(&mut self, place: usize, send: UdpSend) -> Result<(), UdpSend> {
        let Some(socket) = self.sockets.get(place) else {
            return Err(send);
        };
        let fd = Fd(socket.socket.as_raw_fd());
        if self.ring.submission().is_full() {
            return Err(send);
        }
        let (request, slot) = self.sends.begin(place, fd, send)?;
        let is_queued = self.push(request, Purpose::Send(slot));
        debug_assert!(is_queued, "there was room");
        Ok(())
    }

    /// What the kernel has refused since the last time.
    pub(super) fn take_unsent(&mut self) -> impl Iterator<Item = Unsent> {
        self.unsent.drain(..)
    }

    /// System calls so far.
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// Whether requests wait for the next call of the ring.
    pub(crate) fn has_unsubmitted(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// Submits what waits, without waiting for anything.
    pub(crate) fn submit(&mut self) {
        self.enter(0, None);
    }

    /// Whether something has happened. It costs no system call.
    pub(crate) fn has_events(&mut self) -> bool {
        self.ring.submission().taskrun() || !self.ring.completion().is_empty()
    }

    /// Whether the runtime has something to do, since the last time this was asked.
    pub(crate) fn take_runtime_ready(&mut self) -> bool {
        std::mem::take(&mut self.is_runtime_ready)
    }

    /// Submits what waits and sleeps until something happens, at most for `timeout`.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) {
        self.watch_sockets();
        self.watch_others();
        if !self.ring.completion().is_empty() || !self.doorbell.fall_asleep() {
            return;
        }
        // A send is complete as soon as it is submitted, and is not what this waits for.
        self.enter(self.sends.in_flight() + 1, timeout);
        self.doorbell.wake_up();
    }

    /// Queues the requests to receive, where there is none.
    fn watch_sockets(&mut self) {
        for place in 0..self.sockets.len() {
            let Some(socket) = self.sockets.get(place) else {
                break;
            };
            if socket.is_receiving {
                continue;
            }
            let fd = Fd(socket.socket.as_raw_fd());
            let request = opcode::RecvMsgMulti::new(fd, self.buffers.shape(), GROUP).build();
            let is_queued = self.push(request, Purpose::Receive(place as u32));
            if let Some(socket) = self.sockets.get_mut(place) {
                socket.is_receiving = is_queued;
            }
        }
    }

    /// Queues the requests that tell when the runtime has something to do, or another thread wakes the worker. To be called when the runtime
    /// has just looked: before, it would only be told once more.
    pub(crate) fn watch_others(&mut self) {
        let events = libc::POLLIN as u32;
        if !self.is_runtime_watched {
            let fd = Fd(self.runtime.as_raw_fd());
            let request = opcode::PollAdd::new(fd, events).build();
            self.is_runtime_watched = self.push(request, Purpose::Runtime);
        }
        if !self.is_doorbell_watched {
            let fd = Fd(self.doorbell.fd());
            let request = opcode::PollAdd::new(fd, events).multi(true).build();
            self.is_doorbell_watched = self.push(request, Purpose::Doorbell);
        }
    }

    /// Queues a request; `false` when there is no room before the next call.
    fn push(&mut self, request: squeue::Entry, purpose: Purpose) -> bool {
        let request = request.user_data(purpose.encode());
        // SAFETY: what it points into is `buffers` or a slot of `sends`, which outlive it: see `drop`.
        unsafe { self.ring.submission().push(&request).is_ok() }
    }

    /// The one system call: submits what is queued, lets the kernel do what it has put off, and waits for so many completions.
    fn enter(&mut self, completions: usize, timeout: Option<Duration>) {
        self.calls += 1;
        let timeout = timeout.map(Timespec::from);
        let arguments = match &timeout {
            Some(timeout) => SubmitArgs::new().timespec(timeout),
            None => SubmitArgs::new(),
        };
        let entered = self
            .ring
            .submitter()
            .submit_with_args(completions, &arguments);
        let Err(error) = entered else {
            return;
        };
        match error.raw_os_error() {
            // The time is over; a signal; completions have to be looked at before more can be submitted.
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => {}
            _ => {
                tracing::error!(%error, "the ring does not work");
                // Without this the worker would try again and again and do nothing else.
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let cancelled = self
            .ring
            .submitter()
            .register_sync_cancel(Some(CANCEL), CancelBuilder::any());
        match cancelled {
            Ok(()) => self.buffers.free(),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.buffers.free(),
            // The kernel may still write into the buffers, so that they stay allocated for good. Sends never wait in the kernel.
            Err(error) => tracing::warn!(%error, "the ring's requests can't be cancelled"),
        }
    }
}

/// Whether a worker can use io_uring on this system.
pub fn has_io_uring() -> bool {
    Ring::is_available().is_ok()
}

fn build() -> io::Result<IoUring> {
    if system::is_under_valgrind() {
        let reason = "valgrind stops all threads while one waits in a ring";
        return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
    }
    IoUring::builder()
        .setup_cqsize(COMPLETIONS)
        // One refused request keeps none of the others back.
        .setup_submit_all()
        .setup_single_issuer()
        // Work is done when the worker asks for it, and a flag in shared memory says that there is some.
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .build(QUEUE)
}
