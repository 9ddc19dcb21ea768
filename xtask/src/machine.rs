//! Programs that the tests need and that cargo can't build.

use std::process::Command;

use crate::steps::{Failure, say, step, succeeds};

/// A program, how to see that it is there, and Debian's package of it.
struct Program {
    name: &'static str,
    package: &'static str,
    is_there: fn() -> bool,
}

/// SIPp drives the wire tests, baresip is the real client; Python and Node.js bring the compilers for guests.
const PROGRAMS: [Program; 4] = [
    Program {
        name: "sipp",
        package: "sip-tester",
        is_there: || in_path("sipp"),
    },
    Program {
        name: "baresip",
        package: "baresip",
        is_there: || in_path("baresip"),
    },
    Program {
        name: "python3 with venv",
        package: "python3-venv",
        is_there: has_virtual_environments,
    },
    Program {
        name: "node with npm",
        package: "npm",
        is_there: || in_path("node") && in_path("npm"),
    },
];

/// Counts instructions: for the budgets and the benchmarks.
const VALGRIND: Program = Program {
    name: "valgrind",
    package: "valgrind",
    is_there: || in_path("valgrind") && in_path("vgdb"),
};

/// Installs with apt what is missing.
pub(crate) fn prepare() -> Result<(), Failure> {
    install_missing(&PROGRAMS)
}

/// Installs valgrind. Where there is no apt, or no right to use it, what needs valgrind says so and the rest goes on.
pub(crate) fn install_valgrind() -> Result<(), Failure> {
    if (VALGRIND.is_there)() || root_prefix().is_some() {
        return install_missing(&[VALGRIND]);
    }
    say("valgrind is missing and can't be installed here: no instructions are counted");
    Ok(())
}

fn install_missing(programs: &[Program]) -> Result<(), Failure> {
    let missing: Vec<&Program> = programs
        .iter()
        .filter(|program| !(program.is_there)())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|program| program.package).collect();
    let failure = |reason: &str| Failure::Missing {
        programs: missing.iter().map(|program| program.name).collect(),
        reason: reason.to_owned(),
        command: format!(
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends {}",
            packages.join(" ")
        ),
    };
    let Some(prefix) = root_prefix() else {
        return Err(failure("apt-get needs root here"));
    };
    say(&format!("installing {}", packages.join(" ")));
    install(prefix, &packages).map_err(|_| failure("apt-get could not install them"))?;
    if missing.iter().all(|program| (program.is_there)()) {
        Ok(())
    } else {
        Err(failure("apt-get left them out"))
    }
}

/// What has to stand before apt-get to be root, if anything works.
fn root_prefix() -> Option<&'static [&'static str]> {
    if !in_path("apt-get") {
        return None;
    }
    if succeeds(Command::new("test").args(["-w", "/var/lib/dpkg"])) {
        return Some(&[]);
    }
    succeeds(Command::new("sudo").args(["-n", "true"])).then_some(&["sudo", "-n"])
}

/// The machine's package lists may be old or not there at all: then they are fetched.
fn install(prefix: &[&str], packages: &[&str]) -> Result<(), Failure> {
    let install = || {
        step(
            apt(prefix)
                .args(["install", "-y", "-q", "--no-install-recommends"])
                .args(packages),
        )
    };
    install().or_else(|_| {
        step(apt(prefix).args(["update", "-q"]))?;
        install()
    })
}

fn apt(prefix: &[&str]) -> Command {
    let mut words =
        prefix
            .iter()
            .copied()
            .chain(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    let mut command = Command::new(words.next().unwrap_or("apt-get"));
    command.args(words);
    command
}

fn has_virtual_environments() -> bool {
    succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"]))
}

fn in_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}
