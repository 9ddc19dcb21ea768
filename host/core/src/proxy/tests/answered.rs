//! RFC 3261 §17.2.2: retransmissions of what was answered get the same response, for 32 seconds.

use std::time::Duration;

use super::stage::*;
use crate::door::*;

fn options() -> String {
    request("OPTIONS", "sip:example.com", "options", "")
}

/// The bytes of the only message that was sent.
fn only_sent(stage: &mut StageCore) -> Vec<u8> {
    let sent = stage.next();
    stage.assert_silent();
    sent.message.as_bytes().to_vec()
}

fn assert_answered_alike(stage: &mut StageCore, text: &str) {
    let first = only_sent(stage);
    for _ in 0..4 {
        stage.wait(Duration::from_secs(7));
        stage.receive(ALICE, text);
        assert_eq!(
            String::from_utf8_lossy(&only_sent(stage)),
            String::from_utf8_lossy(&first)
        );
    }
    assert!(stage.hooks.is_empty());
    assert_eq!(stage.core.counts().server_transactions, 1);
    stage.wait(Duration::from_secs(4));
    assert!(stage.core.counts().is_empty(), "{:?}", stage.core.counts());
}

/// An OPTIONS that the policy answers with 200 and nothing else.
fn answer_options(stage: &mut StageCore) {
    stage.receive(ALICE, &options());
    let hook = stage.hook();
    let reply = Reply {
        status: 200,
        ..Reply::default()
    };
    stage.decide(hook, Verdict::Reply(reply));
}

#[test]
fn a_reply_is_made_again_as_it_was() {
    let mut stage = stage();
    stage.receive(ALICE, &options());
    let hook = stage.hook();
    let reply = Reply {
        status: 299,
        reason: "Fine \u{e4}".into(),
        headers: vec![
            (b"X-One".to_vec(), b"1".to_vec()),
            (b"X-Two".to_vec(), Vec::new()),
        ],
        body: Some((b"text/plain".to_vec(), b"a body\r\n".to_vec())),
    };
    stage.decide(hook, Verdict::Reply(reply));
    assert_answered_alike(&mut stage, &options());
}

#[test]
fn a_reply_with_nothing_but_a_status_is_made_again_as_it_was() {
    let mut stage = stage();
    answer_options(&mut stage);
    assert_answered_alike(&mut stage, &options());
}

#[test]
fn a_reply_to_another_request_in_between_changes_nothing() {
    let mut stage = stage();
    let other = request("OPTIONS", "sip:example.com", "other", "");
    stage.receive(ALICE, &options());
    let hook = stage.hook();
    stage.receive(ALICE, &other);
    let other_hook = stage.hook();
    for (hook, status) in [(hook, 480), (other_hook, 603)] {
        let reply = Reply {
            status,
            ..Reply::default()
        };
        stage.decide(hook, Verdict::Reply(reply));
    }
    stage.next_response(480);
    stage.next_response(603);
    for (text, status) in [(options(), 480), (other, 603)] {
        stage.receive(ALICE, &text);
        stage.next_response(status);
    }
}

#[test]
fn a_forwarded_response_is_sent_again_as_it_was() {
    let mut stage = stage();
    let message = request("MESSAGE", "sip:bob@example.com", "message", "");
    stage.receive(ALICE, &message);
    stage.relay_to(&["sip:bob@192.0.2.2"]);
    let sent = stage.next_request("MESSAGE");
    stage.answer_with(&sent, 202, "bob", "X-Note: kept\r\n");
    assert_answered_alike(&mut stage, &message);
}

#[test]
fn a_response_too_long_for_a_record_is_sent_again_too() {
    let mut stage = stage();
    stage.receive(ALICE, &options());
    let hook = stage.hook();
    let reply = Reply {
        status: 200,
        body: Some((b"text/plain".to_vec(), vec![b'x'; 20_000])),
        ..Reply::default()
    };
    stage.decide(hook, Verdict::Reply(reply));
    assert_answered_alike(&mut stage, &options());
}

#[test]
fn the_copy_of_a_client_whose_port_changed_is_answered_there() {
    let mut stage = stage();
    answer_options(&mut stage);
    let first = stage.next_response(200);
    stage.receive("192.0.2.1:40000", &options());
    let again = stage.next_response(200);
    assert_eq!(again.to, "192.0.2.1:40000".parse().unwrap());
    assert_eq!(again.header("To"), first.header("To"));
    assert!(again.header("Via").contains("rport=40000"));
}

#[test]
fn a_request_that_is_never_answered_stays_silent() {
    let mut stage = stage();
    stage.receive(ALICE, &options());
    let hook = stage.hook();
    stage.decide(hook, Verdict::Drop);
    stage.receive(ALICE, &options());
    stage.assert_silent();
    assert!(stage.hooks.is_empty());
    stage.assert_empties();
}
