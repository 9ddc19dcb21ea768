//! How often a call asks for memory: a budget that only goes down.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests state their expectations by panicking.
#![allow(unsafe_code)] // A global allocator can't be written without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use patchbay_core::Core;
use patchbay_core::door::*;
use patchbay_core::time::{Instant, Now, UnixTime};
use patchbay_message::{Limits, Message, MessagePool};

/// Allocations of a thousand whole calls through the core: INVITE, 100, 180, 200, ACK, BYE, 200, and the timers that follow. What
/// is left are pools that still grow a little. It may be lowered. Raise it only with a reason in the commit.
const BUDGET: usize = 200;

/// Bytes that a finished call keeps for its 32 seconds, to absorb what is retransmitted: two server transactions and two client
/// transactions (one of them for 5 seconds only), their timers and keys, and the 200 to the BYE.
const BYTES_PER_FINISHED_CALL: usize = 1400;

/// Calls until every buffer has grown: their transactions live for 32 seconds.
const WARM_UP: usize = 8000;

/// Calls that are counted.
const MEASURED: usize = 1000;

/// 100 calls a second, so that transactions overlap as they do under load.
const BETWEEN_CALLS: Duration = Duration::from_millis(10);

/// The counts are the process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LIVE_BYTES: AtomicIsize = AtomicIsize::new(0);

fn count(taken: usize, given_back: usize) {
    ALLOCATIONS.fetch_add(usize::from(taken > 0), Ordering::Relaxed);
    LIVE_BYTES.fetch_add(taken as isize - given_back as isize, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUTER: &str = "192.0.2.100:5060";
const ALICE: &str = "192.0.2.1:5060";
const BOB: &str = "192.0.2.2:5060";

fn config() -> CoreConfig {
    CoreConfig {
        node: "test".into(),
        worker: 0,
        domains: vec!["example.com".into()],
        listeners: vec![Listener {
            transport: Transport::Udp,
            address: ROUTER.parse().unwrap(),
            advertise: None,
        }],
        tenant_domains: Default::default(),
        token_key: [7; 32],
        registration_required: false,
        realm: "example.com".into(),
        pin_dialog: false,
        t1: Duration::from_millis(500),
        t2: Duration::from_secs(4),
        t4: Duration::from_secs(5),
        timer_c: Duration::from_secs(181),
        max_transactions: 100_000,
        max_branches: 32,
        max_failure_rounds: 8,
        max_breadth: 60,
        retry_after_secs: 5,
    }
}

/// A driver that takes memory for nothing itself: messages come from a pool, texts are made into buffers that stay.
struct Driver {
    core: Core,
    now: Now,
    pool: MessagePool,
    sent: Vec<Packet>,
    text: Vec<u8>,
    /// What the policy does costs memory, which is not the core's: the target of a request that has no dialog.
    targets: Vec<Target>,
}

impl Driver {
    fn new() -> Driver {
        Driver {
            core: Core::new(Arc::new(config()), [1; 32]),
            now: Now {
                instant: Instant(0),
                unix: UnixTime(1_700_000_000),
            },
            pool: MessagePool::default(),
            sent: Vec::with_capacity(16),
            text: Vec::with_capacity(4096),
            targets: Vec::new(),
        }
    }

    /// Counts what the core takes for one message.
    fn receive(&mut self, from: &str) -> usize {
        let mut message = self.pool.take();
        Arc::get_mut(&mut message)
            .unwrap()
            .parse_into(&self.text, &Limits::default())
            .unwrap();
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            local: ROUTER.parse().unwrap(),
            remote: from.parse().unwrap(),
            connection: None,
        };
        // What was sent before is gone by now.
        self.sent.clear();
        let kept = message.clone();
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        self.core
            .handle(self.now, Input::Received { flow, message });
        self.carry_out();
        let taken = ALLOCATIONS.load(Ordering::Relaxed) - before;
        self.pool.put(kept);
        taken
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { packet, .. } => self.sent.push(packet),
                Output::RunHook {
                    id, mut context, ..
                } => {
                    if !context.in_dialog {
                        std::mem::swap(&mut context.routing.targets, &mut self.targets);
                    }
                    self.core.handle(
                        self.now,
                        Input::HookReturned {
                            id,
                            result: Ok(Verdict::Relay),
                            context: Some(context),
                            version: PolicyVersion(1),
                            tenant: None,
                        },
                    );
                }
                Output::Event(_) | Output::Unpin { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn wait(&mut self, time: Duration) -> usize {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let end = self.now.instant + time;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= end) {
            self.now.instant = self.now.instant.max(at);
            self.core.handle_timeout(self.now);
            self.sent.clear();
            self.carry_out();
        }
        self.now.instant = end;
        ALLOCATIONS.load(Ordering::Relaxed) - before
    }

    fn request(&mut self, method: &str, number: usize, to_tag: &str, route: &str) -> usize {
        self.text = format!(
            "{method} sip:bob@{} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{method}{number};rport\r\nMax-Forwards: 70\r\n{route}\
             From: \"Alice\" <sip:alice@example.com>;tag=alice\r\nTo: <sip:bob@example.com>{to_tag}\r\nCall-ID: {number}@192.0.2.1\r\n\
             CSeq: 1 {method}\r\nContact: <sip:alice@192.0.2.1:5060>\r\nContent-Length: 0\r\n\r\n",
            if method == "INVITE" { "example.com" } else { "192.0.2.2" }
        )
        .into_bytes();
        self.receive(ALICE)
    }

    /// A response to a request that was sent.
    fn answer(&mut self, request: &Message, status: u16) -> usize {
        let mut text = format!("SIP/2.0 {status} X\r\n");
        for (name, value) in request.fields() {
            let name = String::from_utf8_lossy(name.text()).into_owned();
            if ["Via", "Record-Route", "From", "Call-ID", "CSeq"].contains(&name.as_str()) {
                text += &format!("{name}: {}\r\n", String::from_utf8_lossy(value));
            }
        }
        text += "To: <sip:bob@example.com>;tag=bob\r\nContact: <sip:bob@192.0.2.2>\r\nContent-Length: 0\r\n\r\n";
        self.text = text.into_bytes();
        self.receive(BOB)
    }

    fn first_sent(&self) -> Message {
        Message::parse(&self.sent[0], &Limits::default()).unwrap()
    }

    /// One call, and the time until the next one; allocations by message.
    fn call(&mut self, number: usize) -> Vec<(&'static str, usize)> {
        let mut taken = self.call_at_once(number);
        taken.push(("timers", self.wait(BETWEEN_CALLS)));
        taken
    }

    /// One call in no time; allocations by message.
    fn call_at_once(&mut self, number: usize) -> Vec<(&'static str, usize)> {
        self.targets = vec![Target::of_uri(b"sip:bob@192.0.2.2:5060".to_vec())];
        let mut taken = vec![("INVITE", self.request("INVITE", number, "", ""))];
        let invite = self.first_sent();
        let route = String::from_utf8_lossy(invite.header("Record-Route").unwrap()).into_owned();
        let route = format!("Route: {route}\r\n");
        for (title, status) in [("100", 100), ("180", 180), ("200", 200)] {
            taken.push((title, self.answer(&invite, status)));
        }
        assert_eq!(self.first_sent().status(), Some(200));
        taken.push(("ACK", self.request("ACK", number, ";tag=bob", &route)));
        taken.push(("BYE", self.request("BYE", number, ";tag=bob", &route)));
        let bye = self.first_sent();
        assert!(bye.is_request());
        taken.push(("200 to BYE", self.answer(&bye, 200)));
        taken
    }
}

#[test]
fn a_call_takes_no_more_memory_than_its_budget() {
    let _alone = ALONE.lock().unwrap();
    let mut driver = Driver::new();
    (0..WARM_UP).for_each(|number| {
        driver.call(number);
    });
    let mut total = BTreeMap::new();
    for number in WARM_UP..WARM_UP + MEASURED {
        for (title, count) in driver.call(number) {
            *total.entry(title).or_insert(0) += count;
        }
    }
    let sum: usize = total.values().sum();
    assert!(
        sum <= BUDGET,
        "{MEASURED} calls took memory {sum} times, the budget is {BUDGET}; where: {total:?}"
    );
}

#[test]
fn a_finished_call_keeps_little() {
    let _alone = ALONE.lock().unwrap();
    let mut driver = Driver::new();
    let count = 5_000;
    // Within the 32 seconds, so that none is gone.
    (0..100).for_each(|number| drop(driver.call_at_once(number)));
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    (100..100 + count).for_each(|number| drop(driver.call_at_once(number)));
    let kept = (LIVE_BYTES.load(Ordering::Relaxed) - before).unsigned_abs() / count;
    assert_eq!(driver.core.transactions(), 2 * (count + 100));
    assert!(
        kept <= BYTES_PER_FINISHED_CALL,
        "a finished call keeps {kept} bytes, the budget is {BYTES_PER_FINISHED_CALL}"
    );
}
