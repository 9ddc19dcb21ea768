//! What a policy reaches beyond the router: it has to be granted, and waiting for it harms nobody.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests state expectations by panicking"
)]

mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use patchbay_policy::*;
use support::*;
use tokio::sync::oneshot;

type Sender = oneshot::Sender<Result<HttpResponse, HostError>>;

struct Worker {
    version: Arc<Version<TestHost>>,
    instances: Instances<TestHost>,
}

fn worker(config: EngineConfig, guest: &str, world: &str) -> Worker {
    let engine = Engine::new(config).unwrap();
    let version = engine
        .load("test", &component(guest, world), || TestHost::new(0))
        .unwrap();
    Worker {
        version,
        instances: Instances::new(engine, 0),
    }
}

fn asking(config: EngineConfig) -> Worker {
    worker(config, ASKS, ASKS_WORLD)
}

impl Worker {
    /// A hook that asks, and who answers it.
    fn ask(&self, way: u32) -> (HookRun<TestHost>, Sender) {
        let (sender, receiver) = oneshot::channel();
        let host = TestHost {
            answer: Some(receiver),
            ..TestHost::new(way)
        };
        (self.start(host), sender)
    }

    fn start(&self, host: TestHost) -> HookRun<TestHost> {
        self.instances
            .run(&self.version, Hook::RequestRoute, host, None)
    }

    fn run(&self, host: TestHost) -> HookDone<TestHost> {
        block_on(self.start(host))
    }
}

fn poll_once(run: &mut HookRun<TestHost>) -> Poll<HookDone<TestHost>> {
    Pin::new(run).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls until it is done or waits: on a busy machine it may yield before.
fn poll(run: &mut HookRun<TestHost>) -> Poll<HookDone<TestHost>> {
    loop {
        let polled = poll_once(run);
        if polled.is_ready() || run.waits() {
            return polled;
        }
    }
}

fn response(status: u16) -> HttpResponse {
    HttpResponse {
        status,
        headers: vec![("a".into(), "b".into())],
        body: vec![7; 100],
    }
}

fn status(done: &HookDone<TestHost>) -> u16 {
    match &done.result {
        Ok(Verdict::Reply { status, .. }) => *status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hook_waits_for_its_response_and_others_go_on() {
    let worker = asking(config());
    let (mut waiting, sender) = worker.ask(0);
    assert!(poll(&mut waiting).is_pending());
    assert!(waiting.waits());
    assert_eq!(status(&worker.run(TestHost::new(0))), 204);
    assert!(poll(&mut waiting).is_pending(), "there is no answer yet");
    sender.send(Ok(response(299))).unwrap();
    let Poll::Ready(done) = poll(&mut waiting) else {
        panic!("the answer is there")
    };
    assert_eq!(status(&done), 299);
    let (request, limit) = done.host.unwrap().fetched.remove(0);
    let expected = HttpRequest {
        method: "GET".into(),
        url: "http://h/?q".into(),
        headers: vec![("A".into(), "b".into())],
        body: b"hello".to_vec(),
        timeout_ms: Some(1000),
    };
    assert_eq!(request, expected);
    assert_eq!(limit, Duration::from_secs(1));
}

#[test]
fn an_instance_that_waited_serves_again() {
    let worker = asking(config());
    for _ in 0..3 {
        let (mut waiting, sender) = worker.ask(0);
        assert!(poll(&mut waiting).is_pending());
        sender.send(Ok(response(200))).unwrap();
        assert!(poll(&mut waiting).is_ready());
        assert_eq!(worker.instances.idle(), 1);
    }
}

#[test]
fn an_error_reaches_the_policy() {
    let worker = asking(config());
    let (mut waiting, sender) = worker.ask(0);
    assert!(poll(&mut waiting).is_pending());
    let error = HostError {
        kind: ErrorKind::Unavailable,
        message: "nobody is there".into(),
    };
    sender.send(Err(error)).unwrap();
    let Poll::Ready(done) = poll(&mut waiting) else {
        panic!("the answer is there")
    };
    assert_eq!(status(&done), 500 + ErrorKind::Unavailable as u16);
}

#[test]
fn time_that_passes_while_it_waits_is_not_running_time() {
    let limits = EngineConfig {
        hook_deadline: Duration::from_millis(5),
        ..config()
    };
    let worker = asking(limits);
    let (mut waiting, sender) = worker.ask(0);
    assert!(poll(&mut waiting).is_pending());
    // Far beyond the deadline with its grace.
    std::thread::sleep(Duration::from_millis(200));
    sender.send(Ok(response(200))).unwrap();
    assert_eq!(status(&block_on(waiting)), 200);
}

#[test]
fn a_loop_after_waiting_ends_at_the_deadline() {
    let worker = asking(config());
    let (mut waiting, sender) = worker.ask(1);
    assert!(poll(&mut waiting).is_pending());
    sender.send(Ok(response(200))).unwrap();
    assert!(poll_once(&mut waiting).is_pending());
    assert!(!waiting.waits(), "it runs");
    assert_eq!(block_on(waiting).result, Err(Fault::Deadline));
}

#[test]
fn the_host_is_told_how_long_the_hook_may_wait() {
    let limits = EngineConfig {
        hook_timeout: Duration::from_millis(400),
        ..config()
    };
    let worker = asking(limits);
    for way in [0, 3] {
        let done = worker.run(TestHost::new(way));
        let (_, limit) = done.host.unwrap().fetched.remove(0);
        assert!(
            limit > Duration::from_millis(100) && limit <= Duration::from_millis(400),
            "{limit:?}"
        );
    }
}

#[test]
fn after_hook_timeout_nothing_is_asked_and_the_policy_decides() {
    let limits = EngineConfig {
        hook_timeout: Duration::from_millis(60),
        ..config()
    };
    let worker = asking(limits);
    let (mut waiting, sender) = worker.ask(2);
    assert!(poll(&mut waiting).is_pending());
    std::thread::sleep(Duration::from_millis(80));
    sender.send(Ok(response(200))).unwrap();
    let done = block_on(waiting);
    assert_eq!(status(&done), 500 + ErrorKind::Unavailable as u16);
    assert_eq!(done.host.unwrap().fetched.len(), 1);
}

#[test]
fn waiting_hooks_are_bounded() {
    let worker = asking(config());
    let mut waiting: Vec<_> = (0..4).map(|_| worker.ask(0)).collect();
    for (run, _) in &mut waiting {
        assert!(poll(run).is_pending());
    }
    let done = worker.run(TestHost::new(0));
    assert!(matches!(&done.result, Err(fault) if fault.is_of_crowding()));
    assert!(done.host.is_some());
    drop(waiting.pop());
    assert_eq!(status(&worker.run(TestHost::new(0))), 204);
}

#[test]
fn those_that_wait_are_in_the_way_of_those_that_may_wait_and_of_nobody_else() {
    let engine = Engine::new(config()).unwrap();
    let host = || TestHost::new(0);
    let load = |bytes: &[u8]| engine.load("test", bytes, host).unwrap();
    let (asks, never) = (load(&component(ASKS, ASKS_WORLD)), load(&many_ways(0)));
    let worker = Worker {
        version: asks,
        instances: Instances::new(engine.clone(), 0),
    };
    let mut waiting: Vec<_> = (0..4).map(|_| worker.ask(0)).collect();
    for (run, _) in &mut waiting {
        assert!(poll(run).is_pending());
    }
    assert_eq!(worker.instances.waiting(), 4);
    let refused = worker.run(TestHost::new(0));
    assert!(matches!(&refused.result, Err(fault) if fault.is_of_crowding()));
    let run = worker
        .instances
        .run(&never, Hook::RequestRoute, TestHost::new(0), None);
    assert_eq!(block_on(run).result, Ok(Verdict::Relay));
    let (run, sender) = waiting.pop().unwrap();
    sender.send(Ok(response(200))).unwrap();
    assert_eq!(status(&block_on(run)), 200);
    drop(waiting);
    assert_eq!(worker.instances.waiting(), 0);
}

#[test]
fn a_scope_has_a_share_of_those_that_wait() {
    let worker = asking(config());
    let (small, large) = (Scope::new(), Scope::new());
    small.limit_waiting(1);
    let ask_in = |scope: &Arc<Scope>| {
        let (sender, receiver) = oneshot::channel();
        let host = TestHost {
            answer: Some(receiver),
            ..TestHost::new(0)
        };
        let version = &worker.version;
        let hook = Hook::RequestRoute;
        let run = worker
            .instances
            .run_in(Some(scope), version, hook, host, None);
        (run, sender)
    };
    let (mut first, sender) = ask_in(&small);
    assert!(poll(&mut first).is_pending());
    let (mut second, _) = ask_in(&small);
    let Poll::Ready(done) = poll(&mut second) else {
        panic!("it waits")
    };
    assert!(matches!(&done.result, Err(fault) if fault.is_of_crowding()));
    let (mut other, _other_sender) = ask_in(&large);
    assert!(poll(&mut other).is_pending());
    sender.send(Ok(response(200))).unwrap();
    assert_eq!(status(&block_on(first)), 200);
    let (mut third, _third_sender) = ask_in(&small);
    assert!(poll(&mut third).is_pending());
    drop(third);
    let (mut fourth, _fourth_sender) = ask_in(&small);
    assert!(poll(&mut fourth).is_pending());
}

#[test]
fn a_hook_that_nobody_waits_for_any_more_harms_nobody() {
    let worker = asking(config());
    let (mut waiting, sender) = worker.ask(0);
    assert!(poll(&mut waiting).is_pending());
    drop(waiting);
    assert!(sender.send(Ok(response(200))).is_err());
    assert_eq!(worker.instances.running(), 0);
    assert_eq!(status(&worker.run(TestHost::new(0))), 204);
}

#[test]
fn an_answer_wakes_the_hook_that_waits() {
    let worker = asking(config());
    let (waiting, sender) = worker.ask(0);
    let thread = std::thread::spawn(move || {
        let end = Instant::now() + Duration::from_millis(20);
        while Instant::now() < end {
            std::thread::yield_now();
        }
        sender.send(Ok(response(200))).unwrap();
    });
    assert_eq!(status(&block_on(waiting)), 200);
    thread.join().unwrap();
}

#[test]
fn values_cross_both_ways() {
    let worker = worker(config(), STORES, STORES_WORLD);
    let mut host = TestHost::new(0);
    host.values.insert("given".into(), b"a value".to_vec());
    host.values.insert("gone".into(), Vec::new());
    host.values.insert("count".into(), b"9".to_vec());
    let done = worker.run(host);
    assert_eq!(status(&done), 407);
    let values = done.host.unwrap().values;
    assert_eq!(values["kept"], b"a value for 7 s");
    assert_eq!(values["count"], b"7");
    assert!(!values.contains_key("gone"));
}

#[test]
fn a_key_that_is_denied_is_an_error_of_the_policys() {
    let worker = worker(config(), STORES, STORES_WORLD);
    let host = TestHost {
        denied: Some(Capability::KeyValue),
        ..TestHost::new(0)
    };
    assert_eq!(status(&worker.run(host)), 500 + ErrorKind::Denied as u16);
}

#[test]
fn a_library_for_wasi_keyvalue_finds_the_same_store() {
    let engine = engine();
    let bytes = component_of(WASI_KEYVALUE, KEEPS, KEEPS_WORLD);
    let version = engine.load("test", &bytes, || TestHost::new(0)).unwrap();
    let instances = Instances::new(engine.clone(), 0);
    let run = |host| block_on(instances.run(&version, Hook::RequestRoute, host, None));
    // More often than buckets may be open.
    for _ in 0..100 {
        let done = run(TestHost::new(0));
        assert_eq!(status(&done), 405);
        let values = done.host.unwrap().values;
        assert_eq!(values["lcr/k"], b"!!");
        assert_eq!(values["lcr/n"], b"5");
    }
    let denied = || TestHost {
        denied: Some(Capability::KeyValue),
        ..TestHost::new(0)
    };
    let access_denied = 1;
    assert_eq!(status(&run(denied())), 500 + access_denied);
    let error = engine.load("test", &bytes, denied).unwrap_err();
    assert!(error.to_string().contains("wasi:keyvalue/store"), "{error}");
}

#[test]
fn what_is_imported_and_not_granted_is_refused() {
    let engine = engine();
    for (guest, world, capability, import) in [
        (ASKS, ASKS_WORLD, Capability::Http, "http@0.1.0#"),
        (
            STORES,
            STORES_WORLD,
            Capability::KeyValue,
            "keyvalue@0.1.0#",
        ),
        (
            REPLIES,
            REPLIES_WORLD,
            Capability::WriteHeaders,
            "message@0.1.0#",
        ),
    ] {
        let bytes = component(guest, world);
        let host = || TestHost {
            denied: Some(capability),
            ..TestHost::new(0)
        };
        let error = engine.load("test", &bytes, host).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(capability.line()), "{text}");
        assert!(
            text.contains(&format!("`patchbay:policy/{import}")),
            "{text}"
        );
        engine.load("test", &bytes, || TestHost::new(0)).unwrap();
        let report = engine.check(&bytes).unwrap();
        assert_eq!(report.wants.len(), 1);
        assert_eq!(report.memory_bytes, 65_536);
        assert!(report.check_grants(|wanted| wanted != capability).is_err());
    }
}
