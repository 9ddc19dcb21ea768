//! A tenant's policy, or one of a chain: what it does is in its settings.
//!
//! | setting | does |
//! | --- | --- |
//! | `mark` | what it writes: into requests (`X-Tenant`), responses (`X-Reply`) and branches (`X-Branch`) |
//! | `refuses` | makes `init` refuse this text |

use patchbay_sdk::prelude::*;
use patchbay_sdk::{Event, auth, counters, settings, timers};

#[derive(Default)]
pub struct Tenant {
    mark: String,
}

#[patchbay_sdk::policy]
impl Policy for Tenant {
    fn init(&mut self) -> Result<()> {
        if let Some(text) = settings::get("refuses") {
            return Err(Error::new(text));
        }
        self.mark = settings::get("mark").unwrap_or_default();
        Ok(())
    }

    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        if request.is_in_dialog() {
            return Ok(forward().header("X-Tenant", self.mark.clone()).on_reply());
        }
        match request.method() {
            Method::Ack => Ok(drop()),
            Method::Register if auth::is_required() && !auth::is_verified() => Ok(challenge()),
            Method::Register => Ok(save()),
            Method::Options if request.has_header("X-Timer") => {
                timers::set("t", Duration::from_millis(20))?;
                Ok(reply(200))
            }
            Method::Options => Ok(reply(200).header("X-Tenant", self.mark.clone())),
            _ => Ok(relay(location::lookup(request.uri())?)
                .header("X-Tenant", self.mark.clone())
                .on_branch()
                .on_reply()
                .on_failure()),
        }
    }

    fn branch_route(&self, branch: &mut Request) -> Result<Verdict> {
        let before = branch.header("X-Branch").unwrap_or_default();
        branch.set_header("X-Branch", &format!("{before}{};", self.mark))?;
        Ok(pass())
    }

    fn onreply_route(&self, response: &mut Response) -> Result<Verdict> {
        let before = response.header("X-Reply").unwrap_or_default();
        response.set_header("X-Reply", &format!("{before}{};", self.mark))?;
        Ok(pass())
    }

    fn failure_route(&self, _request: &mut Request, response: &Response) -> Result<Verdict> {
        match settings::get("voicemail") {
            Some(voicemail) if response.status() == 486 => Ok(relay(Uri::new(voicemail)).on_reply()),
            _ => Ok(pass()),
        }
    }

    fn event_route(&self, event: Event) -> Result<()> {
        match event {
            Event::RegistrationAdded(_) => counters::increment(&format!("added-{}", self.mark)),
            Event::Timer(_) => counters::increment(&format!("timer-{}", self.mark)),
            _ => Ok(()),
        }
    }
}
