//! UDP: a worker's sockets, read and written in batches.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use patchbay_core::door::{Flow, ListenerId, Packet, SendId, Transport};

use super::batch::{BATCH, Datagram, SendBatch, ToSend};
use super::doorbell::Doorbell;
use super::poller::Poller;
use super::ring::{Ring, Unsent};

/// Batches read from one socket before the others get their turn.
pub(super) const BATCHES_PER_TURN: usize = 4;
/// Datagrams taken from a ring before everything else gets its turn.
const RING_DATAGRAMS_PER_TURN: usize = BATCHES_PER_TURN * BATCH;
/// Up to so many datagrams leave with the call of the ring that the worker makes anyway. For more a call of their own is cheaper.
const SENDS_WITH_RING: usize = 4;
/// Datagrams that wait while a socket does not take any. When it is full a send fails, as if the network had refused it.
const MAX_WAITING: usize = 8192;

/// The receiving side of a worker's UDP sockets.
pub(crate) struct UdpReceivers {
    listeners: Vec<Listener>,
    way: Way,
}

/// Where a socket is heard, for the flows of its datagrams.
struct Listener {
    id: ListenerId,
    address: SocketAddr,
}

/// How a worker waits and datagrams come in.
pub(crate) enum Way {
    /// epoll says when there are some, and calls fetch them.
    Poll(Box<Poller>),
    /// The kernel puts them into buffers by itself.
    Ring(Box<Ring>),
}

impl Way {
    /// What wakes the worker from other threads.
    pub(crate) fn doorbell(&self) -> &Arc<Doorbell> {
        match self {
            Way::Poll(poller) => poller.doorbell(),
            Way::Ring(ring) => ring.doorbell(),
        }
    }
}

/// The sending side of a worker's UDP sockets.
pub(crate) struct UdpSenders {
    sockets: Vec<SendQueue>,
    batch: SendBatch,
    calls: u64,
}

struct SendQueue {
    socket: Rc<UdpSocket>,
    listener: ListenerId,
    /// Bound to a wildcard: the address to send from is said with each datagram.
    wildcard: bool,
    waiting: VecDeque<UdpSend>,
}

/// A datagram to send.
#[derive(Debug)]
pub(crate) struct UdpSend {
    /// Names it when it fails.
    pub(crate) id: SendId,
    /// Where to.
    pub(crate) remote: SocketAddr,
    /// The address to send from, where the socket leaves a choice.
    pub(crate) local: Option<IpAddr>,
    /// What.
    pub(crate) packet: Packet,
}

/// Has the worker wait for the datagrams of these sockets.
pub(crate) fn split(
    sockets: Vec<(ListenerId, UdpSocket)>,
    mut way: Way,
) -> io::Result<(UdpReceivers, UdpSenders)> {
    let sockets: Vec<(ListenerId, Rc<UdpSocket>)> = sockets
        .into_iter()
        .map(|(listener, socket)| (listener, Rc::new(socket)))
        .collect();
    let (mut listeners, mut senders) = (
        Vec::with_capacity(sockets.len()),
        Vec::with_capacity(sockets.len()),
    );
    for (listener, socket) in &sockets {
        let address = socket.local_addr()?;
        listeners.push(Listener {
            id: *listener,
            address,
        });
        senders.push(SendQueue {
            socket: Rc::clone(socket),
            listener: *listener,
            wildcard: address.ip().is_unspecified(),
            waiting: VecDeque::new(),
        });
    }
    for (_, socket) in sockets {
        match &mut way {
            Way::Ring(ring) => ring.add(socket),
            Way::Poll(poller) => poller.add(socket)?,
        }
    }
    let senders = UdpSenders {
        sockets: senders,
        batch: SendBatch::new(),
        calls: 0,
    };
    Ok((UdpReceivers { listeners, way }, senders))
}

impl UdpReceivers {
    /// Hands over what has arrived, a few batches per socket, and returns how many datagrams that were. When it was nothing, `wait` ends
    /// with the next one.
    pub(crate) fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        mut deliver: impl FnMut(&Flow, &[u8], &mut Context<'_>),
    ) -> usize {
        let listeners = &self.listeners;
        let mut take = |place: usize, datagram: Datagram<'_>, context: &mut Context<'_>| {
            if let Some(listener) = listeners.get(place) {
                let flow = listener.flow(datagram.remote, datagram.local);
                deliver(&flow, datagram.bytes, context);
            }
        };
        match &mut self.way {
            Way::Ring(ring) => ring.receive(RING_DATAGRAMS_PER_TURN, |place, datagram| {
                take(place, datagram, context)
            }),
            Way::Poll(poller) => poller.receive(|place, datagram| take(place, datagram, context)),
        }
    }

    /// System calls so far that waited and received, and with a ring those that sent.
    pub(crate) fn calls(&self) -> u64 {
        match &self.way {
            Way::Ring(ring) => ring.calls(),
            Way::Poll(poller) => poller.calls(),
        }
    }

    /// Whether the runtime has something to do, since the last time this was asked.
    pub(crate) fn take_runtime_ready(&mut self) -> bool {
        match &mut self.way {
            Way::Ring(ring) => ring.take_runtime_ready(),
            Way::Poll(poller) => poller.take_runtime_ready(),
        }
    }

    /// Whether there may be datagrams that have arrived.
    pub(crate) fn may_have_datagrams(&mut self) -> bool {
        match &mut self.way {
            Way::Ring(ring) => ring.has_events(),
            Way::Poll(poller) => poller.is_ready(),
        }
    }

    /// Sleeps until something happens, at most for `timeout`.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) {
        match &mut self.way {
            Way::Ring(ring) => ring.wait(timeout),
            Way::Poll(poller) => poller.wait(timeout),
        }
    }

    /// The ring, when there is one.
    pub(crate) fn ring(&mut self) -> Option<&mut Ring> {
        match &mut self.way {
            Way::Ring(ring) => Some(ring),
            Way::Poll(_) => None,
        }
    }
}

impl Listener {
    fn flow(&self, remote: SocketAddr, local: Option<IpAddr>) -> Flow {
        let local = match local {
            Some(ip) if self.address.ip().is_unspecified() => {
                SocketAddr::new(ip, self.address.port())
            }
            _ => self.address,
        };
        Flow {
            listener: self.id,
            transport: Transport::Udp,
            local,
            remote,
            connection: None,
        }
    }
}

impl UdpSenders {
    /// Queues a datagram on a listener's socket; `false` when the queue is full or there is no such listener.
    pub(crate) fn push(&mut self, listener: ListenerId, mut send: UdpSend) -> bool {
        let Some(queue) = self
            .sockets
            .iter_mut()
            .find(|queue| queue.listener == listener)
        else {
            return false;
        };
        if queue.waiting.len() >= MAX_WAITING {
            return false;
        }
        if !queue.wildcard {
            send.local = None;
        }
        queue.waiting.push_back(send);
        true
    }

    /// Sends what is queued, in order; a few leave with the next call of the ring. Returns whether a socket takes no more for now and has to
    /// be tried again soon: nothing tells when.
    pub(crate) fn flush(
        &mut self,
        mut ring: Option<&mut Ring>,
        mut failed: impl FnMut(SendId, io::Error),
    ) -> bool {
        let mut retry = false;
        if let Some(ring) = ring.as_deref_mut() {
            retry |= self.take_back(ring, &mut failed);
        }
        for (place, queue) in self.sockets.iter_mut().enumerate() {
            if let Some(ring) = ring.as_deref_mut()
                && queue.flush_with(ring, place)
            {
                continue;
            }
            retry |= queue.flush(&mut self.batch, &mut self.calls, &mut failed);
        }
        retry
    }

    /// System calls so far that sent, without those of a ring.
    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }

    /// What the ring could not send: back into its queue when the socket took no more, else it has failed.
    fn take_back(&mut self, ring: &mut Ring, failed: &mut impl FnMut(SendId, io::Error)) -> bool {
        let mut retry = false;
        let mut unsent: Vec<_> = ring.take_unsent().collect();
        while let Some(Unsent {
            socket,
            send,
            error,
        }) = unsent.pop()
        {
            match self.sockets.get_mut(socket) {
                Some(queue) if is_full(&error) => {
                    queue.waiting.push_front(send);
                    retry = true;
                }
                _ => failed(send.id, error),
            }
        }
        retry
    }
}

/// The socket's buffer or the device's queue is full.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

impl SendQueue {
    /// Gives a few datagrams to the ring; `false` when there are too many for that.
    fn flush_with(&mut self, ring: &mut Ring, place: usize) -> bool {
        if self.waiting.is_empty() {
            return true;
        }
        if self.waiting.len() <= SENDS_WITH_RING {
            while let Some(send) = self.waiting.pop_front() {
                if let Err(send) = ring.send(place, send) {
                    self.waiting.push_front(send);
                    break;
                }
            }
        }
        // Those that the ring has were there first.
        if !self.waiting.is_empty() && ring.has_unsubmitted() {
            ring.submit();
        }
        self.waiting.is_empty()
    }

    fn flush(
        &mut self,
        batch: &mut SendBatch,
        calls: &mut u64,
        failed: &mut impl FnMut(SendId, io::Error),
    ) -> bool {
        while !self.waiting.is_empty() {
            *calls += 1;
            let datagrams = self.waiting.iter().map(|send| ToSend {
                bytes: &send.packet,
                remote: send.remote,
                local: send.local,
            });
            match batch.send(self.socket.as_raw_fd(), datagrams) {
                Ok(sent) => drop(self.waiting.drain(..sent)),
                Err(error) if is_full(&error) => return true,
                Err(error) => {
                    if let Some(send) = self.waiting.pop_front() {
                        failed(send.id, error);
                    }
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(address: &str) -> std::net::UdpSocket {
        let socket = std::net::UdpSocket::bind(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        super::super::batch::ask_for_local_address(&socket, socket.local_addr().unwrap().is_ipv6())
            .unwrap();
        socket
    }

    fn send(id: u64, remote: SocketAddr, local: Option<IpAddr>, bytes: Vec<u8>) -> UdpSend {
        UdpSend {
            id: SendId(id),
            remote,
            local,
            packet: bytes.into(),
        }
    }

    /// The receiving and sending side of a socket with a poller.
    fn with_poller(id: u16, address: &str) -> (UdpReceivers, UdpSenders) {
        let way = Way::Poll(Box::new(Poller::new().unwrap()));
        split(vec![(ListenerId(id), socket(address))], way).unwrap()
    }

    /// The receiving and sending side of a socket with a ring; `None` where the system has none.
    fn with_ring(address: &str) -> Option<(UdpReceivers, UdpSenders, Arc<Doorbell>)> {
        let ring = Ring::new()
            .inspect_err(|error| eprintln!("not tested, no io_uring here: {error}"))
            .ok()?;
        let doorbell = Arc::clone(ring.doorbell());
        let sockets = vec![(ListenerId(3), socket(address))];
        let (receivers, senders) = split(sockets, Way::Ring(Box::new(ring))).unwrap();
        Some((receivers, senders, doorbell))
    }

    fn receive(receivers: &mut UdpReceivers, wanted: usize) -> Vec<(Flow, Vec<u8>)> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let (mut all, start) = (Vec::new(), std::time::Instant::now());
        while all.len() < wanted {
            receivers.poll_receive(&mut context, |flow, bytes, _| {
                all.push((*flow, bytes.to_vec()))
            });
            if all.len() < wanted {
                receivers.wait(Some(Duration::from_secs(1)));
            }
            assert!(start.elapsed() < Duration::from_secs(10), "{}", all.len());
        }
        all
    }

    async fn flush(senders: &mut UdpSenders) -> Vec<SendId> {
        let mut failed = Vec::new();
        while senders.flush(None, |id, _| failed.push(id)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        failed
    }

    #[tokio::test]
    async fn more_than_a_batch_arrives_in_order() {
        let (mut receivers, _) = with_poller(3, "127.0.0.1:0");
        let (_, mut senders) = with_poller(0, "127.0.0.1:0");
        let remote = receivers.listeners[0].address;
        let count = 3 * BATCH + 1;
        for n in 0..count {
            assert!(senders.push(
                ListenerId(0),
                send(n as u64, remote, None, n.to_string().into_bytes())
            ));
        }
        assert_eq!(flush(&mut senders).await, Vec::new());
        let all = receive(&mut receivers, count);
        for (n, (flow, bytes)) in all.iter().enumerate() {
            assert_eq!((flow.listener, flow.local), (ListenerId(3), remote));
            assert_eq!(bytes, n.to_string().as_bytes());
        }
    }

    #[tokio::test]
    async fn a_wildcard_listener_answers_from_the_address_that_was_asked() {
        let (mut receivers, mut senders) = with_poller(0, "0.0.0.0:0");
        let port = receivers.listeners[0].address.port();
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        peer.send_to(b"question", ("127.0.0.9", port)).unwrap();
        let (flow, _) = receive(&mut receivers, 1).remove(0);
        assert_eq!(flow.local, format!("127.0.0.9:{port}").parse().unwrap());
        assert!(senders.push(
            ListenerId(0),
            send(1, flow.remote, Some(flow.local.ip()), b"answer".to_vec())
        ));
        assert_eq!(flush(&mut senders).await, Vec::new());
        assert_eq!(peer.recv_from(&mut [0; 16]).unwrap().1, flow.local);
    }

    #[tokio::test]
    async fn a_refused_datagram_fails_alone() {
        let (_, mut senders) = with_poller(0, "127.0.0.1:0");
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let remote = peer.local_addr().unwrap();
        assert!(senders.push(ListenerId(0), send(1, remote, None, b"one".to_vec())));
        assert!(senders.push(
            ListenerId(0),
            send(2, "192.0.2.1:9".parse().unwrap(), None, b"two".to_vec())
        ));
        assert!(senders.push(ListenerId(0), send(3, remote, None, b"three".to_vec())));
        assert_eq!(flush(&mut senders).await, vec![SendId(2)]);
        let mut buffer = [0; 16];
        let texts: Vec<Vec<u8>> = (0..2)
            .map(|_| {
                peer.recv(&mut buffer)
                    .map(|length| buffer[..length].to_vec())
                    .unwrap()
            })
            .collect();
        assert_eq!(texts, [b"one".to_vec(), b"three".to_vec()]);
    }

    #[tokio::test]
    async fn a_full_queue_refuses() {
        let (_, mut senders) = with_poller(0, "127.0.0.1:0");
        let remote = "127.0.0.1:9".parse().unwrap();
        for n in 0..MAX_WAITING as u64 {
            assert!(senders.push(ListenerId(0), send(n, remote, None, Vec::new())));
        }
        assert!(!senders.push(ListenerId(0), send(0, remote, None, Vec::new())));
        assert!(!senders.push(ListenerId(7), send(0, remote, None, Vec::new())));
    }

    #[tokio::test]
    async fn a_ring_loses_nothing_of_a_burst_that_is_longer_than_its_buffers() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Some((mut receivers, _, _)) = with_ring(address) else {
                return;
            };
            let (_, mut senders) = with_poller(0, address);
            let remote = receivers.listeners[0].address;
            let texts: Vec<Vec<u8>> = (0..150_usize)
                .map(|n| format!("{n}").repeat(1 + n % 90).into_bytes())
                .collect();
            for _ in 0..2 {
                for text in &texts {
                    assert!(senders.push(ListenerId(0), send(1, remote, None, text.clone())));
                }
                assert_eq!(flush(&mut senders).await, Vec::new());
                let all = receive(&mut receivers, texts.len());
                let received: Vec<Vec<u8>> = all.into_iter().map(|(_, bytes)| bytes).collect();
                assert_eq!(received, texts);
            }
        }
    }

    #[tokio::test]
    async fn a_ring_receives_the_longest_datagram() {
        let Some((mut receivers, _, _)) = with_ring("127.0.0.1:0") else {
            return;
        };
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let longest = vec![7; 65_507];
        peer.send_to(&longest, receivers.listeners[0].address)
            .unwrap();
        peer.send_to(b"", receivers.listeners[0].address).unwrap();
        let all = receive(&mut receivers, 2);
        assert!(all[0].1 == longest && all[1].1.is_empty());
        assert_eq!(all[0].0.remote, peer.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_ring_on_a_wildcard_answers_from_the_address_that_was_asked() {
        let Some((mut receivers, mut senders, _)) = with_ring("0.0.0.0:0") else {
            return;
        };
        let port = receivers.listeners[0].address.port();
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        peer.send_to(b"question", ("127.0.0.9", port)).unwrap();
        let (flow, _) = receive(&mut receivers, 1).remove(0);
        assert_eq!(flow.local, format!("127.0.0.9:{port}").parse().unwrap());
        for text in ["one", "two", "three"] {
            let answer = send(1, flow.remote, Some(flow.local.ip()), text.into());
            assert!(senders.push(ListenerId(3), answer));
        }
        let ring = receivers.ring().unwrap();
        assert!(!senders.flush(Some(&mut *ring), |_, error| panic!("{error}")));
        ring.wait(Some(Duration::ZERO));
        for text in ["one", "two", "three"] {
            let mut buffer = [0; 16];
            let (length, from) = peer.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (text.as_bytes(), flow.local));
        }
    }

    #[tokio::test]
    async fn a_datagram_that_a_ring_cannot_send_fails_alone() {
        let Some((mut receivers, mut senders, _)) = with_ring("127.0.0.1:0") else {
            return;
        };
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let good = peer.local_addr().unwrap();
        let bad = "192.0.2.1:9".parse().unwrap();
        for (id, remote) in [(1, good), (2, bad), (3, good)] {
            assert!(senders.push(ListenerId(3), send(id, remote, None, b"x".to_vec())));
        }
        let mut failed = Vec::new();
        for _ in 0..2 {
            let ring = receivers.ring().unwrap();
            senders.flush(Some(ring), |id, _| failed.push(id));
            receivers.ring().unwrap().wait(Some(Duration::ZERO));
            let mut context = Context::from_waker(std::task::Waker::noop());
            receivers.poll_receive(&mut context, |_, _, _| ());
        }
        assert_eq!(failed, [SendId(2)]);
        for _ in 0..2 {
            assert_eq!(peer.recv(&mut [0; 16]).unwrap(), 1);
        }
    }

    #[tokio::test]
    async fn a_sleeping_ring_is_woken_by_the_doorbell_and_by_the_runtime() {
        if let Some((receivers, _, doorbell)) = with_ring("127.0.0.1:0") {
            is_woken_by_the_doorbell_and_by_the_runtime(receivers, doorbell).await;
        }
    }

    #[tokio::test]
    async fn a_sleeping_poller_is_woken_by_the_doorbell_and_by_the_runtime() {
        let (receivers, _) = with_poller(3, "127.0.0.1:0");
        let doorbell = Arc::clone(receivers.way.doorbell());
        is_woken_by_the_doorbell_and_by_the_runtime(receivers, doorbell).await;
    }

    async fn is_woken_by_the_doorbell_and_by_the_runtime(
        mut receivers: UdpReceivers,
        doorbell: Arc<Doorbell>,
    ) {
        const LONG: Duration = Duration::from_secs(20);
        // Nothing of the start is left.
        receivers.wait(Some(Duration::ZERO));
        let start = std::time::Instant::now();
        for _ in 0..3 {
            let waker: std::task::Waker = Arc::clone(&doorbell).into();
            let waking = std::thread::spawn(move || waker.wake());
            while !doorbell.take() {
                receivers.wait(Some(LONG));
                receivers.poll_receive(
                    &mut Context::from_waker(std::task::Waker::noop()),
                    |_, _, _| (),
                );
            }
            waking.join().unwrap();
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(receiver);
        // The task waits for its channel.
        tokio::task::yield_now().await;
        receivers.take_runtime_ready();
        let sending = std::thread::spawn(move || sender.send(()));
        while !receivers.take_runtime_ready() {
            receivers.wait(Some(LONG));
            receivers.poll_receive(
                &mut Context::from_waker(std::task::Waker::noop()),
                |_, _, _| (),
            );
        }
        sending.join().unwrap().unwrap();
        task.await.unwrap().unwrap();
        assert!(start.elapsed() < LONG);
    }
}
