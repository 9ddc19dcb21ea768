//! The thread that writes: many changes in one commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use patchbay_core::door::Reject;
use patchbay_core::registrar::{Bindings, Changes};
use patchbay_message::AddressOfRecord;

use super::batch::Batch;
use super::index::Index;
use super::queue::Queue;
use super::record;
use super::service::{Done, Reports};
use super::store::{LocationStore, StoreError};

/// Changes in one commit.
const MAX_BATCH: usize = 1000;
/// Under load a commit begins this long after the one before, so that the thread is not woken for each registration; the
/// first change after a pause is written at once.
const BATCH_INTERVAL: Duration = Duration::from_millis(4);
/// Numbers are given out under the locks of shards, so changes of different shards may arrive a little out of order; no
/// further than the queue is long.
const NUMBER_SLACK: u64 = 1_000_000;

/// One applied registration on its way to the store.
pub(super) struct Job {
    /// In the order of the changes of one address-of-record.
    pub number: u64,
    /// Whose bindings changed.
    pub aor: AddressOfRecord,
    /// What they were.
    pub before: Bindings,
    /// What they are now.
    pub after: Bindings,
    /// What changed.
    pub changes: Changes,
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
        prefix: Vec<u8>,
        queue: usize,
        index: Arc<Index>,
        reports: Arc<Reports>,
        next_number: Arc<AtomicU64>,
    ) -> Result<Committer, StoreError> {
        let jobs = Queue::new(queue);
        let mut writer = Writer {
            store,
            prefix,
            index,
            reports,
            next_number,
            void_until: HashMap::new(),
            batch: Batch::default(),
        };
        let queued = jobs.clone();
        let thread = std::thread::Builder::new()
            .name("location-store".to_owned())
            .spawn(move || writer.run(&queued))?;
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
    prefix: Vec<u8>,
    index: Arc<Index>,
    reports: Arc<Reports>,
    next_number: Arc<AtomicU64>,
    /// Changes of these addresses-of-record with a lower number were made on top of one that was taken back.
    void_until: HashMap<AddressOfRecord, u64>,
    /// Kept for its memory.
    batch: Batch,
}

impl Writer {
    fn run(&mut self, queued: &Queue<Job>) {
        let mut taken = Vec::new();
        let mut jobs = Vec::new();
        let mut earliest = Instant::now();
        while queued.wait() {
            queued.pause(earliest.saturating_duration_since(Instant::now()));
            queued.take(&mut taken);
            earliest = Instant::now() + BATCH_INTERVAL;
            let mut rest = taken.drain(..);
            loop {
                jobs.extend(rest.by_ref().take(MAX_BATCH));
                if jobs.is_empty() {
                    break;
                }
                self.commit(&mut jobs);
            }
        }
    }

    fn commit(&mut self, jobs: &mut Vec<Job>) {
        self.refuse_void(jobs);
        self.batch.clear();
        for job in jobs.iter() {
            self.batch
                .push(&[&self.prefix, job.aor.as_str().as_bytes()], |value| {
                    record::write(value, &job.after)
                });
        }
        match self.store.commit(&self.batch) {
            Ok(()) => {
                self.reports.commits.fetch_add(1, Ordering::Relaxed);
                self.reports
                    .records
                    .fetch_add(self.batch.len() as u64, Ordering::Relaxed);
                jobs.drain(..).for_each(|job| self.confirm(job));
            }
            Err(error) => {
                tracing::error!(%error, registrations = jobs.len(), "the location store refused a commit");
                self.reports.failed_commits.fetch_add(1, Ordering::Relaxed);
                self.take_back(jobs);
            }
        }
    }

    /// What was made on top of a change that was taken back fails like it.
    fn refuse_void(&mut self, batch: &mut Vec<Job>) {
        if self.void_until.is_empty() {
            return;
        }
        let newest = batch.iter().map(|job| job.number).max().unwrap_or_default();
        for job in batch.extract_if(.., |job| {
            self.void_until
                .get(&job.aor)
                .is_some_and(|until| job.number < *until)
        }) {
            refuse(job);
        }
        self.void_until
            .retain(|_, until| until.saturating_add(NUMBER_SLACK) > newest);
    }

    fn confirm(&self, job: Job) {
        if let Some(done) = job.done {
            done(Ok(job.after));
        }
        self.reports.changed(&job.aor, job.changes);
    }

    /// RFC 3261 §10.3 step 7: a commit that failed leaves the bindings as they were before.
    fn take_back(&mut self, batch: &mut Vec<Job>) {
        for job in batch.drain(..) {
            if !job.revert {
                // Answered already: it holds in memory, and the next change of this address-of-record writes it.
                self.confirm(job);
                continue;
            }
            if self
                .void_until
                .get(&job.aor)
                .is_none_or(|until| job.number >= *until)
                && let Some(mut locked) = self.index.lock(&job.aor)
            {
                locked.replace(job.before.clone());
                // Nobody makes a change of this address-of-record while it is locked.
                self.void_until
                    .insert(job.aor.clone(), self.next_number.load(Ordering::Relaxed));
            }
            refuse(job);
        }
    }
}

fn refuse(job: Job) {
    if let Some(done) = job.done {
        done(Err(Reject::new(500, "Registration Not Stored")));
    }
}
