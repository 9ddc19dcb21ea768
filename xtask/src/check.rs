//! `cargo xtask check`: what a change must pass besides its tests.

use std::path::Path;

use crate::policies;
use crate::steps::{Failure, cargo, step};

/// Format, clippy and documentation, warnings denied.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    step(cargo(root).args(["fmt", "--all", "--check"]))?;
    // The router embeds the default policy, so it has to be there to compile.
    if !root.join("target/policies/default.wasm").is_file() {
        policies::build_default(root)?;
    }
    step(cargo(root).args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    step(
        cargo(root)
            .args(["doc", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}
