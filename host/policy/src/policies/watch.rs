//! Watches the active version for failing again and again.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::version::Version;

/// How long after its activation a version can be rolled back by itself.
pub(super) const PROBATION: Duration = Duration::from_secs(30);
/// Faults are counted in windows of this length.
const WINDOW: Duration = Duration::from_secs(30);
/// So many faults in a window are failing again and again...
const MIN_FAULTS: u32 = 5;
/// ... when they come from so many addresses (networks of 64 bits for IPv6), ...
const MIN_SOURCES: usize = 3;
/// ... and at least one hook run in so many ended in a fault.
const MAX_CALLS_PER_FAULT: u64 = 50;

/// The faults of one version.
#[derive(Clone)]
pub(super) struct Watch {
    number: u64,
    /// Until then it can be rolled back by itself.
    probation_ends: Instant,
    window_start: Instant,
    /// The version's hook runs before the window.
    calls_before: u64,
    faults: u32,
    sources: Vec<IpAddr>,
    /// The window's finding was told.
    told: bool,
}

/// A version keeps failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Soon after its activation.
    FailsSoon,
    /// Later.
    Fails,
}

impl Watch {
    /// Watches a version that is activated now. It may have run before: its earlier calls do not count.
    pub(super) fn new<H: Host>(version: &Version<H>, now: Instant) -> Watch {
        Watch::resumed(version, now, PROBATION)
    }

    /// Watches a version that was activated before a restart: so much is left of the time after its activation.
    pub(super) fn resumed<H: Host>(version: &Version<H>, now: Instant, left: Duration) -> Watch {
        let calls = version.stats().counts().total_calls();
        Watch {
            probation_ends: now + left,
            ..Watch::of(version.number(), calls, now)
        }
    }

    fn of(number: u64, calls_before: u64, now: Instant) -> Watch {
        Watch {
            number,
            probation_ends: now + PROBATION,
            window_start: now,
            calls_before,
            faults: 0,
            sources: Vec::with_capacity(MIN_SOURCES),
            told: false,
        }
    }

    /// Counts a fault; a finding is told once per window.
    pub(super) fn report<H: Host>(
        &mut self,
        version: &Version<H>,
        source: IpAddr,
        now: Instant,
    ) -> Option<Finding> {
        if version.number() != self.number {
            return None;
        }
        self.count(source, now, version.stats().counts().total_calls())
    }

    fn count(&mut self, source: IpAddr, now: Instant, calls: u64) -> Option<Finding> {
        if now.saturating_duration_since(self.window_start) >= WINDOW {
            self.window_start = now;
            self.calls_before = calls;
            self.faults = 0;
            self.sources.clear();
            self.told = false;
        }
        self.faults = self.faults.saturating_add(1);
        let source = network(source);
        if self.sources.len() < MIN_SOURCES && !self.sources.contains(&source) {
            self.sources.push(source);
        }
        let keeps_failing = self.faults >= MIN_FAULTS
            && self.sources.len() >= MIN_SOURCES
            && u64::from(self.faults) * MAX_CALLS_PER_FAULT
                >= calls.saturating_sub(self.calls_before);
        if !keeps_failing || std::mem::replace(&mut self.told, true) {
            return None;
        }
        Some(if now < self.probation_ends {
            Finding::FailsSoon
        } else {
            Finding::Fails
        })
    }
}

/// One host can have all the addresses of its IPv6 network.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn five_faults_from_three_sources_are_failing_soon() {
        let start = Instant::now();
        let mut watch = Watch::of(1, 0, start);
        for last in [1, 2, 1, 2] {
            assert_eq!(watch.count(source(last), start, 10), None);
        }
        assert_eq!(watch.count(source(3), start, 10), Some(Finding::FailsSoon));
        assert_eq!(
            watch.count(source(4), start, 10),
            None,
            "told once per window"
        );
    }

    #[test]
    fn one_source_is_never_enough() {
        let start = Instant::now();
        let mut watch = Watch::of(1, 0, start);
        for _ in 0..1000 {
            assert_eq!(watch.count(source(1), start, 1000), None);
        }
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let start = Instant::now();
        let mut watch = Watch::of(1, 0, start);
        for host in 1..100u128 {
            let address = Ipv6Addr::from_bits((0x2001_0db8 << 96) | host);
            assert_eq!(watch.count(address.into(), start, 100), None);
        }
    }

    #[test]
    fn rare_faults_among_many_calls_are_no_finding() {
        let start = Instant::now();
        let mut watch = Watch::of(1, 0, start);
        for last in 1..=20 {
            assert_eq!(watch.count(source(last), start, 100_000), None);
        }
    }

    #[test]
    fn later_it_is_an_alarm_and_no_more() {
        let start = Instant::now();
        let mut watch = Watch::of(1, 0, start);
        let later = start + PROBATION;
        let findings: Vec<_> = (1..=5)
            .filter_map(|last| watch.count(source(last), later, 5))
            .collect();
        assert_eq!(findings, [Finding::Fails]);
    }

    #[test]
    fn calls_before_the_activation_do_not_hide_faults() {
        let start = Instant::now();
        let mut watch = Watch::of(1, 1_000_000, start);
        let findings: Vec<_> = (1..=5)
            .filter_map(|last| watch.count(source(last), start, 1_000_010))
            .collect();
        assert_eq!(findings, [Finding::FailsSoon]);
    }
}
