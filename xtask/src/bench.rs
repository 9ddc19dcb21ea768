//! `cargo xtask bench`: what the router costs, in counts and in comparison.

use std::path::Path;

use crate::steps::{Failure, cargo, say, step, succeeds, target_folder};
use crate::{machine, policies};

/// What `cargo xtask bench help` prints.
const HELP: &str = "\
cargo xtask bench                              the three below, one after the other
cargo xtask bench micro [NAME...]              instructions, allocations and CPU time of single steps
                                               (NAME: scan forward respond call options hook location timers digest)
cargo xtask bench growth [NAME...]             the cost of a step among more and more of something
                                               (NAME: transactions registrations timers policies connections)
cargo xtask bench side-by-side [ARGUMENTS]     the same load on Patchbay and on Kamailio
cargo xtask bench budget [--write]             checks the counts of tests/budgets.toml, or writes them anew

docs/performance-micro.md describes the first two and the budgets.";

/// Runs what was asked for.
pub(crate) fn bench(root: &Path, arguments: &[String]) -> Result<(), Failure> {
    let (what, arguments) = arguments
        .split_first()
        .map_or(("", arguments), |(what, rest)| (what.as_str(), rest));
    match what {
        "" => {
            prepare(root)?;
            micro(root, "micro", &[])?;
            micro(root, "growth", &[])?;
            side_by_side(root, &[])
        }
        "micro" | "growth" => {
            prepare(root)?;
            micro(root, what, arguments)
        }
        "side-by-side" => {
            prepare(root)?;
            side_by_side(root, arguments)
        }
        "budget" => budget(root, arguments),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        _ => Err(Failure::Usage(HELP)),
    }
}

/// What every benchmark measures: the policies and the router as it ships.
fn prepare(root: &Path) -> Result<(), Failure> {
    machine::install_valgrind()?;
    policies::build(root, &[])?;
    // One command for both: so they share what they are made of.
    step(cargo(root).args([
        "build",
        "--release",
        "--package",
        "patchbay",
        "--package",
        "patchbay-micro",
    ]))
}

fn micro(root: &Path, what: &str, arguments: &[String]) -> Result<(), Failure> {
    let release = target_folder(root).join("release");
    let mut program = std::process::Command::new(release.join("patchbay-micro"));
    step(
        program
            .current_dir(root)
            .arg(what)
            .args(arguments)
            .env("PATCHBAY_BIN", release.join("patchbay")),
    )
}

fn side_by_side(root: &Path, arguments: &[String]) -> Result<(), Failure> {
    step(
        cargo(root)
            .args([
                "run",
                "--release",
                "--package",
                "patchbay-side-by-side",
                "--",
            ])
            .args(arguments),
    )
}

/// Builds the router that `tests/tests/budgets.rs` measures: optimised, and without the ten minutes of link-time optimisation.
pub(crate) fn build_measured(root: &Path) -> Result<(), Failure> {
    step(cargo(root).args(["build", "--profile", "quick", "--package", "patchbay"]))
}

fn budget(root: &Path, arguments: &[String]) -> Result<(), Failure> {
    let write = match arguments {
        [] => false,
        [flag] if flag == "--write" => true,
        _ => return Err(Failure::Usage(HELP)),
    };
    machine::install_valgrind()?;
    policies::build(root, &[])?;
    build_measured(root)?;
    let nextest = succeeds(cargo(root).args(["nextest", "--version"]));
    let mut test = cargo(root);
    if nextest {
        test.args(["nextest", "run", "--no-capture"]);
    } else {
        test.arg("test");
    }
    test.args(["--package", "patchbay-tests", "--test", "budgets"]);
    if !nextest {
        test.args(["--", "--nocapture"]);
    }
    if write {
        test.env("PATCHBAY_BUDGETS", "write");
    }
    step(&mut test)?;
    if write {
        say("tests/budgets.toml is written: commit it, with the reason when a budget has risen");
    }
    Ok(())
}
