//! One guest for each hook.

/// Counts what happened: the counter is named as the address-of-record (or the timer), and grows by ten times the number of the
/// event's case plus the digits of `expires-secs`.
pub const EVENTS: &str = r#"(module
  (import "patchbay:policy/counters@0.1.0" "add" (func $count (param i32 i32 i64 i32)))
  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "patchbay:policy/event-route@0.1.0#event-route") (param $case i32)
      (param $name i32) (param $len i32) (param $contact i32) (param $contact_len i32) (param $expires i32)
    (call $count (local.get $name) (local.get $len)
      (i64.extend_i32_u (i32.add (i32.mul (local.get $case) (i32.const 10)) (local.get $expires)))
      (i32.const 64))
    (global.set $free (i32.const 4096))))"#;

pub const EVENTS_WORLD: &str =
    "import patchbay:policy/counters@0.1.0; export patchbay:policy/event-route@0.1.0;";

/// Drops 183 and marks every other response with `X-Seen: 1`.
pub const REPLIES: &str = r#"(module
  (import "patchbay:policy/message@0.1.0" "status" (func $status (param i32)))
  (import "patchbay:policy/message@0.1.0" "set-header" (func $set (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "X-Seen1")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
  (func (export "patchbay:policy/onreply-route@0.1.0#onreply-route") (result i32)
    (call $status (i32.const 64))
    (if (i32.eqz (i32.load8_u (i32.const 64))) (then unreachable))
    (if (i32.eq (i32.load16_u (i32.const 66)) (i32.const 183)) (then (return (i32.const 1))))
    (call $set (i32.const 0) (i32.const 6) (i32.const 6) (i32.const 1) (i32.const 96))
    (i32.const 0)))"#;

pub const REPLIES_WORLD: &str =
    "import patchbay:policy/message@0.1.0; export patchbay:policy/onreply-route@0.1.0;";

/// 486 goes to `sip:vm@x` with `failure-route` armed, 500 becomes 503 "Later", all else passes.
pub const FAILURES: &str = r#"(module
  (import "patchbay:policy/message@0.1.0" "response-status" (func $status (param i32)))
  (import "patchbay:policy/targets@0.1.0" "add-uri" (func $add (param i32 i32 i32)))
  (import "patchbay:policy/transaction@0.1.0" "arm" (func $arm (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "sip:vm@xLater")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
  (func (export "patchbay:policy/failure-route@0.1.0#failure-route") (result i32)
    (local $failed i32)
    (call $status (i32.const 64))
    (local.set $failed (i32.load16_u (i32.const 66)))
    (i32.store8 (i32.const 128) (i32.const 0))
    (if (i32.eq (local.get $failed) (i32.const 486)) (then
      (call $add (i32.const 0) (i32.const 8) (i32.const 96))
      (if (i32.load8_u (i32.const 96)) (then unreachable))
      (call $arm (i32.const 4))
      (i32.store8 (i32.const 128) (i32.const 2))))
    (if (i32.eq (local.get $failed) (i32.const 500)) (then
      (i32.store8 (i32.const 128) (i32.const 1))
      (i32.store16 (i32.const 132) (i32.const 503))
      (i32.store (i32.const 136) (i32.const 8))
      (i32.store (i32.const 140) (i32.const 5))))
    (i32.const 128)))"#;

pub const FAILURES_WORLD: &str =
    "import patchbay:policy/message@0.1.0; import patchbay:policy/targets@0.1.0;
    import patchbay:policy/transaction@0.1.0; export patchbay:policy/failure-route@0.1.0;";

/// Drops branches to `blocked` and sends the others to `sip:y@z`.
pub const BRANCHES: &str = r#"(module
  (import "patchbay:policy/message@0.1.0" "request-user" (func $user (param i32)))
  (import "patchbay:policy/message@0.1.0" "set-request-uri" (func $set (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "sip:y@z")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "patchbay:policy/branch-route@0.1.0#branch-route") (result i32)
    (call $user (i32.const 64))
    (if (i32.eq (i32.load (i32.const 68)) (i32.const 7)) (then (return (i32.const 1))))
    (call $set (i32.const 0) (i32.const 7) (i32.const 96))
    (i32.load8_u (i32.const 96))))"#;

pub const BRANCHES_WORLD: &str =
    "import patchbay:policy/message@0.1.0; export patchbay:policy/branch-route@0.1.0;";

/// `init` keeps the setting `greeting` and tries to count; `request-route` replies 400 plus the number of the error of that try
/// plus one, with the greeting as its reason.
pub const PREPARED: &str = r#"(module
  (import "patchbay:policy/settings@0.1.0" "get" (func $get (param i32 i32 i32)))
  (import "patchbay:policy/counters@0.1.0" "add" (func $count (param i32 i32 i64 i32)))
  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 4096))
  (data (i32.const 0) "greeting")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "patchbay:policy/init@0.1.0#init") (result i32)
    (call $get (i32.const 0) (i32.const 8) (i32.const 64))
    (if (i32.eqz (i32.load8_u (i32.const 64))) (then unreachable))
    (call $count (i32.const 0) (i32.const 8) (i64.const 1) (i32.const 96))
    (i32.const 128))
  (func (export "patchbay:policy/request-route@0.1.0#request-route") (result i32)
    (i32.store8 (i32.const 160) (i32.const 1))
    (i32.store16 (i32.const 164) (i32.add (i32.const 400)
      (i32.add (i32.load8_u (i32.const 96)) (i32.load8_u (i32.const 100)))))
    (i32.store (i32.const 168) (i32.load (i32.const 68)))
    (i32.store (i32.const 172) (i32.load (i32.const 72)))
    (i32.const 160)))"#;

pub const PREPARED_WORLD: &str =
    "import patchbay:policy/settings@0.1.0; import patchbay:policy/counters@0.1.0;
    export patchbay:policy/init@0.1.0; export patchbay:policy/request-route@0.1.0;";

/// `init` never ends.
pub const NEVER_READY: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
  (func (export "patchbay:policy/init@0.1.0#init") (result i32) (loop $again (br $again)) unreachable)
  (func (export "patchbay:policy/branch-route@0.1.0#branch-route") (result i32) (i32.const 0)))"#;

pub const NEVER_READY_WORLD: &str =
    "export patchbay:policy/init@0.1.0; export patchbay:policy/branch-route@0.1.0;";
