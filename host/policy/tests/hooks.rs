//! Hooks run, end at their limits, and harm nobody else.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests state expectations by panicking"
)]

mod support;

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use patchbay_policy::*;
use support::*;

struct Worker {
    engine: Engine<TestHost>,
    version: std::sync::Arc<Version<TestHost>>,
    instances: Instances<TestHost>,
}

fn worker(config: EngineConfig) -> Worker {
    let engine = Engine::new(config).unwrap();
    let version = engine
        .load("test", &many_ways(0), || TestHost::new(0))
        .unwrap();
    Worker {
        version,
        instances: Instances::new(engine.clone(), 0),
        engine,
    }
}

impl Worker {
    fn start(&self, way: u32) -> HookRun<TestHost> {
        self.instances
            .run(&self.version, Hook::RequestRoute, TestHost::new(way), None)
    }

    fn run(&self, way: u32) -> HookDone<TestHost> {
        block_on(self.start(way))
    }
}

#[test]
fn a_hook_reads_and_edits_the_message() {
    let worker = worker(config());
    let done = worker.run(7);
    assert_eq!(done.result, Ok(Verdict::Relay));
    assert_eq!(
        done.host.unwrap().draft.header("X-A"),
        Some(b"c1@192.0.2.1".as_slice())
    );
}

#[test]
fn a_reply_comes_with_status_and_reason() {
    assert_eq!(
        worker(config()).run(6).result,
        Ok(Verdict::Reply {
            status: 404,
            reason: "Nobody".into()
        })
    );
}

#[test]
fn a_guest_is_denied_a_host_owned_header() {
    let done = worker(config()).run(8);
    let denied = 400 + ErrorKind::Denied as u16;
    assert!(
        matches!(done.result, Ok(Verdict::Reply { status, .. }) if status == denied),
        "{:?}",
        done.result
    );
    assert!(!done.host.unwrap().draft.is_edited());
}

#[test]
fn a_guest_is_denied_a_header_without_a_grant() {
    let worker = worker(config());
    let host = TestHost {
        denied_header: Some("X-A"),
        ..TestHost::new(7)
    };
    let done = block_on(
        worker
            .instances
            .run(&worker.version, Hook::RequestRoute, host, None),
    );
    assert_eq!(done.result, Ok(Verdict::Relay));
    assert!(!done.host.unwrap().draft.is_edited());
}

#[test]
fn after_a_trap_a_fresh_instance_serves() {
    let worker = worker(config());
    let done = worker.run(1);
    assert!(
        matches!(done.result, Err(Fault::Trap(_))),
        "{:?}",
        done.result
    );
    assert!(done.host.is_some(), "the context of the fault is not lost");
    assert_eq!(worker.instances.idle(), 0);
    assert_eq!(worker.run(0).result, Ok(Verdict::Relay));
    assert_eq!(worker.instances.idle(), 1);
}

#[test]
fn too_much_memory_is_reported_as_memory() {
    assert_eq!(worker(config()).run(3).result, Err(Fault::Memory));
}

#[test]
fn what_is_no_verdict_is_a_fault() {
    let worker = worker(config());
    assert!(matches!(worker.run(4).result, Err(Fault::Verdict(_))));
    assert!(matches!(worker.run(5).result, Err(Fault::Verdict(_))));
}

#[test]
fn an_endless_loop_ends_at_the_deadline() {
    let worker = worker(EngineConfig {
        hook_deadline: Duration::from_millis(20),
        ..config()
    });
    let start = Instant::now();
    let done = worker.run(2);
    assert_eq!(done.result, Err(Fault::Deadline));
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert!(done.host.is_some());
}

#[test]
fn the_default_limits_are_those_of_the_contract() {
    let config = EngineConfig::default();
    assert_eq!(config.hook_deadline, Duration::from_millis(50));
    assert_eq!(config.hook_timeout, Duration::from_secs(5));
    assert_eq!(config.memory_limit, 64 << 20);
    assert_eq!(config.max_concurrent_hooks, 1000);
}

/// The CPU time of this thread, from the scheduler's own account: unlike the time on the clock it is the same on a busy machine.
#[cfg(target_os = "linux")]
fn cpu_time() -> Duration {
    let account = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(account.split(' ').next().unwrap().parse().unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn a_looping_guest_yields_after_milliseconds() {
    const TURNS: u32 = 100;
    let worker = worker(EngineConfig {
        hook_deadline: Duration::from_secs(60),
        hook_timeout: Duration::from_secs(60),
        ..config()
    });
    let started = cpu_time();
    let others = async {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    };
    block_on(async {
        tokio::select! {
            biased;
            done = worker.start(2) => unreachable!("{:?}", done.result),
            () = others => {}
        }
    });
    let per_turn = (cpu_time() - started) / TURNS;
    assert!(per_turn < Duration::from_millis(4), "{per_turn:?} per turn");
}

#[test]
fn hooks_of_others_run_while_a_guest_loops() {
    let worker = worker(config());
    let turns = Cell::new(0);
    let others = async {
        loop {
            assert_eq!(worker.start(0).await.result, Ok(Verdict::Relay));
            turns.set(turns.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    let result = block_on(async {
        tokio::select! {
            done = worker.start(2) => done.result,
            () = others => unreachable!("it has no end"),
        }
    });
    assert_eq!(result, Err(Fault::Deadline));
    assert!(turns.get() >= 5, "{} turns in 50 ms", turns.get());
}

#[test]
fn a_dropped_run_discards_its_instance() {
    let worker = worker(config());
    block_on(async {
        let run = worker.start(2);
        let _ = tokio::time::timeout(Duration::from_millis(5), run).await;
    });
    assert_eq!(
        (worker.instances.running(), worker.instances.idle()),
        (0, 0)
    );
    assert_eq!(worker.run(0).result, Ok(Verdict::Relay));
}

#[test]
fn hooks_that_do_not_wait_are_not_refused() {
    let worker = worker(EngineConfig {
        hook_deadline: Duration::from_secs(60),
        hook_timeout: Duration::from_secs(60),
        ..config()
    });
    let mut context = Context::from_waker(Waker::noop());
    let mut running: Vec<_> = (0..40).map(|_| worker.start(2)).collect();
    let all_run = running
        .iter_mut()
        .all(|run| Pin::new(run).poll(&mut context).is_pending());
    assert!(all_run);
    assert_eq!(worker.run(0).result, Ok(Verdict::Relay));
    assert_eq!(worker.instances.waiting(), 0);
}

#[test]
fn hooks_without_a_place_for_an_instance_are_refused() {
    let worker = worker(EngineConfig {
        max_concurrent_hooks: 2,
        spare_instances: 2,
        hook_deadline: Duration::from_secs(60),
        hook_timeout: Duration::from_secs(60),
        ..config()
    });
    let mut context = Context::from_waker(Waker::noop());
    let mut held: Vec<_> = (0..20).map(|_| worker.start(2)).collect();
    let polled = held.iter_mut().map(|run| Pin::new(run).poll(&mut context));
    let ended: Vec<_> = polled.filter(Poll::is_ready).collect();
    assert_eq!(ended.len(), 20 - (2 + 2));
    for done in ended {
        let Poll::Ready(done) = done else { continue };
        let fault = done.result.unwrap_err();
        assert!(fault.is_of_crowding() && !fault.is_policys(), "{fault}");
        assert!(done.host.is_some());
    }
    drop(held);
    assert_eq!(worker.run(0).result, Ok(Verdict::Relay));
}

#[test]
fn idle_instances_give_way_to_those_that_are_needed() {
    let worker = worker(EngineConfig {
        max_concurrent_hooks: 2,
        spare_instances: 2,
        ..config()
    });
    let scopes: Vec<_> = (0..20).map(|_| Scope::new()).collect();
    for scope in scopes.iter().chain(&scopes) {
        let host = TestHost::new(0);
        let run =
            worker
                .instances
                .run_in(Some(scope), &worker.version, Hook::RequestRoute, host, None);
        assert_eq!(block_on(run).result, Ok(Verdict::Relay));
        assert_eq!(worker.run(0).result, Ok(Verdict::Relay));
    }
    assert!(worker.instances.idle() <= 4);
}

#[test]
fn idle_instances_give_way_when_others_have_taken_all_places() {
    let worker = worker(EngineConfig {
        max_concurrent_hooks: 2,
        spare_instances: 2,
        hook_deadline: Duration::from_secs(60),
        hook_timeout: Duration::from_secs(60),
        ..config()
    });
    // On fibers, whose stacks are what there is least of.
    let on_fiber = |way: u32| TestHost {
        is_straight: false,
        ..TestHost::new(way)
    };
    let run_in = |scope: &std::sync::Arc<Scope>| {
        let (version, hook) = (&worker.version, Hook::RequestRoute);
        let host = on_fiber(0);
        let run = worker
            .instances
            .run_in(Some(scope), version, hook, host, None);
        block_on(run).result
    };
    let scopes: Vec<_> = (0..4).map(|_| Scope::new()).collect();
    for scope in &scopes[..3] {
        assert_eq!(run_in(scope), Ok(Verdict::Relay));
    }
    assert_eq!(worker.instances.idle(), 3);
    // The places of this worker, and those of versions that are being checked: three are taken.
    let others = [(); 3].map(|()| Instances::new(worker.engine.clone(), 0));
    let mut context = Context::from_waker(Waker::noop());
    let start = |number: usize| {
        let (version, hook) = (&worker.version, Hook::RequestRoute);
        others[number % 3].run(version, hook, on_fiber(2), None)
    };
    let mut held: Vec<_> = (0..9).map(start).collect();
    let all_run = held
        .iter_mut()
        .all(|run| Pin::new(run).poll(&mut context).is_pending());
    assert!(all_run);
    assert_eq!(run_in(&scopes[3]), Ok(Verdict::Relay));
    assert_eq!(worker.instances.idle(), 1);
}

#[test]
fn an_instance_is_replaced_after_its_uses() {
    let worker = worker(EngineConfig {
        instance_reuse: 2,
        ..config()
    });
    worker.run(0);
    assert_eq!(worker.instances.idle(), 1);
    worker.run(0);
    assert_eq!(worker.instances.idle(), 0);
}

#[test]
fn runs_and_faults_are_counted() {
    let worker = worker(config());
    worker.run(0);
    worker.run(1);
    let counts = worker.version.stats().counts();
    assert_eq!((counts.total_calls(), counts.total_faults()), (2, 1));
    assert!(
        worker
            .version
            .stats()
            .last_fault()
            .unwrap()
            .starts_with("request-route: the policy trapped")
    );
}
