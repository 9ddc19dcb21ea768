//! Marks answers and branches, counts, watches registrations and sets a timer: for the scenarios in `tests/policy-scenarios`.

use patchbay_sdk::prelude::*;
use patchbay_sdk::{Event, counters, timers};

#[derive(Default)]
pub struct Watcher;

#[patchbay_sdk::policy]
impl Policy for Watcher {
    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        if request.is_in_dialog() {
            return Ok(forward());
        }
        match request.method() {
            Method::Register => Ok(save()),
            Method::Ack => Ok(drop()),
            Method::Invite => {
                counters::increment("calls")?;
                timers::set("call", Duration::from_secs(60))?;
                Ok(relay(location::lookup(request.uri())?).on_branch().on_reply())
            }
            _ => Ok(relay(location::lookup(request.uri())?)),
        }
    }

    fn branch_route(&self, branch: &mut Request) -> Result<Verdict> {
        branch.set_header("X-Branch", "seen")?;
        Ok(pass())
    }

    fn onreply_route(&self, response: &mut Response) -> Result<Verdict> {
        if response.status() == 183 {
            return Ok(drop());
        }
        response.set_header("X-Reply", "seen")?;
        Ok(pass())
    }

    fn event_route(&self, event: Event) -> Result<()> {
        match event {
            Event::Timer(_) => counters::increment("timers"),
            Event::RegistrationAdded(_) => counters::increment("added"),
            Event::RegistrationExpired(_) => counters::increment("expired"),
            _ => Ok(()),
        }
    }
}
