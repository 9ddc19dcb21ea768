//! RFC 3261 §16: what a stateful proxy keeps for one server transaction.

use std::collections::VecDeque;
use std::sync::Arc;

use patchbay_message::{Draft, HeaderName, has_magic_cookie};
use smallvec::SmallVec;

use crate::alarm::Alarm;
use crate::door::{
    Armed, Destination, Flow, Hook, HookContext, Packet, PolicyVersion, RouteId, SendTo, Target,
    Tenant,
};
use crate::keyed::Keyed;
use crate::proxy::branch::Branch;
use crate::proxy::machine::{ClientMachine, ServerMachine};
use crate::proxy::route::Dialog;
use crate::proxy::target::TargetSet;
use crate::proxy::validate::{self, Facts};
use crate::registrar::OutboundSupport;
use crate::table::Handle;
use crate::time::Instant;
use crate::transaction::TransactionKey;

/// A Via of ours: it stays in place unless an advertised name is long.
pub(crate) type ViaText = SmallVec<[u8; 120]>;

/// What decides how a request is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// INVITE.
    Invite,
    /// An ACK to a 2xx: no transaction, no answer.
    Ack,
    /// Everything else but CANCEL.
    NonInvite,
}

/// How far a response context is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// `request_route` runs.
    Deciding,
    /// Branches are under way.
    Forwarding,
    /// `failure_route` runs.
    Failing,
    /// The location service is asked.
    Saving,
    /// The server transaction has its final response, or will never have one.
    Finished,
}

/// A final response that is kept.
#[derive(Clone, Debug)]
pub(crate) struct Final {
    /// Its status.
    pub(crate) status: u16,
    /// The response; `None`: we act as if one came.
    pub(crate) response: Option<(Draft, Flow)>,
    /// The response was made here, for `failure_route` to read.
    pub(crate) is_ours: bool,
}

impl Final {
    /// As if that status had come.
    pub(crate) fn of_status(status: u16) -> Final {
        Final {
            status,
            response: None,
            is_ours: false,
        }
    }
}

/// A response that waits for its turn with `onreply_route`.
#[derive(Debug)]
pub(crate) struct WaitingReply {
    /// The slot of the branch it came on.
    pub(crate) branch: u32,
    /// The response without our Via.
    pub(crate) response: Draft,
    /// Its status.
    pub(crate) status: u16,
    /// The way it came.
    pub(crate) flow: Flow,
}

/// A server transaction with its target set and branches.
#[derive(Debug)]
pub(crate) struct ResponseContext {
    pub(crate) kind: Kind,
    pub(crate) stage: Stage,
    /// `None` for an ACK.
    pub(crate) server: Option<ServerMachine>,
    pub(crate) key: Option<TransactionKey>,
    /// The way the request came.
    pub(crate) flow: Flow,
    /// Where responses go.
    pub(crate) reply_to: SendTo,
    /// As received, with `received` and `rport` in its top Via: what responses are made from.
    pub(crate) received: Draft,
    /// After route preprocessing and the edits of `request_route`: what branches are made from. The last reader takes it.
    pub(crate) request: Draft,
    pub(crate) facts: Facts,
    /// The dialog whose token is valid.
    pub(crate) dialog: Option<Dialog>,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) verified_user: Option<String>,
    /// The version to run and to unpin; 0: none yet.
    pub(crate) version: PolicyVersion,
    /// The tenant whose request it is.
    pub(crate) tenant: Option<Arc<Tenant>>,
    pub(crate) armed: Armed,
    pub(crate) record_route: bool,
    pub(crate) record_route_parameters: Vec<(String, String)>,
    /// The hook of the context that runs, and what it is called.
    pub(crate) hook: Option<(Hook, u32)>,
    /// The response that `onreply_route` has in hand.
    pub(crate) reply_in_hook: Option<ReplyInHook>,
    pub(crate) replies: VecDeque<WaitingReply>,
    pub(crate) targets: TargetSet,
    /// Slots of its branches, the finished ones included while they absorb retransmissions.
    pub(crate) branches: SmallVec<[u32; 4]>,
    /// Branches without final response.
    pub(crate) open: usize,
    /// Branches so far.
    pub(crate) started: usize,
    pub(crate) failure_round: u32,
    pub(crate) best: Option<Final>,
    /// RFC 3261 §16.7 step 7: the other 401 and 407 responses.
    pub(crate) challenges: Vec<Draft>,
    /// The To tag of our final response to a client that knows no magic cookie.
    pub(crate) sent_tag: Option<Vec<u8>>,
    /// What a 200 to a REGISTER says of RFC 5626.
    pub(crate) outbound: OutboundSupport,
    /// A CANCEL came; its Reason.
    pub(crate) cancelled: Option<Vec<u8>>,
    /// RFC 3261 §16.7 step 5: a 6xx came.
    pub(crate) declined: bool,
    /// The deadline in the wheel.
    pub(crate) alarm: Alarm,
}

/// What a response context begins with.
pub(crate) struct NewRequest {
    pub(crate) kind: Kind,
    pub(crate) server: Option<ServerMachine>,
    pub(crate) key: Option<TransactionKey>,
    pub(crate) flow: Flow,
    pub(crate) reply_to: SendTo,
    pub(crate) received: Draft,
    pub(crate) request: Draft,
    pub(crate) facts: Facts,
    pub(crate) dialog: Option<Dialog>,
    pub(crate) record_route: bool,
}

impl ResponseContext {
    /// The context of a request that has just come.
    pub(crate) fn new(request: NewRequest) -> ResponseContext {
        ResponseContext {
            kind: request.kind,
            stage: Stage::Deciding,
            server: request.server,
            key: request.key,
            flow: request.flow,
            reply_to: request.reply_to,
            received: request.received,
            request: request.request,
            facts: request.facts,
            dialog: request.dialog,
            variables: Vec::new(),
            verified_user: None,
            version: PolicyVersion(0),
            tenant: None,
            armed: Armed::default(),
            record_route: request.record_route,
            record_route_parameters: Vec::new(),
            hook: None,
            reply_in_hook: None,
            replies: VecDeque::new(),
            targets: TargetSet::default(),
            branches: SmallVec::new(),
            open: 0,
            started: 0,
            failure_round: 0,
            best: None,
            challenges: Vec::new(),
            sent_tag: None,
            outbound: OutboundSupport::None,
            cancelled: None,
            declined: false,
            alarm: Alarm::default(),
        }
    }

    /// The same in place of one that is over: moving as much as a context is would take longer than all that is written here.
    pub(crate) fn begin(&mut self, new: NewRequest) {
        // All fields, so that none of a new context is forgotten.
        let ResponseContext {
            kind,
            stage,
            server,
            key,
            flow,
            reply_to,
            received,
            request,
            facts,
            dialog,
            variables,
            verified_user,
            version,
            tenant,
            armed,
            record_route,
            record_route_parameters,
            hook,
            reply_in_hook,
            replies,
            targets,
            branches,
            open,
            started,
            failure_round,
            best,
            challenges,
            sent_tag,
            outbound,
            cancelled,
            declined,
            alarm,
        } = self;
        *kind = new.kind;
        *stage = Stage::Deciding;
        *server = new.server;
        *key = new.key;
        *flow = new.flow;
        *reply_to = new.reply_to;
        *received = new.received;
        *request = new.request;
        *facts = new.facts;
        *dialog = new.dialog;
        variables.clear();
        *verified_user = None;
        *version = PolicyVersion(0);
        *tenant = None;
        *armed = Armed::default();
        *record_route = new.record_route;
        record_route_parameters.clear();
        *hook = None;
        *reply_in_hook = None;
        replies.clear();
        targets.clear();
        branches.clear();
        *open = 0;
        *started = 0;
        *failure_round = 0;
        *best = None;
        challenges.clear();
        *sent_tag = None;
        *outbound = OutboundSupport::None;
        *cancelled = None;
        *declined = false;
        *alarm = Alarm::default();
    }

    /// Shows a hook what is known of the transaction.
    pub(crate) fn show(&self, seen: &mut HookContext) {
        if let Some(dialog) = &self.dialog {
            seen.in_dialog = true;
            seen.route = dialog.route;
            seen.record_route_parameters.clone_from(&dialog.parameters);
        }
        seen.armed = self.armed;
        seen.failure_round = self.failure_round;
        seen.variables.clone_from(&self.variables);
        seen.verified_user.clone_from(&self.verified_user);
    }

    /// What [`validate::loop_hash`] makes of the request: most requests that we answer ourselves need none.
    pub(crate) fn loop_hash(&mut self, keyed: &Keyed) -> u64 {
        *self
            .facts
            .loop_hash
            .get_or_insert_with(|| validate::loop_hash(self.received.base(), keyed))
    }

    /// The route that later requests of its dialog belong to. In a dialog it is the one that the dialog has, whatever a policy did since.
    pub(crate) fn route(&self) -> RouteId {
        match (&self.dialog, &self.tenant) {
            (Some(dialog), _) => dialog.route,
            (None, Some(tenant)) => tenant.route,
            (None, None) => RouteId::NONE,
        }
    }

    /// Where a request outside of dialogs goes is the policy's to say: the Route of a stranger would lead the branch elsewhere, so
    /// it is left out when the policy names targets. Inside a dialog the route set is proved.
    pub(crate) fn forget_preloaded_route(&mut self) {
        if self.dialog.is_none() && self.request.header(HeaderName::Route).is_some() {
            // Only a full patch list refuses; then no branch can be written either.
            let _ = self.request.remove(HeaderName::Route);
        }
    }

    /// Whether anything but the branch that starts now reads the request: another branch, a hook, or our Record-Route.
    pub(crate) fn needs_request_later(&self) -> bool {
        if self.kind == Kind::Ack {
            return false;
        }
        let has_more_branches = self.open > 1 || !self.targets.is_empty();
        let hooks = self.armed.onreply_route.is_any() || self.armed.failure_route.is_any();
        has_more_branches || hooks || self.record_route
    }

    /// RFC 3261 §17.2.3: keeps the To tag of a final response, by which the ACK of a client without magic cookie is known.
    pub(crate) fn note_sent_tag(&mut self, tag: Option<&[u8]>) {
        let message = self.received.base();
        // A top Via that can't be read was refused before.
        if !message.top_branch().is_some_and(has_magic_cookie) {
            self.sent_tag = tag.map(<[u8]>::to_vec);
        }
    }
}

/// What is needed to go on when `onreply_route` returns.
#[derive(Debug)]
pub(crate) struct ReplyInHook {
    /// The slot of the branch.
    pub(crate) branch: u32,
    /// The unedited response, for a fault.
    pub(crate) response: Draft,
    /// Its status.
    pub(crate) status: u16,
    /// The way it came.
    pub(crate) flow: Flow,
}

/// How far a branch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BranchStage {
    /// `branch_route` runs.
    Deciding,
    /// The resolver is asked.
    Resolving,
    /// Sent, nothing came.
    Calling,
    /// A provisional response came.
    Proceeding,
    /// It has a final response, or counts as having one.
    Finished,
}

/// RFC 3261 §9.1: what is known of the CANCEL of a branch.
#[derive(Debug)]
pub(crate) enum Cancel {
    /// Nobody wants it.
    None,
    /// It waits for the first provisional response, with its Reason.
    Wanted(Vec<u8>),
    /// It is sent, in a transaction of its own.
    Sent(ClientMachine),
    /// It is sent and its transaction is over.
    Over,
}

/// One branch of a response context: a target, and the client transaction to one of its destinations.
#[derive(Debug)]
pub(crate) struct BranchState {
    pub(crate) context: Handle,
    pub(crate) stage: BranchStage,
    pub(crate) target: Target,
    /// The branch's request, without our Via.
    pub(crate) request: Draft,
    /// The hook that runs.
    pub(crate) hook: u32,
    /// Destinations that are left, the next one last.
    pub(crate) destinations: SmallVec<[Destination; 1]>,
    /// The flow of the registered contact was tried.
    pub(crate) flow_tried: bool,
    /// The branch parameter of the attempt under way.
    pub(crate) sent: Option<Branch>,
    /// Where the attempt under way was sent to.
    pub(crate) sent_to: Option<SendTo>,
    /// The Via that we added.
    pub(crate) via: ViaText,
    /// `None` before sending, and for an ACK.
    pub(crate) client: Option<ClientMachine>,
    /// Whether the transport of the attempt is reliable.
    pub(crate) reliable: bool,
    pub(crate) cancel: Cancel,
    /// RFC 3261 §16.6 step 11.
    pub(crate) timer_c: Option<Instant>,
    pub(crate) no_answer: Option<Instant>,
    /// RFC 3261 §9.1: without final response by then the cancelled branch is over.
    pub(crate) cancel_end: Option<Instant>,
    /// Its part of the Max-Breadth.
    pub(crate) breadth: u32,
    /// 2xx by To tag, as `onreply_route` edited them.
    pub(crate) accepted: Vec<(Vec<u8>, Packet)>,
    /// The deadline in the wheel.
    pub(crate) alarm: Alarm,
}

impl BranchState {
    /// A branch that has not decided where to go.
    pub(crate) fn new(context: Handle, target: Target, request: Draft, breadth: u32) -> Self {
        BranchState {
            context,
            stage: BranchStage::Deciding,
            target,
            request,
            hook: 0,
            destinations: SmallVec::new(),
            flow_tried: false,
            sent: None,
            sent_to: None,
            via: SmallVec::new(),
            client: None,
            reliable: false,
            cancel: Cancel::None,
            timer_c: None,
            no_answer: None,
            cancel_end: None,
            breadth,
            accepted: Vec::new(),
            alarm: Alarm::default(),
        }
    }

    /// The same in place of a branch that is over.
    pub(crate) fn begin(&mut self, owner: Handle, leads_to: Target, sends: Draft, part: u32) {
        // All fields, so that none of a new branch is forgotten.
        let BranchState {
            context,
            stage,
            target,
            request,
            hook,
            destinations,
            flow_tried,
            sent,
            sent_to,
            via,
            client,
            reliable,
            cancel,
            timer_c,
            no_answer,
            cancel_end,
            breadth,
            accepted,
            alarm,
        } = self;
        *context = owner;
        *stage = BranchStage::Deciding;
        *target = leads_to;
        *request = sends;
        *hook = 0;
        destinations.clear();
        *flow_tried = false;
        *sent = None;
        *sent_to = None;
        via.clear();
        *client = None;
        *reliable = false;
        *cancel = Cancel::None;
        *timer_c = None;
        *no_answer = None;
        *cancel_end = None;
        *breadth = part;
        accepted.clear();
        *alarm = Alarm::default();
    }

    /// The same request on its way to the destinations that are left.
    pub(crate) fn split_off(&mut self) -> Self {
        let (target, request) = (self.target.clone(), self.request.clone());
        BranchState {
            stage: BranchStage::Resolving,
            destinations: std::mem::take(&mut self.destinations),
            flow_tried: self.flow_tried,
            no_answer: self.no_answer.take(),
            ..BranchState::new(self.context, target, request, self.breadth)
        }
    }
}
