//! Counts its requests in the key-value store and says the number.

use patchbay_sdk::keyvalue;
use patchbay_sdk::prelude::*;

#[derive(Default)]
pub struct Values;

#[patchbay_sdk::policy]
impl Policy for Values {
    fn request_route(&self, _request: &mut Request) -> Result<Verdict> {
        let number = keyvalue::increment("count/requests", 1)?;
        Ok(reply(200).header("X-Tenant", number.to_string()))
    }
}
