//! The format of recordings: one JSON object per line (`docs/recording.md`).
//!
//! ```text
//! {"recording": {"format": 2, …}}          the first line
//! {"environment": {"number": 1, …}}        before the first run in it
//! {"run": {…}}                             one hook run
//! {"end": {…}}                             the last line, unless the router was cut off
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::model::HookTrace;

/// The version of the format that this router writes. It reads those before as well: 1 has no requests over HTTP, no keys and values and
/// no log lines.
pub const FORMAT: u32 = 2;

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What the file is.
    Recording(Head),
    /// What hooks saw of a configuration.
    Environment(Numbered),
    /// A hook run.
    Run(Box<HookTrace>),
    /// How the recording ended.
    End(End),
}

/// What a recording is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of the router.
    pub router: String,
    /// When it began, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Whether users and addresses are hidden.
    pub redacted: bool,
}

/// An environment with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// The number.
    pub number: u32,
    /// The environment.
    #[serde(flatten)]
    pub environment: Environment,
}

/// How a recording ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Why.
    pub reason: String,
    /// How many runs are in it.
    pub runs: u64,
    /// Runs that are missing because a queue was full.
    pub dropped: u64,
}

/// A recording can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The first line is another one.
    #[error("{}: this is no recording of `patchbay record`", .0.display())]
    NoRecording(PathBuf),
    /// It was written by another version.
    #[error("{}: the recording has format {found}, this version of Patchbay reads 1 to {FORMAT}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A line is wrong.
    #[error("{}: line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// What is wrong.
        problem: String,
    },
}

/// Reads a recording, run by run.
pub struct Recorded {
    path: PathBuf,
    reader: BufReader<File>,
    line: u64,
    environments: HashMap<u32, Arc<Environment>>,
    head: Head,
    end: Option<End>,
}

/// A run with the environment that it ran in.
pub type RecordedRun = (HookTrace, Arc<Environment>);

impl Recorded {
    /// Opens a recording and reads its first line.
    pub fn open(path: &Path) -> Result<Recorded, ReadError> {
        let failed = |source| ReadError::File {
            path: path.to_path_buf(),
            source,
        };
        let mut reader = BufReader::new(File::open(path).map_err(failed)?);
        let mut first = Vec::new();
        reader.read_until(b'\n', &mut first).map_err(failed)?;
        let Ok(Line::Recording(head)) = serde_json::from_slice(&first) else {
            return Err(ReadError::NoRecording(path.to_path_buf()));
        };
        if !(1..=FORMAT).contains(&head.format) {
            return Err(ReadError::Format {
                path: path.to_path_buf(),
                found: head.format,
            });
        }
        Ok(Recorded {
            path: path.to_path_buf(),
            reader,
            line: 1,
            environments: HashMap::new(),
            head,
            end: None,
        })
    }

    /// What the recording is.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// How it ended, once it is read to the end; `None`: the router was cut off.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The next run; `None` at the end. A last line without its end is left out.
    pub fn next_run(&mut self) -> Result<Option<RecordedRun>, ReadError> {
        loop {
            let mut bytes = Vec::new();
            let read = self.reader.read_until(b'\n', &mut bytes);
            read.map_err(|source| ReadError::File {
                path: self.path.clone(),
                source,
            })?;
            if bytes.last() != Some(&b'\n') {
                return Ok(None);
            }
            self.line += 1;
            let line = serde_json::from_slice(&bytes);
            match line.map_err(|error| self.wrong(problem_of(&error)))? {
                Line::Run(trace) => {
                    let environment = self.environments.get(&trace.environment).cloned();
                    let environment = environment.ok_or_else(|| {
                        self.wrong(format!("there is no environment {}", trace.environment))
                    })?;
                    return Ok(Some((*trace, environment)));
                }
                Line::Environment(numbered) => {
                    let environment = Environment {
                        redacted: self.head.redacted,
                        ..numbered.environment
                    };
                    self.environments
                        .insert(numbered.number, Arc::new(environment));
                }
                Line::End(end) => self.end = Some(end),
                Line::Recording(_) => return Err(self.wrong("a second first line".to_owned())),
            }
        }
    }

    fn wrong(&self, problem: String) -> ReadError {
        ReadError::Line {
            path: self.path.clone(),
            line: self.line,
            problem,
        }
    }
}

/// What is wrong with a line, without the line that the parser counts: there it is always the first.
fn problem_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let problem = text.split(" at line ").next().unwrap_or(&text);
    match error.column() {
        0 => format!("this is no line of a recording: {problem}"),
        column => format!("this is no line of a recording: {problem} at column {column}"),
    }
}
