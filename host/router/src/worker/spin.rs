//! Whether a worker looks out for the next datagram for a moment before it sleeps.
//!
//! To fall asleep and to be woken takes a system far longer than to handle a message, above all a virtual machine, whose processor has to be
//! given back to it. Who looks at the ring's memory instead has the datagram at once. That pays when one is likely to come in that moment: the
//! answer to an INVITE comes soon, and after an ACK there is a pause. So a worker goes by what came of it the last times after a message of
//! the same kind. And it pays only while there is processor to spare: a busy worker sleeps, finds more
//! datagrams when it wakes up, and handles them together.

use std::time::Duration;

use patchbay_core::time::Instant;

use super::Clock;
use crate::metrics::{Label, MethodLabel};
use crate::transport::{Doorbell, Ring};

/// How much one outcome changes what is expected of the next: one part of so many.
const WEIGHT: u32 = 16;
/// Certain to come, in the units of [`Chance::expected`].
const CERTAIN: u32 = 1 << 16;
/// Looking out is worth it from this expectation on.
const WORTH: u32 = CERTAIN / 2;
/// Without that expectation one wait in so many begins with looking out all the same, to find out whether things have changed.
const PROBE: u32 = 32;
/// The time over which a worker is found to be busy.
const RECENT: Duration = Duration::from_millis(50);

/// What a worker has handled last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Last {
    /// Nothing yet.
    #[default]
    Nothing,
    /// A request with this method.
    Request(MethodLabel),
    /// A 1xx.
    Provisional,
    /// Another response.
    Final,
}

impl Last {
    fn index(self) -> usize {
        match self {
            Last::Nothing => 0,
            Last::Provisional => 1,
            Last::Final => 2,
            Last::Request(method) => 3 + method.index(),
        }
    }
}

/// Kinds of messages, with [`Last::Nothing`].
const KINDS: usize = 3 + <MethodLabel as Label>::VALUES.len();

/// See the module.
pub(super) struct Spin {
    limit: Duration,
    /// By the kind of the last message.
    chances: [Chance; KINDS],
    load: Load,
}

/// What became of looking out.
#[derive(Clone, Copy, Default)]
struct Chance {
    /// How likely the next datagram comes within the limit.
    expected: u32,
    /// Waits since the last one that began with looking out.
    skipped: u32,
}

impl Spin {
    /// For one of `workers` that share `processors`. With more of them than processors none looks out: it would keep another one, which has
    /// something to do, from doing it.
    pub(super) fn among(workers: usize, processors: usize, limit: Duration) -> Spin {
        Spin::new(if workers > processors {
            Duration::ZERO
        } else {
            limit
        })
    }

    /// Looks out for no longer than `limit`; zero: never.
    fn new(limit: Duration) -> Spin {
        Spin {
            limit,
            chances: [Chance::default(); KINDS],
            load: Load::default(),
        }
    }

    /// The worker has nothing to do: looks out for a while when that is worth it, and tells whether something has happened. `now` is kept
    /// up to date.
    pub(super) fn watch(
        &mut self,
        last: Last,
        ring: &mut Ring,
        doorbell: &Doorbell,
        clock: &Clock,
        until: Option<Instant>,
        now: &mut Instant,
    ) -> bool {
        self.load.ends_work(*now);
        if !self.is_worth_it(last) {
            return false;
        }
        if ring.has_unsubmitted() {
            ring.submit();
        }
        let end = *now + self.limit;
        let end = until.map_or(end, |until| until.min(end));
        let mut has_event = false;
        while !has_event && *now < end {
            std::hint::spin_loop();
            has_event = ring.has_events() || doorbell.is_woken();
            *now = clock.instant();
        }
        self.learn(last, has_event);
        if has_event {
            self.load.begins_work(*now);
        }
        has_event
    }

    /// The worker has slept.
    pub(super) fn slept(&mut self, now: Instant) {
        self.load.begins_work(now);
    }

    fn is_worth_it(&mut self, last: Last) -> bool {
        let Some(chance) = self.chances.get_mut(last.index()) else {
            return false;
        };
        if self.limit.is_zero() || self.load.is_high() {
            return false;
        }
        if chance.expected >= WORTH || chance.skipped >= PROBE {
            chance.skipped = 0;
            return true;
        }
        chance.skipped += 1;
        false
    }

    fn learn(&mut self, last: Last, has_event: bool) {
        if let Some(chance) = self.chances.get_mut(last.index()) {
            let outcome = if has_event { CERTAIN / WEIGHT } else { 0 };
            chance.expected = chance.expected - chance.expected / WEIGHT + outcome;
        }
    }
}

/// How much of the recent time was work.
#[derive(Default)]
struct Load {
    work: Duration,
    rest: Duration,
    since: Instant,
}

impl Load {
    fn begins_work(&mut self, now: Instant) {
        self.rest += now.since(self.since);
        self.since = now;
    }

    fn ends_work(&mut self, now: Instant) {
        self.work += now.since(self.since);
        self.since = now;
        if self.work + self.rest > RECENT {
            self.work /= 2;
            self.rest /= 2;
        }
    }

    fn is_high(&self) -> bool {
        self.work > self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(microseconds: u64) -> Instant {
        Instant(microseconds)
    }

    const INVITE: Last = Last::Request(MethodLabel::Invite);

    /// Waits of which every one that looks out ends like this; how many of them look out.
    fn looks(spin: &mut Spin, last: Last, waits: usize, has_event: bool) -> usize {
        let mut looks = 0;
        for _ in 0..waits {
            if spin.is_worth_it(last) {
                looks += 1;
                spin.learn(last, has_event);
            }
        }
        looks
    }

    #[test]
    fn it_looks_out_while_that_is_likely_to_help() {
        let mut spin = Spin::new(Duration::from_micros(50));
        assert!(looks(&mut spin, INVITE, 1000, false) <= 1000 / PROBE as usize);
        // A few attempts that succeed are enough to go on.
        assert!(looks(&mut spin, INVITE, 2000, true) > 1000);
        assert!(looks(&mut spin, Last::Final, 1000, false) < 100);
        assert_eq!(looks(&mut spin, INVITE, 1000, true), 1000);
        assert!(looks(&mut spin, INVITE, 1000, false) < 100);
    }

    #[test]
    fn zero_turns_it_off() {
        let mut spin = Spin::new(Duration::ZERO);
        assert_eq!(looks(&mut spin, INVITE, 1000, true), 0);
    }

    #[test]
    fn workers_that_share_a_processor_sleep() {
        for (workers, processors, is_on) in
            [(1, 1, true), (2, 1, false), (2, 2, true), (3, 2, false)]
        {
            let mut spin = Spin::among(workers, processors, Duration::from_micros(50));
            assert_eq!(looks(&mut spin, INVITE, 1000, true) > 0, is_on);
        }
    }

    #[test]
    fn a_busy_worker_sleeps() {
        let mut spin = Spin::new(Duration::from_micros(50));
        looks(&mut spin, INVITE, 2000, true);
        let mut now = 0;
        let mut run = |spin: &mut Spin, work: u64, rest: u64| {
            for _ in 0..1000 {
                spin.slept(at(now));
                now += work;
                spin.load.ends_work(at(now));
                now += rest;
            }
            spin.is_worth_it(INVITE)
        };
        assert!(run(&mut spin, 40, 60));
        assert!(!run(&mut spin, 60, 40));
        assert!(run(&mut spin, 40, 60));
    }
}
