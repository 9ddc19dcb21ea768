//! What policies ask beyond the router, in recordings, in the shadow and among the recent calls: nothing is asked or written twice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use patchbay_tests::command::{json, patchbay, text};
use patchbay_tests::http_server::HttpServer;
use patchbay_tests::router::{Router, binary, wait_until};
use patchbay_tests::{outside, policies};
use serde_json::Value;

/// The policy `outside`, with one text of its source in place of another.
fn changed(name: &str, text: &str, by: &str) -> PathBuf {
    let source =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/outside.rs"))
            .expect("the guest's source");
    assert!(source.contains(text));
    policies::guest_from(name, &source.replace(text, by))
}

/// A version that counts by two.
fn counting_by_two() -> PathBuf {
    changed(
        "outside-by-two",
        "\"calls/total\", 1,",
        "\"calls/total\", 2,",
    )
}

fn router(server: &HttpServer) -> Router {
    outside::outside(server, "")
        .policy_keys("call_ring = 100")
        .start()
}

/// A call to this user: what its policy tells of what it asked, and the Call-ID.
fn called(router: &Router, user: &str) -> (String, String) {
    let answer = outside::called(router, user);
    let told = [answer.header("X-Result"), answer.header("X-Error")].concat();
    (told, answer.header("Call-ID").to_owned())
}

fn replay(file: &Path, policy: &Path) -> Value {
    let output = Command::new(binary())
        .args(["policy", "replay", "--json"])
        .arg(file)
        .arg("--policy")
        .arg(policy)
        .output()
        .expect("run patchbay");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
}

/// The fields of each run that is different.
fn fields(found: &Value) -> Vec<Vec<&str>> {
    let runs = found["differences"].as_array().expect("a list").iter();
    runs.map(|run| {
        let differences = run["differences"].as_array().expect("a list").iter();
        differences
            .map(|difference| difference["field"].as_str().expect("a field"))
            .collect()
    })
    .collect()
}

const USERS: [&str; 8] = [
    "ask",
    "count",
    "count",
    "keep",
    "kept",
    "keys",
    "forbidden",
    "wrong-key",
];

#[test]
fn a_recording_has_the_answers_from_outside_and_replays_without_asking_again() {
    let server = HttpServer::start(201, "sip:gateway", Duration::ZERO);
    let router = router(&server);
    json(&router, &["record", "start"]);
    for user in USERS {
        called(&router, user);
    }
    let report = json(&router, &["record", "stop"]);
    let file = Path::new(report["file"].as_str().expect("a file"));
    assert_eq!(server.requests().len(), 1);

    let same = replay(file, &policies::guest("outside"));
    assert_eq!(same["differences"], serde_json::json!([]), "{same:#}");
    assert_eq!(same["runs"], report["runs"]);
    assert_eq!(server.requests().len(), 1, "a replay asks nobody");

    let other = replay(file, &counting_by_two());
    let expected = vec!["reply headers", "keyvalue", "asked something new"];
    assert_eq!(other["different_runs"], 2, "{other:#}");
    for found in fields(&other) {
        let found: Vec<&str> = found
            .into_iter()
            .filter(|field| expected.contains(field))
            .collect();
        assert_eq!(found, expected, "{other:#}");
    }
}

#[test]
fn redaction_keeps_what_was_asked_and_hides_what_was_said() {
    let server = HttpServer::start(201, "private words", Duration::ZERO);
    let router = router(&server);
    json(&router, &["record", "start", "--redact"]);
    for user in USERS {
        called(&router, user);
    }
    let report = json(&router, &["record", "stop"]);
    let file = Path::new(report["file"].as_str().expect("a file"));
    let recorded = std::fs::read_to_string(file).expect("there");
    assert!(recorded.contains("/api/route"), "{recorded}");
    let hidden = format!("\"body\":\"{}\"", "x".repeat("private words".len()));
    let asked: Vec<&str> = recorded
        .lines()
        .filter(|line| line.contains("\"asked\":\"http\""))
        .collect();
    assert_eq!(asked.len(), 2, "{asked:#?}");
    assert!(asked[0].contains(&hidden), "{}", asked[0]);
    let run: Value = serde_json::from_str(asked[0]).expect("JSON");
    let answers = run["run"]["answers"].to_string();
    assert!(!answers.contains("private"), "{answers}");
}

#[test]
fn a_recent_call_shows_what_it_asked_and_runs_again_without_asking() {
    let server = HttpServer::start(201, "sip:gateway", Duration::ZERO);
    let router = router(&server);
    let (told, asked) = called(&router, "ask");
    assert_eq!(told, "201 sip:gateway test");
    let (_, counted) = called(&router, "count");
    let page = text(&patchbay(&router, &["call", "show", &asked]));
    for part in ["? http ", "/api/route", "\"status\":201"] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let page = text(&patchbay(&router, &["call", "show", &counted]));
    assert!(page.contains("? keyvalue "), "{page}");
    assert!(page.contains("\"number\":1"), "{page}");
    let file = policies::guest("outside");
    let file = file.to_str().expect("a UTF-8 path");
    for call_id in [&asked, &counted] {
        let again = ["call", "show", call_id, "--replay-with", file];
        let found = json(&router, &again);
        assert_eq!(found["different_runs"], 0, "{found:#}");
    }
    assert_eq!(server.requests().len(), 1);
    assert_eq!(called(&router, "count").0, "2");
}

#[test]
fn a_run_that_was_answered_too_much_is_no_difference() {
    let server = HttpServer::start(200, &"x".repeat(300 << 10), Duration::ZERO);
    let router = router(&server);
    let file = counting_by_two();
    let file = file.to_str().expect("a UTF-8 path");
    json(&router, &["policy", "push", "outside", file]);
    json(&router, &["policy", "shadow", "outside"]);
    json(&router, &["record", "start"]);
    called(&router, "slow");
    called(&router, "keep");
    let report = json(&router, &["record", "stop"]);
    let file = Path::new(report["file"].as_str().expect("a file"));
    let same = replay(file, &policies::guest("outside"));
    assert_eq!(same["differences"], serde_json::json!([]), "{same:#}");
    assert_eq!(same["lacking_answers"], 1, "{same:#}");
    assert_eq!(same["skipped"], 1, "{same:#}");
    let diff = || json(&router, &["policy", "diff"]);
    wait_until("the shadow has seen all", || diff()["dropped"] == 1);
    assert_eq!(diff()["different"], 0, "{:#}", diff());
}

#[test]
fn a_version_in_the_shadow_asks_and_writes_nothing() {
    let server = HttpServer::start(201, "sip:gateway", Duration::ZERO);
    let router = router(&server);
    let file = counting_by_two();
    let file = file.to_str().expect("a UTF-8 path");
    json(&router, &["policy", "push", "outside", file]);
    json(&router, &["policy", "shadow", "outside"]);
    for user in ["ask", "count", "count"] {
        called(&router, user);
    }
    let diff = || json(&router, &["policy", "diff"]);
    wait_until("the shadow has seen all", || {
        diff()["runs"].as_u64().is_some_and(|runs| runs >= 3)
    });
    let found = diff();
    assert_eq!(found["different"], 2, "{found:#}");
    assert_eq!(server.requests().len(), 1);
    assert_eq!(called(&router, "count").0, "3", "only real calls count");
}
