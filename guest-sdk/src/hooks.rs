//! The trait of a policy, and what runs around its methods.

use crate::error::{Error, Result};
use crate::event::Event;
use crate::request::Request;
use crate::response::Response;
use crate::verdict::{Verdict, next, pass};
use crate::{debug, error};

/// A routing policy. Write the hooks you need inside `#[patchbay_sdk::policy] impl Policy for YourType`.
///
/// The router keeps several instances per worker, uses one for many messages and throws it away when a hook fails: fields are
/// for what [`init`](Policy::init) reads from the settings, or for a cache. What belongs to a call is kept with
/// [`transaction::set_variable`](crate::transaction::set_variable).
///
/// An [`Error`] returned from `request_route` and `failure_route` becomes a reply with [`Error::status`]; from the other hooks
/// the message goes on as it is. A panic costs this one request a 500 (or the default behaviour) and is logged with its message.
pub trait Policy: Default {
    /// Runs in every instance before its first hook, to read the settings. No message is current.
    ///
    /// # Errors
    /// An error means that this version is not activated; the operator sees its text.
    fn init(&mut self) -> Result<()> {
        Ok(())
    }

    /// Runs for each new request, outside and inside dialogs, but not for CANCEL and not for retransmissions.
    ///
    /// # Errors
    /// The caller gets a reply with the error's status.
    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        let _: &mut Request = request;
        Ok(next())
    }

    /// Runs for each branch before it is sent, when armed with [`Verdict::on_branch`].
    ///
    /// # Errors
    /// The branch is sent as it is.
    fn branch_route(&self, request: &mut Request) -> Result<Verdict> {
        let _: &mut Request = request;
        Ok(pass())
    }

    /// Runs for each response but 100, when armed with [`Verdict::on_reply`].
    ///
    /// # Errors
    /// The response is forwarded as it is.
    fn onreply_route(&self, response: &mut Response) -> Result<Verdict> {
        let _: &mut Response = response;
        Ok(pass())
    }

    /// Runs when every target has failed, with the best response, when armed with [`Verdict::on_failure`]. Not after a CANCEL.
    ///
    /// # Errors
    /// The caller gets a reply with the error's status.
    fn failure_route(&self, request: &mut Request, response: &Response) -> Result<Verdict> {
        let _: (&mut Request, &Response) = (request, response);
        Ok(pass())
    }

    /// Runs for what happens outside of transactions. No message is current.
    ///
    /// # Errors
    /// The error is logged.
    fn event_route(&self, event: Event) -> Result<()> {
        let _: Event = event;
        Ok(())
    }
}

/// Logs an error that ends a hook: at level debug when it is the caller's, so that a wrong number is no alarm.
pub(crate) fn log(hook: &str, problem: &Error) {
    if problem.status() < 500 {
        debug!("{hook}: {problem}");
    } else {
        error!("{hook}: {problem}");
    }
}
