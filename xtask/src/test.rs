//! `cargo xtask test`: everything the tests need, then all of them.

use std::path::Path;

use crate::steps::{Failure, cargo, say, step, succeeds};
use crate::{bench, machine, policies};

/// Prepares the machine and runs the tests.
pub(crate) fn test(root: &Path, filters: &[String]) -> Result<(), Failure> {
    machine::prepare()?;
    machine::install_valgrind()?;
    policies::build(root, &[])?;
    // The wire tests start the binary. Building every target at once resolves features as the tests do, so nothing is
    // compiled twice.
    step(cargo(root).args(["build", "--workspace", "--all-targets"]))?;
    // The budgets are those of an optimised router, which the test of them would build by itself, unseen.
    if filters.is_empty() {
        bench::build_measured(root)?;
    }
    if succeeds(cargo(root).args(["nextest", "--version"])) {
        step(
            cargo(root)
                .args(["nextest", "run", "--workspace", "--no-fail-fast"])
                .args(filters),
        )?;
        return doctests(root, filters);
    }
    say(
        "cargo-nextest is not installed, so cargo test runs the tests (cargo install cargo-nextest is faster)",
    );
    cargo_test(root, "--all-targets", filters)?;
    doctests(root, filters)
}

/// The examples in the documentation: no other runner knows them.
fn doctests(root: &Path, filters: &[String]) -> Result<(), Failure> {
    cargo_test(root, "--doc", filters)
}

fn cargo_test(root: &Path, what: &str, filters: &[String]) -> Result<(), Failure> {
    step(
        cargo(root)
            .args([
                "test",
                "--quiet",
                "--no-fail-fast",
                "--workspace",
                what,
                "--",
            ])
            .args(filters),
    )
}
