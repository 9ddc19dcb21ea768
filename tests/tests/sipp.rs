//! SIPp against the real binary: calls at a steady rate, with none lost and no unexpected message.
//!
//! `PATCHBAY_CALLS` (default 600) and `PATCHBAY_RATE` (default 200 a second) make the runs longer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use patchbay_tests::agent::Agent;
use patchbay_tests::router::{Router, Setup};
use patchbay_tests::sipp::{Sipp, free_port};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn calls() -> u64 {
    number("PATCHBAY_CALLS", 600)
}

fn patience() -> Duration {
    Duration::from_secs(60 + 2 * calls() / number("PATCHBAY_RATE", 200))
}

/// Registers `user` at the address where a SIPp server runs.
fn register_at(router: &Router, user: &str, callee: SocketAddr, transport: &str) {
    let mut agent = Agent::udp(router.udp(), user);
    let text = agent.compose(
        "REGISTER",
        "sip:localhost",
        &agent.aor(),
        "Expires: 3600\r\n",
        "",
    );
    let contact = format!("<sip:{user}@{callee};transport={transport}>");
    agent.request(text.replace(&format!("<{}>", agent.contact()), &contact));
    agent.expect(200);
}

/// Calls `bob` at the steady rate; every call must go through the whole scenario.
fn run(router: &Router, scenario: &str, remote: SocketAddr, transport: &str, server: Sipp) {
    let (total, rate) = (calls(), number("PATCHBAY_RATE", 200));
    let client = Sipp::start(
        scenario,
        remote,
        transport,
        &[
            "-s",
            "bob",
            "-m",
            &total.to_string(),
            "-r",
            &rate.to_string(),
            "-l",
            "4000",
            "-timeout",
            "600",
        ],
    );
    let counts = client.finish(patience());
    assert_eq!(
        (counts.successful, counts.failed, counts.unexpected),
        (total, 0, 0),
        "{counts:?}"
    );
    let served = server.stop();
    assert_eq!((served.failed, served.unexpected), (0, 0), "{served:?}");
    assert!(
        router.metric("patchbay_sip_requests_total", "") >= total as f64,
        "the calls went through the router"
    );
}

#[test]
fn calls_over_udp() {
    let router = Setup::new().workers(2).start();
    let server = Sipp::start("uas_answer", router.udp(), "u1", &[]);
    register_at(&router, "bob", server.local, "udp");
    run(&router, "uac_call", router.udp(), "u1", server);
}

#[test]
fn calls_over_tcp() {
    let router = Setup::new().workers(2).start();
    let server = Sipp::start("uas_answer", router.tcp(), "t1", &[]);
    register_at(&router, "bob", server.local, "tcp");
    run(&router, "uac_call", router.tcp(), "t1", server);
}

#[test]
fn calls_over_ipv6() {
    let router = Setup::new().listen(&["udp:[::1]:0", "tcp:[::1]:0"]).start();
    let server = Sipp::start("uas_answer", router.udp(), "u1", &[]);
    register_at(&router, "bob", server.local, "udp");
    run(&router, "uac_call", router.udp(), "u1", server);
}

#[test]
fn every_callee_busy_and_every_caller_at_the_voicemail() {
    let voicemail_at = free_port("127.0.0.1:9".parse().expect("an address"));
    let router = Setup::new()
        .workers(2)
        .setting("voicemail", &format!("sip:voicemail@{voicemail_at}"))
        .start();
    let busy = Sipp::start("uas_busy", router.udp(), "u1", &[]);
    let voicemail = Sipp::start_at("uas_answer", voicemail_at, router.udp(), "u1", &[]);
    register_at(&router, "bob", busy.local, "udp");
    run(&router, "uac_call", router.udp(), "u1", voicemail);
    let counts = busy.stop();
    assert_eq!((counts.failed, counts.unexpected), (0, 0), "{counts:?}");
}

#[test]
fn cancelled_calls() {
    let router = Setup::new().workers(2).start();
    let server = Sipp::start("uas_ringing", router.udp(), "u1", &[]);
    register_at(&router, "bob", server.local, "udp");
    run(&router, "uac_cancel", router.udp(), "u1", server);
}

#[test]
fn registrations_with_digest_authentication() {
    let users: Vec<String> = (0..100).map(|i| format!("user{i}")).collect();
    // SIPp looks at the first challenge only, and knows MD5 only.
    let router = users
        .iter()
        .fold(Setup::new().workers(2).md5_only(), |setup, user| {
            setup.user(user, "secret")
        })
        .start();
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "SEQUENTIAL").expect("write");
    for user in &users {
        writeln!(
            file,
            "{user};[authentication username={user} password=secret]"
        )
        .expect("write");
    }
    let path = file.path().to_str().expect("a UTF-8 path");
    let client = Sipp::start(
        "uac_register",
        router.udp(),
        "u1",
        &["-inf", path, "-m", "400", "-r", "200", "-timeout", "60"],
    );
    let counts = client.finish(patience());
    assert_eq!((counts.successful, counts.failed), (400, 0), "{counts:?}");
    let list = router.get("/api/v1/registrations");
    assert_eq!(
        list["registrations"].as_array().map(Vec::len),
        Some(users.len())
    );
}
