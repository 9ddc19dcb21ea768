//! A hook that begins again: what it did to its host until then is undone.
//!
//! A hook may have edited the message, added targets, armed hooks, set variables and prepared a reply: all of that lies in the context and
//! the host. What it did outside can't be undone, and the policy engine has it begin again before it does anything of that.
//! Credentials that were verified stay so: a nonce counts once.

use std::sync::Arc;

use patchbay_core::door::{HookContext, Routing};

use super::HookHost;
use super::lookups::Lookups;

impl HookHost {
    /// Whether what a hook does now can be undone: it begins with a message as it was received and nothing decided, which is told by a
    /// few comparisons and brought back without a copy. A traced run writes down each call.
    #[inline]
    pub(super) fn can_begin_again(&self) -> bool {
        self.context.as_deref().is_some_and(is_untouched)
            && self.rare.is_none()
            && self.group == 0
            && self.lookups.is_empty()
            && self.no_answer_ms.is_none()
    }

    /// Makes everything as it was then.
    pub(super) fn begin_again(&mut self) {
        self.lookups = Lookups::default();
        self.group = 0;
        self.no_answer_ms = None;
        self.rare = None;
        let Some(context) = self.context.as_deref_mut() else {
            return;
        };
        context.routing = Routing::default();
        context.variables.clear();
        for draft in [Some(&mut context.request), context.response.as_mut()] {
            if let Some(draft) = draft.filter(|draft| draft.is_edited()) {
                let base = Arc::clone(draft.base());
                draft.reset(base);
            }
        }
    }
}

#[inline]
fn is_untouched(context: &HookContext) -> bool {
    let routing = &context.routing;
    context.variables.is_empty()
        && routing.targets.is_empty()
        && routing.record_route.is_none()
        && routing.record_route_parameters.is_empty()
        && routing.armed == Default::default()
        && !context.request.is_edited()
        && context
            .response
            .as_ref()
            .is_none_or(|response| !response.is_edited())
}
