//! A log in front of a store: a change is acknowledged when it is in the log, and the store gets the newest state of a key later.
//!
//! A commit appends one frame to a file, which costs about a thousandth of what an engine takes per record. A registration is
//! refreshed again and again, so most records in the log are soon out of date: when the log has grown, a thread copies
//! from its older half into the store what is not in the newer half, and deletes the older half. Whoever opens the log reads
//! the store and then the whole log over it, so it does not matter where a process was killed:
//!
//! - in the middle of a frame: the frame is cut off, and nobody was told that it was written;
//! - while the thread copies: the store has some of what the log says as well;
//! - while it deletes: the oldest files go first, so no older state of a key ever stands behind a newer one.
//!
//! What is acknowledged survives the death of the process. Files are handed to the disk every second: a loss of power may cost
//! what came after.

mod fold;
mod keys;
mod segment;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fold::Folder;
use keys::{KeyHash, KeyHasher, SealedFile};
use segment::Segment;

use super::batch::Batch;
use super::store::{EachRecord, LocationStore, StoreError};

/// How large the log may grow.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// A file that is larger is followed by another.
    pub segment_bytes: u64,
    /// Beyond this the older half is copied to the store, at the start.
    pub min_bytes: u64,
    /// The limit doubles up to this while most of the older half would have to be copied.
    pub max_bytes: u64,
    /// With so much in the log nothing more is written: the store does not take anything up.
    pub full_bytes: u64,
    /// How long what is written may stay away from the disk.
    pub sync_interval: Duration,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 16 << 20,
            min_bytes: 64 << 20,
            max_bytes: 512 << 20,
            full_bytes: 1 << 30,
            sync_interval: Duration::from_secs(1),
        }
    }
}

/// A store with a log in front of it.
pub struct LoggedStore {
    folder: PathBuf,
    config: LogConfig,
    shared: Arc<Shared>,
    active: Option<Segment>,
    /// The keys in `active`.
    keys: Vec<KeyHash>,
    next_number: u64,
    folding: Folder,
}

/// What the writer and the thread share.
struct Shared {
    base: Mutex<Box<dyn LocationStore>>,
    files: Mutex<Files>,
    hasher: KeyHasher,
}

/// The files of the log.
#[derive(Default)]
struct Files {
    /// Files that nobody writes to any more, the oldest first.
    sealed: Vec<SealedFile>,
    /// What the disk has not been given for certain.
    unsynced: Vec<Arc<File>>,
}

impl Files {
    fn sealed_bytes(&self) -> u64 {
        self.sealed.iter().map(|file| file.bytes).sum()
    }
}

impl Shared {
    fn files(&self) -> std::sync::MutexGuard<'_, Files> {
        // Every change of the lists is one step, so they are whole after a panic as well.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LoggedStore {
    /// Opens or makes the log in `folder`, in front of `base`.
    pub fn open(
        folder: &Path,
        base: impl LocationStore,
        config: LogConfig,
    ) -> Result<LoggedStore, StoreError> {
        make_folder(folder).map_err(log_error(folder))?;
        let sealed = segment::list(folder).map_err(log_error(folder))?;
        let next_number = sealed.last().map_or(1, |file| file.number + 1);
        let shared = Arc::new(Shared {
            base: Mutex::new(Box::new(base)),
            files: Mutex::new(Files {
                sealed,
                unsynced: Vec::new(),
            }),
            hasher: KeyHasher::new(),
        });
        let folding = Folder::start(folder.to_path_buf(), config.clone(), Arc::clone(&shared))?;
        Ok(LoggedStore {
            folder: folder.to_path_buf(),
            config,
            shared,
            active: None,
            keys: Vec::new(),
            next_number,
            folding,
        })
    }

    fn append(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut segment = match self.active.take() {
            Some(segment) => segment,
            None => self.next_segment()?,
        };
        match segment.append(batch) {
            Ok(()) => {
                self.active = Some(segment);
                let hasher = &self.shared.hasher;
                self.keys
                    .extend(batch.iter().map(|(key, _)| hasher.hash(key)));
                Ok(())
            }
            Err(error) => {
                let path = segment::path(&self.folder, segment.number());
                // A file that still ends in half a frame is not written to again; whoever reads it stops there.
                if segment.take_back() {
                    self.active = Some(segment);
                } else {
                    self.seal(&segment);
                }
                Err(log_error(&path)(error))
            }
        }
    }

    fn next_segment(&mut self) -> Result<Segment, StoreError> {
        let bytes = self.shared.files().sealed_bytes();
        if bytes >= self.config.full_bytes {
            // The store may have recovered.
            self.folding.sealed();
            return Err(StoreError::LogFull { bytes });
        }
        let number = self.next_number;
        let path = segment::path(&self.folder, number);
        let segment = Segment::create(&path, number).map_err(log_error(&path))?;
        self.next_number += 1;
        Ok(segment)
    }

    fn seal(&mut self, segment: &Segment) {
        let keys = std::mem::take(&mut self.keys);
        let mut files = self.shared.files();
        files.sealed.push(SealedFile {
            number: segment.number(),
            bytes: segment.bytes(),
            keys: Some(keys.into()),
        });
        files.unsynced.push(segment.file());
        drop(files);
        self.folding.sealed();
    }
}

impl LocationStore for LoggedStore {
    fn load(&mut self, prefix: &[u8], each: &mut EachRecord<'_>) -> Result<(), StoreError> {
        let mut base = self
            .shared
            .base
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        base.load(prefix, each)?;
        // With the base locked nothing is copied to it and deleted from here.
        let sealed = self.shared.files().sealed.clone();
        let active = self.active.as_ref().map(Segment::number);
        for number in sealed.iter().map(|file| file.number).chain(active) {
            let path = segment::path(&self.folder, number);
            let content = fs::read(&path).map_err(log_error(&path))?;
            let mut frames = segment::frames(&content);
            for (key, value) in frames.by_ref().flatten() {
                if key.starts_with(prefix) {
                    each(key, value);
                }
            }
            if frames.is_damaged() {
                tracing::warn!(path = %path.display(), "a file of the log of registrations ends in the middle of a change: the router was interrupted while it wrote");
            }
        }
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.append(batch)?;
        if let Some(segment) = self
            .active
            .take_if(|segment| segment.bytes() >= self.config.segment_bytes)
        {
            self.seal(&segment);
        } else if let Some(segment) = &self.active
            && self.folding.wants_to_know()
        {
            self.shared.files().unsynced.push(segment.file());
            self.folding.written();
        }
        Ok(())
    }
}

impl Drop for LoggedStore {
    fn drop(&mut self) {
        if let Some(segment) = self.active.take() {
            self.shared.files().unsynced.push(segment.file());
        }
        self.folding.stop();
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

fn log_error(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Log { path, source }
}

#[cfg(test)]
mod tests;
