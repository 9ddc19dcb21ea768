//! Asks the host for what changes from run to run, and lets it be seen in messages; one rule is for one user.

use patchbay_sdk::prelude::*;

/// Whom a version with another rule refuses.
const REFUSED: &str = "nobody-at-all";
/// Whom a version asks about besides the one who is called.
const ALSO_ASKED: &str = "";

/// Relays to the location service.
#[derive(Default)]
pub struct Ruled;

#[patchbay_sdk::policy]
impl Policy for Ruled {
    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        if request.is_in_dialog() {
            return Ok(forward());
        }
        match request.method() {
            Method::Register => return Ok(save()),
            Method::Ack => return Ok(drop()),
            _ => {}
        }
        counters::increment("calls")?;
        if request.uri().user().as_deref() == Some(REFUSED) {
            return Ok(reply(403).reason("Refused").header("X-Refused", REFUSED));
        }
        if !ALSO_ASKED.is_empty() {
            // The answer does not matter.
            let _ = location::lookup(ALSO_ASKED);
        }
        let number = random::u64();
        request.set_header("X-Random", &number.to_string())?;
        request.set_header("X-Second", &clock::unix().as_millis().to_string())?;
        transaction::set_variable("number", &number.to_string())?;
        timers::set("tick", Duration::from_secs(3600))?;
        let contacts = location::lookup(request.uri())?;
        Ok(relay(contacts)
            .no_answer(Duration::from_secs(20))
            .header("X-Setting", settings::get("word").unwrap_or_default())
            .on_reply()
            .on_failure())
    }

    fn onreply_route(&self, response: &mut Response) -> Result<Verdict> {
        response.set_header("X-Number", &transaction::variable("number").unwrap_or_default())?;
        Ok(pass())
    }

    fn failure_route(&self, _request: &mut Request, response: &Response) -> Result<Verdict> {
        match response.status() {
            486 => Ok(reply(480).reason("Later")),
            _ => Ok(pass()),
        }
    }

    fn event_route(&self, _event: Event) -> Result<()> {
        timers::cancel("tick");
        Ok(())
    }
}
