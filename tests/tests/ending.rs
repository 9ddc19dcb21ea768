//! The router's end while a policy is being compiled, which can take a quarter of a minute.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use patchbay_tests::policies;
use patchbay_tests::router::{Router, Setup, wait_until};

/// The largest policy there is: CPython is in it.
const LARGE: &str = "screening-py";

/// The processor time of the process, in ticks of 10 ms (proc(5)).
fn ticks(router: &Router) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", router.pid())).expect("stat");
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    [fields[11], fields[12]]
        .iter()
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum()
}

/// A router that has begun to compile the large policy.
fn compiling() -> Router {
    let router = Setup::new()
        .policy(LARGE, &policies::built(LARGE))
        .section("[log]\nfilter = \"info,patchbay=debug\"\n")
        .start();
    let before = ticks(&router);
    // A router without calls has nothing else to do for half a second.
    wait_until("it compiles", || ticks(&router) >= before + 50);
    router
}

#[test]
fn the_end_does_not_wait_for_a_policy_that_is_being_compiled() {
    let mut router = compiling();
    router.signal("TERM");
    let status = router.wait();
    assert!(status.success(), "{status}");
    router.wait_for_log("a policy is being compiled: that ends with the process");
    // Whoever had waited would have seen it become a version.
    let log = router.log();
    assert!(!log.contains("policy stored"), "{log}");
}
