//! The thread that writes: many changes in one commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use patchbay_core::door::Reject;
use patchbay_message::AddressOfRecord;

use super::batch::Batch;
use super::change::Changed;
use super::namespace::Namespace;
use super::queue::Queue;
use super::record;
use super::service::{Answer, Done, Recipient, Reports};
use super::store::{LocationStore, StoreError};

/// Changes in one commit.
const MAX_BATCH: usize = 1000;
/// Under load a commit begins this long after the one before, so that the thread is not woken for each registration; the
/// first change after a pause is written at once.
const BATCH_INTERVAL: Duration = Duration::from_millis(4);
/// With so many changes waiting a commit begins sooner: then the thread is woken for little more than nothing each.
const MAX_WAITING: usize = 32;

/// One applied registration on its way to the store.
pub(super) struct Job {
    /// Where.
    pub namespace: Arc<Namespace>,
    /// Whose bindings changed.
    pub aor: AddressOfRecord,
    /// What they were and are.
    pub changed: Changed,
    /// A failed commit takes it back.
    pub revert: bool,
    /// Whom to tell when it is durable.
    pub done: Option<Done>,
}

/// The handle of the thread. Dropping it writes what is queued and waits.
pub(super) struct Committer {
    jobs: Queue<Job>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread.
    pub(super) fn start(
        store: Box<dyn LocationStore>,
        queue: usize,
        reports: Arc<Reports>,
    ) -> Result<Committer, StoreError> {
        let jobs = Queue::new(queue);
        let mut writer = Writer {
            store,
            reports,
            queued: jobs.clone(),
            taken: 0,
            void_until: HashMap::new(),
            batch: Batch::default(),
            answers: Answers::default(),
        };
        let thread = std::thread::Builder::new()
            .name("location-store".to_owned())
            .spawn(move || writer.run())?;
        Ok(Committer {
            jobs,
            thread: Some(thread),
        })
    }

    /// Where changes are handed in.
    pub(super) fn jobs(&self) -> Queue<Job> {
        self.jobs.clone()
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.jobs.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the location store panicked");
        }
    }
}

/// The thread's side.
struct Writer {
    store: Box<dyn LocationStore>,
    reports: Arc<Reports>,
    queued: Queue<Job>,
    /// How many changes were ever taken out of the queue; the first one has the number 1.
    taken: u64,
    /// Changes of these addresses-of-record up to this number were made on top of one that was taken back.
    void_until: VoidUntil,
    /// Kept for its memory.
    batch: Batch,
    answers: Answers,
}

impl Writer {
    fn run(&mut self) {
        let mut taken = Vec::new();
        let mut jobs = Vec::new();
        let mut earliest = Instant::now();
        let mut last = 0;
        while self.wait(earliest, last) {
            self.queued.take(&mut taken);
            earliest = Instant::now() + BATCH_INTERVAL;
            last = taken.len();
            let mut rest = taken.drain(..);
            loop {
                jobs.extend((self.taken + 1..).zip(rest.by_ref().take(MAX_BATCH)));
                if jobs.is_empty() {
                    break;
                }
                self.taken += jobs.len() as u64;
                self.commit(&mut jobs);
            }
        }
    }

    /// Waits until it is time for a commit; `last`: how much the one before had. `false` when there is nothing more to come.
    fn wait(&self, earliest: Instant, last: usize) -> bool {
        let pause = || {
            let pause = earliest.saturating_duration_since(Instant::now());
            self.queued.pause(pause, MAX_WAITING);
        };
        // Under load there will be more: to be woken once is enough.
        if last > 1 {
            pause();
        }
        let is_there = self.queued.wait();
        pause();
        is_there
    }

    fn commit(&mut self, jobs: &mut Vec<(u64, Job)>) {
        self.refuse_void(jobs);
        self.batch.clear();
        for (_, job) in jobs.iter() {
            self.batch.push(
                &[job.namespace.prefix(), job.aor.as_str().as_bytes()],
                |value| record::write(value, &job.changed.after),
            );
        }
        match self.store.commit(&self.batch) {
            Ok(()) => {
                self.reports.commits.fetch_add(1, Ordering::Relaxed);
                self.reports
                    .records
                    .fetch_add(self.batch.len() as u64, Ordering::Relaxed);
                jobs.drain(..).for_each(|(_, job)| self.confirm(job));
            }
            Err(error) => {
                tracing::error!(%error, registrations = jobs.len(), "the location store refused a commit");
                self.reports.failed_commits.fetch_add(1, Ordering::Relaxed);
                self.take_back(jobs);
            }
        }
        self.answers.tell();
    }

    /// What was made on top of a change that was taken back fails like it.
    fn refuse_void(&mut self, jobs: &mut Vec<(u64, Job)>) {
        if self.void_until.is_empty() {
            return;
        }
        let first = jobs.first().map_or(0, |(number, _)| *number);
        self.void_until.retain(|_, until| *until >= first);
        for (_, job) in jobs.extract_if(.., |(number, job)| is_void(&self.void_until, job, *number))
        {
            self.answers.refuse(job.done);
        }
    }

    fn confirm(&mut self, job: Job) {
        self.reports
            .changed(&job.namespace, &job.aor, job.changed.changes);
        self.answers.add(job.done, || Ok(job.changed.after));
    }

    /// RFC 3261 §10.3 step 7: a commit that failed leaves the bindings as they were before.
    fn take_back(&mut self, jobs: &mut Vec<(u64, Job)>) {
        for (number, job) in jobs.drain(..) {
            if !job.revert {
                // Answered already: it holds in memory, and the next change of this address-of-record writes it.
                self.confirm(job);
                continue;
            }
            if !is_void(&self.void_until, &job, number)
                && let Some(mut locked) = job.namespace.index.lock(&job.aor)
            {
                locked.replace(job.changed.before());
                // Nobody makes a change of this address-of-record while it is locked.
                let key = (Arc::clone(job.namespace.name()), job.aor.clone());
                self.void_until.insert(key, self.queued.pushed());
            }
            self.answers.refuse(job.done);
        }
    }
}

/// By namespace and address-of-record.
type VoidUntil = HashMap<(Arc<str>, AddressOfRecord), u64>;

fn is_void(void_until: &VoidUntil, job: &Job, number: u64) -> bool {
    if void_until.is_empty() {
        return false;
    }
    let key = (Arc::clone(job.namespace.name()), job.aor.clone());
    void_until.get(&key).is_some_and(|until| number <= *until)
}

/// Answers on their way to those who wait for them.
#[derive(Default)]
struct Answers(Vec<Letter>);

/// What one of them is told at once.
struct Letter {
    recipient: Arc<dyn Recipient>,
    answers: Vec<(u64, Answer)>,
}

impl Answers {
    fn refuse(&mut self, done: Option<Done>) {
        self.add(done, || Err(Reject::new(500, "Registration Not Stored")));
    }

    fn add(&mut self, done: Option<Done>, answer: impl FnOnce() -> Answer) {
        match done {
            None => {}
            Some(Done::Call(done)) => done(answer()),
            Some(Done::Tell { recipient, id }) => {
                let mut letters = self.0.iter_mut();
                match letters.find(|letter| Arc::ptr_eq(&letter.recipient, &recipient)) {
                    Some(letter) => letter.answers.push((id, answer())),
                    None => self.0.push(Letter {
                        recipient,
                        answers: vec![(id, answer())],
                    }),
                }
            }
        }
    }

    /// Whoever had an answer once is remembered: there are no more of them than workers.
    fn tell(&mut self) {
        for Letter { recipient, answers } in &mut self.0 {
            if !answers.is_empty() {
                recipient.tell(answers);
            }
        }
    }
}
