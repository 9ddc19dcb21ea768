//! When a sleeping worker has to wake up by itself.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use futures_util::FutureExt;
use patchbay_core::time::Instant;
use tokio::time::Sleep;

use super::Clock;

/// The alarm of a worker's loop.
pub(super) enum Alarm {
    /// The runtime rings.
    Runtime {
        sleep: Pin<Box<Sleep>>,
        /// What it waits for.
        until: Option<Instant>,
    },
    /// Who waits in the ring looks at the moment himself.
    Ring {
        /// The moment.
        until: Option<Instant>,
    },
}

impl Alarm {
    /// An alarm of the current thread's runtime.
    pub(super) fn of_runtime() -> Alarm {
        Alarm::Runtime {
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            until: None,
        }
    }

    /// An alarm for a worker that waits in its ring.
    pub(super) fn of_ring() -> Alarm {
        Alarm::Ring { until: None }
    }

    /// Whether the deadline is over; else the alarm is set. One that rings at an earlier moment stays: ringing for nothing now and then
    /// costs less than setting it at each turn.
    pub(super) fn is_due(
        &mut self,
        deadline: Option<Instant>,
        now: Instant,
        clock: &Clock,
        context: &mut Context<'_>,
    ) -> bool {
        match self {
            Alarm::Runtime { sleep, until } => {
                let Some(deadline) = deadline else {
                    return false;
                };
                if until.is_none_or(|moment| deadline < moment) {
                    *until = Some(deadline);
                    sleep.as_mut().reset(clock.runtime_instant(deadline));
                }
                let has_rung = sleep.poll_unpin(context).is_ready();
                if has_rung {
                    *until = None;
                }
                has_rung
            }
            Alarm::Ring { until } => {
                *until = deadline;
                deadline.is_some_and(|deadline| deadline <= now)
            }
        }
    }

    /// The moment to wake up at, for who waits in the ring.
    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            Alarm::Runtime { until, .. } | Alarm::Ring { until } => *until,
        }
    }
}
