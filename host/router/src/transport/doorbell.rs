//! Wakes a worker that sleeps.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

/// The waker of a worker's loop: from any thread. It makes a system call only when the worker sleeps.
pub(crate) struct Doorbell {
    woken: AtomicBool,
    asleep: AtomicBool,
    /// An eventfd that the worker watches. Nobody reads it: each write is an event.
    bell: File,
}

impl Doorbell {
    /// A worker that is awake.
    pub(crate) fn new() -> io::Result<Doorbell> {
        Ok(Doorbell {
            woken: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            bell: super::system::event_counter()?.into(),
        })
    }

    /// Whether somebody has woken the worker since the last time this was asked.
    pub(crate) fn take(&self) -> bool {
        self.woken.load(Ordering::Relaxed) && self.woken.swap(false, Ordering::SeqCst)
    }

    /// Whether somebody has woken the worker.
    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// The worker is about to sleep; `false` when somebody has woken it and it must not. Either this sees that, or who wakes sees that the
    /// worker sleeps.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        if self.woken.load(Ordering::SeqCst) {
            self.asleep.store(false, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// The worker is awake again.
    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    pub(super) fn fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }
}

impl Wake for Doorbell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let was_woken = self.woken.swap(true, Ordering::SeqCst);
        if !was_woken && self.asleep.load(Ordering::SeqCst) {
            // It fails only when the counter is full, and then the worker has been told.
            let _ = (&self.bell).write(&1_u64.to_ne_bytes());
        }
    }
}
