//! From the exported functions of the component to the methods of [`Policy`]: what `#[patchbay_sdk::policy]` builds on.

use std::borrow::Cow;
use std::marker::PhantomData;

use crate::bindings::branch_route::exports::patchbay::policy::branch_route::{self, BranchVerdict};
use crate::bindings::event_route::exports::patchbay::policy::event_route;
use crate::bindings::failure_route::exports::patchbay::policy::failure_route::{
    self, FailureVerdict,
};
use crate::bindings::imports::patchbay::policy::types::ResponseLine;
use crate::bindings::init::exports::patchbay::policy::init;
use crate::bindings::onreply_route::exports::patchbay::policy::onreply_route::{
    self, ReplyVerdict,
};
use crate::bindings::request_route::exports::patchbay::policy::request_route::{
    self, RequestVerdict,
};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::hooks::{Policy, log};
use crate::request::Request;
use crate::response::Response;
use crate::verdict::{Action, Applied, Verdict};

/// Where the one policy object of a component instance is. Implemented by `#[patchbay_sdk::policy]`.
pub trait Instance: Policy + 'static {
    /// Calls `with` with the object; makes it first when `init` did not.
    fn with<T>(with: impl FnOnce(&Self) -> T) -> T;
    /// Keeps the object that `init` made.
    fn keep(policy: Self);
}

/// Implements the exported functions for a policy.
#[derive(Debug)]
pub struct Exported<P>(PhantomData<P>);

impl<P: Instance> init::Guest for Exported<P> {
    fn init() -> Result<(), String> {
        let mut policy = new::<P>();
        policy.init().map_err(|error| error.to_string())?;
        P::keep(policy);
        Ok(())
    }
}

impl<P: Instance> request_route::Guest for Exported<P> {
    fn request_route() -> RequestVerdict {
        P::with(run_request_route)
    }
}

impl<P: Instance> branch_route::Guest for Exported<P> {
    fn branch_route() -> BranchVerdict {
        P::with(run_branch_route)
    }
}

impl<P: Instance> onreply_route::Guest for Exported<P> {
    fn onreply_route() -> ReplyVerdict {
        P::with(run_onreply_route)
    }
}

impl<P: Instance> failure_route::Guest for Exported<P> {
    fn failure_route() -> FailureVerdict {
        P::with(run_failure_route)
    }
}

impl<P: Instance> event_route::Guest for Exported<P> {
    fn event_route(event: event_route::Event) {
        P::with(|policy| run_event_route(policy, event.into()));
    }
}

/// A new policy object, in an instance whose panics are logged.
pub fn new<P: Policy>() -> P {
    #[cfg(target_arch = "wasm32")]
    {
        // Those of code in other languages, linked to the policy. Without this call the linker has them run in every hook.
        wit_bindgen::rt::run_ctors_once();
        std::panic::set_hook(Box::new(|panic| crate::error!("{panic}")));
    }
    P::default()
}

/// Runs `request_route`.
pub fn run_request_route<P: Policy>(policy: &P) -> RequestVerdict {
    let mut verdict = policy.request_route(&mut Request::default());
    if verdict.as_ref().is_ok_and(Verdict::is_bare_forward) {
        std::mem::forget(verdict);
        return RequestVerdict::Relay;
    }
    match applied("request_route", &mut verdict) {
        Applied::Relay => RequestVerdict::Relay,
        Applied::Reply(status, reason) => RequestVerdict::Reply(ResponseLine {
            status,
            reason: lent(reason),
        }),
        Applied::Challenge => RequestVerdict::Challenge,
        Applied::Save => RequestVerdict::Save,
        Applied::Drop => RequestVerdict::Drop,
        Applied::Next => RequestVerdict::Next,
        Applied::Pass => not_allowed("request_route"),
    }
}

/// The phrase of a reply, on its way to the host.
fn lent(reason: Cow<'static, str>) -> String {
    if reason.is_empty() {
        return String::new();
    }
    crate::lent::lend(reason.into_owned())
}

/// Runs `branch_route`.
pub fn run_branch_route<P: Policy>(policy: &P) -> BranchVerdict {
    match passing("branch_route", policy.branch_route(&mut Request::default())) {
        Action::Pass => BranchVerdict::Pass,
        Action::Drop => BranchVerdict::Drop,
        _ => not_allowed("branch_route"),
    }
}

/// Runs `onreply_route`.
pub fn run_onreply_route<P: Policy>(policy: &P) -> ReplyVerdict {
    match passing(
        "onreply_route",
        policy.onreply_route(&mut Response::current()),
    ) {
        Action::Pass => ReplyVerdict::Pass,
        Action::Drop => ReplyVerdict::Drop,
        _ => not_allowed("onreply_route"),
    }
}

/// Runs `failure_route`.
pub fn run_failure_route<P: Policy>(policy: &P) -> FailureVerdict {
    let mut verdict = policy.failure_route(&mut Request::default(), &Response::current());
    match applied("failure_route", &mut verdict) {
        Applied::Relay => FailureVerdict::Relay,
        Applied::Reply(status, reason) => FailureVerdict::Reply(ResponseLine {
            status,
            reason: lent(reason),
        }),
        Applied::Pass => FailureVerdict::Pass,
        _ => not_allowed("failure_route"),
    }
}

/// Runs `event_route`.
pub fn run_event_route<P: Policy>(policy: &P, event: Event) {
    if let Err(error) = policy.event_route(event) {
        log("event_route", &error);
    }
}

/// What is left of a verdict when the router has been told what qualifies it.
#[inline]
fn applied(hook: &str, verdict: &mut Result<Verdict>) -> Applied {
    match verdict {
        Ok(verdict) => verdict.apply().unwrap_or_else(|error| refuse(hook, &error)),
        Err(error) => refuse(hook, error),
    }
}

/// An error of a hook that answers the caller.
#[cold]
fn refuse(hook: &str, error: &Error) -> Applied {
    log(hook, error);
    Applied::Reply(error.status(), "".into())
}

/// An error of a hook that the message passes all the same.
fn passing(hook: &str, verdict: Result<Verdict>) -> Action {
    verdict
        .map(|verdict| verdict.action)
        .unwrap_or_else(|error| {
            log(hook, &error);
            Action::Pass
        })
}

/// A verdict that this hook does not have is a mistake in the policy, which the router answers as any crash.
#[allow(clippy::panic, reason = "it ends this hook run and nothing else")]
fn not_allowed(hook: &str) -> ! {
    panic!("{hook} returned a verdict that it may not return")
}
