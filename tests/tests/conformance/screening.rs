//! One table for the policies `screening-*`: what each has to decide, and to do, for the same requests and responses.

use patchbay_policy::{ErrorKind, Hook, LoadError, Verdict, Verification};
use patchbay_tests::policies::built;

use crate::guest::{Guest, LANGUAGES};
use crate::host::World;

const ADDED: &str = "targets of lookup 7";
const LOOKED_UP: &str = "lookup of the Request-URI";
const ARMED: &str = "arm onreply-route failure-route";
const VOICEMAIL: &str = "target sip:voicemail@192.0.2.9 q=1000 hop=- listener=- ms=-";

struct Case {
    name: &'static str,
    hook: Hook,
    world: World,
    verdict: Verdict,
    done: &'static [&'static str],
    /// Headers of the current message after the hook.
    headers: &'static [(&'static str, Option<&'static str>)],
}

fn request(method: &str, uri: &str, from: &str, more: &str) -> World {
    World {
        message: Some(format!(
            "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\nMax-Forwards: 70\nFrom: <{from}>;tag=a1\n\
             To: <sip:bob@example.com>\nCall-ID: c1@192.0.2.1\nCSeq: 1 {method}\n{more}Content-Length: 0\n\n"
        )),
        ..World::default()
    }
    .setting("blocked", "mallory@  sip:+900")
}

fn invite() -> World {
    request("INVITE", "sip:bob@example.com", "sip:alice@example.com", "")
}

fn response_text(status: u16) -> String {
    format!(
        "SIP/2.0 {status} Whatever\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\nFrom: <sip:alice@example.com>;tag=a1\n\
         To: <sip:bob@example.com>;tag=b1\nCall-ID: c1@192.0.2.1\nCSeq: 1 INVITE\nServer: phone\nContent-Length: 0\n\n"
    )
}

fn response(status: u16) -> World {
    World {
        message: Some(response_text(status)),
        response: Some(response_text(status)),
        ..World::default()
    }
}

fn failed(status: u16) -> World {
    World {
        response: Some(response_text(status)),
        ..invite()
    }
}

fn register(auth_required: bool, verification: Verification) -> World {
    World {
        auth_required,
        verification,
        ..request("REGISTER", "sip:example.com", "sip:bob@example.com", "")
    }
}

fn case(name: &'static str, world: World, verdict: Verdict) -> Case {
    Case {
        name,
        hook: Hook::RequestRoute,
        world,
        verdict,
        done: &[],
        headers: &[],
    }
}

fn reply(status: u16) -> Verdict {
    Verdict::Reply {
        status,
        reason: String::new(),
    }
}

/// What `request-route` decides without the location service.
fn screened() -> Vec<Case> {
    let from = |from| request("INVITE", "sip:bob@example.com", from, "");
    let agent = |agent: &str| {
        let header = format!("User-Agent: {agent}\n");
        request(
            "OPTIONS",
            "sip:bob@example.com",
            "sip:alice@example.com",
            &header,
        )
    };
    let to_router = |method| request(method, "sip:example.com", "sip:alice@example.com", "");
    let in_dialog = World {
        in_dialog: true,
        ..request("BYE", "sip:bob@192.0.2.2", "sip:mallory@example.com", "")
    };
    let ack = request("ACK", "sip:bob@example.com", "sip:alice@example.com", "");
    let long = format!("{} friendly-scanner", "x".repeat(3000));
    vec![
        case(
            "a request in a dialog follows its way",
            in_dialog,
            Verdict::Relay,
        ),
        case("an ACK outside of a dialog is dropped", ack, Verdict::Drop),
        case(
            "a scanner gets no answer",
            agent("friendly-scanner 1.0"),
            Verdict::Drop,
        ),
        case(
            "a header may have other letters",
            agent("Télé friendly-scanner ☎"),
            Verdict::Drop,
        ),
        case("a header may be long", agent(&long), Verdict::Drop),
        case(
            "a blocked caller gets 603",
            from("sip:mallory@example.com"),
            reply(603),
        ),
        case(
            "a blocked prefix gets 603",
            from("sip:+900123@example.com"),
            reply(603),
        ),
        case(
            "a request for the router is answered",
            to_router("OPTIONS"),
            reply(200),
        ),
        case(
            "a method that the router does not serve is 405",
            to_router("INFO"),
            reply(405),
        ),
        case(
            "an open REGISTER is saved",
            register(false, Verification::Missing),
            Verdict::Save,
        ),
        case(
            "a verified REGISTER is saved",
            register(true, Verification::Verified),
            Verdict::Save,
        ),
        case(
            "a REGISTER is challenged",
            register(true, Verification::Missing),
            Verdict::Challenge,
        ),
        case(
            "a stale REGISTER is challenged",
            register(true, Verification::Stale),
            Verdict::Challenge,
        ),
        case(
            "a wrong password is challenged",
            register(true, Verification::Failed),
            Verdict::Challenge,
        ),
    ]
}

/// What `request-route` decides with it.
fn routed() -> Vec<Case> {
    let found = |contacts| World {
        contacts,
        ..invite()
    };
    vec![
        Case {
            done: &[LOOKED_UP, ADDED, ARMED],
            ..case("a known callee is called", found(Ok(2)), Verdict::Relay)
        },
        Case {
            done: &[LOOKED_UP],
            ..case("a callee without a phone is 480", found(Ok(0)), reply(480))
        },
        case(
            "an unknown callee is 404",
            found(Err(ErrorKind::NotFound)),
            reply(404),
        ),
        case(
            "what is no address-of-record is 500",
            found(Err(ErrorKind::InvalidArgument)),
            reply(500),
        ),
    ]
}

fn responses() -> Vec<Case> {
    let denied = World {
        denied_header: Some("X-Screened"),
        ..response(200)
    };
    let answered = |name, world, headers| Case {
        hook: Hook::OnreplyRoute,
        headers,
        ..case(name, world, Verdict::Pass)
    };
    const MARKED: &[(&str, Option<&str>)] = &[("X-Screened", Some("yes")), ("Server", None)];
    vec![
        answered("a provisional response is marked", response(180), MARKED),
        answered("a final response is marked", response(200), MARKED),
        answered(
            "what is not granted is left out",
            denied,
            &[("X-Screened", None), ("Server", None)],
        ),
    ]
}

fn failures() -> Vec<Case> {
    let with_voicemail = |status| failed(status).setting("voicemail", "sip:voicemail@192.0.2.9");
    let failure = |name, world, verdict, done| Case {
        hook: Hook::FailureRoute,
        done,
        ..case(name, world, verdict)
    };
    vec![
        failure(
            "busy leads to voicemail",
            with_voicemail(486),
            Verdict::Relay,
            &[VOICEMAIL, "arm onreply-route"],
        ),
        failure(
            "busy without voicemail stays busy",
            failed(486),
            Verdict::Pass,
            &[],
        ),
        failure(
            "another failure stays what it is",
            with_voicemail(603),
            Verdict::Pass,
            &[],
        ),
    ]
}

/// What was done for the call: the SDK of Rust logs errors of its own accord.
fn acts(done: &[String]) -> impl Iterator<Item = &str> {
    done.iter()
        .map(String::as_str)
        .filter(|line| !line.starts_with("log "))
}

/// What a guest has done, where the order of independent calls is its own.
fn sorted<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut lines: Vec<&str> = lines.into_iter().collect();
    lines.sort_unstable();
    lines
}

fn check(language: &str, guest: &Guest, case: Case) {
    let (verdict, host) = guest.run(case.hook, case.world, None);
    let name = case.name;
    assert_eq!(verdict, Ok(case.verdict), "{language}: {name}");
    let done = host.done();
    assert_eq!(
        sorted(acts(&done)),
        sorted(case.done.iter().copied()),
        "{language}: {name}"
    );
    for (header, value) in case.headers {
        assert_eq!(host.header(header).as_deref(), *value, "{language}: {name}");
    }
}

fn conforms(language: &str) {
    let component = built(&format!("screening-{language}"));
    let refused = World::default().setting("voicemail", "tel:+1");
    let error = Guest::load(&component, 1, &refused).err();
    assert_eq!(
        error,
        Some(LoadError::Init("voicemail is no SIP URI".to_owned())),
        "{language}"
    );
    // Used again and again, and each time a fresh one: nothing may depend on what an instance has seen.
    for instance_reuse in [10_000, 1] {
        let guest = Guest::load(&component, instance_reuse, &invite()).expect("a policy");
        let cases = [screened(), routed(), responses(), failures()];
        cases
            .into_iter()
            .flatten()
            .for_each(|case| check(language, &guest, case));
    }
}

#[test]
fn every_screening_policy_decides_alike() {
    LANGUAGES.into_iter().for_each(conforms);
}
