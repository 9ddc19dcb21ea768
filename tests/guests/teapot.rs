//! Answers every request with 418.

use patchbay_sdk::prelude::*;

/// It does one thing.
#[derive(Default)]
pub struct Teapot;

#[patchbay_sdk::policy]
impl Policy for Teapot {
    fn request_route(&self, _request: &mut Request) -> Result<Verdict> {
        Ok(reply(418).reason("I'm a Teapot"))
    }
}
