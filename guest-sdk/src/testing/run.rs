//! A hook that has run, and what comes after it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::outcome::{Armed, Decision, LogLine, Qualities};
use super::router::{World, run_in};
use super::text;
use crate::bindings::branch_route::exports::patchbay::policy::branch_route::BranchVerdict;
use crate::bindings::failure_route::exports::patchbay::policy::failure_route::FailureVerdict;
use crate::bindings::onreply_route::exports::patchbay::policy::onreply_route::ReplyVerdict;
use crate::bindings::request_route::exports::patchbay::policy::request_route::RequestVerdict;
use crate::export;
use crate::hooks::Policy;

/// A hook that has run: what it decided. The methods named like events take the transaction further and leave this run as it
/// is, so that one request can be followed in several directions.
#[derive(Debug)]
pub struct Run<P> {
    policy: Rc<RefCell<P>>,
    decision: Decision,
    world: World,
}

impl<P: Policy> Run<P> {
    pub(super) fn request_route(policy: Rc<RefCell<P>>, world: World) -> Run<P> {
        Run::start(policy, world, |policy| {
            match export::run_request_route(policy) {
                RequestVerdict::Relay => Decision::Relay,
                RequestVerdict::Reply(line) => Decision::Reply(line.status),
                RequestVerdict::Challenge => Decision::Challenge,
                RequestVerdict::Save => Decision::Save,
                RequestVerdict::Drop => Decision::Drop,
                RequestVerdict::Next => Decision::Next,
            }
        })
    }

    /// Every target failed, the best response has this status: runs `failure_route`.
    pub fn failure(&self, status: u16) -> Run<P> {
        self.failed(text::response(self.sent(), status))
    }

    /// Every target failed, this is the best response, as text: runs `failure_route`.
    pub fn failure_response(&self, response: &str) -> Run<P> {
        self.failed(text::message(response))
    }

    fn failed(&self, response: patchbay_message::Draft) -> Run<P> {
        assert!(
            self.armed().failure_route,
            "failure_route is not armed: use .on_failure()"
        );
        let mut world = self.following();
        world.response = Some(response);
        Run::start(
            Rc::clone(&self.policy),
            world,
            |policy| match export::run_failure_route(policy) {
                FailureVerdict::Pass => Decision::Pass,
                FailureVerdict::Reply(line) => Decision::Reply(line.status),
                FailureVerdict::Relay => Decision::Relay,
            },
        )
        .count_round()
    }

    /// A response with this status came: runs `onreply_route`.
    pub fn response(&self, status: u16) -> Run<P> {
        assert!(
            self.armed().onreply_route,
            "onreply_route is not armed: use .on_reply()"
        );
        let mut world = self.following();
        world.response = Some(text::response(self.sent(), status));
        world.response_is_current = true;
        Run::start(
            Rc::clone(&self.policy),
            world,
            |policy| match export::run_onreply_route(policy) {
                ReplyVerdict::Pass => Decision::Pass,
                ReplyVerdict::Drop => Decision::Drop,
            },
        )
    }

    /// The branch of the target with this number, from 0, is about to be sent: runs `branch_route`.
    pub fn branch(&self, index: usize) -> Run<P> {
        assert!(
            self.armed().branch_route,
            "branch_route is not armed: use .on_branch()"
        );
        let targets = self.targets();
        let target = targets
            .get(index)
            .unwrap_or_else(|| panic!("there are only {} targets", targets.len()));
        let mut world = self.following();
        if let Some(request) = &mut world.request {
            request
                .set_request_uri(target.as_bytes())
                .unwrap_or_else(|error| panic!("{target:?}: {error}"));
        }
        Run::start(
            Rc::clone(&self.policy),
            world,
            |policy| match export::run_branch_route(policy) {
                BranchVerdict::Pass => Decision::Pass,
                BranchVerdict::Drop => Decision::Drop,
            },
        )
    }

    fn start(policy: Rc<RefCell<P>>, world: World, hook: impl FnOnce(&P) -> Decision) -> Run<P> {
        let (decision, world) = run_in(world, || hook(&*policy.borrow()));
        Run {
            policy,
            decision,
            world,
        }
    }

    /// The same transaction, ready for its next hook.
    fn following(&self) -> World {
        World {
            qualities: Qualities::default(),
            lookups: Vec::new(),
            response_is_current: false,
            ..self.world.clone()
        }
    }

    fn count_round(mut self) -> Run<P> {
        self.world.failure_round += u32::from(self.decision == Decision::Relay);
        self
    }
}

impl<P> Run<P> {
    /// What the hook decided.
    pub fn decision(&self) -> Decision {
        self.decision.clone()
    }

    /// The URIs of the targets, in the order they were added.
    pub fn targets(&self) -> Vec<String> {
        self.target_groups().concat()
    }

    /// The URIs of the targets, by the groups that are tried one after the other. (The router sorts by q inside a group.)
    pub fn target_groups(&self) -> Vec<Vec<String>> {
        let groups = self.world.qualities.groups.iter();
        groups
            .map(|group| group.iter().map(|target| target.uri.clone()).collect())
            .collect()
    }

    /// Where the target with this number is sent instead of where its URI says.
    pub fn next_hop(&self, index: usize) -> Option<String> {
        let target = self.world.qualities.groups.iter().flatten().nth(index);
        target.and_then(|target| target.next_hop.clone())
    }

    /// The hooks that the verdict armed.
    pub fn armed(&self) -> Armed {
        self.world.qualities.armed
    }

    /// How long the targets of this verdict may ring.
    pub fn no_answer(&self) -> Option<Duration> {
        self.world.qualities.no_answer
    }

    /// Whether Record-Route was turned off or on; `None` when it was left alone.
    pub fn record_route(&self) -> Option<bool> {
        self.world.qualities.record_route
    }

    /// A parameter that the router's Record-Route was given.
    pub fn record_route_parameter(&self, name: &str) -> Option<&str> {
        find(&self.world.qualities.record_route_parameters, name)
    }

    /// A header of the message after the hook: of the request, after `onreply_route` of the response.
    pub fn header(&self, name: &str) -> Option<String> {
        self.world.message()?.header(name).map(lossy)
    }

    /// The Request-URI after the hook.
    pub fn uri(&self) -> String {
        lossy(self.sent().request_uri())
    }

    /// A header of the reply that the hook decided on.
    pub fn reply_header(&self, name: &str) -> Option<&str> {
        find(&self.world.qualities.reply_headers, name)
    }

    /// The body of the reply that the hook decided on: content type and bytes.
    pub fn reply_body(&self) -> Option<(&str, &[u8])> {
        self.world
            .qualities
            .reply_body
            .as_ref()
            .map(|(content_type, body)| (content_type.as_str(), body.as_slice()))
    }

    /// A variable of the transaction.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.world
            .variables
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// What a counter of the policy was raised by in this transaction.
    pub fn counter(&self, name: &str) -> u64 {
        self.world
            .counters
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value)
            .sum()
    }

    /// The delay of a timer that was set in this transaction.
    pub fn timer(&self, name: &str) -> Option<Duration> {
        self.world
            .timers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, delay)| *delay)
    }

    /// The requests over HTTP of this transaction: methods and URLs.
    pub fn http_requests(&self) -> Vec<(&str, &str)> {
        let requests = self.world.http_requests.iter();
        requests
            .map(|request| (request.method.as_str(), request.url.as_str()))
            .collect()
    }

    /// A value of the key-value store after the hook.
    pub fn keyvalue(&self, key: &str) -> Option<&[u8]> {
        self.world.router.values.get(key).map(Vec::as_slice)
    }

    /// The lines that were logged in this transaction.
    pub fn log(&self) -> &[LogLine] {
        &self.world.log
    }

    fn sent(&self) -> &patchbay_message::Draft {
        self.world
            .request
            .as_ref()
            .unwrap_or_else(|| panic!("no message is current"))
    }
}

/// The value of a header or parameter; their names have no case.
fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
