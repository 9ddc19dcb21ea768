//! `patchbay policy replay` where a run ended by time or for lack of room, on redacted recordings, and on files that are not whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use patchbay_tests::agent::Agent;
use patchbay_tests::command::{json, text};
use patchbay_tests::http_server::HttpServer;
use patchbay_tests::router::{Router, Setup, binary, wait_until};
use patchbay_tests::{outside, policies};
use serde_json::Value;

fn source(guest: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("guests/{guest}.rs"));
    std::fs::read_to_string(file).expect("the guest's source")
}

/// The guest with one text of its source in place of another.
fn changed(guest: &str, name: &str, text: &str, by: &str) -> PathBuf {
    let source = source(guest);
    assert!(source.contains(text), "{text}");
    policies::guest_from(name, &source.replace(text, by))
}

/// The busy policy with next to nothing to compute.
fn quick() -> PathBuf {
    changed("busy", "busy-quick", "60_000_000", "10")
}

/// Another version of the busy policy, which computes as long.
fn busy_too() -> PathBuf {
    changed("busy", "busy-too", "Computed", "Done")
}

/// What runs are recorded of these calls.
fn recorded(router: &Router, arguments: &[&str], calls: impl FnOnce()) -> (PathBuf, Value) {
    json(router, &[&["record", "start"], arguments].concat());
    calls();
    let report = json(router, &["record", "stop"]);
    (report["file"].as_str().expect("a file").into(), report)
}

fn replay(file: &Path, policy: &Path, more: &[&str]) -> Output {
    Command::new(binary())
        .args(["policy", "replay"])
        .arg(file)
        .arg("--policy")
        .arg(policy)
        .args(more)
        .output()
        .expect("run patchbay")
}

/// The exit code and what is found.
fn found(file: &Path, policy: &Path) -> (i32, Value) {
    let output = replay(file, policy, &["--json"]);
    let found = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    (output.status.code().expect("an exit code"), found)
}

/// The policy `outside`, told in a header what to do, as users are hidden in a redacted recording, and where to ask in another setting.
fn told(name: &str, by: &str) -> PathBuf {
    let user = "request.uri().user().unwrap_or_default().into_owned()";
    let source = source("outside")
        .replace(user, "request.header(\"X-Do\").unwrap_or_default()")
        .replace("settings::get(\"url\")", "settings::get(\"route\")");
    assert!(!source.contains(user));
    policies::guest_from(name, &source.replace("\"calls/total\", 1,", by))
}

/// A call with this in that header.
fn tell(router: &Router, what: &str) {
    let mut alice = Agent::udp(router.udp(), "alice");
    let uri = "sip:bob@localhost";
    let text = alice.compose("INVITE", uri, uri, &format!("X-Do: {what}\r\n"), "");
    let invite = alice.request(text);
    let answer = alice.final_response();
    alice.acknowledge(&invite, &answer);
}

/// The status of a call to this user.
fn called(router: &Router, user: &str) -> u16 {
    outside::called(router, user).status()
}

fn busy_router(policy: &Path) -> Router {
    Setup::new()
        .policy("busy", policy)
        .active("busy")
        .policy_keys("hook_deadline = \"20ms\"")
        .start()
}

#[test]
fn a_version_that_was_too_slow_is_the_same_and_one_that_is_too_slow_is_not() {
    let busy = policies::guest("busy");
    let router = busy_router(&busy);
    let (file, _) = recorded(&router, &[], || assert_eq!(called(&router, "bob"), 500));
    let (code, same) = found(&file, &busy);
    assert_eq!((code, &same["runs"]), (0, &1.into()), "{same:#}");
    let (code, as_slow) = found(&file, &busy_too());
    assert_eq!(code, 0, "{as_slow:#}");
    let verdict = |found: &Value| {
        let differences = found["differences"][0]["differences"]
            .as_array()
            .expect("a list");
        let verdict = differences.iter().find(|found| found["field"] == "verdict");
        let verdict = verdict.expect("another verdict");
        [&verdict["old"], &verdict["new"]].map(|side| side.as_str().expect("a word").to_owned())
    };
    let (code, faster) = found(&file, &quick());
    assert_eq!(
        (code, verdict(&faster)),
        (1, ["fault deadline", "reply"].map(str::to_owned))
    );
    drop(router);

    let router = busy_router(&quick());
    let (file, _) = recorded(&router, &[], || assert_eq!(called(&router, "bob"), 486));
    let (code, slower) = found(&file, &busy);
    assert_eq!(
        (code, verdict(&slower)),
        (1, ["reply", "fault deadline"].map(str::to_owned))
    );
}

#[test]
fn a_request_that_is_left_to_nobody_is_so_in_a_replay() {
    let screening = policies::guest("screening");
    let router = Setup::new()
        .policy("screening", &screening)
        .active("screening")
        .start();
    let (file, _) = recorded(&router, &[], || assert_eq!(called(&router, "bob"), 500));
    let (code, same) = found(&file, &screening);
    assert_eq!((code, &same["runs"]), (0, &1.into()), "{same:#}");
}

#[test]
fn each_run_has_the_deadline_that_it_had() {
    let (_folder, file, copy) = whole();
    let busy = policies::guest("busy");
    let (code, late) = found(&file, &busy);
    assert_eq!((code, &late["different_runs"]), (1, &2.into()), "{late:#}");
    // The same calls after a reload that gave them more time.
    let recorded = std::fs::read_to_string(&file).expect("there");
    let mut lines = Vec::new();
    for line in recorded.lines() {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        if line["environment"].is_object() {
            lines.push(line.to_string());
            line["environment"]["number"] = 1000.into();
            line["environment"]["hook_deadline_us"] = 60_000_000.into();
        }
        if line["run"].is_object() {
            line["run"]["environment"] = 1000.into();
        }
        lines.push(line.to_string());
    }
    std::fs::write(&copy, lines.join("\n") + "\n").expect("write");
    let (code, in_time) = found(&copy, &busy);
    assert_eq!(in_time["differences"], serde_json::json!([]));
    assert_eq!(code, 0, "{in_time:#}");
}

#[test]
fn runs_for_which_there_was_no_room_are_not_played() {
    let server = HttpServer::start(200, "", Duration::from_millis(2500));
    let router = outside::outside(&server, "")
        .policy_keys("max_concurrent_hooks = 1")
        .start();
    let other = changed(
        "outside",
        "outside-two",
        "\"calls/total\", 1,",
        "\"calls/total\", 2,",
    );
    let other = other.to_str().expect("a path");
    json(&router, &["policy", "push", "outside", other]);
    json(&router, &["policy", "shadow", "outside"]);
    let (file, report) = recorded(&router, &[], || {
        std::thread::scope(|scope| {
            let call = || scope.spawn(|| called(&router, "slow"));
            let calls = [call(), call(), call()];
            let answers = calls.map(|call| call.join().expect("an answer"));
            assert!(answers.contains(&503), "{answers:?}");
        });
    });
    let policy = policies::guest("outside");
    let (code, same) = found(&file, &policy);
    assert_eq!((code, &same["differences"]), (0, &serde_json::json!([])));
    let number = |value: &Value| value.as_u64().expect("a number");
    assert!(number(&same["never_ran"]) > 0, "{same:#}");
    assert_eq!(
        number(&same["runs"]) + number(&same["skipped"]),
        number(&report["runs"])
    );
    let page = text(&replay(&file, &policy, &[]));
    assert!(page.contains("skipped that never ran"), "{page}");
    let shadow = || json(&router, &["policy", "diff"]);
    wait_until("the shadow has seen all that ran", || {
        shadow()["runs"] == same["runs"]
    });
    assert_eq!(shadow()["different"], 0, "{:#}", shadow());
}

#[test]
fn a_redacted_recording_of_what_was_asked_replays_without_a_difference() {
    let server = HttpServer::start(201, "sip:premium-gateway", Duration::ZERO);
    let policy = told("outside-told", "\"calls/total\", 1,");
    let router = outside::asking(&[&server], "outside", &policy, "keyvalue = [\"calls/\"]\n")
        .setting("route", &server.url("/api/route?token=sekret123&to=a@b"))
        .start();
    let calls = [
        "ask",
        "count",
        "count",
        "keep",
        "kept",
        "keys",
        "forbidden",
        "wrong-key",
        "ask",
    ];
    let (file, report) = recorded(&router, &["--redact"], || {
        for what in calls {
            tell(&router, what);
        }
    });
    let (code, same) = found(&file, &policy);
    assert_eq!(same["differences"], serde_json::json!([]), "{same:#}");
    assert_eq!((code, &same["runs"]), (0, &report["runs"]));
    let runs = std::fs::read_to_string(&file).expect("there");
    let runs: Vec<&str> = runs
        .lines()
        .filter(|line| line.starts_with("{\"run\""))
        .collect();
    for gone in ["sekret123", "premium-gateway", "calls/total", "calls/kept"] {
        let run = runs.iter().find(|run| run.contains(gone));
        assert_eq!(run, None, "{gone}");
    }
    let more = told("outside-told-more", "\"calls/total\", 2,");
    let (code, other) = found(&file, &more);
    assert_eq!(
        (code, &other["different_runs"]),
        (1, &2.into()),
        "{other:#}"
    );
}

/// A recording of two calls.
fn whole() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let router = busy_router(&quick());
    let (file, _) = recorded(&router, &["--name", "whole"], || {
        called(&router, "bob");
        called(&router, "carol");
    });
    let folder = router.stop();
    let copy = folder.path().join("copy.jsonl");
    (folder, file, copy)
}

#[test]
fn a_gate_notices_a_recording_that_is_not_whole() {
    let (_folder, file, copy) = whole();
    let lines = std::fs::read_to_string(&file).expect("there");
    let (kept, _end) = lines.trim_end().rsplit_once('\n').expect("lines");
    std::fs::write(&copy, format!("{kept}\n")).expect("write");
    let (code, cut) = found(&copy, &quick());
    assert_eq!((code, &cut["complete"]), (1, &false.into()), "{cut:#}");
    assert_eq!(cut["different_runs"], 0, "{cut:#}");
    let output = replay(&copy, &quick(), &["--partial"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("cut off"), "{}", text(&output));
    let (code, whole) = found(&file, &quick());
    assert_eq!((code, &whole["complete"]), (0, &true.into()), "{whole:#}");

    let (first, rest) = kept.split_once('\n').expect("lines");
    std::fs::write(&copy, format!("{first}\n{{nonsense\n{rest}\n")).expect("write");
    let page = text(&replay(&copy, &quick(), &[]));
    assert!(page.contains("line 2: this is no line"), "{page}");
    assert!(!page.contains("line 1"), "{page}");
}

#[test]
fn a_name_that_is_not_in_the_recording_is_told_with_those_that_are() {
    let (_folder, file, _) = whole();
    let output = replay(&file, &quick(), &["--name", "nix"]);
    assert_eq!(output.status.code(), Some(1));
    let page = text(&output);
    assert!(page.contains("--name takes one of busy"), "{page}");
}
