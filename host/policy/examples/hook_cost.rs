//! What one hook costs: CPU time and heap allocations of `request-route` on an INVITE, in the policies that `cargo xtask policies`
//! builds. `caller-class` reads three headers and writes one.
//!
//! ```text
//! cargo run --release -p patchbay-policy --example hook_cost [-- FOLDER-OF-POLICIES [POLICY RUNS]]
//! ```
//!
//! With a policy and a number of runs it does nothing else: what `valgrind --tool=callgrind` counts for two numbers differs by the
//! instructions of the runs between them.

#![allow(
    unsafe_code,
    clippy::unwrap_used,
    reason = "a counting allocator is unsafe by its trait; a measurement that can't be made ends"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use patchbay_message::{Draft, Limits, Message};
use patchbay_policy::*;

const WARM_UP: u32 = 20_000;
const RUNS: u32 = 400_000;
const ROUNDS: usize = 5;

const INVITE: &[u8] = b"INVITE sip:u7@bench.test SIP/2.0\r\n\
    Via: SIP/2.0/UDP 127.0.0.2:7060;branch=z9hG4bK74bf9;rport\r\nMax-Forwards: 70\r\n\
    From: <sip:u1@bench.test>;tag=9fxced76sl\r\nTo: <sip:u7@bench.test>\r\n\
    Call-ID: 3848276298220188511@127.0.0.2\r\nCSeq: 1 INVITE\r\nContact: <sip:u1@127.0.0.2:7060>\r\n\
    User-Agent: measurement\r\nContent-Type: application/sdp\r\nContent-Length: 0\r\n\r\n";

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.with(|count| count.set(count.get() + 1));
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// A router with one INVITE and one contact, which allocates nothing itself.
struct OneCall {
    request: Draft,
    source: Source,
    targets: u32,
}

impl OneCall {
    fn new() -> OneCall {
        let message = Message::parse(INVITE, &Limits::default()).unwrap();
        OneCall {
            request: Draft::new(Arc::new(message)),
            source: Source {
                transport: Transport::Udp,
                remote: SocketAddr::from(([127, 0, 0, 2], 7060)),
                local: SocketAddr::from(([127, 0, 0, 1], 5060)),
            },
            targets: 0,
        }
    }
}

#[rustfmt::skip]
impl Host for OneCall {
    fn message(&self) -> Option<&Draft> { Some(&self.request) }
    fn message_mut(&mut self) -> Option<&mut Draft> { Some(&mut self.request) }
    fn may_write(&self, _: &str) -> bool { true }
    fn response(&self) -> Option<&Draft> { None }
    fn source(&self) -> Option<Source> { Some(self.source) }
    fn in_dialog(&self) -> bool { false }
    fn is_local_uri(&self, uri: &str) -> bool { uri.ends_with("@bench.test") }
    fn failure_round(&self) -> u32 { 0 }
    fn variable(&self, _: &str) -> Option<&str> { None }
    fn set_variable(&mut self, _: &str, _: &str) -> Result<(), HostError> { Ok(()) }
    fn arm(&mut self, _: Armed) {}
    fn set_record_route(&mut self, _: bool) {}
    fn add_record_route_parameter(&mut self, _: &str, _: &str) -> Result<(), HostError> { Ok(()) }
    fn record_route_parameter(&self, _: &str) -> Option<&str> { None }
    fn add_target(&mut self, _: Target) -> Result<(), HostError> { self.targets += 1; Ok(()) }
    fn add_lookup(&mut self, _: u32) -> Result<u32, HostError> { self.targets += 1; Ok(1) }
    fn next_group(&mut self) {}
    fn set_no_answer_timeout(&mut self, _: u32) {}
    fn clear_targets(&mut self) { self.targets = 0; }
    fn target_count(&self) -> u32 { self.targets }
    fn add_reply_header(&mut self, _: &str, _: &str) -> Result<(), HostError> { Ok(()) }
    fn set_reply_body(&mut self, _: &str, _: &[u8]) -> Result<(), HostError> { Ok(()) }
    fn lookup(&mut self, _: &str) -> Result<LookupResult, HostError> { Ok(LookupResult { lookup: 0, count: 1 }) }
    fn lookup_request_uri(&mut self) -> Result<LookupResult, HostError> { Ok(LookupResult { lookup: 0, count: 1 }) }
    fn binding_at(&self, _: u32, _: u32) -> Option<Binding> { None }
    fn is_registered_source(&self, _: &str) -> bool { true }
    fn save_contact(&mut self, _: &str, _: &str, _: u32) -> Result<(), HostError> { Ok(()) }
    fn remove_contact(&mut self, _: &str, _: &str) -> Result<u32, HostError> { Ok(0) }
    fn verify(&mut self) -> Verification { Verification::Missing }
    fn verified_user(&self) -> Option<&str> { None }
    fn auth_required(&self) -> bool { true }
    fn realm(&self) -> &str { "bench.test" }
    fn setting(&self, _: &str) -> Option<&str> { None }
    fn settings(&self) -> Vec<(String, String)> { Vec::new() }
    fn log(&self, _: Level, _: &str) {}
    fn log_enabled(&self, _: Level) -> bool { false }
    fn unix_ms(&self) -> u64 { 0 }
    fn monotonic_us(&self) -> u64 { 0 }
    fn random_u64(&mut self) -> u64 { 4 }
    fn add_counter(&mut self, _: &str, _: u64) -> Result<(), HostError> { Ok(()) }
    fn set_timer(&mut self, _: &str, _: u32) -> Result<(), HostError> { Ok(()) }
    fn cancel_timer(&mut self, _: &str) -> bool { false }
}

fn main() {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/policies");
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or(built, PathBuf::from);
    let counted = arguments.next().zip(arguments.next());
    // A busy machine must not turn a measurement into a fault.
    let engine = Engine::new(EngineConfig {
        cache_dir: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/hook-cost")),
        hook_deadline: Duration::from_secs(10),
        hook_timeout: Duration::from_secs(20),
        ..EngineConfig::default()
    })
    .unwrap();
    if let Some((name, runs)) = counted {
        let version = load(&engine, &folder, &name);
        let instances = Instances::new(engine, 0);
        repeat(&instances, &version, OneCall::new(), runs.parse().unwrap());
        return;
    }
    for name in ["bench", "default", "caller-class"] {
        let version = load(&engine, &folder, name);
        measure(&engine, &version);
    }
}

fn load(engine: &Engine<OneCall>, folder: &Path, name: &str) -> Arc<Version<OneCall>> {
    let path = folder.join(name).with_extension("wasm");
    let Ok(bytes) = std::fs::read(&path) else {
        eprintln!("{} is missing: run `cargo xtask policies`", path.display());
        std::process::exit(1);
    };
    engine.load(name, &bytes, OneCall::new).unwrap()
}

fn measure(engine: &Engine<OneCall>, version: &Arc<Version<OneCall>>) {
    let instances = Instances::new(engine.clone(), 0);
    let mut host = repeat(&instances, version, OneCall::new(), WARM_UP);
    let mut best = Duration::MAX;
    let allocations = ALLOCATIONS.get();
    for _ in 0..ROUNDS {
        let start = cpu_time();
        host = repeat(&instances, version, host, RUNS);
        best = best.min(cpu_time() - start);
    }
    let hooks = f64::from(RUNS) * ROUNDS as f64;
    println!(
        "{:12} {:6.0} ns CPU per hook, {:.3} allocations per hook",
        version.name(),
        best.as_nanos() as f64 / f64::from(RUNS),
        (ALLOCATIONS.get() - allocations) as f64 / hooks,
    );
}

fn repeat(
    instances: &Instances<OneCall>,
    version: &Arc<Version<OneCall>>,
    mut host: OneCall,
    times: u32,
) -> OneCall {
    for _ in 0..times {
        host.targets = 0;
        let message = Arc::clone(host.request.base());
        host.request.reset(message);
        let done = finish(instances.run(version, Hook::RequestRoute, host, None));
        assert_eq!(done.result, Ok(Verdict::Relay));
        host = done.host.unwrap();
    }
    host
}

fn finish(mut run: HookRun<OneCall>) -> HookDone<OneCall> {
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = Pin::new(&mut run).poll(&mut context) {
            return done;
        }
    }
}

/// The CPU time of this thread, from the scheduler's own account.
fn cpu_time() -> Duration {
    let account = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(account.split(' ').next().unwrap().parse().unwrap())
}
