//! The one place of the router that reads the clocks for the core.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as StdInstant, SystemTime};

use patchbay_core::time::{Instant, Now, UnixTime};

/// Both clocks; all workers share the start of the monotonic one.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    start: StdInstant,
    /// In place of the system's clocks.
    virtual_time: Option<Arc<VirtualTime>>,
}

/// Time that stands still until it is set.
#[derive(Debug)]
pub(crate) struct VirtualTime {
    /// Microseconds since the start.
    elapsed: AtomicU64,
    /// Milliseconds from 1970 to the start.
    start_unix_ms: u64,
}

impl VirtualTime {
    /// A time that starts so many seconds after 1970.
    pub(crate) fn starting_at(unix: UnixTime) -> VirtualTime {
        VirtualTime {
            elapsed: AtomicU64::new(0),
            start_unix_ms: unix.0.saturating_mul(1000),
        }
    }

    /// Lets the time be this long after the start.
    pub(crate) fn set(&self, instant: Instant) {
        self.elapsed.store(instant.0, Ordering::Relaxed);
    }

    fn instant(&self) -> Instant {
        Instant(self.elapsed.load(Ordering::Relaxed))
    }

    fn unix_ms(&self) -> u64 {
        self.start_unix_ms + self.instant().0 / 1000
    }
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Clock {
        Clock {
            start: StdInstant::now(),
            virtual_time: None,
        }
    }

    /// A clock that shows this time.
    pub(crate) fn showing(time: Arc<VirtualTime>) -> Clock {
        Clock {
            start: StdInstant::now(),
            virtual_time: Some(time),
        }
    }

    /// The monotonic clock.
    pub(crate) fn instant(&self) -> Instant {
        if let Some(time) = &self.virtual_time {
            return time.instant();
        }
        let elapsed = self.start.elapsed();
        Instant(elapsed.as_secs() * 1_000_000 + u64::from(elapsed.subsec_micros()))
    }

    /// Both clocks.
    pub(crate) fn now(&self) -> Now {
        Now {
            instant: self.instant(),
            unix: self.unix(),
        }
    }

    /// The wall clock.
    pub(crate) fn unix(&self) -> UnixTime {
        UnixTime(self.unix_ms() / 1000)
    }

    /// The same moment for the standard library.
    pub(crate) fn system_instant(&self, instant: Instant) -> StdInstant {
        self.start + Duration::from_micros(instant.0)
    }

    /// Milliseconds since 1970.
    pub(crate) fn unix_ms(&self) -> u64 {
        if let Some(time) = &self.virtual_time {
            return time.unix_ms();
        }
        // A clock before 1970 is as good as one that was never set.
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        u64::try_from(since_1970.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_library_sees_the_same_moment() {
        let clock = Clock::start();
        let moment = clock.now().instant;
        let later = clock.system_instant(moment + Duration::from_secs(1));
        assert_eq!(later - clock.system_instant(moment), Duration::from_secs(1));
    }

    #[test]
    fn virtual_time_passes_when_it_is_set() {
        let time = Arc::new(VirtualTime::starting_at(UnixTime(1_700_000_000)));
        let clock = Clock::showing(Arc::clone(&time));
        let now = |clock: &Clock| (clock.now(), clock.unix_ms());
        let start = (
            Now {
                instant: Instant(0),
                unix: UnixTime(1_700_000_000),
            },
            1_700_000_000_000,
        );
        assert_eq!(now(&clock), start);
        time.set(Instant(1_500_000));
        let later = (
            Now {
                instant: Instant(1_500_000),
                unix: UnixTime(1_700_000_001),
            },
            1_700_000_001_500,
        );
        assert_eq!(now(&clock), later);
    }
}
