//! Reads three headers, makes one edit, returns a verdict: what the cost of a hook is measured with.

use patchbay_sdk::prelude::*;

/// It has no settings.
#[derive(Default)]
pub struct ThreeReads;

#[patchbay_sdk::policy]
impl Policy for ThreeReads {
    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        let known = ["From", "User-Agent", "Supported"].map(|name| request.header(name));
        if known.iter().all(Option::is_some) {
            request.set_header("X-Known", "yes")?;
        }
        Ok(forward())
    }
}
