//! The timers that policies set (`timers.set`).

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use patchbay_core::time::Instant;

/// Timers per worker.
const MAX_TIMERS: usize = 1024;
/// The farthest that a timer may be set.
const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The timers of one worker, by name.
#[derive(Debug, Default)]
pub(crate) struct PolicyTimers {
    deadlines: HashMap<String, Instant>,
    order: BTreeSet<(Instant, String)>,
}

/// Why a timer is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerRefusal {
    /// There are too many.
    TooMany,
    /// It is too far away.
    TooFar,
}

impl PolicyTimers {
    /// Sets the timer, anew when there is one of that name.
    pub(crate) fn set(
        &mut self,
        name: &str,
        now: Instant,
        delay: Duration,
    ) -> Result<(), TimerRefusal> {
        if delay > MAX_DELAY {
            return Err(TimerRefusal::TooFar);
        }
        if self.deadlines.len() >= MAX_TIMERS && !self.deadlines.contains_key(name) {
            return Err(TimerRefusal::TooMany);
        }
        self.cancel(name);
        self.deadlines.insert(name.to_owned(), now + delay);
        self.order.insert((now + delay, name.to_owned()));
        Ok(())
    }

    /// Cancels the timer; `false` when there is none of that name.
    pub(crate) fn cancel(&mut self, name: &str) -> bool {
        let Some((name, deadline)) = self.deadlines.remove_entry(name) else {
            return false;
        };
        self.order.remove(&(deadline, name))
    }

    /// When the next one ends.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(deadline, _)| *deadline)
    }

    /// Takes one that has ended.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<String> {
        if self.next()? > now {
            return None;
        }
        let (_, name) = self.order.pop_first()?;
        self.deadlines.remove(&name);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn timers_end_in_order() {
        let (mut timers, start) = (PolicyTimers::default(), Instant(0));
        timers.set("late", start, 3 * SECOND).unwrap();
        timers.set("early", start, SECOND).unwrap();
        assert_eq!(timers.next(), Some(start + SECOND));
        assert_eq!(timers.take_due(start), None);
        assert_eq!(
            timers.take_due(start + 3 * SECOND).as_deref(),
            Some("early")
        );
        assert_eq!(timers.take_due(start + 3 * SECOND).as_deref(), Some("late"));
        assert_eq!(
            (timers.take_due(start + 3 * SECOND), timers.next()),
            (None, None)
        );
    }

    #[test]
    fn setting_again_moves_the_timer() {
        let (mut timers, start) = (PolicyTimers::default(), Instant(0));
        timers.set("t", start, SECOND).unwrap();
        timers.set("t", start, 2 * SECOND).unwrap();
        assert_eq!(timers.take_due(start + SECOND), None);
        assert!(timers.cancel("t") && !timers.cancel("t"));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn number_and_delay_are_bounded() {
        let mut timers = PolicyTimers::default();
        assert_eq!(
            timers.set("t", Instant(0), MAX_DELAY + SECOND),
            Err(TimerRefusal::TooFar)
        );
        for n in 0..MAX_TIMERS {
            timers.set(&n.to_string(), Instant(0), SECOND).unwrap();
        }
        assert_eq!(
            timers.set("one more", Instant(0), SECOND),
            Err(TimerRefusal::TooMany)
        );
        assert_eq!(timers.set("0", Instant(0), SECOND), Ok(()));
    }
}
