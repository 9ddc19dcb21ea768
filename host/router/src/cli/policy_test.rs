//! `patchbay policy test`.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, output};
use crate::scenario::{self, Options};

/// Plays scenarios: files that say who calls whom, what phones answer, and what is to be seen.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay policy test\n  patchbay policy test policies/default --filter voicemail\n  patchbay policy test tests/calls.toml --policy target/policies/mine.wasm --junit report.xml\n  patchbay policy test --random 10000 --seed 7"
)]
pub(super) struct Test {
    /// Folders of policies (with scenarios in their folder tests), folders of scenario files, or scenario files.
    #[arg(default_value = ".", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The component to test, or "builtin". Default: what a file names, else what is built from the folder.
    #[arg(long, value_name = "FILE.wasm")]
    policy: Option<PathBuf>,
    /// Only scenarios with this text in their name.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Plays this many random scenarios instead, and checks what holds for every policy.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    random: Option<u64>,
    /// The seed of the first random scenario; the next ones follow.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "random")]
    seed: u64,
    /// Plays each scenario this often, to measure how long it takes.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// Threads. Default: one per core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Writes JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Test {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let jobs = self.jobs.map_or_else(
            || std::thread::available_parallelism().map_or(1, usize::from),
            usize::from,
        );
        let options = Options {
            paths: self.paths,
            policy: self.policy,
            filter: self.filter,
            random: self.random,
            seed: self.seed,
            repeat: self.repeat,
            jobs,
        };
        let report = scenario::run(&options, &mut |line| eprintln!("{line}"));
        let report = report.map_err(|error| Failure::Said(error.to_string()))?;
        if let Some(path) = self.junit {
            std::fs::write(&path, report.junit())
                .map_err(|source| Failure::File { path, source })?;
        }
        if self.json {
            output::json(&report.json());
        } else {
            output::line(report.text().trim_end());
        }
        if report.is_good() {
            Ok(())
        } else {
            Err(Failure::Printed)
        }
    }
}
