//! The Record-Route token: who is inside a dialog, and who only says so.

use super::calls::ringing;
use super::stage::*;
use crate::door::*;

const TO: &str = "<sip:bob@example.com>;tag=bob";
const BOBS_URI: &str = "sip:bob@192.0.2.2:5060";

/// An established call; its Record-Route.
fn established() -> (StageCore, String) {
    let (mut stage, invite) = ringing();
    stage.answer(&invite, 200, "bob");
    let record_route = stage.next_response(200).header("Record-Route");
    (stage, record_route)
}

fn bye(route: &str, branch: &str) -> String {
    request_tagged("BYE", BOBS_URI, branch, TO, &format!("Route: {route}\r\n"))
        .replace("CSeq: 1", "CSeq: 2")
}

/// A BYE from the callee: From and To have changed places.
fn bye_from_bob(route: &str) -> String {
    format!(
        "BYE sip:alice@192.0.2.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKbobs;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:bob@example.com>;tag=bob\r\nTo: \"Alice\" <sip:alice@example.com>;tag=alice\r\n\
         Call-ID: call-1@192.0.2.1\r\nCSeq: 9 BYE\r\nRoute: {route}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn is_in_dialog(stage: &mut StageCore, from: &str, text: &str) -> bool {
    stage.receive(from, text);
    stage.hook().context.in_dialog
}

#[test]
fn both_sides_are_in_the_dialog() {
    let (mut stage, route) = established();
    assert!(is_in_dialog(&mut stage, ALICE, &bye(&route, "b1")));
    assert!(is_in_dialog(&mut stage, BOB, &bye_from_bob(&route)));
}

#[test]
fn a_request_from_the_callee_reaches_the_caller() {
    let (mut stage, route) = established();
    stage.receive(BOB, &bye_from_bob(&route));
    let hook = stage.hook();
    stage.decide(hook, Verdict::Relay);
    assert_eq!(stage.next_request("BYE").to, ALICE.parse().unwrap());
}

#[test]
fn a_forged_to_tag_and_route_is_no_way_in() {
    let mut stage = stage();
    assert!(!is_in_dialog(
        &mut stage,
        ALICE,
        &bye("<sip:192.0.2.100;lr>", "f1")
    ));
    let invented = format!("<sip:pb{}@192.0.2.100;lr>", "0".repeat(45));
    assert!(!is_in_dialog(&mut stage, ALICE, &bye(&invented, "f2")));
}

#[test]
fn a_changed_token_is_no_way_in() {
    let (mut stage, route) = established();
    for at in [7, 20, 30, 45] {
        let letter = if &route[at..=at] == "0" { "1" } else { "0" };
        let changed = format!("{}{letter}{}", &route[..at], &route[at + 1..]);
        assert!(
            !is_in_dialog(&mut stage, ALICE, &bye(&changed, &format!("c{at}"))),
            "{changed}"
        );
    }
}

#[test]
fn the_token_of_another_dialog_is_no_way_in() {
    let (mut stage, route) = established();
    let other_call = bye(&route, "o1").replace("call-1@", "call-2@");
    assert!(!is_in_dialog(&mut stage, ALICE, &other_call));
    let other_tag = bye(&route, "o2").replace("tag=alice", "tag=mallory");
    assert!(!is_in_dialog(&mut stage, ALICE, &other_tag));
}

#[test]
fn the_token_without_to_tag_is_no_way_in() {
    let (mut stage, route) = established();
    let text = request("INVITE", BOBS_URI, "n1", &format!("Route: {route}\r\n"));
    assert!(!is_in_dialog(&mut stage, ALICE, &text));
}

#[test]
fn the_token_of_another_node_is_no_way_in() {
    let (_, route) = established();
    let mut other = stage_with(CoreConfig {
        token_key: [8; 32],
        ..config()
    });
    assert!(!is_in_dialog(&mut other, ALICE, &bye(&route, "k1")));
    let mut renamed = stage_with(CoreConfig {
        node: "other".into(),
        ..config()
    });
    assert!(!is_in_dialog(&mut renamed, ALICE, &bye(&route, "k2")));
}

#[test]
fn a_foreign_preloaded_route_is_for_the_policy_to_judge() {
    let mut stage = stage();
    stage.receive(
        ALICE,
        &request(
            "INVITE",
            "sip:bob@example.net",
            "r1",
            "Route: <sip:198.51.100.1;lr>\r\n",
        ),
    );
    let hook = stage.hook();
    assert!(!hook.context.in_dialog);
    stage.assert_silent();
    stage.return_hook(hook, Err(HookFault::Trap));
    stage.next_response(500);
}

#[test]
fn a_fault_in_a_dialog_is_loose_routing() {
    let (mut stage, route) = established();
    stage.receive(ALICE, &bye(&route, "b1"));
    let hook = stage.hook();
    stage.return_hook(hook, Err(HookFault::Deadline));
    assert_eq!(stage.next_request("BYE").to, BOB.parse().unwrap());
}

#[test]
fn parameters_of_the_policy_come_back_and_are_sealed() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    let mut hook = stage.hook();
    hook.context.routing.targets = vec![Target::of_uri(BOBS_URI.as_bytes().to_vec())];
    hook.context.routing.record_route_parameters =
        vec![("leg".into(), "a b".into()), ("nat".into(), "".into())];
    stage.decide(hook, Verdict::Relay);
    let route = stage.next_request("INVITE").header("Record-Route");
    assert!(route.ends_with(";lr;leg=a%20b;nat>"), "{route}");
    stage.receive(ALICE, &bye(&route, "p1"));
    let hook = stage.hook();
    assert!(hook.context.in_dialog);
    assert_eq!(
        hook.context.record_route_parameters,
        [("leg".into(), "a b".into()), ("nat".into(), String::new())]
    );
    assert!(!is_in_dialog(
        &mut stage,
        ALICE,
        &bye(&route.replace("leg=a", "leg=z"), "p2")
    ));
    assert!(!is_in_dialog(
        &mut stage,
        ALICE,
        &bye(&route.replace(";nat", ";nat;x=y"), "p3")
    ));
}

#[test]
fn record_route_can_be_turned_off() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    let mut hook = stage.hook();
    hook.context.routing.record_route = Some(false);
    hook.context.routing.targets = vec![Target::of_uri(BOBS_URI.as_bytes().to_vec())];
    stage.decide(hook, Verdict::Relay);
    assert_eq!(stage.next_request("INVITE").header("Record-Route"), "");
}

#[test]
fn a_pinned_dialog_runs_in_its_version() {
    let mut stage = stage_with(CoreConfig {
        pin_dialog: true,
        ..config()
    });
    stage.receive(ALICE, &invite());
    stage.relay_to(&[BOBS_URI]);
    let route = stage.next_request("INVITE").header("Record-Route");
    stage.receive(ALICE, &bye(&route, "v1"));
    assert_eq!(stage.hook().version, PolicyVersion(1));
}

#[test]
fn a_version_that_keeps_its_dialogs_runs_them_without_pinning() {
    let version = PolicyVersion(7).keeping_dialog();
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    let mut hook = stage.hook();
    hook.context.routing.targets = vec![Target::of_uri(BOBS_URI.as_bytes().to_vec())];
    stage.decide_in(version, hook, Verdict::Relay);
    let route = stage.next_request("INVITE").header("Record-Route");
    stage.receive(ALICE, &bye(&route, "v1"));
    assert_eq!(stage.hook().version, version);
    assert_eq!(version.number(), 7);
}

#[test]
fn a_strict_router_is_recovered_from() {
    let (mut stage, route) = established();
    let uri = route.trim_matches(['<', '>']).to_string();
    let text = request_tagged("BYE", &uri, "s1", TO, &format!("Route: <{BOBS_URI}>\r\n"));
    stage.receive(ALICE, &text);
    let hook = stage.hook();
    assert!(hook.context.in_dialog);
    stage.decide(hook, Verdict::Relay);
    let sent = stage.next_request("BYE");
    assert_eq!(
        (sent.uri().as_str(), sent.header("Route").as_str()),
        (BOBS_URI, "")
    );
}

#[test]
fn both_values_of_a_double_record_route_are_taken_off() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    stage.relay_to(&["sip:bob@192.0.2.2;transport=tcp"]);
    let routes = stage.next_request("INVITE").headers("Record-Route");
    // The caller's route set is the reverse.
    let text = bye(&format!("{}, {}", routes[1], routes[0]), "d1")
        .replace(BOBS_URI, "sip:bob@192.0.2.2;transport=tcp");
    stage.receive(ALICE, &text);
    let hook = stage.hook();
    assert!(hook.context.in_dialog);
    stage.decide(hook, Verdict::Relay);
    let sent = stage.next_request("BYE");
    assert_eq!(
        (sent.header("Route").as_str(), sent.transport),
        ("", Transport::Tcp)
    );
}

#[test]
fn an_ack_without_dialog_can_only_be_relayed_or_dropped() {
    let mut stage = stage();
    stage.receive(ALICE, &request_tagged("ACK", BOBS_URI, "a1", TO, ""));
    let hook = stage.hook();
    stage.decide(
        hook,
        Verdict::Reply(Reply {
            status: 404,
            ..Reply::default()
        }),
    );
    stage.assert_silent();
    assert!(stage.events.contains(&Event::Dropped(DropReason::StrayAck)));
    stage.assert_empties();
}

#[test]
fn copies_of_an_ack_leave_with_the_same_branch() {
    let (mut stage, route) = established();
    let text = request_tagged("ACK", BOBS_URI, "ack", TO, &format!("Route: {route}\r\n"));
    let mut vias = Vec::new();
    for _ in 0..2 {
        stage.receive(ALICE, &text);
        let hook = stage.hook();
        stage.decide(hook, Verdict::Relay);
        vias.push(stage.next_request("ACK").header("Via"));
    }
    assert_eq!(vias[0], vias[1]);
}

#[test]
fn a_draining_core_serves_the_dialog() {
    let (mut stage, route) = established();
    stage.input(Input::Drain);
    assert!(is_in_dialog(&mut stage, ALICE, &bye(&route, "b1")));
}

#[test]
fn a_maddr_of_ours_is_taken_off() {
    let mut stage = stage();
    stage.receive(
        ALICE,
        &request(
            "INVITE",
            "sip:bob@example.com:5060;maddr=192.0.2.100",
            "m1",
            "",
        ),
    );
    assert_eq!(
        stage.hook().context.request.request_uri(),
        b"sip:bob@example.com"
    );
}
