//! Where the owner of an instance and the future that runs it hand things over.
//!
//! Both are on one thread, and the future runs only while its owner polls it. So what they hand over lies in that thread and needs no
//! lock: a store of wasmtime may be sent to another thread, and what it shared with its owner would have to be safe there.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::host::Hook;
use crate::state::thread_processor_time;
use crate::verdict::{Event, Fault, Verdict};

/// One hook to run.
pub(crate) struct Job {
    pub(crate) hook: Hook,
    pub(crate) event: Option<Box<Event>>,
    pub(crate) started: Instant,
}

/// Where the host of a run sits: the instance keeps the box, so that a host is moved into it and out of it and nowhere between.
pub(crate) struct Seat<H>(Box<Option<H>>);

/// A seat, whatever the type of its host: a variable of a thread can't depend on it.
type AnySeat = Box<dyn Any + Send>;

/// When an instance was entered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) at: Instant,
    /// The processor time of the thread, when the run had begun before.
    pub(crate) processor: Option<Duration>,
}

/// What came of a job.
pub(crate) struct Outcome<S> {
    pub(crate) seat: Option<S>,
    pub(crate) result: Result<Verdict, Fault>,
}

thread_local! {
    /// For the instance that is being polled, until it takes it.
    static JOB: Cell<Option<(Job, AnySeat)>> = const { Cell::new(None) };
    /// Whether there is one, which is asked without taking it.
    static JOB_IS_THERE: Cell<bool> = const { Cell::new(false) };
    /// From the instance that is being polled.
    static OUTCOME: Cell<Option<Outcome<AnySeat>>> = const { Cell::new(None) };
    /// Whether the instance that is being polled has yielded: it can go on at any time.
    static YIELDED: Cell<bool> = const { Cell::new(false) };
    /// The entry into the instance that is being polled.
    static ENTRY: Cell<Option<Entry>> = const { Cell::new(None) };
}

impl<H: Send + 'static> Seat<H> {
    pub(crate) fn empty() -> Seat<H> {
        Seat(Box::new(None))
    }

    #[inline]
    pub(crate) fn take(&mut self, host: H) {
        *self.0 = Some(host);
    }

    #[inline]
    pub(crate) fn leave(&mut self) -> Option<H> {
        self.0.take()
    }

    #[inline]
    fn of(any: AnySeat) -> Option<Seat<H>> {
        any.downcast().ok().map(Seat)
    }
}

impl<H> Seat<H> {
    #[inline]
    pub(crate) fn host(&self) -> Option<&H> {
        (*self.0).as_ref()
    }

    #[inline]
    pub(crate) fn host_mut(&mut self) -> Option<&mut H> {
        (*self.0).as_mut()
    }
}

/// Polls an instance at this time, with the job that it has got since the last time.
#[inline]
pub(crate) fn poll<H: Send + 'static, F: Future<Output = ()> + ?Sized>(
    instance: Pin<&mut F>,
    job: Option<(Job, Seat<H>)>,
    now: Instant,
    context: &mut Context<'_>,
) -> (Poll<()>, Option<Outcome<Seat<H>>>) {
    ENTRY.set(Some(Entry {
        at: now,
        processor: job.is_none().then(thread_processor_time),
    }));
    YIELDED.set(false);
    // A poll that panicked may have left what it came to, which is not for this one.
    OUTCOME.set(None);
    JOB_IS_THERE.set(job.is_some());
    if let Some((job, seat)) = job {
        JOB.set(Some((job, seat.0)));
    }
    let progress = instance.poll(context);
    if JOB_IS_THERE.replace(false) {
        JOB.set(None);
    }
    let outcome = OUTCOME.take().map(|outcome| Outcome {
        seat: outcome.seat.and_then(Seat::of),
        result: outcome.result,
    });
    (progress, outcome)
}

/// Takes the job of the instance that is being polled.
#[inline]
pub(crate) fn take_job<H: Send + 'static>() -> Option<(Job, Seat<H>)> {
    if !JOB_IS_THERE.replace(false) {
        return None;
    }
    let (job, seat) = JOB.take()?;
    Some((job, Seat::of(seat)?))
}

/// Leaves what came of it.
#[inline]
pub(crate) fn finish<H: Send + 'static>(seat: Option<Seat<H>>, result: Result<Verdict, Fault>) {
    let seat = seat.map(|seat| seat.0 as AnySeat);
    OUTCOME.set(Some(Outcome { seat, result }));
}

/// The entry into the instance that is being polled; at this time outside of [`poll`].
pub(crate) fn entry(now: Instant) -> Entry {
    ENTRY.get().unwrap_or(Entry {
        at: now,
        processor: None,
    })
}

/// The instance that is being polled yields.
pub(crate) fn yields() {
    YIELDED.set(true);
}

/// Whether the instance that was polled last has yielded. One that has not and is not done waits for an answer from outside.
pub(crate) fn has_yielded() -> bool {
    YIELDED.get()
}

/// Says when what runs on this thread was entered, for what is polled by somebody else.
pub(crate) fn enter(now: Instant) {
    ENTRY.set(Some(Entry {
        at: now,
        processor: None,
    }));
}

/// The instance that is being polled goes on now with a run that had begun before.
pub(crate) fn enter_again(now: Instant) {
    ENTRY.set(Some(Entry {
        at: now,
        processor: Some(thread_processor_time()),
    }));
}

/// Waits for the next job. It has no size, so that a box of it is no allocation.
pub(crate) struct NextJob;

impl Future for NextJob {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        if JOB_IS_THERE.get() {
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

    fn job() -> Option<(Job, Seat<u8>)> {
        let mut seat = Seat::empty();
        seat.take(7);
        let job = Job {
            hook: Hook::BranchRoute,
            event: None,
            started: Instant::now(),
        };
        Some((job, seat))
    }

    async fn one() {
        NextJob.await;
        let (_, seat) = take_job::<u8>().unwrap();
        finish(Some(seat), Ok(Verdict::Pass));
    }

    #[test]
    fn a_wait_ends_with_the_next_job_and_no_sooner() {
        let mut context = Context::from_waker(Waker::noop());
        let mut waits = std::pin::pin!(async {
            one().await;
            one().await;
        });
        let now = Instant::now();
        let mut poll = |job| poll(waits.as_mut(), job, now, &mut context);
        assert!(matches!(poll(None), (Poll::Pending, None)));
        let (progress, outcome) = poll(job());
        let outcome = outcome.unwrap();
        assert!(progress.is_pending());
        assert_eq!(outcome.result, Ok(Verdict::Pass));
        assert_eq!(outcome.seat.unwrap().leave(), Some(7));
        assert!(matches!(poll(None), (Poll::Pending, None)));
        assert!(matches!(poll(job()), (Poll::Ready(()), Some(_))));
    }

    #[test]
    fn a_job_that_nobody_takes_is_gone() {
        let mut context = Context::from_waker(Waker::noop());
        let nobody = std::pin::pin!(std::future::pending::<()>());
        let (progress, outcome) = poll(nobody, job(), Instant::now(), &mut context);
        assert!(progress.is_pending() && outcome.is_none());
        assert!(take_job::<u8>().is_none());
    }

    #[test]
    fn waiting_takes_no_memory() {
        assert_eq!(size_of::<NextJob>(), 0);
    }
}
