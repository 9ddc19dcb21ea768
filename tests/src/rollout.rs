//! Versions of one policy that say which they are, and what it takes to push them to a router.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::router::Router;
use crate::{command, policies};

/// The component of `tests/guests/rollout.rs` that calls itself `name`; `bad` fails on every new INVITE, `saving` decides to save it.
pub fn version(name: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/rollout.rs");
    let source = std::fs::read_to_string(file).expect("the guest's source");
    policies::guest_from(
        &format!("rollout-{name}"),
        &source.replace(
            "VERSION: &str = \"one\"",
            &format!("VERSION: &str = \"{name}\""),
        ),
    )
}

/// Runs `patchbay policy …` against a router, on its data directory as its operator does.
pub fn policy(router: &Router, arguments: &[&str]) -> Output {
    command::patchbay(router, &[&["policy"], arguments].concat())
}

/// Runs `patchbay policy … --json`, which has to end well, and gives back what it prints.
pub fn policy_json(router: &Router, arguments: &[&str]) -> Value {
    command::json(router, &[&["policy"], arguments].concat())
}

/// Stores a component as a version of `rolled`; its digest.
pub fn push(router: &Router, component: &Path) -> String {
    push_as(router, "rolled", component)
}

/// The same of any policy.
pub fn push_as(router: &Router, name: &str, component: &Path) -> String {
    let file = component.to_str().expect("a UTF-8 path");
    let answer = policy_json(router, &["push", name, file]);
    answer["version"].as_str().expect("a digest").to_owned()
}

/// What the router says of one version.
pub fn version_of(router: &Router, digest: &str) -> Value {
    let answer = router.get("/api/v1/policies");
    let versions = answer["policies"]
        .as_array()
        .expect("policies")
        .iter()
        .flat_map(|policy| policy["versions"].as_array().expect("versions"));
    versions
        .into_iter()
        .find(|version| version["version"] == digest)
        .unwrap_or_else(|| panic!("{digest} is not listed: {answer}"))
        .clone()
}

/// The audit log, the latest line first.
pub fn audit(router: &Router) -> Vec<Value> {
    let answer = router.get("/api/v1/audit");
    answer["audit"].as_array().expect("lines").clone()
}
