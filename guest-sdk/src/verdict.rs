//! What a hook decides.

use std::borrow::Cow;
use std::time::Duration;

use crate::duration::as_milliseconds;
use crate::error::Result;
use crate::host;
use crate::host::transaction::Hooks;
use crate::targets::Targets;

/// What a hook decides, made with [`relay`], [`forward`], [`reply`], [`challenge`], [`save`], [`drop`], [`pass`] or [`next`] and
/// qualified with the methods here. Nothing happens before the hook returns it.
///
/// | hook | may return |
/// | --- | --- |
/// | `request_route` | `relay`, `forward`, `reply`, `challenge`, `save`, `drop`, `next` (for an ACK only `relay`, `forward`, `drop`) |
/// | `branch_route`, `onreply_route` | `pass`, `drop` |
/// | `failure_route` | `pass`, `relay`, `reply` |
///
/// Another verdict is a mistake of the policy: the router logs it and does what it does for a policy that crashed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a verdict takes effect when the hook returns it"]
pub struct Verdict {
    pub(crate) action: Action,
    armed: Hooks,
    /// In a box: few verdicts have any of it, and each is made, read and dropped.
    details: Option<Box<Details>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Details {
    no_answer: Option<Duration>,
    record_route: Option<bool>,
    record_route_parameters: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    body: Option<(Cow<'static, str>, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Relay(Targets),
    Forward,
    Reply(u16, Cow<'static, str>),
    Challenge,
    Save,
    Drop,
    Pass,
    Next,
}

/// What is left of an action when the router has been told what qualifies it.
pub(crate) enum Applied {
    /// To the targets that were added, or on.
    Relay,
    Reply(u16, Cow<'static, str>),
    Challenge,
    Save,
    Drop,
    Pass,
    Next,
}

/// Relays the request to these targets: `relay("sip:bob@10.0.0.2")`, `relay(location::lookup(request.uri())?)`.
///
/// When there is nothing to try, because a known user has no contact at the moment, it replies `480 Temporarily Unavailable`.
pub fn relay(targets: impl Into<Targets>) -> Verdict {
    Verdict::new(Action::Relay(targets.into()))
}

/// Sends the request on to where its Route headers or its Request-URI say. This is how requests inside a dialog are routed.
pub fn forward() -> Verdict {
    Verdict::new(Action::Forward)
}

/// Answers with this status, 200 to 699, and its standard phrase.
pub fn reply(status: u16) -> Verdict {
    Verdict::new(Action::Reply(status, Cow::Borrowed("")))
}

/// Asks for credentials: 401 for a REGISTER, 407 for everything else.
pub fn challenge() -> Verdict {
    Verdict::new(Action::Challenge)
}

/// REGISTER: updates the location service and answers.
pub fn save() -> Verdict {
    Verdict::new(Action::Save)
}

/// Says nothing to a request; in `branch_route` does not start the branch, in `onreply_route` does not forward the provisional
/// response.
pub fn drop() -> Verdict {
    Verdict::new(Action::Drop)
}

/// `branch_route`, `onreply_route`: lets it through with the edits made. `failure_route`: the caller gets the best response.
pub fn pass() -> Verdict {
    Verdict::new(Action::Pass)
}

/// Leaves the decision to the next policy of the chain, which finds the request as it was left, with the targets and variables so far.
/// What this policy arms (`next().on_reply()`) runs here as well, before the hooks of those behind it.
///
/// From the last policy of a chain, or from one that has no chain, it is no verdict: the caller gets 500.
pub fn next() -> Verdict {
    Verdict::new(Action::Next)
}

impl Verdict {
    fn new(action: Action) -> Verdict {
        Verdict {
            action,
            armed: Hooks::empty(),
            details: None,
        }
    }

    fn details(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    /// Runs [`failure_route`](crate::Policy::failure_route) when every target has failed.
    pub fn on_failure(mut self) -> Verdict {
        self.armed |= Hooks::FAILURE_ROUTE;
        self
    }

    /// Runs [`onreply_route`](crate::Policy::onreply_route) for each response but 100.
    pub fn on_reply(mut self) -> Verdict {
        self.armed |= Hooks::ONREPLY_ROUTE;
        self
    }

    /// Runs [`branch_route`](crate::Policy::branch_route) for each branch before it is sent.
    pub fn on_branch(mut self) -> Verdict {
        self.armed |= Hooks::BRANCH_ROUTE;
        self
    }

    /// Ends each branch with 408 when nobody has answered after that time. A target may have a time of its own.
    pub fn no_answer(mut self, after: Duration) -> Verdict {
        self.details().no_answer = Some(after);
        self
    }

    /// Adds targets to those of [`relay`] that are tried when every one before has failed.
    pub fn then(mut self, targets: impl Into<Targets>) -> Verdict {
        if let Action::Relay(before) = self.action {
            self.action = Action::Relay(before.then(targets));
        }
        self
    }

    /// Turns Record-Route off, or on again. It is on for requests that make a dialog.
    pub fn record_route(mut self, enabled: bool) -> Verdict {
        self.details().record_route = Some(enabled);
        self
    }

    /// Adds a parameter to the router's Record-Route; in later requests of the dialog
    /// [`transaction::record_route_parameter`](crate::transaction::record_route_parameter) gives it back.
    pub fn record_route_parameter(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Verdict {
        self.details()
            .record_route_parameters
            .push((name.into(), value.into()));
        self
    }

    /// Adds a header: to the response of a [`reply`], to the request of a [`relay`], [`forward`] or [`next`].
    pub fn header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Verdict {
        self.details().headers.push((name.into(), value.into()));
        self
    }

    /// The body of a [`reply`].
    pub fn body(
        mut self,
        content_type: impl Into<Cow<'static, str>>,
        body: impl Into<Vec<u8>>,
    ) -> Verdict {
        self.details().body = Some((content_type.into(), body.into()));
        self
    }

    /// Another phrase than the standard one, for a [`reply`].
    pub fn reason(mut self, phrase: impl Into<Cow<'static, str>>) -> Verdict {
        if let Action::Reply(_, reason) = &mut self.action {
            *reason = phrase.into();
        }
        self
    }

    /// [`forward`] and nothing more: nothing has to be told, and no memory given back.
    #[inline]
    pub(crate) fn is_bare_forward(&self) -> bool {
        matches!(self.action, Action::Forward) && self.armed.is_empty() && self.details.is_none()
    }

    /// Hands everything that qualifies the verdict to the router, which leaves the action. A phrase is taken out.
    #[inline]
    pub(crate) fn apply(&mut self) -> Result<Applied> {
        match &self.action {
            Action::Relay(targets) if targets.is_empty() => {
                return Ok(Applied::Reply(480, Cow::Borrowed("")));
            }
            Action::Relay(_) | Action::Forward | Action::Next => self.apply_relay()?,
            _ => self.apply_reply()?,
        }
        Ok(match &mut self.action {
            Action::Relay(targets) => {
                targets.apply()?;
                Applied::Relay
            }
            Action::Forward => Applied::Relay,
            Action::Reply(status, reason) => Applied::Reply(*status, std::mem::take(reason)),
            Action::Challenge => Applied::Challenge,
            Action::Save => Applied::Save,
            Action::Drop => Applied::Drop,
            Action::Pass => Applied::Pass,
            Action::Next => Applied::Next,
        })
    }

    #[inline]
    fn apply_relay(&self) -> Result<()> {
        if !self.armed.is_empty() {
            host::transaction::arm(self.armed);
        }
        match &self.details {
            Some(details) => details.apply_relay(),
            None => Ok(()),
        }
    }

    fn apply_reply(&self) -> Result<()> {
        match &self.details {
            Some(details) => details.apply_reply(),
            None => Ok(()),
        }
    }
}

impl Details {
    fn apply_relay(&self) -> Result<()> {
        for (name, value) in &self.headers {
            host::message::add_header(name, value)?;
        }
        if let Some(after) = self.no_answer {
            host::targets::set_no_answer_timeout(as_milliseconds(after));
        }
        if let Some(enabled) = self.record_route {
            host::transaction::set_record_route(enabled);
        }
        for (name, value) in &self.record_route_parameters {
            host::transaction::add_record_route_parameter(name, value)?;
        }
        Ok(())
    }

    fn apply_reply(&self) -> Result<()> {
        for (name, value) in &self.headers {
            host::reply::add_header(name, value)?;
        }
        if let Some((content_type, body)) = &self.body {
            host::reply::set_body(content_type, body)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;
    use crate::testing::{Decision, Run, Scenario};

    /// A policy that returns what a function makes.
    struct Returns(fn(&mut Request) -> Result<Verdict>);

    impl Default for Returns {
        fn default() -> Returns {
            Returns(|_| Ok(next()))
        }
    }

    impl Policy for Returns {
        fn request_route(&self, request: &mut Request) -> Result<Verdict> {
            (self.0)(request)
        }
    }

    const MESSAGE: &str = "MESSAGE sip:bob@example.com SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1
        Max-Forwards: 70
        From: <sip:alice@example.com>;tag=1
        To: <sip:bob@example.com>
        Call-ID: 1@192.0.2.1
        CSeq: 1 MESSAGE
        Subject: hello";

    fn run(verdict: fn(&mut Request) -> Result<Verdict>) -> Run<Returns> {
        Scenario::new(Returns(verdict)).user("bob").request(MESSAGE)
    }

    #[test]
    fn a_target_group_waits_for_the_one_before() {
        let call =
            run(|_| Ok(relay(["sip:a@192.0.2.2", "sip:b@192.0.2.3"]).then("sip:c@192.0.2.4")));
        assert_eq!(
            call.target_groups(),
            [
                vec!["sip:a@192.0.2.2", "sip:b@192.0.2.3"],
                vec!["sip:c@192.0.2.4"]
            ]
        );
    }

    #[test]
    fn relaying_to_a_user_without_a_contact_is_a_480() {
        let call = run(|request| Ok(relay(location::lookup(request.uri())?)));
        assert_eq!(call.decision(), Decision::Reply(480));
    }

    #[test]
    fn contacts_or_else_a_uri_is_no_480() {
        let call =
            run(|request| Ok(relay(location::lookup(request.uri())?).then("sip:desk@192.0.2.4")));
        assert_eq!(call.target_groups(), [["sip:desk@192.0.2.4"]]);
    }

    #[test]
    fn an_unknown_user_becomes_a_404_by_the_question_mark() {
        let call = run(|_| Ok(relay(location::lookup("sip:nobody@example.com")?)));
        assert_eq!(call.decision(), Decision::Reply(404));
    }

    #[test]
    fn an_error_of_the_policy_becomes_a_500_and_a_line_in_the_log() {
        let call = run(|_| Err(Error::new("no gateway for this number")));
        assert_eq!(call.decision(), Decision::Reply(500));
        assert!(
            call.log()
                .iter()
                .any(|line| line.text.contains("no gateway")),
            "{:?}",
            call.log()
        );
    }

    #[test]
    fn a_target_that_is_no_uri_is_an_error() {
        assert_eq!(run(|_| Ok(relay("bob"))).decision(), Decision::Reply(500));
    }

    #[test]
    fn headers_go_into_the_reply_or_into_the_relayed_request() {
        let refused = run(|_| Ok(reply(503).header("Retry-After", "30")));
        assert_eq!(
            (
                refused.reply_header("Retry-After"),
                refused.header("Retry-After")
            ),
            (Some("30"), None)
        );
        let relayed = run(|_| Ok(forward().header("X-Policy", "1")));
        assert_eq!(
            (
                relayed.reply_header("X-Policy"),
                relayed.header("X-Policy").as_deref()
            ),
            (None, Some("1"))
        );
    }

    #[test]
    fn edits_are_seen_and_the_headers_of_the_router_are_not_for_edit() {
        let call = run(|request| {
            request.set_header("Subject", "secret")?;
            request.set_uri("sip:bob@192.0.2.7")?;
            assert_eq!(request.uri().host(), "192.0.2.7");
            assert_eq!(
                request.headers_named(["s", "X-None"]),
                [Some("secret".to_owned()), None]
            );
            let refused = request
                .set_header("Via", "SIP/2.0/UDP 192.0.2.9")
                .unwrap_err();
            assert_eq!(refused.kind(), Some(ErrorKind::Denied));
            Ok(forward())
        });
        assert_eq!(call.header("Subject").as_deref(), Some("secret"));
        assert_eq!(call.uri(), "sip:bob@192.0.2.7");
    }

    #[test]
    #[should_panic(expected = "request_route returned a verdict that it may not return")]
    fn a_verdict_of_another_hook_is_a_crash() {
        run(|_| Ok(pass()));
    }
}
