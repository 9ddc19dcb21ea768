//! One connection: a task that reads frames and writes packets over any byte stream.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Poll, ready};
use std::time::Duration;

use patchbay_core::door::{DropReason, Flow, FlowId, ListenerId, Packet, Transport};
use patchbay_message::{
    Draft, Frame, Framer, FramingError, KeepAlive, Limits, Message, Method, ResponseHead,
    write_response,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::connections::{ConnectionKey, Connections, Outgoing, Sender};
use crate::metrics::{DropLabel, LimitLabel, Metrics, WorkerMetrics};
use crate::worker::unpredictable;

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

static PONG_PACKET: LazyLock<Packet> = LazyLock::new(|| Packet::from(PONG));

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
        let mut partial_since = None;
        let deadline = |partial_since: Option<Instant>| match partial_since {
            Some(since) => since + PARTIAL_MESSAGE,
            None => activity.last() + IDLE,
        };
        let mut alarm = pin!(sleep_until(deadline(None)));
        loop {
            // One that rings too early is set again then: that costs less than setting it for each read.
            if deadline(partial_since) < alarm.deadline() {
                alarm.as_mut().reset(deadline(partial_since));
            }
            tokio::select! {
                read = read_into(&mut reader, &mut framer) => match read {
                    Ok(0) => return End::PeerFinished,
                    Ok(_) => {}
                    Err(error) => return End::Broken(error),
                },
                () = alarm.as_mut() => {
                    if deadline(partial_since) <= Instant::now() {
                        return End::Idle;
                    }
                    alarm.as_mut().reset(deadline(partial_since));
                    continue;
                }
            }
            activity.mark();
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
                    self.reply(flow, PONG_PACKET.clone());
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
        let tag = format!("{:016x}", unpredictable::<u64>());
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

thread_local! {
    /// Serves all connections of a thread, so that one that is idle needs none.
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Reads what is there, and returns how many bytes that were; 0 when the peer has finished.
async fn read_into(
    reader: &mut (impl AsyncRead + Unpin),
    framer: &mut Framer,
) -> io::Result<usize> {
    poll_fn(|context| {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *reader).poll_read(context, &mut buffer))?;
            framer.push(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    })
    .await
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

#[cfg(test)]
mod tests {
    use patchbay_core::door::SendId;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;

    use super::*;
    use crate::transport::Reservation;
    use crate::worker::{Answer, Mail, Mailbox};

    const REQUEST: &str = "OPTIONS sip:a@b SIP/2.0\r\nContent-Length: 4\r\n\r\nbody";
    const SOON: Duration = Duration::from_secs(5);

    struct Bench {
        tasks: Arc<ConnectionTasks>,
        arrivals: mpsc::Receiver<Arrival>,
        address: SocketAddr,
        mailbox: Mailbox,
    }

    async fn bench(max: usize) -> Bench {
        let (mailbox, (sender, arrivals)) = (Mailbox::new(), mpsc::channel(10));
        let tasks = Arc::new(ConnectionTasks {
            worker: 0,
            connections: Arc::new(Connections::new(std::slice::from_ref(&mailbox), max)),
            arrivals: sender,
            limits: Limits::default(),
            metrics: Arc::new(Metrics::new(1)),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Arc::clone(&tasks).accept(listener, ListenerId(0), Transport::Tcp));
        Bench {
            tasks,
            arrivals,
            address,
            mailbox,
        }
    }

    impl Bench {
        async fn arrival(&mut self) -> Arrival {
            timeout(SOON, self.arrivals.recv()).await.unwrap().unwrap()
        }

        fn send(&self, flow: FlowId, id: u64, text: &str) {
            let outgoing = Outgoing {
                packet: Packet::from(text.as_bytes()),
                sender: Some(Sender {
                    worker: 0,
                    id: SendId(id),
                }),
            };
            self.tasks.connections.send(flow, outgoing).unwrap();
        }

        fn open(&self, remote: SocketAddr) -> FlowId {
            let key = ConnectionKey {
                transport: Transport::Tcp,
                remote,
                listener: ListenerId(0),
            };
            match self.tasks.connections.reserve(0, key) {
                Reservation::New(flow, receiver) => {
                    Arc::clone(&self.tasks).open(flow, key, None, receiver);
                    flow
                }
                Reservation::Existing(flow) => flow,
                Reservation::Full => panic!("full"),
            }
        }

        /// The ids that failed, once there are as many.
        async fn failed(&self, count: usize) -> Vec<SendId> {
            let mut failed = Vec::new();
            let collect = async {
                while failed.len() < count {
                    let mut mail = Mail::default();
                    std::future::poll_fn(|context| {
                        self.mailbox.wake_for_mail(context.waker().clone());
                        self.mailbox.take(&mut mail);
                        if mail.is_empty() {
                            std::task::Poll::Pending
                        } else {
                            std::task::Poll::Ready(())
                        }
                    })
                    .await;
                    failed.extend(mail.answers.drain(..).filter_map(|answer| match answer {
                        Answer::SendFailed(id) => Some(id),
                        Answer::HookWoken(_) | Answer::BindingsUpdated { .. } => None,
                    }));
                }
            };
            timeout(SOON, collect).await.unwrap();
            failed
        }
    }

    async fn read_text(stream: &mut TcpStream, length: usize) -> String {
        let mut bytes = vec![0; length];
        timeout(SOON, stream.read_exact(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn messages_are_cut_wherever_the_segments_end() {
        let mut bench = bench(10).await;
        let mut client = TcpStream::connect(bench.address).await.unwrap();
        client.set_nodelay(true).unwrap();
        let stream = [REQUEST, REQUEST].concat();
        for piece in stream.as_bytes().chunks(7) {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        for _ in 0..2 {
            let arrival = bench.arrival().await;
            assert_eq!(arrival.bytes, REQUEST.as_bytes());
            assert_eq!(
                (arrival.flow.remote, arrival.flow.local),
                (client.local_addr().unwrap(), bench.address)
            );
        }
    }

    #[tokio::test]
    async fn a_packet_goes_back_over_the_flow_of_the_message() {
        let mut bench = bench(10).await;
        let mut client = TcpStream::connect(bench.address).await.unwrap();
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        let flow = bench.arrival().await.flow.connection.unwrap();
        bench.send(flow, 1, "one");
        bench.send(flow, 2, "two");
        assert_eq!(read_text(&mut client, 6).await, "onetwo");
    }

    #[tokio::test]
    async fn a_double_crlf_is_answered_with_one() {
        let bench = bench(10).await;
        let mut client = TcpStream::connect(bench.address).await.unwrap();
        client.write_all(b"\r\n\r\n").await.unwrap();
        assert_eq!(read_text(&mut client, 2).await, "\r\n");
    }

    #[tokio::test]
    async fn a_request_without_content_length_is_refused_and_the_connection_closed() {
        let bench = bench(10).await;
        let mut client = TcpStream::connect(bench.address).await.unwrap();
        let request = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n";
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(SOON, client.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert!(answer.starts_with("SIP/2.0 400 "), "{answer}");
        assert!(answer.contains("branch=z9hG4bK1"), "{answer}");
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_is_closed() {
        let mut bench = bench(1).await;
        let mut first = TcpStream::connect(bench.address).await.unwrap();
        first.write_all(REQUEST.as_bytes()).await.unwrap();
        bench.arrival().await;
        let mut second = TcpStream::connect(bench.address).await.unwrap();
        assert_eq!(
            timeout(SOON, second.read(&mut [0; 8]))
                .await
                .unwrap()
                .unwrap_or(0),
            0
        );
        assert_eq!(
            bench.tasks.metrics.workers[0]
                .limits
                .value(LimitLabel::Connections),
            1
        );
    }

    #[tokio::test]
    async fn one_outgoing_connection_serves_a_destination_both_ways() {
        let mut bench = bench(10).await;
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let flow = bench.open(server.local_addr().unwrap());
        bench.send(flow, 1, "one");
        assert_eq!(bench.open(server.local_addr().unwrap()), flow);
        bench.send(flow, 2, "two");
        let (mut accepted, _) = timeout(SOON, server.accept()).await.unwrap().unwrap();
        assert_eq!(read_text(&mut accepted, 6).await, "onetwo");
        accepted.write_all(REQUEST.as_bytes()).await.unwrap();
        assert_eq!(bench.arrival().await.flow.connection, Some(flow));
    }

    #[tokio::test]
    async fn what_waits_for_a_connection_that_fails_has_failed() {
        let bench = bench(10).await;
        let nobody = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let flow = bench.open(nobody);
        bench.send(flow, 1, "one");
        bench.send(flow, 2, "two");
        assert_eq!(bench.failed(2).await, [SendId(1), SendId(2)]);
        assert!(!bench.tasks.connections.is_alive(flow));
    }

    #[tokio::test]
    async fn requests_on_a_connection_that_breaks_have_failed_but_responses_have_not() {
        let bench = bench(10).await;
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let flow = bench.open(server.local_addr().unwrap());
        bench.send(flow, 1, "SIP/2.0 200 OK\r\n");
        bench.send(flow, 2, "INVITE sip:a SIP/2.0\r\n");
        let (mut accepted, _) = timeout(SOON, server.accept()).await.unwrap().unwrap();
        read_text(&mut accepted, 38).await;
        accepted.set_zero_linger().unwrap();
        drop(accepted);
        assert_eq!(bench.failed(1).await, [SendId(2)]);
        let mut mail = Mail::default();
        bench.mailbox.take(&mut mail);
        assert!(mail.answers.is_empty());
    }

    #[tokio::test]
    async fn a_peer_that_has_finished_sending_still_gets_its_response() {
        let mut bench = bench(10).await;
        let mut client = TcpStream::connect(bench.address).await.unwrap();
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let flow = bench.arrival().await.flow.connection.unwrap();
        tokio::task::yield_now().await;
        bench.send(flow, 1, "answer");
        assert_eq!(read_text(&mut client, 6).await, "answer");
    }
}
