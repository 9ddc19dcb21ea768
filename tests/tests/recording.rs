//! Recording and replaying hook runs, the calls in memory, and a version in the shadow.
//!
//! `PATCHBAY_RECORDED_CALLS` (default 400) makes the recording longer, `PATCHBAY_RECORDED_RATE` (default 200) is in calls a second.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use patchbay_tests::agent::Agent;
use patchbay_tests::command::{json, patchbay, text};
use patchbay_tests::load::Load;
use patchbay_tests::policies;
use patchbay_tests::router::{Router, Setup, binary, wait_until};
use serde_json::Value;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// The policy of `tests/guests/ruled.rs` with another text for one of its constants.
fn ruled(name: &str, constant: &str, text: &str) -> PathBuf {
    let source =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/ruled.rs"))
            .expect("the guest's source");
    let lines: Vec<String> = source
        .lines()
        .map(
            |line| match line.starts_with(&format!("const {constant}: ")) {
                true => format!("const {constant}: &str = {text:?};"),
                false => line.to_owned(),
            },
        )
        .collect();
    policies::guest_from(name, &lines.join("\n"))
}

fn plain() -> PathBuf {
    ruled("ruled", "REFUSED", "nobody-at-all")
}

/// The version with one changed rule: it refuses calls to carol.
fn refusing() -> PathBuf {
    ruled("ruled-refusing", "REFUSED", "carol")
}

fn router(setup: Setup) -> Router {
    setup
        .policy("ruled", &plain())
        .active("ruled")
        .setting("word", "blue")
        .start()
}

/// `policy replay`: its exit code and its JSON.
fn replay(file: &Path, policy: &Path) -> (i32, Value) {
    let output = Command::new(binary())
        .args(["policy", "replay", "--json"])
        .arg(file)
        .arg("--policy")
        .arg(policy)
        .output()
        .expect("run patchbay");
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    (output.status.code().expect("an exit code"), value)
}

/// Ends the recording and tells where it is.
fn stop(router: &Router) -> (PathBuf, Value) {
    let report = json(router, &["record", "stop"]);
    assert_eq!(report["dropped"], 0, "{report}");
    (report["file"].as_str().expect("a file").into(), report)
}

/// A call that nobody takes, and its Call-ID.
fn failed_call(router: &Router, user: &str) -> (u16, String) {
    let mut caller = Agent::udp(router.udp(), "alice");
    let invite = caller.invite(&format!("sip:{user}@localhost"));
    let answer = caller.final_response();
    caller.acknowledge(&invite, &answer);
    (answer.status(), invite.text.header("Call-ID").to_owned())
}

/// A call to this user, who rejects it with this status.
fn rejected_call(router: &Router, user: &str, status: u16) -> String {
    let mut callee = Agent::udp(router.udp(), user);
    callee.register();
    let mut caller = Agent::udp(router.udp(), "alice");
    let invite = caller.invite(&format!("sip:{user}@localhost"));
    let request = callee.expect_request("INVITE");
    callee.respond(&request, 180, "", "");
    callee.respond(&request, status, "", "");
    let answer = caller.final_response();
    caller.acknowledge(&invite, &answer);
    invite.text.header("Call-ID").to_owned()
}

#[test]
fn the_same_version_replays_without_a_difference_and_a_changed_rule_shows_in_its_calls_alone() {
    let (calls, rate) = (
        number("PATCHBAY_RECORDED_CALLS", 400),
        number("PATCHBAY_RECORDED_RATE", 200),
    );
    let router = router(Setup::new().workers(2));
    let started = json(
        &router,
        &["record", "start", "--name", "load", "--max-size", "4GiB"],
    );
    assert_eq!(started["running"], true, "{started}");
    let mut load = Load::new(router.udp(), "recorded");
    for user in ["bob", "carol", "dave"] {
        load.register(user);
    }
    let users = ["bob", "carol", "dave", "bob", "nobody"];
    let made = load.run(
        calls,
        rate as f64,
        |number| users[number % users.len()].to_owned(),
        |_| {},
    );
    rejected_call(&router, "erin", 486);
    rejected_call(&router, "frank", 603);
    assert!(
        made.iter()
            .all(|call| call.status == 200 || call.user == "nobody")
    );
    let (file, report) = stop(&router);
    assert!(file.starts_with(router.path().join("data/recordings")));
    let mode = std::fs::metadata(&file)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(report["runs"].as_u64().expect("a number") > calls as u64);

    let (code, same) = replay(&file, &plain());
    assert_eq!(same["differences"], serde_json::json!([]), "{same:#}");
    assert_eq!((code, &same["runs"]), (0, &report["runs"]));

    let (code, other) = replay(&file, &refusing());
    assert_eq!(code, 1);
    let found: BTreeSet<&str> = other["differences"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|run| run["call_id"].as_str().expect("a Call-ID"))
        .collect();
    let expected: BTreeSet<String> = made
        .iter()
        .filter(|call| call.user == "carol")
        .map(|call| call.responses[0].header("Call-ID").to_owned())
        .collect();
    assert_eq!(found, expected.iter().map(String::as_str).collect());
    let first = &other["differences"][0];
    assert_eq!(first["hook"], "request-route", "{first:#}");
    let verdict = &first["differences"][0];
    assert_eq!(
        (&verdict["field"], &verdict["old"], &verdict["new"]),
        (&"verdict".into(), &"relay".into(), &"reply".into())
    );
}

#[test]
fn a_question_that_nobody_asked_then_is_a_difference() {
    let router = router(Setup::new());
    json(&router, &["record", "start"]);
    rejected_call(&router, "erin", 603);
    let (file, _) = stop(&router);
    let asking = ruled("ruled-asking", "ALSO_ASKED", "sip:zoe@localhost");
    let (code, found) = replay(&file, &asking);
    assert_eq!(code, 1, "{found:#}");
    let differences = found["differences"][0]["differences"]
        .as_array()
        .expect("a list");
    assert_eq!(differences.len(), 1, "{found:#}");
    assert_eq!(differences[0]["field"], "asked something new");
    assert_eq!(differences[0]["new"], "location.lookup sip:zoe@localhost");
}

#[test]
fn credentials_are_in_no_recording_and_redaction_hides_users_and_addresses() {
    let router = Setup::new().user("alice", "wonderland").start();
    for (name, redact) in [("open", false), ("hidden", true)] {
        let mut arguments = vec!["record", "start", "--name", name];
        arguments.extend(redact.then_some("--redact"));
        json(&router, &arguments);
        let mut alice = Agent::udp(router.udp(), "alice");
        alice.register_with("wonderland");
        let (file, report) = stop(&router);
        assert_eq!(report["redacted"], redact);
        let recorded = std::fs::read_to_string(&file).expect("there");
        assert!(recorded.contains("REGISTER sip:localhost"), "{recorded}");
        for secret in ["nonce=", "response=", "cnonce"] {
            assert!(!recorded.contains(secret), "{secret} is in {recorded}");
        }
        assert_eq!(recorded.contains("alice"), !redact, "{recorded}");
        let (code, same) = replay(&file, &policies::built("default"));
        assert_eq!(code, 0, "{same:#}");
        assert_eq!(same["runs"], 2);
    }
}

#[test]
fn a_recording_ends_at_its_bounds_and_is_counted() {
    let router = router(Setup::new());
    json(&router, &["record", "start", "--max-size", "64KiB"]);
    let second = patchbay(&router, &["record", "start"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second).contains("under way"), "{}", text(&second));
    assert!(router.metric("patchbay_recording_bytes", "") > 0.0);
    wait_until("the recording is full", || {
        failed_call(&router, "nobody");
        json(&router, &["record", "status"])["running"] == false
    });
    let report = json(&router, &["record", "status"]);
    assert_eq!(report["ended"], "max_size", "{report}");
    assert!(report["bytes"].as_u64().expect("a number") <= 64 << 10);
    assert!(router.metric("patchbay_traced_hook_runs_total", "") > 1.0);
    let traced = router.metric("patchbay_traced_hook_runs_total", "");
    failed_call(&router, "nobody");
    assert_eq!(router.metric("patchbay_traced_hook_runs_total", ""), traced);
    let stopped = patchbay(&router, &["record", "stop"]);
    assert_eq!(stopped.status.code(), Some(1), "{}", text(&stopped));
    json(&router, &["record", "start", "--max-time", "200ms"]);
    wait_until("the time is over", || {
        json(&router, &["record", "status"])["ended"] == "max_time"
    });
}

#[test]
fn a_recording_is_named_from_the_root_and_never_overwritten() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let mut command = Command::new(binary());
    command
        .args(["run", "--data-dir", "data", "--listen", "udp:127.0.0.1:0"])
        .args([
            "--listen",
            "tcp:127.0.0.1:0",
            "--set",
            "admin.listen=127.0.0.1:0",
        ])
        .current_dir(folder.path());
    let router = Router::launch(&mut command, Some(folder));
    let record = |arguments: &[&str]| {
        Command::new(binary())
            .arg("record")
            .args(arguments)
            .args(["--json", "--data-dir"])
            .arg(router.path().join("data"))
            .output()
            .expect("run patchbay")
    };
    let started = record(&["start", "--name", "one"]);
    let report: Value = serde_json::from_slice(&started.stdout).expect("JSON");
    let file = report["file"].as_str().expect("a file");
    assert!(
        Path::new(file).is_absolute() && Path::new(file).exists(),
        "{file}"
    );
    assert!(record(&["stop"]).status.success());
    let again = record(&["start", "--name", "one"]);
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));
    assert!(
        text(&again).contains("choose another name"),
        "{}",
        text(&again)
    );
}

#[test]
fn a_recording_is_whole_when_the_router_ends() {
    let router = router(Setup::new());
    json(&router, &["record", "start", "--name", "last"]);
    failed_call(&router, "nobody");
    let directory = router.stop();
    let file = directory.path().join("data/recordings/last.jsonl");
    let (code, same) = replay(&file, &plain());
    assert_eq!((code, same["runs"].as_u64()), (0, Some(1)), "{same:#}");
    let recorded = std::fs::read_to_string(&file).expect("there");
    assert!(
        recorded
            .lines()
            .last()
            .is_some_and(|line| line.contains("\"end\""))
    );
}

#[test]
fn calls_are_kept_hook_by_hook_and_run_again_on_another_version() {
    let router = router(Setup::new().policy_keys("call_ring = 3"));
    let kept = rejected_call(&router, "carol", 486);
    let calls = json(&router, &["call", "list"]);
    let call = calls["calls"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|call| call["call_id"] == *kept)
        .expect("the call is kept");
    assert_eq!(call["method"], "INVITE", "{calls:#}");
    assert_eq!(call["policy"], "ruled");
    assert_eq!(call["last"], "failure-route reply 480 Later", "{calls:#}");

    let shown = json(&router, &["call", "show", &kept]);
    let hooks: Vec<&str> = shown["runs"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|run| run["input"]["hook"].as_str().expect("a hook"))
        .collect();
    assert_eq!(
        hooks,
        [
            "request-route",
            "onreply-route",
            "onreply-route",
            "failure-route"
        ]
    );
    let first = &shown["runs"][0];
    let lookup = first["answers"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|answer| answer["asked"] == "lookup")
        .expect("a look-up");
    assert_eq!(lookup["aor"], "sip:carol@localhost", "{first:#}");
    assert_eq!(lookup["contacts"].as_array().expect("a list").len(), 1);
    assert_eq!(first["effects"]["targets"][0]["no_answer_ms"], 20_000);

    let output = patchbay(&router, &["call", "show", &kept]);
    let page = text(&output);
    for part in [
        "request-route",
        "? lookup",
        "-> reply 480 Later",
        "header X-Random",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let again = |policy: &Path| {
        let file = policy.to_str().expect("a UTF-8 path");
        let output = patchbay(
            &router,
            &["call", "show", &kept, "--replay-with", file, "--json"],
        );
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code(), found)
    };
    let (code, found) = again(&plain());
    assert_eq!(
        (code, found["runs"].as_u64()),
        (Some(0), Some(4)),
        "{found:#}"
    );
    let (code, found) = again(&refusing());
    assert_eq!(
        (code, found["different_runs"].as_u64()),
        (Some(1), Some(1)),
        "{found:#}"
    );

    for _ in 0..3 {
        failed_call(&router, "nobody");
    }
    let gone = patchbay(&router, &["call", "show", &kept]);
    assert_eq!(gone.status.code(), Some(1), "{}", text(&gone));
    assert_eq!(
        json(&router, &["call", "list"])["calls"]
            .as_array()
            .expect("a list")
            .len(),
        3
    );
}

#[test]
fn without_a_ring_no_calls_are_kept_until_a_reload_brings_one() {
    let router = router(Setup::new());
    failed_call(&router, "nobody");
    let refused = patchbay(&router, &["call", "list"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("policy.call_ring"),
        "{}",
        text(&refused)
    );
    assert_eq!(router.metric("patchbay_traced_hook_runs_total", ""), 0.0);
    let file = router.path().join("patchbay.toml");
    let config = std::fs::read_to_string(&file).expect("there");
    std::fs::write(
        &file,
        config.replace("[policy]\n", "[policy]\ncall_ring = 10\n"),
    )
    .expect("write");
    router.signal("HUP");
    wait_until("there is a ring", || {
        patchbay(&router, &["call", "list"]).status.success()
    });
    let (_, call_id) = failed_call(&router, "nobody");
    assert_eq!(
        json(&router, &["call", "show", &call_id])["runs"]
            .as_array()
            .expect("a list")
            .len(),
        1
    );
}

#[test]
fn a_version_in_the_shadow_says_what_it_would_do_and_does_nothing() {
    let router = router(Setup::new());
    let file = refusing();
    let file = file.to_str().expect("a UTF-8 path");
    let stored = json(&router, &["policy", "push", "ruled", file]);
    let version = stored["version"].as_str().expect("a version");
    let none = patchbay(&router, &["policy", "diff"]);
    assert_eq!(none.status.code(), Some(1), "{}", text(&none));
    let named = format!("ruled@{}", &version[..12]);
    let started = json(&router, &["policy", "shadow", &named]);
    assert_eq!(started["version"], version, "{started:#}");
    let state = || {
        let policies = router.get("/api/v1/policies");
        let versions = policies["policies"].as_array().expect("a list").iter();
        let mut versions =
            versions.flat_map(|policy| policy["versions"].as_array().expect("a list"));
        let found = versions.find(|found| found["version"] == version);
        found.expect("the version is listed")["state"].clone()
    };
    assert_eq!(state(), "shadow");

    let mut carol = Agent::udp(router.udp(), "carol");
    carol.register();
    let mut caller = Agent::udp(router.udp(), "alice");
    let invite = caller.invite("sip:carol@localhost");
    let request = carol.expect_request("INVITE");
    carol.respond(&request, 486, "", "");
    let answer = caller.final_response();
    caller.acknowledge(&invite, &answer);
    assert_eq!(answer.status(), 480, "the active version decides");
    failed_call(&router, "nobody");

    let diff = || json(&router, &["policy", "diff", &named]);
    wait_until("the shadow has seen all", || {
        diff()["runs"].as_u64().is_some_and(|runs| runs >= 4)
    });
    let found = diff();
    assert_eq!(found["different"], 1, "{found:#}");
    assert_eq!(found["faults"], 0, "{found:#}");
    let call_id = invite.text.header("Call-ID");
    assert_eq!(found["differences"][0]["call_id"], call_id, "{found:#}");
    let page = text(&patchbay(&router, &["policy", "diff"]));
    let rows: Vec<Vec<&str>> = page
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert!(
        rows.contains(&vec!["verdict", "relay", "|", "reply"]),
        "{page}"
    );
    // The counter of the policy has the real calls alone.
    assert_eq!(router.metric("patchbay_policy_counter_total", "calls"), 2.0);
    let other = patchbay(&router, &["policy", "diff", "ruled@000000"]);
    assert_eq!(other.status.code(), Some(1), "{}", text(&other));

    let ended = json(&router, &["policy", "shadow", "off"]);
    assert_eq!(ended["different"], 1, "{ended:#}");
    let audit = json(&router, &["policy", "audit", "--limit", "2"]);
    let actions = [0, 1].map(|index| audit["audit"][index]["action"].clone());
    assert_eq!(actions, ["shadow-off", "shadow"], "{audit:#}");
    let line = &audit["audit"][0];
    assert_eq!(line["via"], "cli", "{line}");
    assert!(line["by"].is_string(), "{line}");
    assert_eq!(audit["audit"][1]["after"]["version"], version, "{audit:#}");
    assert_ne!(state(), "shadow");
    assert_eq!(
        patchbay(&router, &["policy", "diff"]).status.code(),
        Some(1)
    );
}
