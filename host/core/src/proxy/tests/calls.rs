//! Whole calls.

use std::time::Duration;

use super::stage::*;
use crate::door::*;

/// An INVITE on its way to Bob.
pub(super) fn ringing() -> (StageCore, Sent) {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    stage.relay_to(&["sip:bob@192.0.2.2:5060"]);
    let forwarded = stage.next_request("INVITE");
    (stage, forwarded)
}

#[test]
fn a_call_is_set_up_and_ends() {
    let (mut stage, invite) = ringing();
    assert_eq!(
        (invite.to, invite.uri().as_str()),
        (BOB.parse().unwrap(), "sip:bob@192.0.2.2:5060")
    );
    assert_eq!(
        (
            invite.header("Max-Forwards").as_str(),
            invite.header("Max-Breadth").as_str()
        ),
        ("69", "60")
    );
    let vias = invite.headers("Via");
    assert_eq!(vias.len(), 2);
    assert!(
        vias[0].starts_with("SIP/2.0/UDP 192.0.2.100:5060;branch=z9hG4bK"),
        "{vias:?}"
    );
    assert!(
        vias[1].ends_with(";received=192.0.2.1;rport=5060"),
        "{vias:?}"
    );
    let record_route = invite.header("Record-Route");
    assert!(
        record_route.starts_with("<sip:pb") && record_route.contains("@192.0.2.100:5060;lr>"),
        "{record_route}"
    );

    stage.answer(&invite, 180, "bob");
    let ringing = stage.next_response(180);
    assert_eq!(
        (ringing.to, ringing.headers("Via").len()),
        (ALICE.parse().unwrap(), 1)
    );
    stage.answer(&invite, 200, "bob");
    assert_eq!(
        stage.next_response(200).header("Record-Route"),
        record_route
    );

    let route = format!("Route: {record_route}\r\n");
    let to = "<sip:bob@example.com>;tag=bob";
    stage.receive(
        ALICE,
        &request_tagged("ACK", "sip:bob@192.0.2.2:5060", "ack", to, &route),
    );
    let hook = stage.hook();
    assert!(hook.context.in_dialog);
    stage.decide(hook, Verdict::Relay);
    let ack = stage.next_request("ACK");
    assert_eq!(
        (ack.to, ack.headers("Route").len()),
        (BOB.parse().unwrap(), 0)
    );

    stage.receive(
        ALICE,
        &request_tagged("BYE", "sip:bob@192.0.2.2:5060", "bye", to, &route)
            .replace("CSeq: 1", "CSeq: 2"),
    );
    let hook = stage.hook();
    assert!(hook.context.in_dialog);
    stage.decide(hook, Verdict::Relay);
    let bye = stage.next_request("BYE");
    assert_eq!(bye.header("Record-Route"), "");
    stage.answer(&bye, 200, "bob");
    stage.next_response(200);
    stage.assert_silent();
    stage.assert_empties();
    assert_eq!(
        stage.unpinned.len(),
        3,
        "INVITE, ACK and BYE each pinned the version once"
    );
}

#[test]
fn an_invite_without_answer_gets_100_after_200_ms() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    stage.wait(Duration::from_millis(199));
    stage.assert_silent();
    stage.wait(Duration::from_millis(2));
    assert_eq!(
        stage.next_response(100).header("To"),
        "<sip:bob@example.com>"
    );
}

#[test]
fn the_ack_of_a_client_without_magic_cookie_finds_its_invite() {
    let mut stage = stage();
    let old = |text: String| text.replace(";branch=z9hG4bKinvite", "");
    stage.receive(ALICE, &old(invite()));
    stage.relay_to(&["sip:bob@192.0.2.2:5060"]);
    let forwarded = stage.next_request("INVITE");
    stage.answer(&forwarded, 486, "bob");
    stage.next_request("ACK");
    let to = stage.next_response(486).header("To");
    let ack = request_tagged("ACK", "sip:bob@example.com", "invite", &to, "");
    stage.receive(ALICE, &old(ack));
    stage.wait(Duration::from_secs(4));
    stage.assert_silent();
    assert!(stage.hooks.is_empty(), "the ACK was taken for one to a 2xx");
    stage.assert_empties();
}
