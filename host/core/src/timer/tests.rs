use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn micros(micros: u64) -> Instant {
    Instant(micros)
}

fn millis(millis: u64) -> Instant {
    Instant(millis * 1_000)
}

fn drain(wheel: &mut TimerWheel<u64>, now: Instant) -> Vec<u64> {
    std::iter::from_fn(|| wheel.pop_expired(now))
        .map(|expired| expired.token)
        .collect()
}

#[test]
fn timer_expires_with_the_tick_of_its_deadline_and_not_before() {
    let mut wheel = TimerWheel::new(Instant(0));
    wheel.insert(micros(10_001), 1);
    assert_eq!(drain(&mut wheel, micros(10_999)), []);
    assert_eq!(drain(&mut wheel, micros(11_000)), [1]);
}

#[test]
fn timers_of_one_tick_expire_by_deadline_then_by_age() {
    let mut wheel = TimerWheel::new(Instant(0));
    wheel.insert(micros(900), 3);
    wheel.insert(micros(100), 1);
    wheel.insert(micros(900), 4);
    wheel.insert(micros(500), 2);
    assert_eq!(drain(&mut wheel, millis(1)), [1, 2, 3, 4]);
}

#[test]
fn deadline_in_the_past_expires_at_once_in_order() {
    let mut wheel = TimerWheel::new(Instant(0));
    wheel.insert(millis(100), 3);
    assert_eq!(wheel.pop_expired(millis(50)), None);
    wheel.insert(millis(20), 2);
    wheel.insert(millis(10), 1);
    assert_eq!(wheel.next_deadline(), Some(millis(10)));
    assert_eq!(drain(&mut wheel, millis(50)), [1, 2]);
    assert_eq!(drain(&mut wheel, millis(100)), [3]);
}

#[test]
fn cancelled_timer_does_not_expire_and_is_cancelled_once() {
    let mut wheel = TimerWheel::new(Instant(0));
    let id = wheel.insert(millis(5), 1);
    assert_eq!(wheel.cancel(id), Some(1));
    assert_eq!(wheel.cancel(id), None);
    assert_eq!(wheel.next_deadline(), None);
    assert_eq!(drain(&mut wheel, millis(10)), []);
}

#[test]
fn id_of_an_expired_timer_does_not_cancel_its_successor() {
    let mut wheel = TimerWheel::new(Instant(0));
    let old = wheel.insert(millis(5), 1);
    assert_eq!(drain(&mut wheel, millis(5)), [1]);
    wheel.insert(millis(9), 2);
    assert_eq!(wheel.cancel(old), None);
    assert_eq!(drain(&mut wheel, millis(9)), [2]);
}

#[test]
fn timer_that_is_due_can_still_be_cancelled() {
    let mut wheel = TimerWheel::new(Instant(0));
    wheel.insert(millis(5), 1);
    let second = wheel.insert(millis(5), 2);
    assert_eq!(
        wheel.pop_expired(millis(5)).map(|expired| expired.token),
        Some(1)
    );
    assert_eq!(wheel.cancel(second), Some(2));
    assert_eq!(wheel.pop_expired(millis(5)), None);
}

#[test]
fn timers_beyond_the_last_level_wait_their_time() {
    let years = MAX_SPAN * 3 + 12_345;
    let mut wheel = TimerWheel::new(millis(77));
    wheel.insert(millis(years), 1);
    let mut wakes = 0;
    while let Some(next) = wheel.next_deadline() {
        if let Some(expired) = wheel.pop_expired(next) {
            assert_eq!((expired.deadline, next), (millis(years), millis(years)));
        }
        wakes += 1;
        assert!(wakes < 1_000, "livelock");
    }
    assert!(wheel.is_empty());
}

#[test]
fn steady_state_needs_no_more_nodes() {
    let mut wheel = TimerWheel::with_capacity(Instant(0), 100);
    for round in 0..1_000 {
        let ids: Vec<TimerId> = (0..100)
            .map(|token| wheel.insert(millis(round + 1 + token), token))
            .collect();
        let cancelled = ids
            .iter()
            .step_by(2)
            .filter(|id| wheel.cancel(**id).is_some())
            .count();
        assert_eq!(cancelled, 50);
        drain(&mut wheel, millis(round + 200));
    }
    assert_eq!(wheel.lists.capacity(), 100);
}

#[derive(Clone, Debug)]
enum Step {
    Insert { after_micros: u64 },
    Cancel { nth: usize },
    Advance { micros: u64 },
    AdvanceToNext,
}

fn step() -> impl Strategy<Value = Step> {
    let span = prop_oneof![
        0..2_000_u64,
        0..200_000_u64,
        0..60_000_000_u64,
        0..100_000_000_000_u64
    ];
    prop_oneof![
        5 => span.clone().prop_map(|after_micros| Step::Insert { after_micros }),
        2 => any::<usize>().prop_map(|nth| Step::Cancel { nth }),
        2 => span.prop_map(|micros| Step::Advance { micros }),
        2 => Just(Step::AdvanceToNext),
    ]
}

/// The wheel beside a map that is ordered by deadline and age.
struct Model {
    wheel: TimerWheel<u64>,
    timers: BTreeMap<(Instant, u64), TimerId>,
    now: Instant,
    next_token: u64,
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Insert { after_micros } => {
                let deadline = Instant(self.now.0 + after_micros - (*after_micros).min(500));
                let id = self.wheel.insert(deadline, self.next_token);
                self.timers.insert((deadline, self.next_token), id);
                self.next_token += 1;
            }
            Step::Cancel { nth } => {
                let place = nth % self.timers.len().max(1);
                if let Some((key, id)) = self.timers.iter().nth(place).map(|(key, id)| (*key, *id))
                {
                    self.timers.remove(&key);
                    assert_eq!(self.wheel.cancel(id), Some(key.1));
                }
            }
            Step::Advance { micros } => self.advance(Instant(self.now.0 + micros)),
            Step::AdvanceToNext => {
                if let Some(next) = self.wheel.next_deadline() {
                    self.advance(next.max(self.now));
                }
            }
        }
        self.check();
    }

    fn advance(&mut self, now: Instant) {
        self.now = now;
        while let Some(expired) = self.wheel.pop_expired(now) {
            let ((deadline, token), _) = self.timers.pop_first().expect("the model has it too");
            assert_eq!((expired.deadline, expired.token), (deadline, token));
            assert!(deadline <= now, "early");
        }
        // Late by less than a tick.
        let tick = Instant(now.0 / TICK_MICROS * TICK_MICROS);
        assert!(self.timers.keys().all(|(deadline, _)| *deadline > tick));
    }

    fn check(&self) {
        assert_eq!(self.wheel.len(), self.timers.len());
        let first = self
            .timers
            .keys()
            .next()
            .map(|(deadline, _)| Instant(tick_of(*deadline) * TICK_MICROS));
        assert_eq!(self.wheel.next_deadline().is_some(), first.is_some());
        assert!(
            self.wheel.next_deadline() <= first,
            "{:?} is later than {first:?}",
            self.wheel.next_deadline()
        );
    }
}

proptest! {
    #[test]
    fn wheel_does_what_an_ordered_map_does(start in 0..u64::from(u32::MAX), steps in prop::collection::vec(step(), 1..200)) {
        let now = Instant(start);
        let mut model = Model { wheel: TimerWheel::new(now), timers: BTreeMap::new(), now, next_token: 0 };
        for step in &steps {
            model.apply(step);
        }
        // Only by its own deadlines the wheel comes to an end.
        while let Some(next) = model.wheel.next_deadline() {
            model.advance(next.max(model.now));
        }
        assert!(model.timers.is_empty());
    }
}
