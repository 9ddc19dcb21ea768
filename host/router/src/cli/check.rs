//! `patchbay check`.

use std::io;
use std::path::Path;

use clap::Args;
use serde_json::json;

use super::{ConfigArguments, Failure, output};
use crate::config::{Config, Place, Problems};
use crate::data_dir::{self, DataDirError};
use crate::policy_directory;
use crate::users::{UserFile, UserFileError};

/// Checks the configuration and the policies: tells every problem at once, and ends with 1 if there is any.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay check\n  patchbay check --config /etc/patchbay/patchbay.toml --json"
)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// One line of the report.
struct Found {
    line: Option<usize>,
    key: String,
    text: String,
}

impl Check {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let (config, problems) = self.config.examine();
        let lines = problems.lines().zip(&problems.list);
        let mut found: Vec<Found> = lines
            .map(|(text, problem)| Found {
                line: line_of(problem.place),
                key: problem.key.clone(),
                text,
            })
            .collect();
        let file = self.config.file();
        found.extend(named_policies(&config, file.as_deref()));
        found.extend(data_directory(&config.node.data_dir));
        found.extend(policies(config, file.as_deref()));
        if self.json {
            let list: Vec<_> = found
                .iter()
                .map(|found| json!({ "line": found.line, "key": found.key, "problem": found.text }))
                .collect();
            output::json(&json!({ "file": file, "valid": found.is_empty(), "problems": list }));
        } else {
            found.iter().for_each(|found| eprintln!("{}", found.text));
            if found.is_empty() {
                let what = file.map_or_else(
                    || "the development defaults".to_owned(),
                    |file| file.display().to_string(),
                );
                output::line(&format!("{what}: no problems"));
            }
        }
        if found.is_empty() {
            Ok(())
        } else {
            Err(Failure::Printed)
        }
    }
}

fn line_of(place: Place) -> Option<usize> {
    match place {
        Place::Line(line) => Some(line),
        Place::CommandLine | Place::Nowhere => None,
    }
}

/// The active policy, and the policies that routes name.
fn named_policies(config: &Config, file: Option<&Path>) -> Vec<Found> {
    let problems = Problems {
        file: file.map(Path::to_path_buf),
        list: policy_directory::check_active(config)
            .into_iter()
            .chain(policy_directory::check_routes(config))
            .collect(),
    };
    let lines = problems.lines().zip(&problems.list);
    lines
        .map(|(text, problem)| Found {
            line: line_of(problem.place),
            key: problem.key.clone(),
            text,
        })
        .collect()
}

/// What would keep a router from the data directory and from the users in it. What another user may read alone is not looked at.
fn data_directory(path: &Path) -> Option<Found> {
    let denied = |source: &io::Error| source.kind() == io::ErrorKind::PermissionDenied;
    let text = match data_dir::examine(path) {
        Err(DataDirError::Io { source, .. }) if denied(&source) => return None,
        Err(error) => error.to_string(),
        Ok(()) => match UserFile::in_directory(path).list() {
            Ok(_) => return None,
            Err(UserFileError::File { source, .. }) if denied(&source) => return None,
            Err(error) => error.to_string(),
        },
    };
    Some(Found {
        line: None,
        key: "node.data_dir".to_owned(),
        text,
    })
}

fn policies(config: Config, file: Option<&Path>) -> Vec<Found> {
    let problems = Problems {
        file: file.map(Path::to_path_buf),
        list: policy_directory::check(config),
    };
    let found = problems.lines().zip(&problems.list);
    found
        .map(|(text, problem)| match problem.place {
            Place::Nowhere => Found {
                line: None,
                key: "policy".to_owned(),
                text: problem.message.clone(),
            },
            place => Found {
                line: line_of(place),
                key: problem.key.clone(),
                text,
            },
        })
        .collect()
}
