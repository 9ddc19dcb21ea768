//! The thread that gives files to the disk, and copies the older half of the log to the store.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use foldhash::fast::RandomState;

use super::super::batch::Batch;
use super::super::store::StoreError;
use super::keys::{KeyHash, SealedFile};
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
            content: Vec::new(),
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
    /// What was read last of a file. The memory serves for one after the other while the log is made smaller.
    content: Vec<u8>,
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
                && let Err(error) = self.fold_all()
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

    fn fold_all(&mut self) -> Result<(), StoreError> {
        let folded = self.fold();
        self.content = Vec::new();
        folded
    }

    /// Copies and deletes older halves until the log is small enough.
    fn fold(&mut self) -> Result<(), StoreError> {
        loop {
            let sealed = self.shared.files().sealed.clone();
            let total: u64 = sealed.iter().map(|file| file.bytes).sum();
            if total <= self.limit || !self.fold_half(&sealed, total)? {
                return Ok(());
            }
        }
    }

    /// `false` when the router ends.
    fn fold_half(&mut self, sealed: &[SealedFile], total: u64) -> Result<bool, StoreError> {
        let (older, newer) = halves(sealed, total);
        let survivors = self.survivors(older, newer)?;
        let changes: usize = survivors.iter().map(|file| file.is_newest.len()).sum();
        let copied: usize = survivors.iter().map(|file| file.count).sum();
        if copied > changes / 2 && self.limit < self.config.max_bytes {
            // Most of it is still the newest state: the longer it waits, the more of it is out of date.
            self.limit = (self.limit * 2).min(self.config.max_bytes);
            return Ok(true);
        }
        if copied < changes / 8 {
            self.limit = (self.limit / 2).max(self.config.min_bytes);
        }
        for (survivors, file) in survivors.iter().zip(older) {
            if survivors.count > 0 && !self.copy(file.number, survivors)? {
                return Ok(false);
            }
        }
        self.delete(older)?;
        Ok(true)
    }

    /// For each of the older files, which of its changes no later one makes out of date.
    fn survivors(
        &mut self,
        older: &[SealedFile],
        newer: &[SealedFile],
    ) -> Result<Vec<Survivors>, StoreError> {
        let mut seen = HashSet::with_hasher(RandomState::default());
        for file in newer {
            seen.extend(self.keys(file)?.iter().copied());
        }
        let mut survivors = Vec::with_capacity(older.len());
        for file in older.iter().rev() {
            let keys = self.keys(file)?;
            let mut is_newest: Vec<bool> = keys.iter().rev().map(|key| seen.insert(*key)).collect();
            is_newest.reverse();
            survivors.push(Survivors {
                count: is_newest.iter().filter(|is_newest| **is_newest).count(),
                is_newest,
            });
        }
        survivors.reverse();
        Ok(survivors)
    }

    /// The key of each change in a file.
    fn keys(&mut self, file: &SealedFile) -> Result<Arc<[KeyHash]>, StoreError> {
        if let Some(keys) = &file.keys {
            return Ok(Arc::clone(keys));
        }
        self.read(file.number)?;
        let changes = segment::frames(&self.content).flatten();
        let keys: Arc<[KeyHash]> = changes
            .map(|(key, _)| self.shared.hasher.hash(key))
            .collect();
        let mut files = self.shared.files();
        let known = files
            .sealed
            .iter_mut()
            .find(|known| known.number == file.number);
        if let Some(known) = known {
            known.keys = Some(Arc::clone(&keys));
        }
        Ok(keys)
    }

    /// Copies what survives of a file to the store; `false` when the router ends.
    fn copy(&mut self, number: u64, survivors: &Survivors) -> Result<bool, StoreError> {
        self.read(number)?;
        let mut changes: Vec<_> = segment::frames(&self.content)
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
        for SealedFile { number, .. } in files {
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
                .retain(|sealed| sealed.number != *number);
        }
        Ok(())
    }

    fn read(&mut self, number: u64) -> Result<(), StoreError> {
        let path = segment::path(&self.folder, number);
        self.content.clear();
        File::open(&path)
            .and_then(|mut file| file.read_to_end(&mut self.content))
            .map_err(log_error(&path))?;
        Ok(())
    }
}

/// Which changes of a file are the newest of their key.
struct Survivors {
    is_newest: Vec<bool>,
    /// How many are.
    count: usize,
}

/// The older half of the files by size, and the rest.
fn halves(sealed: &[SealedFile], total: u64) -> (&[SealedFile], &[SealedFile]) {
    let mut before = 0;
    let older = sealed
        .iter()
        .take_while(|file| {
            let is_older = before < total / 2;
            before += file.bytes;
            is_older
        })
        .count();
    sealed.split_at_checked(older).unwrap_or((sealed, &[]))
}
