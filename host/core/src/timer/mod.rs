//! Deadlines by the million: a hierarchical timing wheel.
//!
//! Setting and cancelling a timer take constant time and, once the wheel has grown to the number of timers alive, no allocation.
//! Time runs in ticks of a millisecond: a timer expires with the first tick at or after its deadline, never before it. Timers
//! expire in the order of their deadlines, equal ones in the order they were set, so that a run can be repeated exactly.
//!
//! A level has 64 slots; a slot of level 0 is one tick, a slot of the next level as long as all of the one below. A timer lies in
//! the lowest level whose slots tell its tick from the current one. When time enters a slot of a higher level, its timers
//! move down.

mod list;

use std::time::Duration;

use crate::time::Instant;
use list::{Lists, NodeIndex};

/// The granularity of the wheel.
pub const TICK: Duration = Duration::from_millis(1);

const TICK_MICROS: u64 = 1_000;
const LEVEL_BITS: u32 = 6;
const SLOTS: u64 = 1 << LEVEL_BITS;
const LEVELS: usize = 6;
/// 64^6 ticks are more than two years. A timer farther away waits in the last level and is put in again as often as it takes.
const MAX_SPAN: u64 = 1 << (LEVEL_BITS * LEVELS as u32);
/// The list of the timers that have expired and were not taken yet; those before it are the slots.
const READY: u16 = (LEVELS * SLOTS as usize) as u16;

/// Names a timer that was set; after it expired or was cancelled the name stands for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId {
    index: NodeIndex,
    generation: u32,
}

/// A timer whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired<T> {
    /// When it was to expire.
    pub deadline: Instant,
    /// What it was set with.
    pub token: T,
}

/// What a timer knows.
#[derive(Clone, Copy, Debug)]
struct Timer<T> {
    deadline: Instant,
    /// Counts the timers set, to order those with one deadline.
    sequence: u64,
    token: T,
}

/// A set of timers, each with a token.
#[derive(Debug)]
pub struct TimerWheel<T> {
    lists: Lists<Timer<T>>,
    /// One bit for each slot of each level that has timers.
    occupied: [u64; LEVELS],
    /// The tick up to which slots have been emptied.
    elapsed: u64,
    next_sequence: u64,
    /// For sorting the timers of a slot; kept for its capacity.
    sorting: Vec<(Instant, u64, NodeIndex)>,
}

impl<T: Copy> TimerWheel<T> {
    /// A wheel whose time starts at `now`.
    pub fn new(now: Instant) -> TimerWheel<T> {
        TimerWheel::with_capacity(now, 0)
    }

    /// A wheel that sets the first `capacity` timers without allocating.
    pub fn with_capacity(now: Instant, capacity: usize) -> TimerWheel<T> {
        TimerWheel {
            lists: Lists::new(usize::from(READY) + 1, capacity),
            occupied: [0; LEVELS],
            elapsed: now.0 / TICK_MICROS,
            next_sequence: 0,
            sorting: Vec::new(),
        }
    }

    /// Sets a timer. A deadline in the past expires at the next [`pop_expired`](Self::pop_expired).
    pub fn insert(&mut self, deadline: Instant, token: T) -> TimerId {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let index = self.lists.add(Timer {
            deadline,
            sequence,
            token,
        });
        if tick_of(deadline) <= self.elapsed {
            self.link_ready(index, deadline)
        } else {
            self.link_slot(index, deadline)
        }
        TimerId {
            index,
            generation: self.lists.generation(index),
        }
    }

    /// Cancels a timer and returns its token; `None` when it expired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        if !self.lists.is_live(id.index, id.generation) {
            return None;
        }
        let list = self.lists.unlink(id.index);
        if self.lists.is_empty(list) {
            self.clear_occupied(list);
        }
        Some(self.lists.remove(id.index).token)
    }

    /// The next timer with a deadline at or before the tick of `now`. Time never goes back: an earlier `now` counts as the latest.
    pub fn pop_expired(&mut self, now: Instant) -> Option<Expired<T>> {
        let now = now.0 / TICK_MICROS;
        while self.lists.is_empty(READY) {
            if !self.advance(now) {
                return None;
            }
        }
        let index = self.lists.first(READY)?;
        self.lists.unlink(index);
        let timer = self.lists.remove(index);
        Some(Expired {
            deadline: timer.deadline,
            token: timer.token,
        })
    }

    /// When to call [`pop_expired`](Self::pop_expired) next; `None` without timers. Never later than the tick of the first deadline,
    /// but for a deadline far away maybe earlier: then nothing expires and the next answer is closer.
    pub fn next_deadline(&self) -> Option<Instant> {
        if let Some(index) = self.lists.first(READY) {
            return Some(self.lists.value(index).deadline);
        }
        self.next_slot()
            .map(|slot| Instant(slot.start.saturating_mul(TICK_MICROS)))
    }

    /// The number of timers set.
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves time to the next slot with timers, but not beyond `now`; false when there is none.
    fn advance(&mut self, now: u64) -> bool {
        let Some(slot) = self.next_slot().filter(|slot| slot.start <= now) else {
            self.elapsed = self.elapsed.max(now);
            return false;
        };
        self.elapsed = slot.start;
        self.clear_occupied(slot.list);
        while let Some(index) = self.lists.first(slot.list) {
            self.lists.unlink(index);
            let Timer {
                deadline, sequence, ..
            } = *self.lists.value(index);
            if tick_of(deadline) <= self.elapsed {
                self.sorting.push((deadline, sequence, index));
            } else {
                self.link_slot(index, deadline);
            }
        }
        self.sorting.sort_unstable();
        for (_, _, index) in self.sorting.drain(..) {
            self.lists.push_back(READY, index);
        }
        true
    }

    /// The first slot with timers. A lower level comes first: all it holds is due before the next slot of the one above starts.
    fn next_slot(&self) -> Option<Slot> {
        (0..LEVELS).find_map(|level| {
            let occupied = *self.occupied.get(level)?;
            (occupied != 0).then(|| self.next_slot_of(level, occupied))
        })
    }

    fn next_slot_of(&self, level: usize, occupied: u64) -> Slot {
        let shift = LEVEL_BITS * level as u32;
        let current = (self.elapsed >> shift) % SLOTS;
        let distance = u64::from(occupied.rotate_right(current as u32).trailing_zeros());
        let start = ((self.elapsed >> shift) + distance) << shift;
        Slot {
            list: list_of(level, (current + distance) % SLOTS),
            start,
        }
    }

    fn link_slot(&mut self, index: NodeIndex, deadline: Instant) {
        let tick =
            tick_of(deadline).min(self.elapsed + MAX_SPAN - 1 - self.elapsed % (MAX_SPAN / SLOTS));
        let level = level_of(self.elapsed, tick);
        let slot = (tick >> (LEVEL_BITS * level as u32)) % SLOTS;
        if let Some(occupied) = self.occupied.get_mut(level) {
            *occupied |= 1 << slot;
        }
        self.lists.push_back(list_of(level, slot), index);
    }

    /// Puts a timer that is late already among the expired ones that wait, which are few.
    fn link_ready(&mut self, index: NodeIndex, deadline: Instant) {
        let before = self.lists.rfind(READY, |timer| timer.deadline <= deadline);
        self.lists.insert_after(READY, before, index);
    }

    fn clear_occupied(&mut self, list: u16) {
        let slot = u64::from(list) % SLOTS;
        if let Some(occupied) = self.occupied.get_mut(usize::from(list) / SLOTS as usize) {
            *occupied &= !(1 << slot);
        }
    }
}

/// A slot and the tick it starts with.
struct Slot {
    list: u16,
    start: u64,
}

fn list_of(level: usize, slot: u64) -> u16 {
    (level as u64 * SLOTS + slot) as u16
}

/// The first tick at or after the deadline.
fn tick_of(deadline: Instant) -> u64 {
    deadline.0.div_ceil(TICK_MICROS)
}

/// The level whose slots tell `tick` from `elapsed`: that of their highest digit, to the base of 64, that differs. In the last
/// level the digits above it may differ as well.
fn level_of(elapsed: u64, tick: u64) -> usize {
    let highest_bit = (elapsed ^ tick).checked_ilog2().unwrap_or(0);
    ((highest_bit / LEVEL_BITS) as usize).min(LEVELS - 1)
}

#[cfg(test)]
mod tests;
