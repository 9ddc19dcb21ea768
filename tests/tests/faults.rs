//! Policies that misbehave: a fault costs its own request, and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::time::Duration;

use patchbay_tests::load::Load;
use patchbay_tests::policies;
use patchbay_tests::router::{Router, Setup};

fn start() -> Router {
    Setup::new()
        .workers(1)
        .policy("faulty", &policies::guest("faulty"))
        .active("faulty")
        .start()
}

/// Every tenth call is to a user on whom the policy misbehaves; the others must all succeed.
fn every_tenth(kind: &str, within: Duration) {
    let router = start();
    let mut load = Load::new(router.udp(), kind);
    load.register("bob");
    let user = |number: usize| {
        if number % 10 == 5 {
            kind.to_owned()
        } else {
            "bob".to_owned()
        }
    };
    let calls = load.run(300, 150.0, user, |_| {});
    for call in &calls {
        let after = call
            .answered_after
            .unwrap_or_else(|| panic!("no answer: {call:?}"));
        if call.user == kind {
            assert_eq!(call.status, 500, "{call:?}");
            assert!(after < within, "the 500 came after {after:?}");
        } else {
            assert_eq!(call.status, 200, "{call:?}");
            assert!(call.ended, "{call:?}");
        }
    }
    assert!(
        router.metric("patchbay_hook_faults_total", "") >= 30.0,
        "faults are counted"
    );
}

#[test]
fn a_trap_costs_its_own_request_a_500() {
    every_tenth("trap", Duration::from_secs(1));
}

#[test]
fn an_endless_loop_ends_at_the_deadline_with_a_500() {
    // The deadline is 50 ms of running; the rest is patience with a busy machine.
    every_tenth("loop", Duration::from_secs(2));
}

#[test]
fn too_much_memory_costs_its_own_request_a_500() {
    every_tenth("hog", Duration::from_secs(2));
}

#[test]
fn a_bad_verdict_costs_its_own_request_a_500() {
    every_tenth("verdict", Duration::from_secs(1));
}

#[test]
fn a_fault_inside_a_dialog_falls_back_to_loose_routing() {
    use patchbay_tests::agent::Agent;
    let router = start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    let invite = alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 200, "", "");
    let answer = alice.expect(200);
    for method in ["ACK", "BYE"] {
        let text = alice.in_dialog(method, &invite, &answer).replace(
            "Max-Forwards: 70\r\n",
            "Max-Forwards: 70\r\nX-Fault: trap\r\n",
        );
        alice.send(&text);
        let request = bob.expect_request(method);
        if method == "BYE" {
            bob.respond(&request, 200, "", "");
            alice.expect(200);
        }
    }
    assert!(
        router.metric("patchbay_hook_faults_total", "") >= 2.0,
        "the hook did run, and trapped"
    );
}

#[test]
fn a_fault_in_a_reply_or_failure_hook_is_as_if_it_had_passed() {
    use patchbay_tests::agent::Agent;
    let router = start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    let text = alice.compose("INVITE", &bob.aor(), &bob.aor(), "X-Arm: yes\r\n", "");
    let invite = alice.request(text);
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 180, "X-Fault: trap\r\n", "");
    alice.expect(180);
    bob.respond(&received, 486, "", "");
    bob.expect_request("ACK");
    let busy = alice.expect(486);
    alice.acknowledge(&invite, &busy);
    assert!(
        router.metric("patchbay_hook_faults_total", "") >= 2.0,
        "both hooks did run, and trapped"
    );
}
