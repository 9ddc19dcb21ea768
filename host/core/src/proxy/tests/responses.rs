//! RFC 3261 §16.7: which response gets back.

use std::time::Duration;

use super::calls::ringing;
use super::stage::*;
use crate::door::*;

/// What Alice gets when two branches end so.
fn best_of(first: (u16, &str), second: (u16, &str)) -> Sent {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    stage.relay_to(&["sip:a@192.0.2.2", "sip:b@192.0.2.3"]);
    let (a, b) = (stage.next_request("INVITE"), stage.next_request("INVITE"));
    stage.answer_with(&a, first.0, "a", first.1);
    stage.next_request("ACK");
    stage.answer_with(&b, second.0, "b", second.1);
    stage.next_request("ACK");
    let best = stage.next();
    stage.assert_silent();
    best
}

#[test]
fn the_lowest_class_wins() {
    assert_eq!(best_of((500, ""), (404, "")).status(), Some(404));
    assert_eq!(best_of((486, ""), (302, "")).status(), Some(302));
}

#[test]
fn a_6xx_wins_over_all() {
    assert_eq!(best_of((302, ""), (600, "")).status(), Some(600));
}

#[test]
fn in_4xx_what_helps_to_try_again_wins() {
    for status in [401, 407, 415, 420, 484] {
        assert_eq!(best_of((404, ""), (status, "")).status(), Some(status));
    }
}

#[test]
fn only_503_becomes_500() {
    assert_eq!(best_of((503, ""), (503, "")).status(), Some(500));
    assert_eq!(best_of((503, ""), (501, "")).status(), Some(501));
}

#[test]
fn challenges_are_collected() {
    let best = best_of(
        (401, "WWW-Authenticate: Digest realm=\"a\", nonce=\"1\"\r\n"),
        (
            407,
            "Proxy-Authenticate: Digest realm=\"b\", nonce=\"2\"\r\n",
        ),
    );
    assert_eq!(
        best.headers("WWW-Authenticate").len() + best.headers("Proxy-Authenticate").len(),
        2
    );
}

#[test]
fn every_2xx_is_forwarded() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    stage.relay_to(&["sip:a@192.0.2.2", "sip:b@192.0.2.3"]);
    let (a, b) = (stage.next_request("INVITE"), stage.next_request("INVITE"));
    stage.answer(&a, 200, "a");
    assert!(stage.next_response(200).header("To").ends_with("tag=a"));
    stage.answer(&b, 200, "b");
    assert!(stage.next_response(200).header("To").ends_with("tag=b"));
    stage.answer(&a, 200, "a");
    assert!(stage.next_response(200).header("To").ends_with("tag=a"));
    stage.assert_empties();
}

#[test]
fn a_2xx_after_its_time_is_dropped_and_counted() {
    let (mut stage, invite) = ringing();
    stage.answer(&invite, 200, "b");
    stage.next_response(200);
    stage.wait(Duration::from_secs(33));
    stage.answer(&invite, 200, "b");
    stage.assert_silent();
    assert!(
        stage
            .events
            .contains(&Event::Dropped(DropReason::UnmatchedResponse))
    );
}

#[test]
fn responses_that_are_not_ours_are_dropped() {
    let (mut stage, invite) = ringing();
    let foreign = response_to(&invite, 200, "b", "").replace("z9hG4bKpb", "z9hG4bKxx");
    stage.receive(BOB, &foreign);
    stage.assert_silent();
    assert!(
        stage
            .events
            .contains(&Event::Dropped(DropReason::ForeignVia))
    );
}

#[test]
fn a_guessed_branch_matches_nothing() {
    let (mut stage, invite) = ringing();
    let via = invite.headers("Via")[0].clone();
    let (_, branch) = via.split_once("branch=").unwrap();
    // The place is right and the random part is not.
    let at = "z9hG4bKpb".len() + 16;
    let letter = if &branch[at..=at] == "0" { "1" } else { "0" };
    let guessed = format!("{}{letter}{}", &branch[..at], &branch[at + 1..]);
    stage.receive(
        BOB,
        &response_to(&invite, 200, "b", "").replace(branch, &guessed),
    );
    stage.assert_silent();
    assert!(
        stage
            .events
            .contains(&Event::Dropped(DropReason::UnmatchedResponse))
    );
}

#[test]
fn hundred_is_not_forwarded() {
    let (mut stage, invite) = ringing();
    stage.answer(&invite, 100, "");
    stage.assert_silent();
}

#[test]
fn a_non_invite_that_times_out_gets_no_408() {
    let mut stage = stage();
    stage.receive(ALICE, &request("MESSAGE", "sip:bob@example.com", "m", ""));
    stage.relay_to(&["sip:bob@192.0.2.2;transport=tcp"]);
    stage.next_request("MESSAGE");
    stage.wait(Duration::from_secs(40));
    assert!(
        stage.sent.iter().all(|sent| sent.status() == Some(100)),
        "RFC 4320 §4.2"
    );
    stage.assert_empties();
}

#[test]
fn a_non_invite_gets_its_final_response_once() {
    let mut stage = stage();
    stage.receive(ALICE, &request("MESSAGE", "sip:bob@example.com", "m", ""));
    stage.relay_to(&["sip:bob@192.0.2.2", "sip:carol@192.0.2.3"]);
    let (a, b) = (stage.next_request("MESSAGE"), stage.next_request("MESSAGE"));
    stage.answer(&a, 200, "a");
    stage.next_response(200);
    stage.answer(&b, 200, "b");
    stage.assert_silent();
    stage.assert_empties();
}

#[test]
fn an_invite_that_nobody_answers_is_408() {
    let (mut stage, _) = ringing();
    stage.wait(Duration::from_millis(32_002));
    let last = stage
        .sent
        .iter()
        .filter_map(|sent| sent.status())
        .next_back();
    assert!(
        stage.sent.iter().any(|sent| sent.status() == Some(408)),
        "{last:?}"
    );
    stage.assert_empties();
}

#[test]
fn after_a_2xx_to_a_message_no_branch_is_sent_any_more() {
    let over_tcp = Target {
        flow: Some(flow(Transport::Tcp, CAROL)),
        ..Target::of_uri(b"sip:carol@192.0.2.3".to_vec())
    };
    let named = Target::of_uri(b"sip:dave@pbx.example.net".to_vec());
    let first = Target::of_uri(b"sip:bob@192.0.2.2".to_vec());
    let mut stage = stage();
    stage.receive(ALICE, &request("MESSAGE", "sip:bob@example.com", "m", ""));
    let mut hook = stage.hook();
    hook.context.routing.targets = vec![first, over_tcp, named];
    stage.decide(hook, Verdict::Relay);
    let (bob, carol) = (stage.next_request("MESSAGE"), stage.next_request("MESSAGE"));
    let (id, _) = stage.resolves.pop_front().expect("a name was asked for");
    stage.answer(&bob, 200, "bob");
    stage.next_response(200);
    stage.input(Input::SendFailed { id: carol.id });
    let destinations = vec![Destination {
        transport: Transport::Udp,
        address: "192.0.2.4:5060".parse().unwrap(),
        host: None,
        listener: None,
        local: None,
    }];
    stage.input(Input::Resolved { id, destinations });
    stage.assert_silent();
    stage.assert_empties();
}
