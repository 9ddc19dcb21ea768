//! HTTP and keyvalue in the languages that use the bindings of another one: TypeScript those of JavaScript, C++ and Zig those of C.
//!
//! Every function of both interfaces is called by the policies of [`super::imports`].

use patchbay_policy::{Hook, Verdict};
use patchbay_tests::policies::guest_in;

use crate::guest::Guest;
use crate::host::World;

const LANGUAGES: [&str; 3] = ["ts", "cpp", "zig"];

/// What they have the router do, and at the end what they report.
const DONE: [&str; 4] = [
    "http POST http://lcr.example/route X-A=1 hello ms=250",
    "set calls/a größer for -",
    "increment calls/n 1099511627776 for 60",
    "reply body text/plain: 201 zwei größer 1099511627776 denied",
];

fn options() -> World {
    World {
        message: Some(
            "OPTIONS sip:example.com SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\nMax-Forwards: 70\n\
             From: <sip:alice@example.com>;tag=a1\nTo: <sip:example.com>\nCall-ID: c1@192.0.2.1\nCSeq: 1 OPTIONS\n\
             Content-Length: 0\n\n"
                .to_owned(),
        ),
        ..World::default()
    }
}

#[test]
fn what_is_beyond_the_router_is_reached_with_the_bindings_of_another_language() {
    for language in LANGUAGES {
        let component = guest_in(&format!("outside-{language}"));
        let guest = Guest::load(&component, 10_000, &options()).expect("a policy");
        for _ in 0..3 {
            let (verdict, host) = guest.run(Hook::RequestRoute, options(), None);
            let reply = Verdict::Reply {
                status: 299,
                reason: String::new(),
            };
            assert_eq!(verdict, Ok(reply), "{language}");
            assert_eq!(host.done(), DONE, "{language}");
        }
    }
}
