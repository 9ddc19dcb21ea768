//! Calls to a busy phone go to voicemail: a whole policy, as the README shows it.

use patchbay_sdk::prelude::*;

/// Relays to where the callee is registered, and to voicemail when that is busy.
#[derive(Debug, Default)]
pub struct VoicemailOnBusy;

#[patchbay_sdk::policy]
impl Policy for VoicemailOnBusy {
    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        if request.is_in_dialog() {
            return Ok(forward());
        }
        match request.method() {
            Method::Register => Ok(save()),
            Method::Ack => Ok(drop()),
            _ => Ok(relay(location::lookup(request.uri())?).on_failure()),
        }
    }

    fn failure_route(&self, _request: &mut Request, response: &Response) -> Result<Verdict> {
        match (response.status(), settings::get("voicemail")) {
            (486, Some(voicemail)) => Ok(relay(voicemail)),
            _ => Ok(pass()),
        }
    }
}
