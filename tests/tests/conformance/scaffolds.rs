//! What `patchbay policy new` writes in each language can be built, loaded, and routes a call.

use std::fs;

use patchbay_policy::{Hook, Verdict};
use patchbay_tests::policies::scaffold;

use crate::guest::Guest;
use crate::host::World;

const LANGUAGES: [&str; 8] = [
    "rust",
    "javascript",
    "typescript",
    "python",
    "go",
    "c",
    "cpp",
    "zig",
];

fn invite() -> World {
    World {
        message: Some(
            "INVITE sip:bob@example.com SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\nMax-Forwards: 70\n\
             From: <sip:alice@example.com>;tag=a1\nTo: <sip:bob@example.com>\nCall-ID: c1@192.0.2.1\nCSeq: 1 INVITE\n\
             Content-Length: 0\n\n"
                .to_owned(),
        ),
        contacts: Ok(1),
        ..World::default()
    }
}

#[test]
fn a_new_policy_in_every_language_routes_a_call() {
    for language in LANGUAGES {
        let component = scaffold(language);
        assert!(fs::metadata(&component).is_ok(), "{language}");
        let guest = Guest::load(&component, 10_000, &invite()).expect("a policy");
        let (verdict, host) = guest.run(Hook::RequestRoute, invite(), None);
        assert_eq!(verdict, Ok(Verdict::Relay), "{language}");
        let done = host.done();
        for step in [
            "lookup of the Request-URI",
            "targets of lookup 7",
            "arm failure-route",
        ] {
            assert!(done.iter().any(|line| line == step), "{language}: {done:?}");
        }
    }
}
