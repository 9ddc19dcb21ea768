//! A policy that brings a client for `wasi:http`: the same door as `interface http`, and the same limits.

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
use std::time::Duration;

use patchbay_policy::*;
use support::*;
use tokio::sync::oneshot;

type Sender = oneshot::Sender<Result<HttpResponse, HostError>>;

/// What `failure-round` has the guest do.
const ASK: u32 = 0;
const LOOP_AFTER: u32 = 1;
const WITH_TIMEOUT: u32 = 2;
const WAIT_TOO_EARLY: u32 = 3;
const DROP_BODY: u32 = 4;
const FLOOD: u32 = 5;
const MANY: u32 = 6;
const FORGET: u32 = 7;
const SLEEP: u32 = 8;
const ASK_OR_SLEEP: u32 = 9;
const SLEEP_WITHOUT_END: u32 = 10;
const WAIT_FOR_TOO_MUCH: u32 = 11;

/// The numbers of error codes in `wasi:http/types`, as the guest replies them.
const CONNECTION_LIMIT: u16 = 500 + 11;
const DENIED: u16 = 500 + 15;
const REQUEST_BODY_SIZE: u16 = 500 + 17;
const RESPONSE_BODY_SIZE: u16 = 500 + 28;
const TIMEOUT: u16 = 500 + 33;
const INTERNAL: u16 = 500 + 38;

struct Worker {
    version: Arc<Version<TestHost>>,
    instances: Instances<TestHost>,
}

fn guest() -> Vec<u8> {
    web_component("0.2.3", BROWSES, BROWSES_WORLD)
}

fn worker(config: EngineConfig) -> Worker {
    let engine = Engine::new(config).unwrap();
    let version = engine.load("test", &guest(), || TestHost::new(0)).unwrap();
    Worker {
        version,
        instances: Instances::new(engine, 0),
    }
}

impl Worker {
    fn start(&self, host: TestHost) -> HookRun<TestHost> {
        self.instances
            .run(&self.version, Hook::RequestRoute, host, None)
    }

    /// A hook that asks, and who answers it.
    fn ask(&self, way: u32) -> (HookRun<TestHost>, Sender) {
        let (sender, receiver) = oneshot::channel();
        let host = TestHost {
            answer: Some(receiver),
            ..TestHost::new(way)
        };
        (self.start(host), sender)
    }

    fn run(&self, way: u32) -> HookDone<TestHost> {
        block_on(self.start(TestHost::new(way)))
    }

    /// What the policy makes of this error.
    fn told(&self, error: HostError) -> u16 {
        let (mut waiting, sender) = self.ask(ASK);
        assert!(poll(&mut waiting).is_pending());
        sender.send(Err(error)).unwrap();
        status(&block_on(waiting))
    }
}

/// Polls until it is done or waits: on a busy machine it may yield before.
fn poll(run: &mut HookRun<TestHost>) -> Poll<HookDone<TestHost>> {
    loop {
        let polled = Pin::new(&mut *run).poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_ready() || run.waits() {
            return polled;
        }
    }
}

fn status(done: &HookDone<TestHost>) -> u16 {
    match &done.result {
        Ok(Verdict::Reply { status, .. }) => *status,
        other => panic!("{other:?}"),
    }
}

fn error(kind: ErrorKind) -> HostError {
    HostError {
        kind,
        message: "why".into(),
    }
}

#[test]
fn a_request_goes_through_the_door_whole_and_its_response_is_read() {
    let worker = worker(config());
    let (mut waiting, sender) = worker.ask(ASK);
    assert!(poll(&mut waiting).is_pending());
    assert!(waiting.waits());
    assert_eq!(status(&worker.run(ASK)), 204, "another goes on meanwhile");
    let response = HttpResponse {
        status: 299,
        headers: vec![("a".into(), "b".into())],
        body: vec![7; 100],
    };
    sender.send(Ok(response)).unwrap();
    let done = block_on(waiting);
    assert_eq!(status(&done), 299);
    let host = done.host.unwrap();
    assert_eq!(host.counters, [("read".to_owned(), 100)]);
    let expected = HttpRequest {
        method: "POST".into(),
        url: "http://h:8/a?q".into(),
        headers: vec![("a".into(), "b".into())],
        body: b"hello".to_vec(),
        timeout_ms: None,
    };
    assert_eq!(host.fetched.len(), 1);
    assert_eq!(host.fetched.first().unwrap().0, expected);
}

#[test]
fn an_instance_serves_again() {
    let worker = worker(config());
    for _ in 0..200 {
        assert_eq!(status(&worker.run(ASK)), 204);
        assert_eq!(worker.instances.idle(), 1);
    }
}

#[test]
fn every_version_0_2_fits() {
    let engine = engine();
    for version in ["0.2.0", "0.2.6", "0.2.12", "0.2.13"] {
        let bytes = web_component(version, BROWSES, BROWSES_WORLD);
        let loaded = engine.load("test", &bytes, || TestHost::new(0));
        assert!(loaded.is_ok(), "{version}: {loaded:?}");
    }
    let bytes = web_component("0.3.0", BROWSES, BROWSES_WORLD);
    let refused = engine.check(&bytes).unwrap_err().to_string();
    assert!(refused.contains("@0.3.0"), "{refused}");
}

#[test]
fn it_has_to_be_granted_by_the_name_of_the_import() {
    let engine = engine();
    let host = || TestHost {
        denied: Some(Capability::Http),
        ..TestHost::new(0)
    };
    let refused = engine.load("test", &guest(), host).unwrap_err().to_string();
    let import = "wasi:http/outgoing-handler@0.2.3#handle";
    for part in [import, Capability::Http.line()] {
        assert!(refused.contains(part), "{refused}");
    }
    let wants = engine.check(&guest()).unwrap().wants;
    assert_eq!(wants.len(), 1);
    assert_eq!(wants.first().unwrap().imports, [import]);
}

#[test]
fn errors_are_codes() {
    let worker = worker(config());
    assert_eq!(worker.told(error(ErrorKind::Denied)), DENIED);
    assert_eq!(worker.told(error(ErrorKind::Limit)), RESPONSE_BODY_SIZE);
    assert_eq!(worker.told(error(ErrorKind::Unavailable)), INTERNAL);
    let late = HostError::late(Duration::from_secs(1));
    assert_eq!(worker.told(late), TIMEOUT);
}

#[test]
fn a_request_has_the_time_it_wants_and_no_more_than_hook_timeout() {
    let limits = EngineConfig {
        hook_timeout: Duration::from_millis(1500),
        ..config()
    };
    let worker = worker(limits);
    for (way, most) in [(ASK, 1500), (WITH_TIMEOUT, 1000)] {
        let (_, limit) = worker.run(way).host.unwrap().fetched.remove(0);
        let most = Duration::from_millis(most);
        assert!(limit <= most && limit > most / 2, "{limit:?}");
    }
}

#[test]
fn after_hook_timeout_nothing_is_asked() {
    let limits = EngineConfig {
        hook_timeout: Duration::from_millis(60),
        ..config()
    };
    let worker = worker(limits);
    let (sender, alarm) = oneshot::channel();
    let host = TestHost {
        alarm: Some(alarm),
        ..TestHost::new(SLEEP)
    };
    let mut waiting = worker.start(host);
    assert!(poll(&mut waiting).is_pending());
    std::thread::sleep(Duration::from_millis(80));
    sender.send(()).unwrap();
    let done = block_on(waiting);
    assert_eq!(status(&done), 299);
    let slept = done.host.unwrap().slept;
    assert!(
        slept.iter().all(|time| *time <= Duration::from_millis(60)),
        "{slept:?}"
    );
}

#[test]
fn time_that_passes_while_it_waits_is_not_running_time() {
    let limits = EngineConfig {
        hook_deadline: Duration::from_millis(5),
        ..config()
    };
    let worker = worker(limits);
    let (mut waiting, sender) = worker.ask(ASK);
    assert!(poll(&mut waiting).is_pending());
    // Far beyond the deadline with its grace.
    std::thread::sleep(Duration::from_millis(200));
    sender.send(Ok(HttpResponse::default())).unwrap();
    assert!(block_on(waiting).result.is_err_and(is_bad_status));
}

/// The status 0 of the response is no reply: the hook got as far as that.
fn is_bad_status(fault: Fault) -> bool {
    matches!(fault, Fault::Verdict(_))
}

#[test]
fn a_loop_after_waiting_ends_at_the_deadline() {
    let worker = worker(config());
    let (mut waiting, sender) = worker.ask(LOOP_AFTER);
    assert!(poll(&mut waiting).is_pending());
    sender.send(Ok(HttpResponse::default())).unwrap();
    assert_eq!(block_on(waiting).result, Err(Fault::Deadline));
}

#[test]
fn who_waits_for_what_can_not_come_gets_an_error_at_once() {
    let worker = worker(config());
    for way in [WAIT_TOO_EARLY, DROP_BODY] {
        let done = worker.run(way);
        assert_eq!(status(&done), INTERNAL);
        assert!(done.host.unwrap().fetched.is_empty());
    }
}

#[test]
fn a_body_beyond_the_limit_is_not_sent() {
    let done = worker(config()).run(FLOOD);
    assert_eq!(status(&done), REQUEST_BODY_SIZE);
    assert!(done.host.unwrap().fetched.is_empty());
}

#[test]
fn a_hook_has_so_many_requests() {
    let worker = worker(config());
    for _ in 0..2 {
        let done = worker.run(MANY);
        assert_eq!(status(&done), CONNECTION_LIMIT);
        assert_eq!(done.host.unwrap().fetched.len(), 16);
    }
}

#[test]
fn a_hook_waits_for_so_much_and_has_so_many_timers() {
    let worker = worker(config());
    for (way, told) in [
        (SLEEP_WITHOUT_END, "too many timers"),
        (WAIT_FOR_TOO_MUCH, "1 to 1000 things"),
    ] {
        let Err(fault) = worker.run(way).result else {
            panic!("{told}")
        };
        assert!(fault.to_string().contains(told), "{fault}");
        assert_eq!(status(&worker.run(ASK)), 204);
    }
}

#[test]
fn a_response_that_nobody_waits_for_is_gone_with_the_hook() {
    let worker = worker(config());
    let (mut run, sender) = worker.ask(FORGET);
    let Poll::Ready(done) = poll(&mut run) else {
        panic!("it does not wait")
    };
    assert_eq!(status(&done), 299);
    assert_eq!(done.host.unwrap().fetched.len(), 1, "it is sent");
    assert_eq!(status(&worker.run(FORGET)), 299);
    assert!(sender.send(Ok(HttpResponse::default())).is_err());
}

#[test]
fn a_hook_that_nobody_waits_for_any_more_harms_nobody() {
    let worker = worker(config());
    let (mut waiting, sender) = worker.ask(ASK);
    assert!(poll(&mut waiting).is_pending());
    drop(waiting);
    assert!(sender.send(Ok(HttpResponse::default())).is_err());
    assert_eq!(status(&worker.run(ASK)), 204);
}

#[test]
fn waiting_hooks_are_bounded() {
    let worker = worker(config());
    let mut waiting: Vec<_> = (0..4).map(|_| worker.ask(ASK)).collect();
    for (run, _) in &mut waiting {
        assert!(poll(run).is_pending());
    }
    let done = worker.run(ASK);
    assert!(matches!(&done.result, Err(fault) if fault.is_of_crowding()));
}

#[test]
fn a_response_goes_before_a_timer_that_is_over() {
    let worker = worker(config());
    assert_eq!(status(&worker.run(ASK_OR_SLEEP)), 291);
}

#[test]
fn what_comes_first_wakes_the_hook() {
    let worker = worker(config());
    let (answer, answers) = oneshot::channel();
    let (ring, alarm) = oneshot::channel();
    let (_never_rings, silent) = oneshot::channel();
    let (_never_answers, silence) = oneshot::channel();
    let host = || TestHost::new(ASK_OR_SLEEP);
    let mut for_the_answer = worker.start(TestHost {
        answer: Some(answers),
        alarm: Some(silent),
        ..host()
    });
    let mut for_the_timer = worker.start(TestHost {
        answer: Some(silence),
        alarm: Some(alarm),
        ..host()
    });
    assert!(poll(&mut for_the_answer).is_pending());
    assert!(poll(&mut for_the_timer).is_pending());
    answer.send(Ok(HttpResponse::default())).unwrap();
    assert_eq!(status(&block_on(for_the_answer)), 291);
    ring.send(()).unwrap();
    assert_eq!(status(&block_on(for_the_timer)), 291);
}
