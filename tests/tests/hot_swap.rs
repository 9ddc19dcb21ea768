//! The policy is replaced under traffic: no call fails, and each ran in one version.
//!
//! `PATCHBAY_SWAP_SECONDS` (default 8) makes the run longer, `PATCHBAY_SWAP_RATE` (default 200) is in calls a second.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::path::Path;

use patchbay_tests::load::{Call, Load};
use patchbay_tests::policies;
use patchbay_tests::router::{Setup, wait_until};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// The policy that says its version in requests and responses.
fn version(name: &str) -> std::path::PathBuf {
    let source =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/versioned.rs"))
            .expect("the guest's source");
    policies::guest_from(
        &format!("versioned-{name}"),
        &source.replace(
            "VERSION: &str = \"one\"",
            &format!("VERSION: &str = \"{name}\""),
        ),
    )
}

/// The version that the call's hooks ran in; panics when they did not run in one.
fn version_of(call: &Call) -> String {
    let request = call
        .at_callee
        .as_ref()
        .expect("the INVITE came to the callee")
        .header("X-Version")
        .to_owned();
    assert!(!request.is_empty(), "request_route ran: {call:?}");
    assert!(call.responses.len() >= 2, "180 and 200: {call:?}");
    for response in &call.responses {
        assert_eq!(
            response.header("X-Version"),
            request,
            "every hook of a transaction runs in one version: {response:?}"
        );
    }
    request
}

#[test]
fn a_swap_each_second_fails_no_call() {
    let (seconds, rate) = (
        number("PATCHBAY_SWAP_SECONDS", 8),
        number("PATCHBAY_SWAP_RATE", 200),
    );
    let versions = [version("one"), version("two")];
    let router = Setup::new()
        .workers(2)
        .policy("swapped", &versions[0])
        .active("swapped")
        .start();
    let file = router.path().join("policies/swapped.wasm");
    let mut load = Load::new(router.udp(), "swap");
    load.register("bob");
    let calls = load.run(
        seconds * rate,
        rate as f64,
        |_| "bob".to_owned(),
        |number| {
            if number % rate == rate / 2 {
                // As a careful tool does it: write beside, rename into place.
                let beside = file.with_extension("new");
                std::fs::copy(&versions[(number / rate + 1) % 2], &beside).expect("copy");
                std::fs::rename(&beside, &file).expect("rename");
            }
        },
    );
    let failed: Vec<_> = calls
        .iter()
        .filter(|call| call.status != 200 || !call.ended)
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {} calls failed, the first: {:?}",
        failed.len(),
        calls.len(),
        failed[0]
    );
    let ran: Vec<String> = calls.iter().map(version_of).collect();
    for name in ["one", "two"] {
        let count = ran.iter().filter(|version| *version == name).count();
        assert!(
            count > calls.len() / 5,
            "only {count} of {} calls ran in version {name}",
            calls.len()
        );
    }
    assert_eq!(router.metric("patchbay_hook_faults_total", ""), 0.0);
}

#[test]
fn a_transaction_under_way_ends_in_the_version_it_began_in() {
    use patchbay_tests::agent::Agent;
    let (one, two) = (version("one"), version("two"));
    let router = Setup::new()
        .policy("swapped", &one)
        .active("swapped")
        .start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    alice.invite(&bob.aor());
    let first = bob.expect_request("INVITE");
    assert_eq!(first.header("X-Version"), "one");
    // A provisional response, so that the router does not send the INVITE again meanwhile.
    bob.respond(&first, 180, "", "");
    alice.expect(180);
    let before = router.get("/api/v1/status")["policy"].clone();
    std::fs::copy(&two, router.path().join("policies/swapped.wasm")).expect("copy");
    wait_until("the new version to be active", || {
        router.get("/api/v1/status")["policy"] != before
    });
    let mut carol = Agent::udp(router.udp(), "carol");
    carol.invite(&bob.aor());
    let second = bob.expect_request("INVITE");
    assert_eq!(second.header("X-Version"), "two");
    bob.respond(&first, 200, "", "");
    assert_eq!(alice.expect(200).header("X-Version"), "one");
    bob.respond(&second, 200, "", "");
    assert_eq!(carol.expect(200).header("X-Version"), "two");
}

#[test]
fn a_file_half_written_or_invalid_never_replaces_what_runs() {
    use patchbay_tests::agent::Agent;
    let one = version("one");
    let router = Setup::new()
        .policy("swapped", &one)
        .active("swapped")
        .start();
    let before = router.get("/api/v1/status")["policy"].clone();
    let bytes = std::fs::read(&one).expect("the component");
    let wrong_world = include_bytes!("../guests/wrong_world.wat");
    for broken in [
        &bytes[..bytes.len() / 2],
        &wrong_world[..],
        b"",
        b"no wasm at all",
    ] {
        std::fs::write(router.path().join("policies/swapped.wasm"), broken).expect("write");
        std::thread::sleep(std::time::Duration::from_millis(700));
        assert_eq!(
            router.get("/api/v1/status")["policy"],
            before,
            "{} bytes",
            broken.len()
        );
    }
    let listed = router.get("/api/v1/policies").to_string();
    assert!(
        listed.contains("error"),
        "the API shows the last error: {listed}"
    );
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    alice.invite(&bob.aor());
    assert_eq!(bob.expect_request("INVITE").header("X-Version"), "one");
}
