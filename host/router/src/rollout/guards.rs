//! Judges a canary by what it has done.

use std::time::Duration;

use patchbay_policy::HookTimes;

use super::rule::Guards;

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
        Some(duration) if elapsed >= duration => Judgement::Promote,
        _ => Judgement::GoesOn,
    }
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
    let limit = guards.max_hook_time?;
    let slow = record.times.quantile(0.99)?;
    (slow > limit).then(|| format!("99 % of its hooks take up to {slow:?}, {limit:?} are allowed"))
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
    fn a_canary_is_promoted_after_its_time_and_its_calls() {
        let guards = Guards {
            duration: Some(Duration::from_secs(60)),
            ..Guards::default()
        };
        let at = |requests, secs| judge(&guards, &record(requests, 0), Duration::from_secs(secs));
        assert_eq!(at(100, 59), Judgement::GoesOn);
        assert_eq!(at(100, 60), Judgement::Promote);
        assert_eq!(at(5, 600), Judgement::GoesOn);
        let open = Guards::default();
        assert_eq!(
            judge(&open, &record(100, 0), Duration::from_secs(1 << 30)),
            Judgement::GoesOn
        );
    }
}
