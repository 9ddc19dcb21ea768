//! RFC 4475 and RFC 5118 against the running router: the verdict of the RFC, and it goes on serving.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::path::Path;
use std::time::Duration;

use patchbay_tests::agent::Agent;
use patchbay_tests::router::Router;

fn data(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/message/tests/data");
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn still_answers_options(router: &Router, after: &str) {
    let mut probe = Agent::udp(router.udp(), "probe");
    let text = probe.compose("OPTIONS", "sip:localhost", "sip:localhost", "", "");
    probe.request(text);
    let answer = probe
        .receive_within(Duration::from_secs(5))
        .unwrap_or_else(|| panic!("no answer to OPTIONS after {after}"));
    assert_eq!(answer.status(), 200, "after {after}: {answer:?}");
}

/// Sends a message from a socket whose address stands in a Via on top of the message's own.
fn verdict(router: &Router, name: &str) -> Option<u16> {
    let mut agent = Agent::udp(router.udp(), "torture");
    agent.send_bytes(&data(name));
    let answer = agent
        .receive_within(Duration::from_millis(700))
        .map(|answer| answer.status());
    still_answers_options(router, name);
    answer
}

#[test]
fn every_torture_message_leaves_the_router_serving() {
    let router = Router::start();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/message/tests/data");
    let mut count = 0;
    for rfc in ["rfc4475", "rfc5118"] {
        for entry in std::fs::read_dir(folder.join(rfc)).expect("the torture messages") {
            let path = entry.expect("an entry").path();
            let name = format!(
                "{rfc}/{}",
                path.file_name().expect("a name").to_string_lossy()
            );
            let mut agent = Agent::udp(router.udp(), "torture");
            agent.send_bytes(&std::fs::read(&path).expect("a message"));
            still_answers_options(&router, &name);
            count += 1;
        }
    }
    assert!(count >= 60, "only {count} messages");
}

/// The messages to which an element has to answer with a certain error. The Via of each says where the answer goes by
/// RFC 3261 §18.2.2; ours goes to the source, since every request is treated as if it had rport.
#[test]
fn malformed_requests_get_the_status_of_the_rfc() {
    let router = Router::start();
    for (name, status) in [
        ("rfc4475/badinv01.dat", 400),
        ("rfc4475/clerr.dat", 400),
        ("rfc4475/ncl.dat", 400),
        ("rfc4475/scalar02.dat", 400),
        ("rfc4475/quotbal.dat", 400),
        ("rfc4475/ltgtruri.dat", 400),
        ("rfc4475/lwsruri.dat", 400),
        ("rfc4475/badvers.dat", 505),
        ("rfc4475/mismatch01.dat", 400),
        ("rfc4475/mismatch02.dat", 501),
        ("rfc4475/insuf.dat", 400),
        ("rfc4475/unkscm.dat", 416),
        ("rfc4475/novelsc.dat", 416),
        ("rfc4475/zeromf.dat", 483),
        ("rfc4475/bext01.dat", 420),
        ("rfc4475/multi01.dat", 400),
        ("rfc4475/mcl01.dat", 400),
        ("rfc5118/ipv6-bad", 400),
    ] {
        assert_eq!(verdict(&router, name), Some(status), "{name}");
    }
}

#[test]
fn torture_responses_get_no_answer() {
    let router = Router::start();
    for name in [
        "rfc4475/scalarlg.dat",
        "rfc4475/bigcode.dat",
        "rfc4475/unreason.dat",
        "rfc4475/noreason.dat",
    ] {
        assert_eq!(verdict(&router, name), None, "{name}");
    }
}
