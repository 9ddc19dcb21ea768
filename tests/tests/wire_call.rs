//! Calls through the real binary, one message at a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use patchbay_tests::agent::{Agent, SDP};
use patchbay_tests::router::{Router, Setup, wait_until};
use patchbay_tests::text::Text;

const QUIET: Duration = Duration::from_millis(300);

/// A whole call between registered agents: every message in order, hung up by the caller.
fn call(caller: &mut Agent, callee: &mut Agent) {
    let invite = caller.invite(&callee.aor());
    let received = callee.expect_request("INVITE");
    assert_eq!(received.body, SDP, "the body is forwarded as it came");
    assert_eq!(received.header("Max-Forwards"), "69");
    assert!(received.headers("Via").count() == 2, "{received:?}");
    assert!(
        received.header("Record-Route").contains(";lr"),
        "{received:?}"
    );
    assert!(
        received.uri().starts_with(&callee.contact()),
        "the Request-URI is the contact: {received:?}"
    );
    callee.respond(&received, 180, "", "");
    let ringing = caller.expect(180);
    assert_eq!(ringing.headers("Via").count(), 1);
    let sent = callee.respond(&received, 200, "Content-Type: application/sdp\r\n", SDP);
    let answer = caller.expect(200);
    assert_eq!(answer.body, SDP);
    assert_eq!(answer.header("To"), sent.header("To"));
    let ack = caller.in_dialog("ACK", &invite, &answer);
    caller.send(&ack);
    let ack = callee.expect_request("ACK");
    assert_eq!(
        ack.headers("Route").count(),
        0,
        "our own Route values are gone: {ack:?}"
    );
    let bye = caller.in_dialog("BYE", &invite, &answer);
    caller.send(&bye);
    let bye = callee.expect_request("BYE");
    callee.respond(&bye, 200, "", "");
    assert_eq!(caller.expect(200).method(), "BYE");
}

#[test]
fn a_call_over_udp() {
    let router = Router::start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    call(&mut alice, &mut bob);
}

#[test]
fn a_call_over_tcp() {
    let router = Router::start();
    let (mut alice, mut bob) = (
        Agent::tcp(router.tcp(), "alice"),
        Agent::tcp(router.tcp(), "bob"),
    );
    bob.register();
    call(&mut alice, &mut bob);
}

#[test]
fn a_call_from_udp_to_tcp_has_two_record_routes() {
    let router = Router::start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::tcp(router.tcp(), "bob"),
    );
    bob.register();
    let invite = alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    let values: usize = received
        .headers("Record-Route")
        .map(|value| value.split(',').count())
        .sum();
    assert_eq!(values, 2, "RFC 5658: one for each side: {received:?}");
    bob.respond(&received, 200, "", "");
    let answer = alice.expect(200);
    let ack = alice.in_dialog("ACK", &invite, &answer);
    alice.send(&ack);
    let ack = bob.expect_request("ACK");
    assert_eq!(ack.headers("Route").count(), 0, "both are ours: {ack:?}");
}

#[test]
fn the_callee_hangs_up() {
    let router = Router::start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::tcp(router.tcp(), "bob"),
    );
    bob.register();
    let invite = alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    let ok = bob.respond(&received, 200, "", "");
    let answer = alice.expect(200);
    let ack = alice.in_dialog("ACK", &invite, &answer);
    alice.send(&ack);
    bob.expect_request("ACK");
    let bye = bob.in_dialog_as_callee("BYE", &received, &ok);
    bob.send(&bye);
    let bye = alice.expect_request("BYE");
    alice.respond(&bye, 200, "", "");
    assert_eq!(bob.expect(200).method(), "BYE");
}

#[test]
fn a_call_over_ipv6() {
    let router = Setup::new().listen(&["udp:[::1]:0", "tcp:[::1]:0"]).start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::tcp(router.tcp(), "bob"),
    );
    bob.register();
    let invite = alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    assert!(received.header("Via").contains("[::1]:"), "{received:?}");
    bob.respond(&received, 200, "", "");
    let answer = alice.expect(200);
    let ack = alice.in_dialog("ACK", &invite, &answer);
    alice.send(&ack);
    bob.expect_request("ACK");
}

#[test]
fn a_busy_callee_leads_to_voicemail_in_the_same_transaction() {
    // Its proxy is not known before the router runs; it answers with `send_to`.
    let mut voicemail = Agent::udp("127.0.0.1:9".parse().expect("an address"), "voicemail");
    let router = Setup::new()
        .setting("voicemail", &format!("sip:voicemail@{}", voicemail.local()))
        .start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    let invite = alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 486, "", "");
    bob.expect_request("ACK");
    let deposited = voicemail.expect_request("INVITE");
    assert_eq!(
        deposited.uri(),
        format!("sip:voicemail@{}", voicemail.local())
    );
    assert_eq!(deposited.header("Call-ID"), invite.text.header("Call-ID"));
    let ok = voicemail.compose_response(&deposited, 200, "", "");
    voicemail.send_to(&ok, router.udp());
    let answer = alice.expect(200);
    assert!(answer.header("Contact").contains("voicemail"), "{answer:?}");
}

#[test]
fn no_answer_leads_to_voicemail_after_the_timeout_of_the_settings() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let voicemail = socket.local_addr().expect("an address");
    let router = Setup::new()
        .setting("voicemail", &format!("sip:voicemail@{voicemail}"))
        .setting("no_answer_timeout", "1s")
        .start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 180, "", "");
    alice.expect(180);
    let cancel = bob.expect_request("CANCEL");
    bob.respond(&cancel, 200, "", "");
    bob.respond(&received, 487, "", "");
    bob.expect_request("ACK");
    let mut buffer = [0; 4096];
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("set a timeout");
    let (length, _) = socket
        .recv_from(&mut buffer)
        .expect("an INVITE at the voicemail");
    assert!(buffer[..length].starts_with(b"INVITE sip:voicemail@"));
}

#[test]
fn without_voicemail_a_busy_callee_gives_486() {
    let router = Router::start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    let invite = alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 486, "", "");
    bob.expect_request("ACK");
    let busy = alice.expect(486);
    alice.acknowledge(&invite, &busy);
    alice.expect_silence(QUIET);
}

#[test]
fn cancel_while_ringing_gives_487() {
    let router = Router::start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    let invite = alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 180, "", "");
    alice.expect(180);
    alice.cancel(&invite);
    assert_eq!(alice.expect(200).method(), "CANCEL");
    let cancel = bob.expect_request("CANCEL");
    assert_eq!(
        cancel.header("Via"),
        received.header("Via"),
        "RFC 3261 §9.1: the CANCEL has the Via of the INVITE"
    );
    bob.respond(&cancel, 200, "", "");
    bob.respond(&received, 487, "", "");
    let ack = bob.expect_request("ACK");
    assert_eq!(
        ack.parameter("Via", "branch"),
        received.parameter("Via", "branch")
    );
    let terminated = alice.expect(487);
    alice.acknowledge(&invite, &terminated);
    alice.expect_silence(QUIET);
}

#[test]
fn a_cancel_that_matches_nothing_gives_481() {
    let router = Router::start();
    let mut alice = Agent::udp(router.udp(), "alice");
    let text = alice.compose("CANCEL", "sip:bob@localhost", "sip:bob@localhost", "", "");
    alice.send(&text);
    alice.expect(481);
}

#[test]
fn a_call_forks_to_every_contact_and_the_first_answer_wins() {
    let router = Router::start();
    let mut alice = Agent::udp(router.udp(), "alice");
    let (mut desk, mut mobile) = (
        Agent::udp(router.udp(), "bob"),
        Agent::udp(router.udp(), "bob"),
    );
    desk.register();
    mobile.register();
    alice.invite("sip:bob@localhost");
    let (at_desk, at_mobile) = (
        desk.expect_request("INVITE"),
        mobile.expect_request("INVITE"),
    );
    assert_ne!(
        at_desk.parameter("Via", "branch"),
        at_mobile.parameter("Via", "branch")
    );
    desk.respond(&at_desk, 180, "", "");
    alice.expect(180);
    mobile.respond(&at_mobile, 180, "", "");
    alice.expect(180);
    mobile.respond(&at_mobile, 200, "", "");
    alice.expect(200);
    let cancel = desk.expect_request("CANCEL");
    desk.respond(&cancel, 200, "", "");
    desk.respond(&at_desk, 487, "", "");
    desk.expect_request("ACK");
    alice.expect_silence(QUIET);
}

#[test]
fn a_retransmitted_invite_is_absorbed() {
    let router = Router::start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    let invite = alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 180, "", "");
    alice.expect(180);
    alice.send(&invite.bytes);
    alice.expect(180);
    bob.expect_silence(QUIET);
}

#[test]
fn an_unknown_user_gives_404() {
    let router = Router::start();
    let mut alice = Agent::udp(router.udp(), "alice");
    let invite = alice.invite("sip:nobody@localhost");
    let answer = alice.expect(404);
    alice.acknowledge(&invite, &answer);
    alice.expect_silence(QUIET);
}

#[test]
fn a_user_without_a_contact_gives_480() {
    let router = Setup::new().user("bob", "secret").start();
    let mut bob = Agent::udp(router.udp(), "bob");
    let uri = "sip:bob@localhost";
    bob.invite(uri);
    let challenge = bob.expect(407);
    let credentials = bob.credentials(&challenge, "Proxy-Authenticate", "INVITE", uri, "secret");
    let text = bob.compose(
        "INVITE",
        uri,
        uri,
        &format!("Proxy-Authorization: {credentials}\r\n"),
        "",
    );
    bob.request(text);
    bob.expect(480);
}

#[test]
fn a_slow_callee_makes_the_router_say_100() {
    let router = Router::start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    alice.invite(&bob.aor());
    bob.expect_request("INVITE");
    assert_eq!(alice.receive().status(), 100);
}

#[test]
fn when_traffic_has_stopped_the_tables_are_empty() {
    let router = Setup::new()
        .section("[timers]\nt1 = \"20ms\"\nt2 = \"80ms\"\nt4 = \"100ms\"")
        .start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    call(&mut alice, &mut bob);
    wait_until("empty tables", || {
        router.get("/api/v1/transactions")["transactions"]
            .as_array()
            .is_some_and(Vec::is_empty)
    });
}

/// RFC 3261 §18.2.2: over a connection of its own, to the port in the Via, when that of the request is gone.
#[test]
fn a_response_finds_its_caller_whose_connection_is_gone() {
    let router = Router::start();
    let mut bob = Agent::udp(router.udp(), "bob");
    bob.register();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let invite = format!(
        "INVITE {} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:{port};branch=z9hG4bKgone\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@example.com>;tag=a\r\nTo: <{0}>\r\nCall-ID: gone\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:alice@127.0.0.1:{port};transport=tcp>\r\nContent-Length: 0\r\n\r\n",
        bob.aor()
    );
    let mut alice = TcpStream::connect(router.tcp()).unwrap();
    alice.write_all(invite.as_bytes()).unwrap();
    let received = bob.expect_request("INVITE");
    drop(alice);
    wait_until("the connection to be gone", || {
        router.metric("patchbay_sip_connections", "") < 1.0
    });
    bob.respond(&received, 200, "", "");
    let (mut back, _) = listener.accept().unwrap();
    back.set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut bytes = [0; 4096];
    let length = back.read(&mut bytes).unwrap();
    let answer = Text::parse(&bytes[..length]);
    assert_eq!((answer.status(), answer.header("Call-ID")), (200, "gone"));
}
