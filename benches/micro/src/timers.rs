//! The timer wheel among a million timers.

use std::hint::black_box;

use patchbay_core::time::Instant;
use patchbay_core::timer::{TimerId, TimerWheel};

use crate::suite::{Steps, Suite};

const OPERATIONS: u64 = 10_000;
const LIVE: u64 = 1_000_000;
/// Timers are set for up to 32 seconds, as transactions set them.
const SPAN_MICROS: u64 = 32_000_000;

struct Wheel {
    wheel: TimerWheel<u64>,
    now: Instant,
    set: Vec<TimerId>,
    random: u64,
}

impl Wheel {
    fn among(live: u64) -> Wheel {
        let now = Instant(0);
        let mut wheel = Wheel {
            wheel: TimerWheel::with_capacity(now, (live + OPERATIONS) as usize),
            now,
            set: Vec::with_capacity(OPERATIONS as usize),
            random: 0x9e37_79b9_7f4a_7c15,
        };
        for token in 0..live {
            let deadline = wheel.deadline();
            wheel.wheel.insert(deadline, token);
        }
        wheel
    }

    /// Xorshift: the same in every run.
    fn deadline(&mut self) -> Instant {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        Instant(self.now.0 + 1 + self.random % SPAN_MICROS)
    }

    fn insert(&mut self, times: u64) {
        for token in 0..times {
            let deadline = self.deadline();
            let id = self.wheel.insert(deadline, token);
            self.set.push(id);
        }
    }

    fn cancel(&mut self, _: u64) {
        for id in self.set.drain(..) {
            black_box(self.wheel.cancel(id)).expect("it has not expired");
        }
    }

    /// Lets time pass until so many timers have expired.
    fn expire(&mut self, times: u64) {
        let mut left = times;
        while left > 0 {
            self.now = self.wheel.next_deadline().expect("there are timers");
            while let Some(expired) = self.wheel.pop_expired(self.now) {
                black_box(expired);
                left -= 1;
                if left == 0 {
                    return;
                }
            }
        }
    }

    /// Sets anew what has expired.
    fn replace(&mut self, times: u64) {
        for token in 0..times {
            let deadline = self.deadline();
            self.wheel.insert(deadline, token);
        }
    }
}

/// Setting, cancelling and expiring among a million.
pub(crate) fn million() -> Box<dyn Suite> {
    among(LIVE)
}

/// The same among so many.
pub(crate) fn among(live: u64) -> Box<dyn Suite> {
    let steps = Steps::new(OPERATIONS, Wheel::among(live))
        .step("set a timer", Wheel::insert)
        .step("cancel it", Wheel::cancel)
        .step("expire", Wheel::expire)
        .prepare(Wheel::replace);
    Box::new(steps)
}
