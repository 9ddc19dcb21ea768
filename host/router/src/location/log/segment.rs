//! One file of the log.
//!
//! | what | bytes |
//! | --- | --- |
//! | `PBLOG` and the format version | 8 |
//! | per commit: length of the block, CRC-32 of the block | u32 each, little-endian |
//! | the block of the [`Batch`] | |

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::batch::{Batch, Changes};
use super::keys::SealedFile;

const MAGIC: &[u8; 8] = b"PBLOG\0\0\x01";
const FRAME_HEAD_BYTES: usize = 8;
const SUFFIX: &str = ".log";

/// Where the file of that number is.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016x}{SUFFIX}"))
}

/// The files in a folder, the oldest first.
pub(super) fn list(folder: &Path) -> io::Result<Vec<SealedFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(SUFFIX))
            .filter(|number| number.len() == 16)
            .and_then(|number| u64::from_str_radix(number, 16).ok());
        if let Some(number) = number {
            files.push(SealedFile {
                number,
                bytes: entry.metadata()?.len(),
                keys: None,
            });
        }
    }
    files.sort_unstable_by_key(|file| file.number);
    Ok(files)
}

/// The file that is written to.
pub(super) struct Segment {
    number: u64,
    file: Arc<File>,
    bytes: u64,
    /// A frame on its way, so that one call of the kernel writes it.
    frame: Vec<u8>,
}

impl Segment {
    /// Makes the file.
    pub(super) fn create(path: &Path, number: u64) -> io::Result<Segment> {
        let mut file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        if let Err(error) = file.write_all(MAGIC) {
            // Its number is free again; a file that stays all the same holds nothing.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(Segment {
            number,
            file: Arc::new(file),
            bytes: MAGIC.len() as u64,
            frame: Vec::new(),
        })
    }

    /// Which file it is.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// How much it holds.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The file, to give it to the disk.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Writes one frame. After an error it may be there in part.
    pub(super) fn append(&mut self, batch: &Batch) -> io::Result<()> {
        let block = batch.as_bytes();
        let length = u32::try_from(block.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.frame.clear();
        self.frame.extend_from_slice(&length.to_le_bytes());
        self.frame
            .extend_from_slice(&crc32fast::hash(block).to_le_bytes());
        self.frame.extend_from_slice(block);
        (&*self.file).write_all(&self.frame)?;
        self.bytes += self.frame.len() as u64;
        Ok(())
    }

    /// Cuts off what an append that failed has left; `false` when that fails as well.
    pub(super) fn take_back(&self) -> bool {
        self.file.set_len(self.bytes).is_ok()
    }
}

/// The changes in the content of a file, commit by commit, up to the first one that is not whole.
pub(super) fn frames(content: &[u8]) -> Frames<'_> {
    match content.strip_prefix(MAGIC) {
        Some(rest) => Frames {
            rest,
            is_damaged: false,
        },
        None => Frames {
            rest: &[],
            is_damaged: !content.is_empty(),
        },
    }
}

/// See [`frames`].
pub(super) struct Frames<'a> {
    rest: &'a [u8],
    is_damaged: bool,
}

impl Frames<'_> {
    /// Whether there was something behind the last whole frame.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Changes<'a>;

    fn next(&mut self) -> Option<Changes<'a>> {
        let (head, rest) = self.rest.split_first_chunk::<FRAME_HEAD_BYTES>()?;
        let (length, crc) = head.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let block = rest
            .split_at_checked(length)
            .filter(|(block, _)| crc32fast::hash(block).to_le_bytes() == *crc);
        let Some((block, rest)) = block else {
            self.is_damaged = true;
            self.rest = &[];
            return None;
        };
        self.rest = rest;
        Some(Changes::of(block))
    }
}
