//! Versions over their life: who stored them, what they did, how one that fails is replaced, what is written down, and what is left
//! after a thousand of them.
//!
//! `PATCHBAY_SWAPS` (default 60) makes the last test longer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::net::{Ipv4Addr, UdpSocket};

use patchbay_tests::agent::Agent;
use patchbay_tests::load::Load;
use patchbay_tests::policies;
use patchbay_tests::rollout::{audit, policy, policy_json, push, version, version_of};
use patchbay_tests::router::{Router, Setup, wait_until};
use serde_json::json;

fn setup() -> Setup {
    Setup::new()
        .policy("rolled", &version("one"))
        .active("rolled")
}

/// The digest of the active version.
fn active(router: &Router) -> String {
    router.get("/api/v1/status")["policy"]["version"]
        .as_str()
        .expect("an active version")
        .to_owned()
}

#[test]
fn a_version_shows_who_stored_it_what_it_did_and_how_long_that_took() {
    let router = setup().start();
    let one = active(&router);
    let mut load = Load::new(router.udp(), "shown");
    load.register("bob");
    let calls = load.run(30, 100.0, |_| "bob".to_owned(), |_| {});
    assert!(calls.iter().all(|call| call.ended));
    let shown = version_of(&router, &one);
    assert_eq!(shown["state"], "active");
    assert_eq!(shown["origin"]["via"], "file");
    assert!(shown["origin"]["by"].is_string(), "{shown}");
    // REGISTER, and for each call INVITE, ACK and BYE.
    assert_eq!(shown["calls_by_hook"]["request-route"], 1 + 3 * 30);
    assert_eq!(shown["calls_by_hook"]["onreply-route"], 2 * 30);
    assert_eq!(shown["faults_by_kind"]["trap"], 0);
    let times = &shown["hook_time_us"];
    let time = |name: &str| times[name].as_f64().expect("a time");
    assert!(0.0 < time("p50") && time("p50") <= time("p90") && time("p90") <= time("p99"));
    assert!(router.metric("patchbay_policy_version_hook_seconds", "quantile=\"0.99\"") > 0.0);

    let two = push(&router, &version("two"));
    let pushed = version_of(&router, &two);
    assert_eq!(pushed["state"], "ready");
    assert_eq!(pushed["origin"]["via"], "cli");
    assert_eq!(pushed["origin"]["proof"], "data-directory");
    assert!(
        pushed["origin"]["from"]
            .as_str()
            .expect("a peer")
            .starts_with("127.0.0.1:")
    );
    let table = String::from_utf8(policy(&router, &["list"]).stdout).expect("text");
    assert!(
        table.contains(&two[..12]) && table.contains("P99"),
        "{table}"
    );
}

#[test]
fn live_transactions_pin_their_version() {
    let router = setup().start();
    let one = active(&router);
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    alice.invite(&bob.aor());
    let invite = bob.expect_request("INVITE");
    bob.respond(&invite, 180, "", "");
    alice.expect(180);
    let two = push(&router, &version("two"));
    policy_json(&router, &["activate", &format!("rolled@{}", &two[..12])]);
    assert_eq!(active(&router), two);
    let three = push(&router, &version("three"));
    policy_json(&router, &["activate", "rolled", "--version", &three]);
    let shown = version_of(&router, &one);
    assert_eq!(
        (&shown["state"], &shown["pinned"]),
        (&json!("draining"), &json!(1))
    );
    bob.respond(&invite, 200, "", "");
    alice.expect(200);
}

#[test]
fn a_refused_version_is_listed_with_its_error_and_written_down() {
    let router = setup().start();
    let file = router.path().join("broken.wasm");
    std::fs::write(&file, b"\0asm\x0d\0\x01\0 and nothing").expect("write");
    let output = policy(&router, &["push", "rolled", file.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(1));
    let listed = router.get("/api/v1/policies").to_string();
    assert!(listed.contains("\"rejected\""), "{listed}");
    let line = &audit(&router)[0];
    assert_eq!(
        (&line["action"], &line["done"]),
        (&json!("store"), &json!(false))
    );
    assert!(line["detail"].is_string(), "{line}");
}

/// Calls bob from this address until the router has answered.
fn call_from(router: &Router, address: [u8; 4]) -> u16 {
    let mut caller = Agent::udp_from(router.udp(), "alice", address.into());
    let invite = caller.invite("sip:bob@localhost");
    let answer = caller.final_response();
    caller.acknowledge(&invite, &answer);
    answer.status()
}

#[test]
fn a_version_that_fails_for_several_sources_is_rolled_back_once_and_written_down() {
    let router = setup().start();
    let one = active(&router);
    let bad = push(&router, &version("bad"));
    policy_json(&router, &["activate", "rolled", "--version", &bad]);
    for _ in 0..20 {
        assert_eq!(call_from(&router, [127, 0, 0, 1]), 500);
    }
    assert_eq!(active(&router), bad, "one source is never enough");
    for last in [2, 3] {
        call_from(&router, [127, 0, 0, last]);
    }
    wait_until("the version before to be active again", || {
        active(&router) == one
    });
    wait_until("a line in the audit log", || {
        audit(&router)[0]["action"] == "automatic-rollback"
    });
    let line = &audit(&router)[0];
    assert_eq!(line["before"]["version"], *bad);
    assert_eq!(line["after"]["version"], *one);
    assert_eq!(line["via"], "router");
    // The log is read by a thread of its own.
    router.wait_for_log("keeps failing since its activation");
    let log = router.log();
    let errors = log
        .lines()
        .filter(|line| line.contains("ERROR") && !line.contains("patchbay::policy: "));
    assert_eq!(errors.count(), 1, "{log}");
    let failed = log.lines().find(|line| line.contains("a hook failed"));
    let failed = failed.expect("a line about a fault");
    assert!(failed.contains("call_id="), "{failed}");
    let shown = version_of(&router, &bad);
    assert_eq!(shown["alarms"], 1);
    assert!(
        shown["last_error"]
            .as_str()
            .expect("an error")
            .contains("request-route")
    );

    // Whoever activates it again means it.
    policy_json(&router, &["activate", "rolled", "--version", &bad]);
    for _ in 0..5 {
        for last in 1..=4 {
            assert_eq!(call_from(&router, [127, 0, 0, last]), 500);
        }
    }
    assert_eq!(active(&router), bad, "once is enough");
    policy_json(&router, &["rollback"]);
    let router = setup().directory(router.stop()).start();
    assert_eq!(active(&router), one, "over a restart");
}

#[test]
fn a_version_whose_verdicts_are_not_possible_has_failed() {
    let router = setup().start();
    let one = active(&router);
    let saving = push(&router, &version("saving"));
    policy_json(&router, &["activate", "rolled", "--version", &saving]);
    for _ in 0..20 {
        assert_eq!(call_from(&router, [127, 0, 0, 1]), 500);
    }
    let shown = version_of(&router, &saving);
    assert_eq!(shown["faults_by_kind"]["verdict"], 20, "{shown}");
    let error = shown["last_error"].as_str().expect("an error");
    assert!(error.contains("`save` for INVITE"), "{error}");
    let log = router.log();
    let line = log
        .lines()
        .find(|line| line.contains("a hook failed"))
        .expect("a line about it");
    assert!(line.contains("call_id"), "{line}");
    for last in [2, 3] {
        call_from(&router, [127, 0, 0, last]);
    }
    wait_until("the version before to be active again", || {
        active(&router) == one
    });
}

#[test]
fn a_version_that_decides_nothing_fails_for_all_to_see() {
    let router = setup().start();
    let one = active(&router);
    let undecided = push(&router, &policies::guest("undecided"));
    policy_json(&router, &["activate", "rolled", "--version", &undecided]);
    assert!(router.log().contains("has no request-route"));
    for last in [1, 1, 1, 2, 3] {
        assert_eq!(call_from(&router, [127, 0, 0, last]), 500);
    }
    let shown = version_of(&router, &undecided);
    assert_eq!(shown["faults_by_kind"]["verdict"], 5, "{shown}");
    wait_until("the version before to be active again", || {
        active(&router) == one
    });
}

#[test]
fn stray_acks_take_no_version_back() {
    let router = setup().start();
    let answering = push(&router, &version("answering"));
    policy_json(&router, &["activate", "rolled", "--version", &answering]);
    for last in 1..=4u8 {
        let phone = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0)).expect("a socket");
        for number in 0..5 {
            let ack = format!(
                "ACK sip:bob@localhost SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.{last};branch=z9hG4bKstray{number}\r\nMax-Forwards: 70\r\n\
                 From: <sip:a@localhost>;tag=1\r\nTo: <sip:bob@localhost>\r\nCall-ID: stray-{last}-{number}\r\nCSeq: 1 ACK\r\n\r\n"
            );
            phone.send_to(ack.as_bytes(), router.udp()).expect("send");
        }
    }
    wait_until("each to be counted as a fault", || {
        version_of(&router, &answering)["faults_by_kind"]["verdict"] == 20
    });
    assert_eq!(active(&router), answering);
}

#[test]
fn who_did_what_is_written_down_over_a_restart() {
    let router = setup().start();
    let one = active(&router);
    let two = push(&router, &version("two"));
    policy_json(&router, &["activate", "rolled"]);
    policy_json(&router, &["rollback"]);
    std::fs::copy(version("three"), router.path().join("policies/rolled.wasm")).expect("copy");
    wait_until("the changed file to be active", || active(&router) != one);
    let directory = router.stop();
    let path = directory.path().join("data/policies/audit.jsonl");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(path).expect("the log").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let router = Setup::new().active("rolled").directory(directory).start();
    let lines = policy_json(&router, &["audit", "--limit", "4"]);
    let lines = lines["audit"].as_array().expect("lines").clone();
    let actions: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["action"].as_str().unwrap(),
                line["via"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        actions,
        [
            ("activate", "file"),
            ("store", "file"),
            ("rollback", "cli"),
            ("activate", "cli")
        ]
    );
    assert_eq!(lines[3]["before"]["version"], *one);
    assert_eq!(lines[3]["after"]["version"], *two);
    let table = String::from_utf8(policy(&router, &["audit"]).stdout).expect("text");
    assert!(
        table.contains("rollback") && table.contains("WHEN"),
        "{table}"
    );
}

#[test]
fn an_activation_that_can_not_be_remembered_is_told_and_remembered_later() {
    let router = setup().start();
    let two = push(&router, &version("two"));
    // What a full disk does, for one file.
    let obstacle = router.path().join("data/policies/active.new");
    std::fs::create_dir(&obstacle).expect("a folder");
    let activated = policy(&router, &["activate", "rolled", "--json"]);
    assert_eq!(activated.status.code(), Some(0));
    let warning = String::from_utf8_lossy(&activated.stderr);
    assert!(
        warning.contains("not remembered over a restart"),
        "{warning}"
    );
    let answer: serde_json::Value = serde_json::from_slice(&activated.stdout).expect("JSON");
    assert_eq!(answer["remembered"], false, "{answer}");
    assert_eq!(active(&router), two);
    std::fs::remove_dir(&obstacle).expect("it was there");
    router.wait_for_log("what is active is remembered again");
    let router = Setup::new()
        .active("rolled")
        .directory(router.kill())
        .start();
    assert_eq!(active(&router), two);
    let answer = policy_json(&router, &["rollback"]);
    assert_eq!(answer["remembered"], true, "{answer}");
}

/// The memory of the router that is its own, in KiB, once no transaction is left.
fn memory_at_rest(router: &Router) -> u64 {
    wait_until("the transactions to end", || {
        router.metric("patchbay_sip_transactions", "") == 0.0
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", router.pid())).expect("status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .expect("RssAnon");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

#[test]
fn memory_is_the_same_after_many_swaps_under_load() {
    let swaps: usize = std::env::var("PATCHBAY_SWAPS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(60);
    // Transactions are over after 64 T1.
    let router = setup().section("[timers]\nt1 = \"50ms\"\n").start();
    let mut digests = vec![active(&router)];
    for name in ["two", "three", "four", "five"] {
        digests.push(push(&router, &version(name)));
    }
    let swap = |number: usize| {
        let digest = &digests[number % digests.len()];
        let body = json!({ "version": digest }).to_string();
        let (status, answer) = router.post("/api/v1/policies/rolled/activate", &body);
        assert_eq!(status, 200, "{answer}");
    };
    let load = |name: String, swaps: usize| {
        let mut load = Load::new(router.udp(), &name);
        // A callee of its own: the contacts of an address-of-record are limited.
        load.register(&name);
        // A call every 10 ms as far as the swaps let it, two calls a swap.
        let calls = load.run(
            2 * swaps,
            100.0,
            |_| name.clone(),
            |number| {
                if number % 2 == 0 {
                    swap(number / 2);
                }
            },
        );
        let failed = calls.iter().filter(|call| call.status != 200).count();
        assert_eq!(failed, 0, "of {} calls", calls.len());
    };
    load("warm".to_owned(), 30);
    load("warmer".to_owned(), 30);
    let before = memory_at_rest(&router);
    let after_more = |round: usize| {
        let mut left = swaps;
        while left > 0 {
            let part = left.min(100);
            load(format!("swaps-{round}-{left}"), part);
            left -= part;
        }
        let after = memory_at_rest(&router);
        eprintln!("{swaps} swaps: {before} KiB before, {after} KiB after");
        after
    };
    // On a machine that is busy otherwise more waits at a time now and then; what leaks is more after each round.
    let is_level = (0..3).any(|round| after_more(round) as f64 <= before as f64 * 1.05);
    assert!(
        is_level,
        "memory grows with the swaps, from {before} KiB: see above"
    );
    assert_eq!(router.metric("patchbay_hook_faults_total", ""), 0.0);
}
