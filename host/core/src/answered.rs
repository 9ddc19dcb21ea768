//! What is left of requests other than INVITE that were answered: enough to answer their retransmissions alike.
//!
//! RFC 3261 §17.2.2 has each of them stay in Completed for 32 seconds over UDP, so that on a busy server they are by far the most of what
//! there is. Each is one record of a few bytes behind the one before. They end in the order in which they were answered: memory is taken
//! and given back a page at a time, one alarm serves all, and once the server has run for those 32 seconds no more is taken.
//!
//! Nearly every request is a new one, and finding that out is a look at one line of memory in [`Places`]. What has ended is not taken out of
//! there: it is told by its place, and overwritten by what comes later.

mod places;

use std::collections::VecDeque;

use self::places::Places;
use crate::alarm::Alarm;
use crate::time::Instant;
use crate::transaction::TransactionKey;

/// Bytes of a page. Far more than a record, so that little is left over at its end.
const PAGE_BYTES: usize = 1 << 18;
/// What a longer response takes is kept elsewhere.
const MAX_TEXT_BYTES: usize = 16_384;
/// Records begin at multiples of this, so that 32 bits name a place in 32 GiB.
const GRAIN: usize = 8;
const GRAINS_PER_PAGE: u32 = (PAGE_BYTES / GRAIN) as u32;
/// Half of the places that can be named.
const MAX_PAGES: usize = 1 << 16;
/// Pages that wait for reuse at most.
const SPARE_PAGES: usize = 16;
/// Places that there is memory for while there is no record.
const SMALL_PLACES: usize = 1 << 15;
/// The head of a record: both halves of the key, the end in microseconds, the length of the text, and the kind.
const HEAD_BYTES: usize = 27;
const AT_HIGH: usize = 8;
const AT_END: usize = 16;
const AT_LENGTH: usize = 24;
const AT_KIND: usize = 26;

/// What a retransmission gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept<'a> {
    /// Nothing: it is never answered.
    Silence,
    /// This response, which came from elsewhere.
    Response(&'a [u8]),
    /// A response of ours: what [`crate::proxy::own_response`] makes one of.
    Own(&'a [u8]),
}

/// The records.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The oldest first.
    pages: VecDeque<Vec<u8>>,
    /// The place where the first page begins.
    start: u32,
    /// Where the oldest record is in the first page.
    oldest: usize,
    spare: Vec<Vec<u8>>,
    places: Places,
    count: usize,
    /// Rings when the oldest ends.
    pub(crate) alarm: Alarm,
}

impl Answered {
    /// None yet.
    pub(crate) fn new() -> Answered {
        Answered {
            pages: VecDeque::new(),
            start: 0,
            oldest: 0,
            spare: Vec::new(),
            places: Places::new(),
            count: 0,
            alarm: Alarm::default(),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Says that it will be asked soon whether this request was answered.
    pub(crate) fn prefetch(&self, key: TransactionKey) {
        self.places.prefetch(key);
    }

    /// Whether this request was answered.
    pub(crate) fn contains(&self, key: TransactionKey) -> bool {
        self.get(key).is_some()
    }

    /// What a retransmission of this request gets; `None`: it is not one.
    pub(crate) fn get(&self, key: TransactionKey) -> Option<Kept<'_>> {
        let (high, low) = key.halves();
        let at = self.places.find(key, |at| {
            self.live()(at)
                && self.record(at).is_some_and(|record| {
                    number_at(record, 0) == low && number_at(record, AT_HIGH) == high
                })
        })?;
        let record = self.record(at)?;
        let text = record.get(HEAD_BYTES..HEAD_BYTES + length_of(record))?;
        Some(match record.get(AT_KIND)? {
            0 => Kept::Silence,
            1 => Kept::Response(text),
            _ => Kept::Own(text),
        })
    }

    /// Keeps what retransmissions of a request get until `end`, or a little longer if one before it ends later. False when it is too much.
    pub(crate) fn put(&mut self, key: TransactionKey, end: Instant, kept: Kept<'_>) -> bool {
        let (kind, text): (u8, &[u8]) = match kept {
            Kept::Silence => (0, &[]),
            Kept::Response(text) => (1, text),
            Kept::Own(text) => (2, text),
        };
        if text.len() > MAX_TEXT_BYTES {
            return false;
        }
        let (high, low) = key.halves();
        let Some((page, at)) = self.room_for((HEAD_BYTES + text.len()).next_multiple_of(GRAIN))
        else {
            return false;
        };
        let length = text.len() as u64;
        let head = [low, high, end.0, length | u64::from(kind) << 16].map(u64::to_le_bytes);
        page.extend_from_slice(head.as_flattened().get(..HEAD_BYTES).unwrap_or_default());
        page.extend_from_slice(text);
        page.resize(page.len().next_multiple_of(GRAIN), 0);
        let is_live = self.live();
        self.places.put(key, at, is_live);
        self.count += 1;
        true
    }

    /// When the oldest ends.
    pub(crate) fn first_end(&self) -> Option<Instant> {
        let record = self.pages.front()?.get(self.oldest..)?;
        (!record.is_empty()).then(|| Instant(number_at(record, AT_END)))
    }

    /// Forgets what ends by now.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.first_end().is_some_and(|end| end <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let at = self.start.wrapping_add((self.oldest / GRAIN) as u32);
        let Some(record) = self.record(at) else {
            return;
        };
        let bytes = (HEAD_BYTES + length_of(record)).next_multiple_of(GRAIN);
        self.count -= 1;
        self.oldest += bytes;
        let is_read = self
            .pages
            .front()
            .is_none_or(|page| page.len() <= self.oldest);
        if is_read {
            self.drop_first_page();
        }
    }

    /// The first page has no record any more.
    fn drop_first_page(&mut self) {
        self.oldest = 0;
        let Some(mut page) = self.pages.pop_front() else {
            return;
        };
        self.start = self.start.wrapping_add(GRAINS_PER_PAGE);
        if self.spare.len() < SPARE_PAGES {
            page.clear();
            self.spare.push(page);
        }
        if self.pages.is_empty() && self.places.capacity() > SMALL_PLACES {
            // After a rush they would stay as many as they were then.
            self.places = Places::new();
        }
    }

    /// The page to write so many bytes to, and their place.
    fn room_for(&mut self, bytes: usize) -> Option<(&mut Vec<u8>, u32)> {
        let is_full = self
            .pages
            .back()
            .is_none_or(|page| page.len() + bytes > PAGE_BYTES);
        if is_full {
            if self.pages.len() >= MAX_PAGES {
                return None;
            }
            let page = self.spare.pop();
            self.pages
                .push_back(page.unwrap_or_else(|| Vec::with_capacity(PAGE_BYTES)));
        }
        let before = (self.pages.len() - 1) as u32 * GRAINS_PER_PAGE;
        let page = self.pages.back_mut()?;
        let at = before + (page.len() / GRAIN) as u32;
        Some((page, self.start.wrapping_add(at)))
    }

    /// What begins at this place.
    fn record(&self, at: u32) -> Option<&[u8]> {
        let distance = at.wrapping_sub(self.start);
        let page = self.pages.get((distance / GRAINS_PER_PAGE) as usize)?;
        page.get((distance % GRAINS_PER_PAGE) as usize * GRAIN..)
    }

    /// Tells the places of records that have not ended from those of the past.
    fn live(&self) -> impl Fn(u32) -> bool + use<> {
        let oldest = self.start.wrapping_add((self.oldest / GRAIN) as u32);
        let last_page = self.pages.len().saturating_sub(1) as u32 * GRAINS_PER_PAGE;
        let in_last = self.pages.back().map_or(0, |page| page.len() / GRAIN) as u32;
        let end = self.start.wrapping_add(last_page + in_last);
        let live = end.wrapping_sub(oldest);
        move |at| at.wrapping_sub(oldest) < live
    }

    /// What must hold; for tests.
    pub(crate) fn check(&self) {
        assert!(
            self.count == 0 || self.alarm.is_set(),
            "answered requests have no alarm"
        );
        assert_eq!(self.count == 0, self.first_end().is_none());
        self.check_places();
    }

    fn check_places(&self) {
        let is_live = self.live();
        let places = self.places.iter().filter(|at| is_live(*at)).count();
        assert_eq!(places, self.count, "a record without place");
    }
}

fn number_at(record: &[u8], at: usize) -> u64 {
    let bytes = record.get(at..).and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn length_of(record: &[u8]) -> usize {
    let bytes = record
        .get(AT_LENGTH..)
        .and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| u16::from_le_bytes(*bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> TransactionKey {
        // Multiplied twice, so that all bits of both halves differ.
        let high = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        TransactionKey::of_halves(high ^ high.rotate_left(32), number)
    }

    #[test]
    fn what_was_kept_is_found_until_its_end() {
        let mut answered = Answered::new();
        assert!(answered.put(key(1), Instant(10), Kept::Response(b"one")));
        assert!(answered.put(key(2), Instant(20), Kept::Own(b"two")));
        assert!(answered.put(key(3), Instant(30), Kept::Silence));
        assert_eq!(answered.get(key(1)), Some(Kept::Response(b"one")));
        assert_eq!(answered.get(key(2)), Some(Kept::Own(b"two")));
        assert_eq!(answered.get(key(3)), Some(Kept::Silence));
        assert_eq!(answered.get(key(4)), None);
        answered.expire(Instant(9));
        assert_eq!(
            (answered.len(), answered.first_end()),
            (3, Some(Instant(10)))
        );
        answered.expire(Instant(20));
        assert_eq!((answered.get(key(1)), answered.get(key(2))), (None, None));
        assert_eq!(answered.get(key(3)), Some(Kept::Silence));
        answered.expire(Instant(30));
        assert_eq!((answered.len(), answered.first_end()), (0, None));
    }

    #[test]
    fn keys_with_the_same_half_are_told_apart() {
        let mut answered = Answered::new();
        let (old, new) = (
            TransactionKey::of_halves(7, 1),
            TransactionKey::of_halves(7, 2),
        );
        answered.put(old, Instant(10), Kept::Response(b"old"));
        assert_eq!(answered.get(new), None);
        answered.put(new, Instant(20), Kept::Response(b"new"));
        assert_eq!(answered.get(new), Some(Kept::Response(b"new")));
        assert_eq!(answered.get(old), Some(Kept::Response(b"old")));
        answered.expire(Instant(10));
        assert_eq!(answered.get(old), None);
        assert_eq!(answered.get(new), Some(Kept::Response(b"new")));
    }

    #[test]
    fn pages_are_used_again_and_again() {
        let mut answered = Answered::new();
        let text = [7; 1000];
        let live = 2_000;
        for number in 0..100_000 {
            assert!(answered.put(
                key(number),
                Instant(number + live),
                Kept::Response(&text[..(number % 1000) as usize])
            ));
            answered.expire(Instant(number));
            let oldest = number.saturating_sub(live - 1);
            for known in [oldest, number] {
                let length = (known % 1000) as usize;
                assert_eq!(
                    answered.get(key(known)),
                    Some(Kept::Response(&text[..length]))
                );
            }
            assert_eq!(answered.get(key(oldest.wrapping_sub(1))), None);
        }
        assert!(answered.pages.len() + answered.spare.len() < 12);
        // Places are used again too: a hundred thousand were taken, two thousand are live.
        assert!(answered.places.capacity() < 16 * live as usize);
    }

    #[test]
    fn after_a_rush_the_memory_is_given_back() {
        let mut answered = Answered::new();
        for number in 0..100_000 {
            assert!(answered.put(key(number), Instant(1), Kept::Silence));
            assert_eq!(answered.get(key(number)), Some(Kept::Silence));
        }
        answered.check_places();
        for number in 0..100_000 {
            assert!(answered.contains(key(number)), "{number}");
        }
        assert!(answered.places.capacity() >= 100_000);
        answered.expire(Instant(1));
        assert_eq!((answered.len(), answered.places.capacity()), (0, 0));
        assert!(answered.put(key(1), Instant(2), Kept::Silence));
        assert!(answered.contains(key(1)));
    }

    #[test]
    fn places_go_around() {
        let mut answered = Answered::new();
        answered.start = u32::MAX - GRAINS_PER_PAGE + 1;
        for number in 0..10_000 {
            answered.put(key(number), Instant(number), Kept::Response(&[1; 100]));
        }
        assert!(answered.pages.len() > 2);
        for number in 0..10_000 {
            assert!(answered.contains(key(number)), "{number}");
            answered.expire(Instant(number));
            assert!(!answered.contains(key(number)), "{number}");
        }
        assert_eq!(answered.len(), 0);
    }

    #[test]
    fn a_long_response_is_refused() {
        let mut answered = Answered::new();
        let long = vec![0; MAX_TEXT_BYTES + 1];
        assert!(!answered.put(key(1), Instant(1), Kept::Response(&long)));
        assert_eq!((answered.len(), answered.get(key(1))), (0, None));
    }
}
