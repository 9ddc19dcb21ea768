//! One alarm for each context and branch, at the first of its deadlines.

use crate::time::Instant;
use crate::timer::{TimerId, TimerWheel};

/// The wheel with the alarms of a core, by the number of their owners.
pub(crate) type Alarms = TimerWheel<u64>;

/// The alarm that is set for something.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    set: Option<(Instant, TimerId)>,
}

impl Alarm {
    /// Makes the alarm ring no later than `at`. One that is set for earlier stays: when it rings the owner sets it anew, which costs less than
    /// moving it each time.
    pub(crate) fn set(&mut self, alarms: &mut Alarms, at: Instant, owner: u64) {
        if let Some((earlier, id)) = self.set {
            if earlier <= at {
                return;
            }
            alarms.cancel(id);
        }
        self.set = Some((at, alarms.insert(at, owner)));
    }

    /// The alarm rang.
    pub(crate) fn rang(&mut self) {
        self.set = None;
    }

    /// The owner is gone.
    pub(crate) fn cancel(&mut self, alarms: &mut Alarms) {
        if let Some((_, id)) = self.set.take() {
            alarms.cancel(id);
        }
    }

    /// Whether it is set.
    pub(crate) fn is_set(&self) -> bool {
        self.set.is_some()
    }
}
