//! Instructions and allocations, counted by valgrind's callgrind.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use super::{Instructions, Subject, read};
use crate::failure::Failure;
use crate::load::{Pace, Plan};
use crate::machine::Machine;
use crate::measure::{Callees, generate, register};
use crate::server::{Server, Setup};

/// Transactions of the short run; the long one has [`MORE`] on top.
const FEW: u64 = 100;
const MORE: u64 = 400;
/// Users; registering more takes long under valgrind.
const USERS: u64 = 100;
/// At a time: the server is never idle for long and never overrun.
const WINDOW: usize = 4;
/// Nothing is to be sent again because valgrind makes everything slow.
const T1_MS: u64 = 20_000;
/// How long a start may take under valgrind.
const PATIENCE: Duration = Duration::from_secs(300);
/// Functions whose calls are allocations: the C library's and mimalloc's, as Rust's allocator calls them, and Kamailio's `fm` and `qm`.
const ALLOCATORS: &[&str] = &[
    "malloc",
    "calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
    "mi_malloc",
    "mi_zalloc",
    "mi_calloc",
    "mi_realloc",
    "mi_malloc_aligned",
    "mi_zalloc_aligned",
    "mi_realloc_aligned",
    "fm_malloc",
    "fm_mallocxz",
    "fm_realloc",
    "fm_reallocxf",
    "fm_shm_malloc",
    "fm_shm_mallocxz",
    "fm_shm_realloc",
    "fm_shm_reallocxf",
    "qm_malloc",
    "qm_realloc",
];

/// Two runs, of which the difference counts: starting and stopping drop out.
pub(super) fn count(machine: &Machine, subject: &Subject) -> Result<Instructions, Failure> {
    // Patchbay compiles its policies at the first start on a processor, and valgrind's is another one than the machine's.
    compile(machine, subject)?;
    let few = profile(machine, subject, FEW)?;
    let many = profile(machine, subject, FEW + MORE)?;
    let each = |many: u64, few: u64| many.saturating_sub(few) as f64 / MORE as f64;
    let allocations = many.calls.iter().map(|(name, &calls)| {
        let before = few.calls.get(name).copied().unwrap_or(0);
        (name.clone(), each(calls, before))
    });
    Ok(Instructions {
        instructions: each(many.instructions, few.instructions),
        allocations: allocations.filter(|(_, calls)| *calls > 0.0).collect(),
    })
}

/// What callgrind wrote, over all processes.
#[derive(Debug, Default)]
struct Profile {
    instructions: u64,
    /// Calls of the allocators.
    calls: BTreeMap<String, u64>,
}

fn compile(machine: &Machine, subject: &Subject) -> Result<(), Failure> {
    let server = watched(machine, subject)?;
    server.wait_until_compiled(machine, PATIENCE)?;
    server.stop();
    Ok(())
}

fn profile(machine: &Machine, subject: &Subject, transactions: u64) -> Result<Profile, Failure> {
    let (product, scenario) = (subject.product, subject.scenario);
    let server = watched(machine, subject)?;
    let callees = scenario
        .needs_callees()
        .then(|| Callees::start(machine, scenario))
        .transpose()?;
    if let Some(plan) = scenario.preparation(product) {
        register(machine, &slow(plan, USERS))?;
    }
    let report = generate(machine, &slow(subject.plan(), transactions))?;
    server.stop();
    drop(callees);
    if report.completed != transactions {
        let (statuses, faults) = (report.statuses, report.faults);
        return Err(Failure::Unclean(format!(
            "transactions fail under valgrind: statuses {statuses:?}, faults {faults:?}"
        )));
    }
    sum(&folder(machine))
}

/// The server under callgrind, whose profiles go into an empty folder.
fn watched(machine: &Machine, subject: &Subject) -> Result<Server, Failure> {
    let folder = folder(machine);
    empty(&folder).map_err(Failure::file(&folder))?;
    let setup = Setup {
        watched_by: valgrind(&folder),
        patience: PATIENCE,
        ..subject.setup()
    };
    Server::start(machine, subject.product, &setup)
}

fn folder(machine: &Machine) -> PathBuf {
    machine.folder.join("callgrind")
}

fn valgrind(folder: &Path) -> Vec<String> {
    vec![
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}/profile.%p", folder.display()),
        format!("--log-file={}/log.%p", folder.display()),
    ]
}

fn slow(mut plan: Plan, count: u64) -> Plan {
    plan.count = count;
    plan.users = USERS;
    plan.pace = Pace::Window(WINDOW);
    plan.t1_ms = T1_MS;
    plan
}

fn empty(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)
}

fn sum(folder: &Path) -> Result<Profile, Failure> {
    let mut sum = Profile::default();
    let profiles = profiles(folder).map_err(Failure::file(folder))?;
    for path in profiles {
        let one = profile_of(&read(&path)?);
        sum.instructions += one.instructions;
        for (name, calls) in one.calls {
            *sum.calls.entry(name).or_default() += calls;
        }
    }
    if sum.instructions == 0 {
        return Err(Failure::Unclean("callgrind has counted nothing".to_owned()));
    }
    Ok(sum)
}

fn profiles(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("profile.") {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

/// Callgrind's format: `fn=(ID) NAME` and `cfn=(ID) NAME` name functions, the name only the first time; `calls=COUNT ...` belongs to the
/// callee named last.
fn profile_of(text: &str) -> Profile {
    let mut profile = Profile::default();
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut callee = "";
    for line in text.lines() {
        if let Some(function) = line.strip_prefix("cfn=") {
            callee = function_name(&mut names, function);
        } else if let Some(function) = line.strip_prefix("fn=") {
            function_name(&mut names, function);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let count = calls.split(' ').next().and_then(|count| count.parse().ok());
            // Versions of a symbol and what the compiler splits off are the same function.
            let name = callee.split(['@', '\'', '.']).next().unwrap_or(callee);
            if ALLOCATORS.contains(&name) {
                *profile.calls.entry(name.to_owned()).or_default() += count.unwrap_or(0u64);
            }
        } else if let Some(total) = line
            .strip_prefix("totals: ")
            .or_else(|| line.strip_prefix("summary: "))
        {
            let total: u64 = total.trim().parse().unwrap_or(0);
            profile.instructions = profile.instructions.max(total);
        }
    }
    profile
}

fn function_name<'a>(names: &mut HashMap<&'a str, &'a str>, text: &'a str) -> &'a str {
    match text.split_once(' ') {
        Some((id, name)) => {
            names.insert(id, name);
            name
        }
        None => names.get(text).copied().unwrap_or(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "\
version: 1
events: Ir
fn=(1) main
0 10
cfn=(2) fm_malloc
calls=3 0
0 90
fn=(3) other
cfn=(2)
calls=4 0
0 100
cfn=(4) malloc@@GLIBC_2.2.5
calls=2 0
0 7
cfn=(5) free
calls=9 0
0 7
totals: 214
";

    #[test]
    fn instructions_and_calls_of_allocators_are_read() {
        let profile = profile_of(PROFILE);
        assert_eq!(profile.instructions, 214);
        let expected = [("fm_malloc".to_owned(), 7), ("malloc".to_owned(), 2)];
        assert_eq!(profile.calls, BTreeMap::from(expected));
    }
}
