//! The router under callgrind: how many instructions and allocations each of its threads has spent.
//!
//! Such counts don't depend on how busy the machine is, unlike any time. The program runs uncounted, and so much faster, until
//! [`Callgrind::start_counting`]; from then on each [`Callgrind::take`] gives what was spent since the one before.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A profile of a router is several megabytes, written by a program that runs fifty times slower than usual.
const DUMP_PATIENCE: Duration = Duration::from_secs(60);

/// The functions that ask the allocator for memory, whichever it is. They are functions of their own in every build without
/// link-time optimisation.
const ALLOCATOR: [&str; 3] = ["__rust_alloc", "__rust_alloc_zeroed", "__rust_realloc"];

/// A run of valgrind's tool callgrind, with the folder it writes to.
pub struct Callgrind {
    folder: TempDir,
    dumps: Cell<usize>,
}

/// What one thread did between two moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// User instructions.
    pub instructions: u64,
    /// Calls by function; of recursive ones all together.
    calls: BTreeMap<String, u64>,
}

/// The program of this name, where the shell would find it.
pub fn in_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

impl Default for Callgrind {
    fn default() -> Callgrind {
        Callgrind {
            folder: TempDir::new().expect("a temporary directory"),
            dumps: Cell::new(0),
        }
    }
}

impl Callgrind {
    /// What stands before a program and its arguments to run it under callgrind.
    pub fn command(&self) -> Vec<OsString> {
        let folder = self.folder.path();
        let options = [
            "valgrind".to_owned(),
            "-q".to_owned(),
            "--tool=callgrind".to_owned(),
            "--instr-atstart=no".to_owned(),
            "--separate-threads=yes".to_owned(),
            format!("--callgrind-out-file={}", folder.join("profile").display()),
            self.prefix(),
        ];
        options.map(OsString::from).to_vec()
    }

    /// From now on instructions count.
    pub fn start_counting(&self, pid: u32) {
        self.monitor(pid, "instrumentation on");
    }

    /// From now on they don't, and the program runs faster.
    pub fn stop_counting(&self, pid: u32) {
        self.monitor(pid, "instrumentation off");
    }

    /// What every thread has spent since the last time, in the order the threads were started.
    pub fn take(&self, pid: u32) -> Vec<Profile> {
        self.dumps.set(self.dumps.get() + 1);
        let prefix = format!("profile.{}-", self.dumps.get());
        self.monitor(pid, "dump");
        let entries = fs::read_dir(self.folder.path()).expect("the folder of profiles");
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .map(|entry| entry.path())
            .collect();
        assert!(!files.is_empty(), "callgrind wrote no {prefix}*");
        files.sort();
        files
            .iter()
            .map(|file| {
                let profile = Profile::read(file);
                // Hundreds of them would fill the disk.
                fs::remove_file(file).expect("remove a profile");
                profile
            })
            .collect()
    }

    /// Where valgrind and `vgdb` meet.
    fn prefix(&self) -> String {
        format!(
            "--vgdb-prefix={}",
            self.folder.path().join("vgdb").display()
        )
    }

    /// Has callgrind carry out a command, and waits until it has.
    fn monitor(&self, pid: u32, command: &str) {
        let start = Instant::now();
        let output = Command::new("vgdb")
            .args([self.prefix(), format!("--pid={pid}")])
            .args(command.split(' '))
            .output()
            .expect("run vgdb, a part of valgrind");
        assert!(
            output.status.success() && start.elapsed() < DUMP_PATIENCE,
            "vgdb {command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Profile {
    /// Reads a file that callgrind wrote.
    ///
    /// # Panics
    /// When it can't be read or is no profile.
    pub fn read(file: &Path) -> Profile {
        let bytes = fs::read(file).expect("a profile");
        Profile::parse(&String::from_utf8_lossy(&bytes))
            .unwrap_or_else(|| panic!("{} is no profile of callgrind", file.display()))
    }

    /// The format gives a function's name once, `fn=(7) name`, and then only its number. A call is `cfn=(7)`, other lines, `calls=COUNT …`.
    fn parse(text: &str) -> Option<Profile> {
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        let mut by_number: BTreeMap<&str, u64> = BTreeMap::new();
        let mut called = "";
        let mut instructions = None;
        for line in text.lines() {
            if let Some(total) = line.strip_prefix("totals: ") {
                instructions = total.trim().parse().ok();
            } else if let Some(count) = line.strip_prefix("calls=") {
                let count: u64 = count.split(' ').next()?.parse().ok()?;
                *by_number.entry(called).or_default() += count;
            } else if let Some(function) = line
                .strip_prefix("cfn=")
                .or_else(|| line.strip_prefix("fn="))
            {
                let (number, name) = function.split_once(')')?;
                if !name.is_empty() {
                    names.insert(number, name.trim());
                }
                if line.starts_with('c') {
                    called = number;
                }
            }
        }
        let mut calls = BTreeMap::new();
        for (number, count) in by_number {
            let name = names.get(number)?;
            let name = name.split_once('\'').map_or(*name, |(name, _)| name);
            *calls.entry(name.to_owned()).or_default() += count;
        }
        Some(Profile {
            instructions: instructions?,
            calls,
        })
    }

    /// How often memory was asked for.
    pub fn allocations(&self) -> u64 {
        let is_allocator = |name: &str| {
            let last = name.rsplit("::").next().unwrap_or(name);
            ALLOCATOR.contains(&last)
        };
        self.calls_of(is_allocator)
    }

    /// How often the functions that `matches` picks were called.
    pub fn calls_of(&self, matches: impl Fn(&str) -> bool) -> u64 {
        let matching = self.calls.iter().filter(|(name, _)| matches(name));
        matching.map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_tells_instructions_and_calls_by_name() {
        let text = "# callgrind format\nevents: Ir\nsummary: 70\n\nfn=(1) a::main\n10 5\ncfn=(2) __rustc::__rust_alloc\ncalls=3 0\n10 20\n\
                    cfn=(3) a::walk'2\ncalls=4 0\n10 1\nfn=(3)\n10 1\ncfn=(2)\ncalls=2 7\n1 1\ncfn=(4) a::walk\ncalls=1 7\n1 1\ntotals: 70\n";
        let profile = Profile::parse(text).unwrap();
        assert_eq!(profile.instructions, 70);
        assert_eq!(profile.allocations(), 5);
        assert_eq!(profile.calls_of(|name| name == "a::walk"), 5);
        assert_eq!(Profile::parse("nothing"), None);
    }
}
