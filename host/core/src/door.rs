//! What goes into the core and what comes out of it.
//!
//! Four questions leave the core: send, hook, resolve, store. Their answers come back as inputs with the same id; an
//! answer to an id that is gone is ignored.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use patchbay_message::{Draft, Message, SavedEdits};

use crate::proxy::target;
use crate::registrar::{Bindings, Registration};

/// The transports of SIP that the router knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// RFC 3261 §18.
    Udp,
    /// RFC 3261 §18.
    Tcp,
    /// RFC 3261 §26.2.1.
    Tls,
    /// RFC 7118.
    Ws,
    /// RFC 7118.
    Wss,
}

impl Transport {
    /// Whether the transport delivers reliably, so that nothing is retransmitted.
    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }

    /// Whether the hop is encrypted.
    pub fn is_secure(self) -> bool {
        matches!(self, Transport::Tls | Transport::Wss)
    }
}

/// The index of a listener in the configuration's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u16);

/// RFC 5626: one connection, or for UDP nothing more than its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId {
    /// The worker that owns the connection.
    pub owner: u16,
    /// Slot in the owner's table.
    pub slot: u32,
    /// Distinguishes later connections in the same slot.
    pub generation: u32,
}

/// The way a message came, and the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The listener that received it (for a connection we opened: the listener of the same transport it stands for).
    pub listener: ListenerId,
    /// The transport.
    pub transport: Transport,
    /// The local address as the packet told (never a wildcard).
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The connection; `None` for UDP.
    pub connection: Option<FlowId>,
}

/// Where a request is sent: the result of RFC 3263.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The transport to use.
    pub transport: Transport,
    /// The peer's address.
    pub address: SocketAddr,
    /// The name to check a certificate against, for TLS and WSS.
    pub host: Option<Arc<str>>,
    /// Send from this listener; `None`: the first that fits.
    pub listener: Option<ListenerId>,
    /// The address packets to this peer leave from. Needed only where the listener is bound to a wildcard and advertises nothing,
    /// for Via and Record-Route; `None`: the core takes the address the request came to.
    pub local: Option<IpAddr>,
}

impl Flow {
    /// The same peer at another port, over a connection of its own.
    pub fn at_port(&self, port: u16) -> Destination {
        Destination {
            transport: self.transport,
            address: SocketAddr::new(self.remote.ip(), port),
            host: None,
            listener: Some(self.listener),
            local: Some(self.local.ip()),
        }
    }
}

/// How the driver is to send a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendTo {
    /// Back over the flow a message came on. When its connection is gone the send fails, unless there is a port to open one to.
    Flow {
        /// The flow.
        flow: Flow,
        /// RFC 3261 §18.2.2: for responses, the port of the top Via. A new connection leads there, at the address of the flow.
        fallback_port: Option<u16>,
    },
    /// To a destination, over an existing connection or a new one.
    Destination(Destination),
}

pub use crate::packet::Packet;
pub use crate::tenant::{Armed, ChainPlaces, RouteId, Tenant};

/// Names a transaction in the answers to `Output::Send`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SendId(pub u64);

/// Names a hook run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HookId(pub u64);

/// Names a question to the resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResolveId(pub u64);

/// Names an update of the location service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpdateId(pub u64);

/// Names a request of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OriginateId(pub u64);

/// A policy version as the driver numbers it: the core only keeps it and hands it back (pinning). 0 is "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyVersion(pub u64);

impl PolicyVersion {
    /// The driver's numbers leave this bit free.
    const KEEPS_DIALOG: u64 = 1 << 63;

    /// The same version, which the dialog is to be kept in whatever the configuration says.
    pub fn keeping_dialog(self) -> PolicyVersion {
        PolicyVersion(self.0 | PolicyVersion::KEEPS_DIALOG)
    }

    /// Whether in-dialog requests run in this version even without `pin = "dialog"`.
    pub fn keeps_dialog(self) -> bool {
        self.0 & PolicyVersion::KEEPS_DIALOG != 0
    }

    /// The driver's number.
    pub fn number(self) -> u64 {
        self.0 & !PolicyVersion::KEEPS_DIALOG
    }
}

/// The hooks that run on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// A new request.
    RequestRoute,
    /// A branch before it is sent.
    BranchRoute,
    /// A response.
    OnreplyRoute,
    /// Every branch failed.
    FailureRoute,
}

/// Exactly one thing happened.
#[derive(Debug)]
pub enum Input {
    /// A message came. It is scanned, not validated.
    Received {
        /// The way it came.
        flow: Flow,
        /// The message.
        message: Arc<Message>,
    },
    /// A packet could not be sent, or its connection broke before an answer.
    SendFailed {
        /// The id of the `Output::Send`.
        id: SendId,
    },
    /// A hook is done.
    HookReturned {
        /// The id of the `Output::RunHook`.
        id: HookId,
        /// What it decided. After a fault the edits and decisions in the context are ignored.
        result: Result<Verdict, HookFault>,
        /// The context of the `RunHook`; `None` when the fault lost it.
        context: Option<Box<HookContext>>,
        /// The version that ran, to pin.
        version: PolicyVersion,
        /// The tenant that `request_route` ran for, to keep with the transaction.
        tenant: Option<Arc<Tenant>>,
    },
    /// The resolver's answer: destinations in the order to try; empty: none.
    Resolved {
        /// The id of the `Output::Resolve`.
        id: ResolveId,
        /// In the order of RFC 3263.
        destinations: Vec<Destination>,
    },
    /// The location service's answer.
    BindingsUpdated {
        /// The id of the `Output::UpdateBindings`.
        id: UpdateId,
        /// All live bindings after the update, or why it was refused.
        result: Result<Bindings, Reject>,
    },
    /// Send a request of our own.
    Originate(Originate),
    /// From now on new requests outside of dialogs get 503.
    Drain,
}

/// What the driver has to do, in this order.
#[derive(Debug)]
pub enum Output {
    /// Send a packet.
    Send {
        /// For `Input::SendFailed`. Several packets of one transaction have the same id; 0 is for answers without state.
        id: SendId,
        /// Where to.
        to: SendTo,
        /// What.
        packet: Packet,
    },
    /// Run a hook of the policy.
    RunHook {
        /// For `Input::HookReturned`.
        id: HookId,
        /// Which hook.
        hook: Hook,
        /// The version to run; `PolicyVersion(0)`: the active one.
        version: PolicyVersion,
        /// The tenant that the transaction has; `None` in `request_route`.
        tenant: Option<Arc<Tenant>>,
        /// What the hook sees and changes.
        context: Box<HookContext>,
    },
    /// RFC 3263: find where to send. Asked for names only: a URI with a numeric host is resolved by the core.
    Resolve {
        /// For `Input::Resolved`.
        id: ResolveId,
        /// The URI (Request-URI, top Route, or next hop).
        uri: Vec<u8>,
        /// The listener the policy chose.
        listener: Option<ListenerId>,
    },
    /// Apply a registration to the location service, atomically for the AOR.
    UpdateBindings {
        /// For `Input::BindingsUpdated`.
        id: UpdateId,
        /// The registration; `registrar::apply` is the rule.
        registration: Box<Registration>,
        /// The tenant whose location service it is for; `None`: the shared one.
        tenant: Option<Arc<Tenant>>,
    },
    /// A transaction that ran a hook is over: its version may be freed.
    Unpin {
        /// The version.
        version: PolicyVersion,
        /// The tenant that the transaction had.
        tenant: Option<Arc<Tenant>>,
    },
    /// The final answer (or a provisional one) to `Input::Originate`.
    OriginateResponse {
        /// The id of the request.
        id: OriginateId,
        /// The response; `None`: timeout or transport failure.
        response: Option<Arc<Message>>,
    },
    /// For logs, metrics and traces only.
    Event(Event),
}

/// What the driver may count and log; never needed for correctness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request was received that is no retransmission.
    Request,
    /// A retransmission was absorbed.
    Retransmission,
    /// A message was dropped.
    Dropped(DropReason),
    /// We made a final response ourselves.
    Replied {
        /// Its status.
        status: u16,
        /// The version that the request ran in; 0: none.
        version: PolicyVersion,
    },
    /// A final response to an INVITE was forwarded.
    InviteFinal {
        /// Its status.
        status: u16,
        /// The version that the request ran in; 0: none.
        version: PolicyVersion,
    },
    /// A hook run failed.
    HookFault {
        /// The hook.
        hook: Hook,
        /// Why.
        fault: HookFault,
    },
    /// Timer C ended a branch.
    TimerC,
    /// A limit of the configuration was reached.
    Limit(&'static str),
}

/// Why a message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// A response that matches no client transaction (RFC 6026 §8.9).
    UnmatchedResponse,
    /// A request that can't be answered.
    Malformed,
    /// An ACK that matches nothing and has no valid token.
    StrayAck,
    /// A response whose top Via is not ours.
    ForeignVia,
    /// The policy said so.
    Policy,
    /// A limit was reached and there is nobody to tell.
    Overload,
}

/// Why a hook did not return a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookFault {
    /// The guest trapped.
    Trap,
    /// It ran longer than `hook_deadline`.
    Deadline,
    /// It waited longer than `hook_timeout`.
    Timeout,
    /// It asked for more memory than `memory_limit`.
    Memory,
    /// Its verdict is not possible here.
    Verdict,
    /// No instance could be made, or too many hooks are waiting.
    Unavailable,
    /// A policy that the request's route names has no version to run.
    NoPolicy,
}

/// What a hook decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `request_route`, `failure_route`: forward to the targets.
    Relay,
    /// `request_route`, `failure_route`: answer ourselves.
    Reply(Reply),
    /// `request_route`: answer 401 or 407; the header values are already made.
    Challenge(Vec<Vec<u8>>),
    /// `request_route`: update the location service.
    Save,
    /// `request_route`: no answer. `branch_route`: no branch. `onreply_route`: not forwarded.
    Drop,
    /// `branch_route`, `onreply_route`, `failure_route`: go on.
    Pass,
}

/// A response that we make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 699.
    pub status: u16,
    /// Empty: the standard phrase.
    pub reason: String,
    /// Further headers.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Content-Type and body.
    pub body: Option<(Vec<u8>, Vec<u8>)>,
}

/// A refusal by a rule of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The status.
    pub status: u16,
    /// Empty: the standard phrase.
    pub reason: &'static str,
    /// Further headers (`Min-Expires: 60`).
    pub headers: Vec<(&'static str, String)>,
}

impl Reject {
    /// A refusal without headers.
    pub fn new(status: u16, reason: &'static str) -> Reject {
        Reject {
            status,
            reason,
            headers: Vec::new(),
        }
    }

    /// 420 with these options in Unsupported (RFC 3261 §8.2.2.3); `None` when there are none.
    pub(crate) fn bad_extension<'o>(options: impl Iterator<Item = &'o [u8]>) -> Option<Reject> {
        let options: Vec<_> = options.map(String::from_utf8_lossy).collect();
        (!options.is_empty()).then(|| Reject {
            headers: vec![("Unsupported", options.join(", "))],
            ..Reject::new(420, "")
        })
    }
}

/// What a hook sees and may change. It travels to the driver and back.
#[derive(Clone, Debug)]
pub struct HookContext {
    /// The hook this is for.
    pub hook: Hook,
    /// The request as received plus the edits so far; in `branch_route` the branch's own copy.
    pub request: Draft,
    /// `onreply_route`: the response, to edit. `failure_route`: the best response, to read.
    pub response: Option<Draft>,
    /// The way the request (in `onreply_route`: the response) came.
    pub source: Flow,
    /// The request is inside a dialog whose token is valid.
    pub in_dialog: bool,
    /// The route that made the dialog it is in; 0: none.
    pub route: RouteId,
    /// The place of the policy that runs, in the chain of its route. The core does not look at it.
    pub place: u8,
    /// What is armed so far, and by which policies of the chain.
    pub armed: Armed,
    /// The parameters of our Record-Route that came back, in the order they were set.
    pub record_route_parameters: Vec<(String, String)>,
    /// How often `failure_route` has retargeted.
    pub failure_round: u32,
    /// Kept with the transaction.
    pub variables: Vec<(String, String)>,
    /// `user@realm` whose credentials this request carries and the host has verified.
    pub verified_user: Option<String>,
    /// WWW-Authenticate values for the 401 that the core makes itself: the driver fills them when the verdict is `Save`,
    /// registration needs credentials and `verified_user` is `None`.
    pub challenge: Vec<Vec<u8>>,
    /// What the hook decides besides its verdict.
    pub routing: Routing,
    /// Room for the edits that the message had before the hook. The core forgets them with the box, and does nothing else with them.
    pub saved_edits: SavedEdits,
}

impl HookContext {
    /// The context of a hook on an empty message.
    pub(crate) fn new(hook: Hook, source: Flow) -> HookContext {
        HookContext {
            hook,
            request: Draft::default(),
            response: None,
            source,
            in_dialog: false,
            route: RouteId::NONE,
            place: 0,
            armed: Armed::default(),
            record_route_parameters: Vec::new(),
            failure_round: 0,
            variables: Vec::new(),
            verified_user: None,
            challenge: Vec::new(),
            routing: Routing::default(),
            saved_edits: SavedEdits::default(),
        }
    }

    /// The context of a hook on these messages, in place of one that has let go of its own.
    pub(crate) fn begin(
        &mut self,
        to_run: Hook,
        came: Flow,
        asked: Draft,
        answered: Option<Draft>,
    ) {
        // All fields, so that nothing of the hook before is forgotten.
        let HookContext {
            hook,
            request,
            response,
            source,
            in_dialog,
            route,
            place,
            armed,
            record_route_parameters,
            failure_round,
            variables,
            verified_user,
            challenge,
            routing,
            // It is written before it is read.
            saved_edits: _,
        } = self;
        *hook = to_run;
        *request = asked;
        *response = answered;
        *source = came;
        *in_dialog = false;
        *route = RouteId::NONE;
        *place = 0;
        *armed = Armed::default();
        record_route_parameters.clear();
        *failure_round = 0;
        variables.clear();
        *verified_user = None;
        challenge.clear();
        routing.begin();
    }

    /// Lets go of what is large or somebody else's.
    pub(crate) fn let_go(&mut self) {
        self.response = None;
        self.verified_user = None;
        self.challenge = Vec::new();
        self.variables = Vec::new();
        self.record_route_parameters = Vec::new();
        self.routing.record_route_parameters = Vec::new();
        self.saved_edits.let_go();
        target::empty(&mut self.routing.targets);
    }
}

impl Routing {
    fn begin(&mut self) {
        let Routing {
            targets,
            armed,
            record_route,
            record_route_parameters,
        } = self;
        targets.clear();
        *armed = Armed::default();
        *record_route = None;
        record_route_parameters.clear();
    }
}

/// What qualifies a verdict. Empty when the hook starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// In the order they were added.
    pub targets: Vec<Target>,
    /// Hooks to run for the branches that the verdict starts.
    pub armed: Armed,
    /// `None`: the default (on for requests that make a dialog).
    pub record_route: Option<bool>,
    /// Parameters for our Record-Route.
    pub record_route_parameters: Vec<(String, String)>,
}

/// RFC 3261 §16.5: one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The Request-URI of the branch; empty: that of the request.
    pub uri: Vec<u8>,
    /// Thousandths: higher first, equal ones in parallel.
    pub q: u16,
    /// Targets of a lower group are tried first, whatever their q.
    pub group: u16,
    /// RFC 3327: Route headers to put before the others.
    pub path: Vec<Vec<u8>>,
    /// The flow of a registered contact: send over it while it lives (RFC 5626 §5.3), else by the URI.
    pub flow: Option<Flow>,
    /// Send there instead of where Route or Request-URI say (§16.6 step 7: local policy).
    pub next_hop: Option<Vec<u8>>,
    /// Send from this listener.
    pub listener: Option<ListenerId>,
    /// End the branch with 408 when it has no final response by then.
    pub no_answer: Option<Duration>,
}

/// A request of our own.
#[derive(Clone, Debug)]
pub struct Originate {
    /// Names it in the answer.
    pub id: OriginateId,
    /// The method.
    pub method: Vec<u8>,
    /// The Request-URI, which is also resolved to find the destination.
    pub uri: Vec<u8>,
    /// The URI in From.
    pub from: Vec<u8>,
    /// The URI in To.
    pub to: Vec<u8>,
    /// Further headers.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Content-Type and body.
    pub body: Option<(Vec<u8>, Vec<u8>)>,
}

/// A listener as the core needs it.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its transport.
    pub transport: Transport,
    /// The bound address; may be a wildcard.
    pub address: SocketAddr,
    /// `host[:port]` for Via and Record-Route; `None`: the local address of the flow.
    pub advertise: Option<String>,
}

/// The configuration of a core. Replaced whole.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// The node's name, part of the tokens.
    pub node: String,
    /// This worker's number.
    pub worker: u16,
    /// Domains that this router is responsible for, lower case; the listen addresses are as well.
    pub domains: Vec<String>,
    /// Those of them that belong to tenants, lower case: nobody else changes their registrations.
    pub tenant_domains: BTreeSet<String>,
    /// In the configuration's order.
    pub listeners: Vec<Listener>,
    /// The key of Record-Route tokens and branch tokens (from the data directory).
    pub token_key: [u8; 32],
    /// Whether REGISTER needs verified credentials.
    pub registration_required: bool,
    /// The realm of the challenges.
    pub realm: String,
    /// `pin = "dialog"`: the policy version goes into the Record-Route token, and in-dialog requests run in it.
    pub pin_dialog: bool,
    /// RFC 3261 T1.
    pub t1: Duration,
    /// RFC 3261 T2.
    pub t2: Duration,
    /// RFC 3261 T4.
    pub t4: Duration,
    /// RFC 3261 §16.6 step 11.
    pub timer_c: Duration,
    /// Live server transactions.
    pub max_transactions: usize,
    /// Branches per transaction, over all rounds.
    pub max_branches: usize,
    /// Rounds of `failure_route`.
    pub max_failure_rounds: u32,
    /// RFC 5393 §5: what a request without Max-Breadth gets.
    pub max_breadth: u32,
    /// Seconds for Retry-After while draining or over a limit.
    pub retry_after_secs: u32,
}
