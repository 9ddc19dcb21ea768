//! One connection: a task that reads frames and writes packets over any byte stream.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use patchbay_core::door::{DropReason, Flow, FlowId, ListenerId, Packet, Transport};
use patchbay_message::{
    Draft, Frame, Framer, FramingError, KeepAlive, Limits, Message, Method, ResponseHead,
    write_response,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::connections::{ConnectionKey, Connections, Outgoing, Sender};
use crate::metrics::{DropLabel, LimitLabel, Metrics, WorkerMetrics};

/// A connection without any traffic is closed after this time. Keep-alives (RFC 5626 §3.5.1) are traffic, and clients that want to be
/// reached send them every two minutes at most.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// A message that began has to be complete by then.
const PARTIAL_MESSAGE: Duration = Duration::from_secs(32);
/// A peer that takes nothing for this time is gone. It is as long as a transaction lives (64·T1).
const WRITE_STALLED: Duration = Duration::from_secs(32);
/// Opening a connection: three SYNs, with time left for another destination before Timer B.
const CONNECT: Duration = Duration::from_secs(5);
/// A peer that has finished sending may still read the responses.
const HALF_CLOSED: Duration = Duration::from_secs(5);
/// What is wrong with an `accept` when the process has no file left passes only with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// Packets written at once.
const WRITE_PACKETS: usize = 64;
/// Requests written last whose senders are told when the connection breaks. With more under way the older ones wait for their timers.
const MAX_RECENT: usize = 256;
/// RFC 5626 §4.4.1: the answer to a double CRLF.
const PONG: &[u8] = b"\r\n";

static PONG_PACKET: LazyLock<Packet> = LazyLock::new(|| Arc::new(PONG.to_vec()));

/// A message that a connection received.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The way it came.
    pub(crate) flow: Flow,
    /// The message.
    pub(crate) bytes: Vec<u8>,
}

/// What the connections of one worker share.
pub(crate) struct ConnectionTasks {
    /// The worker.
    pub(crate) worker: u16,
    /// All connections.
    pub(crate) connections: Arc<Connections>,
    /// Where messages go. When it is full the connections stop reading, and their peers wait.
    pub(crate) arrivals: mpsc::Sender<Arrival>,
    /// Limits of one message.
    pub(crate) limits: Limits,
    /// The numbers; the tasks run on the worker's own thread.
    pub(crate) metrics: Arc<Metrics>,
}

impl ConnectionTasks {
    /// Accepts connections for as long as the runtime lives.
    pub(crate) async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        id: ListenerId,
        transport: Transport,
    ) {
        loop {
            let (stream, remote) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let key = ConnectionKey {
                transport,
                remote,
                listener: id,
            };
            let (Ok(local), Ok(())) = (stream.local_addr(), stream.set_nodelay(true)) else {
                continue;
            };
            let Some((flow_id, receiver)) = self.connections.accepted(self.worker, key) else {
                // Closed at once: the peer finds out now and not by a timer.
                self.count(|metrics| metrics.limits.increment(LimitLabel::Connections));
                continue;
            };
            let flow = Flow {
                listener: id,
                transport,
                local,
                remote,
                connection: Some(flow_id),
            };
            tokio::spawn(Arc::clone(&self).serve(stream, flow, receiver));
        }
    }

    /// Opens a connection that was reserved; what waits in `receiver` is sent or fails.
    pub(crate) fn open(
        self: Arc<Self>,
        flow: FlowId,
        key: ConnectionKey,
        local: Option<IpAddr>,
        mut receiver: mpsc::Receiver<Outgoing>,
    ) {
        tokio::spawn(async move {
            let connected = timeout(CONNECT, connect(key.remote, local))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            match connected.and_then(|stream| Ok((stream.local_addr()?, stream))) {
                Ok((local, stream)) => {
                    let flow = Flow {
                        listener: key.listener,
                        transport: key.transport,
                        local,
                        remote: key.remote,
                        connection: Some(flow),
                    };
                    self.serve(stream, flow, receiver).await;
                }
                Err(error) => {
                    tracing::debug!(%error, peer = %key.remote, "connecting failed");
                    self.connections.remove(flow);
                    self.fail_waiting(&mut receiver);
                }
            }
        });
    }

    /// Serves a connection until it ends.
    async fn serve<S: AsyncRead + AsyncWrite>(
        self: Arc<Self>,
        stream: S,
        flow: Flow,
        receiver: mpsc::Receiver<Outgoing>,
    ) {
        let Some(flow_id) = flow.connection else {
            return;
        };
        self.count(|metrics| metrics.connections_opened.increment(flow.transport));
        let (reader, writer) = tokio::io::split(stream);
        let activity = Activity::new();
        let key = ConnectionKey {
            transport: flow.transport,
            remote: flow.remote,
            listener: flow.listener,
        };
        let mut writing = Writing {
            writer,
            receiver,
            batch: Vec::new(),
            recent: VecDeque::new(),
            activity: &activity,
        };
        let end = {
            let reading = async {
                let end = self.read(reader, &flow, &activity).await;
                self.connections.retire(flow_id, key);
                if matches!(end, End::PeerFinished) {
                    tokio::time::sleep(HALF_CLOSED).await;
                }
                end
            };
            tokio::select! {
                end = reading => end,
                error = writing.run() => End::Broken(error),
            }
        };
        tracing::debug!(peer = %flow.remote, ?end, "connection ends");
        self.connections.remove(flow_id);
        writing
            .unwritten()
            .for_each(|sender| self.connections.failed(Some(sender)));
        self.fail_waiting(&mut writing.receiver);
        writing
            .recent
            .drain(..)
            .for_each(|sender| self.connections.failed(Some(sender)));
        writing.finish(end).await;
    }

    /// Reads frames until the connection ends, and says why it does.
    async fn read(
        &self,
        mut reader: impl AsyncRead + Unpin,
        flow: &Flow,
        activity: &Activity,
    ) -> End {
        let mut framer = Framer::new(self.limits);
        let mut buffer = vec![0; READ_BYTES];
        let mut partial_since = None;
        loop {
            let deadline = match partial_since {
                Some(since) => since + PARTIAL_MESSAGE,
                None => activity.last() + IDLE,
            };
            let length = tokio::select! {
                read = reader.read(&mut buffer) => match read {
                    Ok(0) => return End::PeerFinished,
                    Ok(length) => length,
                    Err(error) => return End::Broken(error),
                },
                () = sleep_until(deadline) => {
                    if partial_since.is_none() && activity.last() + IDLE > Instant::now() {
                        continue;
                    }
                    return End::Idle;
                }
            };
            activity.mark();
            framer.push(buffer.get(..length).unwrap_or_default());
            if let Some(end) = self.frames(&mut framer, flow).await {
                return end;
            }
            partial_since = framer
                .is_inside_message()
                .then(|| partial_since.unwrap_or_else(Instant::now));
        }
    }

    /// Hands over every complete frame.
    async fn frames(&self, framer: &mut Framer, flow: &Flow) -> Option<End> {
        loop {
            let bytes = match framer.next() {
                Ok(None) => return None,
                Ok(Some(Frame::Message(bytes))) => bytes.to_vec(),
                Ok(Some(Frame::KeepAlive(KeepAlive::Ping))) => {
                    self.count(|metrics| metrics.keep_alives.increment());
                    self.reply(flow, Arc::clone(&PONG_PACKET));
                    continue;
                }
                Ok(Some(Frame::KeepAlive(KeepAlive::Pong))) => continue,
                Err(error) => {
                    self.count(|metrics| {
                        metrics.dropped.increment(DropLabel(DropReason::Malformed))
                    });
                    return Some(End::Malformed {
                        error,
                        answer: self.refusal(framer, error),
                    });
                }
            };
            if self
                .arrivals
                .send(Arrival { flow: *flow, bytes })
                .await
                .is_err()
            {
                return Some(End::Stopped);
            }
        }
    }

    /// RFC 3261 §18.3: a request without a usable Content-Length on a stream is answered 400 before the connection is closed.
    fn refusal(&self, framer: &Framer, error: FramingError) -> Option<Vec<u8>> {
        let request = Message::parse(framer.broken_head()?, &self.limits).ok()?;
        if !request.is_request() || request.method() == Method::Ack {
            return None;
        }
        let tag = format!("{:016x}", rand::random::<u64>());
        let head = ResponseHead {
            status: error.status(),
            reason: "",
            to_tag: Some(tag.as_bytes()),
        };
        let mut response = Vec::new();
        write_response(
            &mut response,
            &Draft::new(Arc::new(request)),
            head,
            std::iter::empty(),
            &[],
        );
        Some(response)
    }

    /// Sends something that belongs to no transaction.
    fn reply(&self, flow: &Flow, packet: Packet) {
        let Some(flow) = flow.connection else { return };
        // A peer that does not read gets no pong: there is nobody to tell.
        let _ = self.connections.send(
            flow,
            Outgoing {
                packet,
                sender: None,
            },
        );
    }

    fn fail_waiting(&self, receiver: &mut mpsc::Receiver<Outgoing>) {
        receiver.close();
        while let Ok(outgoing) = receiver.try_recv() {
            self.connections.failed(outgoing.sender);
        }
    }

    fn count(&self, count: impl FnOnce(&WorkerMetrics)) {
        if let Some(metrics) = self.metrics.workers.get(usize::from(self.worker)) {
            count(metrics);
        }
    }
}

/// Why a connection ends.
#[derive(Debug)]
#[allow(dead_code, reason = "some fields are for the log alone")]
enum End {
    PeerFinished,
    Broken(io::Error),
    Idle,
    Malformed {
        error: FramingError,
        answer: Option<Vec<u8>>,
    },
    Stopped,
}

async fn connect(remote: SocketAddr, local: Option<IpAddr>) -> io::Result<tokio::net::TcpStream> {
    let socket = match remote {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    if let Some(local) = local {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    socket.connect(remote).await
}

/// When something last came or went.
struct Activity {
    start: Instant,
    millis: AtomicU64,
}

impl Activity {
    fn new() -> Activity {
        Activity {
            start: Instant::now(),
            millis: AtomicU64::new(0),
        }
    }

    fn mark(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }
}

/// The writing side of a connection.
struct Writing<'a, W> {
    writer: W,
    receiver: mpsc::Receiver<Outgoing>,
    /// Taken from the queue and not yet written.
    batch: Vec<Outgoing>,
    recent: VecDeque<Sender>,
    activity: &'a Activity,
}

impl<W: AsyncWrite + Unpin> Writing<'_, W> {
    /// Writes what is sent, in order, until writing fails.
    async fn run(&mut self) -> io::Error {
        let mut buffer = Vec::new();
        loop {
            if self
                .receiver
                .recv_many(&mut self.batch, WRITE_PACKETS)
                .await
                == 0
            {
                return io::ErrorKind::NotConnected.into();
            }
            buffer.clear();
            for outgoing in &self.batch {
                buffer.extend_from_slice(&outgoing.packet);
            }
            let written = timeout(WRITE_STALLED, self.writer.write_all(&buffer)).await;
            if let Err(error) = written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                return error;
            }
            self.activity.mark();
            self.remember();
        }
    }

    /// Who sent what was taken from the queue and not written.
    fn unwritten(&self) -> impl Iterator<Item = Sender> {
        self.batch.iter().filter_map(|outgoing| outgoing.sender)
    }

    /// Says the last word and closes. An error has nobody left to hear of it.
    async fn finish(&mut self, end: End) {
        let closed = async {
            if let End::Malformed { answer: Some(answer), .. } = end
                // Otherwise a message was cut in the middle, and nothing can follow it.
                && self.batch.is_empty()
            {
                self.writer.write_all(&answer).await?;
            }
            self.writer.shutdown().await
        };
        let _ = timeout(HALF_CLOSED, closed).await;
    }

    /// RFC 3261 §18.4: the sender of a request hears that its connection broke. A response that was written has done its work.
    fn remember(&mut self) {
        let requests = self
            .batch
            .drain(..)
            .filter(|outgoing| !outgoing.packet.starts_with(b"SIP/2.0 "));
        self.recent
            .extend(requests.filter_map(|outgoing| outgoing.sender));
        let surplus = self.recent.len().saturating_sub(MAX_RECENT);
        self.recent.drain(..surplus);
    }
}
