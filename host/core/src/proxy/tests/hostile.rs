//! What strangers send to get through, to fill tables, or to leave something behind.

use std::time::Duration;

use super::calls::ringing;
use super::stage::*;
use crate::door::*;

/// A response without the Via of the caller.
fn without_callers_via(request: &Sent, status: u16) -> String {
    let text = response_to(request, status, "x", "");
    let second = format!("Via: {}\r\n", request.headers("Via")[1]);
    assert!(text.contains(&second), "{text}");
    text.replace(&second, "")
}

#[test]
fn a_response_with_our_via_alone_is_dropped_and_leaves_nothing_behind() {
    for status in [180, 200, 486, 503] {
        let (mut stage, invite) = ringing();
        stage.receive(BOB, &without_callers_via(&invite, status));
        stage.assert_silent();
        assert!(
            stage
                .events
                .contains(&Event::Dropped(DropReason::Malformed)),
            "{:?}",
            stage.events
        );
        stage.answer(&invite, 486, "bob");
        stage.next_request("ACK");
        stage.next_response(486);
        stage.assert_empties();
    }
}

#[test]
fn a_preloaded_route_does_not_lead_away_from_the_targets_of_the_policy() {
    let mut stage = stage();
    let route = "Route: <sip:192.0.2.100;lr>, <sip:198.51.100.66;lr>\r\n";
    stage.receive(ALICE, &request("INVITE", "sip:bob@example.com", "r", route));
    stage.relay_to(&["sip:bob@192.0.2.2"]);
    let sent = stage.next_request("INVITE");
    assert_eq!(
        (sent.to, sent.header("Route").as_str()),
        (BOB.parse().unwrap(), "")
    );
}

#[test]
fn a_preloaded_route_is_followed_when_the_policy_names_no_target() {
    let mut stage = stage();
    let route = "Route: <sip:192.0.2.100;lr>, <sip:192.0.2.3;lr>\r\n";
    stage.receive(ALICE, &request("INVITE", "sip:bob@example.net", "r", route));
    stage.relay_to(&[]);
    let sent = stage.next_request("INVITE");
    assert_eq!(
        (sent.to, sent.header("Route").as_str()),
        (CAROL.parse().unwrap(), "<sip:192.0.2.3;lr>")
    );
}

#[test]
fn provisionals_behind_a_slow_hook_are_bounded() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    let mut hook = stage.hook();
    hook.context.routing.targets = vec![Target::of_uri(b"sip:bob@192.0.2.2".to_vec())];
    hook.context.routing.armed.onreply_route = true.into();
    stage.decide(hook, Verdict::Relay);
    let invite = stage.next_request("INVITE");
    for _ in 0..1000 {
        stage.answer(&invite, 183, "bob");
    }
    stage.answer(&invite, 180, "bob");
    let mut shown = 0;
    while let Some(hook) = stage.hooks.pop_front() {
        stage.decide(hook, Verdict::Pass);
        shown += 1;
    }
    assert!((2..=64).contains(&shown), "{shown} responses were kept");
    assert!(stage.events.contains(&Event::Dropped(DropReason::Overload)));
}

#[test]
fn acceptances_of_one_branch_are_bounded_and_all_forwarded() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    let mut hook = stage.hook();
    hook.context.routing.targets = vec![Target::of_uri(b"sip:bob@192.0.2.2".to_vec())];
    hook.context.routing.armed.onreply_route = true.into();
    stage.decide(hook, Verdict::Relay);
    let invite = stage.next_request("INVITE");
    for tag in 0..1000 {
        stage.answer(&invite, 200, &format!("t{tag}"));
        let hook = stage.hook();
        stage.decide(hook, Verdict::Pass);
        stage.next_response(200);
    }
    let kept: usize = stage
        .core
        .branches
        .iter()
        .map(|(_, branch)| branch.accepted.len())
        .sum();
    assert!(kept <= 64, "{kept}");
    stage.assert_empties();
}

#[test]
fn sips_never_leaves_over_an_insecure_hop() {
    let ways = [
        Target::of_uri(b"sips:bob@192.0.2.2".to_vec()),
        Target {
            flow: Some(flow(Transport::Tcp, BOB)),
            ..Target::of_uri(b"sips:bob@192.0.2.2".to_vec())
        },
        Target {
            next_hop: Some(b"sip:192.0.2.3".to_vec()),
            ..Target::of_uri(b"sips:bob@192.0.2.2".to_vec())
        },
        Target {
            path: vec![b"<sip:192.0.2.3;lr>".to_vec()],
            ..Target::of_uri(b"sips:bob@192.0.2.2".to_vec())
        },
    ];
    for target in ways {
        let mut stage = stage();
        stage.receive(ALICE, &request("INVITE", "sips:bob@example.com", "s", ""));
        let mut hook = stage.hook();
        hook.context.routing.targets = vec![target.clone()];
        stage.decide(hook, Verdict::Relay);
        let answer = stage.next();
        assert_eq!(answer.status(), Some(480), "{target:?}");
        stage.wait(Duration::from_secs(40));
        assert!(stage.sent.iter().all(|sent| !sent.message.is_request()));
    }
}

#[test]
fn large_messages_leave_no_large_memory_behind() {
    let mut stage = stage();
    for number in 0..100 {
        let body = format!("X: {}\r\n", "x".repeat(8000)).repeat(7);
        let text = request(
            "INVITE",
            "sip:bob@example.com",
            &format!("l{number}"),
            &body,
        );
        stage.receive(ALICE, &text);
        stage.relay_to(&["sip:bob@192.0.2.2"]);
        stage.sent.clear();
    }
    stage.wait(Duration::from_secs(300));
    stage.sent.clear();
    let kept = stage.core.env.pooled_bytes();
    assert!(kept < 2_000_000, "{kept} bytes are kept");
}
