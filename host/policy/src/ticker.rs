//! The clock that interrupts guests: one thread that advances the engine's epoch while a guest runs for long.
//!
//! Most hooks take a microsecond, so that a tick every half a millisecond would be work for nothing. Each worker [`enter`]s a guest
//! and leaves it with a store of its own; the ticker looks at these marks now and then. When one of them has not moved between two
//! looks, that guest runs for long, and the epoch ticks until no such guest has been seen for a while.
//!
//! [`enter`]: Presence::enter

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use arc_swap::ArcSwapOption;

/// A guest that runs for long yields after this time. A message that is handed from worker to worker may wait for several guests, on
/// its way there and back: at half a millisecond that adds up to less than the ten that a caller may notice.
const TICK: Duration = Duration::from_micros(500);
/// The time between two looks while no guest runs for long. One that does is found at the second look, so that it yields for the first time
/// after at most twice this time and a tick, or begins again after one more tick: with what follows, less than the ten milliseconds that a caller may notice. Each look wakes the
/// thread up, three times in a call at 100 calls a second.
const LOOK: Duration = Duration::from_millis(3);
/// After a guest that ran for long the epoch ticks this often without another one.
const TICKS_AFTER: u32 = 200;
/// The ticker parks after more than this many looks without a hook, so that an idle router does not wake up. To park and to be woken for
/// the next hook costs as much as this many looks.
const IDLE_LOOKS: u32 = 2;

/// The ticker, for those who run guests. Cloning it is cheap.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Shared>);

#[derive(Default)]
struct Shared {
    marks: Mutex<Vec<Seen>>,
    parked: AtomicBool,
    stopped: AtomicBool,
    thread: ArcSwapOption<Thread>,
}

/// Odd while its thread is inside of a guest; another number each time. Nobody else writes to its cache line.
#[derive(Default)]
#[repr(align(128))]
struct Mark(AtomicU64);

/// A mark, and what the ticker saw there.
struct Seen {
    mark: Weak<Mark>,
    last: u64,
}

/// Where one thread says whether it is inside of a guest.
pub(crate) struct Presence {
    watch: Watch,
    mark: Arc<Mark>,
}

/// Inside of a guest, until it is dropped.
pub(crate) struct Inside<'a>(&'a Mark);

impl Watch {
    /// A place for a thread to say where it is.
    pub(crate) fn presence(&self) -> Presence {
        let mark = Arc::new(Mark::default());
        self.0.marks().push(Seen {
            mark: Arc::downgrade(&mark),
            last: 0,
        });
        Presence {
            watch: self.clone(),
            mark,
        }
    }

    /// Wakes a ticker that is parked. Those who come before it is awake have nothing to wake.
    #[cold]
    fn wake(&self) {
        if self.0.parked.swap(false, Ordering::SeqCst) {
            self.unpark();
        }
    }

    fn unpark(&self) {
        if let Some(thread) = self.0.thread.load().as_ref() {
            thread.unpark();
        }
    }

    #[cfg(test)]
    fn is_parked(&self) -> bool {
        self.0.parked.load(Ordering::SeqCst)
    }
}

impl Presence {
    /// Says that the thread is about to run a guest, and wakes the ticker when it is parked.
    ///
    /// The mark is set before the look whether the ticker is parked, as the ticker says that it parks before it looks for the last
    /// time: one of the two sees the other.
    pub(crate) fn enter(&self) -> Inside<'_> {
        let entries = self.mark.0.load(Ordering::Relaxed) | 1;
        self.mark.0.swap(entries.wrapping_add(2), Ordering::SeqCst);
        if self.watch.0.parked.load(Ordering::SeqCst) {
            self.watch.wake();
        }
        Inside(&self.mark)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let entries = self.0.0.load(Ordering::Relaxed);
        self.0.0.store(entries & !1, Ordering::Release);
    }
}

impl Shared {
    fn marks(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) -> Look {
        let mut look = Look::default();
        self.marks().retain_mut(|seen| {
            let Some(mark) = seen.mark.upgrade() else {
                return false;
            };
            let now = mark.0.load(Ordering::SeqCst);
            let (inside, moved) = (now & 1 == 1, now != seen.last);
            look.inside |= inside;
            look.active |= inside || moved;
            look.long |= inside && !moved;
            seen.last = now;
            true
        });
        look
    }
}

/// What the ticker saw at all marks together.
#[derive(Clone, Copy, Default)]
struct Look {
    /// Someone is inside of a guest.
    inside: bool,
    /// Someone is or was, since the last look.
    active: bool,
    /// Someone still is, since the last look.
    long: bool,
}

/// Owns the thread: dropping it ends the thread.
pub(crate) struct Ticker {
    watch: Watch,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread; `tick` is called at each tick while a guest runs for long.
    pub(crate) fn start(watch: Watch, tick: impl Fn() + Send + 'static) -> std::io::Result<Ticker> {
        let shared = Arc::clone(&watch.0);
        let thread = thread::Builder::new()
            .name("policy-ticker".into())
            .spawn(move || run(&shared, tick))?;
        Ok(Ticker {
            watch,
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.watch.0.stopped.store(true, Ordering::SeqCst);
        self.watch.unpark();
        if let Some(thread) = self.thread.take() {
            // The thread runs no code that can panic; a failed join would mean nothing is left to stop.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, tick: impl Fn()) {
    shared.thread.store(Some(Arc::new(thread::current())));
    let mut pace = Pace::default();
    while !shared.stopped.load(Ordering::SeqCst) {
        match pace.after(shared.look()) {
            Step::Tick => {
                tick();
                thread::sleep(TICK);
            }
            Step::Sleep(time) => thread::sleep(time),
            Step::Park => park(shared),
        }
    }
}

/// How the ticker goes on after a look.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Tick,
    Sleep(Duration),
    Park,
}

/// What the looks before were like.
#[derive(Default)]
struct Pace {
    ticks_left: u32,
    idle_looks: u32,
}

impl Pace {
    fn after(&mut self, look: Look) -> Step {
        if look.active {
            self.idle_looks = 0;
        } else {
            self.idle_looks += 1;
        }
        if look.long {
            self.ticks_left = TICKS_AFTER;
        }
        if self.idle_looks > IDLE_LOOKS {
            *self = Pace::default();
            return Step::Park;
        }
        if self.ticks_left > 0 {
            self.ticks_left -= 1;
            return Step::Tick;
        }
        // Whoever is inside may be there for long, which the next look will show.
        Step::Sleep(if look.inside { TICK } else { LOOK })
    }
}

fn park(shared: &Shared) {
    loop {
        // Said again after each wake-up: who woke it up has taken it back.
        shared.parked.store(true, Ordering::SeqCst);
        if shared.look().active || shared.stopped.load(Ordering::SeqCst) {
            break;
        }
        thread::park();
    }
    shared.parked.store(false, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const NOBODY: Look = Look {
        inside: false,
        active: false,
        long: false,
    };
    const SHORT: Look = Look {
        active: true,
        ..NOBODY
    };
    const ENTERED: Look = Look {
        inside: true,
        ..SHORT
    };
    const LONG: Look = Look {
        long: true,
        ..ENTERED
    };

    fn wait_until(what: &str, condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(20), "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn short_hooks_cause_no_tick() {
        let mut pace = Pace::default();
        for _ in 0..1000 {
            assert_eq!(pace.after(SHORT), Step::Sleep(LOOK));
            assert_eq!(pace.after(ENTERED), Step::Sleep(TICK));
        }
    }

    #[test]
    fn a_long_hook_is_ticked_and_the_next_ones_for_a_while() {
        let mut pace = Pace::default();
        assert_eq!(pace.after(ENTERED), Step::Sleep(TICK));
        for look in [LONG]
            .into_iter()
            .chain(std::iter::repeat_n(SHORT, TICKS_AFTER as usize - 1))
        {
            assert_eq!(pace.after(look), Step::Tick);
        }
        assert_eq!(pace.after(SHORT), Step::Sleep(LOOK));
    }

    #[test]
    fn who_never_leaves_is_long_and_who_comes_again_is_not() {
        let watch = Watch::default();
        let (stays, comes) = (watch.presence(), watch.presence());
        let inside = stays.enter();
        drop(comes.enter());
        let first = watch.0.look();
        assert!(first.inside && first.active && !first.long);
        assert!(watch.0.look().long);
        drop(inside);
        for _ in 0..3 {
            let _again = comes.enter();
            let look = watch.0.look();
            assert!(look.inside && !look.long);
        }
        let last = watch.0.look();
        assert!(last.active && !last.inside);
        assert!(!watch.0.look().active);
    }

    #[test]
    fn a_presence_that_is_gone_is_not_looked_at() {
        let watch = Watch::default();
        drop(watch.presence());
        let _other = watch.presence();
        watch.0.look();
        assert_eq!(watch.0.marks().len(), 1);
    }

    #[test]
    fn an_idle_ticker_parks_and_a_long_guest_wakes_it() {
        let ticks = Arc::new(AtomicU64::new(0));
        let watch = Watch::default();
        let counter = ticks.clone();
        let _ticker = Ticker::start(watch.clone(), move || {
            counter.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
        let presence = watch.presence();
        wait_until("parks", || watch.is_parked());
        assert_eq!(ticks.load(Ordering::SeqCst), 0);
        let inside = presence.enter();
        wait_until("ticks", || ticks.load(Ordering::SeqCst) > 3);
        drop(inside);
        wait_until("parks again", || watch.is_parked());
    }

    #[test]
    fn dropping_a_parked_ticker_ends_its_thread() {
        let watch = Watch::default();
        let ticker = Ticker::start(watch.clone(), || {}).unwrap();
        wait_until("parks", || watch.is_parked());
        drop(ticker);
    }
}
