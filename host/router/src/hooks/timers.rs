//! The timers that policies set (`timers.set`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use patchbay_core::door::RouteId;
use patchbay_core::time::Instant;

/// Timers per worker and owner.
const MAX_TIMERS: usize = 1024;
/// The farthest that a timer may be set.
const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A policy of a route: its timers are its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TimerOwner {
    /// The route.
    pub(crate) route: RouteId,
    /// The policy.
    pub(crate) policy: Arc<str>,
}

/// The timers of one worker, by owner (`None`: the active policy) and name.
#[derive(Debug, Default)]
pub(crate) struct PolicyTimers {
    deadlines: HashMap<Option<TimerOwner>, HashMap<String, Instant>>,
    order: BTreeSet<(Instant, Option<TimerOwner>, String)>,
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
        owner: Option<TimerOwner>,
        name: &str,
        now: Instant,
        delay: Duration,
    ) -> Result<(), TimerRefusal> {
        if delay > MAX_DELAY {
            return Err(TimerRefusal::TooFar);
        }
        let own = self.deadlines.get(&owner);
        if own.is_some_and(|own| own.len() >= MAX_TIMERS && !own.contains_key(name)) {
            return Err(TimerRefusal::TooMany);
        }
        self.cancel(&owner, name);
        let deadline = now + delay;
        self.order
            .insert((deadline, owner.clone(), name.to_owned()));
        let own = self.deadlines.entry(owner).or_default();
        own.insert(name.to_owned(), deadline);
        Ok(())
    }

    /// Cancels the timer; `false` when there is none of that name.
    pub(crate) fn cancel(&mut self, owner: &Option<TimerOwner>, name: &str) -> bool {
        let Some((name, deadline)) = self.forget(owner, name) else {
            return false;
        };
        self.order.remove(&(deadline, owner.clone(), name))
    }

    /// When the next one ends.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(deadline, ..)| *deadline)
    }

    /// Takes one that has ended.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(Option<TimerOwner>, String)> {
        if self.next()? > now {
            return None;
        }
        let (_, owner, name) = self.order.pop_first()?;
        self.forget(&owner, &name);
        Some((owner, name))
    }

    fn forget(&mut self, owner: &Option<TimerOwner>, name: &str) -> Option<(String, Instant)> {
        let own = self.deadlines.get_mut(owner)?;
        let forgotten = own.remove_entry(name);
        if own.is_empty() {
            self.deadlines.remove(owner);
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn name_of(due: Option<(Option<TimerOwner>, String)>) -> Option<String> {
        due.map(|(_, name)| name)
    }

    #[test]
    fn timers_end_in_order() {
        let (mut timers, start) = (PolicyTimers::default(), Instant(0));
        timers.set(None, "late", start, 3 * SECOND).unwrap();
        timers.set(None, "early", start, SECOND).unwrap();
        assert_eq!(timers.next(), Some(start + SECOND));
        assert_eq!(timers.take_due(start), None);
        let later = start + 3 * SECOND;
        assert_eq!(name_of(timers.take_due(later)).as_deref(), Some("early"));
        assert_eq!(name_of(timers.take_due(later)).as_deref(), Some("late"));
        assert_eq!((timers.take_due(later), timers.next()), (None, None));
    }

    #[test]
    fn setting_again_moves_the_timer() {
        let (mut timers, start) = (PolicyTimers::default(), Instant(0));
        timers.set(None, "t", start, SECOND).unwrap();
        timers.set(None, "t", start, 2 * SECOND).unwrap();
        assert_eq!(timers.take_due(start + SECOND), None);
        assert!(timers.cancel(&None, "t") && !timers.cancel(&None, "t"));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn number_and_delay_are_bounded_for_each_owner() {
        let mut timers = PolicyTimers::default();
        assert_eq!(
            timers.set(None, "t", Instant(0), MAX_DELAY + SECOND),
            Err(TimerRefusal::TooFar)
        );
        for n in 0..MAX_TIMERS {
            timers
                .set(None, &n.to_string(), Instant(0), SECOND)
                .unwrap();
        }
        assert_eq!(
            timers.set(None, "one more", Instant(0), SECOND),
            Err(TimerRefusal::TooMany)
        );
        assert_eq!(timers.set(None, "0", Instant(0), SECOND), Ok(()));
        let other = TimerOwner {
            route: RouteId(1),
            policy: "p".into(),
        };
        let set = timers.set(Some(other.clone()), "0", Instant(0), 2 * SECOND);
        assert_eq!(set, Ok(()));
        assert!(timers.cancel(&None, "0") && timers.cancel(&Some(other), "0"));
    }
}
