//! Every hook is called with what belongs to it, and its verdict comes back.

#![allow(clippy::unwrap_used, reason = "tests state expectations by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use patchbay_message::{Draft, Limits, Message};
use patchbay_policy::*;
use support::*;

/// A worker with one version.
struct Worker {
    version: Arc<Version<TestHost>>,
    instances: Instances<TestHost>,
}

impl Worker {
    fn of(module: &str, world: &str) -> Worker {
        Worker::with(config(), module, world, host)
    }

    fn with(
        config: EngineConfig,
        module: &str,
        world: &str,
        init_host: impl Fn() -> TestHost,
    ) -> Worker {
        let engine = Engine::new(config).unwrap();
        let version = engine
            .load("test", &component(module, world), init_host)
            .unwrap();
        Worker {
            version,
            instances: Instances::new(engine, 0),
        }
    }

    fn run(&self, hook: Hook, host: TestHost) -> HookDone<TestHost> {
        block_on(self.instances.run(&self.version, hook, host, None))
    }

    fn tell(&self, event: Event) -> TestHost {
        let run = self
            .instances
            .run(&self.version, Hook::EventRoute, host(), Some(event));
        let done = block_on(run);
        assert_eq!(done.result, Ok(Verdict::Done));
        done.host.unwrap()
    }
}

fn host() -> TestHost {
    TestHost::new(0)
}

fn response(status: u16) -> Draft {
    let text = format!(
        "SIP/2.0 {status} Whatever\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:alice@example.com>;tag=a1\r\n\
         To: <sip:bob@example.com>;tag=b1\r\nCall-ID: c1@192.0.2.1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    );
    Draft::new(Arc::new(
        Message::parse(text.as_bytes(), &Limits::default()).unwrap(),
    ))
}

#[test]
fn event_route_is_told_every_case() {
    let worker = Worker::of(EVENTS, EVENTS_WORLD);
    let alice = || RegistrationEvent {
        aor: "alice".into(),
        contact: "sip:alice@192.0.2.1".into(),
        expires_secs: 5,
    };
    for (event, counter) in [
        (Event::RegistrationAdded(alice()), ("alice", 5)),
        (Event::RegistrationRefreshed(alice()), ("alice", 15)),
        (Event::RegistrationRemoved(alice()), ("alice", 25)),
        (Event::RegistrationExpired(alice()), ("alice", 35)),
        (Event::Timer("nightly".into()), ("nightly", 40)),
    ] {
        let counters = worker.tell(event).counters;
        assert_eq!(counters, [(counter.0.to_owned(), counter.1)]);
    }
    assert_eq!(worker.instances.idle(), 1, "one instance served them all");
}

#[test]
fn event_route_without_an_event_is_not_run() {
    let done = Worker::of(EVENTS, EVENTS_WORLD).run(Hook::EventRoute, host());
    assert!(matches!(done.result, Err(Fault::Unavailable(_))));
}

#[test]
fn onreply_route_edits_the_response() {
    let worker = Worker::of(REPLIES, REPLIES_WORLD);
    let mut ringing = host();
    ringing.draft = response(180);
    let done = worker.run(Hook::OnreplyRoute, ringing);
    assert_eq!(done.result, Ok(Verdict::Pass));
    let seen = done.host.unwrap().draft;
    assert_eq!(seen.header("X-Seen"), Some(b"1".as_slice()));
}

#[test]
fn onreply_route_drops_a_response() {
    let worker = Worker::of(REPLIES, REPLIES_WORLD);
    let mut progress = host();
    progress.draft = response(183);
    assert_eq!(
        worker.run(Hook::OnreplyRoute, progress).result,
        Ok(Verdict::Drop)
    );
}

fn failed(status: u16) -> TestHost {
    TestHost {
        response: Some(response(status)),
        ..host()
    }
}

#[test]
fn failure_route_relays_to_new_targets() {
    let done = Worker::of(FAILURES, FAILURES_WORLD).run(Hook::FailureRoute, failed(486));
    assert_eq!(done.result, Ok(Verdict::Relay));
    let host = done.host.unwrap();
    assert_eq!(host.targets, ["sip:vm@x"]);
    assert!(host.armed.failure_route && !host.armed.branch_route && !host.armed.onreply_route);
}

#[test]
fn failure_route_replies_or_passes() {
    let worker = Worker::of(FAILURES, FAILURES_WORLD);
    let reply = Verdict::Reply {
        status: 503,
        reason: "Later".into(),
    };
    assert_eq!(
        worker.run(Hook::FailureRoute, failed(500)).result,
        Ok(reply)
    );
    let done = worker.run(Hook::FailureRoute, failed(404));
    assert_eq!(done.result, Ok(Verdict::Pass));
    assert!(done.host.unwrap().targets.is_empty());
}

#[test]
fn branch_route_changes_its_branch() {
    let done = Worker::of(BRANCHES, BRANCHES_WORLD).run(Hook::BranchRoute, host());
    assert_eq!(done.result, Ok(Verdict::Pass));
    assert_eq!(done.host.unwrap().draft.request_uri(), b"sip:y@z");
}

#[test]
fn branch_route_drops_a_branch() {
    let mut blocked = host();
    blocked.draft.set_request_uri(b"sip:blocked@x").unwrap();
    let done = Worker::of(BRANCHES, BRANCHES_WORLD).run(Hook::BranchRoute, blocked);
    assert_eq!(done.result, Ok(Verdict::Drop));
}

#[test]
fn a_hook_that_is_not_exported_is_not_run() {
    let worker = Worker::of(BRANCHES, BRANCHES_WORLD);
    assert!(!worker.version.exports(Hook::FailureRoute));
    let done = worker.run(Hook::FailureRoute, failed(486));
    assert!(matches!(done.result, Err(Fault::Unavailable(_))));
}

fn greeting(text: &str) -> TestHost {
    TestHost {
        settings: vec![("greeting".into(), text.into())],
        ..host()
    }
}

#[test]
fn init_prepares_every_instance_and_has_no_side_effects() {
    let fresh_each_time = EngineConfig {
        instance_reuse: 1,
        ..config()
    };
    let worker = Worker::with(fresh_each_time, PREPARED, PREPARED_WORLD, || {
        greeting("at the trial")
    });
    for text in ["first", "second"] {
        let done = worker.run(Hook::RequestRoute, greeting(text));
        let wrong_hook = 400 + 1 + ErrorKind::WrongHook as u16;
        assert_eq!(
            done.result,
            Ok(Verdict::Reply {
                status: wrong_hook,
                reason: text.into()
            })
        );
        assert_eq!(done.host.unwrap().counters, []);
    }
}

#[test]
fn an_init_that_traps_later_is_the_policys_fault() {
    let worker = Worker::with(config(), PREPARED, PREPARED_WORLD, || greeting("good"));
    let done = worker.run(Hook::RequestRoute, host());
    let Err(fault) = done.result else {
        unreachable!("there is no greeting")
    };
    assert!(fault.is_policys());
    assert!(
        fault.to_string().starts_with("the policy trapped: in init"),
        "{fault}"
    );
    assert!(done.host.is_some());
}

#[test]
fn an_endless_init_is_a_load_error() {
    let impatient = EngineConfig {
        hook_timeout: Duration::from_millis(50),
        ..config()
    };
    let error = Engine::new(impatient)
        .unwrap()
        .load("p", &component(NEVER_READY, NEVER_READY_WORLD), host)
        .unwrap_err();
    assert_eq!(error, LoadError::InitFault(Fault::Timeout));
}
