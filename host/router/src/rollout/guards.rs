//! Judges a canary by what it has done.

use std::time::Duration;

use patchbay_policy::HookTimes;

use super::rule::Guards;
use crate::config::duration_text;

/// So many final responses are compared at least.
const MIN_RESPONSES: u64 = 20;
/// What is further apart than so many standard errors is so by chance once in some hundred times.
const STANDARD_ERRORS: f64 = 3.0;

/// What a canary has done since it began.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// New requests outside of dialogs.
    pub requests: u64,
    /// Hook runs, without those that the router had no room for.
    pub hook_runs: u64,
    /// Hook runs that ended in a fault.
    pub faults: u64,
    /// How long hooks took.
    pub times: HookTimes,
    /// Final responses by class, from 1xx.
    pub finals: [u64; 6],
    /// The same of what is active beside it.
    pub stable_finals: [u64; 6],
}

/// What becomes of a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It goes on.
    GoesOn,
    /// It ends, and why.
    Abort(String),
    /// It has done well for its time.
    Promote,
    /// Its time is over, and it has answered nothing where others do: it goes on.
    Silent,
}

/// Judges a canary after this time.
pub fn judge(guards: &Guards, record: &Record, elapsed: Duration) -> Judgement {
    if record.requests < guards.min_calls {
        return Judgement::GoesOn;
    }
    if let Some(reason) = broken(guards, record) {
        return Judgement::Abort(reason);
    }
    match guards.duration {
        Some(duration) if elapsed < duration => Judgement::GoesOn,
        None => Judgement::GoesOn,
        Some(_) if only_others_answer(record) => Judgement::Silent,
        Some(_) => Judgement::Promote,
    }
}

/// Whether the canary answers nothing where others do: it has failed nobody yet, and done well for nobody.
fn only_others_answer(record: &Record) -> bool {
    let sum = |finals: &[u64; 6]| finals.iter().sum::<u64>();
    record.requests > 0 && sum(&record.finals) == 0 && sum(&record.stable_finals) > 0
}

/// The first guard that does not hold.
fn broken(guards: &Guards, record: &Record) -> Option<String> {
    let finals: u64 = record.finals.iter().sum();
    let class = |class: usize| record.finals.get(class).copied().unwrap_or(0);
    let shares = [
        (
            "of its hooks failed",
            Some(guards.max_fault_rate),
            record.faults,
            record.hook_runs,
        ),
        (
            "of its final responses are 5xx",
            guards.max_5xx_rate,
            class(4),
            finals,
        ),
        (
            "of its final responses are 6xx",
            guards.max_6xx_rate,
            class(5),
            finals,
        ),
    ];
    for (what, limit, part, whole) in shares {
        if let Some(limit) = limit
            && whole > 0
            && part as f64 * 100.0 > limit * whole as f64
        {
            return Some(format!(
                "{part} of {whole} ({:.1} %) {what}, {limit} % are allowed",
                part as f64 * 100.0 / whole as f64
            ));
        }
    }
    slow_hooks(guards, record).or_else(|| more_failures(guards.max_failure_excess?, record))
}

fn slow_hooks(guards: &Guards, record: &Record) -> Option<String> {
    let limit = guards.max_hook_time?;
    let slow = record.times.quantile(0.99)?;
    (slow > limit).then(|| {
        format!(
            "99 % of its hooks take up to {:.1}ms, {} are allowed",
            slow.as_secs_f64() * 1000.0,
            duration_text(limit)
        )
    })
}

/// Failures among final responses: 5xx and 6xx.
#[derive(Clone, Copy)]
struct Failures {
    failures: u64,
    finals: u64,
}

impl Failures {
    fn of(finals: &[u64; 6]) -> Failures {
        let [.., server, global] = finals;
        Failures {
            failures: server + global,
            finals: finals.iter().sum(),
        }
    }

    /// From 0 to 1; 0 where nothing is known.
    fn share(self) -> f64 {
        self.failures as f64 / self.finals.max(1) as f64
    }

    /// The standard error of the difference between two shares, were both samples of the same.
    fn error_beside(self, other: Failures) -> f64 {
        let both = Failures {
            failures: self.failures + other.failures,
            finals: self.finals + other.finals,
        };
        let counts = [self.finals, other.finals]
            .into_iter()
            .filter(|count| *count > 0);
        let inverse: f64 = counts.map(|count| 1.0 / count as f64).sum();
        (both.share() * (1.0 - both.share()) * inverse).sqrt()
    }
}

/// Why the canary is worse than what runs beside it: by more than so many points, and by more than chance explains. Where nothing runs
/// beside it, it has to be good by itself.
fn more_failures(points: f64, record: &Record) -> Option<String> {
    let (own, others) = (
        Failures::of(&record.finals),
        Failures::of(&record.stable_finals),
    );
    let excess = own.share() - others.share();
    let is_told = own.finals >= MIN_RESPONSES
        && excess * 100.0 > points
        && excess > STANDARD_ERRORS * own.error_beside(others);
    is_told.then(|| {
        format!(
            "{} of {} ({:.1} %) of its final responses are 5xx or 6xx, and {:.1} % of the others': {points} points more are allowed",
            own.failures,
            own.finals,
            own.share() * 100.0,
            others.share() * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(requests: u64, faults: u64) -> Record {
        Record {
            requests,
            hook_runs: requests,
            faults,
            ..Record::default()
        }
    }

    fn is_aborted(guards: &Guards, record: &Record) -> bool {
        matches!(judge(guards, record, Duration::ZERO), Judgement::Abort(_))
    }

    #[test]
    fn faults_end_a_canary_once_it_has_had_its_calls() {
        let guards = Guards::default();
        assert!(!is_aborted(&guards, &record(19, 19)));
        assert!(is_aborted(&guards, &record(20, 1)));
        assert!(!is_aborted(&guards, &record(20, 0)));
        assert!(!is_aborted(&guards, &record(100, 1)), "1 % is allowed");
        assert!(is_aborted(&guards, &record(100, 2)));
    }

    #[test]
    fn responses_end_a_canary_where_there_is_a_limit() {
        let mut record = record(100, 0);
        record.finals = [0, 90, 0, 0, 8, 2];
        record.stable_finals = record.finals;
        assert!(!is_aborted(&Guards::default(), &record));
        for (class_5, class_6, aborted) in [
            (Some(8.0), None, false),
            (Some(7.9), None, true),
            (None, Some(2.0), false),
            (None, Some(1.0), true),
        ] {
            let guards = Guards {
                max_5xx_rate: class_5,
                max_6xx_rate: class_6,
                ..Guards::default()
            };
            assert_eq!(is_aborted(&guards, &record), aborted, "{guards:?}");
        }
    }

    #[test]
    fn more_failures_than_beside_it_end_a_canary() {
        let aborted = |points, own, others| {
            let guards = Guards {
                max_failure_excess: Some(points),
                ..Guards::default()
            };
            let record = Record {
                finals: own,
                stable_finals: others,
                ..record(100, 0)
            };
            is_aborted(&guards, &record)
        };
        let good = [0, 900, 0, 80, 10, 10];
        let unavailable = [0, 0, 0, 0, 20, 0];
        let declined = [0, 0, 0, 0, 0, 20];
        let default = 20.0;
        for finals in [unavailable, declined] {
            assert!(aborted(default, finals, good));
            assert!(aborted(default, finals, [0; 6]), "nothing runs beside it");
            assert!(!aborted(100.0, finals, good), "that is off");
            assert!(
                !aborted(default, finals, finals),
                "the others are no better"
            );
        }
        assert!(!aborted(default, [0, 0, 0, 0, 19, 0], good), "too few");
        assert!(!aborted(default, [0, 84, 0, 0, 16, 0], good), "14 points");
        assert!(aborted(default, [0, 70, 0, 0, 30, 0], good), "28 points");
        assert!(
            !aborted(5.0, [0, 17, 0, 0, 3, 0], [0, 9, 0, 0, 1, 0]),
            "chance"
        );
        assert!(
            !aborted(default, [0, 0, 0, 100, 0, 0], good),
            "4xx are the callers'"
        );
    }

    #[test]
    fn a_canary_is_promoted_after_its_time_and_its_calls() {
        let guards = Guards {
            duration: Some(Duration::from_secs(60)),
            ..Guards::default()
        };
        let at = |requests, secs| judge(&guards, &record(requests, 0), Duration::from_secs(secs));
        assert_eq!(at(100, 59), Judgement::GoesOn);
        assert_eq!(at(100, 60), Judgement::Promote);
        assert_eq!(at(5, 600), Judgement::GoesOn);
        let silent = Record {
            stable_finals: [0, 100, 0, 0, 0, 0],
            ..record(100, 0)
        };
        let an_hour = Duration::from_secs(3600);
        assert_eq!(judge(&guards, &silent, an_hour), Judgement::Silent);
        let a_moment = Duration::from_secs(1);
        assert_eq!(judge(&guards, &silent, a_moment), Judgement::GoesOn);
        assert_eq!(
            judge(&Guards::default(), &silent, an_hour),
            Judgement::GoesOn
        );
        let answering = Record {
            finals: [0, 1, 0, 0, 0, 0],
            ..silent
        };
        assert_eq!(judge(&guards, &answering, an_hour), Judgement::Promote);
        let open = Guards::default();
        assert_eq!(
            judge(&open, &record(100, 0), Duration::from_secs(1 << 30)),
            Judgement::GoesOn
        );
    }
}
