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

#[cfg(test)]
mod tests {
    use super::*;
    use patchbay_sdk::testing::{Decision, Scenario};

    const INVITE: &str = "INVITE sip:bob@example.com SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1
        Max-Forwards: 70
        From: <sip:alice@example.com>;tag=1
        To: <sip:bob@example.com>
        Call-ID: 1@192.0.2.1
        CSeq: 1 INVITE";

    #[test]
    fn a_busy_phone_goes_to_voicemail() {
        let call = Scenario::new(VoicemailOnBusy)
            .registered("sip:bob@example.com", "sip:bob@192.0.2.2")
            .setting("voicemail", "sip:voicemail@192.0.2.9")
            .request(INVITE);
        assert_eq!(call.targets(), ["sip:bob@192.0.2.2"]);
        assert_eq!(call.failure(486).targets(), ["sip:voicemail@192.0.2.9"]);
        assert_eq!(call.failure(603).decision(), Decision::Pass);
    }
}
