//! What is wrong with a configuration, with the place to change.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is written.
    pub place: Place,
    /// The key, with its section: `limits.max_branches`. Empty when it is no key's fault.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Where a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On this line of the file, counted from 1.
    Line(usize),
    /// On the command line.
    CommandLine,
    /// Nowhere: it is missing, or a default.
    Nowhere,
}

/// Every problem of a configuration, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The problems.
    pub list: Vec<Problem>,
}

impl Problem {
    /// A problem of `key`, written at `place`.
    pub fn new(place: Place, key: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem {
            place,
            key: key.into(),
            message: message.into(),
        }
    }
}

impl Problems {
    /// The problems as lines of text, each with file, line and key.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.list.iter().map(|problem| self.line(problem))
    }

    fn line(&self, problem: &Problem) -> String {
        let mut line = match (&self.file, problem.place) {
            (Some(file), Place::Line(number)) => format!("{}:{number}: ", file.display()),
            (Some(file), Place::Nowhere) => format!("{}: ", file.display()),
            (None, Place::Line(number)) => format!("line {number}: "),
            (_, Place::CommandLine) => "command line: ".to_owned(),
            (None, Place::Nowhere) => String::new(),
        };
        if !problem.key.is_empty() {
            line.push_str(&problem.key);
            line.push_str(": ");
        }
        line.push_str(&problem.message);
        line
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.lines().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            f.write_str(&line)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
