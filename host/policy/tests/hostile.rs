//! Guests that hand over nonsense: each is a fault, and the same one whichever way the policy runs.

#![allow(clippy::unwrap_used, reason = "tests state expectations by panicking")]

mod support;

use std::time::Duration;

use patchbay_policy::*;
use support::*;

/// A guest that imports some of everything; `body` is its `request-route`, in which `$at` is what its allocator returns from then on.
fn guest(body: &str, post_return: &str) -> String {
    format!(
        r#"(module
  (import "patchbay:policy/message@0.1.0" "header" (func $header (param i32 i32 i32)))
  (import "patchbay:policy/message@0.1.0" "headers" (func $headers (param i32 i32 i32)))
  (import "patchbay:policy/message@0.1.0" "headers-named" (func $named (param i32 i32 i32)))
  (import "patchbay:policy/message@0.1.0" "facts" (func $facts (result i32)))
  (import "patchbay:policy/message@0.1.0" "status" (func $status (param i32)))
  (import "patchbay:policy/message@0.1.0" "set-body" (func $body (param i32 i32 i32 i32 i32)))
  (import "patchbay:policy/log@0.1.0" "log" (func $log (param i32 i32 i32)))
  (import "patchbay:policy/log@0.1.0" "enabled" (func $enabled (param i32) (result i32)))
  (import "patchbay:policy/clock@0.1.0" "unix-ms" (func $clock (result i64)))
  (import "patchbay:policy/targets@0.1.0" "add"
    (func $add (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "patchbay:policy/targets@0.1.0" "add-uri" (func $uri (param i32 i32 i32)))
  (memory (export "memory") 1)
  (global $at (mut i32) (i32.const 4096))
  (global $ask (mut i32) (i32.const 0))
  (data (i32.const 0) "From\ff\fe  sip:a@b")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (if (i32.eq (global.get $ask) (i32.const 1)) (then (drop (call $clock))))
    (if (i32.eq (global.get $ask) (i32.const 2)) (then (drop (call $facts))))
    (global.get $at))
  (func (export "cabi_post_patchbay:policy/request-route@0.1.0#request-route") (param i32) {post_return})
  (func (export "patchbay:policy/request-route@0.1.0#request-route") (result i32)
    {body}
    (i32.const 64)))"#
    )
}

const WORLD: &str = "import patchbay:policy/message@0.1.0; import patchbay:policy/log@0.1.0;
    import patchbay:policy/clock@0.1.0; import patchbay:policy/targets@0.1.0;
    export patchbay:policy/request-route@0.1.0;";

fn outcome(bytes: &[u8], direct: bool) -> Result<Verdict, Fault> {
    outcome_in(EngineConfig { direct, ..config() }, bytes)
}

fn outcome_in(config: EngineConfig, bytes: &[u8]) -> Result<Verdict, Fault> {
    let direct = config.direct;
    let engine = Engine::new(config).unwrap();
    let version = engine.load("test", bytes, || TestHost::new(0)).unwrap();
    assert_eq!(version.is_direct(), direct);
    let instances = Instances::new(engine, 0);
    let run = || block_on(instances.run(&version, Hook::RequestRoute, TestHost::new(0), None));
    let result = run().result;
    assert_eq!(instances.idle(), usize::from(result.is_ok()));
    // A fault costs the instance and nothing else.
    assert_eq!(run().result, result);
    result
}

/// The same both ways; of traps, the trap without the functions that it went through.
fn both(body: &str, post_return: &str) -> Result<Verdict, Fault> {
    let bytes = component(&guest(body, post_return), WORLD);
    let trap = |result| match result {
        Err(Fault::Trap(text)) => Err(Fault::Trap(
            text.split(';').next().unwrap_or_default().to_owned(),
        )),
        other => other,
    };
    let (direct, component) = (trap(outcome(&bytes, true)), trap(outcome(&bytes, false)));
    assert_eq!(direct, component, "{body}");
    direct
}

fn bad(body: &str) -> String {
    match both(body, "") {
        Err(Fault::Verdict(text)) => text,
        other => unreachable!("{body}: {other:?}"),
    }
}

#[test]
fn a_guest_that_does_nothing_wrong_relays() {
    let body = "(call $header (i32.const 0) (i32.const 4) (i32.const 128))
        (call $uri (i32.const 8) (i32.const 7) (i32.const 128))";
    assert_eq!(both(body, ""), Ok(Verdict::Relay));
}

#[test]
fn arguments_have_to_be_in_memory() {
    for body in [
        "(call $header (i32.const 65535) (i32.const 4) (i32.const 128))",
        "(call $header (i32.const -1) (i32.const -1) (i32.const 128))",
        "(call $header (i32.const 0) (i32.const -1) (i32.const 128))",
        "(call $log (i32.const 0) (i32.const 65530) (i32.const 7))",
        "(call $named (i32.const 65528) (i32.const 2) (i32.const 128))",
        "(call $named (i32.const 0) (i32.const 0x20000000) (i32.const 128))",
        "(call $body (i32.const 0) (i32.const 0) (i32.const 65535) (i32.const 2) (i32.const 128))",
    ] {
        assert!(bad(body).contains("out of bounds"), "{body}");
    }
}

#[test]
fn arguments_have_to_be_what_they_say() {
    for body in [
        "(call $header (i32.const 0) (i32.const 6) (i32.const 128))",
        "(call $log (i32.const 9) (i32.const 0) (i32.const 0))",
        "(drop (call $enabled (i32.const -1)))",
        "(call $named (i32.const 2) (i32.const 1) (i32.const 128))",
        "(call $add (i32.const 8) (i32.const 7) (i32.const 0) (i32.const 2) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 128))",
    ] {
        bad(body);
    }
}

/// A list of so many texts, each of these bytes, in memory that has been grown for it.
fn named(count: u32, length: u32) -> String {
    format!(
        "(local $i i32)
        (drop (memory.grow (i32.const 8)))
        (loop $next
            (i32.store (i32.add (i32.const 8192) (i32.shl (local.get $i) (i32.const 3))) (i32.const 65536))
            (i32.store (i32.add (i32.const 8196) (i32.shl (local.get $i) (i32.const 3))) (i32.const {length}))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const {count}))))
        (call $named (i32.const 8192) (i32.const {count}) (i32.const 128))"
    )
}

#[test]
fn a_list_has_a_bounded_number_of_texts_and_bytes() {
    assert_eq!(both(&named(256, 4), ""), Ok(Verdict::Relay));
    assert!(bad(&named(257, 4)).contains("256 at most"));
    // Together they are 20 MiB and some more.
    assert!(bad(&named(210, 100_000)).contains("too much data"));
}

#[test]
fn a_component_hands_over_a_bounded_number_of_bytes() {
    let body = |mebibytes: u32| {
        let grow = 16 * mebibytes;
        let length = mebibytes << 20;
        format!(
            "(drop (memory.grow (i32.const {grow})))
            (call $body (i32.const 0) (i32.const 4) (i32.const 65536) (i32.const {length}) (i32.const 128))"
        )
    };
    let of_component = |body: &str| {
        let config = EngineConfig {
            direct: false,
            memory_limit: 64 << 20,
            // To copy so much takes a while in a build that is not optimised.
            hook_deadline: Duration::from_secs(60),
            hook_timeout: Duration::from_secs(60),
            ..config()
        };
        outcome_in(config, &component(&guest(body, ""), WORLD))
    };
    assert_eq!(of_component(&body(16)), Ok(Verdict::Relay));
    let Err(Fault::Verdict(text)) = of_component(&body(21)) else {
        unreachable!("it is too much")
    };
    assert!(text.contains("too much data"), "{text}");
}

#[test]
fn results_have_to_fit_where_the_guest_wants_them() {
    for body in [
        "(call $header (i32.const 0) (i32.const 4) (i32.const 65530))",
        "(call $header (i32.const 0) (i32.const 4) (i32.const 129))",
        "(call $status (i32.const 65535))",
        "(call $status (i32.const -4))",
    ] {
        bad(body);
    }
}

#[test]
fn the_allocator_has_to_return_memory() {
    for at in ["-1", "65534", "65536"] {
        let body = format!(
            "(global.set $at (i32.const {at})) (call $header (i32.const 0) (i32.const 4) (i32.const 128))"
        );
        assert!(bad(&body).contains("realloc return"), "{body}");
    }
    let unaligned = "(global.set $at (i32.const 4097))
        (call $headers (i32.const 0) (i32.const 4) (i32.const 128))";
    assert!(bad(unaligned).contains("not aligned"));
}

#[test]
fn the_allocator_may_ask_nothing_of_the_host() {
    for ask in 1..=2 {
        let body = format!(
            "(global.set $ask (i32.const {ask})) (call $header (i32.const 0) (i32.const 4) (i32.const 128))"
        );
        assert!(matches!(both(&body, ""), Err(Fault::Trap(_))), "{ask}");
    }
}

#[test]
fn memory_that_grew_is_seen() {
    let header = |at: u32| format!("(call $header (i32.const 0) (i32.const 4) (i32.const {at}))");
    let body = format!(
        "{} (drop (memory.grow (i32.const 1))) (global.set $at (i32.const 65700)) {}
        (if (i32.ne (i32.load8_u (i32.const 65600)) (i32.const 1)) (then unreachable))
        (if (i32.ne (i32.load (i32.const 65604)) (i32.const 65700)) (then unreachable))
        (if (i32.ne (i32.load8_u (i32.const 65700)) (i32.const 60)) (then unreachable))",
        header(128),
        header(65600),
    );
    assert_eq!(both(&body, ""), Ok(Verdict::Relay));
}

#[test]
fn the_facts_are_those_of_the_message() {
    let invite = "(if (i32.ne (call $facts) (i32.const 2)) (then unreachable))";
    assert_eq!(both(invite, ""), Ok(Verdict::Relay));
    // They hold after the allocator has run.
    let later = format!("(call $header (i32.const 0) (i32.const 4) (i32.const 128)) {invite}");
    assert_eq!(both(&later, ""), Ok(Verdict::Relay));
}

#[test]
fn what_runs_after_a_hook_may_ask_nothing_of_the_host() {
    for function in ["$clock", "$facts"] {
        let post_return = format!("(drop (call {function}))");
        assert!(
            matches!(both("", &post_return), Err(Fault::Trap(_))),
            "{function}"
        );
    }
    assert!(matches!(both("", "unreachable"), Err(Fault::Trap(_))));
}

#[test]
fn a_verdict_has_to_be_one() {
    for body in [
        "(return (i32.const 65))",
        "(return (i32.const 65532))",
        "(return (i32.const -4))",
        "(i32.store8 (i32.const 64) (i32.const 6))",
        "(i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 72) (i32.const -1))
            (i32.store (i32.const 76) (i32.const 1))",
        "(i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 72) (i32.const 4))
            (i32.store (i32.const 76) (i32.const 1))",
    ] {
        bad(body);
    }
}
