//! How often a hook run asks for memory: a budget that only goes down.

#![allow(clippy::unwrap_used, reason = "tests state expectations by panicking")]
#![allow(unsafe_code, reason = "a global allocator can't be written without")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use patchbay_policy::*;
use support::*;

const RUNS: u32 = 1000;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.with(|count| count.set(count.get() + 1));
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Without a runtime, which would take memory itself.
fn finish(mut run: HookRun<TestHost>) -> HookDone<TestHost> {
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(done) = Pin::new(&mut run).poll(&mut context) {
            return done;
        }
    }
}

#[test]
fn a_hook_run_takes_no_memory() {
    let engine = engine();
    let version = engine
        .load("test", &many_ways(0), || TestHost::new(0))
        .unwrap();
    let instances = Instances::new(engine, 0);
    let run = |mut host: TestHost| {
        let message = Arc::clone(host.draft.base());
        host.draft.reset(message);
        let done = finish(instances.run(&version, Hook::RequestRoute, host, None));
        assert_eq!(done.result, Ok(Verdict::Relay));
        done.host.unwrap()
    };
    let mut host = (0..RUNS).fold(TestHost::new(7), |host, _| run(host));
    let before = ALLOCATIONS.get();
    for _ in 0..RUNS {
        host = run(host);
    }
    let taken = ALLOCATIONS.get() - before;
    assert_eq!(taken, 0, "{RUNS} hook runs took memory {taken} times");
}
