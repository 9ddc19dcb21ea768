//! Says its version in every request and every response that passes through it.

use patchbay_sdk::prelude::*;

const VERSION: &str = "one";

/// Relays to the location service.
#[derive(Default)]
pub struct Versioned;

#[patchbay_sdk::policy]
impl Policy for Versioned {
    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        if request.is_in_dialog() {
            return Ok(forward());
        }
        match request.method() {
            Method::Register => Ok(save()),
            Method::Ack => Ok(drop()),
            _ => Ok(relay(location::lookup(request.uri())?).header("X-Version", VERSION).on_reply()),
        }
    }

    fn onreply_route(&self, response: &mut Response) -> Result<Verdict> {
        response.set_header("X-Version", VERSION)?;
        Ok(pass())
    }
}
