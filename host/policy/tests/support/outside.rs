//! Guests that reach beyond the router.

/// `request-route` asks `GET http://h/?q` with the header `A: b`, the body `hello` and a timeout of a second, and replies with the status of the response, or 500
/// plus the number of the error's kind. With `failure-round` 1 it loops after the response; with 2 it asks once more; with 3 it sets no timeout.
pub const ASKS: &str = r#"(module
  (import "patchbay:policy/transaction@0.1.0" "failure-round" (func $round (result i32)))
  (import "patchbay:policy/http@0.1.0" "fetch"
    (func $fetch (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 4096))
  (data (i32.const 0) "GEThttp://h/?qAbhello")
  (data (i32.const 32) "\0e\00\00\00\01\00\00\00\0f\00\00\00\01\00\00\00")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func $ask
    (call $fetch (i32.const 0) (i32.const 3) (i32.const 3) (i32.const 11) (i32.const 32) (i32.const 1)
      (i32.const 16) (i32.const 5) (i32.ne (call $round) (i32.const 3)) (i32.const 1000) (i32.const 64)))
  (func (export "patchbay:policy/request-route@0.1.0#request-route") (result i32)
    (global.set $free (i32.const 4096))
    (call $ask)
    (if (i32.eq (call $round) (i32.const 1)) (then (loop $again (br $again))))
    (if (i32.eq (call $round) (i32.const 2)) (then (call $ask)))
    (i32.store8 (i32.const 128) (i32.const 1))
    (i32.store (i32.const 136) (i32.const 0))
    (i32.store (i32.const 140) (i32.const 0))
    (if (i32.load8_u (i32.const 64))
      (then (i32.store16 (i32.const 132) (i32.add (i32.const 500) (i32.load8_u (i32.const 68)))))
      (else (i32.store16 (i32.const 132) (i32.load16_u (i32.const 68)))))
    (i32.const 128)))"#;

pub const ASKS_WORLD: &str =
    "import patchbay:policy/transaction@0.1.0; import patchbay:policy/http@0.1.0;
    export patchbay:policy/request-route@0.1.0;";

/// `request-route` counts in `count`, sets `kept` to what `get` says of `given`, for 7 seconds, removes `gone`, and replies 400 plus what it counted to,
/// or 500 plus the number of the error's kind when it may not count. It traps when anything else fails, or `list-keys` doesn't find `kept`.
pub const STORES: &str = r#"(module
  (import "patchbay:policy/keyvalue@0.1.0" "increment" (func $increment (param i32 i32 i64 i32)))
  (import "patchbay:policy/keyvalue@0.1.0" "get" (func $get (param i32 i32 i32)))
  (import "patchbay:policy/keyvalue@0.1.0" "exists" (func $exists (param i32 i32 i32)))
  (import "patchbay:policy/keyvalue@0.1.0" "set-with-ttl" (func $set (param i32 i32 i32 i32 i32 i32)))
  (import "patchbay:policy/keyvalue@0.1.0" "delete" (func $delete (param i32 i32 i32)))
  (import "patchbay:policy/keyvalue@0.1.0" "list-keys" (func $list (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 4096))
  (data (i32.const 0) "countgivenkeptgone")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func $reply (param $status i32) (result i32)
    (i32.store8 (i32.const 256) (i32.const 1))
    (i32.store16 (i32.const 260) (local.get $status))
    (i32.store (i32.const 264) (i32.const 0))
    (i32.store (i32.const 268) (i32.const 0))
    (i32.const 256))
  (func (export "patchbay:policy/request-route@0.1.0#request-route") (result i32)
    (global.set $free (i32.const 4096))
    (call $increment (i32.const 0) (i32.const 5) (i64.const -2) (i32.const 64))
    (if (i32.load8_u (i32.const 64))
      (then (return (call $reply (i32.add (i32.const 500) (i32.load8_u (i32.const 72)))))))
    (call $get (i32.const 5) (i32.const 5) (i32.const 96))
    (if (i32.or (i32.load8_u (i32.const 96)) (i32.eqz (i32.load8_u (i32.const 100)))) (then unreachable))
    (call $set (i32.const 10) (i32.const 4) (i32.load (i32.const 104)) (i32.load (i32.const 108)) (i32.const 7) (i32.const 128))
    (if (i32.load8_u (i32.const 128)) (then unreachable))
    (call $delete (i32.const 14) (i32.const 4) (i32.const 128))
    (if (i32.load8_u (i32.const 128)) (then unreachable))
    (call $exists (i32.const 14) (i32.const 4) (i32.const 128))
    (if (i32.or (i32.load8_u (i32.const 128)) (i32.load8_u (i32.const 132))) (then unreachable))
    (call $list (i32.const 10) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 160))
    (if (i32.or (i32.load8_u (i32.const 160)) (i32.ne (i32.load (i32.const 168)) (i32.const 1))) (then unreachable))
    (if (i32.ne (i32.load (i32.add (i32.load (i32.const 164)) (i32.const 4))) (i32.const 4)) (then unreachable))
    (call $reply (i32.add (i32.const 400) (i32.wrap_i64 (i64.load (i32.const 72)))))))"#;

pub const STORES_WORLD: &str =
    "import patchbay:policy/keyvalue@0.1.0; export patchbay:policy/request-route@0.1.0;";

/// `request-route` opens the bucket `lcr`, sets `k` in it, adds 5 to `n`, and replies 400 plus what that makes, or 500 plus the case of the error that `set`
/// gave. It traps when it doesn't get back what it has set.
pub const KEEPS: &str = r#"(module
  (import "wasi:keyvalue/store@0.2.0-draft" "open" (func $open (param i32 i32 i32)))
  (import "wasi:keyvalue/store@0.2.0-draft" "[method]bucket.set" (func $set (param i32 i32 i32 i32 i32 i32)))
  (import "wasi:keyvalue/store@0.2.0-draft" "[method]bucket.get" (func $get (param i32 i32 i32 i32)))
  (import "wasi:keyvalue/store@0.2.0-draft" "[method]bucket.list-keys" (func $list (param i32 i32 i64 i32)))
  (import "wasi:keyvalue/store@0.2.0-draft" "[resource-drop]bucket" (func $drop (param i32)))
  (import "wasi:keyvalue/atomics@0.2.0-draft" "increment" (func $increment (param i32 i32 i32 i64 i32)))
  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 4096))
  (data (i32.const 0) "lcrkn!!")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func $reply (param $status i32) (result i32)
    (i32.store8 (i32.const 256) (i32.const 1))
    (i32.store16 (i32.const 260) (local.get $status))
    (i32.store (i32.const 264) (i32.const 0))
    (i32.store (i32.const 268) (i32.const 0))
    (i32.const 256))
  (func (export "patchbay:policy/request-route@0.1.0#request-route") (result i32)
    (local $bucket i32)
    (global.set $free (i32.const 4096))
    (call $open (i32.const 0) (i32.const 3) (i32.const 64))
    (if (i32.load8_u (i32.const 64)) (then unreachable))
    (local.set $bucket (i32.load (i32.const 68)))
    (call $set (local.get $bucket) (i32.const 3) (i32.const 1) (i32.const 5) (i32.const 2) (i32.const 96))
    (if (i32.load8_u (i32.const 96)) (then
      (call $drop (local.get $bucket))
      (return (call $reply (i32.add (i32.const 500) (i32.load8_u (i32.const 100)))))))
    (call $get (local.get $bucket) (i32.const 3) (i32.const 1) (i32.const 128))
    (if (i32.or (i32.load8_u (i32.const 128)) (i32.eqz (i32.load8_u (i32.const 132)))) (then unreachable))
    (if (i32.ne (i32.load (i32.const 140)) (i32.const 2)) (then unreachable))
    (call $increment (local.get $bucket) (i32.const 4) (i32.const 1) (i64.const 5) (i32.const 160))
    (if (i32.load8_u (i32.const 160)) (then unreachable))
    (call $list (local.get $bucket) (i32.const 0) (i64.const 0) (i32.const 192))
    (if (i32.or (i32.load8_u (i32.const 192)) (i32.ne (i32.load (i32.const 204)) (i32.const 2))) (then unreachable))
    (call $drop (local.get $bucket))
    (call $reply (i32.add (i32.const 400) (i32.wrap_i64 (i64.load (i32.const 168)))))))"#;

pub const KEEPS_WORLD: &str =
    "import wasi:keyvalue/store@0.2.0-draft; import wasi:keyvalue/atomics@0.2.0-draft;
    export patchbay:policy/request-route@0.1.0;";

/// The interfaces of `wasi:keyvalue` that [`KEEPS`] imports.
pub const WASI_KEYVALUE: &str = "package wasi:keyvalue@0.2.0-draft {
  interface store {
    variant error { no-such-store, access-denied, other(string) }
    record key-response { keys: list<string>, cursor: option<u64> }
    open: func(identifier: string) -> result<bucket, error>;
    resource bucket {
      get: func(key: string) -> result<option<list<u8>>, error>;
      set: func(key: string, value: list<u8>) -> result<_, error>;
      delete: func(key: string) -> result<_, error>;
      exists: func(key: string) -> result<bool, error>;
      list-keys: func(cursor: option<u64>) -> result<key-response, error>;
    }
  }
  interface atomics {
    use store.{bucket, error};
    increment: func(bucket: borrow<bucket>, key: string, delta: u64) -> result<u64, error>;
  }
}";
