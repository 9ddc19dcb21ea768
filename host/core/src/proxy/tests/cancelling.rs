//! RFC 3261 §9 and §16.10: CANCEL at every moment.

use std::time::Duration;

use super::calls::ringing;
use super::stage::*;
use crate::door::*;

pub(super) fn cancel() -> String {
    request(
        "CANCEL",
        "sip:bob@example.com",
        "invite",
        "Reason: SIP;cause=200\r\n",
    )
}

#[test]
fn an_unmatched_cancel_is_481() {
    let mut stage = stage();
    stage.receive(ALICE, &cancel());
    stage.next_response(481);
    assert!(stage.hooks.is_empty());
}

#[test]
fn cancel_during_the_hook_is_487_and_no_fork() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    stage.receive(ALICE, &cancel());
    stage.next_response(200);
    stage.next_response(487);
    stage.relay_to(&["sip:bob@192.0.2.2"]);
    stage.assert_silent();
    stage.assert_empties();
    assert_eq!(stage.unpinned, [PolicyVersion(1)]);
}

#[test]
fn cancel_waits_for_the_first_provisional() {
    let (mut stage, invite) = ringing();
    stage.receive(ALICE, &cancel());
    stage.next_response(200);
    stage.assert_silent();
    stage.answer(&invite, 100, "");
    let sent = stage.next_request("CANCEL");
    assert_eq!(sent.header("Reason"), "SIP;cause=200");
    stage.answer(&sent, 200, "b");
    stage.answer(&invite, 487, "b");
    stage.next_request("ACK");
    stage.next_response(487);
    stage.assert_silent();
    stage.assert_empties();
}

#[test]
fn a_cancelled_branch_that_says_nothing_ends_after_64_t1() {
    let (mut stage, invite) = ringing();
    stage.answer(&invite, 180, "b");
    stage.next_response(180);
    stage.receive(ALICE, &cancel());
    stage.next_response(200);
    stage.next_request("CANCEL");
    stage.wait(Duration::from_millis(32_002));
    let statuses: Vec<_> = stage
        .sent
        .drain(..)
        .filter_map(|sent| sent.status())
        .collect();
    assert_eq!(statuses.first(), Some(&487), "{statuses:?}");
    stage.assert_empties();
}

#[test]
fn cancel_while_resolving_is_487() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    stage.relay_to(&["sip:bob@pbx.example.net"]);
    stage.receive(ALICE, &cancel());
    stage.next_response(200);
    stage.next_response(487);
    let (id, _) = stage.resolves.pop_front().unwrap();
    let destination = Destination {
        transport: Transport::Udp,
        address: BOB.parse().unwrap(),
        host: None,
        listener: None,
        local: None,
    };
    stage.input(Input::Resolved {
        id,
        destinations: vec![destination],
    });
    stage.assert_silent();
    stage.assert_empties();
}

#[test]
fn cancel_between_groups_starts_no_other() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    let mut hook = stage.hook();
    let second = Target {
        group: 1,
        ..Target::of_uri(b"sip:c@192.0.2.3".to_vec())
    };
    hook.context.routing.targets = vec![Target::of_uri(b"sip:b@192.0.2.2".to_vec()), second];
    hook.context.routing.armed.failure_route = true.into();
    stage.decide(hook, Verdict::Relay);
    let first = stage.next_request("INVITE");
    stage.answer(&first, 180, "b");
    stage.next_response(180);
    stage.receive(ALICE, &cancel());
    stage.next_response(200);
    let sent = stage.next_request("CANCEL");
    stage.answer(&sent, 200, "b");
    stage.answer(&first, 487, "b");
    stage.next_request("ACK");
    stage.next_response(487);
    stage.assert_silent();
    assert!(stage.hooks.is_empty(), "failure_route after CANCEL");
}

#[test]
fn a_2xx_wins_over_the_cancel() {
    let (mut stage, invite) = ringing();
    stage.receive(ALICE, &cancel());
    stage.next_response(200);
    stage.answer(&invite, 200, "b");
    stage.next_response(200);
    stage.assert_silent();
}

#[test]
fn cancel_after_the_final_response_changes_nothing() {
    let (mut stage, invite) = ringing();
    stage.answer(&invite, 200, "b");
    stage.next_response(200);
    stage.receive(ALICE, &cancel());
    stage.next_response(200);
    stage.assert_silent();
}

#[test]
fn cancel_during_failure_route_is_487() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    let mut hook = stage.hook();
    hook.context.routing.targets = vec![Target::of_uri(b"sip:b@192.0.2.2".to_vec())];
    hook.context.routing.armed.failure_route = true.into();
    stage.decide(hook, Verdict::Relay);
    let first = stage.next_request("INVITE");
    stage.answer(&first, 486, "b");
    stage.next_request("ACK");
    assert_eq!(stage.hooks.len(), 1);
    stage.receive(ALICE, &cancel());
    stage.next_response(200);
    stage.next_response(487);
    stage.relay_to(&["sip:c@192.0.2.3"]);
    stage.assert_silent();
}

#[test]
fn every_reason_of_the_caller_reaches_the_branch() {
    let (mut stage, invite) = ringing();
    stage.answer(&invite, 180, "b");
    stage.next_response(180);
    let text = cancel().replace(
        "Reason: SIP;cause=200\r\n",
        "Reason: SIP;cause=200\r\nReason: Q.850;cause=16\r\n",
    );
    stage.receive(ALICE, &text);
    stage.next_response(200);
    let sent = stage.next_request("CANCEL");
    assert_eq!(
        sent.headers("Reason").join(", "),
        "SIP;cause=200, Q.850;cause=16"
    );
}

#[test]
fn phones_that_stop_ringing_hear_that_another_answered() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    stage.relay_to(&["sip:a@192.0.2.2", "sip:b@192.0.2.3"]);
    let (a, b) = (stage.next_request("INVITE"), stage.next_request("INVITE"));
    stage.answer(&b, 180, "b");
    stage.next_response(180);
    stage.answer(&a, 200, "a");
    stage.next_response(200);
    let sent = stage.next_request("CANCEL");
    assert_eq!(
        sent.header("Reason"),
        "SIP;cause=200;text=\"Call completed elsewhere\""
    );
}
