//! `patchbay registrations export` and `import`: who is registered at one router is reached over another one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use patchbay_tests::agent::Agent;
use patchbay_tests::command::text;
use patchbay_tests::router::{Router, Setup, binary};
use serde_json::Value;

fn command(router: &Router, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .arg("registrations")
        .args(arguments)
        .arg("--config")
        .arg(router.path().join("patchbay.toml"));
    command
}

fn registrations(router: &Router, arguments: &[&str]) -> Output {
    command(router, arguments).output().expect("run patchbay")
}

/// The counts of an import: imported, kept, expired, refused.
fn import(router: &Router, file: &Path, more: &[&str]) -> (Option<i32>, [u64; 4], Value) {
    let file = file.to_str().expect("a path");
    let output = registrations(router, &[&["import", file, "--json"], more].concat());
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    let count = |key: &str| report[key].as_u64().expect("a number");
    let refused = report["refused"].as_array().expect("a list").len() as u64;
    let counts = [count("imported"), count("kept"), count("expired"), refused];
    (output.status.code(), counts, report)
}

/// A call from alice over this router to bob, who hears it.
fn reaches(router: &Router, bob: &mut Agent) {
    let mut alice = Agent::udp(router.udp(), "alice");
    let invite = alice.invite("sip:bob@localhost");
    let request = bob.expect_request("INVITE");
    // He answers where it came from, which need not be the router that he registered at.
    let busy = bob.compose_response(&request, 486, "", "");
    bob.send_to(&busy, router.udp());
    bob.expect_request("ACK");
    let answer = alice.final_response();
    alice.acknowledge(&invite, &answer);
    assert_eq!(answer.status(), 486);
}

#[test]
fn a_call_over_the_router_that_imported_reaches_the_contact() {
    let (old, new) = (Router::start(), Router::start());
    let mut bob = Agent::udp(old.udp(), "bob");
    bob.register();
    Agent::udp(old.udp(), "carol").register();
    reaches(&old, &mut bob);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bindings.jsonl");
    let exported = registrations(&old, &["export", file.to_str().expect("a path")]);
    assert!(exported.status.success(), "{}", text(&exported));
    assert!(
        text(&exported).contains("2 bindings"),
        "{}",
        text(&exported)
    );
    let mode = std::fs::metadata(&file)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let (code, counts, report) = import(&new, &file, &[]);
    assert_eq!((code, counts), (Some(0), [2, 0, 0, 0]), "{report:#}");
    reaches(&new, &mut bob);
    let contacts = |router: &Router| {
        let listed = router.get("/api/v1/registrations");
        let contact = listed["registrations"][0]["contacts"][0].clone();
        [
            "uri",
            "q",
            "call_id",
            "cseq",
            "user_agent",
            "instance",
            "path",
        ]
        .map(|key| contact[key].clone())
    };
    assert_eq!(contacts(&new), contacts(&old));

    // Once more changes nothing, and neither does a restart.
    let (code, counts, report) = import(&new, &file, &[]);
    assert_eq!((code, counts), (Some(0), [0, 2, 0, 0]), "{report:#}");
    let new = Setup::new().directory(new.kill()).start();
    reaches(&new, &mut bob);
}

#[test]
fn a_binding_that_is_newer_stays_and_one_whose_time_is_over_is_left_out() {
    let router = Router::start();
    let mut bob = Agent::udp(router.udp(), "bob");
    bob.register();
    let exported = registrations(&router, &["export"]);
    let mut line: Value = serde_json::from_slice(&exported.stdout).expect("one line");
    let expires = line["expires_unix"].as_u64().expect("a number");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bindings.jsonl");
    let mut put = |key: &str, value: Value| {
        line[key] = value;
        std::fs::write(&file, format!("{line}\n")).expect("write");
    };
    put("expires_unix", (expires - 10).into());
    assert_eq!(import(&router, &file, &[]).1, [0, 1, 0, 0]);
    put("expires_unix", 1_000_000_000.into());
    assert_eq!(import(&router, &file, &[]).1, [0, 0, 1, 0]);
    put("expires_unix", expires.into());
    put("contact", "nonsense <".into());
    let (code, counts, report) = import(&router, &file, &[]);
    assert_eq!((code, counts), (Some(1), [0, 0, 0, 1]), "{report:#}");
    assert_eq!(report["refused"][0]["line"], 1, "{report:#}");
    put("contact", "<sip:bob@127.0.0.1:9>".into());
    let (code, counts, report) = import(&router, &file, &["--namespace", "nobodys"]);
    assert_eq!((code, counts), (Some(1), [0, 0, 0, 1]), "{report:#}");
    put("nonsense", 1.into());
    let wrong = registrations(&router, &["import", file.to_str().expect("a path")]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        text(&wrong).contains("line 1: this is no binding"),
        "{}",
        text(&wrong)
    );
}

#[test]
fn bindings_go_through_a_pipe() {
    let (old, new) = (Router::start(), Router::start());
    let mut bob = Agent::udp(old.udp(), "bob");
    bob.register();
    let exported = registrations(&old, &["export", "--namespace", "default"]);
    let mut importing = command(&new, &["import", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run patchbay");
    let mut stdin = importing.stdin.take().expect("a pipe");
    stdin.write_all(&exported.stdout).expect("write");
    drop(stdin);
    let output = importing.wait_with_output().expect("an end");
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        text(&output).starts_with("1 imported, 0 kept"),
        "{}",
        text(&output)
    );
    reaches(&new, &mut bob);
}

#[test]
fn a_namespace_of_a_tenant_takes_bindings_of_another_router() {
    let old = Router::start();
    Agent::udp(old.udp(), "bob").register();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bindings.jsonl");
    let exported = registrations(&old, &["export", file.to_str().expect("a path"), "--json"]);
    let report: Value = serde_json::from_slice(&exported.stdout).expect("JSON");
    assert_eq!(report["bindings"], 1, "{report:#}");
    let new = Setup::new()
        .section(
            "[[policy.route]]\ndomain = \"tenant.example\"\npolicy = \"default\"\nnamespace = \"tenant\"\n",
        )
        .start();
    assert_eq!(
        import(&new, &file, &["--namespace", "tenant"]).1,
        [1, 0, 0, 0]
    );
    let count = |namespace: &str| {
        let listed = new.get(&format!("/api/v1/registrations?namespace={namespace}"));
        listed["registrations"].as_array().expect("a list").len()
    };
    assert_eq!((count("tenant"), count("default")), (1, 0));
}
