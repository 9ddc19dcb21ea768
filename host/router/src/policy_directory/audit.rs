//! Who changed what about the policies: JSON lines in the data directory, for the owner alone, bounded by rotation.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::memory::VersionName;
use super::origin::Origin;

/// A file that has become this large is set aside.
const MAX_BYTES: u64 = 1 << 20;
/// How many files that were set aside are kept.
const MAX_OLD: usize = 4;
/// Lines that wait while the log can't be written; then the oldest go.
const MAX_WAITING: usize = 256;
/// The longest explanation that is kept.
const MAX_DETAIL_CHARS: usize = 500;

/// What was done, or was to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A version was stored and checked.
    Store,
    /// A version became active.
    Activate,
    /// The version before became active again.
    Rollback,
    /// The same, since the active version kept failing.
    AutomaticRollback,
    /// A version began to run some new dialogs.
    Canary,
    /// The canary became active.
    Promote,
    /// The same, since its time was over and its guards held.
    AutomaticPromote,
    /// The canary ended.
    Abort,
    /// The same, since a guard did not hold.
    AutomaticAbort,
    /// A version began to run on copies of live requests.
    Shadow,
    /// That ended.
    ShadowOff,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When, in seconds since 1970.
    pub at: u64,
    /// What.
    pub action: Action,
    /// Who.
    #[serde(flatten)]
    pub origin: Origin,
    /// The policy that it is about.
    pub policy: String,
    /// What was active (or the canary) before.
    #[serde(rename = "before", default)]
    pub before: Option<VersionName>,
    /// What is (or was to be) afterwards.
    #[serde(rename = "after", default)]
    pub after: Option<VersionName>,
    /// Whether it was done.
    pub done: bool,
    /// Why not, or why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl AuditRecord {
    /// Something that is done now.
    pub(super) fn new(action: Action, origin: &Origin, policy: &str) -> AuditRecord {
        AuditRecord {
            at: unix_secs(),
            action,
            origin: origin.clone(),
            policy: policy.to_owned(),
            before: None,
            after: None,
            done: true,
            detail: None,
        }
    }

    /// With an explanation.
    pub(super) fn because(self, detail: impl ToString) -> AuditRecord {
        let detail = detail.to_string().chars().take(MAX_DETAIL_CHARS).collect();
        AuditRecord {
            detail: Some(detail),
            ..self
        }
    }
}

/// Seconds since 1970.
pub(super) fn unix_secs() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |duration| duration.as_secs())
}

/// The log.
pub struct AuditLog {
    path: PathBuf,
    /// Lines that could not be written yet, the oldest first. Held while lines are written.
    waiting: Mutex<VecDeque<AuditRecord>>,
}

impl AuditLog {
    pub(super) fn new(path: PathBuf) -> AuditLog {
        AuditLog {
            path,
            waiting: Mutex::default(),
        }
    }

    /// Appends a line. The router goes on when that fails, and says so: what it does must not depend on a full disk. The line waits
    /// for [`write_again`](AuditLog::write_again).
    pub(super) fn write(&self, record: &AuditRecord) {
        let mut waiting = self.lock();
        waiting.push_back(record.clone());
        if let Err(error) = self.append_all(&mut waiting) {
            tracing::error!(path = %self.path.display(), %error, ?record, "the audit log can't be written: that is tried again and again");
        }
        if waiting.len() > MAX_WAITING {
            waiting.pop_front();
        }
    }

    /// Appends what could not be written before. To be called now and then.
    pub(super) fn write_again(&self) {
        let mut waiting = self.lock();
        if waiting.is_empty() {
            return;
        }
        match self.append_all(&mut waiting) {
            Ok(()) => tracing::info!(path = %self.path.display(), "the audit log is whole again"),
            Err(error) => tracing::debug!(%error, "the audit log can't be written yet"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<AuditRecord>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_all(&self, waiting: &mut VecDeque<AuditRecord>) -> io::Result<()> {
        while let Some(record) = waiting.front() {
            self.append(record)?;
            waiting.pop_front();
        }
        Ok(())
    }

    fn append(&self, record: &AuditRecord) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let mut file = open(&self.path)?;
        let bytes = file.metadata()?.len();
        if bytes > 0 && bytes + line.len() as u64 > MAX_BYTES {
            self.rotate()?;
            file = open(&self.path)?;
        } else if is_cut(&mut file)? {
            line.insert(0, b'\n');
        }
        file.write_all(&line)?;
        // It is there, and must not be written twice.
        if let Err(error) = file.sync_data() {
            tracing::error!(path = %self.path.display(), %error, "the audit log may not be on the disk yet");
        }
        Ok(())
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (1..MAX_OLD).rev() {
            match fs::rename(self.old(number), self.old(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.old(1))
    }

    fn old(&self, number: usize) -> PathBuf {
        self.path.with_extension(format!("{number}.jsonl"))
    }

    /// The last lines, the latest first, also those that could not be written yet. A line that can't be read is left out.
    pub fn latest(&self, limit: usize) -> io::Result<Vec<AuditRecord>> {
        let waiting = self.lock();
        let mut records: Vec<AuditRecord> = waiting.iter().rev().take(limit).cloned().collect();
        let files = std::iter::once(self.path.clone()).chain((1..=MAX_OLD).map(|n| self.old(n)));
        for file in files {
            if records.len() >= limit {
                break;
            }
            let text = text_of(&file)?;
            let read = text
                .lines()
                .rev()
                .filter_map(|line| serde_json::from_str(line).ok());
            records.extend(read.take(limit - records.len()));
        }
        Ok(records)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// Whether the last line has no end: a crash or a full disk has cut it. The next one must not be joined to it.
fn is_cut(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn text_of(path: &Path) -> io::Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn record(detail: &str) -> AuditRecord {
        AuditRecord::new(Action::Activate, &Origin::router(), "mine").because(detail)
    }

    #[test]
    fn the_latest_lines_come_first_and_damage_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let log = AuditLog::new(path.clone());
        assert_eq!(log.latest(10).expect("nothing yet"), []);
        log.write(&record("one"));
        let mut file = open(&path).expect("open");
        file.write_all(b"{\"at\": half a li\n").expect("write");
        log.write(&record("two"));
        let details: Vec<_> = log
            .latest(10)
            .expect("readable")
            .into_iter()
            .map(|record| record.detail.expect("a detail"))
            .collect();
        assert_eq!(details, ["two", "one"]);
        assert_eq!(log.latest(1).expect("readable").len(), 1);
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    fn details(log: &AuditLog) -> Vec<String> {
        let records = log.latest(1000).expect("readable").into_iter();
        records
            .map(|record| record.detail.expect("a detail"))
            .collect()
    }

    #[test]
    fn the_line_after_one_that_was_cut_is_not_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let log = AuditLog::new(path.clone());
        log.write(&record("one"));
        let mut file = open(&path).expect("open");
        file.write_all(b"{\"at\": half a li").expect("write");
        log.write(&record("two"));
        log.write(&record("three"));
        assert_eq!(details(&log), ["three", "two", "one"]);
        assert_eq!(fs::read_to_string(&path).expect("text").lines().count(), 4);
    }

    #[test]
    fn what_can_not_be_written_is_written_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let log = AuditLog::new(path.clone());
        log.write(&record("one"));
        let (old, away) = (path.clone(), folder.path().join("away"));
        fs::rename(&old, &away).expect("moved");
        fs::create_dir(&path).expect("a folder in its place");
        for number in 0..=MAX_WAITING {
            log.write(&record(&number.to_string()));
        }
        log.write_again();
        fs::remove_dir(&path).expect("it was there");
        fs::rename(&away, &old).expect("moved back");
        assert_eq!(details(&log)[0], MAX_WAITING.to_string());
        log.write_again();
        let found = details(&AuditLog::new(path));
        assert_eq!(found.len(), 1 + MAX_WAITING);
        assert_eq!(found[MAX_WAITING - 1..], ["1", "one"], "the oldest went");
    }

    #[test]
    fn the_log_is_bounded_and_loses_the_oldest_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let log = AuditLog::new(path.clone());
        fs::write(&path, vec![b'\n'; MAX_BYTES as usize]).expect("a full file");
        log.write(&record("after"));
        assert!(fs::metadata(&path).expect("there").len() < 1000);
        for number in 0..2 * MAX_OLD {
            fs::write(&path, vec![b'\n'; MAX_BYTES as usize]).expect("a full file");
            log.write(&record(&number.to_string()));
        }
        let files = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(files, 1 + MAX_OLD);
        let latest = log.latest(1).expect("readable").remove(0);
        assert_eq!(latest.detail, Some((2 * MAX_OLD - 1).to_string()));
    }
}
