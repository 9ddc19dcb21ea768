//! Sends every request back to the router itself.

use patchbay_sdk::prelude::*;

#[derive(Default)]
pub struct Looping;

#[patchbay_sdk::policy]
impl Policy for Looping {
    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        if *request.method() == Method::Ack {
            return Ok(drop());
        }
        Ok(relay(Target::new("sip:somebody@198.51.100.1")))
    }
}
