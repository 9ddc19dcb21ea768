//! Reads three headers, makes one edit, looks up who is called and relays there.

use patchbay_sdk::prelude::*;

/// It has no settings.
#[derive(Default)]
pub struct ThreeReadsAndLookup;

#[patchbay_sdk::policy]
impl Policy for ThreeReadsAndLookup {
    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        let known = ["From", "User-Agent", "Supported"].map(|name| request.header(name));
        if known.iter().all(Option::is_some) {
            request.set_header("X-Known", "yes")?;
        }
        Ok(relay(location::lookup(request.uri())?))
    }
}
