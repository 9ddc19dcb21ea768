//! Whom instances serve. What a policy keeps in its memory from one hook to the next stays inside of a scope.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// For whom hooks run. Instances of the same version are never shared by two scopes; the compiled code is.
#[derive(Debug)]
pub struct Scope {
    number: u64,
    /// Hooks in it that wait for an answer from outside, over all workers, and how many may.
    waiting: AtomicUsize,
    max_waiting: AtomicUsize,
}

/// The next scope's number; 0 is that of hooks without one.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Scope {
    /// A scope of its own. Its instances live as long as it does.
    #[allow(
        clippy::new_ret_no_self,
        reason = "its instances watch whether anybody holds it"
    )]
    pub fn new() -> Arc<Scope> {
        Arc::new(Scope {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            waiting: AtomicUsize::new(0),
            max_waiting: AtomicUsize::new(usize::MAX),
        })
    }

    /// From now on so many of its hooks may wait for answers from outside at the same time, over all workers.
    pub fn limit_waiting(&self, max: usize) {
        self.max_waiting.store(max, Ordering::Relaxed);
    }

    /// Whether one more of its hooks may wait.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < self.max_waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn enter(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}
