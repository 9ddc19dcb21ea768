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

#[cfg(test)]
mod tests {
    use super::*;
    use patchbay_sdk::testing::{Decision, Scenario};

    fn request(method: &str, uri: &str, from: &str) -> String {
        format!(
            "{method} {uri} SIP/2.0
            Via: SIP/2.0/UDP 127.0.0.2:7060;branch=z9hG4bK1
            Max-Forwards: 70
            From: <sip:{from}@bench.test>;tag=1
            To: <sip:{from}@bench.test>
            Call-ID: 1@127.0.0.2
            CSeq: 1 {method}"
        )
    }

    fn bench() -> Scenario<Bench> {
        Scenario::new(Bench)
            .domain("bench.test")
            .registered("sip:u7@bench.test", "sip:u7@127.0.0.3:6080")
    }

    #[test]
    fn users_with_a_password_are_challenged_and_the_others_saved() {
        let register = |user| request("REGISTER", "sip:bench.test", user);
        assert_eq!(
            bench().request(&register("a12")).decision(),
            Decision::Challenge
        );
        assert_eq!(
            bench()
                .credentials("a12@bench.test")
                .request(&register("a12"))
                .decision(),
            Decision::Save
        );
        assert_eq!(bench().request(&register("u7")).decision(), Decision::Save);
        assert_eq!(
            bench().request(&register("anna")).decision(),
            Decision::Save
        );
    }

    #[test]
    fn options_without_a_user_is_answered() {
        assert_eq!(
            bench()
                .request(&request("OPTIONS", "sip:127.0.0.1:5060", "u1"))
                .decision(),
            Decision::Reply(200)
        );
    }

    #[test]
    fn a_busy_user_has_voicemail() {
        let call = bench().request(&request("INVITE", "sip:u7@bench.test", "u1"));
        assert_eq!(call.targets(), ["sip:u7@127.0.0.3:6080"]);
        assert_eq!(call.failure(486).targets(), ["sip:vm-u7@127.0.0.3:7080"]);
        assert_eq!(call.failure(500).decision(), Decision::Pass);
        assert_eq!(
            bench()
                .request(&request("INVITE", "sip:u8@bench.test", "u1"))
                .decision(),
            Decision::Reply(404)
        );
    }
}
