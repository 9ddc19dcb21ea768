//! The first policy of a chain: refuses what is marked as unwanted, marks the rest, and leaves it to the next one.

use patchbay_sdk::clock;
use patchbay_sdk::prelude::*;

#[derive(Default)]
pub struct Screening;

#[patchbay_sdk::policy]
impl Policy for Screening {
    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        if request.has_header("X-Spam") {
            return Ok(reply(603));
        }
        // Longer than a guest may run without a pause for others.
        if request.has_header("X-Slow") {
            let end = clock::monotonic() + Duration::from_millis(5);
            while clock::monotonic() < end {}
        }
        request.set_header("X-Screened", "yes")?;
        transaction::set_variable("screened", "yes")?;
        Ok(next().on_branch().on_reply().on_failure())
    }

    fn branch_route(&self, branch: &mut Request) -> Result<Verdict> {
        branch.set_header("X-Branch", "screening;")?;
        Ok(pass())
    }

    fn onreply_route(&self, response: &mut Response) -> Result<Verdict> {
        response.set_header("X-Reply", "screening;")?;
        Ok(pass())
    }

    fn failure_route(&self, _request: &mut Request, response: &Response) -> Result<Verdict> {
        match response.status() {
            480 => Ok(reply(404).reason("Screened")),
            _ => Ok(pass()),
        }
    }
}
