//! The policies `screening-*` in the real router: a call that ends at voicemail, because the callee is busy.

use std::time::Duration;

use patchbay_tests::agent::Agent;
use patchbay_tests::policies::built;
use patchbay_tests::router::Setup;

use crate::guest::{Guest, LANGUAGES, compiled};
use crate::host::World;

/// A start that finds nothing compiled may have to compile Python.
const PATIENCE: Duration = Duration::from_secs(240);
const QUIET: Duration = Duration::from_millis(300);

fn setup(language: &str) -> Setup {
    let name = format!("screening-{language}");
    let component = built(&name);
    // Compiles it once for all tests.
    drop(Guest::load(&component, 1, &World::default()).expect("a policy"));
    Setup::new()
        .policy(&name, &component)
        .active(&name)
        .compiled(compiled())
        .patience(PATIENCE)
        .setting("blocked", "mallory@ sip:+900")
}

fn busy_callee_leads_to_voicemail(language: &str) {
    // Its proxy is not known before the router runs; it only receives.
    let mut voicemail = Agent::udp("127.0.0.1:9".parse().expect("an address"), "voicemail");
    let address = format!("sip:voicemail@{}", voicemail.local());
    let router = setup(language).setting("voicemail", &address).start();
    let agent = |name| Agent::udp(router.udp(), name);
    let (mut alice, mut bob, mut mallory) = (agent("alice"), agent("bob"), agent("mallory"));
    bob.register();
    alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 180, "Server: phone\r\n", "");
    let ringing = alice.expect(180);
    assert_eq!(ringing.header("X-Screened"), "yes", "{language}");
    assert_eq!(ringing.header("Server"), "", "{language}");
    bob.respond(&received, 486, "", "");
    let diverted = voicemail.expect_request("INVITE");
    assert_eq!(diverted.uri(), address, "{language}");
    mallory.invite(&bob.aor());
    mallory.expect(603);
    let scan = alice.compose(
        "OPTIONS",
        &bob.aor(),
        &bob.aor(),
        "User-Agent: friendly-scanner\r\n",
        "",
    );
    mallory.send(&scan);
    mallory.expect_silence(QUIET);
    let policies = router.get("/api/v1/policies").to_string();
    assert!(policies.contains("\"faults\":0"), "{language}: {policies}");
}

macro_rules! calls {
    ($($language:ident),+) => {
        const TESTED: &[&str] = &[$(stringify!($language)),+];
        $(#[test]
        fn $language() {
            busy_callee_leads_to_voicemail(stringify!($language));
        })+
    };
}

calls!(rust, js, ts, py, go, c, cpp, zig);

#[test]
fn every_language_makes_the_call() {
    assert_eq!(TESTED, LANGUAGES);
}
