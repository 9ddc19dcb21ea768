//! UDP: a worker's sockets, read and written in batches.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use patchbay_core::door::{Flow, ListenerId, Packet, SendId, Transport};
use tokio::io::unix::AsyncFd;

use super::batch::{BATCH, ReceiveBatch, SendBatch, ToSend, watch_for_datagrams};

/// Batches read from one socket before the others get their turn.
const BATCHES_PER_TURN: usize = 4;
/// Datagrams that wait while a socket does not take any. When it is full a send fails, as if the network had refused it.
const MAX_WAITING: usize = 8192;

/// The receiving side of a worker's UDP sockets.
pub(crate) struct UdpReceivers {
    sockets: Vec<Receiver>,
    batch: ReceiveBatch,
}

struct Receiver {
    socket: Rc<AsyncFd<UdpSocket>>,
    listener: ListenerId,
    address: SocketAddr,
}

/// The sending side of a worker's UDP sockets.
pub(crate) struct UdpSenders {
    sockets: Vec<SendQueue>,
    batch: SendBatch,
}

struct SendQueue {
    socket: Rc<AsyncFd<UdpSocket>>,
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

/// Takes the sockets into the runtime of the current thread.
pub(crate) fn split(
    sockets: Vec<(ListenerId, UdpSocket)>,
) -> io::Result<(UdpReceivers, UdpSenders)> {
    let (mut receivers, mut senders) = (
        Vec::with_capacity(sockets.len()),
        Vec::with_capacity(sockets.len()),
    );
    for (listener, socket) in sockets {
        let address = socket.local_addr()?;
        let socket = Rc::new(watch_for_datagrams(socket)?);
        let wildcard = address.ip().is_unspecified();
        receivers.push(Receiver {
            socket: Rc::clone(&socket),
            listener,
            address,
        });
        senders.push(SendQueue {
            socket,
            listener,
            wildcard,
            waiting: VecDeque::new(),
        });
    }
    let receivers = UdpReceivers {
        sockets: receivers,
        batch: ReceiveBatch::new(),
    };
    Ok((
        receivers,
        UdpSenders {
            sockets: senders,
            batch: SendBatch::new(),
        },
    ))
}

impl UdpReceivers {
    /// Hands over what has arrived, a few batches per socket, and returns how many datagrams that were. When it was nothing, the task is
    /// woken by the next one.
    pub(crate) fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        mut deliver: impl FnMut(&Flow, &[u8], &mut Context<'_>),
    ) -> usize {
        let mut delivered = 0;
        for receiver in &self.sockets {
            for _ in 0..BATCHES_PER_TURN {
                let count = receiver.poll_batch(&mut self.batch, context);
                if count == 0 {
                    break;
                }
                delivered += count;
                for datagram in self.batch.datagrams() {
                    {
                        let flow = receiver.flow(datagram.remote, datagram.local);
                        deliver(&flow, datagram.bytes, context)
                    };
                }
            }
        }
        delivered
    }
}

impl Receiver {
    /// Receives one batch; 0 when the socket is empty and the task will be woken.
    fn poll_batch(&self, batch: &mut ReceiveBatch, context: &mut Context<'_>) -> usize {
        loop {
            let mut ready = match self.socket.poll_read_ready(context) {
                Poll::Ready(Ok(ready)) => ready,
                // With an error the runtime ends: nothing more will arrive.
                Poll::Ready(Err(_)) | Poll::Pending => return 0,
            };
            match batch.receive(self.socket.as_raw_fd()) {
                Ok(count) => {
                    // Fewer than asked for: the socket is empty. Saying so here saves the call that would only find that out; a
                    // datagram that arrives meanwhile raises a new readiness event.
                    if count < BATCH {
                        ready.clear_ready();
                    }
                    return count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                // An error that a peer caused (a pending ICMP error) belongs to no datagram of this batch.
                Err(error) => tracing::debug!(%error, "receiving failed"),
            }
        }
    }

    fn flow(&self, remote: SocketAddr, local: Option<IpAddr>) -> Flow {
        let local = match local {
            Some(ip) if self.address.ip().is_unspecified() => {
                SocketAddr::new(ip, self.address.port())
            }
            _ => self.address,
        };
        Flow {
            listener: self.listener,
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

    /// Sends what is queued, in order. Returns whether a socket takes no more for now and has to be tried again soon: nothing tells when.
    pub(crate) fn flush(&mut self, mut failed: impl FnMut(SendId, io::Error)) -> bool {
        let mut retry = false;
        for queue in &mut self.sockets {
            retry |= queue.flush(&mut self.batch, &mut failed);
        }
        retry
    }
}

impl SendQueue {
    fn flush(&mut self, batch: &mut SendBatch, failed: &mut impl FnMut(SendId, io::Error)) -> bool {
        while !self.waiting.is_empty() {
            let datagrams = self.waiting.iter().map(|send| ToSend {
                bytes: &send.packet,
                remote: send.remote,
                local: send.local,
            });
            match batch.send(self.socket.as_raw_fd(), datagrams) {
                Ok(sent) => drop(self.waiting.drain(..sent)),
                // The socket's buffer or the device's queue is full.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return true,
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
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::time::Duration;

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
            packet: Arc::new(bytes),
        }
    }

    async fn receive(receivers: &mut UdpReceivers, wanted: usize) -> Vec<(Flow, Vec<u8>)> {
        let mut all = Vec::new();
        let collect = poll_fn(|context| {
            while receivers
                .poll_receive(context, |flow, bytes, _| all.push((*flow, bytes.to_vec())))
                > 0
            {}
            if all.len() >= wanted {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        tokio::time::timeout(Duration::from_secs(5), collect)
            .await
            .unwrap();
        all
    }

    async fn flush(senders: &mut UdpSenders) -> Vec<SendId> {
        let mut failed = Vec::new();
        while senders.flush(|id, _| failed.push(id)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        failed
    }

    #[tokio::test]
    async fn more_than_a_batch_arrives_in_order() {
        let (mut receivers, _) = split(vec![(ListenerId(3), socket("127.0.0.1:0"))]).unwrap();
        let (_, mut senders) = split(vec![(ListenerId(0), socket("127.0.0.1:0"))]).unwrap();
        let remote = receivers.sockets[0].address;
        let count = 3 * BATCH + 1;
        for n in 0..count {
            assert!(senders.push(
                ListenerId(0),
                send(n as u64, remote, None, n.to_string().into_bytes())
            ));
        }
        assert_eq!(flush(&mut senders).await, Vec::new());
        let all = receive(&mut receivers, count).await;
        for (n, (flow, bytes)) in all.iter().enumerate() {
            assert_eq!((flow.listener, flow.local), (ListenerId(3), remote));
            assert_eq!(bytes, n.to_string().as_bytes());
        }
    }

    #[tokio::test]
    async fn a_wildcard_listener_answers_from_the_address_that_was_asked() {
        let (mut receivers, mut senders) =
            split(vec![(ListenerId(0), socket("0.0.0.0:0"))]).unwrap();
        let port = receivers.sockets[0].address.port();
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        peer.send_to(b"question", ("127.0.0.9", port)).unwrap();
        let (flow, _) = receive(&mut receivers, 1).await.remove(0);
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
        let (_, mut senders) = split(vec![(ListenerId(0), socket("127.0.0.1:0"))]).unwrap();
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
        let (_, mut senders) = split(vec![(ListenerId(0), socket("127.0.0.1:0"))]).unwrap();
        let remote = "127.0.0.1:9".parse().unwrap();
        for n in 0..MAX_WAITING as u64 {
            assert!(senders.push(ListenerId(0), send(n, remote, None, Vec::new())));
        }
        assert!(!senders.push(ListenerId(0), send(0, remote, None, Vec::new())));
        assert!(!senders.push(ListenerId(7), send(0, remote, None, Vec::new())));
    }
}
