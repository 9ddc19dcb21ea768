//! `[limits] requests_per_source`: how many requests one address may send.
//!
//! A source is an address, for IPv6 a /64. Its bucket holds one second's worth of requests and refills evenly. Workers share the
//! buckets, since the system spreads the ports of a source over them.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use patchbay_core::time::Instant;

/// Sources that are remembered: `SETS` times `WAYS`.
const SETS: usize = 8192;
/// Sources of one lock; a new one takes the place of the one of them that is idle for the longest time.
const WAYS: usize = 8;
const SECOND: u64 = 1_000_000_000;

/// One worker's view of the limit.
#[derive(Clone)]
pub(super) struct SourceLimit {
    /// Nanoseconds between two requests; 0: no limit.
    interval: u64,
    /// Made when the limit is first needed, for all workers.
    buckets: Arc<OnceLock<Buckets>>,
}

impl SourceLimit {
    /// No limit. Clones share their buckets.
    pub(super) fn off() -> SourceLimit {
        SourceLimit {
            interval: 0,
            buckets: Arc::default(),
        }
    }

    /// Takes over the number of requests per second; 0 turns the limit off.
    pub(super) fn set_rate(&mut self, per_second: u32) {
        self.interval = match per_second {
            0 => 0,
            rate => (SECOND / u64::from(rate)).max(1),
        };
    }

    /// Whether this message may go on. A response always may, and so may ACK and CANCEL, which end what was let through before.
    #[inline]
    pub(super) fn admits(&self, source: IpAddr, bytes: &[u8], now: Instant) -> bool {
        self.interval == 0 || !is_counted(bytes) || self.takes(source, now)
    }

    fn takes(&self, source: IpAddr, now: Instant) -> bool {
        let buckets = self.buckets.get_or_init(Buckets::empty);
        buckets.take(key(source), self.interval, now.0.saturating_mul(1000))
    }
}

/// The buckets of all sources.
struct Buckets {
    /// Keyed, so that nobody can choose whom a source has to share its places with.
    hasher: RandomState,
    sets: Box<[Mutex<[Bucket; WAYS]>]>,
}

/// The bucket of one source; one that is full again is as good as none.
#[derive(Clone, Copy, Default)]
struct Bucket {
    source: u64,
    /// When it is full, in nanoseconds.
    full_at: u64,
}

impl Buckets {
    fn empty() -> Buckets {
        Buckets {
            hasher: RandomState::new(),
            sets: (0..SETS).map(|_| Mutex::default()).collect(),
        }
    }

    fn take(&self, source: u64, interval: u64, now: u64) -> bool {
        // The remainder fits, since there are few sets.
        let set = (self.hasher.hash_one(source) % SETS as u64) as usize;
        let Some(set) = self.sets.get(set) else {
            unreachable!("the remainder is below the number of sets")
        };
        let mut buckets = set.lock().unwrap_or_else(PoisonError::into_inner);
        bucket_of(&mut buckets, source).take(interval, now)
    }
}

/// The bucket of this source. A source that is not there replaces the one whose bucket was full first.
fn bucket_of(buckets: &mut [Bucket; WAYS], source: u64) -> &mut Bucket {
    let known = buckets.iter().position(|bucket| bucket.source == source);
    let [first, rest @ ..] = buckets;
    if let Some(known) = known {
        return match known.checked_sub(1).and_then(|at| rest.get_mut(at)) {
            Some(bucket) => bucket,
            None => first,
        };
    }
    let oldest = rest.iter_mut().fold(first, |oldest, bucket| {
        if bucket.full_at < oldest.full_at {
            bucket
        } else {
            oldest
        }
    });
    *oldest = Bucket { source, full_at: 0 };
    oldest
}

impl Bucket {
    /// Each request puts off the moment at which the bucket is full by one interval; it is empty one second before that moment.
    fn take(&mut self, interval: u64, now: u64) -> bool {
        let full_at = self.full_at.max(now).saturating_add(interval);
        if full_at - now > SECOND {
            return false;
        }
        self.full_at = full_at;
        true
    }
}

/// IPv4 addresses have numbers that no /64 in use has: those of `::/32`, which is reserved (RFC 4291 §2.4).
fn key(source: IpAddr) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(address) => u64::from(u32::from(address)),
        IpAddr::V6(address) => (u128::from(address) >> 64) as u64,
    }
}

/// Whether these bytes are a request that counts: no keep-alive, no response, neither ACK nor CANCEL.
fn is_counted(bytes: &[u8]) -> bool {
    let start = bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))
        .unwrap_or(bytes.len());
    let message = bytes.get(start..).unwrap_or_default();
    let is_other = [b"SIP/".as_slice(), b"ACK ", b"CANCEL "]
        .iter()
        .any(|start| message.starts_with(start));
    !message.is_empty() && !is_other
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const START: Instant = Instant(5_000_000);
    const REQUEST: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\n";

    fn limit(rate: u32) -> SourceLimit {
        let mut limit = SourceLimit::off();
        limit.set_rate(rate);
        limit
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of 100 requests at once are let through.
    fn burst(limit: &SourceLimit, source: &str, now: Instant) -> usize {
        (0..100)
            .filter(|_| limit.admits(address(source), REQUEST, now))
            .count()
    }

    #[test]
    fn a_source_may_send_one_seconds_worth_at_once() {
        for rate in [1, 3, 7, 50] {
            let limit = limit(rate);
            assert_eq!(burst(&limit, "192.0.2.1", START), rate as usize);
            assert_eq!(burst(&limit, "192.0.2.2", START), rate as usize);
        }
    }

    #[test]
    fn the_bucket_refills_evenly_and_not_beyond_its_size() {
        let limit = limit(10);
        assert_eq!(burst(&limit, "192.0.2.1", START), 10);
        let later = START + Duration::from_millis(99);
        assert_eq!(burst(&limit, "192.0.2.1", later), 0);
        let later = START + Duration::from_millis(300);
        assert_eq!(burst(&limit, "192.0.2.1", later), 3);
        let later = START + Duration::from_secs(60);
        assert_eq!(burst(&limit, "192.0.2.1", later), 10);
    }

    #[test]
    fn a_worker_whose_clock_is_behind_takes_no_more() {
        let limit = limit(10);
        assert_eq!(burst(&limit, "192.0.2.1", START), 10);
        assert_eq!(burst(&limit, "192.0.2.1", Instant(START.0 - 1000)), 0);
    }

    #[test]
    fn ipv6_sources_are_networks_of_64_bits() {
        let limit = limit(5);
        assert_eq!(burst(&limit, "2001:db8:1:2::1", START), 5);
        assert_eq!(burst(&limit, "2001:db8:1:2:ffff::9", START), 0);
        assert_eq!(burst(&limit, "2001:db8:1:3::1", START), 5);
        assert_eq!(burst(&limit, "192.0.2.1", START), 5);
        assert_eq!(burst(&limit, "::ffff:192.0.2.1", START), 0);
    }

    #[test]
    fn responses_ack_cancel_and_keep_alives_are_never_limited() {
        let limit = limit(1);
        let source = address("192.0.2.1");
        assert_eq!(burst(&limit, "192.0.2.1", START), 1);
        for free in [
            "SIP/2.0 200 OK\r\n",
            "\r\nSIP/2.0 200 OK\r\n",
            "ACK sip:a@b SIP/2.0\r\n",
            "CANCEL sip:a@b SIP/2.0\r\n",
            "\r\n\r\n",
            "",
        ] {
            assert!(limit.admits(source, free.as_bytes(), START), "{free:?}");
        }
        for counted in ["\r\nINVITE sip:a@b SIP/2.0\r\n", "ACKNOWLEDGE a", "x"] {
            assert!(
                !limit.admits(source, counted.as_bytes(), START),
                "{counted:?}"
            );
        }
    }

    #[test]
    fn without_a_limit_there_are_no_buckets() {
        let mut limit = limit(0);
        assert_eq!(burst(&limit, "192.0.2.1", START), 100);
        assert!(limit.buckets.get().is_none());
        let other_worker = limit.clone();
        limit.set_rate(2);
        assert_eq!(burst(&limit, "192.0.2.1", START), 2);
        assert_eq!(burst(&other_worker, "192.0.2.1", START), 100);
    }

    #[test]
    fn workers_share_the_buckets() {
        let limit = limit(4);
        let other_worker = limit.clone();
        assert_eq!(burst(&limit, "192.0.2.1", START), 4);
        assert_eq!(burst(&other_worker, "192.0.2.1", START), 0);
    }

    #[test]
    fn a_new_source_replaces_the_one_that_is_idle_for_the_longest_time() {
        let mut buckets = [Bucket::default(); WAYS];
        for source in 1..=WAYS as u64 {
            assert!(bucket_of(&mut buckets, source).take(SECOND, source * SECOND));
        }
        let now = (WAYS as u64 + 1) * SECOND;
        assert!(bucket_of(&mut buckets, 1).take(SECOND, now));
        assert!(bucket_of(&mut buckets, 100).take(SECOND, now));
        let mut kept: Vec<_> = buckets.iter().map(|bucket| bucket.source).collect();
        kept.sort_unstable();
        assert_eq!(kept, [1, 3, 4, 5, 6, 7, 8, 100]);
        assert!(!bucket_of(&mut buckets, 1).take(SECOND, now));
    }
}
