//! The arrows between our crates are the ones of ARCHITECTURE.md, and no others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// From the crate that depends to the crate it depends on. `patchbay-tests` and the benchmarks may depend on any.
const ARROWS: &[(&str, &str)] = &[
    ("patchbay-core", "patchbay-message"),
    ("patchbay-policy", "patchbay-message"),
    ("patchbay", "patchbay-message"),
    ("patchbay", "patchbay-core"),
    ("patchbay", "patchbay-policy"),
    // Tools: building guests is needed by the binary (`patchbay policy build`) and by the set-up.
    ("patchbay", "patchbay-guest-build"),
    ("xtask", "patchbay-guest-build"),
    ("patchbay-sdk", "patchbay-sdk-macros"),
    // Only on the developer's machine: `patchbay_sdk::testing` reads messages with the router's own parser.
    ("patchbay-sdk", "patchbay-message"),
];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("run cargo metadata");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Every dependency between members, build and dev-dependencies included, with the folder of the first.
fn arrows() -> Vec<(String, String, String)> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let members: BTreeSet<&str> = packages
        .iter()
        .map(|p| p["name"].as_str().expect("a name"))
        .collect();
    let mut arrows = Vec::new();
    for package in packages {
        let from = package["name"].as_str().expect("a name");
        let folder = package["manifest_path"].as_str().expect("a path");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = dependency["name"].as_str().expect("a name");
            if members.contains(to) {
                arrows.push((from.to_owned(), to.to_owned(), folder.to_owned()));
            }
        }
    }
    arrows
}

#[test]
fn crates_depend_on_each_other_only_along_the_arrows() {
    let found = arrows();
    assert!(found.len() >= 8, "cargo metadata showed only {found:?}");
    for (from, to, folder) in found {
        let policy = folder.contains("/policies/") && to == "patchbay-sdk";
        let watches = from == "patchbay-tests" || folder.contains("/benches/");
        let allowed = watches || policy || ARROWS.contains(&(from.as_str(), to.as_str()));
        assert!(
            allowed,
            "{from} depends on {to}: ARCHITECTURE.md has no such arrow"
        );
    }
}

#[test]
fn only_patchbay_policy_names_wasmtime() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = dependency["name"].as_str().expect("a name");
            assert!(
                !to.starts_with("wasmtime") || name == "patchbay-policy",
                "{name} depends on {to}"
            );
        }
    }
}

#[test]
fn the_core_bans_clocks_randomness_sockets_threads_and_files() {
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../host/core/clippy.toml"
    ))
    .expect("host/core/clippy.toml");
    for name in [
        "std::time::Instant::now",
        "std::time::SystemTime::now",
        "std::net::UdpSocket",
        "std::net::TcpStream",
        "std::thread::spawn",
        "std::fs::",
    ] {
        assert!(
            text.contains(name),
            "host/core/clippy.toml does not ban {name}"
        );
    }
}
