//! Says its version in every request and response, also inside of dialogs; the version `bad` fails on every INVITE
//! outside of one; `saving` decides what is not possible for it, and `answering` what is not for an ACK.

use patchbay_sdk::prelude::*;

const VERSION: &str = "one";

/// Relays to the location service.
#[derive(Default)]
pub struct Rollout;

#[patchbay_sdk::policy]
impl Policy for Rollout {
    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        if request.is_in_dialog() {
            return Ok(forward().header("X-Version", VERSION));
        }
        match request.method() {
            Method::Register => Ok(save()),
            Method::Ack if VERSION == "answering" => Ok(reply(403)),
            Method::Ack => Ok(drop()),
            Method::Invite if VERSION == "bad" => panic!("a bad version"),
            Method::Invite if VERSION == "saving" => Ok(save()),
            _ => Ok(relay(location::lookup(request.uri())?).header("X-Version", VERSION).on_reply()),
        }
    }

    fn onreply_route(&self, response: &mut Response) -> Result<Verdict> {
        response.set_header("X-Version", VERSION)?;
        Ok(pass())
    }
}
