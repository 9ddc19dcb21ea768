//! RFC 3261 §16.6: branches are started, group by group, and find their destinations.

use patchbay_message::{Draft, HeaderName};
use smallvec::SmallVec;

use crate::core::{Core, ORIGINATED, branch_hook_id, branch_send_id};
use crate::door::{
    Destination, DropReason, Event, Hook, HookContext, HookFault, Output, ResolveId, SendTo,
    Target, Verdict,
};
use crate::local;
use crate::proxy::context::{BranchStage, BranchState, Cancel, Final, Kind, Stage};
use crate::proxy::decide::Ran;
use crate::proxy::forward;
use crate::proxy::machine::ClientMachine;
use crate::proxy::next_hop::{
    Numeric, next_hop, next_hop_uri, numeric_destination, usable_flow, way_out, with_listener,
};
use crate::table::Handle;
use crate::time::Now;

impl Core {
    /// Starts the next targets when no branch is open, or ends the context.
    pub(crate) fn next_group(&mut self, now: Now, handle: Handle) {
        loop {
            let Some(context) = self.contexts.get_mut(handle) else {
                return;
            };
            if context.stage != Stage::Forwarding
                || context.open > 0
                || !context.replies.is_empty()
                || context.reply_in_hook.is_some()
            {
                return;
            }
            if context.cancelled.is_some() || context.declined {
                context.targets.clear();
            }
            if context.targets.is_empty() {
                return self.all_failed(now, handle);
            }
            self.start_group(now, handle);
        }
    }

    /// Starts as many of the next group as RFC 5393 §5.3.3 and `max_branches` allow; the rest of it follows when these have failed.
    fn start_group(&mut self, now: Now, handle: Handle) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        let breadth = context.facts.max_breadth;
        let max_branches = context
            .tenant
            .as_ref()
            .map_or(self.env.config.max_branches, |tenant| tenant.max_branches);
        let left = max_branches.saturating_sub(context.started);
        let count = context.targets.parallel().min(breadth as usize).min(left);
        if count == 0 {
            context.targets.clear();
            let status = if breadth == 0 { 440 } else { 500 };
            self.env.event(Event::Limit(if breadth == 0 {
                "max_breadth"
            } else {
                "max_branches"
            }));
            return self.store(handle, Final::of_status(status));
        }
        let share = breadth / count as u32;
        context.started += count;
        context.open += count;
        if count == 1
            && let Some(target) = context.targets.take()
        {
            return self.start_branch(now, handle, target, share);
        }
        let targets: SmallVec<[Target; 4]> =
            (0..count).filter_map(|_| context.targets.take()).collect();
        for (index, target) in targets.into_iter().enumerate() {
            let extra = if index == 0 {
                breadth % count as u32
            } else {
                0
            };
            self.start_branch(now, handle, target, share + extra);
        }
    }

    fn start_branch(&mut self, now: Now, handle: Handle, target: Target, breadth: u32) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        let mut request = if context.needs_request_later() {
            self.env.copy(&context.request)
        } else {
            std::mem::take(&mut context.request)
        };
        let is_fit = apply_target(&mut request, &target);
        let armed = context.armed.branch_route.is_any() && context.kind != Kind::Ack;
        let state = match self.branches.used_box() {
            Some(mut used) => {
                used.begin(handle, target, request, breadth);
                used
            }
            None => Box::new(BranchState::new(handle, target, request, breadth)),
        };
        let branch = self.branches.insert_box(state);
        context.branches.push(branch.slot);
        if !is_fit {
            return self.end_branch(now, branch.slot, 500);
        }
        if armed {
            self.next_hook(now, handle)
        } else {
            self.find_destination(now, branch.slot)
        }
    }

    /// Runs `branch_route` for a branch. Hooks of a context run one after the other, so that each sees the variables that the last one set.
    pub(crate) fn run_branch_hook(&mut self, handle: Handle, slot: u32) {
        let number = self.env.next_hook();
        let (Some(context), Some(state)) =
            (self.contexts.get_mut(handle), self.branches.at_mut(slot))
        else {
            return;
        };
        state.hook = number;
        context.hook = Some((Hook::BranchRoute, number));
        let ran = Ran {
            version: context.version,
            tenant: context.tenant.clone(),
        };
        let request = self.env.copy(&state.request);
        let source = context.flow;
        let mut seen = match self.hook_contexts.pop() {
            Some(used) => used,
            None => Box::new(HookContext::new(Hook::BranchRoute, source)),
        };
        seen.begin(Hook::BranchRoute, source, request, None);
        context.show(&mut seen);
        self.put_hook(branch_hook_id(slot, number), Hook::BranchRoute, ran, seen);
    }

    /// The branch whose `branch_route` is next to run.
    pub(crate) fn undecided_branch(&self, handle: Handle) -> Option<u32> {
        let context = self.contexts.get(handle)?;
        let waits = |slot: &u32| {
            self.branches
                .at(*slot)
                .is_some_and(|branch| branch.stage == BranchStage::Deciding && branch.hook == 0)
        };
        context.branches.iter().copied().find(waits)
    }

    /// `branch_route` returned. After a fault the branch is sent as it was.
    pub(crate) fn on_branch_hook(
        &mut self,
        now: Now,
        slot: u32,
        number: u32,
        result: Result<Verdict, HookFault>,
        returned: Option<Box<HookContext>>,
    ) {
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        if branch.hook != number {
            return self.keep_box(returned);
        }
        branch.hook = 0;
        let handle = branch.context;
        if let Some(context) = self.contexts.get_mut(handle) {
            context.hook = None;
        }
        self.decide_branch(now, slot, result, returned);
        self.free_branch(slot);
        self.next_hook(now, handle);
        self.next_group(now, handle);
        self.free_context(handle);
    }

    fn decide_branch(
        &mut self,
        now: Now,
        slot: u32,
        result: Result<Verdict, HookFault>,
        mut returned: Option<Box<HookContext>>,
    ) {
        let result = match result {
            Ok(Verdict::Pass | Verdict::Drop) | Err(_) => result,
            Ok(_) => Err(HookFault::Verdict),
        };
        if let Err(fault) = result {
            self.env.event(Event::HookFault {
                hook: Hook::BranchRoute,
                fault,
            });
        }
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        // It was ended while the hook ran.
        if branch.stage != BranchStage::Deciding {
            return self.keep_box(returned);
        }
        if let (Ok(_), Some(returned), Some(context)) = (
            &result,
            &mut returned,
            self.contexts.get_mut(branch.context),
        ) {
            std::mem::swap(&mut branch.request, &mut returned.request);
            context.variables = std::mem::take(&mut returned.variables);
        }
        self.keep_box(returned);
        match result {
            Ok(Verdict::Drop) => self.drop_branch(now, slot),
            _ => self.find_destination(now, slot),
        }
    }

    /// A dropped branch leaves nothing in the response context; with no other one the caller gets 480.
    fn drop_branch(&mut self, now: Now, slot: u32) {
        self.env.dropped(DropReason::Policy);
        self.end_branch(now, slot, 480);
    }

    /// RFC 3261 §16.6 steps 6 and 7: the next hop of a branch.
    pub(crate) fn find_destination(&mut self, now: Now, slot: u32) {
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        branch.stage = BranchStage::Resolving;
        if let Some(flow) = usable_flow(branch) {
            branch.flow_tried = true;
            return self.send_branch(
                now,
                slot,
                SendTo::Flow {
                    flow,
                    fallback_port: None,
                },
            );
        }
        let Some(hop) = next_hop(branch) else {
            return self.end_branch(now, slot, 500);
        };
        let destination = next_hop_uri(hop, branch).map_or(Numeric::Impossible, |uri| {
            numeric_destination(&uri, branch.target.listener)
        });
        match destination {
            Numeric::Destination(destination) => {
                branch.destinations.push(destination);
                self.next_destination(now, slot);
            }
            Numeric::Impossible => self.end_branch(now, slot, 416),
            Numeric::Name => {
                let uri = hop.uri(branch).to_vec();
                self.ask_resolver(slot, uri)
            }
        }
    }

    fn ask_resolver(&mut self, slot: u32, uri: Vec<u8>) {
        let Some(branch) = self.branches.renew(slot) else {
            return;
        };
        let Some(state) = self.branches.get(branch) else {
            return;
        };
        let listener = state.target.listener;
        self.env.outputs.push_back(Output::Resolve {
            id: ResolveId(branch.to_u64()),
            uri,
            listener,
        });
    }

    /// The resolver's answer.
    pub(crate) fn on_resolved(
        &mut self,
        now: Now,
        id: ResolveId,
        mut destinations: Vec<Destination>,
    ) {
        if id.0 & ORIGINATED != 0 {
            let handle = Handle::from_u64(id.0 & !ORIGINATED);
            return self.on_originate_resolved(now, handle, destinations);
        }
        let handle = Handle::from_u64(id.0);
        let Some(branch) = self.branches.get_mut(handle) else {
            return;
        };
        if branch.stage != BranchStage::Resolving {
            return;
        }
        destinations.reverse();
        branch.destinations = SmallVec::from_vec(destinations);
        self.next_destination(now, handle.slot);
    }

    /// RFC 3263 §4.3: the next destination of a target, with a client transaction of its own; without any, as if it answered 503.
    pub(crate) fn next_destination(&mut self, now: Now, slot: u32) {
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        match branch.destinations.pop() {
            Some(destination) => self.send_branch(now, slot, SendTo::Destination(destination)),
            None => self.end_branch(now, slot, 503),
        }
    }

    /// RFC 3261 §16.6 steps 8 to 11: adds the Via, sends, and starts the client transaction and Timer C.
    fn send_branch(&mut self, now: Now, slot: u32, to: SendTo) {
        let Some(handle) = self.branches.renew(slot) else {
            return;
        };
        let Some(branch) = self.branches.get_mut(handle) else {
            return;
        };
        let Some(context) = self.contexts.get_mut(branch.context) else {
            return;
        };
        // RFC 3261 §16.6 step 7, §26.2.2: every hop of a sips: URI is secure, whatever flow, route or next hop was chosen.
        let is_sips = local::is_sips(branch.request.request_uri());
        let way = way_out(&self.env, branch.target.listener, &to, &context.flow);
        let Some(way) = way.filter(|way| way.transport.is_secure() || !is_sips) else {
            if is_sips && branch.destinations.is_empty() {
                return self.end_branch(now, slot, 480);
            }
            return self.next_destination(now, slot);
        };
        let to = with_listener(to, way.listener);
        let sent = forward::branch_parameter(&mut self.env, context, handle);
        let packet = forward::write_request(&self.env, context, branch, &way, &sent.text());
        let is_invite = context.kind == Kind::Invite;
        if context.kind == Kind::Ack {
            self.env.send(branch_send_id(handle), &to, packet);
            return self.end_stateless(slot);
        }
        branch.stage = BranchStage::Calling;
        branch.sent = Some(sent);
        branch.sent_to = Some(to);
        let reliable = way.transport.is_reliable();
        branch.reliable = reliable;
        let mut actions = self.client_actions.pop().unwrap_or_default();
        let machine = ClientMachine::start(
            now.instant,
            self.timing,
            is_invite,
            reliable,
            packet,
            &mut actions,
        );
        branch.client = Some(machine);
        if is_invite {
            branch.timer_c = Some(now.instant + self.env.config.timer_c);
        }
        if branch.no_answer.is_none() {
            branch.no_answer = branch.target.no_answer.map(|time| now.instant + time);
        }
        self.perform_client(now, slot, actions, None);
        self.arm_branch(slot);
    }

    /// RFC 3263 §4.3: after a 503 the other destinations are tried in a branch of their own, so that the client transaction that got the 503
    /// still acknowledges its copies (RFC 3261 §17.1.1.2, Timer D).
    pub(crate) fn continue_elsewhere(&mut self, now: Now, slot: u32) -> bool {
        let Some(branch) = self.branches.at_mut(slot) else {
            return false;
        };
        if !matches!(branch.cancel, Cancel::None) || branch.destinations.is_empty() {
            return false;
        }
        let handle = branch.context;
        let rest = branch.split_off();
        let rest = self.branches.insert(rest);
        self.close_branch(slot);
        if let Some(context) = self.contexts.get_mut(handle) {
            context.open += 1;
            context.branches.push(rest.slot);
        }
        self.next_destination(now, rest.slot);
        true
    }

    /// Whether the branch has another destination, or the URI of a flow that is gone, to try.
    pub(crate) fn try_elsewhere(&mut self, now: Now, slot: u32, flow: FlowState) -> bool {
        let Some(branch) = self.branches.at_mut(slot) else {
            return false;
        };
        let by_uri = flow == FlowState::Gone
            && branch.flow_tried
            && branch.destinations.is_empty()
            && branch.target.next_hop.is_none();
        if !matches!(branch.cancel, Cancel::None) || branch.destinations.is_empty() && !by_uri {
            return false;
        }
        branch.timer_c = None;
        branch.client = None;
        branch.sent = None;
        if by_uri {
            branch.target.flow = None;
            branch.flow_tried = false;
            self.find_destination(now, slot);
        } else {
            self.next_destination(now, slot);
        }
        true
    }
}

/// What a failed attempt says of the flow it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowState {
    /// Somebody answered, or kept silent, at its other end: the URI leads to the same phone.
    Alive,
    /// It could not be used.
    Gone,
}

/// RFC 3261 §16.6 steps 2 and 6, RFC 3327 §5.3: the target's URI and Path go into the copy.
fn apply_target(request: &mut Draft, target: &Target) -> bool {
    if !target.uri.is_empty()
        && request.request_uri() != target.uri.as_slice()
        && request.set_request_uri(&target.uri).is_err()
    {
        return false;
    }
    target
        .path
        .iter()
        .rev()
        .all(|value| request.prepend(HeaderName::Route, value).is_ok())
}
