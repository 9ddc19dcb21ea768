//! RFC 3261 §16.6: targets, groups, destinations.

use std::time::Duration;

use super::stage::*;
use crate::door::*;

fn target(uri: &str, group: u16, q: u16) -> Target {
    Target {
        q,
        group,
        ..Target::of_uri(uri.as_bytes().to_vec())
    }
}

fn relay(stage: &mut StageCore, targets: Vec<Target>) {
    let mut hook = stage.hook();
    hook.context.routing.targets = targets;
    stage.decide(hook, Verdict::Relay);
}

fn invited() -> StageCore {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    stage
}

#[test]
fn equal_targets_ring_together_and_lower_ones_later() {
    let mut stage = invited();
    relay(
        &mut stage,
        vec![
            target("sip:c@192.0.2.4", 0, 500),
            target("sip:a@192.0.2.2", 0, 1000),
            target("sip:b@192.0.2.3", 0, 1000),
        ],
    );
    let (a, b) = (stage.next_request("INVITE"), stage.next_request("INVITE"));
    stage.assert_silent();
    stage.answer(&a, 486, "a");
    stage.next_request("ACK");
    stage.assert_silent();
    stage.answer(&b, 480, "b");
    stage.next_request("ACK");
    let c = stage.next_request("INVITE");
    assert_eq!(c.uri(), "sip:c@192.0.2.4");
    stage.answer(&c, 404, "c");
    stage.next_request("ACK");
    stage.next_response(486);
    stage.assert_empties();
}

#[test]
fn a_2xx_cancels_the_others() {
    let mut stage = invited();
    stage.relay_to(&["sip:a@192.0.2.2", "sip:b@192.0.2.3"]);
    let (a, b) = (stage.next_request("INVITE"), stage.next_request("INVITE"));
    stage.answer(&b, 180, "b");
    stage.next_response(180);
    stage.answer(&a, 200, "a");
    stage.next_response(200);
    let cancel = stage.next_request("CANCEL");
    assert_eq!((cancel.to, cancel.uri()), (b.to, b.uri()));
    assert_eq!(cancel.headers("Via"), [b.headers("Via")[0].clone()]);
    stage.answer(&cancel, 200, "b");
    stage.answer(&b, 487, "b");
    stage.next_request("ACK");
    stage.assert_silent();
    stage.assert_empties();
}

#[test]
fn a_6xx_waits_for_the_others_and_starts_nothing_new() {
    let mut stage = invited();
    relay(
        &mut stage,
        vec![
            target("sip:a@192.0.2.2", 0, 1000),
            target("sip:b@192.0.2.3", 0, 1000),
            target("sip:c@192.0.2.4", 1, 1000),
        ],
    );
    let (a, b) = (stage.next_request("INVITE"), stage.next_request("INVITE"));
    stage.answer(&b, 180, "b");
    stage.next_response(180);
    stage.answer(&a, 603, "a");
    stage.next_request("ACK");
    let cancel = stage.next_request("CANCEL");
    stage.assert_silent();
    stage.answer(&cancel, 200, "b");
    stage.answer(&b, 487, "b");
    stage.next_request("ACK");
    stage.next_response(603);
    stage.assert_silent();
    stage.assert_empties();
}

#[test]
fn a_name_is_resolved_and_its_destinations_are_tried_in_turn() {
    let mut stage = invited();
    stage.relay_to(&["sip:bob@pbx.example.net"]);
    let (id, uri) = stage.resolves.pop_front().unwrap();
    assert_eq!(uri, "sip:bob@pbx.example.net");
    let to = |address: &str| Destination {
        transport: Transport::Udp,
        address: address.parse().unwrap(),
        host: None,
        listener: None,
        local: None,
    };
    stage.input(Input::Resolved {
        id,
        destinations: vec![to(BOB), to(CAROL), to("192.0.2.4:5060")],
    });
    let first = stage.next_request("INVITE");
    assert_eq!(first.to, BOB.parse().unwrap());
    stage.input(Input::SendFailed { id: first.id });
    let second = stage.next_request("INVITE");
    assert_eq!(second.to, CAROL.parse().unwrap());
    assert_ne!(first.header("Via"), second.header("Via"));
    stage.answer(&second, 503, "c");
    stage.next_request("ACK");
    let third = stage.next_request("INVITE");
    assert_eq!(third.to, "192.0.2.4:5060".parse().unwrap());
    stage.answer(&first, 200, "late");
    assert!(
        stage
            .events
            .contains(&Event::Dropped(DropReason::UnmatchedResponse))
    );
    stage.answer(&third, 200, "d");
    stage.next_response(200);
    stage.assert_empties();
}

#[test]
fn a_silent_destination_leads_to_the_next() {
    let mut stage = invited();
    stage.relay_to(&["sip:bob@pbx.example.net"]);
    let (id, _) = stage.resolves.pop_front().unwrap();
    let to = |address: &str| Destination {
        transport: Transport::Tcp,
        address: address.parse().unwrap(),
        host: None,
        listener: None,
        local: None,
    };
    stage.input(Input::Resolved {
        id,
        destinations: vec![to(BOB), to(CAROL)],
    });
    stage.next_request("INVITE");
    stage.wait(Duration::from_millis(32_001));
    stage.next_response(100);
    assert_eq!(stage.next_request("INVITE").to, CAROL.parse().unwrap());
    stage.wait(Duration::from_millis(32_001));
    stage.next_response(408);
}

#[test]
fn a_name_without_destination_is_500() {
    let mut stage = invited();
    stage.relay_to(&["sip:bob@nowhere.example.net"]);
    let (id, _) = stage.resolves.pop_front().unwrap();
    stage.input(Input::Resolved {
        id,
        destinations: Vec::new(),
    });
    stage.next_response(500);
}

#[test]
fn a_registered_flow_is_used_and_the_uri_when_it_is_gone() {
    let mut stage = invited();
    let flow = flow(Transport::Tcp, "198.51.100.7:40000");
    relay(
        &mut stage,
        vec![Target {
            flow: Some(flow),
            ..target("sip:bob@192.0.2.2", 0, 1000)
        }],
    );
    let first = stage.next_request("INVITE");
    assert_eq!((first.to, first.transport), (flow.remote, Transport::Tcp));
    stage.input(Input::SendFailed { id: first.id });
    let second = stage.next_request("INVITE");
    assert_eq!(
        (second.to, second.transport),
        (BOB.parse().unwrap(), Transport::Udp)
    );
}

#[test]
fn path_becomes_the_route() {
    let mut stage = invited();
    let path = vec![
        b"<sip:edge@192.0.2.50;lr>".to_vec(),
        b"<sip:192.0.2.51;lr>".to_vec(),
    ];
    relay(
        &mut stage,
        vec![Target {
            path,
            ..target("sip:bob@192.0.2.2", 0, 1000)
        }],
    );
    let sent = stage.next_request("INVITE");
    assert_eq!(sent.to, "192.0.2.50:5060".parse().unwrap());
    let routes: Vec<_> = sent
        .message
        .values(patchbay_message::HeaderName::Route)
        .map(<[u8]>::to_vec)
        .collect();
    assert_eq!(
        routes,
        [
            b"<sip:edge@192.0.2.50;lr>".to_vec(),
            b"<sip:192.0.2.51;lr>".to_vec()
        ]
    );
    assert_eq!(sent.uri(), "sip:bob@192.0.2.2");
}

#[test]
fn a_strict_router_gets_its_uri_as_request_uri() {
    let mut stage = invited();
    relay(
        &mut stage,
        vec![Target {
            path: vec![b"<sip:old@192.0.2.50>".to_vec()],
            ..target("sip:bob@192.0.2.2", 0, 1000)
        }],
    );
    let sent = stage.next_request("INVITE");
    assert_eq!(
        (sent.uri().as_str(), sent.header("Route").as_str()),
        ("sip:old@192.0.2.50", "<sip:bob@192.0.2.2>")
    );
    assert_eq!(sent.to, "192.0.2.50:5060".parse().unwrap());
}

#[test]
fn the_next_hop_wins_over_the_uri() {
    let mut stage = invited();
    relay(
        &mut stage,
        vec![Target {
            next_hop: Some(b"sip:192.0.2.77:5070;transport=tcp".to_vec()),
            ..target("sip:bob@192.0.2.2", 0, 1000)
        }],
    );
    let sent = stage.next_request("INVITE");
    assert_eq!(
        (sent.to, sent.transport),
        ("192.0.2.77:5070".parse().unwrap(), Transport::Tcp)
    );
    assert_eq!(sent.uri(), "sip:bob@192.0.2.2");
}

#[test]
fn no_answer_cancels_and_the_next_group_starts() {
    let mut stage = invited();
    let first = Target {
        no_answer: Some(Duration::from_secs(20)),
        ..target("sip:a@192.0.2.2", 0, 1000)
    };
    relay(&mut stage, vec![first, target("sip:b@192.0.2.3", 1, 1000)]);
    let a = stage.next_request("INVITE");
    stage.answer(&a, 180, "a");
    stage.next_response(180);
    stage.wait(Duration::from_millis(20_002));
    let cancel = stage.next_request("CANCEL");
    let b = stage.next_request("INVITE");
    assert_eq!(b.uri(), "sip:b@192.0.2.3");
    stage.answer(&cancel, 200, "a");
    stage.answer(&a, 487, "a");
    stage.next_request("ACK");
    stage.answer(&b, 486, "b");
    stage.next_request("ACK");
    stage.next_response(486);
    stage.assert_empties();
}

#[test]
fn a_2xx_that_crosses_the_cancel_is_forwarded() {
    let mut stage = invited();
    let first = Target {
        no_answer: Some(Duration::from_secs(20)),
        ..target("sip:a@192.0.2.2", 0, 1000)
    };
    relay(&mut stage, vec![first, target("sip:b@192.0.2.3", 1, 1000)]);
    let a = stage.next_request("INVITE");
    stage.answer(&a, 180, "a");
    stage.next_response(180);
    stage.wait(Duration::from_millis(20_002));
    stage.next_request("CANCEL");
    let b = stage.next_request("INVITE");
    stage.answer(&b, 180, "b");
    stage.next_response(180);
    stage.answer(&a, 200, "a");
    stage.next_response(200);
    assert_eq!(stage.next_request("CANCEL").to, b.to);
}

#[test]
fn timer_c_cancels_a_branch_that_only_rings() {
    let (mut stage, a) = super::calls::ringing();
    stage.answer(&a, 180, "a");
    stage.next_response(180);
    stage.wait(Duration::from_secs(180));
    stage.answer(&a, 180, "a");
    stage.next_response(180);
    stage.wait(Duration::from_secs(180));
    stage.assert_silent();
    stage.wait(Duration::from_secs(2));
    stage.next_request("CANCEL");
    stage.next_response(408);
    assert!(stage.events.contains(&Event::TimerC));
    stage.assert_empties();
}

#[test]
fn a_100_does_not_reset_timer_c() {
    let (mut stage, a) = super::calls::ringing();
    stage.answer(&a, 180, "a");
    stage.next_response(180);
    stage.wait(Duration::from_secs(180));
    stage.answer(&a, 100, "");
    stage.wait(Duration::from_secs(2));
    stage.next_request("CANCEL");
    stage.next_response(408);
}

#[test]
fn no_answer_while_resolving_is_408_and_spares_the_next_target() {
    let mut stage = invited();
    let first = Target {
        no_answer: Some(Duration::from_secs(20)),
        flow: Some(flow(Transport::Tcp, "198.51.100.7:40000")),
        ..target("sip:a@pbx.example.net", 0, 1000)
    };
    relay(&mut stage, vec![first, target("sip:b@192.0.2.3", 1, 1000)]);
    let a = stage.next_request("INVITE");
    stage.input(Input::SendFailed { id: a.id });
    assert_eq!(stage.resolves.len(), 1);
    stage.wait(Duration::from_millis(19_000));
    stage.next_response(100);
    stage.wait(Duration::from_millis(1_010));
    let b = stage.next_request("INVITE");
    assert_eq!(b.uri(), "sip:b@192.0.2.3");
    stage.answer(&b, 486, "b");
    stage.next_request("ACK");
    assert!(matches!(stage.next().status(), Some(486)));
    stage.assert_empties();
}

#[test]
fn a_503_over_a_registered_flow_is_the_answer_of_the_phone() {
    let mut stage = invited();
    let only = Target {
        flow: Some(flow(Transport::Udp, BOB)),
        ..target("sip:bob@192.0.2.2", 0, 1000)
    };
    relay(&mut stage, vec![only]);
    let first = stage.next_request("INVITE");
    stage.answer(&first, 503, "b");
    stage.next_request("ACK");
    stage.next_response(500);
    stage.assert_silent();
}

#[test]
fn max_branches_bounds_a_transaction() {
    let mut stage = stage_with(CoreConfig {
        max_branches: 2,
        ..config()
    });
    stage.receive(ALICE, &invite());
    stage.relay_to(&["sip:a@192.0.2.2", "sip:b@192.0.2.3", "sip:c@192.0.2.4"]);
    let (a, b) = (stage.next_request("INVITE"), stage.next_request("INVITE"));
    stage.assert_silent();
    stage.answer(&a, 486, "a");
    stage.next_request("ACK");
    stage.answer(&b, 486, "b");
    stage.next_request("ACK");
    stage.next_response(486);
    assert!(stage.events.contains(&Event::Limit("max_branches")));
}

#[test]
fn a_change_of_transport_makes_two_record_routes() {
    let mut stage = invited();
    stage.relay_to(&["sip:bob@192.0.2.2;transport=tcp"]);
    let sent = stage.next_request("INVITE");
    let record_routes = sent.headers("Record-Route");
    assert_eq!(record_routes.len(), 2, "{record_routes:?}");
    assert!(
        record_routes[0].contains(";transport=tcp;lr>"),
        "{record_routes:?}"
    );
    assert!(!record_routes[1].contains("transport"), "{record_routes:?}");
    assert!(sent.header("Via").starts_with("SIP/2.0/TCP "));
}
