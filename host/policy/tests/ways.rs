//! Which way a policy runs, and what an instance that is never left must not get wrong.

#![allow(clippy::unwrap_used, reason = "tests state expectations by panicking")]

mod support;

use std::sync::Arc;

use patchbay_policy::*;
use support::*;

/// `branch-route` drops, as another core module says.
const TWO_MODULES: &str = r#"(component
  (core module $answers (func (export "answer") (result i32) (i32.const 1)))
  (core module $asks
    (import "answers" "answer" (func $answer (result i32)))
    (func (export "hook") (result i32) (call $answer)))
  (core instance $answers (instantiate $answers))
  (core instance $asks (instantiate $asks (with "answers" (instance $answers))))
  (type $verdict (enum "pass" "drop"))
  (type $enum (enum "pass" "drop"))
  (func $hook (result $enum) (canon lift (core func $asks "hook")))
  (component $wrapping
    (type $cases (enum "pass" "drop"))
    (import "import-verdict" (type $verdict (eq $cases)))
    (import "import-hook" (func $hook (result $verdict)))
    (export $named "branch-verdict" (type $cases))
    (export "branch-route" (func $hook) (func (result $named))))
  (instance $exported (instantiate $wrapping
    (with "import-verdict" (type $enum)) (with "import-hook" (func $hook))))
  (export "patchbay:policy/branch-route@0.1.0" (instance $exported)))"#;

/// Relays once `_initialize` has run.
const INITIALIZED: &str = r#"(module
  (import "patchbay:policy/message@0.1.0" "method" (func $method (param i32)))
  (memory (export "memory") 1)
  (global $ready (mut i32) (i32.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "_initialize") (global.set $ready (i32.const 1)))
  (func (export "patchbay:policy/request-route@0.1.0#request-route") (result i32)
    (if (i32.eqz (global.get $ready)) (then unreachable))
    (call $method (i32.const 128))
    (i32.const 64)))"#;

/// Asks for Call-ID, From and Call-ID with an arena for the first of them. The reply's status is 200, ten for each call of its allocator
/// and one for each block in the arena; the reason is the first text.
const LENDING: &str = r#"(module
  (import "patchbay:policy/message@0.1.0" "call-id" (func $call_id (param i32)))
  (import "patchbay:policy/message@0.1.0" "header" (func $header (param i32 i32 i32)))
  (memory (export "memory") 1)
  (global (export "patchbay:arena") i32 (i32.const 1024))
  (global $asked (mut i32) (i32.const 0))
  (data (i32.const 0) "From")
  (data (i32.const 1032) "\10\00\00\00\00\08\00\00")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
    (i32.mul (global.get $asked) (i32.const 4096)))
  (func (export "patchbay:policy/request-route@0.1.0#request-route") (result i32)
    (call $call_id (i32.const 136))
    (call $header (i32.const 0) (i32.const 4) (i32.const 256))
    (if (i32.ne (i32.load8_u (i32.load (i32.const 260))) (i32.const 60)) (then unreachable))
    (call $call_id (i32.const 512))
    (i32.store8 (i32.const 128) (i32.const 1))
    (i32.store16 (i32.const 132) (i32.add (i32.const 200)
      (i32.add (i32.mul (global.get $asked) (i32.const 10)) (i32.load (i32.const 1028)))))
    (i32.const 128)))"#;

const LENDING_WORLD: &str =
    "import patchbay:policy/message@0.1.0; export patchbay:policy/request-route@0.1.0;";

fn load(config: EngineConfig, bytes: &[u8]) -> (Arc<Version<TestHost>>, Instances<TestHost>) {
    let engine = Engine::new(config).unwrap();
    let version = engine.load("test", bytes, || TestHost::new(0)).unwrap();
    (version, Instances::new(engine, 0))
}

#[test]
fn what_wit_component_makes_runs_directly() {
    let (version, _) = load(config(), &many_ways(0));
    assert!(version.is_direct());
}

#[test]
fn a_component_of_another_shape_runs_as_one() {
    let (version, instances) = load(config(), &wat::parse_str(TWO_MODULES).unwrap());
    assert!(!version.is_direct());
    let run = instances.run(&version, Hook::BranchRoute, TestHost::new(0), None);
    assert_eq!(block_on(run).result, Ok(Verdict::Drop));
}

#[test]
fn a_guest_is_initialized_before_its_first_hook() {
    let world = "import patchbay:policy/message@0.1.0; export patchbay:policy/request-route@0.1.0;";
    for direct in [true, false] {
        let config = EngineConfig { direct, ..config() };
        let (version, instances) = load(config, &component(INITIALIZED, world));
        assert_eq!(version.is_direct(), direct);
        for _ in 0..2 {
            let run = instances.run(&version, Hook::RequestRoute, TestHost::new(0), None);
            assert_eq!(block_on(run).result, Ok(Verdict::Relay));
        }
    }
}

#[test]
fn a_hook_is_not_late_because_its_instance_waited_long() {
    let (version, instances) = load(config(), &many_ways(0));
    let run = |way| block_on(instances.run(&version, Hook::RequestRoute, TestHost::new(way), None));
    // The epoch ticks on for a while after an endless hook, which has an instance of its own.
    let short = instances.run(&version, Hook::RequestRoute, TestHost::new(0), None);
    let endless = instances.run(&version, Hook::RequestRoute, TestHost::new(2), None);
    assert_eq!(block_on(short).result, Ok(Verdict::Relay));
    assert_eq!(block_on(endless).result, Err(Fault::Deadline));
    for _ in 0..5000 {
        assert_eq!(run(0).result, Ok(Verdict::Relay));
    }
}

#[test]
fn instances_that_wait_are_thrown_away_without_harm() {
    let (version, instances) = load(config(), &many_ways(0));
    let run = |way| block_on(instances.run(&version, Hook::RequestRoute, TestHost::new(way), None));
    for _ in 0..200 {
        let held: Vec<_> = (0..4)
            .map(|_| instances.run(&version, Hook::RequestRoute, TestHost::new(0), None))
            .collect();
        drop(held);
        assert_eq!(run(0).result, Ok(Verdict::Relay));
    }
    drop(instances);
    assert_eq!(version.stats().counts().total_faults(), 0);
}

#[test]
fn texts_go_into_the_arena_that_a_guest_lends_while_there_is_room() {
    let bytes = component(LENDING, LENDING_WORLD);
    for (direct, status) in [(true, 221), (false, 230)] {
        let (version, instances) = load(EngineConfig { direct, ..config() }, &bytes);
        assert_eq!(version.is_direct(), direct);
        let run = instances.run(&version, Hook::RequestRoute, TestHost::new(0), None);
        let reason = "c1@192.0.2.1".to_owned();
        assert_eq!(block_on(run).result, Ok(Verdict::Reply { status, reason }));
    }
}
