//! Screening of unwanted calls, and voicemail when the callee is busy: the same policy as in the other `screening-*` folders.

use patchbay_sdk::prelude::*;

/// What `init` reads from the settings.
#[derive(Debug, Default)]
pub struct Screening {
    blocked: Vec<String>,
}

#[patchbay_sdk::policy]
impl Policy for Screening {
    fn init(&mut self) -> Result<()> {
        let blocked = settings::get("blocked").unwrap_or_default();
        self.blocked = blocked.split_whitespace().map(str::to_owned).collect();
        match settings::get("voicemail") {
            Some(uri) if !uri.starts_with("sip:") && !uri.starts_with("sips:") => {
                Err(Error::new("voicemail is no SIP URI"))
            }
            _ => Ok(()),
        }
    }

    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        if request.is_in_dialog() {
            return Ok(forward());
        }
        if *request.method() == Method::Ack || is_scanner(request) {
            return Ok(drop());
        }
        if self.is_blocked(request.from_uri()) {
            return Ok(reply(603));
        }
        match (request.method(), request.uri().user()) {
            (Method::Register, _) if auth::is_required() && !auth::is_verified() => Ok(challenge()),
            (Method::Register, _) => Ok(save()),
            (Method::Options, None) => Ok(reply(200)),
            (_, None) => Ok(reply(405)),
            // An unknown user becomes 404, a known one without a phone 480.
            _ => Ok(relay(location::lookup(request.uri())?)
                .on_reply()
                .on_failure()),
        }
    }

    fn onreply_route(&self, response: &mut Response) -> Result<Verdict> {
        // What the operator does not grant is left out.
        if let Err(refused) = response.remove_header("Server") {
            debug!("{refused}");
        }
        if let Err(refused) = response.set_header("X-Screened", "yes") {
            debug!("{refused}");
        }
        Ok(pass())
    }

    fn failure_route(&self, _request: &mut Request, response: &Response) -> Result<Verdict> {
        match (response.status(), settings::get("voicemail")) {
            (486, Some(voicemail)) => Ok(relay(voicemail).on_reply()),
            _ => Ok(pass()),
        }
    }
}

impl Screening {
    fn is_blocked(&self, caller: &Uri) -> bool {
        self.blocked
            .iter()
            .any(|word| caller.as_str().contains(word.as_str()))
    }
}

fn is_scanner(request: &Request) -> bool {
    let agent = request.header("User-Agent");
    agent.is_some_and(|agent| agent.contains("friendly-scanner"))
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
    fn a_wanted_call_to_a_busy_phone_goes_to_voicemail() {
        let call = Scenario::new(Screening::default())
            .registered("sip:bob@example.com", "sip:bob@192.0.2.2")
            .setting("voicemail", "sip:voicemail@192.0.2.9")
            .request(INVITE);
        assert_eq!(call.targets(), ["sip:bob@192.0.2.2"]);
        assert_eq!(call.failure(486).targets(), ["sip:voicemail@192.0.2.9"]);
        assert_eq!(call.failure(603).decision(), Decision::Pass);
    }
}
