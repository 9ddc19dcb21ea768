//! What a policy that loops for ever on 20 requests a second costs the calls beside them: prints the time from INVITE to final
//! response for both, without and with the loops. `cargo run -p patchbay-tests --example loop_cost` (`$PATCHBAY_BIN` names
//! another binary than the one of this target directory).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement reports by panicking"
)]

use std::time::Duration;

use patchbay_tests::load::Load;
use patchbay_tests::policies;
use patchbay_tests::router::Setup;

const RATE: usize = 200;
const SECONDS: usize = 15;

fn main() {
    let quiet = run("quiet", |_| "bob");
    let looping = run("loops", |number| {
        if number % (RATE / 20) == 5 {
            "loop"
        } else {
            "bob"
        }
    });
    println!(
        "p99 of the other calls rises by {:?}",
        looping.saturating_sub(quiet)
    );
}

/// Makes the calls; returns the 99th percentile of those that do not loop.
fn run(name: &str, user: impl Fn(usize) -> &'static str) -> Duration {
    let router = Setup::new()
        .workers(2)
        .policy("faulty", &policies::guest("faulty"))
        .active("faulty")
        .start();
    let mut load = Load::new(router.udp(), name);
    load.register("bob");
    let calls = load.run(
        RATE * SECONDS,
        RATE as f64,
        |number| user(number).to_owned(),
        |_| {},
    );
    let times = |user: &str, status: u16| {
        let mut times: Vec<Duration> = calls
            .iter()
            .filter(|call| call.user == user)
            .map(|call| {
                assert_eq!(call.status, status, "{call:?}");
                call.answered_after.expect("an answer")
            })
            .collect();
        times.sort_unstable();
        times
    };
    let (others, loops) = (times("bob", 200), times("loop", 500));
    let p99 = others[others.len() * 99 / 100];
    println!(
        "{name}: {} calls, p50 {:?}, p99 {p99:?}",
        others.len(),
        others[others.len() / 2]
    );
    if let Some(longest) = loops.last() {
        println!(
            "{name}: {} loops got 500, p50 {:?}, the last after {longest:?}",
            loops.len(),
            loops[loops.len() / 2]
        );
    }
    p99
}
