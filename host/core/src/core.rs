//! The core: everything behind the door.

use std::collections::HashMap;
use std::sync::Arc;

use patchbay_message::Draft;
use rand::RngCore;

use crate::alarm::Alarms;
use crate::answered::Answered;
use crate::date::DateText;
use crate::door::{
    CoreConfig, HookContext, HookFault, HookId, Input, Output, PolicyVersion, RouteId, SendId,
    Verdict,
};
use crate::environment::Environment;
use crate::originating::Originating;
use crate::proxy::context::{BranchState, Cancel, ResponseContext, Stage};
use crate::proxy::decide::Ran;
use crate::proxy::spent::{SpentBranch, SpentContext};
use crate::registrar::Registration;
use crate::table::{Handle, Table};
use crate::time::{Instant, Now};
use crate::transaction::{
    ClientAction, KeyBuildHasher, KeyMaker, ServerAction, Timing, TransactionKey,
};

/// Marks the ids that belong to a branch.
const BRANCH: u64 = 1 << 63;

/// Marks the ids that belong to a request of our own. No slot is so high.
pub(crate) const ORIGINATED: u64 = 1 << 62;

/// The token of the alarm for the requests that were answered.
const ANSWERED: u64 = u64::MAX;

/// The same mark in the slot of a branch parameter.
pub(crate) const ORIGINATED_SLOT: u32 = 1 << 30;

/// How many live things there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Server transactions.
    pub server_transactions: usize,
    /// Client transactions, those of CANCELs and of our own requests included.
    pub client_transactions: usize,
    /// Response contexts; each ACK to a 2xx on its way is one, too. What was answered and is no INVITE has none any more.
    pub response_contexts: usize,
    /// Hooks that were asked for and have not returned.
    pub pending_hooks: usize,
}

impl Counts {
    /// Whether nothing is alive.
    pub fn is_empty(&self) -> bool {
        *self == Counts::default()
    }
}

/// One live transaction, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionSnapshot {
    /// The method.
    pub method: String,
    /// The Request-URI as received.
    pub request_uri: String,
    /// The Call-ID.
    pub call_id: String,
    /// How far it is: `deciding`, `forwarding`, `failing`, `saving`, `finished`.
    pub state: &'static str,
    /// Branches, the finished ones that still absorb retransmissions included.
    pub branches: usize,
    /// The address that the request came from.
    pub peer: std::net::SocketAddr,
    /// The policy version it is pinned to.
    pub version: PolicyVersion,
    /// The route of the configuration that it belongs to; 0: none.
    pub route: RouteId,
}

/// Every decision of one worker: hand an [`Input`] in, carry each [`Output`] out, and call back at [`Core::poll_timeout`].
pub struct Core {
    pub(crate) env: Environment,
    pub(crate) timing: Timing,
    pub(crate) maker: KeyMaker,
    pub(crate) contexts: Table<ResponseContext, SpentContext>,
    pub(crate) branches: Table<BranchState, SpentBranch>,
    /// Those of the contexts, live and spent.
    pub(crate) keys: HashMap<TransactionKey, Handle, KeyBuildHasher>,
    /// The transactions that have no context any more.
    pub(crate) answered: Answered,
    /// The final response of ours that was made last, and the context that it was for.
    pub(crate) own_response: (Option<Handle>, Vec<u8>),
    pub(crate) alarms: Alarms,
    /// Contexts that have begun and whose alarms are not set yet. Most requests are answered before there is something to wait for.
    pub(crate) unarmed: Vec<Handle>,
    pub(crate) originating: Table<Originating>,
    pub(crate) draining: bool,
    pub(crate) pending_hooks: usize,
    /// Boxes for hooks, to use again: it is the boxes that travel, so they are kept whole.
    #[allow(clippy::vec_box)]
    pub(crate) hook_contexts: Vec<Box<HookContext>>,
    /// Registrations that were applied, to use their memory again.
    #[allow(clippy::vec_box)]
    pub(crate) registrations: Vec<Box<Registration>>,
    pub(crate) date: DateText,
    pub(crate) server_actions: Vec<Vec<ServerAction>>,
    pub(crate) client_actions: Vec<Vec<ClientAction>>,
}

impl Core {
    /// A core without transactions. The seed feeds all its random numbers.
    pub fn new(config: Arc<CoreConfig>, seed: [u8; 32]) -> Core {
        let timing = timing(&config);
        let mut env = Environment::new(config, seed);
        let maker = KeyMaker::new([env.random.next_u64(), env.random.next_u64()]);
        Core {
            env,
            timing,
            maker,
            contexts: Table::new(),
            branches: Table::new(),
            keys: HashMap::default(),
            answered: Answered::new(),
            own_response: (None, Vec::new()),
            alarms: Alarms::new(Instant(0)),
            unarmed: Vec::new(),
            originating: Table::new(),
            draining: false,
            pending_hooks: 0,
            hook_contexts: Vec::new(),
            registrations: Vec::new(),
            date: DateText::default(),
            server_actions: Vec::new(),
            client_actions: Vec::new(),
        }
    }

    /// Takes a new configuration; transactions under way keep their timers.
    pub fn reconfigure(&mut self, config: Arc<CoreConfig>) {
        self.timing = timing(&config);
        self.env.reconfigure(config);
    }

    /// Exactly one thing happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Received { flow, message } if message.is_request() => {
                self.on_request(now, flow, message)
            }
            Input::Received { flow, message } => self.on_response(now, flow, message),
            Input::SendFailed { id } => self.on_send_failed(now, id),
            Input::HookReturned {
                id,
                result,
                context,
                version,
                tenant,
            } => self.on_hook(now, id, result, context, Ran { version, tenant }),
            Input::Resolved { id, destinations } => self.on_resolved(now, id, destinations),
            Input::BindingsUpdated { id, result } => self.on_bindings_updated(now, id, result),
            Input::Originate(originate) => self.originate(now, originate),
            Input::Drain => self.draining = true,
        }
    }

    /// A deadline has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(expired) = self.alarms.pop_expired(now.instant) {
            let id = expired.token;
            if id == ANSWERED {
                self.on_answered_alarm(now);
            } else if id & ORIGINATED != 0 {
                self.on_originate_alarm(now, (id & !ORIGINATED) as u32);
            } else if id & BRANCH == 0 {
                self.on_context_alarm(now, Handle::from_u64(id));
            } else {
                self.on_branch_alarm(now, (id & !BRANCH) as u32);
            }
        }
    }

    /// The next thing to do; call it until `None` after each `handle` and `handle_timeout`.
    #[inline]
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.env.outputs.pop_front();
        if output.is_none() {
            self.arm_begun();
        }
        output
    }

    /// Sets the alarms of the contexts that have begun and are not over.
    fn arm_begun(&mut self) {
        while let Some(handle) = self.unarmed.pop() {
            self.arm_context(handle);
        }
    }

    /// When to call `handle_timeout`; to be asked when `poll_output` has answered `None`, which sets the alarms of what has begun.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.alarms.next_deadline()
    }

    /// How many server transactions are alive. Unlike [`Core::counts`] it costs nothing.
    pub fn transactions(&self) -> usize {
        self.keys.len() + self.answered.len()
    }

    /// What is alive.
    pub fn counts(&self) -> Counts {
        let live = |branch: &BranchState| {
            usize::from(branch.client.is_some())
                + usize::from(matches!(branch.cancel, Cancel::Sent(_)))
        };
        Counts {
            server_transactions: self.transactions(),
            client_transactions: self.originating.live()
                + self.branches.spent_count()
                + self
                    .branches
                    .iter()
                    .map(|(_, branch)| live(branch))
                    .sum::<usize>(),
            response_contexts: self.contexts.live() + self.contexts.spent_count(),
            pending_hooks: self.pending_hooks,
        }
    }

    /// At most `limit` of the transactions that are not over; those that only absorb retransmissions are left out.
    pub fn snapshot(&self, limit: usize) -> Vec<TransactionSnapshot> {
        self.contexts
            .iter()
            .take(limit)
            .map(|(_, context)| snapshot(context))
            .collect()
    }

    fn on_hook(
        &mut self,
        now: Now,
        id: HookId,
        result: Result<Verdict, HookFault>,
        context: Option<Box<HookContext>>,
        ran: Ran,
    ) {
        self.pending_hooks = self.pending_hooks.saturating_sub(1);
        let handle = Handle::from_u64(id.0 & !BRANCH);
        if id.0 & BRANCH == 0 {
            self.on_context_hook(now, handle.slot, handle.generation, result, context, ran);
        } else {
            self.on_branch_hook(now, handle.slot, handle.generation, result, context);
        }
    }

    fn on_send_failed(&mut self, now: Now, id: SendId) {
        if id.0 & ORIGINATED != 0 {
            return self.on_originate_send_failed(now, Handle::from_u64(id.0 & !ORIGINATED));
        }
        let handle = Handle::from_u64(id.0 & !BRANCH);
        if id.0 & BRANCH != 0 {
            return self.on_branch_send_failed(now, handle);
        }
        let Some(server) = self
            .contexts
            .get_mut(handle)
            .and_then(|context| context.server.as_mut())
        else {
            return self.on_spent_send_failed(handle);
        };
        let mut actions = self.server_actions.pop().unwrap_or_default();
        server.on_transport_error(&mut actions);
        self.perform_server(now, handle, actions);
    }

    /// Does what a server transaction wants done.
    pub(crate) fn perform_server(
        &mut self,
        now: Now,
        handle: Handle,
        mut actions: Vec<ServerAction>,
    ) {
        for action in actions.drain(..) {
            match action {
                ServerAction::Send(packet) => {
                    if let Some(context) = self.contexts.get(handle) {
                        self.env
                            .send(server_send_id(handle), &context.reply_to, packet);
                    }
                }
                ServerAction::MakeTrying => self.respond_status(now, handle, 100),
                ServerAction::AckToUser
                | ServerAction::NoAck
                | ServerAction::TransportFailed
                | ServerAction::Terminated => {}
            }
        }
        self.server_actions.push(actions);
        self.free_context(handle);
        self.arm_context(handle);
    }

    fn on_context_alarm(&mut self, now: Now, handle: Handle) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return self.on_spent_context_alarm(now, handle);
        };
        context.alarm.rang();
        let Some(server) = context.server.as_mut() else {
            return;
        };
        let mut actions = self.server_actions.pop().unwrap_or_default();
        server.on_timeout(now.instant, &mut actions);
        self.perform_server(now, handle, actions);
    }

    fn on_answered_alarm(&mut self, now: Now) {
        self.answered.alarm.rang();
        self.answered.expire(now.instant);
        self.arm_answered();
    }

    /// Sets the alarm for the oldest request that was answered.
    pub(crate) fn arm_answered(&mut self) {
        if let Some(end) = self.answered.first_end() {
            self.answered.alarm.set(&mut self.alarms, end, ANSWERED);
        }
    }

    /// Sets the alarm of a context for its machine's deadline. A later deadline waits for the alarm that is set.
    pub(crate) fn arm_context(&mut self, handle: Handle) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        let Some(at) = context.server.as_ref().and_then(|server| server.deadline()) else {
            return;
        };
        context.alarm.set(&mut self.alarms, at, handle.to_u64());
    }

    /// Sets the alarm of a branch for the first of its deadlines.
    pub(crate) fn arm_branch(&mut self, slot: u32) {
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        let Some(at) = branch.deadline() else { return };
        branch.alarm.set(&mut self.alarms, at, branch_alarm(slot));
    }

    /// Removes a branch that nothing waits for any more, and its context with it; of one that only absorbs keeps as much as that takes.
    pub(crate) fn free_branch(&mut self, slot: u32) {
        let Some(branch) = self.branches.at(slot) else {
            return;
        };
        let handle = branch.context;
        if branch.is_over() {
            let Some(branch) = self.branches.remove_at(slot) else {
                return;
            };
            self.recycle_branch(branch);
            if let Some(context) = self.contexts.get_mut(handle) {
                context.branches.retain(|other| *other != slot);
            }
        } else if !self.spend_branch(slot) {
            return;
        }
        self.free_context(handle);
    }

    /// Removes a context whose server transaction, branches and hook are over; of one that only absorbs keeps as much as that takes.
    pub(crate) fn free_context(&mut self, handle: Handle) {
        let Some(context) = self.contexts.get(handle) else {
            return;
        };
        if context.stage != Stage::Finished || context.hook.is_some() {
            return;
        }
        let served = context
            .server
            .as_ref()
            .is_none_or(|server| server.is_terminated());
        if !served || !context.branches.is_empty() {
            return self.spend_context(handle);
        }
        let Some(context) = self.contexts.remove_at(handle.slot) else {
            return;
        };
        if let Some(key) = context.key {
            self.keys.remove(&key);
        }
        self.recycle_context(context);
    }
}

impl BranchState {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let cancel = match &self.cancel {
            Cancel::Sent(machine) => machine.deadline(),
            _ => None,
        };
        let client = self.client.as_ref().and_then(|client| client.deadline());
        [
            client,
            cancel,
            self.timer_c,
            self.no_answer,
            self.cancel_end,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(crate) fn is_over(&self) -> bool {
        let is_finished = self.stage == crate::proxy::context::BranchStage::Finished;
        is_finished
            && self.hook == 0
            && self.client.is_none()
            && !matches!(self.cancel, Cancel::Sent(_))
    }
}

fn timing(config: &CoreConfig) -> Timing {
    Timing {
        t1: config.t1,
        t2: config.t2,
        t4: config.t4,
    }
}

/// The id of what a server transaction sends.
pub(crate) fn server_send_id(handle: Handle) -> SendId {
    SendId(handle.to_u64())
}

/// The id of what a branch sends.
pub(crate) fn branch_send_id(handle: Handle) -> SendId {
    SendId(BRANCH | handle.to_u64())
}

/// The token of the alarm of a branch.
pub(crate) fn branch_alarm(slot: u32) -> u64 {
    BRANCH | u64::from(slot)
}

/// The id of a hook of a context.
pub(crate) fn context_hook_id(handle: Handle, number: u32) -> HookId {
    HookId(
        Handle {
            slot: handle.slot,
            generation: number,
        }
        .to_u64(),
    )
}

/// The id of a hook of a branch.
pub(crate) fn branch_hook_id(slot: u32, number: u32) -> HookId {
    HookId(
        BRANCH
            | Handle {
                slot,
                generation: number,
            }
            .to_u64(),
    )
}

fn snapshot(context: &ResponseContext) -> TransactionSnapshot {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let received: &Draft = &context.received;
    TransactionSnapshot {
        method: text(received.method().as_bytes()),
        request_uri: text(received.request_uri()),
        call_id: text(received.call_id()),
        state: match context.stage {
            Stage::Deciding => "deciding",
            Stage::Forwarding => "forwarding",
            Stage::Failing => "failing",
            Stage::Saving => "saving",
            Stage::Finished => "finished",
        },
        branches: context.branches.len(),
        peer: context.flow.remote,
        version: context.version,
        route: context.route(),
    }
}
