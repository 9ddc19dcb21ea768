//! The callees' side: rings at once, answers a moment later, is busy where the user's name says so.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::SESSION;
use super::message::{Message, parameter};
use super::plan::Transport;
use super::report::CalleeReport;
use super::sockets::{Inbox, Peer, Sockets};
use super::template::Digits;
use super::verify::{self, Fault};
use crate::system::own_cpu_ns;

/// RFC 3261 §13.3.1.4: a 2xx goes out again after T1, 2·T1, ... until the ACK comes.
const T1: Duration = Duration::from_millis(500);
/// RFC 3261 §13.3.1.4: after 64·T1 nobody waits for the ACK any more.
const GIVE_UP_T1: u32 = 64;
/// How long the callees wait at most before they look at their timers again.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// What the callees' side does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CalleePlan {
    /// Where they are called.
    pub(crate) addresses: Vec<SocketAddrV4>,
    /// How they are reached.
    pub(crate) transport: Transport,
    /// From 180 to 200.
    pub(crate) ring_ms: u64,
}

/// The first line of the callees' output: they can be called now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Answering {
    /// Where, with the ports that the system chose.
    pub(crate) addresses: Vec<SocketAddrV4>,
}

/// Answers calls until the standard input ends.
pub(crate) fn answer(plan: &CalleePlan) -> io::Result<CalleeReport> {
    let mut callee = Callee::new(plan)?;
    let ready = Answering {
        addresses: callee.addresses.clone(),
    };
    let mut output = io::stdout();
    writeln!(output, "{}", serde_json::to_string(&ready)?)?;
    output.flush()?;
    callee.run();
    callee.report.cpu_ns = own_cpu_ns();
    Ok(callee.report)
}

struct Callee {
    sockets: Sockets,
    addresses: Vec<SocketAddrV4>,
    transport: Transport,
    ring_ns: u64,
    /// By the hash of the Call-ID: INVITEs that ring or whose 200 waits for its ACK.
    calls: HashMap<u64, Call, FixedState>,
    /// When to answer or to answer again, each in order of time.
    ringing: VecDeque<(u64, u64)>,
    checks: VecDeque<(u64, u64, u32)>,
    report: CalleeReport,
    began: Instant,
    /// The message that is being written.
    draft: Vec<u8>,
}

struct Call {
    peer: Peer,
    ringing: Vec<u8>,
    answer: Vec<u8>,
    answered: bool,
}

/// A response to write.
struct Response<'a> {
    status: &'static str,
    tag: u64,
    contact: Option<&'a [u8]>,
    body: &'static str,
}

impl Callee {
    fn new(plan: &CalleePlan) -> io::Result<Self> {
        let mut sockets = Sockets::new();
        sockets.end_with(io::stdin());
        let mut addresses = Vec::new();
        for &address in &plan.addresses {
            addresses.push(match plan.transport {
                Transport::Udp => sockets.bind(address)?.1,
                Transport::Tcp => sockets.listen(address)?,
            });
        }
        Ok(Self {
            sockets,
            addresses,
            transport: plan.transport,
            ring_ns: plan.ring_ms.saturating_mul(1_000_000),
            calls: HashMap::with_hasher(FixedState::default()),
            ringing: VecDeque::new(),
            checks: VecDeque::new(),
            report: CalleeReport::default(),
            began: Instant::now(),
            draft: Vec::new(),
        })
    }

    fn run(&mut self) {
        let mut inbox = Inbox::default();
        while !self.sockets.ended() {
            let now = self.now();
            self.tick(now);
            self.sockets.flush();
            let wait = self.time_to_wait();
            self.sockets.wait(wait, &mut inbox);
            let now = self.now();
            for (peer, bytes) in inbox.messages() {
                match Message::read(bytes) {
                    Some(message) => self.receive(peer, &message, now),
                    None => self.count_fault(Fault::Unreadable),
                }
            }
        }
    }

    fn now(&self) -> u64 {
        self.began
            .elapsed()
            .as_nanos()
            .try_into()
            .unwrap_or(u64::MAX)
    }

    fn time_to_wait(&self) -> Duration {
        let ringing = self.ringing.front().map(|&(due, _)| due);
        let check = self.checks.front().map(|&(due, ..)| due);
        let due = ringing.into_iter().chain(check).min();
        due.map_or(LONGEST_WAIT, |due| {
            Duration::from_nanos(due.saturating_sub(self.now())).min(LONGEST_WAIT)
        })
    }

    fn tick(&mut self, now: u64) {
        while let Some(&(due, key)) = self.ringing.front()
            && due <= now
        {
            self.ringing.pop_front();
            if let Some(call) = self.calls.get_mut(&key) {
                call.answered = true;
                self.sockets.send(call.peer, &call.answer);
                self.checks.push_back((now + t1_ns(), key, 1));
            }
        }
        while let Some(&(due, key, count)) = self.checks.front()
            && due <= now
        {
            self.checks.pop_front();
            self.check(key, count, now);
        }
    }

    fn check(&mut self, key: u64, count: u32, now: u64) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        if count >= GIVE_UP_T1 {
            self.calls.remove(&key);
            return;
        }
        if (count + 1).is_power_of_two() {
            self.report.retransmissions += 1;
            self.sockets.send(call.peer, &call.answer);
        }
        self.checks.push_back((now + t1_ns(), key, count + 1));
    }

    fn receive(&mut self, peer: Peer, message: &Message, now: u64) {
        match message.method() {
            b"INVITE" if message.status().is_none() => self.invited(peer, message, now),
            // It ends the transaction of the 486; the call may ring somewhere else by now.
            b"ACK" if is_busy(message) => {}
            b"ACK" => {
                let known = self.calls.remove(&key(message)).is_some();
                self.report.acknowledged += u64::from(known);
            }
            b"BYE" if message.status().is_none() => {
                self.report.ended += 1;
                self.reply_ok(peer, message);
            }
            _ if message.status().is_none() => self.reply_ok(peer, message),
            _ => self.count_fault(Fault::Unreadable),
        }
    }

    fn invited(&mut self, peer: Peer, message: &Message, now: u64) {
        if is_busy(message) {
            self.report.busy += 1;
            let tag = key(message);
            let busy = Response::empty("486 Busy Here", tag);
            self.reply(peer, message, &busy);
            return;
        }
        let key = key(message);
        if let Some(call) = self.calls.get(&key) {
            self.report.repeated += 1;
            let again = if call.answered {
                &call.answer
            } else {
                &call.ringing
            };
            self.sockets.send(call.peer, again);
            return;
        }
        self.look_at(message);
        self.ring(peer, message, key, now);
    }

    /// A request that the server has damaged counts, and is answered all the same.
    fn look_at(&mut self, message: &Message) {
        let checked = verify::session(message)
            .and_then(|()| verify::dialog(message, !message.record_routes.is_empty()));
        if let Err(fault) = checked {
            self.count_fault(fault);
        }
    }

    fn ring(&mut self, peer: Peer, message: &Message, key: u64, now: u64) {
        self.report.answered += 1;
        let contact = self.contact(peer);
        let mut response = Response {
            status: "180 Ringing",
            tag: key,
            contact: Some(&contact),
            body: "",
        };
        let (mut ringing, mut answer) = (Vec::new(), Vec::new());
        response.write(&mut ringing, message);
        response.status = "200 OK";
        response.body = SESSION;
        response.write(&mut answer, message);
        self.sockets.send(peer, &ringing);
        let call = Call {
            peer,
            ringing,
            answer,
            answered: false,
        };
        self.calls.insert(key, call);
        self.ringing.push_back((now + self.ring_ns, key));
    }

    fn contact(&self, peer: Peer) -> Vec<u8> {
        let socket = match peer {
            Peer::Datagram { socket, .. } => socket,
            Peer::Stream { .. } => 0,
        };
        let Some(address) = self.addresses.get(socket) else {
            return Vec::new();
        };
        let parameter = self.transport.uri_parameter();
        format!("<sip:callee@{address}{parameter}>").into_bytes()
    }

    fn reply_ok(&mut self, peer: Peer, message: &Message) {
        self.reply(peer, message, &Response::empty("200 OK", key(message)));
    }

    fn reply(&mut self, peer: Peer, message: &Message, response: &Response) {
        let mut draft = std::mem::take(&mut self.draft);
        draft.clear();
        response.write(&mut draft, message);
        self.sockets.send(peer, &draft);
        self.draft = draft;
    }

    fn count_fault(&mut self, fault: Fault) {
        *self
            .report
            .faults
            .entry(fault.name().to_owned())
            .or_default() += 1;
    }
}

impl Response<'_> {
    fn empty(status: &'static str, tag: u64) -> Response<'static> {
        Response {
            status,
            tag,
            contact: None,
            body: "",
        }
    }

    /// RFC 3261 §8.2.6.2, §12.1.1.
    fn write(&self, to: &mut Vec<u8>, request: &Message) {
        let mut line = |parts: &[&[u8]]| {
            parts.iter().for_each(|part| to.extend_from_slice(part));
            to.extend_from_slice(b"\r\n");
        };
        line(&[b"SIP/2.0 ", self.status.as_bytes()]);
        for via in std::iter::once(&request.via).chain(&request.further_vias) {
            line(&[b"Via: ", via]);
        }
        line(&[b"From: ", request.from]);
        if parameter(request.to, b"tag").is_some() {
            line(&[b"To: ", request.to]);
        } else {
            let tag = Digits::new(self.tag);
            line(&[b"To: ", request.to, b";tag=", tag.as_bytes()]);
        }
        line(&[b"Call-ID: ", request.call_id]);
        line(&[b"CSeq: ", request.cseq]);
        if let Some(contact) = self.contact {
            for route in &request.record_routes {
                line(&[b"Record-Route: ", route]);
            }
            line(&[b"Contact: ", contact]);
        }
        if !self.body.is_empty() {
            line(&[b"Content-Type: application/sdp"]);
        }
        let length = Digits::new(self.body.len() as u64);
        line(&[b"Content-Length: ", length.as_bytes()]);
        line(&[]);
        to.extend_from_slice(self.body.as_bytes());
    }
}

/// Whether the user who is called never answers.
fn is_busy(message: &Message) -> bool {
    message.uri().starts_with(b"sip:busy")
}

/// Names a call; the tag of our answers too, so that all of them have the same.
fn key(message: &Message) -> u64 {
    use std::hash::BuildHasher;
    FixedState::default().hash_one(message.call_id)
}

fn t1_ns() -> u64 {
    T1.as_nanos() as u64
}
