//! What is done to the versions of policies, and what is looked at, with tenants and chains.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::path::Path;
use std::process::Command;

use patchbay_tests::agent::Agent;
use patchbay_tests::command::{patchbay, text};
use patchbay_tests::policies;
use patchbay_tests::rollout::{self, policy_json, push_as};
use patchbay_tests::router::{Router, Setup, binary, wait_until};
use patchbay_tests::tenants::*;
use serde_json::Value;

fn in_dialog(caller: &mut Agent, callee: &mut Agent, call: &Call) -> String {
    let info = caller.in_dialog("INFO", &call.invite, &call.answer);
    caller.request(info);
    let received = callee.expect_request("INFO");
    callee.respond(&received, 200, "", "");
    caller.expect(200);
    received.header("X-Tenant").to_owned()
}

#[test]
fn a_hundred_tenants_share_one_policy() {
    let route = |number: usize| {
        format!(
            "[[policy.route]]\ndomain = \"t{number}.example\"\npolicy = \"tenant\"\n[policy.route.settings]\nmark = \"{number}\"\n"
        )
    };
    let text: String = (0..100).map(route).collect();
    // Fewer instances than tenants: they make room for each other.
    let router = Setup::new()
        .policy("tenant", &policies::guest("tenant"))
        .policy_keys("max_concurrent_hooks = 1")
        .workers(2)
        .section(&text)
        .start();
    for _ in 0..3 {
        for number in 0..100 {
            assert_eq!(
                mark(&router, &format!("T{number}.Example")),
                number.to_string()
            );
        }
    }
    assert_eq!(router.metric("patchbay_hook_faults_total", ""), 0.0);
    assert_eq!(policy(&router, "tenant").1.len(), 100);
}

#[test]
fn the_default_policy_serves_tenants_with_settings_of_their_own() {
    let voicemail = Agent::udp("127.0.0.1:9".parse().expect("an address"), "vm");
    let more = format!(
        "[[policy.route]]\ndomain = {A:?}\npolicy = \"default\"\nnamespace = \"a\"\n[policy.route.settings]\nvoicemail = \"{}\"\n[[policy.route]]\ndomain = {B:?}\npolicy = \"default\"\nnamespace = \"b\"\n",
        voicemail.contact()
    );
    let router = Setup::new().section(&more).start();
    let mut voicemail = voicemail;
    for (domain, has_voicemail) in [(A, true), (B, false)] {
        let mut bob = registered(&router, "bob", domain);
        let mut alice = registered(&router, "alice", domain);
        let invite = alice.invite(&bob.aor());
        let received = bob.expect_request("INVITE");
        bob.respond(&received, 486, "", "");
        bob.expect_request("ACK");
        if has_voicemail {
            let diverted = voicemail.receive();
            assert!(diverted.start.starts_with("INVITE "), "{diverted:?}");
            let ended = voicemail.compose_response(&diverted, 603, "", "");
            voicemail.send_to(&ended, router.udp());
            let answer = alice.expect(603);
            alice.acknowledge(&invite, &answer);
        } else {
            let answer = alice.expect(486);
            alice.acknowledge(&invite, &answer);
        }
    }
    // The active policy and the routes have the same version of it, and change together.
    let two = push_as(&router, "default", &version("two"));
    policy_json(&router, &["activate", "default"]);
    assert_eq!(router.get("/api/v1/status")["policy"]["version"], two);
    assert_eq!(marks(&router), ["two", "two"]);
    assert_eq!(mark(&router, "localhost"), "two");
    policy_json(&router, &["rollback"]);
    assert_eq!(marks(&router), ["", ""]);
}

#[test]
fn a_canary_of_a_routed_policy_is_for_its_routes() {
    let router = own_policies().start();
    let (mut alice, mut bob) = alice_and_bob(&router);
    let two = push_as(&router, "of-a", &version("two"));
    policy_json(
        &router,
        &["canary", &format!("of-a@{two}"), "--percent", "100"],
    );
    assert_eq!(marks(&router), ["atwo", "b"]);
    assert_eq!(mark(&router, "localhost"), "");
    let call = call(&mut alice, &mut bob);
    assert_eq!(call.received.header("X-Tenant"), "atwo");
    policy_json(&router, &["abort"]);
    assert_eq!(mark(&router, A), "a");
    assert_eq!(
        in_dialog(&mut alice, &mut bob, &call),
        "atwo",
        "the dialog keeps its version"
    );
    policy_json(
        &router,
        &["canary", &format!("of-a@{two}"), "--percent", "100"],
    );
    let one = policy(&router, "of-a").0;
    policy_json(&router, &["promote"]);
    assert_eq!(marks(&router), ["atwo", "b"]);
    assert_eq!(policy(&router, "of-a").0, two);
    let lines = patchbay_tests::rollout::audit(&router);
    for (line, action) in lines.iter().zip(["promote", "canary", "abort"]) {
        let stable = if action == "abort" { "after" } else { "before" };
        assert_eq!(line["action"], action, "{line}");
        assert_eq!(line[stable]["policy"], "of-a", "{line}");
        assert_eq!(line[stable]["version"], *one, "{line}");
    }
    assert_eq!(router.get("/api/v1/status")["policy"]["name"], "default");
}

#[test]
fn the_numbers_of_a_canary_are_of_its_policy_alone() {
    let router = own_policies().start();
    let two = push_as(&router, "of-a", &version("two"));
    let canary = format!("of-a@{two}");
    let mut begin = vec!["canary", &canary, "--percent", "100"];
    let asked = || {
        marks(&router);
        mark(&router, "localhost");
        let canary = router.get("/api/v1/policies")["canary"].clone();
        let answered = |side: &str| canary[side]["responses"]["2xx"].as_u64();
        (answered("canary"), answered("stable"))
    };
    policy_json(&router, &begin);
    assert_eq!(asked(), (Some(1), Some(0)));
    begin.extend(["--match", "user=nobody"]);
    policy_json(&router, &begin);
    assert_eq!(asked(), (Some(0), Some(1)));
}

#[test]
fn a_canary_in_a_chain_keeps_its_dialogs() {
    let router = chain("[\"screening\", \"tenant\"]").start();
    let (mut alice, mut bob) = alice_and_bob(&router);
    let two = push_as(&router, "tenant", &version("two"));
    let begun = policy_json(
        &router,
        &["canary", &format!("tenant@{two}"), "--percent", "100"],
    );
    assert_eq!(begun["version"], two, "{begun}");
    let call = call(&mut alice, &mut bob);
    assert_eq!(call.received.header("X-Tenant"), "atwo");
    assert_eq!(call.received.header("X-Screened"), "yes");
    let canary = || router.get("/api/v1/policies")["canary"].clone();
    assert_eq!(canary()["canary"]["requests"], 1, "{}", canary());
    policy_json(&router, &["abort"]);
    assert_eq!(in_dialog(&mut alice, &mut bob, &call), "atwo");
    let mut carol = registered(&router, "carol", A);
    let later = self::call(&mut carol, &mut bob);
    assert_eq!(later.received.header("X-Tenant"), "a");
}

#[test]
fn a_canary_that_does_not_start_for_a_new_route_is_ended() {
    let router = own_policies().start();
    let two = push_as(&router, "of-a", &version_that_refuses("c", "two"));
    let begin = ["canary", &format!("of-a@{two}"), "--percent", "100"];
    policy_json(&router, &begin);
    let canary = || router.get("/api/v1/policies")["canary"].clone();
    let route = |mark: &str| {
        format!(
            "\n[[policy.route]]\ndomain = \"{mark}.example\"\npolicy = \"of-a\"\n[policy.route.settings]\nmark = {mark:?}\n"
        )
    };
    reload(&router, |text| text + &route("d"));
    assert_eq!(mark(&router, "d.example"), "dtwo", "it starts for this one");
    reload(&router, |text| text + &route("c"));
    assert!(canary().is_null(), "{}", canary());
    assert_eq!(marks(&router), ["a", "b"]);
    assert_eq!(mark(&router, "c.example"), "c");
    let last = rollout::audit(&router).remove(0);
    assert_eq!(last["action"], "automatic-abort");
    let reason = last["detail"].as_str().expect("a reason");
    assert!(
        reason.contains("c.example") && reason.contains("not c"),
        "{reason}"
    );
    let aborts = router.metric("patchbay_policy_automatic_aborts_total", "");
    assert_eq!(aborts, 1.0);
    let again = patchbay(&router, &[&["policy"], &begin[..]].concat());
    assert!(!again.status.success());
}

#[test]
fn a_canary_that_does_not_start_with_new_settings_is_ended() {
    let router = own_policies().setting("mark", "d").start();
    let two = push_as(&router, "mine", &version_that_refuses("c", "two"));
    let begin = ["canary", &format!("mine@{two}"), "--percent", "100"];
    policy_json(&router, &begin);
    let canary = || router.get("/api/v1/policies")["canary"].clone();
    reload(&router, |text| text);
    assert_eq!(canary()["version"], two, "it starts with these");
    reload(&router, |text| text.replace("\"d\"", "\"c\""));
    assert!(canary().is_null(), "{}", canary());
    let last = rollout::audit(&router).remove(0);
    assert_eq!(last["action"], "automatic-abort");
    let reason = last["detail"].as_str().expect("a reason");
    assert!(reason.contains("not c"), "{reason}");
}

#[test]
fn a_canary_and_a_shadow_whose_route_is_gone_get_nobody_elses_requests() {
    let router = own_policies().start();
    let before = router.get("/api/v1/status")["policy"].clone();
    let canary = format!("of-a@{}", push_as(&router, "of-a", &version("two")));
    let shadow = format!("of-b@{}", push_as(&router, "of-b", &version("two")));
    policy_json(&router, &["canary", &canary, "--percent", "100"]);
    policy_json(&router, &["shadow", &shadow]);
    assert_eq!(marks(&router), ["atwo", "b"]);
    wait_until("the shadow has seen it", || {
        router.get("/api/v1/shadow")["runs"] == 1
    });
    reload(&router, |text| {
        let routes = routes("of-a", "of-b");
        assert!(text.contains(&routes), "{text}");
        text.replace(&routes, "")
    });
    assert_eq!(mark(&router, "localhost"), "", "the active policy has it");
    let policies = router.get("/api/v1/policies");
    assert!(policies["canary"].is_null(), "{policies}");
    let promoted = patchbay(&router, &["policy", "promote"]);
    assert!(!promoted.status.success(), "{}", text(&promoted));
    assert_eq!(router.get("/api/v1/status")["policy"], before);
    assert!(router.get("/api/v1/shadow")["policy"].is_null());
    let lines = rollout::audit(&router);
    let lines = lines
        .iter()
        .map(|line| (line["action"].as_str(), line["detail"].as_str()));
    let told = "no route names its policy any more";
    let differences = format!("{told}: 1 of 1 hook runs were different");
    assert_eq!(
        lines.take(2).collect::<Vec<_>>(),
        [
            (Some("shadow-off"), Some(&*differences)),
            (Some("automatic-abort"), Some(told)),
        ]
    );
    router.wait_for_log("the shadow is over");
    router.wait_for_log("the canary is aborted");
}

#[test]
fn a_canary_of_the_active_policy_does_not_get_those_of_a_new_route() {
    let router = Setup::new()
        .policy("tenant", &policies::guest("tenant"))
        .active("tenant")
        .start();
    let two = push_as(&router, "tenant", &version("two"));
    let begin = ["canary", &format!("tenant@{two}"), "--percent", "100"];
    policy_json(&router, &begin);
    assert_eq!(mark(&router, "localhost"), "two");
    reload(&router, |text| text + &routes("tenant", "tenant"));
    assert_eq!(mark(&router, "localhost"), "two");
    assert_eq!(marks(&router), ["a", "b"]);
    policy_json(&router, &begin);
    assert_eq!(marks(&router), ["atwo", "btwo"], "begun anew it does");
}

#[test]
fn a_pinned_dialog_of_a_chain_stays_in_its_versions() {
    let router = chain("[\"screening\", \"tenant\"]")
        .policy_keys("pin = \"dialog\"")
        .start();
    let (mut alice, mut bob) = alice_and_bob(&router);
    let call = call(&mut alice, &mut bob);
    let before = policy(&router, "tenant").0;
    std::fs::copy(version("two"), router.path().join("policies/tenant.wasm")).expect("copy");
    wait_until("the new version", || policy(&router, "tenant").0 != before);
    assert_eq!(in_dialog(&mut alice, &mut bob, &call), "a");
    let mut carol = registered(&router, "carol", A);
    assert_eq!(
        self::call(&mut carol, &mut bob).received.header("X-Tenant"),
        "atwo"
    );
}

#[test]
fn a_failing_version_of_one_tenant_is_rolled_back_for_it_alone() {
    let good = rollout::version("one");
    let router = Setup::new()
        .policy("of-a", &good)
        .policy("of-b", &good)
        .section(&routes("of-a", "of-b"))
        .start();
    let (one, of_b) = (policy(&router, "of-a").0, policy(&router, "of-b").0);
    let bad = push_as(&router, "of-a", &rollout::version("bad"));
    policy_json(&router, &["activate", "of-a", "--version", &bad]);
    let call_from = |last: u8, domain: &str| {
        let mut caller = Agent::udp_from(router.udp(), "alice", [127, 0, 0, last].into());
        let invite = caller.invite(&format!("sip:bob@{domain}"));
        let answer = caller.final_response();
        caller.acknowledge(&invite, &answer);
        answer.status()
    };
    for last in [1, 2, 3, 4, 5, 6] {
        assert_ne!(call_from(last, B), 500);
        call_from(last, A);
    }
    wait_until("the version before", || policy(&router, "of-a").0 == one);
    assert_eq!(policy(&router, "of-b").0, of_b);
    assert_eq!(
        router.metric("patchbay_policy_automatic_rollbacks_total", ""),
        1.0
    );
    wait_until("a line in the audit log", || {
        rollout::audit(&router)[0]["action"] == "automatic-rollback"
    });
    let text = routes("of-a", "of-b");
    let router = Setup::new().directory(router.stop()).section(&text).start();
    assert_eq!(policy(&router, "of-a").0, one, "over a restart");
}

#[test]
fn nothing_is_held_when_all_transactions_are_over() {
    let router = chain("[\"screening\", \"tenant\"]").start();
    let mut alice = registered(&router, "alice", A);
    for _ in 0..5 {
        assert_eq!(mark(&router, A), "a");
    }
    let (uri, spam) = ("sip:bob@a.example", "X-Spam: yes\r\n");
    let text = alice.compose("INVITE", uri, uri, spam, "");
    let invite = alice.request(text);
    let refused = alice.expect(603);
    alice.acknowledge(&invite, &refused);
    let held = |name: &str| router.metric(name, "");
    assert_eq!(held("patchbay_policy_route_requests_total"), 7.0);
    wait_until("every transaction to be over", || {
        held("patchbay_policy_route_transactions") == 0.0
            && held("patchbay_policy_version_pinned") == 0.0
    });
}

#[test]
fn a_shadow_of_a_routed_policy_sees_its_own_runs() {
    let router = own_policies().start();
    let two = push_as(&router, "of-a", &version("two"));
    policy_json(&router, &["shadow", &format!("of-a@{two}")]);
    for _ in 0..3 {
        assert_eq!(marks(&router), ["a", "b"]);
        mark(&router, "localhost");
    }
    let report = || policy_json_or_differing(&router);
    wait_until("the shadow has seen them", || report()["runs"] == 3);
    assert_eq!(report()["different"], 3, "{}", report());
}

/// `policy diff` ends with 1 when there are differences.
fn policy_json_or_differing(router: &Router) -> Value {
    let output = patchbay(router, &["policy", "diff", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)))
}

#[test]
fn a_chain_is_recorded_and_replayed_policy_by_policy() {
    let router = chain("[\"screening\", \"tenant\"]")
        .policy_keys("call_ring = 10")
        .start();
    assert!(patchbay(&router, &["record", "start"]).status.success());
    let (mut alice, mut bob) = alice_and_bob(&router);
    let call = call(&mut alice, &mut bob);
    let stopped = patchbay(&router, &["record", "stop", "--json"]);
    let report: Value = serde_json::from_slice(&stopped.stdout).expect("JSON");
    let file = report["file"].as_str().expect("a file");
    let replay = |name: &str, component: &Path| {
        let output = Command::new(binary())
            .args([
                "policy", "replay", file, "--name", name, "--json", "--policy",
            ])
            .arg(component)
            .output()
            .expect("run patchbay");
        let compared: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
        (
            compared["runs"].as_u64().expect("a number"),
            compared["different_runs"].as_u64().expect("a number"),
        )
    };
    // request-route, branch-route, onreply-route of the INVITE, and request-route of the ACK.
    let (runs, different) = replay("screening", &policies::guest("screening"));
    assert!(runs >= 4 && different == 0, "{different} of {runs}");
    let (runs, different) = replay("tenant", &policies::guest("tenant"));
    assert!(runs >= 4 && different == 0, "{different} of {runs}");
    let (_, different) = replay("tenant", &version("two"));
    assert!(different >= 3, "{different}");
    // And of a call that is kept, the runs of one policy.
    let component = policies::guest("tenant");
    let component = component.to_str().expect("a UTF-8 path");
    let call_id = call.answer.header("Call-ID");
    let show = ["call", "show", call_id, "--replay-with", component];
    let shown = patchbay(&router, &[&show[..], &["--name", "tenant"]].concat());
    assert!(shown.status.success(), "{}", text(&shown));
    assert!(
        text(&shown).contains("of other policies skipped"),
        "{}",
        text(&shown)
    );
}

#[test]
fn a_route_without_a_policy_is_a_problem_of_its_line() {
    let router = two_tenants().start();
    let file = router.path().join("patchbay.toml");
    let config = std::fs::read_to_string(&file).expect("the configuration");
    let line = 1 + config
        .lines()
        .position(|line| line == "policy = \"tenant\"")
        .expect("a route");
    let broken = config.replacen("policy = \"tenant\"", "policy = \"absent\"", 1);
    std::fs::write(&file, &broken).expect("write");
    let check = patchbay(&router, &["check"]);
    assert_eq!(check.status.code(), Some(1));
    let expected =
        format!("patchbay.toml:{line}: policy.route.policy: there is no policy \"absent\"");
    assert!(text(&check).contains(&expected), "{}", text(&check));
    std::fs::write(
        &file,
        config.replacen("mark = \"a\"", "refuses = \"not today\"", 1),
    )
    .expect("write");
    let check = patchbay(&router, &["check"]);
    assert!(text(&check).contains(&format!("patchbay.toml:{line}: policy.route.policy: tenant: for the route a.example: init refused: not today")), "{}", text(&check));
    // Nor does it start.
    std::fs::write(&file, &broken).expect("write");
    let directory = router.stop();
    let start = Command::new(binary())
        .args(["run", "--config"])
        .arg(directory.path().join("patchbay.toml"))
        .output()
        .expect("run patchbay");
    assert_eq!(start.status.code(), Some(1));
    let expected = format!("patchbay.toml:{line}: policy.route.policy: absent:");
    assert!(text(&start).contains(&expected), "{}", text(&start));
    std::fs::write(directory.path().join("patchbay.toml"), &config).expect("write");
}

#[test]
fn a_pushed_policy_serves_a_route_without_a_file() {
    let router = own_policies().start();
    push_as(&router, "pushed", &version("two"));
    reload(&router, |text| {
        text.replacen("policy = \"of-a\"", "policy = \"pushed\"", 1)
    });
    assert_eq!(marks(&router), ["atwo", "b"]);
    let directory = router.stop();
    let text = routes("pushed", "of-b");
    let router = Setup::new().directory(directory).section(&text).start();
    assert_eq!(marks(&router), ["atwo", "b"]);
}

#[test]
fn the_command_line_knows_tenants() {
    let router = own_policies().start();
    let _bob = registered(&router, "bob", A);
    let list = patchbay(&router, &["registrations", "list"]);
    assert!(!text(&list).contains("bob"), "{}", text(&list));
    let list = patchbay(&router, &["registrations", "list", "--namespace", "a"]);
    assert!(text(&list).contains("sip:bob@a.example"), "{}", text(&list));
    let show = patchbay(
        &router,
        &["registrations", "show", "bob@a.example", "--namespace", "b"],
    );
    assert_eq!(show.status.code(), Some(1));
    let list = patchbay(&router, &["policy", "list"]);
    assert!(
        text(&list).contains("routes of of-a: a.example"),
        "{}",
        text(&list)
    );
    push_as(&router, "of-a", &version("two"));
    policy_json(&router, &["activate", "of-a"]);
    assert_eq!(marks(&router), ["atwo", "b"]);
    policy_json(&router, &["rollback", "of-a"]);
    assert_eq!(marks(&router), ["a", "b"]);
    let remove = patchbay(
        &router,
        &[
            "registrations",
            "remove",
            "bob@a.example",
            "--namespace",
            "a",
        ],
    );
    assert!(remove.status.success(), "{}", text(&remove));
    let status = router.get("/api/v1/status");
    assert_eq!(status["routes"][0]["name"], A, "{status}");
    assert!(
        status["routes"][0]["requests"].as_u64() > Some(0),
        "{status}"
    );
    assert!(
        router.metric(
            "patchbay_policy_route_requests_total",
            "route=\"a.example\""
        ) > 0.0
    );
}

#[test]
fn a_routed_policys_file_that_changed_while_the_router_was_down_can_be_rolled_back() {
    let router = own_policies().start();
    let one = policy(&router, "of-a").0;
    let directory = router.stop();
    std::fs::copy(version("two"), directory.path().join("policies/of-a.wasm")).expect("copy");
    let text = routes("of-a", "of-b");
    let router = Setup::new().directory(directory).section(&text).start();
    assert_eq!(marks(&router), ["atwo", "b"]);
    let line = &patchbay_tests::rollout::audit(&router)[0];
    assert_eq!(line["before"]["version"], *one, "{line}");
    policy_json(&router, &["rollback", "of-a"]);
    let router = Setup::new().directory(router.stop()).section(&text).start();
    assert_eq!(policy(&router, "of-a").0, one, "over a restart");
}
