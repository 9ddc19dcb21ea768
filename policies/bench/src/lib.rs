//! The routing of the side-by-side benchmark with other SIP servers.
//!
//! Users whose name starts with `a` and a digit register with digest authentication, the others without; OPTIONS without a
//! user is answered; everything else is looked up and relayed, and on 486, 480 or 408 goes to the user's voicemail.

use patchbay_sdk::prelude::*;

/// Where the voicemail of every user is.
const VOICEMAIL: &str = "127.0.0.3:7080";

/// The benchmark's routing. It has no settings.
#[derive(Debug, Default)]
pub struct Bench;

#[patchbay_sdk::policy]
impl Policy for Bench {
    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        if request.is_in_dialog() {
            return Ok(forward());
        }
        match request.method() {
            Method::Register => Ok(register(request)),
            Method::Ack => Ok(drop()),
            Method::Options if request.uri().user().is_none() => Ok(reply(200)),
            Method::Invite => Ok(relay(location::lookup(request.uri())?).on_failure()),
            _ => Ok(relay(location::lookup(request.uri())?)),
        }
    }

    fn failure_route(&self, request: &mut Request, response: &Response) -> Result<Verdict> {
        if !matches!(response.status(), 408 | 480 | 486) {
            return Ok(pass());
        }
        let user = request.uri().user().unwrap_or_default();
        Ok(relay(format!("sip:vm-{user}@{VOICEMAIL}")))
    }
}

/// Challenges those who need a password.
fn register(request: &Request) -> Verdict {
    if needs_password(request.from_uri()) && !auth::is_verified() {
        return challenge();
    }
    save()
}

/// Whether the user is an `a` and a digit, and more.
fn needs_password(from: &Uri) -> bool {
    let user = from.user().unwrap_or_default();
    matches!(user.as_bytes(), [b'a', b'0'..=b'9', ..])
}
