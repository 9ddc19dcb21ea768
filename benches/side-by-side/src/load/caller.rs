//! The callers' side: starts transactions at the pace of its plan, sends again what is not answered, and looks at every answer.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant, SystemTime};

use super::message::{Message, number, parameter};
use super::plan::{Kind, Pace, Plan, Transport};
use super::report::{Latency, Report};
use super::script::Script;
use super::sockets::{Inbox, Peer, Sockets};
use super::template::{Digits, Gap};
use super::verify::{Expected, Fault};
use crate::system::own_cpu_ns;

/// New transactions between two looks at what has come: a whole window at once would not fit into the server's receive buffer.
const BURST: u64 = 32;
/// Transactions at a time with [`Pace::Rate`]; more wait, which shows as a lower rate.
const SLOTS: usize = 20_000;
/// RFC 3261 §17.1.1.2: Timer B, and Timer F for the others, in T1.
const GIVE_UP_T1: u32 = 64;
/// How long the load waits at most before it looks at its timers again.
const LONGEST_WAIT: Duration = Duration::from_millis(5);

/// Carries out the plan.
pub(crate) fn generate(plan: Plan) -> io::Result<Report> {
    let mut caller = Caller::new(plan)?;
    caller.run();
    Ok(caller.report())
}

/// The callers' side while it runs. Times are in nanoseconds since it began.
pub(super) struct Caller {
    pub(super) plan: Plan,
    pub(super) sockets: Sockets,
    pub(super) scripts: Vec<Script>,
    pub(super) slots: Vec<Slot>,
    pub(super) report: Report,
    /// Tells our messages from those of an earlier run.
    pub(super) run: Vec<u8>,
    pub(super) ringing: Vec<u64>,
    pub(super) answered: Vec<u64>,
    /// Calls that are up, and when they are to end.
    pub(super) holds: VecDeque<(u64, usize, u64)>,
    free: Vec<usize>,
    /// The user who comes next, and by number who is in a transaction: a phone does not begin one before the last has ended.
    next_user: usize,
    step: usize,
    engaged: Vec<bool>,
    checks: VecDeque<Check>,
    began: Instant,
    ended_ns: u64,
}

/// Room for one transaction at a time.
pub(super) struct Slot {
    /// The number of the transaction that is here.
    pub(super) serial: u64,
    pub(super) stage: Stage,
    pub(super) user: u64,
    pub(super) started_ns: u64,
    pub(super) rang: bool,
    /// Which socket.
    pub(super) script: usize,
    /// What Via, From and, but for REGISTER, Call-ID hold: slot, serial and run.
    pub(super) key: Vec<u8>,
    pub(super) call_id: Vec<u8>,
    pub(super) cseq: u64,
    /// What is sent again.
    pub(super) request: Vec<u8>,
    pub(super) acknowledge: Vec<u8>,
    /// Counts the requests, so that a check knows whether it is too late.
    round: u32,
}

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none.
    Free,
    /// Nothing has come.
    Calling,
    /// A provisional response has come.
    Proceeding,
    /// The request with credentials is out.
    Authorizing,
    /// The call is up.
    Up,
    /// The BYE is out.
    Ending,
}

/// A look at a request, every T1, whether it has to be sent again.
struct Check {
    due_ns: u64,
    slot: usize,
    serial: u64,
    round: u32,
    /// How many there have been.
    count: u32,
}

impl Caller {
    fn new(plan: Plan) -> io::Result<Self> {
        let mut sockets = Sockets::new();
        let mut scripts = Vec::new();
        for _ in 0..plan.sockets.max(1) {
            let (server, local) = open(&mut sockets, &plan)?;
            scripts.push(Script::new(&plan, server, local));
        }
        let slots = match plan.pace {
            Pace::Window(window) => window.max(1),
            Pace::Rate(_) => SLOTS,
        };
        let users = usize::try_from(plan.users.max(1)).unwrap_or(usize::MAX);
        let step = usize::try_from(plan.step).unwrap_or(1);
        let engaged = vec![false; users];
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let run = format!("{:x}", unix.unwrap_or_default().as_micros());
        Ok(Self {
            plan,
            sockets,
            scripts,
            slots: (0..slots).map(|_| Slot::new()).collect(),
            report: Report::default(),
            run: run.into_bytes(),
            ringing: Vec::new(),
            answered: Vec::new(),
            holds: VecDeque::new(),
            free: (0..slots).rev().collect(),
            next_user: 0,
            step,
            engaged,
            checks: VecDeque::new(),
            began: Instant::now(),
            ended_ns: 0,
        })
    }

    fn run(&mut self) {
        let mut inbox = Inbox::default();
        loop {
            let now = self.now();
            let loading =
                now < seconds_ns(self.plan.seconds) && self.report.started < self.plan.count;
            if loading {
                self.start_what_is_due(now);
            } else if self.free.len() == self.slots.len() {
                break;
            }
            self.tick(now);
            self.sockets.flush();
            let wait = self.time_to_wait(loading);
            self.sockets.wait(wait, &mut inbox);
            let now = self.now();
            for (_, message) in inbox.messages() {
                self.receive(message, now);
            }
        }
        self.ended_ns = self.now();
    }

    fn report(mut self) -> Report {
        self.report.seconds = self.ended_ns as f64 / 1e9;
        self.report.refused = self.sockets.refused();
        self.report.ringing = Latency::of(&mut self.ringing);
        self.report.answered = Latency::of(&mut self.answered);
        self.report.cpu_ns = own_cpu_ns();
        self.report
    }

    fn now(&self) -> u64 {
        duration_ns(self.began.elapsed())
    }

    fn start_what_is_due(&mut self, now: u64) {
        let due = match self.plan.pace {
            Pace::Window(_) => u64::MAX,
            Pace::Rate(rate) => (now as f64 / 1e9 * rate) as u64 + 1,
        };
        let limit = due.min(self.plan.count).min(self.report.started + BURST);
        while self.report.started < limit {
            let Some(&slot) = self.free.last() else {
                return;
            };
            let Some(user) = self.free_user() else {
                return;
            };
            self.free.pop();
            self.start(slot, user, now);
        }
    }

    /// In turn; callees may be called by several at a time.
    fn free_user(&mut self) -> Option<usize> {
        for _ in 0..self.engaged.len() {
            let user = self.next_user;
            self.next_user = (user + self.step) % self.engaged.len();
            let phone = self.plan.kind == Kind::Register;
            let engaged = self.engaged.get_mut(user)?;
            if !phone || !std::mem::replace(engaged, true) {
                return Some(user);
            }
        }
        None
    }

    fn start(&mut self, number: usize, user: usize, now: u64) {
        self.report.started += 1;
        let serial = self.report.started;
        let Some(slot) = self.slots.get_mut(number) else {
            return;
        };
        slot.serial = serial;
        slot.stage = Stage::Calling;
        slot.user = user as u64;
        slot.started_ns = now;
        slot.rang = false;
        slot.script = serial as usize % self.scripts.len();
        slot.acknowledge.clear();
        slot.name(number, &self.run, self.plan.kind);
        self.send_first(number, b"", now);
    }

    /// Sends the first request, or its successor with credentials.
    pub(super) fn send_first(&mut self, number: usize, authorization: &[u8], now: u64) {
        let Some(slot) = self.slots.get_mut(number) else {
            return;
        };
        let Some(script) = self.scripts.get(slot.script) else {
            return;
        };
        let (user, cseq) = (Digits::new(slot.user), Digits::new(slot.cseq));
        let (key, call_id) = (&slot.key, &slot.call_id);
        script.first.fill(&mut slot.request, |gap| match gap {
            Gap::User => user.as_bytes(),
            Gap::Key => key,
            Gap::CSeq => cseq.as_bytes(),
            Gap::Call => call_id,
            Gap::Authorization => authorization,
            _ => b"",
        });
        self.send_request(number, now);
    }

    /// Sends what is in the slot, and looks after it.
    pub(super) fn send_request(&mut self, number: usize, now: u64) {
        let t1_ns = self.t1_ns();
        let Some(slot) = self.slots.get_mut(number) else {
            return;
        };
        let Some(script) = self.scripts.get(slot.script) else {
            return;
        };
        slot.round = slot.round.wrapping_add(1);
        self.sockets.send(script.server, &slot.request);
        self.checks.push_back(Check {
            due_ns: now + t1_ns,
            slot: number,
            serial: slot.serial,
            round: slot.round,
            count: 1,
        });
    }

    fn t1_ns(&self) -> u64 {
        self.plan.t1_ms.saturating_mul(1_000_000)
    }

    /// The transaction is over.
    pub(super) fn finish(&mut self, number: usize, well: bool) {
        let Some(slot) = self.slots.get_mut(number) else {
            return;
        };
        slot.stage = Stage::Free;
        self.free.push(number);
        let user = usize::try_from(slot.user).unwrap_or(usize::MAX);
        if let Some(engaged) = self.engaged.get_mut(user) {
            *engaged = false;
        }
        if well {
            self.report.completed += 1;
        } else {
            self.report.failed += 1;
        }
    }

    /// An answer is not as it must be: so the transaction has failed.
    pub(super) fn fault(&mut self, number: usize, fault: Fault) {
        self.count_fault(fault);
        self.finish(number, false);
    }

    fn count_fault(&mut self, fault: Fault) {
        *self
            .report
            .faults
            .entry(fault.name().to_owned())
            .or_default() += 1;
    }

    /// The server said something else than the plan expects.
    pub(super) fn refused(&mut self, number: usize, status: u16) {
        *self.report.statuses.entry(status).or_default() += 1;
        self.finish(number, false);
    }

    fn tick(&mut self, now: u64) {
        while let Some(&(due, number, serial)) = self.holds.front()
            && due <= now
        {
            self.holds.pop_front();
            let slot = self.slots.get_mut(number);
            if let Some(slot) = slot.filter(|slot| slot.serial == serial && slot.stage == Stage::Up)
            {
                slot.stage = Stage::Ending;
                self.send_request(number, now);
            }
        }
        while let Some(check) = self.checks.front()
            && check.due_ns <= now
        {
            if let Some(check) = self.checks.pop_front() {
                self.check(check, now);
            }
        }
    }

    /// RFC 3261 §17.1.1.2, §17.1.2.2: over UDP a request goes out again after T1, 2·T1, 4·T1 ..., an INVITE until something comes.
    fn check(&mut self, check: Check, now: u64) {
        let t1_ns = self.t1_ns();
        let Some(slot) = self.slots.get(check.slot) else {
            return;
        };
        let over = slot.serial != check.serial || slot.round != check.round;
        if over || matches!(slot.stage, Stage::Free | Stage::Up) {
            return;
        }
        if check.count >= GIVE_UP_T1 {
            self.refused(check.slot, 408);
            return;
        }
        let unanswered = slot.stage != Stage::Proceeding && self.plan.transport == Transport::Udp;
        // After one T1, three, seven, ...: each wait is twice the one before.
        if unanswered && (check.count + 1).is_power_of_two() {
            self.report.retransmissions += 1;
            if let Some(script) = self.scripts.get(slot.script) {
                self.sockets.send(script.server, &slot.request);
            }
        }
        self.checks.push_back(Check {
            due_ns: now + t1_ns,
            count: check.count + 1,
            ..check
        });
    }

    fn time_to_wait(&self, loading: bool) -> Duration {
        let now = self.now();
        let mut until = now + duration_ns(LONGEST_WAIT);
        if let Some(&(due, ..)) = self.holds.front() {
            until = until.min(due);
        }
        match self.plan.pace {
            Pace::Rate(rate) if loading => {
                let next = (self.report.started as f64 / rate * 1e9) as u64;
                until = until.min(next);
            }
            Pace::Window(_) if loading && !self.free.is_empty() => until = now,
            _ => {}
        }
        Duration::from_nanos(until.saturating_sub(now))
    }

    fn receive(&mut self, bytes: &[u8], now: u64) {
        let Some(message) = Message::read(bytes) else {
            self.count_fault(Fault::Unreadable);
            return;
        };
        let Some(status) = message.status() else {
            self.report.late += 1;
            return;
        };
        let Some((number, serial)) = self.names_slot(&message) else {
            self.count_fault(Fault::Via);
            return;
        };
        let slot = self.slots.get(number);
        if slot.is_none_or(|slot| slot.serial != serial || slot.stage == Stage::Free) {
            self.report.late += 1;
            return;
        }
        match self.plan.kind {
            Kind::Call => self.call_answered(number, &message, status, now),
            Kind::Register => self.registration_answered(number, &message, status, now),
            Kind::Options => self.options_answered(number, &message, status, now),
        }
    }

    /// RFC 3261 §18.1.2: the branch of our Via says which transaction a response belongs to. One of an earlier run belongs to slot and serial 0.
    fn names_slot(&self, message: &Message) -> Option<(usize, u64)> {
        let branch = parameter(message.via, b"branch")?;
        let mut parts = branch.strip_prefix(b"z9hG4bK")?.split(|&byte| byte == b'.');
        let slot = number(parts.next()?)?;
        let serial = number(parts.next()?)?;
        if parts.next()? != self.run {
            return Some((0, 0));
        }
        Some((usize::try_from(slot).ok()?, serial))
    }

    /// What the responses to the request of this slot have to repeat.
    pub(super) fn expected(slot: &Slot) -> Expected<'_> {
        Expected {
            call_id: &slot.call_id,
            tag: &slot.key,
            cseq: slot.cseq,
        }
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            serial: 0,
            stage: Stage::Free,
            user: 0,
            started_ns: 0,
            rang: false,
            script: 0,
            key: Vec::new(),
            call_id: Vec::new(),
            cseq: 1,
            request: Vec::new(),
            acknowledge: Vec::new(),
            round: 0,
        }
    }

    /// Gives the transaction its key, Call-ID and sequence number.
    fn name(&mut self, number: usize, run: &[u8], kind: Kind) {
        let (slot, serial) = (Digits::new(number as u64), Digits::new(self.serial));
        self.key.clear();
        for part in [slot.as_bytes(), b".", serial.as_bytes(), b".", run] {
            self.key.extend_from_slice(part);
        }
        self.call_id.clear();
        if kind == Kind::Register {
            let user = Digits::new(self.user);
            for part in [b"phone".as_slice(), user.as_bytes(), b".", run] {
                self.call_id.extend_from_slice(part);
            }
            // A request with credentials may follow.
            self.cseq = self.serial * 2;
        } else {
            self.call_id.extend_from_slice(&self.key);
            self.cseq = 1;
        }
        self.call_id.extend_from_slice(b"@side-by-side");
    }
}

fn open(sockets: &mut Sockets, plan: &Plan) -> io::Result<(Peer, SocketAddrV4)> {
    match plan.transport {
        Transport::Udp => {
            let (socket, local) = sockets.bind(SocketAddrV4::new(plan.local, 0))?;
            let address = plan.server;
            Ok((Peer::Datagram { socket, address }, local))
        }
        Transport::Tcp => {
            let (number, local) = sockets.connect(plan.local, plan.server)?;
            Ok((Peer::Stream { number }, local))
        }
    }
}

fn seconds_ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

fn duration_ns(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}
