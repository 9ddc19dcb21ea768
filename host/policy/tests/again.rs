//! Hooks that are called without a fiber, and begin again on one when they run for long or act outside of their transaction.

#![allow(clippy::unwrap_used, reason = "tests state expectations by panicking")]

mod support;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use patchbay_policy::*;
use support::*;

/// A guest whose `request-route` sets X-A and adds a target. Then it does what `transaction.failure-round` says: 0 nothing, 1 loops for
/// some 100 ms and longer, 2 counts, 3 counts and loops, 4 loops without an end, 5 calls itself without an end, 6 sets a timer, 7 writes a log, 8 saves
/// a contact, 9 sets a key.
const ACTS: &str = r#"(module
  (import "patchbay:policy/transaction@0.1.0" "failure-round" (func $round (result i32)))
  (import "patchbay:policy/message@0.1.0" "set-header" (func $set (param i32 i32 i32 i32 i32)))
  (import "patchbay:policy/targets@0.1.0" "add-uri" (func $add (param i32 i32 i32)))
  (import "patchbay:policy/counters@0.1.0" "add" (func $count (param i32 i32 i64 i32)))
  (import "patchbay:policy/timers@0.1.0" "set" (func $timer (param i32 i32 i32 i32)))
  (import "patchbay:policy/log@0.1.0" "log" (func $log (param i32 i32 i32)))
  (import "patchbay:policy/location@0.1.0" "save-contact" (func $save (param i32 i32 i32 i32 i32 i32)))
  (import "patchbay:policy/keyvalue@0.1.0" "set" (func $put (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "X-Asip:c@192.0.2.9n")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func $spin
    (local $left i32)
    (local.set $left (i32.const 300000000))
    (loop $more (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
  (func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))
  (func (export "patchbay:policy/request-route@0.1.0#request-route") (result i32)
    (local $way i32)
    (local.set $way (call $round))
    (call $set (i32.const 0) (i32.const 3) (i32.const 18) (i32.const 1) (i32.const 160))
    (call $add (i32.const 3) (i32.const 15) (i32.const 160))
    (if (i32.eq (local.get $way) (i32.const 1)) (then (call $spin)))
    (if (i32.or (i32.eq (local.get $way) (i32.const 2)) (i32.eq (local.get $way) (i32.const 3)))
      (then (call $count (i32.const 18) (i32.const 1) (i64.const 1) (i32.const 160))))
    (if (i32.eq (local.get $way) (i32.const 3)) (then (call $spin)))
    (if (i32.eq (local.get $way) (i32.const 4)) (then (loop $again (br $again))))
    (if (i32.eq (local.get $way) (i32.const 5)) (then (drop (call $deep (i32.const 0)))))
    (if (i32.eq (local.get $way) (i32.const 6))
      (then (call $timer (i32.const 18) (i32.const 1) (i32.const 5) (i32.const 160))))
    (if (i32.eq (local.get $way) (i32.const 7)) (then (call $log (i32.const 4) (i32.const 18) (i32.const 1))))
    (if (i32.eq (local.get $way) (i32.const 8))
      (then (call $save (i32.const 3) (i32.const 15) (i32.const 3) (i32.const 15) (i32.const 60) (i32.const 160))))
    (if (i32.eq (local.get $way) (i32.const 9))
      (then (call $put (i32.const 18) (i32.const 1) (i32.const 18) (i32.const 1) (i32.const 160))))
    (i32.store8 (i32.const 64) (i32.const 0))
    (i32.const 64)))"#;

const ACTS_WORLD: &str = "import patchbay:policy/transaction@0.1.0; import patchbay:policy/message@0.1.0;
    import patchbay:policy/targets@0.1.0; import patchbay:policy/counters@0.1.0; import patchbay:policy/timers@0.1.0;
    import patchbay:policy/log@0.1.0; import patchbay:policy/location@0.1.0; import patchbay:policy/keyvalue@0.1.0;
    export patchbay:policy/request-route@0.1.0;";

struct Worker {
    version: Arc<Version<TestHost>>,
    instances: Instances<TestHost>,
}

impl Worker {
    fn new(hook_deadline: Duration) -> Worker {
        let config = EngineConfig {
            hook_deadline,
            hook_timeout: Duration::from_secs(60),
            ..config()
        };
        let engine = Engine::new(config).unwrap();
        let guest = component(ACTS, ACTS_WORLD);
        let version = engine.load("acts", &guest, || TestHost::new(0)).unwrap();
        Worker {
            version,
            instances: Instances::new(engine, 0),
        }
    }

    /// With time enough.
    fn patient() -> Worker {
        Worker::new(Duration::from_secs(30))
    }

    /// One that has no instance yet, and one that has.
    fn both() -> [Worker; 2] {
        let used = Worker::patient();
        assert_eq!(undone(used.run(0)), 0);
        [Worker::patient(), used]
    }

    fn start(&self, host: TestHost) -> Started<TestHost> {
        self.instances
            .start(None, &self.version, Hook::RequestRoute, host)
    }

    fn run(&self, way: u32) -> HookDone<TestHost> {
        finished(self.start(TestHost::new(way)))
    }
}

fn finished(started: Started<TestHost>) -> HookDone<TestHost> {
    match started {
        Started::Done(done) => done,
        Started::Running(run) => block_on(run),
    }
}

/// Checks that the hook is done, and its host as after one run. How often it was undone.
fn undone(done: HookDone<TestHost>) -> u32 {
    assert_eq!(done.result, Ok(Verdict::Relay));
    let host = done.host.unwrap();
    let headers: Vec<_> = host.draft.headers("X-A").collect();
    assert_eq!(headers, [b"n"]);
    assert_eq!(host.targets, ["sip:c@192.0.2.9"]);
    host.undone
}

#[test]
fn a_short_hook_runs_once() {
    for worker in Worker::both() {
        assert!((0..5).all(|_| undone(worker.run(0)) == 0));
        assert!(matches!(worker.start(TestHost::new(0)), Started::Done(_)));
        assert_eq!(worker.instances.idle(), 1);
        assert_eq!(worker.instances.running(), 0);
    }
}

#[test]
fn a_hook_that_runs_for_long_yields_and_is_done_as_one_run() {
    for worker in Worker::both() {
        let Started::Running(mut run) = worker.start(TestHost::new(1)) else {
            panic!("it takes long");
        };
        let first = Pin::new(&mut run).poll(&mut Context::from_waker(Waker::noop()));
        assert!(first.is_pending(), "it yields");
        assert!(!run.waits(), "it can go on at once");
        assert_eq!(worker.instances.running(), 1);
        assert_eq!(undone(block_on(run)), 1);
        assert_eq!(worker.instances.running(), 0);
        assert_eq!(undone(worker.run(1)), 0, "the next one begins on a fiber");
    }
}

#[test]
fn a_hook_that_is_let_go_while_it_waits_for_its_turn_counts_no_more() {
    for worker in Worker::both() {
        drop(worker.start(TestHost::new(1)));
        assert_eq!(worker.instances.running(), 0);
        assert_eq!(undone(worker.run(0)), 0);
    }
}

#[test]
fn what_acts_outside_does_so_once() {
    let counted = |done: HookDone<TestHost>| {
        assert_eq!(done.host.as_ref().unwrap().counters, [("n".to_owned(), 1)]);
        undone(done)
    };
    for worker in Worker::both() {
        let calls_before = worker.version.stats().counts().total_calls();
        assert_eq!(counted(worker.run(2)), 1);
        assert_eq!(counted(worker.run(2)), 0);
        assert_eq!(counted(worker.run(3)), 0);
        let calls = worker.version.stats().counts().total_calls() - calls_before;
        assert_eq!(calls, 3, "one that begins again is one");
    }
    for worker in Worker::both() {
        assert_eq!(counted(worker.run(3)), 1, "and is not slow as well");
    }
}

#[test]
fn everything_that_acts_outside_begins_again() {
    for way in 6..=9 {
        for worker in Worker::both() {
            assert_eq!(undone(worker.run(way)), 1, "way {way}");
        }
    }
}

#[test]
fn a_hook_whose_host_can_not_be_put_back_begins_on_a_fiber() {
    for worker in Worker::both() {
        for way in [2, 1, 0] {
            let host = TestHost {
                is_straight: false,
                ..TestHost::new(way)
            };
            assert_eq!(undone(finished(worker.start(host))), 0, "way {way}");
        }
        // Both kinds of instances are kept, and each serves its kind.
        assert_eq!(undone(worker.run(0)), 0);
        assert_eq!(worker.instances.idle(), 2);
    }
}

#[test]
fn what_fails_fails_as_on_a_fiber() {
    let worker = Worker::new(Duration::from_millis(20));
    for _ in 0..2 {
        let endless = worker.run(4);
        assert_eq!(endless.result, Err(Fault::Deadline));
    }
    for worker in Worker::both() {
        let deep = worker.run(5);
        let is_trap = |fault: &Fault| matches!(fault, Fault::Trap(text) if text.contains("stack"));
        assert!(
            deep.result.as_ref().is_err_and(is_trap),
            "{:?}",
            deep.result
        );
        assert_eq!(deep.host.unwrap().undone, 0);
        assert_eq!(undone(worker.run(0)), 0);
    }
}

#[test]
fn after_many_hooks_on_fibers_the_next_one_is_called_straight_again() {
    let worker = Worker::patient();
    assert_eq!(undone(worker.run(2)), 1);
    let between = (0..10_000).filter(|_| undone(worker.run(2)) != 0).count();
    assert_eq!(between, 0);
    assert_eq!(undone(worker.run(2)), 1);
}

#[test]
fn instances_of_fibers_give_way_to_those_of_straight_hooks() {
    let config = EngineConfig {
        hook_deadline: Duration::from_secs(30),
        hook_timeout: Duration::from_secs(60),
        ..EngineConfig::default()
    };
    let engine = Engine::new(config).unwrap();
    let guest = component(ACTS, ACTS_WORLD);
    let version = engine.load("acts", &guest, || TestHost::new(0)).unwrap();
    let worker = Worker {
        version,
        instances: Instances::new(engine, 0),
    };
    let mut context = Context::from_waker(Waker::noop());
    let mut held: Vec<_> = (0..70)
        .map(|_| {
            let host = TestHost {
                is_straight: false,
                ..TestHost::new(1)
            };
            let Started::Running(mut run) = worker.start(host) else {
                panic!("it takes long");
            };
            assert!(Pin::new(&mut run).poll(&mut context).is_pending());
            run
        })
        .collect();
    for run in held.drain(..) {
        assert_eq!(undone(block_on(run)), 0);
    }
    assert_eq!(worker.instances.idle(), 64);
    assert_eq!(undone(worker.run(0)), 0);
    assert!(matches!(worker.start(TestHost::new(0)), Started::Done(_)));
    assert_eq!(worker.instances.idle(), 64);
}

/// What it is told is more than it has lent room for, in `init` and, when `init` was told nothing, in `request-route`, which sets X-A to that.
const ASKS: &str = r#"(module
  (import "patchbay:policy/settings@0.1.0" "get" (func $get (param i32 i32 i32)))
  (import "patchbay:policy/message@0.1.0" "set-header" (func $set (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (global $told (mut i32) (i32.const 0))
  (data (i32.const 0) "X-A")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "patchbay:policy/init@0.1.0#init") (result i32)
    (call $get (i32.const 0) (i32.const 3) (i32.const 128))
    (global.set $told (i32.load8_u (i32.const 128)))
    (i32.const 64))
  (func (export "patchbay:policy/request-route@0.1.0#request-route") (result i32)
    (if (i32.eqz (global.get $told)) (then (call $get (i32.const 0) (i32.const 3) (i32.const 128))))
    (call $set (i32.const 0) (i32.const 3) (i32.load (i32.const 132)) (i32.load (i32.const 136)) (i32.const 160))
    (i32.const 64)))"#;

const ASKS_WORLD: &str =
    "import patchbay:policy/settings@0.1.0; import patchbay:policy/message@0.1.0;
    export patchbay:policy/init@0.1.0; export patchbay:policy/request-route@0.1.0;";

#[test]
fn where_the_guest_has_to_make_room_the_hook_begins_again() {
    let engine = engine();
    let guest = component(ASKS, ASKS_WORLD);
    let version = engine.load("asks", &guest, || TestHost::new(0)).unwrap();
    // Instances are made, and `init` runs, with the host of the first hook.
    for (first, later) in [("", "told"), ("told", "")] {
        let instances = Instances::new(engine.clone(), 0);
        let run = |told: &str| {
            let mut host = TestHost::new(0);
            let settings = [("X-A".to_owned(), told.to_owned())];
            host.settings
                .extend(settings.into_iter().filter(|_| !told.is_empty()));
            block_on(instances.run(&version, Hook::RequestRoute, host, None))
        };
        let (one, two) = (run(first), run(later));
        assert!(one.result.is_ok() && two.result.is_ok(), "{one:?} {two:?}");
        let told = if first.is_empty() { &two } else { &one };
        let host = told.host.as_ref().unwrap();
        let headers: Vec<_> = host.draft.headers("X-A").collect();
        assert_eq!((headers, host.undone), (vec![b"told".as_slice()], 1));
    }
}
