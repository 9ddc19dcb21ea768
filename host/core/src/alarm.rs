//! Alarms of contexts and branches.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::Instant;

/// Alarms in order of time. One that its owner no longer wants rings all the same, and is ignored by it.
#[derive(Debug)]
pub(crate) struct Alarms {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl Alarms {
    /// No alarms.
    pub(crate) fn new() -> Alarms {
        Alarms {
            heap: BinaryHeap::new(),
        }
    }

    /// Sets an alarm.
    pub(crate) fn set(&mut self, at: Instant, id: u64) {
        self.heap.push(Reverse((at, id)));
    }

    /// Takes an alarm whose time has come.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<(Instant, u64)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(alarm)| alarm)
    }

    /// The time of the first alarm.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}
