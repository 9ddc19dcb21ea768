//! How long hooks took: a histogram of fixed size, eight buckets for each doubling of the time.
//!
//! A time is known within an eighth of itself, from a quarter of a microsecond to a minute; finding its bucket takes a few
//! instructions and no comparison.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Shorter times share the first bucket: 2^8 ns.
const MIN_EXPONENT: u32 = 8;
/// Longer times share the last one: 2^36 ns, 68 s.
const MAX_EXPONENT: u32 = 36;
/// Buckets of one doubling: 2^3.
const SPLIT_BITS: u32 = 3;
const BUCKETS: usize = (((MAX_EXPONENT - MIN_EXPONENT) as usize) << SPLIT_BITS) + 2;

/// A histogram that one worker writes and anybody reads.
pub(crate) struct HookTimesCounter([AtomicU64; BUCKETS]);

impl Default for HookTimesCounter {
    fn default() -> HookTimesCounter {
        HookTimesCounter(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl HookTimesCounter {
    /// Counts a time. Only the worker that owns the histogram may call this.
    #[inline]
    pub(crate) fn count(&self, nanos: u64) {
        if let Some(bucket) = self.0.get(bucket(nanos)) {
            let sum = bucket.load(Ordering::Relaxed).wrapping_add(1);
            bucket.store(sum, Ordering::Relaxed);
        }
    }
}

/// How many hooks took how long.
#[derive(Clone, PartialEq, Eq)]
pub struct HookTimes([u64; BUCKETS]);

impl Default for HookTimes {
    fn default() -> HookTimes {
        HookTimes([0; BUCKETS])
    }
}

impl HookTimes {
    /// The time that this share of the hooks did not exceed, at most an eighth too long; `None` when there were no hooks.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total: u64 = self.0.iter().sum();
        if total == 0 {
            return None;
        }
        let wanted = ((total as f64 * share).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        for (index, count) in self.0.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Some(Duration::from_nanos(upper_bound(index)));
            }
        }
        None
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: &HookTimes) -> HookTimes {
        let mut times = self.clone();
        for (count, before) in times.0.iter_mut().zip(&earlier.0) {
            *count = count.saturating_sub(*before);
        }
        times
    }

    pub(crate) fn add(&mut self, other: &HookTimes) {
        for (total, count) in self.0.iter_mut().zip(&other.0) {
            *total += count;
        }
    }

    pub(crate) fn add_counter(&mut self, counter: &HookTimesCounter) {
        for (total, count) in self.0.iter_mut().zip(&counter.0) {
            *total += count.load(Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for HookTimes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HookTimes")
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .finish_non_exhaustive()
    }
}

#[inline]
fn bucket(nanos: u64) -> usize {
    let exponent = nanos.max(1).ilog2();
    if exponent < MIN_EXPONENT {
        return 0;
    }
    if exponent >= MAX_EXPONENT {
        return BUCKETS - 1;
    }
    let part = (nanos >> (exponent - SPLIT_BITS)) & ((1 << SPLIT_BITS) - 1);
    1 + (((exponent - MIN_EXPONENT) as usize) << SPLIT_BITS) + part as usize
}

fn upper_bound(bucket: usize) -> u64 {
    let Some(bucket) = bucket.checked_sub(1) else {
        return 1 << MIN_EXPONENT;
    };
    let exponent = (bucket >> SPLIT_BITS) as u32 + MIN_EXPONENT;
    let parts = (1 << SPLIT_BITS) + (bucket as u64 & ((1 << SPLIT_BITS) - 1)) + 1;
    parts << (exponent - SPLIT_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_known_within_an_eighth() {
        for nanos in (0..36).flat_map(|bits| [1u64 << bits, (1 << bits) + (1 << bits) / 3]) {
            let bound = upper_bound(bucket(nanos));
            assert!(bound >= nanos, "{nanos} is at most {bound}");
            assert!(
                bound <= 256 || bound <= nanos + nanos / 8 + 1,
                "{nanos}: {bound}"
            );
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let counter = HookTimesCounter::default();
        for micros in 1..=100 {
            counter.count(micros * 1000);
        }
        let mut times = HookTimes::default();
        assert_eq!(times.quantile(0.5), None);
        times.add_counter(&counter);
        for (share, micros) in [(0.5, 50), (0.9, 90), (0.99, 99)] {
            let found = times
                .quantile(share)
                .expect("hooks were counted")
                .as_nanos();
            assert!(
                (micros * 1000..=micros * 1130).contains(&found),
                "{share}: {found}"
            );
        }
    }

    #[test]
    fn what_came_before_can_be_left_out() {
        let counter = HookTimesCounter::default();
        counter.count(1_000_000_000);
        let mut before = HookTimes::default();
        before.add_counter(&counter);
        counter.count(1000);
        let mut after = HookTimes::default();
        after.add_counter(&counter);
        let since = after.since(&before).quantile(1.0).expect("one hook");
        assert!(since < Duration::from_micros(2), "{since:?}");
    }
}
