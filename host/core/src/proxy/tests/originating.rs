//! Requests of our own: an OPTIONS prober.

use std::time::Duration;

use super::stage::*;
use crate::affinity::Affinity;
use crate::door::*;

fn probe(uri: &str) -> StageCore {
    let mut stage = stage();
    stage.input(Input::Originate(Originate {
        id: OriginateId(7),
        method: b"OPTIONS".to_vec(),
        uri: uri.as_bytes().to_vec(),
        from: b"sip:prober@example.com".to_vec(),
        to: uri.as_bytes().to_vec(),
        headers: vec![(b"Accept".to_vec(), b"application/sdp".to_vec())],
        body: None,
    }));
    stage
}

#[test]
fn a_prober_gets_its_answer() {
    let mut stage = probe("sip:192.0.2.2");
    let options = stage.next_request("OPTIONS");
    assert_eq!(
        (options.to, options.header("Accept").as_str()),
        (BOB.parse().unwrap(), "application/sdp")
    );
    assert!(
        options
            .header("Via")
            .starts_with("SIP/2.0/UDP 192.0.2.100:5060;branch=z9hG4bK")
    );
    assert_eq!(stage.core.counts().client_transactions, 1);
    stage.answer(&options, 200, "b");
    assert_eq!(
        stage.originated.pop_front(),
        Some((OriginateId(7), Some(200)))
    );
    stage.answer(&options, 200, "b");
    assert!(stage.originated.is_empty());
    stage.assert_empties();
}

#[test]
fn a_silent_peer_is_answered_with_none() {
    let mut stage = probe("sip:192.0.2.2");
    stage.wait(Duration::from_secs(33));
    assert!(stage.sent.len() > 5, "retransmitted");
    assert_eq!(stage.originated.pop_front(), Some((OriginateId(7), None)));
    stage.assert_empties();
}

#[test]
fn a_failed_destination_leads_to_the_next() {
    let mut stage = probe("sip:pbx.example.net");
    let (id, _) = stage.resolves.pop_front().unwrap();
    let to = |address: &str| Destination {
        transport: Transport::Udp,
        address: address.parse().unwrap(),
        host: None,
        listener: None,
        local: None,
    };
    stage.input(Input::Resolved {
        id,
        destinations: vec![to(BOB), to(CAROL)],
    });
    let first = stage.next_request("OPTIONS");
    stage.input(Input::SendFailed { id: first.id });
    let second = stage.next_request("OPTIONS");
    assert_eq!(second.to, CAROL.parse().unwrap());
    stage.input(Input::SendFailed { id: second.id });
    assert_eq!(stage.originated.pop_front(), Some((OriginateId(7), None)));
    stage.assert_empties();
}

#[test]
fn what_cannot_be_sent_is_answered_with_none() {
    let mut stage = probe("tel:+123");
    assert_eq!(stage.originated.pop_front(), Some((OriginateId(7), None)));
    assert!(stage.core.counts().is_empty());
}

#[test]
fn answers_and_requests_with_our_call_id_come_to_our_worker() {
    let config = CoreConfig {
        worker: 3,
        ..config()
    };
    let affinity = Affinity::new(&config, 8);
    let mut stage = stage_with(config);
    stage.input(Input::Originate(Originate {
        id: OriginateId(1),
        method: b"OPTIONS".to_vec(),
        uri: b"sip:192.0.2.2".to_vec(),
        from: b"sip:prober@example.com".to_vec(),
        to: b"sip:192.0.2.2".to_vec(),
        headers: Vec::new(),
        body: None,
    }));
    let options = stage.next_request("OPTIONS");
    assert_eq!(
        affinity.worker_of(response_to(&options, 200, "b", "").as_bytes()),
        Some(3)
    );
    assert_eq!(affinity.worker_of(options.message.as_bytes()), Some(3));
}
