//! A canary: the share it gets, the dialogs it keeps, and how it ends by itself.
//!
//! `PATCHBAY_CANARY_CALLS` (default 1500) and `PATCHBAY_CANARY_RATE` (default 200 a second) make the first test longer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::time::Duration;

use patchbay_tests::agent::Agent;
use patchbay_tests::load::{Call, Load};
use patchbay_tests::rollout::{audit, policy, policy_json, push, version, version_of};
use patchbay_tests::router::{Router, Setup, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// A router with the version `one`, whose secret is always the same: so are the calls that a canary gets.
fn start(workers: u16) -> Router {
    let directory = TempDir::new().expect("a folder");
    let data = directory.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    std::fs::write(data.join("format"), "patchbay-data 1\n").expect("write");
    let key = "5a".repeat(32);
    std::fs::write(
        data.join("secrets"),
        format!("token_key = {key}\nnonce_key = {key}\n"),
    )
    .expect("write");
    Setup::new()
        .directory(directory)
        .policy("rolled", &version("one"))
        .active("rolled")
        .workers(workers)
        .start()
}

fn canary(router: &Router, version: &str, more: &[&str]) -> Value {
    let name = format!("rolled@{version}");
    policy_json(router, &[&["canary", &name], more].concat())
}

/// The version that the call's hooks ran in, as they say: all in one.
fn version_of_call(call: &Call) -> String {
    let request = call.at_callee.as_ref().expect("the INVITE came");
    let version = request.header("X-Version").to_owned();
    assert!(!version.is_empty(), "request_route ran: {call:?}");
    for response in &call.responses {
        assert_eq!(response.header("X-Version"), version, "{response:?}");
    }
    version
}

#[test]
fn a_tenth_of_the_calls_run_in_the_canary_each_wholly() {
    let (total, rate) = (
        number("PATCHBAY_CANARY_CALLS", 1500),
        number("PATCHBAY_CANARY_RATE", 200),
    );
    let router = start(2);
    let two = push(&router, &version("two"));
    let mut load = Load::new(router.udp(), "tenth");
    load.register("bob");
    canary(&router, &two, &["--percent", "10"]);
    let calls = load.run(total, rate as f64, |_| "bob".to_owned(), |_| {});
    let failed = calls.iter().filter(|call| !call.ended).count();
    assert_eq!(failed, 0, "of {total} calls");
    let versions: Vec<String> = calls.iter().map(version_of_call).collect();
    let chosen = versions.iter().filter(|name| *name == "two").count();
    let share = chosen as f64 / total as f64;
    eprintln!(
        "{chosen} of {total} calls ran in the canary: {:.2} %",
        share * 100.0
    );
    // 5,000 calls: 9 to 11 %. With fewer, chance has more to say.
    let allowed = if total >= 5000 { 0.01 } else { 0.02 };
    assert!((share - 0.1).abs() <= allowed, "{share}");
    let shown = router.get("/api/v1/policies")["canary"].clone();
    assert_eq!(shown["canary"]["requests"], chosen, "{shown}");
    assert_eq!(shown["stable"]["requests"], total - chosen, "{shown}");
    assert_eq!(shown["canary"]["responses"]["2xx"], chosen, "{shown}");
    let listed = version_of(&router, &two);
    assert_eq!(listed["state"], "canary");
    // INVITE, ACK and BYE of each of its calls, and of nobody else's.
    assert_eq!(listed["calls_by_hook"]["request-route"], 3 * chosen);
    let dialogs = router.metric("patchbay_policy_canary_requests_total", "side=\"canary\"");
    assert_eq!(dialogs, chosen as f64);
    let one = router.get("/api/v1/status")["policy"]["version"].clone();
    for (digest, side) in [(two.as_str(), "canary"), (one.as_str().unwrap(), "stable")] {
        let labels = format!("version=\"{}\",side=\"{side}\"", &digest[..12]);
        let requests = router.metric("patchbay_policy_canary_requests_total", &labels);
        assert!(requests > 0.0, "{labels}");
    }
}

/// A call that is answered: the INVITE, its 200, and the version that the callee saw.
fn establish(
    alice: &mut Agent,
    bob: &mut Agent,
) -> (
    patchbay_tests::agent::Sent,
    patchbay_tests::text::Text,
    String,
) {
    let invite = alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 200, "", "");
    let answer = alice.expect(200);
    let ack = alice.in_dialog("ACK", &invite, &answer);
    alice.send(&ack);
    bob.expect_request("ACK");
    (invite, answer, received.header("X-Version").to_owned())
}

/// Ends a call; the version that the callee saw.
fn hang_up(
    alice: &mut Agent,
    bob: &mut Agent,
    call: &(
        patchbay_tests::agent::Sent,
        patchbay_tests::text::Text,
        String,
    ),
) -> String {
    let bye = alice.in_dialog("BYE", &call.0, &call.1);
    alice.send(&bye);
    let received = bob.expect_request("BYE");
    bob.respond(&received, 200, "", "");
    alice.expect(200);
    received.header("X-Version").to_owned()
}

#[test]
fn a_dialog_ends_in_the_version_it_began_in_whatever_becomes_of_the_canary() {
    let router = start(1);
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    let two = push(&router, &version("two"));
    let begun_before = establish(&mut alice, &mut bob);
    assert_eq!(begun_before.2, "one");
    canary(&router, &two, &["--percent", "100"]);
    let begun_in_canary = establish(&mut alice, &mut bob);
    assert_eq!(begun_in_canary.2, "two");
    assert_eq!(hang_up(&mut alice, &mut bob, &begun_before), "one");
    let another = establish(&mut alice, &mut bob);
    policy_json(&router, &["abort"]);
    assert_eq!(version_of(&router, &two)["state"], "draining");
    assert_eq!(establish(&mut alice, &mut bob).2, "one");
    assert_eq!(hang_up(&mut alice, &mut bob, &begun_in_canary), "two");

    // Over a restart, too, after which the canary is no more.
    let udp = format!("udp:{}", router.udp());
    let again = |router: Router| {
        let setup = Setup::new().listen(&[&udp]).active("rolled");
        setup.directory(router.stop()).start()
    };
    canary(&router, &two, &["--percent", "100"]);
    let of_aborted = establish(&mut alice, &mut bob);
    policy_json(&router, &["abort"]);
    let router = again(router);
    assert_eq!(version_of(&router, &two)["state"], "draining");
    assert_eq!(establish(&mut alice, &mut bob).2, "one");
    assert_eq!(hang_up(&mut alice, &mut bob, &of_aborted), "two");

    // And over a restart, with the canary under way.
    canary(&router, &two, &["--percent", "100"]);
    let router = again(router);
    assert_eq!(version_of(&router, &two)["state"], "canary");
    assert_eq!(hang_up(&mut alice, &mut bob, &another), "two");
    policy_json(&router, &["promote"]);
    assert_eq!(router.get("/api/v1/status")["policy"]["version"], *two);
    assert_eq!(router.get("/api/v1/policies")["canary"], Value::Null);
    let actions: Vec<Value> = audit(&router)
        .iter()
        .map(|line| line["action"].clone())
        .take(5)
        .collect();
    assert_eq!(
        actions,
        ["promote", "canary", "abort", "canary", "abort"].map(|action| json!(action))
    );
}

#[test]
fn only_matching_requests_get_the_canary() {
    let router = start(1);
    let mut bob = Agent::udp(router.udp(), "bob");
    bob.register();
    let two = push(&router, &version("two"));
    let mut version_for = |user: &str, address: [u8; 4]| {
        let mut caller = Agent::udp_from(router.udp(), user, address.into());
        establish(&mut caller, &mut bob).2
    };
    canary(
        &router,
        &two,
        &["--percent", "100", "--match", "user=alice"],
    );
    assert_eq!(version_for("alice", [127, 0, 0, 1]), "two");
    assert_eq!(version_for("carol", [127, 0, 0, 1]), "one");
    let told = "100 % of new dialogs with user=alice; ends above 1 % faults";
    let detail = audit(&router)[0]["detail"].to_string();
    assert!(detail.contains(told), "{detail}");
    let listed = String::from_utf8(policy(&router, &["list"]).stdout).expect("text");
    assert!(listed.contains(told), "{listed}");
    canary(
        &router,
        &two,
        &["--percent", "100", "--match", "source=127.0.0.2"],
    );
    assert_eq!(version_for("alice", [127, 0, 0, 1]), "one");
    assert_eq!(version_for("alice", [127, 0, 0, 2]), "two");
    canary(
        &router,
        &two,
        &["--percent", "100", "--match", "domain=example.com"],
    );
    assert_eq!(version_for("alice", [127, 0, 0, 1]), "one");
    canary(
        &router,
        &two,
        &[
            "--percent",
            "100",
            "--match",
            "domain=LOCALHOST",
            "--match",
            "user=alice",
        ],
    );
    assert_eq!(version_for("alice", [127, 0, 0, 1]), "two");
    assert_eq!(version_for("carol", [127, 0, 0, 1]), "one");
}

#[test]
fn by_aor_a_caller_always_gets_the_same_version() {
    let router = start(1);
    let mut bob = Agent::udp(router.udp(), "bob");
    bob.register();
    let two = push(&router, &version("two"));
    canary(&router, &two, &["--percent", "50", "--by", "aor"]);
    let mut seen = std::collections::BTreeSet::new();
    for caller in 0..12 {
        let mut alice = Agent::udp(router.udp(), &format!("caller{caller}"));
        let first = establish(&mut alice, &mut bob).2;
        assert_eq!(establish(&mut alice, &mut bob).2, first);
        seen.insert(first);
    }
    assert_eq!(seen.len(), 2, "both versions have callers");
}

#[test]
fn a_failing_canary_aborts_by_itself_and_only_its_own_calls_fail() {
    let router = start(2);
    let bad = push(&router, &version("bad"));
    let mut load = Load::new(router.udp(), "failing");
    load.register("bob");
    canary(&router, &bad, &["--percent", "10", "--min-calls", "5"]);
    let calls = load.run(600, 100.0, |_| "bob".to_owned(), |_| {});
    wait_until("the canary to end, and a line about it", || {
        audit(&router)[0]["action"] == "automatic-abort"
    });
    assert!(router.get("/api/v1/policies")["canary"].is_null());
    let failed: Vec<&Call> = calls.iter().filter(|call| !call.ended).collect();
    assert!(
        failed
            .iter()
            .all(|call| call.status == 500 && call.at_callee.is_none())
    );
    let shown = version_of(&router, &bad);
    assert_eq!(
        shown["faults"],
        failed.len(),
        "the failed calls are its own: {shown}"
    );
    assert!(
        (5..=30).contains(&failed.len()),
        "{} calls failed",
        failed.len()
    );
    for call in calls.iter().filter(|call| call.ended) {
        assert_eq!(version_of_call(call), "one");
    }
    assert_eq!(shown["state"], "draining");
    let line = &audit(&router)[0];
    assert_eq!(line["action"], "automatic-abort");
    assert!(
        line["detail"]
            .as_str()
            .expect("a reason")
            .contains("of its hooks failed"),
        "{line}"
    );
    assert!(router.log().contains("the canary is aborted"));
    assert_eq!(
        router.metric("patchbay_policy_automatic_aborts_total", ""),
        1.0
    );
}

#[test]
fn what_a_canary_does_in_the_shadow_is_not_held_against_it() {
    let router = start(1);
    let bad = push(&router, &version("bad"));
    let more = ["--percent", "100", "--min-calls", "5"];
    canary(
        &router,
        &bad,
        &[&more[..], &["--match", "source=127.0.0.9"]].concat(),
    );
    policy_json(&router, &["shadow", &format!("rolled@{bad}")]);
    let mut own = Agent::udp_from(router.udp(), "carol", [127, 0, 0, 9].into());
    for _ in 0..6 {
        let asked = own.compose("OPTIONS", "sip:bob@localhost", "sip:bob@localhost", "", "");
        own.request(asked);
        own.final_response();
    }
    // These fail in the shadow alone.
    let mut other = Agent::udp(router.udp(), "alice");
    for _ in 0..6 {
        let invite = other.invite("sip:bob@localhost");
        let answer = other.final_response();
        other.acknowledge(&invite, &answer);
    }
    let shadow = || router.get("/api/v1/shadow");
    wait_until("the shadow has seen all", || shadow()["runs"] == 6);
    assert_eq!(shadow()["faults"], 6, "{:#}", shadow());
    let failed = router.metric("patchbay_shadow_failed_hook_runs", "");
    assert_eq!(failed, 6.0);
    let shown = version_of(&router, &bad);
    assert_eq!(shown["faults"], 0, "{shown}");
    assert_eq!(shown["calls"], 6, "{shown}");
    assert!(shown["last_error"].is_null(), "{shown}");
    // What ends it is a fault of its own, among its own runs.
    let mut failing = Agent::udp_from(router.udp(), "carol", [127, 0, 0, 9].into());
    let invite = failing.invite("sip:bob@localhost");
    let answer = failing.final_response();
    failing.acknowledge(&invite, &answer);
    wait_until("the canary to end", || {
        audit(&router)[0]["action"] == "automatic-abort"
    });
    let reason = audit(&router)[0]["detail"].to_string();
    assert!(reason.contains("1 of 7 "), "{reason}");
}

#[test]
fn failure_responses_end_a_canary_that_has_a_limit_for_them() {
    let router = start(1);
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    let two = push(&router, &version("two"));
    canary(
        &router,
        &two,
        &[
            "--percent",
            "100",
            "--min-calls",
            "3",
            "--max-6xx-rate",
            "50",
        ],
    );
    for _ in 0..3 {
        let invite = alice.invite(&bob.aor());
        let received = bob.expect_request("INVITE");
        bob.respond(&received, 603, "", "");
        bob.expect_request("ACK");
        let answer = alice.expect(603);
        alice.acknowledge(&invite, &answer);
    }
    wait_until("the canary to end, and a line about it", || {
        audit(&router)[0]["action"] == "automatic-abort"
    });
    assert!(router.get("/api/v1/policies")["canary"].is_null());
    let line = &audit(&router)[0];
    assert!(
        line["detail"].as_str().expect("a reason").contains("6xx"),
        "{line}"
    );
}

#[test]
fn a_canary_that_fails_more_often_than_the_others_ends_without_a_limit() {
    let router = start(1);
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    let two = push(&router, &version("two"));
    canary(&router, &two, &["--percent", "50"]);
    for _ in 0..80 {
        let invite = alice.invite(&bob.aor());
        let received = bob.expect_request("INVITE");
        let is_canary = received.header("X-Version") == "two";
        let status = if is_canary { 603 } else { 486 };
        bob.respond(&received, status, "", "");
        bob.expect_request("ACK");
        let answer = alice.expect(status);
        alice.acknowledge(&invite, &answer);
    }
    wait_until("the canary to end, and a line about it", || {
        audit(&router)[0]["action"] == "automatic-abort"
    });
    let detail = audit(&router)[0]["detail"].to_string();
    assert!(detail.contains("5xx or 6xx"), "{detail}");
}

#[test]
fn a_canary_of_another_policy_is_compared_with_the_active_one() {
    let router = start(1);
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    let file = version("two");
    let file = file.to_str().expect("a UTF-8 path");
    policy_json(&router, &["push", "another", file]);
    policy_json(&router, &["canary", "another", "--percent", "50"]);
    for _ in 0..30 {
        let call = establish(&mut alice, &mut bob);
        hang_up(&mut alice, &mut bob, &call);
    }
    let shown = router.get("/api/v1/policies")["canary"].clone();
    for side in ["canary", "stable"] {
        let requests = shown[side]["requests"].as_u64();
        assert!(requests > Some(0), "{shown}");
        assert_eq!(
            shown[side]["responses"]["2xx"].as_u64(),
            requests,
            "{shown}"
        );
    }
}

#[test]
fn a_canary_that_answers_nothing_when_its_time_is_over_is_told_of_once() {
    let router = start(1);
    let two = push(&router, &version("two"));
    let [mut alice, mut bob, mut carol] =
        ["alice", "bob", "carol"].map(|user| Agent::udp(router.udp(), user));
    bob.register();
    carol.register();
    let rule = "--percent 100 --min-calls 2 --for 100ms --match source=127.0.0.9";
    let rule: Vec<&str> = rule.split(' ').collect();
    canary(&router, &two, &rule);
    establish(&mut alice, &mut carol);
    let mut own = Agent::udp_from(router.udp(), "dave", [127, 0, 0, 9].into());
    for _ in 0..2 {
        own.invite(&bob.aor());
        bob.expect_request("INVITE");
    }
    let told = "answered nothing";
    router.wait_for_log(told);
    // It is judged some ten times more.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(router.log().matches(told).count(), 1);
    assert!(!router.get("/api/v1/policies")["canary"].is_null());
}

#[test]
fn a_canary_with_a_time_becomes_active_when_it_has_done_well() {
    let router = start(1);
    let two = push(&router, &version("two"));
    canary(
        &router,
        &two,
        &["--percent", "100", "--min-calls", "2", "--for", "300ms"],
    );
    std::thread::sleep(Duration::from_millis(600));
    assert!(
        !router.get("/api/v1/policies")["canary"].is_null(),
        "it has had no calls"
    );
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    establish(&mut alice, &mut bob);
    wait_until("the canary to be active, and a line about it", || {
        audit(&router)[0]["action"] == "automatic-promote"
    });
    assert_eq!(router.get("/api/v1/status")["policy"]["version"], *two);
}

#[test]
fn wrong_canaries_are_refused() {
    let router = start(1);
    let status = |arguments: &[&str]| policy(&router, arguments).status.code();
    assert_eq!(
        status(&["canary", "rolled", "--percent", "5"]),
        Some(1),
        "it is active"
    );
    assert_eq!(status(&["canary", "nothing", "--percent", "5"]), Some(1));
    assert_eq!(status(&["canary", "rolled", "--percent", "0"]), Some(2));
    assert_eq!(
        status(&["canary", "rolled", "--percent", "5", "--match", "tenant=a"]),
        Some(2)
    );
    assert_eq!(status(&["promote"]), Some(1));
    assert_eq!(status(&["abort", "rolled"]), Some(1));
    let (two, three) = (
        push(&router, &version("two")),
        push(&router, &version("three")),
    );
    canary(&router, &two, &["--percent", "5"]);
    let other = format!("rolled@{three}");
    assert_eq!(
        status(&["canary", &other, "--percent", "5"]),
        Some(1),
        "there is one already"
    );
    canary(&router, &two, &["--percent", "50"]);
    assert_eq!(
        router.get("/api/v1/policies")["canary"]["rule"]["percent"],
        50.0
    );
}
