//! RFC 3261 §16.3 and the limits: what gets no further.

use super::stage::*;
use crate::door::*;

/// What a fresh core answers to a request, before any hook.
fn answer_to(text: &str) -> Sent {
    let mut stage = stage();
    stage.receive(ALICE, text);
    assert!(stage.hooks.is_empty(), "the request got through");
    stage.next()
}

#[test]
fn max_forwards_zero_is_483() {
    let text = invite().replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert_eq!(answer_to(&text).status(), Some(483));
}

#[test]
fn options_for_us_with_max_forwards_zero_may_be_answered_but_not_forwarded() {
    let text = request("OPTIONS", "sip:example.com", "o", "")
        .replace("Max-Forwards: 70", "Max-Forwards: 0");
    let mut stage = stage();
    stage.receive(ALICE, &text);
    stage.relay_to(&["sip:bob@192.0.2.2"]);
    stage.next_response(483);
}

#[test]
fn without_max_forwards_a_request_leaves_with_70() {
    let mut stage = stage();
    stage.receive(ALICE, &invite().replace("Max-Forwards: 70\r\n", ""));
    stage.relay_to(&["sip:bob@192.0.2.2"]);
    assert_eq!(stage.next_request("INVITE").header("Max-Forwards"), "70");
}

#[test]
fn unknown_scheme_is_416() {
    assert_eq!(
        answer_to(&request("INVITE", "soap:bob@example.com", "s", "")).status(),
        Some(416)
    );
}

#[test]
fn proxy_require_is_420_with_the_options() {
    let answer = answer_to(&request(
        "INVITE",
        "sip:bob@example.com",
        "p",
        "Proxy-Require: foo, bar\r\n",
    ));
    assert_eq!(
        (answer.status(), answer.header("Unsupported").as_str()),
        (Some(420), "foo, bar")
    );
}

#[test]
fn broken_cseq_is_400_and_another_version_505() {
    assert_eq!(
        answer_to(&invite().replace("CSeq: 1 INVITE", "CSeq: 1 BYE")).status(),
        Some(400)
    );
    assert_eq!(
        answer_to(&invite().replace("sip:bob@example.com SIP/2.0", "sip:bob@example.com SIP/7.0"))
            .status(),
        Some(505)
    );
}

#[test]
fn a_malformed_ack_is_dropped() {
    let mut stage = stage();
    stage.receive(
        ALICE,
        &request("ACK", "sip:bob@example.com", "a", "").replace("CSeq: 1 ACK", "CSeq: 1 BYE"),
    );
    stage.assert_silent();
    assert_eq!(stage.events, [Event::Dropped(DropReason::Malformed)]);
}

#[test]
fn the_ack_to_an_answer_without_state_is_absorbed() {
    let mut stage = stage();
    let text = invite().replace("Max-Forwards: 70", "Max-Forwards: 0");
    stage.receive(ALICE, &text);
    let answer = stage.next_response(483);
    let ack = request_tagged(
        "ACK",
        "sip:bob@example.com",
        "invite",
        &answer.header("To"),
        "",
    );
    stage.receive(ALICE, &ack);
    stage.assert_silent();
    assert!(stage.hooks.is_empty());
}

/// A request as it comes back when somebody sends it here again.
fn sent_back(request: &Sent, uri: &str) -> String {
    let text = String::from_utf8_lossy(request.message.as_bytes()).into_owned();
    let (_, rest) = text.split_once("\r\n").unwrap();
    format!("INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKback\r\n{rest}")
}

#[test]
fn a_loop_is_482() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    stage.relay_to(&["sip:bob@192.0.2.2"]);
    let forwarded = stage.next_request("INVITE");
    stage.receive(BOB, &sent_back(&forwarded, "sip:bob@example.com"));
    stage.next_response(482);
}

#[test]
fn a_spiral_passes() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    stage.relay_to(&["sip:bob@192.0.2.2"]);
    let forwarded = stage.next_request("INVITE");
    stage.receive(BOB, &sent_back(&forwarded, "sip:carol@example.com"));
    stage.relay_to(&["sip:carol@192.0.2.3"]);
    assert_eq!(stage.next_request("INVITE").headers("Via").len(), 4);
}

#[test]
fn a_draining_core_serves_dialogs_only() {
    let mut stage = stage();
    stage.input(Input::Drain);
    stage.receive(ALICE, &invite());
    assert_eq!(stage.next_response(503).header("Retry-After"), "5");
}

#[test]
fn beyond_max_transactions_the_answer_is_503() {
    let mut stage = stage_with(CoreConfig {
        max_transactions: 1,
        ..config()
    });
    stage.receive(ALICE, &invite());
    stage.receive(
        ALICE,
        &request("INVITE", "sip:bob@example.com", "second", ""),
    );
    assert_eq!(stage.next_response(503).header("Retry-After"), "5");
    assert!(stage.events.contains(&Event::Limit("max_transactions")));
}

#[test]
fn without_rport_the_answer_goes_to_the_port_of_the_via() {
    let mut stage = stage();
    stage.receive(
        "192.0.2.1:40000",
        &invite()
            .replace(";rport", "")
            .replace("Max-Forwards: 70", "Max-Forwards: 0"),
    );
    let answer = stage.next_response(483);
    assert_eq!(answer.to, "192.0.2.1:5060".parse().unwrap());
    assert!(
        answer.header("Via").ends_with(";received=192.0.2.1"),
        "{}",
        answer.header("Via")
    );
}

#[test]
fn a_via_that_names_another_host_is_answered_at_the_source() {
    let mut stage = stage();
    stage.receive(
        "192.0.2.77:40000",
        &invite()
            .replace(";rport", "")
            .replace("Max-Forwards: 70", "Max-Forwards: 0"),
    );
    let answer = stage.next_response(483);
    assert_eq!(answer.to, "192.0.2.77:40000".parse().unwrap());
    assert!(
        answer
            .header("Via")
            .ends_with(";received=192.0.2.77;rport=40000"),
        "{}",
        answer.header("Via")
    );
}

#[test]
fn with_rport_the_answer_goes_to_the_source() {
    let mut stage = stage();
    stage.receive(
        "192.0.2.9:40000",
        &invite().replace("Max-Forwards: 70", "Max-Forwards: 0"),
    );
    let answer = stage.next_response(483);
    assert_eq!(answer.to, "192.0.2.9:40000".parse().unwrap());
    assert!(
        answer
            .header("Via")
            .ends_with(";received=192.0.2.9;rport=40000"),
        "{}",
        answer.header("Via")
    );
}

#[test]
fn what_is_noted_in_a_via_stands_before_its_comment() {
    for (via, noted) in [
        (";rport (a, b)", ";received=192.0.2.1;rport=5060 (a, b)"),
        (" (a, b)", ";received=192.0.2.1 (a, b)"),
    ] {
        let mut stage = stage();
        let text = invite()
            .replace(";rport", via)
            .replace("Max-Forwards: 70", "Max-Forwards: 0");
        stage.receive(ALICE, &text);
        let answer = stage.next_response(483);
        let written = answer.header("Via");
        assert!(
            written.ends_with(noted) && written.contains(";branch="),
            "{written}"
        );
    }
}

#[test]
fn a_forged_received_is_replaced() {
    let mut stage = stage();
    let text = invite()
        .replace(";rport", ";rport=1;received=198.51.100.7")
        .replace("Max-Forwards: 70", "Max-Forwards: 0");
    stage.receive(ALICE, &text);
    let answer = stage.next_response(483);
    assert_eq!(answer.to, ALICE.parse().unwrap());
    assert!(
        !answer.header("Via").contains("198.51"),
        "{}",
        answer.header("Via")
    );
}

#[test]
fn retransmissions_reach_no_hook() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    stage.receive(ALICE, &invite());
    assert_eq!(stage.hooks.len(), 1);
    assert!(stage.events.contains(&Event::Retransmission));
}

#[test]
fn max_breadth_zero_is_440_and_a_small_one_makes_forking_serial() {
    let mut stage = stage();
    stage.receive(
        ALICE,
        &request("INVITE", "sip:bob@example.com", "b0", "Max-Breadth: 0\r\n"),
    );
    stage.relay_to(&["sip:bob@192.0.2.2"]);
    stage.next_response(440);

    stage.receive(
        ALICE,
        &request("INVITE", "sip:bob@example.com", "b1", "Max-Breadth: 1\r\n"),
    );
    stage.relay_to(&["sip:bob@192.0.2.2", "sip:carol@192.0.2.3"]);
    let first = stage.next_request("INVITE");
    assert_eq!(first.header("Max-Breadth"), "1");
    stage.assert_silent();
    stage.answer(&first, 486, "b");
    stage.next_request("ACK");
    assert_eq!(stage.next_request("INVITE").to, CAROL.parse().unwrap());
}

#[test]
fn a_large_max_breadth_is_cut_and_shared() {
    let mut stage = stage();
    stage.receive(
        ALICE,
        &request(
            "INVITE",
            "sip:bob@example.com",
            "b",
            "Max-Breadth: 1000\r\n",
        ),
    );
    stage.relay_to(&["sip:a@192.0.2.2", "sip:b@192.0.2.3"]);
    let breadths: Vec<_> = [stage.next(), stage.next()]
        .iter()
        .map(|sent| sent.header("Max-Breadth"))
        .collect();
    assert_eq!(breadths, ["30", "30"]);
}
