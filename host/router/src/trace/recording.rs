//! Writes hook runs to a file, within bounds.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::file::{End, FORMAT, Head, Line, Numbered};
use super::model::HookTrace;
use super::redact::Redactor;
use super::scrub::scrubbed;
use crate::config;

/// How old what is in memory alone may get.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Room for the last line.
const END_BYTES: u64 = 512;

/// How much is recorded at most, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingBounds {
    /// The size of the file.
    pub max_bytes: u64,
    /// How long it goes on.
    pub max_time: Duration,
    /// Whether users and addresses are hidden.
    pub redact: bool,
}

/// Room for the first and the last line and a run or two.
const MIN_MAX_BYTES: u64 = 64 << 10;

impl RecordingBounds {
    /// Reads the bound of the size, such as `256MiB`.
    pub fn size(text: &str) -> Result<u64, String> {
        match config::size(text)? as u64 {
            size if size < MIN_MAX_BYTES => Err("a recording needs 64KiB or more".to_owned()),
            size => Ok(size),
        }
    }

    /// Reads the bound of the time, such as `10m`.
    pub fn time(text: &str) -> Result<Duration, String> {
        match config::duration(text)? {
            Duration::ZERO => Err("a recording needs some time".to_owned()),
            time => Ok(time),
        }
    }
}

/// How a recording is getting on, or how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingReport {
    /// The file.
    pub file: PathBuf,
    /// Whether it goes on.
    pub running: bool,
    /// Why it ended: `stopped`, `max_size`, `max_time`, or what was wrong.
    pub ended: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// For how long it went on so far.
    pub seconds: u64,
    /// Hook runs in it.
    pub runs: u64,
    /// The size of the file.
    pub bytes: u64,
    /// Hook runs that are missing because a queue was full.
    pub dropped: u64,
    /// Whether users and addresses are hidden.
    pub redacted: bool,
    /// The bound of the size.
    pub max_bytes: u64,
    /// The bound of the time.
    pub max_seconds: u64,
}

/// A recording that is under way.
pub(super) struct Recording {
    path: PathBuf,
    file: BufWriter<File>,
    bounds: RecordingBounds,
    redactor: Option<Redactor>,
    started: Instant,
    started_unix_ms: u64,
    environments: HashSet<u32>,
    runs: u64,
    bytes: u64,
    dropped_before: u64,
    flushed: Instant,
    /// Why it has to end.
    over: Option<String>,
}

impl Recording {
    /// Makes the file, readable by its owner alone; one that is there already stays as it is.
    pub(super) fn start(
        path: PathBuf,
        bounds: RecordingBounds,
        dropped: u64,
    ) -> io::Result<Recording> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let started_unix_ms = since_1970.map_or(0, |since| since.as_millis() as u64);
        let mut recording = Recording {
            path,
            file: BufWriter::with_capacity(1 << 18, file),
            bounds,
            redactor: match bounds.redact {
                true => Some(Redactor::new()?),
                false => None,
            },
            started: Instant::now(),
            started_unix_ms,
            environments: HashSet::new(),
            runs: 0,
            bytes: 0,
            dropped_before: dropped,
            flushed: Instant::now(),
            over: None,
        };
        recording.write_line(&Line::Recording(Head {
            format: FORMAT,
            router: env!("CARGO_PKG_VERSION").to_owned(),
            started_unix_ms,
            redacted: bounds.redact,
        }));
        recording.file.flush()?;
        Ok(recording)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a run, and before the first one in it the environment.
    pub(super) fn write(&mut self, trace: &HookTrace, environment: &Environment) {
        if self.over.is_some() {
            return;
        }
        if self.environments.insert(trace.environment) {
            self.write_line(&Line::Environment(Numbered {
                number: trace.environment,
                environment: environment.clone(),
            }));
        }
        let before = self.over.is_some();
        self.write_line(&Line::Run(Box::new(scrubbed(trace).into_owned())));
        if !before && self.over.is_none() {
            self.runs += 1;
        }
    }

    fn write_line(&mut self, line: &Line) {
        let written = match &mut self.redactor {
            None => serde_json::to_vec(line),
            Some(redactor) => redactor.line(line),
        };
        let written = written.map_err(io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            let length = bytes.len() as u64;
            if self.bytes + length + END_BYTES > self.bounds.max_bytes {
                self.over = Some("max_size".to_owned());
                return Ok(0);
            }
            self.file.write_all(&bytes)?;
            Ok(length)
        });
        match written {
            Ok(length) => self.bytes += length,
            Err(error) => self.over = Some(error.to_string()),
        }
    }

    /// Why it has to end now.
    pub(super) fn due(&mut self) -> Option<String> {
        if self.over.is_none() && self.started.elapsed() >= self.bounds.max_time {
            self.over = Some("max_time".to_owned());
        }
        if self.flushed.elapsed() >= FLUSH_INTERVAL {
            self.flushed = Instant::now();
            if let Err(error) = self.file.flush() {
                self.over.get_or_insert(error.to_string());
            }
        }
        self.over.clone()
    }

    /// Writes the last line and all that is still in memory.
    pub(super) fn end(mut self, reason: &str, dropped: u64) -> RecordingReport {
        let end = Line::End(End {
            reason: reason.to_owned(),
            runs: self.runs,
            dropped: dropped.saturating_sub(self.dropped_before),
        });
        let written = serde_json::to_vec(&end).map_err(io::Error::from);
        let written = written.and_then(|mut bytes| {
            bytes.push(b'\n');
            self.file.write_all(&bytes)?;
            self.file.flush()?;
            Ok(bytes.len() as u64)
        });
        let mut ended = reason.to_owned();
        match written {
            Ok(length) => self.bytes += length,
            Err(error) => {
                ended = error.to_string();
                tracing::error!(file = %self.path.display(), %error, "the recording is not written to its end");
            }
        }
        tracing::info!(file = %self.path.display(), runs = self.runs, ended, "the recording has ended");
        RecordingReport {
            running: false,
            ended: Some(ended),
            ..self.report(dropped)
        }
    }

    pub(super) fn report(&self, dropped: u64) -> RecordingReport {
        RecordingReport {
            file: self.path.clone(),
            running: true,
            ended: None,
            started_unix_ms: self.started_unix_ms,
            seconds: self.started.elapsed().as_secs(),
            runs: self.runs,
            bytes: self.bytes,
            dropped: dropped.saturating_sub(self.dropped_before),
            redacted: self.bounds.redact,
            max_bytes: self.bounds.max_bytes,
            max_seconds: self.bounds.max_time.as_secs(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::file::Recorded;
    use super::super::scrub::tests::trace_of;
    use super::*;

    const BOUNDS: RecordingBounds = RecordingBounds {
        max_bytes: 1 << 20,
        max_time: Duration::from_secs(60),
        redact: false,
    };

    fn start(folder: &Path, bounds: RecordingBounds) -> Recording {
        Recording::start(folder.join("r.jsonl"), bounds, 0).expect("a new file")
    }

    #[test]
    fn what_is_recorded_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut recording = start(folder.path(), BOUNDS);
        let traces = [trace_of("", "one"), trace_of("", "two")];
        for trace in &traces {
            recording.write(trace, &Environment::default());
        }
        let report = recording.end("stopped", 3);
        assert_eq!((report.runs, report.dropped), (2, 3));
        let mode = std::fs::metadata(&report.file)
            .expect("there")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let mut recorded = Recorded::open(&report.file).expect("a recording");
        for trace in traces {
            let (read, _) = recorded.next_run().expect("valid").expect("a run");
            assert_eq!(read, trace);
        }
        assert!(recorded.next_run().expect("valid").is_none());
        assert_eq!(recorded.end().expect("an end").runs, 2);
        assert_eq!(
            report.bytes,
            std::fs::metadata(&report.file).expect("there").len()
        );
    }

    #[test]
    fn the_format_before_is_read_and_one_to_come_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = start(folder.path(), BOUNDS).end("stopped", 0).file;
        let text = std::fs::read_to_string(&path).expect("there");
        let with_format = |format: u32| {
            let written = format!("\"format\":{FORMAT}");
            let text = text.replace(&written, &format!("\"format\":{format}"));
            std::fs::write(&path, text).expect("written");
            Recorded::open(&path)
        };
        assert!(with_format(1).is_ok() && with_format(FORMAT).is_ok());
        assert!(with_format(0).is_err() && with_format(FORMAT + 1).is_err());
    }

    #[test]
    fn a_recording_ends_at_its_size() {
        let folder = tempfile::tempdir().expect("a folder");
        let max_bytes = 8 << 10;
        let mut recording = start(
            folder.path(),
            RecordingBounds {
                max_bytes,
                ..BOUNDS
            },
        );
        for _ in 0..100 {
            recording.write(&trace_of("", ""), &Environment::default());
        }
        assert_eq!(recording.due().as_deref(), Some("max_size"));
        let report = recording.end("max_size", 0);
        assert!(report.bytes <= max_bytes && report.runs > 2, "{report:?}");
    }

    #[test]
    fn a_recording_ends_at_its_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let max_time = Duration::ZERO;
        let mut recording = start(folder.path(), RecordingBounds { max_time, ..BOUNDS });
        assert_eq!(recording.due().as_deref(), Some("max_time"));
    }

    #[test]
    fn a_file_that_is_there_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(start(folder.path(), BOUNDS));
        assert!(Recording::start(folder.path().join("r.jsonl"), BOUNDS, 0).is_err());
    }

    #[test]
    fn a_last_line_that_was_cut_off_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut recording = start(folder.path(), BOUNDS);
        recording.write(&trace_of("", ""), &Environment::default());
        let file = recording.end("stopped", 0).file;
        let text = std::fs::read_to_string(&file).expect("there");
        let end = text.rfind("{\"end\"").expect("an end");
        std::fs::write(&file, &text[..end + 4]).expect("write");
        let mut recorded = Recorded::open(&file).expect("a recording");
        assert!(recorded.next_run().expect("valid").is_some());
        assert!(recorded.next_run().expect("valid").is_none());
        assert!(recorded.end().is_none());
    }
}
