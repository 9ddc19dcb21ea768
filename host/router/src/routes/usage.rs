//! What the requests of one route use of its limits. All workers count together, without a lock.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use patchbay_core::time::Instant;

use crate::config::RouteLimits;

/// So many requests may come at once after a pause: those of one second.
const MICROSECONDS: u64 = 1_000_000;

/// What a route uses. It outlives a reload, so that nobody gets more by one.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// Live transactions that it began.
    transactions: AtomicUsize,
    /// Requests that it took, and those that it refused because of a limit.
    requests: AtomicU64,
    refused: AtomicU64,
    /// When the requests so far would have come if they had come evenly, in microseconds.
    even_time: AtomicU64,
}

/// [`Usage`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsageCounts {
    /// Live transactions.
    pub(crate) transactions: usize,
    /// Requests that the route took, those inside of dialogs included.
    pub(crate) requests: u64,
    /// Requests that it refused because of a limit.
    pub(crate) refused: u64,
}

/// A limit of the route is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `max_transactions`.
    Transactions,
    /// `requests_per_second`.
    Rate,
}

impl Usage {
    /// Whether one more request outside of dialogs may be taken now. Two workers that ask at the same moment may both get the last
    /// place: the limit of transactions is kept within the number of workers.
    pub(crate) fn admit(&self, limits: &RouteLimits, now: Instant) -> Result<(), Refusal> {
        let admitted = self.admitted(limits, now);
        if admitted.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    fn admitted(&self, limits: &RouteLimits, now: Instant) -> Result<(), Refusal> {
        let max = limits.max_transactions;
        if max > 0 && self.transactions.load(Ordering::Relaxed) >= max {
            return Err(Refusal::Transactions);
        }
        match u64::from(limits.requests_per_second) {
            0 => Ok(()),
            rate => self.take_turn(rate, now.0),
        }
    }

    fn take_turn(&self, rate: u64, now: u64) -> Result<(), Refusal> {
        let step = MICROSECONDS / rate.min(MICROSECONDS);
        let turn = |even: u64| {
            let next = even.max(now) + step;
            (next <= now + MICROSECONDS.max(step)).then_some(next)
        };
        let taken = self
            .even_time
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, turn);
        taken.map(drop).map_err(|_| Refusal::Rate)
    }

    /// A transaction begins.
    pub(crate) fn begin(&self) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// One is over.
    pub(crate) fn end(&self) {
        self.transactions.fetch_sub(1, Ordering::Relaxed);
    }

    /// What it has used so far.
    pub(crate) fn counts(&self) -> UsageCounts {
        UsageCounts {
            transactions: self.transactions.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_transactions: usize, requests_per_second: u32) -> RouteLimits {
        RouteLimits {
            max_branches: 1,
            max_failure_rounds: 1,
            max_contacts: 1,
            max_transactions,
            requests_per_second,
            max_concurrent_hooks: 0,
        }
    }

    #[test]
    fn as_many_requests_as_in_a_second_pass_at_once_and_then_evenly() {
        let usage = Usage::default();
        let limits = limits(0, 10);
        let admitted = |at: u64| usage.admit(&limits, Instant(at)) == Ok(());
        let start = 5_000_000;
        assert_eq!((0..100).filter(|_| admitted(start)).count(), 10);
        assert!(!admitted(start + 99_999) && admitted(start + 100_000));
        assert_eq!(
            (0..100).filter(|_| admitted(start + 10_000_000)).count(),
            10
        );
    }

    #[test]
    fn transactions_are_limited_while_they_live() {
        let usage = Usage::default();
        let limits = limits(1, 0);
        assert_eq!(usage.admit(&limits, Instant(0)), Ok(()));
        usage.begin();
        assert_eq!(usage.admit(&limits, Instant(0)), Err(Refusal::Transactions));
        usage.end();
        assert_eq!(usage.admit(&limits, Instant(0)), Ok(()));
        let counts = usage.counts();
        assert_eq!(
            (counts.transactions, counts.requests, counts.refused),
            (0, 1, 1)
        );
    }
}
