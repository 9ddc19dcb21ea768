//! Guests written in WebAssembly text, and a host to run them on.

#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    unreachable_pub,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test uses a part of it, and states expectations by panicking"
)]

mod guests;
mod outside;
mod web;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use patchbay_message::{Draft, Limits, Message};
use patchbay_policy::*;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve};

pub use guests::*;
pub use outside::*;
use tokio::sync::oneshot;
pub use web::*;

/// A guest whose `request-route` does what `transaction.failure-round` says: see [`TestHost::round`].
pub const MANY_WAYS: &str = r#"(module
  (import "patchbay:policy/transaction@0.1.0" "failure-round" (func $round (result i32)))
  (import "patchbay:policy/message@0.1.0" "header" (func $header (param i32 i32 i32)))
  (import "patchbay:policy/message@0.1.0" "set-header" (func $set (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 4096))
  (data (i32.const 0) "FromToCall-IDX-AVia1")
  (data (i32.const 32) "Nobody")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func $reply (param $status i32) (result i32)
    (i32.store8 (i32.const 64) (i32.const 1))
    (i32.store16 (i32.const 68) (local.get $status))
    (i32.store (i32.const 72) (i32.const 32))
    (i32.store (i32.const 76) (i32.const 6))
    (i32.const 64))
  (func (export "patchbay:policy/request-route@0.1.0#request-route") (result i32)
    (local $way i32)
    (global.set $free (i32.const 4096))
    (local.set $way (call $round))
    (i32.store8 (i32.const 64) (i32.const 0))
    (if (i32.eq (local.get $way) (i32.const 1)) (then unreachable))
    (if (i32.eq (local.get $way) (i32.const 2)) (then (loop $again (br $again))))
    (if (i32.eq (local.get $way) (i32.const 3))
      (then (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable))
    (if (i32.eq (local.get $way) (i32.const 4)) (then (i32.store8 (i32.const 64) (i32.const 77))))
    (if (i32.eq (local.get $way) (i32.const 5)) (then (return (call $reply (i32.const 42)))))
    (if (i32.eq (local.get $way) (i32.const 6)) (then (return (call $reply (i32.const 404)))))
    (if (i32.eq (local.get $way) (i32.const 7)) (then
      (call $header (i32.const 0) (i32.const 4) (i32.const 128))
      (call $header (i32.const 4) (i32.const 2) (i32.const 128))
      (call $header (i32.const 6) (i32.const 7) (i32.const 128))
      (call $set (i32.const 13) (i32.const 3) (i32.load (i32.const 132)) (i32.load (i32.const 136)) (i32.const 160))))
    (if (i32.eq (local.get $way) (i32.const 8)) (then
      (call $set (i32.const 16) (i32.const 3) (i32.const 19) (i32.const 1) (i32.const 160))
      (return (call $reply (i32.add (i32.const 400) (i32.load8_u (i32.const 164)))))))
    (i32.const 64)))"#;

pub const MANY_WAYS_WORLD: &str =
    "import patchbay:policy/transaction@0.1.0; import patchbay:policy/message@0.1.0;
    export patchbay:policy/request-route@0.1.0;";

/// `init` refuses with the text "no".
pub const REFUSES: &str = r#"(module
  (memory (export "memory") 1)
  (data (i32.const 0) "\01\00\00\00\20\00\00\00\02\00\00\00")
  (data (i32.const 32) "no")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
  (func (export "patchbay:policy/init@0.1.0#init") (result i32) (i32.const 0))
  (func (export "patchbay:policy/branch-route@0.1.0#branch-route") (result i32) (i32.const 0)))"#;

pub const REFUSES_WORLD: &str =
    "export patchbay:policy/init@0.1.0; export patchbay:policy/branch-route@0.1.0;";

/// The component of a core module in a world of these imports and exports.
pub fn component(module: &str, world: &str) -> Vec<u8> {
    component_of("", module, world)
}

/// The same with more packages of WIT.
pub fn component_of(packages: &str, module: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve
        .push_dir(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit")))
        .unwrap();
    let text = format!("package test:guest;\n{packages}\nworld guest {{ {world} }}");
    let package = resolve.push_str("guest.wit", &text).unwrap();
    encoded(&resolve, package, module)
}

/// The component of a core module that imports the interfaces of `wit/wasi`, as if they had this version.
pub fn web_component(version: &str, module: &str, world: &str) -> Vec<u8> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit"));
    let mut resolve = Resolve::default();
    resolve.push_dir(folder).unwrap();
    for name in ["io", "clocks", "http"] {
        let text = std::fs::read_to_string(folder.join(format!("wasi/{name}.wit"))).unwrap();
        // What says since when something is there does not fit another version.
        let lines = text.lines().filter(|line| {
            let line = line.trim_start();
            !line.starts_with("@since") && !line.starts_with("@deprecated")
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        let text = text.replace("@0.2.12", &format!("@{version}"));
        resolve.push_str(format!("{name}.wit"), &text).unwrap();
    }
    let text = format!("package test:guest;\nworld guest {{ {world} }}");
    let text = text.replace("@0.2.3", &format!("@{version}"));
    let package = resolve.push_str("guest.wit", &text).unwrap();
    encoded(
        &resolve,
        package,
        &module.replace("@0.2.3", &format!("@{version}")),
    )
}

fn encoded(resolve: &Resolve, package: PackageId, module: &str) -> Vec<u8> {
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .validate(true)
        .encode()
        .unwrap()
}

/// [`MANY_WAYS`] with a difference, so that its digest is another.
pub fn many_ways(variant: u32) -> Vec<u8> {
    let marker = format!("(data (i32.const 1024) \"variant {variant}\")\n  (data (i32.const 32)");
    component(
        &MANY_WAYS.replacen("(data (i32.const 32)", &marker, 1),
        MANY_WAYS_WORLD,
    )
}

pub fn invite() -> Draft {
    let text = b"INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
        Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=a1\r\nTo: <sip:bob@example.com>\r\n\
        Call-ID: c1@192.0.2.1\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@192.0.2.1>\r\nContent-Length: 0\r\n\r\n";
    Draft::new(Arc::new(Message::parse(text, &Limits::default()).unwrap()))
}

/// A host with one INVITE.
#[derive(Debug)]
pub struct TestHost {
    /// What [`MANY_WAYS`] does: 0 relays, 1 traps, 2 loops, 3 takes memory, 4 returns no verdict, 5 replies with status 42,
    /// 6 replies 404, 7 reads three headers and sets X-A, 8 tries to set Via and replies 400 plus the number of the error kind.
    pub round: u32,
    /// The current message.
    pub draft: Draft,
    pub response: Option<Draft>,
    /// A header that the operator has not granted.
    pub denied_header: Option<&'static str>,
    pub settings: Vec<(String, String)>,
    pub targets: Vec<String>,
    pub armed: Armed,
    pub counters: Vec<(String, u64)>,
    /// What the operator has not granted.
    pub denied: Option<Capability>,
    /// Where the answer to the first request over HTTP comes from; without one, and later, it is 204 at once.
    pub answer: Option<oneshot::Receiver<Result<HttpResponse, HostError>>>,
    pub fetched: Vec<(HttpRequest, Duration)>,
    /// What ends the first sleep; without it, and later, it is over at once.
    pub alarm: Option<oneshot::Receiver<()>>,
    pub slept: Vec<Duration>,
    /// The key-value store.
    pub values: BTreeMap<String, Vec<u8>>,
    /// Whether hooks may be called without a fiber, and how often one had to begin again.
    pub is_straight: bool,
    pub undone: u32,
}

impl TestHost {
    pub fn new(round: u32) -> TestHost {
        TestHost {
            round,
            draft: invite(),
            response: None,
            denied_header: None,
            settings: Vec::new(),
            targets: Vec::new(),
            armed: Armed::default(),
            counters: Vec::new(),
            denied: None,
            answer: None,
            fetched: Vec::new(),
            alarm: None,
            slept: Vec::new(),
            values: BTreeMap::new(),
            is_straight: true,
            undone: 0,
        }
    }
}

#[rustfmt::skip]
impl Host for TestHost {
    type Before = (usize, Armed);
    fn before(&mut self) -> Option<Self::Before> {
        let is_edited = self.draft.is_edited() || self.response.as_ref().is_some_and(Draft::is_edited);
        (self.is_straight && !is_edited).then_some((self.targets.len(), self.armed))
    }
    fn undo(&mut self, (targets, armed): Self::Before) {
        let drafts = [Some(&mut self.draft), self.response.as_mut()];
        for draft in drafts.into_iter().flatten() {
            let base = Arc::clone(draft.base());
            draft.reset(base);
        }
        self.targets.truncate(targets);
        self.armed = armed;
        self.undone += 1;
    }
    fn message(&self) -> Option<&Draft> { Some(&self.draft) }
    fn message_mut(&mut self) -> Option<&mut Draft> { Some(&mut self.draft) }
    fn may_write(&self, name: &str) -> bool { self.denied_header != Some(name) }
    fn response(&self) -> Option<&Draft> { self.response.as_ref() }
    fn source(&self) -> Option<Source> { None }
    fn in_dialog(&self) -> bool { false }
    fn is_local_uri(&self, _: &str) -> bool { true }
    fn failure_round(&self) -> u32 { self.round }
    fn variable(&self, _: &str) -> Option<&str> { None }
    fn set_variable(&mut self, _: &str, _: &str) -> Result<(), HostError> { Ok(()) }
    fn arm(&mut self, hooks: Armed) { self.armed = hooks; }
    fn set_record_route(&mut self, _: bool) {}
    fn add_record_route_parameter(&mut self, _: &str, _: &str) -> Result<(), HostError> { Ok(()) }
    fn record_route_parameter(&self, _: &str) -> Option<&str> { None }
    fn add_target(&mut self, target: Target) -> Result<(), HostError> { self.targets.push(target.uri); Ok(()) }
    fn add_lookup(&mut self, _: u32) -> Result<u32, HostError> { Ok(0) }
    fn next_group(&mut self) {}
    fn set_no_answer_timeout(&mut self, _: u32) {}
    fn clear_targets(&mut self) {}
    fn target_count(&self) -> u32 { 0 }
    fn add_reply_header(&mut self, _: &str, _: &str) -> Result<(), HostError> { Ok(()) }
    fn set_reply_body(&mut self, _: &str, _: &[u8]) -> Result<(), HostError> { Ok(()) }
    fn lookup(&mut self, _: &str) -> Result<LookupResult, HostError> { Ok(LookupResult { lookup: 0, count: 0 }) }
    fn lookup_request_uri(&mut self) -> Result<LookupResult, HostError> { Ok(LookupResult { lookup: 0, count: 0 }) }
    fn binding_at(&self, _: u32, _: u32) -> Option<Binding> { None }
    fn is_registered_source(&self, _: &str) -> bool { false }
    fn save_contact(&mut self, _: &str, _: &str, _: u32) -> Result<(), HostError> { Ok(()) }
    fn remove_contact(&mut self, _: &str, _: &str) -> Result<u32, HostError> { Ok(0) }
    fn verify(&mut self) -> Verification { Verification::Missing }
    fn verified_user(&self) -> Option<&str> { None }
    fn auth_required(&self) -> bool { false }
    fn realm(&self) -> &str { "example.com" }
    fn setting(&self, name: &str) -> Option<&str> { self.settings.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()) }
    fn settings(&self) -> Vec<(String, String)> { self.settings.clone() }
    fn log(&self, _: Level, _: &str) {}
    fn log_enabled(&self, _: Level) -> bool { false }
    fn unix_ms(&self) -> u64 { 0 }
    fn monotonic_us(&self) -> u64 { 0 }
    fn random_u64(&mut self) -> u64 { 4 }
    fn add_counter(&mut self, name: &str, value: u64) -> Result<(), HostError> { self.counters.push((name.into(), value)); Ok(()) }
    fn set_timer(&mut self, _: &str, _: u32) -> Result<(), HostError> { Ok(()) }
    fn cancel_timer(&mut self, _: &str) -> bool { false }
    fn grants(&self, capability: Capability) -> bool { self.denied != Some(capability) }
    fn fetch(&mut self, request: HttpRequest, limit: Duration) -> HttpAnswer {
        self.fetched.push((request, limit));
        match self.answer.take() {
            Some(answer) => Box::pin(async move { answer.await.unwrap() }),
            None => Box::pin(std::future::ready(Ok(HttpResponse { status: 204, ..HttpResponse::default() }))),
        }
    }
    fn sleep(&mut self, time: Duration) -> Sleep {
        self.slept.push(time);
        match self.alarm.take() {
            Some(alarm) => Box::pin(async move { alarm.await.unwrap() }),
            None => Box::pin(std::future::ready(())),
        }
    }
    fn key_value(&mut self, request: KeyValueRequest<'_>) -> Result<KeyValueAnswer, HostError> {
        if self.denied == Some(Capability::KeyValue) {
            return Err(HostError { kind: ErrorKind::Denied, message: String::new() });
        }
        Ok(match request {
            KeyValueRequest::Get { key } => KeyValueAnswer::Value(self.values.get(key).cloned()),
            KeyValueRequest::Exists { key } => KeyValueAnswer::Exists(self.values.contains_key(key)),
            KeyValueRequest::Set { key, value, ttl_secs } => {
                let mut value = value.to_vec();
                ttl_secs.iter().for_each(|seconds| value.extend(format!(" for {seconds} s").bytes()));
                self.values.insert(key.into(), value);
                KeyValueAnswer::Done
            }
            KeyValueRequest::Delete { key } => { self.values.remove(key); KeyValueAnswer::Done }
            KeyValueRequest::Increment { key, delta, .. } => {
                let number = self.values.get(key).map_or(0, |value| std::str::from_utf8(value).unwrap().parse::<i64>().unwrap());
                self.values.insert(key.into(), (number + delta).to_string().into_bytes());
                KeyValueAnswer::Number(number + delta)
            }
            KeyValueRequest::ListKeys { prefix, .. } => KeyValueAnswer::Keys(self.values.keys().filter(|key| key.starts_with(prefix)).cloned().collect()),
        })
    }
}

/// A small engine, so that many fit into one test process.
pub fn config() -> EngineConfig {
    EngineConfig {
        max_concurrent_hooks: 4,
        memory_limit: 4 << 20,
        direct: !module_path!().starts_with("as_components"),
        ..EngineConfig::default()
    }
}

pub fn engine() -> Engine<TestHost> {
    Engine::new(config()).unwrap()
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}
