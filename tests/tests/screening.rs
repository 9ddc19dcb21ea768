//! A policy in C behaves like one in Rust: `policies/screening-c`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::time::Duration;

use patchbay_tests::agent::Agent;
use patchbay_tests::policies::built;
use patchbay_tests::router::{Router, Setup};

const QUIET: Duration = Duration::from_millis(300);

fn setup() -> Setup {
    Setup::new()
        .policy("screening-c", &built("screening-c"))
        .active("screening-c")
        .setting("blocked", "mallory@ sip:+900")
}

fn start() -> (Router, Agent, Agent) {
    let router = setup().start();
    let (caller, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    (router, caller, bob)
}

#[test]
fn a_wanted_call_gets_through() {
    let (_router, mut alice, mut bob) = start();
    alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 200, "", "");
    alice.expect(200);
}

#[test]
fn a_blocked_caller_gets_603() {
    let (router, _alice, mut bob) = start();
    let mut mallory = Agent::udp(router.udp(), "mallory");
    mallory.invite(&bob.aor());
    mallory.expect(603);
    bob.expect_silence(QUIET);
}

#[test]
fn a_scanner_gets_no_answer() {
    let (_router, mut alice, bob) = start();
    let scan = alice.compose(
        "OPTIONS",
        &bob.aor(),
        &bob.aor(),
        "User-Agent: friendly-scanner\r\n",
        "",
    );
    alice.send(&scan);
    alice.expect_silence(QUIET);
}

#[test]
fn an_unknown_user_is_404() {
    let (_router, mut alice, _bob) = start();
    alice.invite("sip:nobody@localhost");
    alice.expect(404);
}

#[test]
fn a_busy_callee_leads_to_voicemail() {
    // Its proxy is not known before the router runs; it only receives.
    let mut voicemail = Agent::udp("127.0.0.1:9".parse().expect("an address"), "voicemail");
    let address = format!("sip:voicemail@{}", voicemail.local());
    let router = setup().setting("voicemail", &address).start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 486, "", "");
    assert_eq!(voicemail.expect_request("INVITE").uri(), address);
}
