//! Every hook with every verdict, and every function that the router provides, in each language that has bindings of its own.
//!
//! Each waits for the answers over HTTP, as it would for those of a server. TypeScript is JavaScript by then, and C++ and Zig use the bindings of C; what differs there is seen by `screening`.

use std::path::PathBuf;

use patchbay_policy::{Event, Hook, LoadError, RegistrationEvent, Verdict, Verification};
use patchbay_tests::policies::{guest, guest_in};

use crate::guest::Guest;
use crate::host::{Recorder, World};

const LANGUAGES: [&str; 5] = ["rust", "js", "py", "go", "c"];

fn component(language: &str) -> PathBuf {
    match language {
        "rust" => guest("conformance"),
        other => guest_in(&format!("conformance-{other}")),
    }
}

/// What the policies report of the world below, line by line.
const REPORT: &[&str] = &[
    "summary: INVITE sip:bob@example.com sip:alice@example.com sip:bob@example.com c1@192.0.2.1 192.0.2.1:5061 false",
    "facts: true false false false",
    "message: INVITE sip:bob@example.com bob sip:alice@example.com sip:bob@example.com c1@192.0.2.1",
    "status: - - -",
    "body: hello",
    "header: hello - true false",
    "headers: one two 0",
    "named: hello - one",
    "joined: 5:hello:",
    "set: ok denied",
    "add: ok invalid-argument",
    "remove: 3 denied",
    "uri: ok invalid-argument",
    "set body: ok invalid-argument",
    "source: tls 192.0.2.1 5061 198.51.100.1:5061 192.0.2.1",
    "networks: true false",
    "transaction: false true false 2",
    "variable: - ok größer",
    "parameter: ok blue -",
    "targets: ok invalid-argument 1",
    "target: ok ok",
    "lookup: 2 3",
    "reply: ok denied",
    "found: 7 2 7 2",
    "binding: sip:bob@192.0.2.0 500 3600 192.0.2.9:5060 phone of lookup 7 urn:uuid:1",
    "binding: sip:bob@192.0.2.1 500 3600 192.0.2.9:5060 phone of lookup 7 -",
    "binding: none",
    "registered: true false",
    "contacts: ok 3",
    "auth: verified alice@example.com true example.com",
    "settings: blue - colour=blue size=large",
    "log: false true",
    "clock: 1700000000123 4000000007 320255973501901",
    "counters: ok invalid-argument wrong-hook",
    "timers: ok invalid-argument true false",
    "http: 201 x-server=one,x-server=zwei größer",
    "http: 204 0 0",
    "http: unavailable",
    "http: denied",
    "keyvalue: - false",
    "set: ok ok invalid-argument größer  true",
    "increment: 1099511627776 -7 invalid-argument",
    "keys: calls/a,calls/b,calls/n calls/b,calls/n 0",
    "delete: ok false denied",
    "beyond: wrong-hook wrong-hook",
];

/// What they have the router do, besides the body with the report.
const DONE: &[&str] = &[
    "variable class=größer",
    "arm branch-route failure-route",
    "record-route false",
    "record-route-parameter tenant=red",
    "target sip:a@192.0.2.5 q=1000 hop=- listener=- ms=-",
    "target sip:b@192.0.2.6 q=700 hop=sip:192.0.2.7 listener=udp:192.0.2.8:5060 ms=1500",
    "target sip:c@192.0.2.6 q=0 hop=- listener=- ms=-",
    "next group",
    "no answer 9000",
    "targets of lookup 7",
    "clear",
    "reply header X-Reply: yes",
    "lookup sip:bob@example.com",
    "lookup of the Request-URI",
    "save sip:bob@example.com sip:bob@192.0.2.3 60",
    "remove sip:bob@example.com ",
    "log Warn a line",
    "count calls 5",
    "timer known 250",
    "cancel known",
    "cancel unknown",
    "http POST http://lcr.example/route X-A=1,X-B=größer hello ms=250",
    "http GET http://empty.example/   ms=-",
    "http GET http://none.example/   ms=-",
    "http GET http://other.example/   ms=-",
    "set calls/a größer for -",
    "set calls/b  for 60",
    "increment calls/n 1099511627776 for -",
    "increment calls/n -1099511627783 for 60",
    "increment calls/a 1 for -",
    "delete calls/b",
];

fn request(more: &str) -> World {
    World {
        message: Some(format!(
            "INVITE sip:bob@example.com SIP/2.0\nVia: SIP/2.0/TLS 192.0.2.1;branch=z9hG4bK1\nMax-Forwards: 70\n\
             From: <sip:alice@example.com>;tag=a1\nTo: <sip:bob@example.com>\nCall-ID: c1@192.0.2.1\nCSeq: 1 INVITE\n\
             Subject: hello\nX-Many: one\nX-Many: two\n{more}Content-Type: text/plain\nContent-Length: 5\n\nhello"
        )),
        contacts: Ok(2),
        auth_required: true,
        verification: Verification::Verified,
        ..World::default()
    }
    .setting("colour", "blue")
    .setting("size", "large")
}

fn response(more: &str) -> String {
    format!(
        "SIP/2.0 486 Busy Here\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\nFrom: <sip:alice@example.com>;tag=a1\n\
         To: <sip:bob@example.com>;tag=b1\nCall-ID: c1@192.0.2.1\nCSeq: 1 INVITE\nServer: phone\n{more}Content-Length: 0\n\n"
    )
}

fn reply(status: u16, reason: &str) -> Verdict {
    Verdict::Reply {
        status,
        reason: reason.to_owned(),
    }
}

fn with_guests(check: impl Fn(&str, &Guest)) {
    for language in LANGUAGES {
        let guest = Guest::load(&component(language), 10_000, &request("")).expect("a policy");
        check(language, &guest);
    }
}

#[test]
fn every_import_does_what_it_says() {
    with_guests(|language, guest| {
        for _ in 0..3 {
            let (verdict, host) = guest.run(Hook::RequestRoute, request(""), None);
            assert_eq!(verdict, Ok(reply(299, "")), "{language}");
            let mut done = host.done();
            let body = done.pop().unwrap_or_default();
            let report: Vec<&str> = body
                .strip_prefix("reply body text/plain: ")
                .unwrap_or("")
                .lines()
                .collect();
            assert_eq!(report, REPORT, "{language}");
            assert_eq!(done, DONE, "{language}");
            assert_eq!(host.header("X-New").as_deref(), Some("1"), "{language}");
            assert_eq!(host.header("X-Many"), None, "{language}");
        }
    });
}

#[test]
fn every_verdict_of_request_route_comes_back() {
    with_guests(|language, guest| {
        for (name, expected) in [
            ("relay", Verdict::Relay),
            ("reply", reply(486, "Später")),
            ("challenge", Verdict::Challenge),
            ("save", Verdict::Save),
            ("drop", Verdict::Drop),
            ("next", Verdict::Next),
        ] {
            let world = request(&format!("X-Verdict: {name}\n"));
            let (verdict, _) = guest.run(Hook::RequestRoute, world, None);
            assert_eq!(verdict, Ok(expected), "{language}");
        }
    });
}

#[test]
fn branch_route_passes_its_branch_or_drops_it() {
    with_guests(|language, guest| {
        let run = |more| guest.run(Hook::BranchRoute, request(more), None).0;
        assert_eq!(run(""), Ok(Verdict::Pass), "{language}");
        assert_eq!(run("X-Verdict: drop\n"), Ok(Verdict::Drop), "{language}");
    });
}

#[test]
fn onreply_route_edits_the_response_or_drops_it() {
    let world = |more| World {
        message: Some(response(more)),
        response: Some(response(more)),
        ..World::default()
    };
    with_guests(|language, guest| {
        let (verdict, host) = guest.run(Hook::OnreplyRoute, world(""), None);
        assert_eq!(verdict, Ok(Verdict::Pass), "{language}");
        let seen = host.header("X-Status");
        assert_eq!(seen.as_deref(), Some("486 486 phone"), "{language}");
        let (verdict, _) = guest.run(Hook::OnreplyRoute, world("X-Verdict: drop\n"), None);
        assert_eq!(verdict, Ok(Verdict::Drop), "{language}");
    });
}

#[test]
fn failure_route_passes_replies_or_relays() {
    let world = |more| World {
        response: Some(response(more)),
        ..request("")
    };
    with_guests(|language, guest| {
        let run = |more| guest.run(Hook::FailureRoute, world(more), None);
        assert_eq!(run("").0, Ok(Verdict::Pass), "{language}");
        assert_eq!(
            run("X-Verdict: reply\n").0,
            Ok(reply(487, "Later")),
            "{language}"
        );
        let (verdict, host) = run("X-Verdict: relay\n");
        assert_eq!(verdict, Ok(Verdict::Relay), "{language}");
        let target = "target sip:again@192.0.2.5 q=1000 hop=- listener=- ms=-";
        assert_eq!(host.done(), [target], "{language}");
    });
}

#[test]
fn event_route_is_told_every_case() {
    let change = || RegistrationEvent {
        aor: "alice".into(),
        contact: "phone".into(),
        expires_secs: 60,
    };
    let cases = [
        (
            Event::RegistrationAdded(change()),
            "count registration-added_alice_phone 60",
        ),
        (
            Event::RegistrationRefreshed(change()),
            "count registration-refreshed_alice_phone 60",
        ),
        (
            Event::RegistrationRemoved(change()),
            "count registration-removed_alice_phone 60",
        ),
        (
            Event::RegistrationExpired(change()),
            "count registration-expired_alice_phone 60",
        ),
        (Event::Timer("nightly".into()), "count timer_nightly 1"),
    ];
    with_guests(|language, guest| {
        for (event, done) in cases.clone() {
            let (verdict, host): (_, Recorder) = guest.run(
                Hook::EventRoute,
                World::default().setting("colour", "blue"),
                Some(event),
            );
            assert_eq!(verdict, Ok(Verdict::Done), "{language}");
            assert_eq!(host.done(), [done], "{language}");
        }
    });
}

#[test]
fn what_init_refuses_is_not_loaded() {
    for language in LANGUAGES {
        let world = World::default().setting("refuse", "nicht heute");
        let error = Guest::load(&component(language), 1, &world).err();
        assert_eq!(
            error,
            Some(LoadError::Init("nicht heute".to_owned())),
            "{language}"
        );
    }
}
