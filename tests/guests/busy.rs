//! Computes for a while before it replies: longer than a short `hook_deadline` allows.

use patchbay_sdk::prelude::*;

/// How much it computes.
const ROUNDS: u64 = 60_000_000;
/// What it says then.
const REASON: &str = "Computed";

#[derive(Default)]
pub struct Busy;

#[patchbay_sdk::policy]
impl Policy for Busy {
    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        if *request.method() == Method::Ack {
            return Ok(drop());
        }
        counters::increment("begun")?;
        let mut sum: u64 = 1;
        for round in 0..ROUNDS {
            sum = std::hint::black_box(sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round));
        }
        counters::increment("computed")?;
        Ok(reply(486).reason(REASON))
    }
}
