//! Files of the policy directory that are not taken as they are: what they are not granted, and names that are none of policies.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use patchbay_tests::command::patchbay;
use patchbay_tests::policies;
use patchbay_tests::rollout::version;
use patchbay_tests::router::{Router, Setup, wait_until};
use patchbay_tests::tenants::reload;
use serde_json::Value;

fn policy(router: &Router, name: &str) -> Option<Value> {
    let answer = router.get("/api/v1/policies");
    let policies = answer["policies"].as_array().expect("a list");
    policies
        .iter()
        .find(|policy| policy["name"] == name)
        .cloned()
}

fn state(router: &Router, name: &str) -> Option<Value> {
    policy(router, name).map(|policy| policy["versions"][0]["state"].clone())
}

#[test]
fn a_refused_file_is_taken_when_it_is_granted_what_it_imports() {
    let router = Setup::new()
        .policy("rolled", &version("one"))
        .policy("outside", &policies::guest("outside"))
        .active("rolled")
        .setting("url", "http://127.0.0.1/")
        .start();
    wait_until("the file to be refused", || {
        state(&router, "outside").is_some_and(|state| state == "rejected")
    });
    let error = policy(&router, "outside").expect("listed")["last_error"].to_string();
    for import in ["http@0.1.0", "keyvalue@0.1.0"] {
        assert!(error.contains(import), "{error}");
    }
    reload(&router, |text| {
        format!(
            "{text}\n[policy.grants]\nhttp = [\"http://127.0.0.1/\"]\nkeyvalue = [\"calls/\"]\n"
        )
    });
    wait_until("the file to be taken", || {
        state(&router, "outside").is_some_and(|state| state == "ready")
    });
    let taken = policy(&router, "outside").expect("listed");
    assert_eq!(taken["last_error"], Value::Null, "{taken}");
}

#[test]
fn files_that_are_no_policies_under_their_names_are_told() {
    let router = Setup::new()
        .policy("rolled", &version("one"))
        .active("rolled")
        .start();
    std::fs::copy(version("two"), router.path().join("policies/a.b.wasm")).expect("copy");
    router.wait_for_log("a.b.wasm");
    assert!(router.log().contains("a file is no policy under this name"));
    let check = patchbay(&router, &["check"]);
    assert_eq!(check.status.code(), Some(1));
    let problems = String::from_utf8_lossy(&check.stderr);
    assert!(problems.contains("a.b.wasm: it is no policy"), "{problems}");
}
