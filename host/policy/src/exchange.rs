//! Where the owner of an instance and the future that runs it hand things over: a desk with a side for each of them.
//!
//! Both are on one thread, and the future runs only while its owner polls it, so that they are never at the desk at the same time. A store whose
//! hooks are called straight is in no future: its owner has it beside its own side of the desk, and calls it. It needs no lock then, and a host is put there and taken from there, and moved nowhere between.
#![allow(
    unsafe_code,
    reason = "a store of wasmtime may be sent to another thread, and what its owner shares with it would need a lock"
)]

use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
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

/// When an instance was entered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) at: Instant,
    /// The processor time of the thread, when the run had begun before.
    pub(crate) processor: Option<Duration>,
}

/// What lies on a desk.
struct Papers<H> {
    /// The host of the run, from its assignment until the owner takes it back.
    host: Option<H>,
    /// Assigned, and not begun.
    job: Option<Job>,
    /// What came of it.
    outcome: Option<Result<Verdict, Fault>>,
    entry: Entry,
    /// Whether the future has yielded since it was polled: it can go on at any time.
    has_yielded: bool,
}

type Desk<H> = Arc<UnsafeCell<Papers<H>>>;

/// The owner's side.
pub(crate) struct Front<H> {
    desk: Desk<H>,
    /// It stays where it is made, as the owner's future does.
    _thread: PhantomData<*const ()>,
}

/// The future's side: it is in the store, and used nowhere else.
pub(crate) struct Back<H>(Desk<H>);

// SAFETY: wasmtime wants what is in a store to be `Send`, and the store that has this side is in a future that is polled by the owner of the
// other side alone, or is called by that owner, which is not `Send`.
unsafe impl<H: Send> Send for Back<H> {}

thread_local! {
    /// Whether the instance that is being polled has a job that it has not taken.
    static JOB_IS_THERE: Cell<bool> = const { Cell::new(false) };
}

/// A desk for a future that runs an instance.
pub(crate) fn desk<H>() -> (Front<H>, Back<H>) {
    let desk = Arc::new(UnsafeCell::new(Papers {
        host: None,
        job: None,
        outcome: None,
        entry: Entry {
            at: Instant::now(),
            processor: None,
        },
        has_yielded: false,
    }));
    let back = Back(Arc::clone(&desk));
    let front = Front {
        desk,
        _thread: PhantomData,
    };
    (front, back)
}

impl<H> Front<H> {
    /// What lies there, while the future does not run.
    #[inline]
    fn papers(&mut self) -> &mut Papers<H> {
        // SAFETY: the future runs only inside of `poll`, which has this side exclusively and holds nothing of the desk meanwhile, and so does who
        // calls a hook straight. What the other side borrows it borrows for a call of the host, which is over when it waits or the hook returns.
        unsafe { &mut *self.desk.get() }
    }

    /// Puts a host there, for a run without a job.
    #[inline]
    pub(crate) fn seat(&mut self, host: H) {
        self.papers().host = Some(host);
    }

    /// The same for a run that begins at this time.
    #[inline]
    pub(crate) fn seat_at(&mut self, host: H, now: Instant) {
        let papers = self.papers();
        papers.host = Some(host);
        papers.entry = Entry {
            at: now,
            processor: None,
        };
    }

    /// Puts a job there, and the host to run it with.
    #[inline]
    pub(crate) fn assign(&mut self, job: Job, host: H) {
        let papers = self.papers();
        papers.job = Some(job);
        papers.host = Some(host);
    }

    /// Whether a job lies there.
    #[inline]
    pub(crate) fn has_job(&mut self) -> bool {
        self.papers().job.is_some()
    }

    /// The host, back from the run.
    #[inline]
    pub(crate) fn take_host(&mut self) -> Option<H> {
        self.papers().host.take()
    }

    /// Says when the guest is entered, by somebody else than [`poll`](Front::poll).
    pub(crate) fn enter(&mut self, now: Instant) {
        self.papers().entry = Entry {
            at: now,
            processor: None,
        };
    }

    /// Takes the job, to carry it out at this time without the future.
    #[inline]
    pub(crate) fn begin(&mut self, now: Instant) -> Option<Job> {
        let papers = self.papers();
        papers.entry = Entry {
            at: now,
            processor: None,
        };
        papers.job.take()
    }

    /// Polls the instance at this time. What came of its job is there when it is over.
    #[inline]
    pub(crate) fn poll<F: Future + ?Sized>(
        &mut self,
        instance: Pin<&mut F>,
        now: Instant,
        context: &mut Context<'_>,
    ) -> (Poll<F::Output>, Option<Result<Verdict, Fault>>) {
        let papers = self.papers();
        let has_job = papers.job.is_some();
        papers.entry = Entry {
            at: now,
            processor: (!has_job).then(thread_processor_time),
        };
        papers.has_yielded = false;
        // A poll that panicked may have left what it came to, which is not for this one.
        papers.outcome = None;
        JOB_IS_THERE.set(has_job);
        let progress = instance.poll(context);
        JOB_IS_THERE.set(false);
        let papers = self.papers();
        // A job that nobody took is gone.
        papers.job = None;
        (progress, papers.outcome.take())
    }

    /// Whether the instance has yielded when it was polled last. One that has not and is not done waits for an answer from outside.
    #[inline]
    pub(crate) fn has_yielded(&mut self) -> bool {
        self.papers().has_yielded
    }
}

impl<H> Back<H> {
    #[inline]
    fn papers(&self) -> &Papers<H> {
        // SAFETY: the future or a hook runs, so that the owner waits for it and holds nothing; what borrows from this side mutably borrows it mutably.
        unsafe { &*self.0.get() }
    }

    #[inline]
    fn papers_mut(&mut self) -> &mut Papers<H> {
        // SAFETY: the future or a hook runs, so that the owner waits for it and holds nothing; this side is borrowed exclusively.
        unsafe { &mut *self.0.get() }
    }

    /// The host of the run.
    #[inline]
    pub(crate) fn host(&self) -> Option<&H> {
        self.papers().host.as_ref()
    }

    /// The host of the run, to act.
    #[inline]
    pub(crate) fn host_mut(&mut self) -> Option<&mut H> {
        self.papers_mut().host.as_mut()
    }

    /// Takes the job of the instance that is being polled.
    #[inline]
    pub(crate) fn take_job(&mut self) -> Option<Job> {
        JOB_IS_THERE.set(false);
        self.papers_mut().job.take()
    }

    /// Leaves what came of it.
    #[inline]
    pub(crate) fn finish(&mut self, result: Result<Verdict, Fault>) {
        self.papers_mut().outcome = Some(result);
    }

    /// The entry into the instance that is being polled.
    pub(crate) fn entry(&self) -> Entry {
        self.papers().entry
    }

    /// It goes on now with a run that had begun before.
    pub(crate) fn enter_again(&mut self, now: Instant) {
        self.papers_mut().entry = Entry {
            at: now,
            processor: Some(thread_processor_time()),
        };
    }

    /// It yields.
    pub(crate) fn yields(&mut self) {
        self.papers_mut().has_yielded = true;
    }
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

    fn job() -> Job {
        Job {
            hook: Hook::BranchRoute,
            event: None,
            started: Instant::now(),
        }
    }

    async fn one(back: &mut Back<u8>) {
        NextJob.await;
        assert!(back.take_job().is_some());
        if let Some(host) = back.host_mut() {
            *host += 1;
        }
        back.finish(Ok(Verdict::Pass));
    }

    #[test]
    fn a_wait_ends_with_the_next_job_and_no_sooner() {
        let mut context = Context::from_waker(Waker::noop());
        let (mut front, mut back) = desk();
        let mut waits = std::pin::pin!(async move {
            one(&mut back).await;
            one(&mut back).await;
        });
        let now = Instant::now();
        let mut poll = |job: Option<Job>| {
            let is_new = job.is_some();
            if let Some(job) = job {
                front.assign(job, 7);
            }
            let (progress, outcome) = front.poll(waits.as_mut(), now, &mut context);
            (
                progress,
                outcome,
                if is_new { front.take_host() } else { None },
            )
        };
        let done = Some(Ok(Verdict::Pass));
        assert_eq!(poll(None), (Poll::Pending, None, None));
        assert_eq!(poll(Some(job())), (Poll::Pending, done.clone(), Some(8)));
        assert_eq!(poll(None), (Poll::Pending, None, None));
        assert_eq!(poll(Some(job())), (Poll::Ready(()), done, Some(8)));
    }

    #[test]
    fn a_job_that_nobody_takes_is_gone_and_its_host_is_not() {
        let mut context = Context::from_waker(Waker::noop());
        let (mut front, mut back) = desk::<u8>();
        front.assign(job(), 7);
        let nobody = std::pin::pin!(std::future::pending::<()>());
        let (progress, outcome) = front.poll(nobody, Instant::now(), &mut context);
        assert!(progress.is_pending() && outcome.is_none());
        assert!(back.take_job().is_none());
        assert_eq!(front.take_host(), Some(7));
    }

    #[test]
    fn waiting_takes_no_memory() {
        assert_eq!(size_of::<NextJob>(), 0);
    }
}
