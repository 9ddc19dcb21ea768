//! `patchbay policy test`: the scenarios of the policies pass, what is wrong is told with file and line, and it is fast.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use patchbay_tests::router::binary;
use patchbay_tests::{policies, rollout};
use serde_json::Value;
use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn test(arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(["policy", "test"])
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("run patchbay")
}

fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn built(name: &str) -> String {
    policies::built(name).to_str().expect("a path").to_owned()
}

#[track_caller]
fn passes(arguments: &[&str]) -> String {
    let output = test(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    text(&output)
}

/// Every policy of `policies/` that has scenarios of its own.
fn tested_policies() -> Vec<String> {
    let folders = std::fs::read_dir(root().join("policies")).expect("the policies");
    let mut names: Vec<String> = folders
        .map(|entry| entry.expect("an entry").path())
        .filter(|folder| folder.join("tests").is_dir() && !folder.join("tests").is_symlink())
        .filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

#[test]
fn the_scenarios_of_every_policy_pass() {
    let names = tested_policies();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let said = passes(&[&format!("policies/{name}"), "--policy", &built(&name)]);
        assert!(said.contains(" 0 failed "), "{said}");
    }
}

#[test]
fn the_scenarios_of_screening_pass_in_every_language() {
    for language in ["rust", "js", "ts", "py", "go", "c", "cpp", "zig"] {
        // The folder has the scenarios by a link to those they share.
        let folder = format!("policies/screening-{language}");
        let policy = built(&format!("screening-{language}"));
        let said = passes(&[&folder, "--policy", &policy]);
        assert!(said.contains("5 passed"), "{language}: {said}");
        assert!(said.contains(" 0 failed "), "{language}: {said}");
    }
}

#[test]
fn random_scenarios_keep_the_rules_with_every_policy() {
    for name in tested_policies() {
        let folder = format!("policies/{name}");
        passes(&[
            &folder,
            "--policy",
            &built(&name),
            "--random",
            "150",
            "--seed",
            "1000",
        ]);
    }
}

#[test]
fn every_hook_and_service_works_in_virtual_time() {
    let watcher = policies::guest("watcher");
    let watcher = watcher.to_str().expect("a path");
    passes(&["tests/policy-scenarios/watcher.toml", "--policy", watcher]);
}

#[test]
fn servers_and_the_key_value_store_are_part_of_a_scenario() {
    let outside = policies::guest("outside");
    let outside = outside.to_str().expect("a path");
    let file = "tests/policy-scenarios/outside.toml";
    passes(&[file, "--policy", outside]);
    passes(&[file, "--policy", outside, "--random", "300"]);
    let output = test(&[
        "tests/policy-scenarios/outside-failing.toml",
        "--policy",
        outside,
    ]);
    let said = text(&output);
    for part in [
        "outside-failing.toml:12: nobody answers",
        "seen:     GET http://lcr.example.com/route, which none has",
        "http: GET http://lcr.example.com/route: no [[http]] has it",
        "expected: asked over HTTP: POST *",
        "seen:     asked over HTTP: GET http://lcr.example.com/route",
        "http: 200 to GET http://lcr.example.com/route",
        "expected: keyvalue \"calls/total\": 2",
        "seen:     keyvalue \"calls/total\": 1",
        "0 passed, 3 failed in",
    ] {
        assert!(said.contains(part), "{part} is missing in:\n{said}");
    }
}

#[test]
fn a_failure_tells_file_line_both_sides_and_the_way_there() {
    let default = built("voicemail-on-busy");
    let output = test(&["tests/policy-scenarios/failing.toml", "--policy", &default]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let said = text(&output);
    for part in [
        "  ok    this one passes",
        "  FAIL  nothing comes",
        "tests/policy-scenarios/failing.toml:12: nothing comes",
        "expected: INVITE at 192.0.2.9",
        "tests/policy-scenarios/failing.toml:20: something else comes",
        "seen:     486 Busy Here",
        "expected: X-Class: silver",
        "seen:     X-Class: gold",
        "seen:     nothing until 2.000 s",
        "seen:     486 Busy Here at alice, which no step expects",
        "request_route: relay to sip:bob@192.0.2.2:5060",
        "INVITE ─",
        "1 passed, 7 failed in",
    ] {
        assert!(said.contains(part), "{part} is missing in:\n{said}");
    }
}

#[test]
fn programs_get_json_and_junit() {
    let folder = TempDir::new().expect("a folder");
    let junit = folder.path().join("report.xml");
    let default = built("voicemail-on-busy");
    let output = test(&[
        "tests/policy-scenarios/failing.toml",
        "--policy",
        &default,
        "--filter",
        "something",
        "--json",
        "--junit",
        junit.to_str().expect("a path"),
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["failed"], 1);
    assert_eq!(report["scenarios"][0]["failure"]["line"], 20);
    let xml = std::fs::read_to_string(junit).expect("a report");
    assert!(
        xml.contains("<testcase name=\"something else comes\" classname=\"voicemail-on-busy\""),
        "{xml}"
    );
    assert!(xml.contains("<failure message="), "{xml}");
}

#[test]
fn a_wrong_file_is_told_with_line_and_nearest_key() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("wrong.toml");
    let scenario = "[[scenario]]\nname = \"x\"\nstep = [\n  { form = \"alice\", send = \"INVITE\", to = \"bob\" },\n]\n[phone]\nalice = {}\nbob = {}\n";
    std::fs::write(&file, scenario).expect("write");
    let output = test(&[
        file.to_str().expect("a path"),
        "--policy",
        &built("default"),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(
        said.contains(
            "wrong.toml:4: scenario.step.form: unknown key; did you mean scenario.step.from?"
        ),
        "{said}"
    );
}

#[test]
fn what_is_wrong_with_one_file_keeps_none_from_being_played() {
    let folder = TempDir::new().expect("a folder");
    let default = built("default");
    let scenario = "[phone]\nalice = {}\n[[scenario]]\nname = \"nobody\"\nstep = [\n  { from = \"alice\", send = \"INVITE\", to = \"sip:nobody@example.com\" },\n  { at = \"alice\", expect = 404 },\n]\n";
    for (name, text) in [
        ("good.toml", format!("policy = {default:?}\n{scenario}")),
        (
            "typo.toml",
            format!("policy = {default:?}\n{}", scenario.replace("from", "form")),
        ),
        (
            "gone.toml",
            format!("# a comment\npolicy = \"nothere.wasm\"\n{scenario}"),
        ),
    ] {
        std::fs::write(folder.path().join(name), text).expect("write");
    }
    let junit = folder.path().join("report.xml");
    let folder = folder.path().to_str().expect("a path");
    let missing = format!("{folder}/missing.toml");
    let junit_path = junit.to_str().expect("a path");
    let output = test(&[folder, &missing, "--junit", junit_path]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    for part in [
        "  ok    nobody",
        "typo.toml:7: scenario.step.form: unknown key; did you mean scenario.step.from?",
        "gone.toml:2: policy: ",
        "nothere.wasm: No such file",
        "missing.toml: No such file",
        "1 passed, 0 failed, 3 files not played",
    ] {
        assert!(said.contains(part), "{part} is missing in:\n{said}");
    }
    let xml = std::fs::read_to_string(&junit).expect("the report");
    assert!(
        xml.contains("tests=\"4\" failures=\"0\" errors=\"3\"") && xml.contains("<error message="),
        "{xml}"
    );
    let output = test(&[folder, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["passed"], 1);
    assert_eq!(
        report["errors"].as_array().map(Vec::len),
        Some(2),
        "{report}"
    );
}

#[test]
fn what_may_be_left_out_can_be_expected() {
    let said = passes(&[
        "tests/policy-scenarios/expected.toml",
        "--policy",
        &built("default"),
    ]);
    assert!(said.contains("4 passed"), "{said}");
}

#[test]
fn a_request_that_no_phone_was_told_to_answer_is_named() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("silent.toml");
    let text = "[phone]\nalice = {}\nbob = { registered = true }\n[[scenario]]\nname = \"x\"\nstep = [\n  { from = \"alice\", send = \"MESSAGE\", to = \"bob\" },\n  { at = \"bob\", expect = \"MESSAGE\" },\n  { at = \"alice\", expect = 200 },\n]\n";
    std::fs::write(&file, text).expect("write");
    let default = built("default");
    let output = test(&[file.to_str().expect("a path"), "--policy", &default]);
    let said = self::text(&output);
    assert!(
        said.contains(
            "bob never answered the MESSAGE: the step that expects it can say answer = 200"
        ),
        "{said}"
    );
}

#[test]
fn nothing_to_test_is_a_failure_and_wrong_use_is_2() {
    let default = built("default");
    let none = test(&[
        "tests/policy-scenarios/failing.toml",
        "--policy",
        &default,
        "--filter",
        "no such name",
    ]);
    assert_eq!(none.status.code(), Some(1), "{}", text(&none));
    assert_eq!(test(&["--random", "none"]).status.code(), Some(2));
    assert_eq!(test(&["--seed", "1"]).status.code(), Some(2));
}

#[test]
fn a_fault_fails_a_scenario_that_does_not_allow_it() {
    let faulty = policies::guest("faulty");
    let faulty = faulty.to_str().expect("a path");
    let output = test(&["tests/policy-scenarios/faulty.toml", "--policy", faulty]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let said = text(&output);
    for part in [
        "3 passed, 2 failed",
        "faulty.toml:39: a fault that is not allowed fails the scenario",
        "seen:     request_route failed: it trapped",
        "log warn: a hook failed",
        "faulty.toml:47: an answer to an ACK fails the scenario",
        "seen:     request_route failed: its verdict is not possible there",
        "`reply` with 200 for ACK, which nobody answers",
    ] {
        assert!(said.contains(part), "{part} is missing in:\n{said}");
    }
}

#[test]
fn a_verdict_that_is_not_possible_is_found_at_random() {
    let saving = rollout::version("saving");
    let saving = saving.to_str().expect("a path");
    let output = test(&["policies/default", "--random", "50", "--policy", saving]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("`save` for INVITE: only a REGISTER can be saved"),
        "{}",
        text(&output)
    );
}

#[test]
fn what_is_not_granted_is_told_with_the_section_of_a_scenario_file() {
    let web = policies::guest("web");
    let web = web.to_str().expect("a path");
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("calls.toml");
    let scenario = "[phone]\nalice = {}\n[[scenario]]\nname = \"x\"\nstep = [\n  { from = \"alice\", send = \"OPTIONS\", to = \"alice\" },\n]\n";
    std::fs::write(&file, scenario).expect("write");
    let file = file.to_str().expect("a path");
    for more in [&[][..], &["--random", "3"][..]] {
        let output = test(&[&[file, "--policy", web], more].concat());
        let said = text(&output);
        assert!(
            said.contains("which is not granted: add `http = [\"https://HOST/\"]` to [router.policy.grants] of the scenario file"),
            "{said}"
        );
    }
}

#[test]
fn a_loop_is_found_at_random_and_found_again_by_its_seed() {
    let looping = policies::guest("looping");
    let looping = looping.to_str().expect("a path");
    let report = |arguments: &[&str]| -> Value {
        let arguments = [
            &["policies/default", "--policy", looping, "--json"],
            arguments,
        ]
        .concat();
        let output = test(&arguments);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let found = report(&["--random", "20", "--seed", "100"]);
    let first = &found["scenarios"][0];
    let seen = first["failure"]["seen"].as_str().expect("what was seen");
    assert!(seen.contains("a loop: the router sent"), "{seen}");
    let name = first["name"].as_str().expect("a name");
    let seed = name.rsplit(' ').next().expect("the seed");
    let again = report(&["--random", "1", "--seed", seed]);
    let ladder = |report: &Value| report["scenarios"][0]["failure"]["ladder"].to_string();
    assert_eq!(ladder(&again), ladder(&found));
}

#[test]
fn a_new_policy_comes_with_a_scenario_that_passes() {
    let parent = TempDir::new().expect("a folder");
    let output = Command::new(binary())
        .args(["policy", "new", "mine"])
        .current_dir(parent.path())
        .output()
        .expect("run patchbay");
    assert!(output.status.success(), "{}", text(&output));
    let folder = parent.path().join("mine");
    // What is scaffolded routes like voicemail-on-busy, which is built already.
    let said = passes(&[
        folder.to_str().expect("a path"),
        "--policy",
        &built("voicemail-on-busy"),
    ]);
    assert!(said.contains("calls.toml"), "{said}");
}
