//! The thread that gives files to the disk, and copies the older half of the log to the store.

use std::collections::HashSet;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use foldhash::fast::RandomState;

use super::super::batch::Batch;
use super::super::store::StoreError;
use super::{LogConfig, Shared, log_error, segment};

/// Records in one commit of the store.
const COPIED_AT_ONCE: usize = 1000;

/// The handle of the thread.
pub(super) struct Folder {
    wake: Option<SyncSender<()>>,
    flags: Arc<Flags>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Flags {
    /// Something was written since the disk got everything.
    written: AtomicBool,
    /// A file was sealed.
    sealed: AtomicBool,
    stop: AtomicBool,
}

impl Folder {
    /// Starts the thread.
    pub(super) fn start(
        folder: PathBuf,
        config: LogConfig,
        shared: Arc<Shared>,
    ) -> Result<Folder, StoreError> {
        // One is enough: the thread looks at the flags.
        let (wake, woken) = sync_channel(1);
        let flags = Arc::new(Flags::default());
        // As large as it was; what is more was not copied before the end of the process.
        let bytes = shared.files().sealed_bytes();
        let limit = bytes.clamp(config.min_bytes, config.max_bytes.max(config.min_bytes));
        let mut work = Work {
            limit,
            folder,
            config,
            shared,
            flags: Arc::clone(&flags),
            hashers: [RandomState::default(), RandomState::default()],
        };
        let thread = std::thread::Builder::new()
            .name("location-log".to_owned())
            .spawn(move || work.run(&woken))?;
        let folder = Folder {
            wake: Some(wake),
            flags,
            thread: Some(thread),
        };
        if bytes > limit {
            folder.sealed();
        }
        Ok(folder)
    }

    /// Whether the thread does not know yet that something was written.
    pub(super) fn wants_to_know(&self) -> bool {
        !self.flags.written.load(Ordering::Relaxed)
    }

    /// Something was written.
    pub(super) fn written(&self) {
        self.flags.written.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// A file was sealed, or the log is full: the thread looks whether something has to be copied.
    pub(super) fn sealed(&self) {
        self.flags.sealed.store(true, Ordering::Relaxed);
        self.written();
    }

    /// Ends the thread; what is under way is left as it is.
    pub(super) fn stop(&mut self) {
        self.flags.stop.store(true, Ordering::Relaxed);
        self.wake = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the log of registrations panicked");
        }
    }

    fn wake(&self) {
        if let Some(wake) = &self.wake {
            // When there is one already, the thread has not looked yet.
            let _ = wake.try_send(());
        }
    }
}

/// The thread's side.
struct Work {
    folder: PathBuf,
    config: LogConfig,
    shared: Arc<Shared>,
    flags: Arc<Flags>,
    /// Sealed files may grow to this before the older half is copied.
    limit: u64,
    hashers: [RandomState; 2],
}

impl Work {
    fn run(&mut self, woken: &Receiver<()>) {
        let mut is_open = true;
        while is_open {
            is_open = woken.recv().is_ok();
            // More is written meanwhile, and goes to the disk in one go.
            is_open &= self.pause(woken);
            self.flags.written.store(false, Ordering::Relaxed);
            self.sync();
            if is_open
                && self.flags.sealed.swap(false, Ordering::Relaxed)
                && let Err(error) = self.fold()
            {
                tracing::error!(%error, "registrations stay in the log: they can't be copied to the store");
            }
        }
    }

    /// `false` when the log is closed.
    fn pause(&self, woken: &Receiver<()>) -> bool {
        let until = Instant::now() + self.config.sync_interval;
        loop {
            match woken.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn sync(&self) {
        let files: Vec<Arc<File>> = std::mem::take(&mut self.shared.files().unsynced);
        for file in &files {
            if let Err(error) = file.sync_data() {
                tracing::error!(%error, "the disk did not take the log of registrations");
            }
        }
    }

    /// Copies and deletes older halves until the log is small enough.
    fn fold(&mut self) -> Result<(), StoreError> {
        loop {
            let sealed = self.shared.files().sealed.clone();
            let total: u64 = sealed.iter().map(|(_, bytes)| bytes).sum();
            if total <= self.limit || !self.fold_half(&sealed, total)? {
                return Ok(());
            }
        }
    }

    /// `false` when the router ends.
    fn fold_half(&mut self, sealed: &[SealedFile], total: u64) -> Result<bool, StoreError> {
        let (older, newer) = halves(sealed, total);
        let survivors = self.survivors(older, newer)?;
        let copied_bytes: u64 = survivors.iter().map(|survivors| survivors.bytes).sum();
        let older_bytes: u64 = older.iter().map(|(_, bytes)| bytes).sum();
        if copied_bytes > older_bytes / 2 && self.limit < self.config.max_bytes {
            // Most of it is still the newest state: the longer it waits, the more of it is out of date.
            self.limit = (self.limit * 2).min(self.config.max_bytes);
            return Ok(true);
        }
        if copied_bytes < older_bytes / 8 {
            self.limit = (self.limit / 2).max(self.config.min_bytes);
        }
        for (survivors, (number, _)) in survivors.iter().zip(older) {
            if !self.copy(*number, survivors)? {
                return Ok(false);
            }
        }
        self.delete(older)?;
        Ok(true)
    }

    /// For each of the older files, which of its changes no later one makes out of date.
    fn survivors(
        &self,
        older: &[SealedFile],
        newer: &[SealedFile],
    ) -> Result<Vec<Survivors>, StoreError> {
        let mut seen = HashSet::with_hasher(RandomState::default());
        for (number, _) in newer {
            let content = self.read(*number)?;
            seen.extend(
                segment::frames(&content)
                    .flatten()
                    .map(|(key, _)| self.hash(key)),
            );
        }
        let mut survivors = Vec::with_capacity(older.len());
        for (number, _) in older.iter().rev() {
            let content = self.read(*number)?;
            let changes: Vec<_> = segment::frames(&content)
                .flatten()
                .map(|(key, value)| {
                    let bytes = key.len() + value.map_or(0, <[u8]>::len);
                    (self.hash(key), bytes as u64)
                })
                .collect();
            let mut found = Survivors {
                is_newest: vec![false; changes.len()],
                bytes: 0,
            };
            for ((hash, bytes), is_newest) in changes.iter().zip(&mut found.is_newest).rev() {
                *is_newest = seen.insert(*hash);
                found.bytes += if *is_newest { *bytes } else { 0 };
            }
            survivors.push(found);
        }
        survivors.reverse();
        Ok(survivors)
    }

    /// Copies what survives of a file to the store; `false` when the router ends.
    fn copy(&self, number: u64, survivors: &Survivors) -> Result<bool, StoreError> {
        let content = self.read(number)?;
        let mut changes: Vec<_> = segment::frames(&content)
            .flatten()
            .zip(&survivors.is_newest)
            .filter_map(|(change, is_newest)| is_newest.then_some(change))
            .collect();
        // An engine takes neighbours for less.
        changes.sort_unstable();
        let mut batch = Batch::default();
        for chunk in changes.chunks(COPIED_AT_ONCE) {
            if self.flags.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            batch.clear();
            chunk
                .iter()
                .for_each(|(key, value)| batch.push_change(key, *value));
            let mut base = self
                .shared
                .base
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            base.commit(&batch)?;
        }
        Ok(true)
    }

    /// The oldest file goes first: what stays behind may be older than what the store has, but never than what stays.
    fn delete(&self, files: &[SealedFile]) -> Result<(), StoreError> {
        for (number, _) in files {
            // Nobody reads the store and then the files meanwhile.
            let _base = self
                .shared
                .base
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let path = segment::path(&self.folder, *number);
            fs::remove_file(&path).map_err(log_error(&path))?;
            self.shared
                .files()
                .sealed
                .retain(|(sealed, _)| sealed != number);
        }
        Ok(())
    }

    fn read(&self, number: u64) -> Result<Vec<u8>, StoreError> {
        let path = segment::path(&self.folder, number);
        fs::read(&path).map_err(log_error(&path))
    }

    /// Two keys with the same 128 bits are taken for one; with seeds that nobody knows that does not happen.
    fn hash(&self, key: &[u8]) -> [u64; 2] {
        let [first, second] = &self.hashers;
        [first.hash_one(key), second.hash_one(key)]
    }
}

/// Which changes of a file are the newest of their key.
struct Survivors {
    is_newest: Vec<bool>,
    bytes: u64,
}

/// The number of a file of the log and its bytes.
type SealedFile = (u64, u64);

/// The older half of the files by size, and the rest.
fn halves(sealed: &[SealedFile], total: u64) -> (&[SealedFile], &[SealedFile]) {
    let mut before = 0;
    let older = sealed
        .iter()
        .take_while(|(_, bytes)| {
            let is_older = before < total / 2;
            before += bytes;
            is_older
        })
        .count();
    sealed.split_at_checked(older).unwrap_or((sealed, &[]))
}
