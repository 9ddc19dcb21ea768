//! Where the owner of an instance and the future that runs it hand things over.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use crate::host::Hook;
use crate::state::Seat;
use crate::verdict::{Event, Fault, Verdict};

/// One hook to run.
pub(crate) struct Job {
    pub(crate) hook: Hook,
    pub(crate) event: Option<Event>,
    pub(crate) started: Instant,
}

/// What came of it.
pub(crate) struct Outcome<H> {
    pub(crate) seat: Option<Seat<H>>,
    pub(crate) result: Result<Verdict, Fault>,
}

/// Both sides are on one thread, and neither holds a lock while the other runs; the locks are there because a guest's store may
/// be sent to another thread.
pub(crate) struct Exchange<H> {
    job: Mutex<Option<(Job, Seat<H>)>>,
    outcome: Mutex<Option<Outcome<H>>>,
}

impl<H> Exchange<H> {
    pub(crate) fn new() -> Exchange<H> {
        Exchange {
            job: Mutex::new(None),
            outcome: Mutex::new(None),
        }
    }

    pub(crate) fn assign(&self, job: Job, seat: Seat<H>) {
        *lock(&self.job) = Some((job, seat));
    }

    pub(crate) fn take_job(&self) -> Option<(Job, Seat<H>)> {
        lock(&self.job).take()
    }

    pub(crate) fn finish(&self, seat: Option<Seat<H>>, result: Result<Verdict, Fault>) {
        *lock(&self.outcome) = Some(Outcome { seat, result });
    }

    pub(crate) fn take_outcome(&self) -> Option<Outcome<H>> {
        lock(&self.outcome).take()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// The instance that is being polled has got a job which nobody has taken yet.
    static JOB_IS_THERE: Cell<bool> = const { Cell::new(false) };
}

/// Polls an instance; `fresh` says that it has got a job since the last time.
pub(crate) fn poll<F: Future<Output = ()> + ?Sized>(
    instance: Pin<&mut F>,
    fresh: bool,
    context: &mut Context<'_>,
) -> Poll<()> {
    JOB_IS_THERE.set(fresh);
    let progress = instance.poll(context);
    JOB_IS_THERE.set(false);
    progress
}

/// Waits for the next job. It has no size, so that a box of it is no allocation: that is why the owner says through the thread that a
/// job is there.
pub(crate) struct NextJob;

impl Future for NextJob {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        if JOB_IS_THERE.replace(false) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_wait_ends_with_the_next_job_and_no_sooner() {
        let mut context = Context::from_waker(Waker::noop());
        let mut waits = std::pin::pin!(async {
            NextJob.await;
            NextJob.await;
        });
        assert!(poll(waits.as_mut(), false, &mut context).is_pending());
        assert!(poll(waits.as_mut(), true, &mut context).is_pending());
        assert!(poll(waits.as_mut(), false, &mut context).is_pending());
        assert!(poll(waits.as_mut(), true, &mut context).is_ready());
    }

    #[test]
    fn waiting_takes_no_memory() {
        assert_eq!(size_of::<NextJob>(), 0);
    }
}
