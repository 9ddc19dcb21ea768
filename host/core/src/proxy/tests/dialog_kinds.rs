//! Dialogs of every kind and over every listener keep coming back through this router.

use std::time::Duration;

use super::stage::*;
use crate::door::*;

/// A request of the callee inside the dialog that `request` made, back over its Record-Route.
fn from_bob(method: &str, request: &Sent, tag: &str) -> String {
    let route = request.headers("Record-Route").join(", ");
    format!(
        "{method} sip:alice@192.0.2.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKbob{method};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:bob@example.com>;tag={tag}\r\nTo: \"Alice\" <sip:alice@example.com>;tag=alice\r\n\
         Call-ID: call-1@192.0.2.1\r\nCSeq: 9 {method}\r\nRoute: {route}\r\nContact: <sip:bob@192.0.2.2>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The request as it was forwarded to Bob.
fn forwarded(stage: &mut StageCore, method: &str) -> Sent {
    stage.receive(ALICE, &request(method, "sip:bob@example.com", "d", ""));
    stage.relay_to(&["sip:bob@192.0.2.2:5060"]);
    stage.next_request(method)
}

#[test]
fn a_notify_may_overtake_the_2xx_of_its_subscribe_and_is_recorded() {
    let mut stage = stage();
    let subscribe = forwarded(&mut stage, "SUBSCRIBE");
    stage.receive(BOB, &from_bob("NOTIFY", &subscribe, "early"));
    let hook = stage.hook();
    assert!(hook.context.in_dialog);
    stage.decide(hook, Verdict::Relay);
    let notify = stage.next_request("NOTIFY");
    assert_eq!(notify.to, ALICE.parse().unwrap());
    // RFC 6665 §4.3: NOTIFY makes the subscriber's dialog. Its Record-Route proves the same dialog.
    assert_eq!(
        notify.header("Record-Route"),
        subscribe.header("Record-Route")
    );
}

#[test]
fn every_method_inside_a_dialog_passes_both_ways() {
    for method in [
        "UPDATE", "INFO", "PRACK", "REFER", "INVITE", "MESSAGE", "BYE",
    ] {
        let mut stage = stage();
        let invite = forwarded(&mut stage, "INVITE");
        stage.receive(BOB, &from_bob(method, &invite, "bob"));
        let hook = stage.hook();
        assert!(hook.context.in_dialog, "{method}");
        stage.decide(hook, Verdict::Relay);
        assert_eq!(stage.next_request(method).to, ALICE.parse().unwrap());
    }
}

#[test]
fn a_dialog_outlives_a_restart_with_the_same_key() {
    let invite = forwarded(&mut stage(), "INVITE");
    let mut restarted = stage();
    restarted.wait(Duration::from_secs(5));
    restarted.receive(BOB, &from_bob("BYE", &invite, "bob"));
    assert!(restarted.hook().context.in_dialog);
}

#[test]
fn an_outbound_proxy_before_the_route_set_does_no_harm() {
    let mut stage = stage();
    let invite = forwarded(&mut stage, "INVITE");
    let bye = from_bob("BYE", &invite, "bob");
    stage.receive(
        BOB,
        &bye.replace("Route: ", "Route: <sip:192.0.2.100;lr>, "),
    );
    let hook = stage.hook();
    assert!(hook.context.in_dialog);
    stage.decide(hook, Verdict::Relay);
    let bye = stage.next_request("BYE");
    assert_eq!(
        (bye.to, bye.header("Route")),
        (ALICE.parse().unwrap(), String::new())
    );
}

#[test]
fn a_token_with_other_tags_or_another_call_is_no_dialog() {
    let invite = forwarded(&mut stage(), "INVITE");
    let bye = from_bob("BYE", &invite, "bob");
    for (from, to) in [
        (";tag=alice", ";tag=eve"),
        (";tag=alice", ""),
        ("call-1@", "call-2@"),
    ] {
        let mut stage = stage();
        stage.receive(BOB, &bye.replace(from, to));
        assert!(!stage.hook().context.in_dialog, "{to}");
    }
}

#[test]
fn names_and_ipv6_addresses_lead_back() {
    let advertised = [
        (
            "192.0.2.100:5060",
            Some("[2001:db8::5]:5080"),
            "@[2001:db8::5]:5080;lr>",
        ),
        (
            "192.0.2.100:5060",
            Some("Sip.Example.NET"),
            "@Sip.Example.NET;lr>",
        ),
        ("0.0.0.0:5060", None, "@192.0.2.100:5060;lr>"),
        ("192.0.2.100:5060", None, "@192.0.2.100:5060;lr>"),
    ];
    for (address, advertise, expected) in advertised {
        let mut config = config();
        for listener in &mut config.listeners {
            listener.address = address.parse().unwrap();
            listener.advertise = advertise.map(str::to_owned);
        }
        let mut stage = stage_with(config);
        let invite = forwarded(&mut stage, "INVITE");
        let record_route = invite.header("Record-Route");
        assert!(record_route.ends_with(expected), "{record_route}");
        stage.receive(BOB, &from_bob("BYE", &invite, "bob"));
        let hook = stage.hook();
        assert!(hook.context.in_dialog, "{record_route}");
        stage.decide(hook, Verdict::Relay);
        assert_eq!(stage.next_request("BYE").header("Route"), "");
    }
}

#[test]
fn an_ipv6_router_writes_brackets() {
    let router = "[2001:db8::100]:5060";
    let mut config = config();
    config.listeners[0].address = router.parse().unwrap();
    let mut stage = stage_with(config);
    let from = Flow {
        local: router.parse().unwrap(),
        ..flow(Transport::Udp, "[2001:db8::1]:5062")
    };
    stage.receive_over(from, &invite());
    stage.relay_to(&["sip:bob@[2001:db8::2]"]);
    let sent = stage.next_request("INVITE");
    assert_eq!(sent.to, "[2001:db8::2]:5060".parse().unwrap());
    assert!(
        sent.header("Via")
            .starts_with("SIP/2.0/UDP [2001:db8::100]:5060;")
    );
    assert!(
        sent.header("Record-Route")
            .ends_with("@[2001:db8::100]:5060;lr>")
    );
    assert!(sent.headers("Via")[1].ends_with(";received=2001:db8::1;rport=5062"));
}
