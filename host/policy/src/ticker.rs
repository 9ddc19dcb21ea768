//! The clock that interrupts guests: one thread that advances the engine's epoch twice a millisecond while hooks run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use arc_swap::ArcSwapOption;

/// A running guest yields after this time. A message that is handed from worker to worker may wait for several guests, on its
/// way there and back: at half a millisecond that adds up to less than the ten that a caller may notice.
pub(crate) const TICK: Duration = Duration::from_micros(500);
/// The ticker parks after this many ticks without a hook, so that an idle router does not wake up.
const IDLE_TICKS: u32 = 40;

/// Tells the ticker that hooks run. Every poll of a hook marks it; a worker may mark it earlier.
#[derive(Clone, Default)]
pub struct Activity(Arc<Shared>);

#[derive(Default)]
struct Shared {
    recent: AtomicBool,
    parked: AtomicBool,
    stopped: AtomicBool,
    thread: ArcSwapOption<Thread>,
}

impl Activity {
    /// Keeps the ticker running for the next milliseconds, and wakes it when it is parked.
    ///
    /// One relaxed load while the mark of the last tick stands. When that load is stale, the ticker still runs for `IDLE_TICKS`
    /// more: the guest yields and is marked again.
    pub fn mark(&self) {
        if self.0.recent.load(Ordering::Relaxed) {
            return;
        }
        self.0.recent.store(true, Ordering::SeqCst);
        if self.0.parked.load(Ordering::SeqCst) {
            self.unpark();
        }
    }

    fn unpark(&self) {
        if let Some(thread) = self.0.thread.load().as_ref() {
            thread.unpark();
        }
    }

    #[cfg(test)]
    pub(crate) fn is_parked(&self) -> bool {
        self.0.parked.load(Ordering::SeqCst)
    }
}

/// Owns the thread: dropping it ends the thread.
pub(crate) struct Ticker {
    activity: Activity,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread; `tick` is called at each tick while hooks run.
    pub(crate) fn start(
        activity: Activity,
        tick: impl Fn() + Send + 'static,
    ) -> std::io::Result<Ticker> {
        let shared = activity.0.clone();
        let thread = thread::Builder::new()
            .name("policy-ticker".into())
            .spawn(move || run(&shared, tick))?;
        Ok(Ticker {
            activity,
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.activity.0.stopped.store(true, Ordering::SeqCst);
        self.activity.unpark();
        if let Some(thread) = self.thread.take() {
            // The thread runs no code that can panic; a failed join would mean nothing is left to stop.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, tick: impl Fn()) {
    shared.thread.store(Some(Arc::new(thread::current())));
    let mut idle = 0;
    while !shared.stopped.load(Ordering::SeqCst) {
        if shared.recent.swap(false, Ordering::SeqCst) {
            idle = 0;
        } else {
            idle += 1;
        }
        if idle > IDLE_TICKS {
            park(shared);
            idle = 0;
            continue;
        }
        thread::sleep(TICK);
        tick();
    }
}

/// Says that it parks before it looks for the last time, as `mark` marks before it looks: one of the two sees the other.
fn park(shared: &Shared) {
    shared.parked.store(true, Ordering::SeqCst);
    while !shared.recent.load(Ordering::SeqCst) && !shared.stopped.load(Ordering::SeqCst) {
        thread::park();
    }
    shared.parked.store(false, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::time::Instant;

    use super::*;

    fn wait_until(what: &str, condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(20), "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn an_idle_ticker_parks_and_a_mark_wakes_it() {
        let ticks = Arc::new(AtomicU64::new(0));
        let activity = Activity::default();
        let counter = ticks.clone();
        let _ticker = Ticker::start(activity.clone(), move || {
            counter.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
        wait_until("parks", || activity.is_parked());
        let before = ticks.load(Ordering::SeqCst);
        activity.mark();
        wait_until("ticks again", || ticks.load(Ordering::SeqCst) > before);
    }

    #[test]
    fn dropping_a_parked_ticker_ends_its_thread() {
        let activity = Activity::default();
        let ticker = Ticker::start(activity.clone(), || {}).unwrap();
        wait_until("parks", || activity.is_parked());
        drop(ticker);
    }
}
