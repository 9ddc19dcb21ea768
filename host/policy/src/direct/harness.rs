//! The core module between the host and the module of a policy.
//!
//! It does what the host can't do itself on the fiber of a guest: it calls the guest. Its `run` lives as long as the instance, takes one
//! hook after the other and waits between them, so that a hook costs neither a fiber nor an allocation. And it stands before each function
//! of the host whose result needs memory of the guest, calls the guest's allocator and has the host fill what it got.

use std::fmt::Write;

use crate::host::Hook;
use crate::imports::{ResultKind, Signature};

/// Under which name the host's functions are linked that only the harness imports.
pub(super) const NAME: &str = "patchbay:harness";
/// The name of the module, in backtraces.
pub(crate) const MODULE: &str = "patchbay-harness";
/// The exported table with the guest's functions.
pub(super) const TABLE: &str = "guest";

/// The places of the guest's functions in the table.
pub(super) const REALLOC: u64 = 0;
pub(super) const INIT: u64 = 1;
pub(super) const INIT_POST: u64 = 2;

/// The place of a hook; what runs after it is in the next one.
pub(super) fn place(hook: Hook) -> u64 {
    FIRST_HOOK + 2 * hook.index() as u64
}

const FIRST_HOOK: u64 = 3;

/// Under which name a function of the host is exported to the guest.
pub(super) fn export_name(interface: &str, name: &str) -> String {
    format!("{interface}#{name}")
}

/// Under which name the functions of an interface are linked for hooks that are called straight.
pub(super) fn straight_name(interface: &str) -> String {
    format!("straight {interface}")
}

/// The module, in WebAssembly's text format. For hooks that are called straight every function is the host's own: such a hook never needs the
/// guest's allocator.
pub(super) fn text(signatures: &[Signature], straight: bool) -> String {
    let mut text = format!("(module ${MODULE}\n{TYPES}");
    for (index, signature) in signatures.iter().enumerate() {
        import(&mut text, index, signature, straight);
    }
    text.push_str(OWN_IMPORTS);
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "  (table $guest (export \"{TABLE}\") {} funcref)",
        FIRST_HOOK + 2 * Hook::ALL.len() as u64
    );
    text.push_str(FILL);
    for (index, signature) in signatures.iter().enumerate() {
        match signature.result {
            ResultKind::Stored { .. } if !straight => adapter(&mut text, index, signature),
            _ if signature.name == FACTS => facts(&mut text, index, signature),
            _ => {}
        }
    }
    let _ = write!(
        text,
        include_run!(),
        event = Hook::EventRoute.index(),
        event_place = place(Hook::EventRoute),
        first = FIRST_HOOK,
        post = FIRST_HOOK + 1,
        init = INIT,
        init_post = INIT_POST,
    );
    text.push_str(")\n");
    text
}

/// What needs no memory is the host's function itself, but for the facts of the message: they came with the hook.
fn import(text: &mut String, index: usize, signature: &Signature, straight: bool) {
    let Signature {
        interface, name, ..
    } = signature;
    let is_stored = matches!(signature.result, ResultKind::Stored { .. });
    let parameters = signature.parameters.join(" ");
    let result = match signature.result {
        ResultKind::Flat(number) => format!("(result {number})"),
        ResultKind::Stored { .. } if !straight => "(result i64)".into(),
        ResultKind::Nothing | ResultKind::Stored { .. } => String::new(),
    };
    let export = if is_stored && !straight || signature.name == FACTS {
        String::new()
    } else {
        format!("(export \"{}\")", export_name(interface, name))
    };
    let interface = if is_stored && straight {
        &straight_name(interface)
    } else {
        interface
    };
    let _ = writeln!(
        text,
        "  (func $host{index} {export} (import \"{interface}\" \"{name}\") (param {parameters}) {result})"
    );
}

fn adapter(text: &mut String, index: usize, signature: &Signature) {
    let arguments: String = (0..signature.parameters.len())
        .map(|parameter| format!(" (local.get {parameter})"))
        .collect();
    let _ = writeln!(
        text,
        "  (func (export \"{}\") (param {}) (local $wanted i64)
    (if (i64.ne (local.tee $wanted (call $host{index}{arguments})) (i64.const 0))
      (then (call $fill (local.get $wanted)))))",
        export_name(&signature.interface, signature.name),
        signature.parameters.join(" "),
    );
}

/// `message.facts`, which can't change while a hook runs. A guest that may ask nothing now is told so by the host.
fn facts(text: &mut String, index: usize, signature: &Signature) {
    let _ = writeln!(
        text,
        "  (func (export \"{}\") (result i32)
    (if (result i32) (global.get $closed) (then (call $host{index})) (else (global.get $facts))))",
        export_name(&signature.interface, signature.name),
    );
}

/// The function that the harness answers itself; no other interface has one of this name.
const FACTS: &str = "facts";

const TYPES: &str = "  (type $realloc (func (param i32 i32 i32 i32) (result i32)))
  (type $hook (func (result i32)))
  (type $event (func (param i32 i32 i32 i32 i32 i32)))
  (type $post (func (param i32)))
";

/// - `next`: the hook to run, or -1 when that one can't be run, and the facts of its message; `event-wanted`, `event`: what `event-route` is told.
/// - `done`: takes what the hook returned; 1 when something of the guest's is to run after it, then `over` follows.
/// - `initialized`: the same for `init`.
/// - `deliver`: memory was got; says what else is wanted.
const OWN_IMPORTS: &str = "  (func $next (import \"patchbay:harness\" \"next\") (result i32 i32))
  (func $event_wanted (import \"patchbay:harness\" \"event-wanted\") (result i64))
  (func $event (import \"patchbay:harness\" \"event\") (result i32 i32 i32 i32 i32 i32))
  (func $done (import \"patchbay:harness\" \"done\") (param i32) (result i32))
  (func $over (import \"patchbay:harness\" \"over\"))
  (func $initialized (import \"patchbay:harness\" \"initialized\") (param i32) (result i32))
  (func $deliver (import \"patchbay:harness\" \"deliver\") (param i32) (result i64))
";

/// Calls the guest's allocator until nothing is wanted: alignment in the upper half, size in the lower one. While it and what runs after
/// a hook run, the guest may ask nothing.
const FILL: &str = "  (global $facts (mut i32) (i32.const 0))
  (global $closed (mut i32) (i32.const 0))
  (func $fill (param $wanted i64)
    (global.set $closed (i32.const 1))
    (loop $more
      (br_if $more (i64.ne (i64.const 0) (local.tee $wanted
        (call $deliver (call_indirect $guest (type $realloc) (i32.const 0) (i32.const 0)
          (i32.wrap_i64 (i64.shr_u (local.get $wanted) (i64.const 32))) (i32.wrap_i64 (local.get $wanted))
          (i32.const 0)))))))
    (global.set $closed (i32.const 0)))
";

/// `hook` calls one hook, which is not `event-route` and leaves nothing to be run after it, with the facts of its message.
///
/// `wait` is a function of its own because each function begins with a look at the epoch: there the fiber waits for the next hook.
macro_rules! include_run {
    () => {
        "  (func $wait)
  (func (export \"run\") (local $hook i32) (local $returned i32) (local $wanted i64)
    (loop $again
      (call $next)
      (global.set $facts)
      (if (i32.ge_s (local.tee $hook) (i32.const 0)) (then
        (if (i32.eq (local.get $hook) (i32.const {event}))
          (then
            (if (i64.ne (local.tee $wanted (call $event_wanted)) (i64.const 0))
              (then (call $fill (local.get $wanted))))
            (call_indirect $guest (type $event) (call $event) (i32.const {event_place})))
          (else
            (local.set $returned (call_indirect $guest (type $hook)
              (i32.add (i32.shl (local.get $hook) (i32.const 1)) (i32.const {first}))))))
        (if (call $done (local.get $returned)) (then
          (global.set $closed (i32.const 1))
          (call_indirect $guest (type $post) (local.get $returned)
            (i32.add (i32.shl (local.get $hook) (i32.const 1)) (i32.const {post})))
          (global.set $closed (i32.const 0))
          (call $over)))))
      (call $wait)
      (br $again)))
  (func (export \"hook\") (param $hook i32) (param $facts i32) (result i32)
    (global.set $facts (local.get $facts))
    (call_indirect $guest (type $hook)
      (i32.add (i32.shl (local.get $hook) (i32.const 1)) (i32.const {first}))))
  (func (export \"init\") (local $returned i32)
    (if (call $initialized (local.tee $returned (call_indirect $guest (type $hook) (i32.const {init})))) (then
      (global.set $closed (i32.const 1))
      (call_indirect $guest (type $post) (local.get $returned) (i32.const {init_post}))
      (global.set $closed (i32.const 0))
      (call $over))))
"
    };
}
use include_run;
