//! Attempts to get through: what the host enforces whatever the policy says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::time::Duration;

use patchbay_tests::agent::Agent;
use patchbay_tests::router::{Router, Setup};

const QUIET: Duration = Duration::from_millis(400);

#[test]
fn a_foreign_domain_is_not_relayed() {
    let router = Router::start();
    let mut alice = Agent::udp(router.udp(), "alice");
    let mut victim = Agent::udp(router.udp(), "victim");
    let uri = format!("sip:victim@{}", victim.local());
    alice.invite(&uri);
    let status = alice.final_response().status();
    assert!((400..500).contains(&status), "got {status}");
    victim.expect_silence(QUIET);
}

#[test]
fn a_preloaded_route_is_no_way_through() {
    let router = Router::start();
    let mut alice = Agent::udp(router.udp(), "alice");
    let mut victim = Agent::udp(router.udp(), "victim");
    let route = format!(
        "Route: <sip:{};lr>\r\nRoute: <sip:{};lr>\r\n",
        router.udp(),
        victim.local()
    );
    let uri = format!("sip:victim@{}", victim.local());
    let text = alice.compose("INVITE", &uri, &uri, &route, "");
    alice.request(text);
    let status = alice.final_response().status();
    assert!((400..500).contains(&status), "got {status}");
    victim.expect_silence(QUIET);
}

#[test]
fn a_forged_to_tag_and_route_is_no_way_through() {
    let router = Router::start();
    let mut mallory = Agent::udp(router.udp(), "mallory");
    let mut victim = Agent::udp(router.udp(), "victim");
    let uri = format!("sip:victim@{}", victim.local());
    for method in ["INVITE", "BYE", "MESSAGE"] {
        let route = format!("Route: <sip:{};lr>\r\n", router.udp());
        let text = mallory
            .compose(method, &uri, &uri, &route, "")
            .replace(&format!("To: <{uri}>"), &format!("To: <{uri}>;tag=forged"));
        mallory.request(text);
        let status = mallory.final_response().status();
        assert!((400..500).contains(&status), "{method} got {status}");
    }
    victim.expect_silence(QUIET);
}

#[test]
fn a_token_of_another_dialog_is_no_way_through() {
    let router = Router::start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    let mut victim = Agent::udp(router.udp(), "victim");
    bob.register();
    alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    let token = received.header("Record-Route").to_owned();
    bob.respond(&received, 200, "", "");
    alice.expect(200);
    let uri = format!("sip:victim@{}", victim.local());
    let mut mallory = Agent::udp(router.udp(), "mallory");
    let text = mallory
        .compose("BYE", &uri, &uri, &format!("Route: {token}\r\n"), "")
        .replace(&format!("To: <{uri}>"), &format!("To: <{uri}>;tag=forged"));
    mallory.request(text);
    let status = mallory.final_response().status();
    assert!((400..500).contains(&status), "got {status}");
    victim.expect_silence(QUIET);
}

#[test]
fn a_stray_ack_is_dropped() {
    let router = Router::start();
    let mut mallory = Agent::udp(router.udp(), "mallory");
    let mut victim = Agent::udp(router.udp(), "victim");
    let uri = format!("sip:victim@{}", victim.local());
    let text = mallory.compose(
        "ACK",
        &uri,
        &uri,
        &format!("Route: <sip:{};lr>\r\n", router.udp()),
        "",
    );
    mallory.send(&text);
    mallory.expect_silence(QUIET);
    victim.expect_silence(Duration::from_millis(10));
}

#[test]
fn an_unmatched_response_is_dropped() {
    let router = Router::start();
    let mut mallory = Agent::udp(router.udp(), "mallory");
    let mut victim = Agent::udp(router.udp(), "victim");
    let text = format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKguess\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKnext\r\nFrom: <sip:a@localhost>;tag=1\r\nTo: <sip:b@localhost>;tag=2\r\nCall-ID: guess\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
        router.udp(),
        victim.local()
    );
    mallory.send(&text);
    victim.expect_silence(QUIET);
}

#[test]
fn a_caller_of_our_domain_has_to_authenticate() {
    let router = Setup::new()
        .user("alice", "hers")
        .user("bob", "his")
        .start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register_with("his");
    let invite = alice.invite(&bob.aor());
    let challenge = alice.expect(407);
    alice.acknowledge(&invite, &challenge);
    bob.expect_silence(QUIET);
    let uri = bob.aor();
    let credentials = alice.credentials(&challenge, "Proxy-Authenticate", "INVITE", &uri, "hers");
    let text = alice.compose(
        "INVITE",
        &uri,
        &uri,
        &format!("Proxy-Authorization: {credentials}\r\n"),
        "",
    );
    alice.request(text);
    bob.expect_request("INVITE");
}

#[test]
fn a_registered_connection_need_not_authenticate_again() {
    let router = Setup::new()
        .user("alice", "hers")
        .user("bob", "his")
        .start();
    let (mut alice, mut bob) = (
        Agent::tcp(router.tcp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register_with("his");
    alice.register_with("hers");
    alice.invite(&bob.aor());
    bob.expect_request("INVITE");
}

#[test]
fn a_registered_udp_address_is_no_proof_unless_it_is_trusted() {
    let router = Setup::new()
        .user("alice", "hers")
        .user("bob", "his")
        .start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register_with("his");
    alice.register_with("hers");
    alice.invite(&bob.aor());
    alice.expect(407);
}

#[test]
fn an_asserted_identity_from_outside_is_removed() {
    let router = Router::start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    let text = alice.compose(
        "INVITE",
        &bob.aor(),
        &bob.aor(),
        "P-Asserted-Identity: <sip:president@localhost>\r\n",
        "",
    );
    alice.request(text);
    let received = bob.expect_request("INVITE");
    assert_eq!(received.header("P-Asserted-Identity"), "", "{received:?}");
}

#[test]
fn an_asserted_identity_from_a_trusted_network_is_kept() {
    let router = Setup::new().setting("trusted", "127.0.0.0/8").start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    let text = alice.compose(
        "INVITE",
        &bob.aor(),
        &bob.aor(),
        "P-Asserted-Identity: <sip:president@localhost>\r\n",
        "",
    );
    alice.request(text);
    let received = bob.expect_request("INVITE");
    assert_eq!(
        received.header("P-Asserted-Identity"),
        "<sip:president@localhost>",
        "{received:?}"
    );
}

#[test]
fn the_response_goes_to_the_port_the_request_came_from() {
    let router = Router::start();
    let mut alice = Agent::udp(router.udp(), "alice");
    let text = alice.compose("OPTIONS", "sip:localhost", "sip:localhost", "", "");
    let wrong = format!("{}:9", alice.local().ip());
    let text = text.replacen(&alice.local().to_string(), &wrong, 1);
    alice.request(text);
    let answer = alice.expect(200);
    let via = answer.header("Via");
    assert!(
        via.contains(&format!("rport={}", alice.local().port()))
            && via.contains("received=127.0.0.1"),
        "RFC 3581: {via}"
    );
}

#[test]
fn max_forwards_zero_gives_483() {
    let router = Router::start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    let text = alice
        .compose("INVITE", &bob.aor(), &bob.aor(), "", "")
        .replace("Max-Forwards: 70", "Max-Forwards: 0");
    alice.request(text);
    alice.expect(483);
    bob.expect_silence(QUIET);
}

#[test]
fn an_unknown_proxy_require_gives_420_with_unsupported() {
    let router = Router::start();
    let mut alice = Agent::udp(router.udp(), "alice");
    let text = alice.compose(
        "INVITE",
        "sip:bob@localhost",
        "sip:bob@localhost",
        "Proxy-Require: x-nonsense\r\n",
        "",
    );
    alice.request(text);
    assert_eq!(alice.expect(420).header("Unsupported"), "x-nonsense");
}

#[test]
fn what_the_router_itself_is_required_to_understand_and_does_not_gives_420() {
    let router = Router::start();
    let mut bob = Agent::udp(router.udp(), "bob");
    for (method, to) in [
        ("REGISTER", bob.aor()),
        ("OPTIONS", "sip:localhost".to_owned()),
    ] {
        let text = bob.compose(method, "sip:localhost", &to, "Require: x-nonsense\r\n", "");
        bob.request(text);
        assert_eq!(bob.expect(420).header("Unsupported"), "x-nonsense");
    }
    assert_eq!(
        router.get("/api/v1/registrations")["registrations"],
        serde_json::json!([])
    );
}

#[test]
fn a_contact_that_points_back_at_the_router_is_a_loop_and_ends() {
    let router = Router::start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    let text = bob.compose(
        "REGISTER",
        "sip:localhost",
        &bob.aor(),
        "Expires: 300\r\n",
        "",
    );
    let text = text.replace(
        &format!("<{}>", bob.contact()),
        &format!("<sip:bob@{}>", router.udp()),
    );
    bob.request(text);
    bob.expect(200);
    alice.invite(&bob.aor());
    let status = alice.final_response().status();
    assert!([482, 483, 404, 480].contains(&status), "got {status}");
}
