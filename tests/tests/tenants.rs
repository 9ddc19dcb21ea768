//! Tenants: routes of the configuration with policies, settings, limits and registrations of their own, and chains of policies.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use patchbay_tests::agent::Agent;
use patchbay_tests::policies;
use patchbay_tests::rollout::{policy_json, push_as};
use patchbay_tests::router::{Router, Setup, wait_until};
use patchbay_tests::tenants::*;

#[test]
fn a_request_goes_to_the_policy_of_its_domain_with_its_settings() {
    let router = two_tenants().start();
    for (domain, expected) in [(A, "a"), (B, "b"), ("localhost", "")] {
        assert_eq!(mark(&router, domain), expected, "{domain}");
    }
    let (version, routes) = policy(&router, "tenant");
    assert!(!version.is_empty());
    assert_eq!(routes, [A, B]);
    assert_eq!(policy(&router, "default").1, [""; 0]);
}

#[test]
fn the_same_user_of_two_tenants_is_two_users() {
    let router = two_tenants().start();
    let mut bobs = [registered(&router, "bob", A), registered(&router, "bob", B)];
    for (at, (domain, mark)) in [(A, "a"), (B, "b")].into_iter().enumerate() {
        let mut alice = registered(&router, "alice", domain);
        let call = call(&mut alice, &mut bobs[at]);
        assert_eq!(call.received.header("X-Tenant"), mark);
        assert_eq!(call.answer.header("X-Reply"), format!("{mark};"));
    }
    let of = |namespace: &str| {
        let listed = router.get(&format!("/api/v1/registrations?namespace={namespace}"));
        listed["registrations"].to_string()
    };
    assert!(of("a").contains("bob@a.example") && !of("a").contains("b.example"));
    assert!(of("b").contains("bob@b.example") && !of("b").contains("a.example"));
    assert_eq!(
        router.get("/api/v1/registrations")["registrations"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
    // An operator's removal stays inside as well.
    let removed = router.delete("/api/v1/registrations/bob@a.example?namespace=a");
    assert_eq!(removed.0, 200, "{}", removed.1);
    assert!(!of("a").contains("bob@a.example") && of("b").contains("bob@b.example"));
}

#[test]
fn a_tenant_registers_addresses_of_its_own_domains_only() {
    let router = two_tenants().start();
    let mut mallory = agent(&router, "mallory", B);
    let text = mallory.compose(
        "REGISTER",
        &format!("sip:{A}"),
        "sip:bob@b.example",
        "Expires: 300\r\n",
        "",
    );
    mallory.request(text);
    assert_eq!(mallory.final_response().status(), 403);
    // Nor does the active policy for a tenant.
    let text = mallory.compose(
        "REGISTER",
        "sip:localhost",
        "sip:bob@b.example",
        "Expires: 300\r\n",
        "",
    );
    mallory.request(text);
    assert!(mallory.final_response().status() >= 400);
}

#[test]
fn credentials_are_of_the_tenants_realm() {
    let router = two_tenants()
        .md5_only()
        .user_of(A, "bob", "secret-a")
        .user_of(B, "bob", "secret-b")
        .start();
    for (domain, password, status) in [
        (A, "secret-b", 401),
        (A, "secret-a", 200),
        (B, "secret-b", 200),
    ] {
        let mut bob = agent(&router, "bob", domain);
        let uri = format!("sip:{domain}");
        let ask = |bob: &mut Agent, more: &str| {
            let text = bob.compose(
                "REGISTER",
                &uri,
                &bob.aor(),
                &format!("{more}Expires: 300\r\n"),
                "",
            );
            bob.request(text);
            bob.final_response()
        };
        let challenge = ask(&mut bob, "");
        assert_eq!(challenge.status(), 401);
        assert!(
            challenge
                .header("WWW-Authenticate")
                .contains(&format!("realm=\"{domain}\""))
        );
        let credentials =
            bob.credentials(&challenge, "WWW-Authenticate", "REGISTER", &uri, password);
        let answer = ask(&mut bob, &format!("Authorization: {credentials}\r\n"));
        assert_eq!(answer.status(), status, "{domain} {password}: {answer:?}");
    }
}

#[test]
fn requests_of_a_dialog_stay_with_its_tenant() {
    let router = two_tenants().workers(2).start();
    let (mut alice, mut bob) = alice_and_bob(&router);
    let call = call(&mut alice, &mut bob);
    // The Request-URI is a contact: no domain leads to the tenant any more.
    let again = alice.in_dialog("INVITE", &call.invite, &call.answer);
    let again = alice.request(again);
    let received = bob.expect_request("INVITE");
    assert_eq!(received.header("X-Tenant"), "a");
    bob.respond(&received, 200, "", "");
    let answer = alice.expect(200);
    assert_eq!(answer.header("X-Reply"), "a;");
    let ack = alice.in_dialog("ACK", &again, &answer);
    alice.send(&ack);
    assert_eq!(bob.expect_request("ACK").header("X-Tenant"), "a");
    let bye = bob.in_dialog_as_callee("BYE", &call.received, &call.answer);
    bob.request(bye);
    let bye = alice.expect_request("BYE");
    assert_eq!(bye.header("X-Tenant"), "a");
    alice.respond(&bye, 200, "", "");
    bob.expect(200);
}

#[test]
fn a_token_of_one_tenant_opens_no_other() {
    let router = two_tenants().start();
    let mut bob = registered(&router, "bob", A);
    let mut victim = registered(&router, "victim", B);
    let mut alice = registered(&router, "alice", A);
    let call = call(&mut alice, &mut bob);
    // In her own dialog she names a user of the other tenant.
    let inside = alice.in_dialog("INVITE", &call.invite, &call.answer);
    let uri = call.answer.uri_in("Contact");
    let forged = inside.replacen(&format!("INVITE {uri} "), "INVITE sip:victim@b.example ", 1);
    assert_ne!(forged, inside);
    alice.request(forged);
    assert_eq!(alice.final_response().status(), 404);
    victim.expect_silence(Duration::from_millis(300));
    // With the token changed it is no dialog at all, and the domain of the request decides.
    let token = inside
        .split("pb")
        .nth(1)
        .expect("a token")
        .get(..20)
        .unwrap()
        .to_owned();
    let other: String = token.chars().rev().collect();
    let broken = inside.replace(&token, &other);
    alice.request(broken);
    assert!(alice.final_response().status() >= 300);
}

#[test]
fn a_chain_runs_one_policy_after_the_other() {
    let router = chain("[\"screening\", \"tenant\"]").start();
    let (mut alice, mut bob) = alice_and_bob(&router);
    let call = call(&mut alice, &mut bob);
    assert_eq!(call.received.header("X-Screened"), "yes");
    assert_eq!(call.received.header("X-Tenant"), "a");
    assert_eq!(call.received.header("X-Branch"), "screening;a;");
    assert_eq!(call.answer.header("X-Reply"), "screening;a;");
    // The first policy decides alone.
    let text = alice.compose("INVITE", &bob.aor(), &bob.aor(), "X-Spam: yes\r\n", "");
    let spam = alice.request(text);
    let refused = alice.expect(603);
    alice.acknowledge(&spam, &refused);
    // Of a failure, the first that decides anything.
    let invite = alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 480, "", "");
    let answer = alice.expect(404);
    alice.acknowledge(&invite, &answer);
    bob.expect_request("ACK");
    for name in ["screening", "tenant"] {
        assert_eq!(policy(&router, name).1, [A]);
    }
    let calls = |policy: &str| {
        router.metric(
            "patchbay_policy_version_calls_total",
            &format!("policy=\"{policy}\""),
        )
    };
    assert!(calls("screening") >= 8.0 && calls("tenant") >= 8.0);
}

#[test]
fn a_later_policy_of_a_chain_retargets_when_the_first_passes() {
    let router = chain("[\"screening\", \"tenant\"]").start();
    let (mut alice, mut bob) = alice_and_bob(&router);
    let mut voicemail = agent(&router, "voicemail", A);
    let line = format!("voicemail = \"{}\"\nmark = ", voicemail.contact());
    reload(&router, |text| text.replacen("mark = ", &line, 1));
    let _invite = alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 486, "", "");
    bob.expect_request("ACK");
    let diverted = voicemail.expect_request("INVITE");
    assert_eq!(diverted.header("X-Screened"), "yes");
    voicemail.respond(&diverted, 200, "", "");
    // The second policy armed its hook anew; the first one's failure-route ran and armed nothing.
    assert_eq!(alice.expect(200).header("X-Reply"), "a;");
}

#[test]
fn next_at_the_end_of_a_chain_is_500() {
    let router = chain("\"screening\"").start();
    let mut alice = agent(&router, "alice", A);
    let invite = alice.invite("sip:bob@a.example");
    let answer = alice.expect(500);
    alice.acknowledge(&invite, &answer);
    assert_eq!(
        router.metric("patchbay_hook_faults_total", "fault=\"verdict\""),
        1.0
    );
    assert_eq!(
        router.metric("patchbay_policy_version_faults_total", "fault=\"verdict\""),
        1.0
    );
    router.wait_for_log("`next` from the last policy of the chain");
}

#[test]
fn limits_are_a_tenants_own() {
    let limits =
        "[policy.route.limits]\nmax_contacts = 1\nrequests_per_second = \"5\"\nmax_branches = 1\n";
    let router = two_tenants().section(limits).start();
    // The limits stand behind the last route, that of B.
    let mut second = agent(&router, "bob", B);
    let _first = registered(&router, "bob", B);
    let text = second.compose(
        "REGISTER",
        "sip:b.example",
        &second.aor(),
        "Expires: 300\r\n",
        "",
    );
    second.request(text);
    assert_eq!(second.final_response().status(), 403, "one contact");
    let (_one, _two) = (registered(&router, "bob", A), registered(&router, "bob", A));
    let refused = (0..20).filter(|_| mark(&router, B).is_empty()).count();
    assert!(refused >= 10, "{refused} of 20 at once");
    assert!((0..20).all(|_| mark(&router, A) == "a"));
    assert!(router.metric("patchbay_sip_limits_total", "limit=\"route\"") >= 10.0);
}

#[test]
fn one_tenants_policy_is_activated_and_rolled_back_alone() {
    let router = own_policies().start();
    let before = policy(&router, "of-b").0;
    let first = policy(&router, "of-a").0;
    // A changed file of a policy that a route names becomes active by itself.
    std::fs::copy(version("two"), router.path().join("policies/of-a.wasm")).expect("copy");
    wait_until("the new version", || mark(&router, A) == "atwo");
    let second = policy(&router, "of-a").0;
    assert_eq!(mark(&router, B), "b");
    assert_eq!(policy(&router, "of-b").0, before);
    assert_eq!(router.get("/api/v1/status")["policy"]["name"], "default");
    let (status, answer) = router.post("/api/v1/policies/rollback", r#"{"policy": "of-a"}"#);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(marks(&router), ["a", "b"]);
    assert_eq!(policy(&router, "of-a").0, first);
    let (status, answer) = router.post("/api/v1/policies/rollback", r#"{"policy": "of-b"}"#);
    assert_eq!(status, 409, "{answer}");
    // The rollback is remembered, although the file is the new one.
    let directory = router.stop();
    let router = Setup::new()
        .directory(directory)
        .section(&routes("of-a", "of-b"))
        .start();
    assert_eq!(marks(&router), ["a", "b"]);
    let activate = format!("{{\"version\": {second:?}}}");
    wait_until("the version to be loaded", || {
        router.post("/api/v1/policies/of-a/activate", &activate).0 == 200
    });
    assert_eq!(marks(&router), ["atwo", "b"]);
}

#[test]
fn routes_change_while_calls_are_under_way() {
    let router = two_tenants().start();
    let (mut alice, mut bob) = alice_and_bob(&router);
    let invite = alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 180, "", "");
    alice.expect(180);
    reload(&router, |text| {
        text.replacen("mark = \"a\"", "mark = \"new\"", 1)
    });
    assert_eq!(mark(&router, A), "new");
    bob.respond(&received, 200, "", "");
    let answer = alice.expect(200);
    assert_eq!(
        answer.header("X-Reply"),
        "a;",
        "the transaction ends with the settings it began with"
    );
    // Then the route goes altogether: what it has of dialogs goes on by itself.
    reload(&router, |text| {
        text.replace("domain = \"a.example\"", "domain = \"c.example\"")
    });
    let ack = alice.in_dialog("ACK", &invite, &answer);
    alice.send(&ack);
    assert_eq!(bob.expect_request("ACK").header("X-Tenant"), "");
    let bye = alice.in_dialog("BYE", &invite, &answer);
    alice.request(bye);
    let bye = bob.expect_request("BYE");
    assert_eq!(bye.header("X-Tenant"), "");
    bob.respond(&bye, 200, "", "");
    alice.expect(200);
    assert_eq!(mark(&router, "c.example"), "new");
}

#[test]
fn dialogs_of_a_tenant_end_well_when_there_are_no_routes_any_more() {
    let router = two_tenants().start();
    let (mut alice, mut bob) = alice_and_bob(&router);
    let call = call(&mut alice, &mut bob);
    reload(&router, |text| {
        let routes = text.find("[[policy.route]]").expect("routes");
        text[..routes].to_owned()
    });
    assert_eq!(marks(&router), ["", ""]);
    let bye = alice.in_dialog("BYE", &call.invite, &call.answer);
    alice.request(bye);
    let bye = bob.expect_request("BYE");
    bob.respond(&bye, 200, "", "");
    alice.expect(200);
    assert_eq!(
        router.metric("patchbay_hook_faults_total", "fault=\"no_policy\""),
        1.0
    );
}

/// Has the router read a configuration that it refuses.
fn reload_in_vain(router: &Router, from: &str, to: &str) {
    let failed = || router.metric("patchbay_reload_failures_total", "");
    let file = router.path().join("patchbay.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(&file, text.replacen(from, to, 1)).expect("write");
    let before = failed();
    router.signal("HUP");
    wait_until("the reload to fail", || failed() > before);
    std::fs::write(&file, text).expect("write");
}

#[test]
fn a_reload_with_a_route_that_can_not_run_changes_nothing() {
    let router = two_tenants().start();
    reload_in_vain(&router, "mark = \"b\"", "refuses = \"no such tenant\"");
    router.wait_for_log("no such tenant");
    reload_in_vain(&router, "policy = \"tenant\"", "policy = \"missing\"");
    router.wait_for_log("missing");
    assert_eq!(marks(&router), ["a", "b"]);
}

/// The tenant's policy routes what no route takes.
fn tenant_of_all() -> Router {
    Setup::new()
        .policy("tenant", &policies::guest("tenant"))
        .active("tenant")
        .setting("mark", "old")
        .workers(2)
        .start()
}

#[test]
fn settings_that_change_reach_every_instance() {
    let router = tenant_of_all();
    let answers = || -> BTreeSet<String> {
        let asked = (0..8).map(|_| mark(&router, "localhost"));
        asked.collect()
    };
    let only = |mark: &str| BTreeSet::from([mark.to_owned()]);
    assert_eq!(answers(), only("old"), "both workers have an instance");
    reload(&router, |text| text.replacen("\"old\"", "\"new\"", 1));
    wait_until("the workers to take it over", || answers() == only("new"));
    assert_eq!(answers(), only("new"));
}

#[test]
fn a_reload_with_settings_that_the_active_policy_refuses_changes_nothing() {
    let router = tenant_of_all();
    assert_eq!(mark(&router, "localhost"), "old");
    reload_in_vain(
        &router,
        "mark = \"old\"",
        "refuses = \"setting refuses: not like this\"",
    );
    router.wait_for_log(
        ": policy.settings.refuses: policy tenant: init refused: setting refuses: not like this",
    );
    assert_eq!(mark(&router, "localhost"), "old");
}

#[test]
fn a_transaction_keeps_its_version_when_that_refuses_the_settings_of_a_reload() {
    let router = tenant_of_all();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/tenant.rs");
    let source = std::fs::read_to_string(source).expect("the guest's source");
    let source = source.replace("settings::get(\"refuses\")", "settings::get(\"nothing\")");
    let two = push_as(
        &router,
        "tenant",
        &policies::guest_from("tenant-takes-all", &source),
    );
    let mut alice = Agent::udp(router.udp(), "alice");
    let mut bob = Agent::udp(router.udp(), "bob");
    bob.register();
    alice.invite(&bob.aor());
    let invite = bob.expect_request("INVITE");
    policy_json(&router, &["activate", "tenant", "--version", &two]);
    reload(&router, |text| {
        text.replacen(
            "mark = \"old\"",
            "mark = \"new\"\nrefuses = \"not like this\"",
            1,
        )
    });
    router.wait_for_log("a version in which calls go on does not start");
    wait_until("both workers to take it over", || {
        (0..8).all(|_| mark(&router, "localhost") == "new")
    });
    bob.respond(&invite, 180, "", "");
    assert_eq!(alice.expect(180).header("X-Reply"), "old;");
}

#[test]
fn events_go_to_the_tenant() {
    let router = two_tenants().start();
    let _bob = registered(&router, "bob", A);
    let added =
        |mark: &str| router.metric("patchbay_policy_counter_total", &format!("added-{mark}"));
    wait_until("the event", || added("a") == 1.0);
    assert_eq!(added("b"), 0.0);
    // A timer is told to who has set it.
    let mut alice = agent(&router, "alice", B);
    let text = alice.compose(
        "OPTIONS",
        "sip:b.example",
        "sip:b.example",
        "X-Timer: yes\r\n",
        "",
    );
    alice.request(text);
    alice.expect(200);
    let ended =
        |mark: &str| router.metric("patchbay_policy_counter_total", &format!("timer-{mark}"));
    wait_until("the timer", || ended("b") == 1.0);
    assert_eq!(ended("a"), 0.0);
}

#[test]
fn values_of_tenants_are_apart_and_grants_are_each_tenants() {
    let grants = "[policy.grants]\nkeyvalue = [\"count/\"]\n";
    let text = routes("values", "values");
    let router = Setup::new()
        .policy("values", &policies::guest("values"))
        .section(&format!("{grants}{text}"))
        .start();
    for number in ["1", "2", "3"] {
        assert_eq!(mark(&router, A), number);
    }
    assert_eq!(mark(&router, B), "1");
    // The grants of a route stand alone: without this one the policy can't start for it.
    let file = router.path().join("patchbay.toml");
    let config = std::fs::read_to_string(&file).expect("the configuration");
    let changed = format!("{config}[policy.route.grants]\nhttp = []\n");
    std::fs::write(&file, changed).expect("write");
    router.signal("HUP");
    router.wait_for_log("keyvalue");
    assert!(
        router.log().contains("for the route b.example"),
        "{}",
        router.log()
    );
    assert_eq!(marks(&router), ["4", "2"]);
}

#[test]
fn a_policy_that_takes_its_time_leaves_the_request_to_the_next_all_the_same() {
    let router = chain("[\"screening\", \"tenant\"]").start();
    let (mut alice, mut bob) = alice_and_bob(&router);
    let text = alice.compose("INVITE", &bob.aor(), &bob.aor(), "X-Slow: yes\r\n", "");
    alice.request(text);
    let received = bob.expect_request("INVITE");
    assert_eq!(received.header("X-Screened"), "yes");
    assert_eq!(received.header("X-Tenant"), "a");
    bob.respond(&received, 200, "", "");
    assert_eq!(alice.expect(200).header("X-Reply"), "screening;a;");
}

#[test]
fn registrations_of_a_tenant_survive_a_restart() {
    let router = two_tenants().start();
    let mut bob = registered(&router, "bob", A);
    let directory = router.stop();
    let router = two_tenants().directory(directory).start();
    let mut alice = agent(&router, "alice", A);
    alice.invite(&bob.aor());
    assert_eq!(bob.expect_request("INVITE").header("X-Tenant"), "a");
}
