//! One hook of a real policy in WebAssembly.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use patchbay_message::{Draft, Limits, Message};
use patchbay_policy::{
    Armed, Binding, Capability, Engine, EngineConfig, Hook, HookDone, HookRun, Host, HostError,
    HttpAnswer, HttpRequest, Instances, KeyValueAnswer, KeyValueRequest, Level, LookupResult,
    Sleep, Source, Started, Target, Transport, Verdict, Verification, Version,
};
use patchbay_tests::policies;

use crate::messages::INVITE;
use crate::suite::{Steps, Suite};

const OPERATIONS: u64 = 2000;

/// A host with one INVITE and one contact, which allocates nothing itself.
pub(crate) struct OneCall {
    /// In a box, as the router's is: a host is moved several times in a hook.
    request: Box<Draft>,
    source: Source,
    targets: u32,
}

impl OneCall {
    pub(crate) fn new() -> OneCall {
        let message = Message::parse(INVITE.as_bytes(), &Limits::default()).expect("an INVITE");
        OneCall {
            request: Box::new(Draft::new(Arc::new(message))),
            source: Source {
                transport: Transport::Udp,
                remote: SocketAddr::from(([127, 0, 0, 2], 7060)),
                local: SocketAddr::from(([127, 0, 0, 1], 5060)),
            },
            targets: 0,
        }
    }

    /// As it was before the hook.
    fn reset(&mut self) {
        self.targets = 0;
        if self.request.is_edited() {
            let base = Arc::clone(self.request.base());
            self.request.reset(base);
        }
    }
}

#[rustfmt::skip]
impl Host for OneCall {
    type Before = ();
    fn before(&mut self) -> Option<()> { Some(()) }
    fn undo(&mut self, (): ()) { self.reset(); }
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
    fn grants(&self, _: Capability) -> bool { true }
    fn fetch(&mut self, _: HttpRequest, _: Duration) -> HttpAnswer { Box::pin(std::future::pending()) }
    fn sleep(&mut self, _: Duration) -> Sleep { Box::pin(std::future::pending()) }
    fn key_value(&mut self, _: KeyValueRequest<'_>) -> Result<KeyValueAnswer, HostError> { Ok(KeyValueAnswer::Done) }
}

/// A policy version, where it runs, and the call it runs on.
struct Hooks {
    instances: Instances<OneCall>,
    version: Arc<Version<OneCall>>,
    host: Option<OneCall>,
}

/// A policy that reads three headers, makes one edit and returns its verdict.
pub(crate) fn three_reads() -> Box<dyn Suite> {
    let source = include_str!("../guests/three_reads.rs");
    let file = policies::guest_from("three-reads", source);
    suite(
        &file,
        "request_route: three header reads, one edit, verdict",
    )
}

/// The same with a look-up of the location service and a target.
pub(crate) fn three_reads_and_lookup() -> Box<dyn Suite> {
    let source = include_str!("../guests/three_reads_lookup.rs");
    let file = policies::guest_from("three-reads-lookup", source);
    suite(
        &file,
        "request_route: the same, and a look-up with one target",
    )
}

/// The routing of the side-by-side benchmark.
pub(crate) fn bench() -> Box<dyn Suite> {
    suite(
        &policies::built("bench"),
        "request_route of policies/bench on an INVITE",
    )
}

/// The routing that ships in the router.
pub(crate) fn default() -> Box<dyn Suite> {
    suite(
        &policies::built("default"),
        "request_route of policies/default on an INVITE",
    )
}

fn suite(file: &Path, step: &'static str) -> Box<dyn Suite> {
    let engine = engine();
    let bytes = std::fs::read(file).expect("a built policy");
    let version = engine
        .load("measured", &bytes, OneCall::new)
        .expect("a policy");
    let hooks = Hooks {
        instances: Instances::new(engine, 0),
        version,
        host: Some(OneCall::new()),
    };
    Box::new(Steps::new(OPERATIONS, hooks).step(step, |hooks, times| {
        for _ in 0..times {
            run(&hooks.instances, &hooks.version, &mut hooks.host);
        }
    }))
}

/// An engine without limits that a slow machine would reach, and with so few instances that there is address space for them under
/// valgrind too: guests are compiled as in a router then.
pub(crate) fn engine() -> Engine<OneCall> {
    let config = EngineConfig {
        max_concurrent_hooks: 1,
        spare_instances: 1,
        hook_deadline: Duration::from_secs(10),
        hook_timeout: Duration::from_secs(20),
        ..EngineConfig::default()
    };
    Engine::new(config).expect("an engine")
}

/// Runs `request_route` once.
pub(crate) fn run(
    instances: &Instances<OneCall>,
    version: &Arc<Version<OneCall>>,
    host: &mut Option<OneCall>,
) {
    let mut taken = host.take().expect("the host is back");
    taken.reset();
    let done = match instances.start(None, version, Hook::RequestRoute, taken) {
        Started::Done(done) => done,
        Started::Running(run) => finish(run),
    };
    assert_eq!(done.result, Ok(Verdict::Relay));
    *host = done.host;
}

fn finish(mut run: HookRun<OneCall>) -> HookDone<OneCall> {
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = Pin::new(&mut run).poll(&mut context) {
            return done;
        }
    }
}
