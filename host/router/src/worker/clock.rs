//! The one place of the router that reads the clocks for the core.

use std::time::{Duration, Instant as StdInstant, SystemTime};

use patchbay_core::time::{Instant, Now, UnixTime};

/// Both clocks; all workers share the start of the monotonic one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: StdInstant,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Clock {
        Clock {
            start: StdInstant::now(),
        }
    }

    /// The monotonic clock.
    pub(crate) fn instant(&self) -> Instant {
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
        UnixTime(self.since_1970().as_secs())
    }

    /// The same moment for the standard library.
    pub(crate) fn system_instant(&self, instant: Instant) -> StdInstant {
        self.start + Duration::from_micros(instant.0)
    }

    /// Milliseconds since 1970.
    pub(crate) fn unix_ms(&self) -> u64 {
        u64::try_from(self.since_1970().as_millis()).unwrap_or(u64::MAX)
    }

    fn since_1970(&self) -> Duration {
        // A clock before 1970 is as good as one that was never set.
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
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
}
