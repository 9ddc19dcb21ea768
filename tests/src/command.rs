//! The command line of a router that runs, as its operator has it.

use std::process::{Command, Output};

use serde_json::Value;

use crate::router::{Router, binary};

/// Runs `patchbay …` with the configuration of a router.
pub fn patchbay(router: &Router, arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .arg("--config")
        .arg(router.path().join("patchbay.toml"))
        .output()
        .expect("run patchbay")
}

/// Runs `patchbay … --json`, which has to end well, and gives back what it prints.
pub fn json(router: &Router, arguments: &[&str]) -> Value {
    let output = patchbay(router, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What a command has printed, and then its errors.
pub fn text(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr];
    both.map(|bytes| String::from_utf8_lossy(bytes)).concat()
}
