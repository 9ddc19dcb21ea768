//! Has no `request-route`, so that nobody decides what becomes of a request.

use patchbay_sdk::prelude::*;

/// It has no settings.
#[derive(Default)]
pub struct Undecided;

#[patchbay_sdk::policy]
impl Policy for Undecided {
    fn failure_route(&self, _: &mut Request, _: &Response) -> Result<Verdict> {
        Ok(pass())
    }
}
