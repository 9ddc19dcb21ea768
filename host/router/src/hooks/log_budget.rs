//! How many lines policies may write.

use std::sync::atomic::{AtomicU64, Ordering};

/// Lines per second and worker. More are left out, and how many is said in the next second.
const LINES_PER_SECOND: u64 = 200;

/// Counts the lines of one second: the second in the upper half, the lines in the lower.
#[derive(Debug, Default)]
pub(crate) struct LogBudget(AtomicU64);

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// It is written.
    Written,
    /// It is the first of a new second; this many were left out in an earlier one.
    WrittenAfter(u64),
    /// It is left out.
    LeftOut,
}

impl LogBudget {
    /// Takes one line in this second.
    ///
    /// The hooks of one worker run on one thread: nobody else writes between the load and the store.
    pub(crate) fn take(&self, unix_secs: u64) -> Line {
        let second = unix_secs & u64::from(u32::MAX);
        let state = self.0.load(Ordering::Relaxed);
        let (counted, lines) = (state >> 32, state & u64::from(u32::MAX));
        if counted != second {
            self.0.store(second << 32 | 1, Ordering::Relaxed);
            return match lines.saturating_sub(LINES_PER_SECOND) {
                0 => Line::Written,
                left_out => Line::WrittenAfter(left_out),
            };
        }
        if lines < u64::from(u32::MAX) {
            self.0.store(state + 1, Ordering::Relaxed);
        }
        if lines < LINES_PER_SECOND {
            Line::Written
        } else {
            Line::LeftOut
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_lines_and_says_what_it_left_out() {
        let budget = LogBudget::default();
        for _ in 0..LINES_PER_SECOND {
            assert_eq!(budget.take(7), Line::Written);
        }
        assert_eq!(budget.take(7), Line::LeftOut);
        assert_eq!(budget.take(7), Line::LeftOut);
        assert_eq!(budget.take(8), Line::WrittenAfter(2));
        assert_eq!(budget.take(9), Line::Written);
    }
}
