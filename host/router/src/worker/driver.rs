//! Drives the core: hands it what happened and carries out what it asks for.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use patchbay_core::Core;
use patchbay_core::affinity::Affinity;
use patchbay_core::door::{
    Destination, DropReason, Event, Flow, Input, ListenerId, Originate, OriginateId, Output,
    PolicyVersion, ResolveId, SendId, Tenant, Transport, UpdateId,
};
use patchbay_core::registrar::Registration;
use patchbay_core::time::Now;
use patchbay_message::{Limits, Message, MessagePool, ScanError};
use patchbay_policy::Reader;
use tokio::sync::oneshot;

use super::hand_over::HandedOver;
use super::hook_runs::{HookJob, HookRuns};
use super::notices::Notice;
use super::sending::Sending;
use super::source_limit::SourceLimit;
use super::spin::Last;
use super::{Answer, Mailbox};
use crate::hooks::{HookHost, Services};
use crate::location::{self, Done, Namespace, Recipient};
use crate::metrics::{
    DropLabel, LimitLabel, MethodLabel, RegistrationResult, StatusClass, WorkerMetrics,
};
use crate::resolve::{Resolution, Resolver};
use crate::routes::Chain;

/// Questions to name servers at the same time. One more is answered with "nowhere" and counted.
const MAX_RESOLUTIONS: usize = 1000;
/// Requests of our own at the same time; one more fails at once.
const MAX_ORIGINATED: usize = 1000;
/// Messages whose memory is used again once the core has let go of them.
const MAX_LENT: usize = 4096;
/// How many of them are looked at to find one.
const PROBED_LENT: usize = 4;

/// One worker's core and what it takes to carry out its outputs.
pub(super) struct Driver {
    pub(super) core: Core,
    pub(super) services: Arc<Services>,
    pub(super) hooks: HookRuns,
    pub(super) sending: Sending,
    pub(super) resolver: Resolver,
    pub(super) affinity: Affinity,
    pub(super) limits: Limits,
    pub(super) source_limit: SourceLimit,
    pub(super) mailboxes: Vec<Mailbox>,
    /// This worker's own one, as the location service knows it.
    pub(super) recipient: Arc<dyn Recipient>,
    /// For the other workers, by worker; given away once per turn of the loop.
    pub(super) hand_over: Vec<HandedOver>,
    pub(super) resolving: FuturesUnordered<Resolving>,
    pub(super) originated: HashMap<OriginateId, oneshot::Sender<Option<Arc<Message>>>>,
    pub(super) next_originate: u64,
    pub(super) messages: Messages,
    /// Of the message that came last, to count it once the core says that it is new.
    pub(super) method: MethodLabel,
    /// What it was, for a guess when the next one comes.
    pub(super) last: Last,
    /// Read once per turn of the loop.
    pub(super) now: Now,
}

/// A question to name servers.
pub(super) struct Resolving {
    id: ResolveId,
    answer: Pin<Box<dyn Future<Output = Vec<Destination>>>>,
}

impl Future for Resolving {
    type Output = (ResolveId, Vec<Destination>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let destinations = std::task::ready!(self.answer.as_mut().poll(context));
        Poll::Ready((self.id, destinations))
    }
}

impl Driver {
    /// The numbers of this worker.
    pub(super) fn metrics(&self) -> &WorkerMetrics {
        metrics_of(&self.services)
    }

    /// A message came in on a socket of this worker: it is handled here or handed over to the worker it belongs to.
    pub(super) fn arrived(&mut self, flow: &Flow, bytes: &[u8], context: &mut Context<'_>) {
        let metrics = metrics_of(&self.services);
        metrics.messages_received.increment(flow.transport);
        metrics
            .bytes_received
            .add(flow.transport, bytes.len() as u64);
        if !self
            .source_limit
            .admits(flow.remote.ip(), bytes, self.now.instant)
        {
            metrics.limits.increment(LimitLabel::RequestsPerSource);
            metrics.dropped.increment(DropLabel(DropReason::Overload));
            return;
        }
        if self.mailboxes.len() > 1 {
            // A message without a key to tell by stays: the core answers it or drops it.
            let owner = self
                .affinity
                .worker_of(bytes)
                .unwrap_or(self.services.worker);
            if owner != self.services.worker
                && let Some(messages) = self.hand_over.get_mut(usize::from(owner))
            {
                messages.push(flow, bytes);
                return;
            }
        }
        self.received(flow, bytes, context);
    }

    /// A message of this worker.
    pub(super) fn received(&mut self, flow: &Flow, bytes: &[u8], context: &mut Context<'_>) {
        match self.messages.scan(bytes, &self.limits) {
            Ok(message) => {
                self.method = MethodLabel::of(message.method().as_bytes());
                self.last = match message.status() {
                    None => {
                        self.count_without_transaction();
                        Last::Request(self.method)
                    }
                    Some(..200) => Last::Provisional,
                    Some(_) => Last::Final,
                };
                let input = Input::Received {
                    flow: *flow,
                    message: Arc::clone(&message),
                };
                self.input(input, context);
                self.messages.give_back(message);
            }
            Err(ScanError::KeepAlive) => metrics_of(&self.services).keep_alives.increment(),
            Err(error) => {
                tracing::debug!(peer = %flow.remote, %error, "dropped what is no message");
                metrics_of(&self.services)
                    .dropped
                    .increment(DropLabel(DropReason::Malformed));
            }
        }
    }

    /// The core tells of each request that is new, but not of these: they make no transaction that would tell one from its retransmission.
    fn count_without_transaction(&self) {
        if matches!(self.method, MethodLabel::Ack | MethodLabel::Cancel) {
            self.metrics().requests.increment(self.method);
        }
    }

    /// Something happened: tells the core and carries out all that follows.
    pub(super) fn input(&mut self, input: Input, context: &mut Context<'_>) {
        self.core.handle(self.now, input);
        self.carry_out(context);
    }

    /// The core's deadline has passed.
    pub(super) fn timeout(&mut self, context: &mut Context<'_>) {
        self.core.handle_timeout(self.now);
        self.carry_out(context);
    }

    /// An answer from another thread.
    pub(super) fn answered(&mut self, answer: Answer, context: &mut Context<'_>) {
        match answer {
            Answer::SendFailed(id) => {
                // The transport is that of a connection; only TCP connections exist.
                self.metrics().send_failures.increment(Transport::Tcp);
                self.input(Input::SendFailed { id }, context);
            }
            Answer::HookWoken(number) => self.hooks.wake(number),
            Answer::BindingsUpdated { id, result } => {
                self.bindings_updated(id, result);
                self.carry_out(context);
            }
        }
    }

    /// Sends a request of our own.
    pub(super) fn originate(
        &mut self,
        mut request: Originate,
        answer: oneshot::Sender<Option<Arc<Message>>>,
        context: &mut Context<'_>,
    ) {
        if self.originated.len() >= MAX_ORIGINATED {
            // Whoever asked may have gone: then nobody needs the answer.
            let _ = answer.send(None);
            return;
        }
        self.next_originate += 1;
        request.id = OriginateId(self.next_originate);
        self.originated.insert(request.id, answer);
        self.input(Input::Originate(request), context);
    }

    /// A datagram could not be sent.
    pub(super) fn udp_failed(&mut self, id: SendId, context: &mut Context<'_>) {
        self.metrics().send_failures.increment(Transport::Udp);
        self.input(Input::SendFailed { id }, context);
    }

    /// Runs `event-route`.
    pub(super) fn run_event(&mut self, notice: Notice) {
        self.hooks.run_event(notice, &self.services, self.now);
    }

    /// Whether hooks or name servers have answers to give.
    pub(super) fn is_waiting(&self) -> bool {
        self.hooks.is_waiting() || !self.resolving.is_empty()
    }

    /// Takes the answers of hooks and name servers that waited; `true` when there was one.
    pub(super) fn poll_waiting(&mut self, context: &mut Context<'_>) -> bool {
        let mut progress = false;
        while let Poll::Ready(input) = self.hooks.poll_next(&self.services, self.now, context) {
            progress = true;
            self.input(input, context);
        }
        while !self.resolving.is_empty()
            && let Poll::Ready(Some((id, destinations))) = self.resolving.poll_next_unpin(context)
        {
            progress = true;
            self.resolved(id, destinations, context);
        }
        progress
    }

    /// Performs outputs until there are none. A hook that is done at once is an input right here, and its outputs follow.
    fn carry_out(&mut self, context: &mut Context<'_>) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { id, to, packet } => {
                    if !self.sending.send(
                        id,
                        to,
                        packet,
                        self.resolver.listeners(),
                        metrics_of(&self.services),
                    ) {
                        self.core.handle(self.now, Input::SendFailed { id });
                    }
                }
                Output::RunHook {
                    id,
                    hook,
                    version,
                    tenant,
                    context: seen,
                } => {
                    let job = HookJob {
                        id,
                        hook,
                        version,
                        tenant,
                        context: seen,
                    };
                    if let Some(input) = self.hooks.run(job, &self.services, self.now, context) {
                        self.core.handle(self.now, input);
                    }
                }
                Output::Resolve { id, uri, listener } => self.resolve(id, &uri, listener),
                Output::UpdateBindings {
                    id,
                    registration,
                    tenant,
                } => {
                    self.update_bindings(id, &registration, tenant.as_deref());
                    self.core.give_back(registration);
                }
                Output::Unpin { version, tenant } => {
                    unpin(&mut self.hooks.policies, version, tenant.as_deref());
                }
                Output::OriginateResponse { id, response } => self.originate_answered(id, response),
                Output::Event(event) => count(&self.services, &event, self.method),
            }
        }
    }

    fn resolve(&mut self, id: ResolveId, uri: &[u8], listener: Option<ListenerId>) {
        metrics_of(&self.services).resolutions.increment();
        let destinations = match self.resolver.resolve(uri, listener) {
            Resolution::Now(destinations) => destinations,
            Resolution::Later(answer) if self.resolving.len() < MAX_RESOLUTIONS => {
                self.resolving.push(Resolving { id, answer });
                self.sending.concerns_runtime = true;
                return;
            }
            Resolution::Later(_) => {
                metrics_of(&self.services)
                    .limits
                    .increment(LimitLabel::Other);
                Vec::new()
            }
        };
        self.count_resolution(&destinations);
        self.core
            .handle(self.now, Input::Resolved { id, destinations });
    }

    fn resolved(
        &mut self,
        id: ResolveId,
        destinations: Vec<Destination>,
        context: &mut Context<'_>,
    ) {
        self.count_resolution(&destinations);
        self.input(Input::Resolved { id, destinations }, context);
    }

    fn count_resolution(&self, destinations: &[Destination]) {
        if destinations.is_empty() {
            metrics_of(&self.services).resolution_failures.increment();
        }
    }

    /// What needs no store is answered in the same step.
    fn update_bindings(
        &mut self,
        id: UpdateId,
        registration: &Registration,
        tenant: Option<&Tenant>,
    ) {
        let recipient = &self.recipient;
        let done = || Done::Tell {
            recipient: Arc::clone(recipient),
            id: id.0,
        };
        let location = &self.services.shared.location;
        let namespace = tenant.and_then(namespace_of);
        let answer = location.update_in(namespace, registration, self.now.unix, done);
        if let Some(result) = answer {
            self.bindings_updated(id, result);
        }
    }

    fn bindings_updated(&mut self, id: UpdateId, result: location::Answer) {
        self.metrics().registrations.increment(match &result {
            Ok(_) => RegistrationResult::Stored,
            Err(reject) if reject.status >= 500 => RegistrationResult::Failed,
            Err(_) => RegistrationResult::Refused,
        });
        self.core
            .handle(self.now, Input::BindingsUpdated { id, result });
    }

    fn originate_answered(&mut self, id: OriginateId, response: Option<Arc<Message>>) {
        let is_final = response
            .as_ref()
            .is_none_or(|response| response.status().is_some_and(|status| status >= 200));
        if !is_final {
            return;
        }
        if let Some(answer) = self.originated.remove(&id) {
            // Whoever asked may have gone: then nobody needs the answer.
            let _ = answer.send(response);
        }
    }

    /// Gives the other workers their messages.
    pub(super) fn flush_hand_over(&mut self) {
        for (mailbox, messages) in self.mailboxes.iter().zip(&mut self.hand_over) {
            if messages.is_empty() {
                continue;
            }
            let count = messages.len();
            let refused = mailbox.hand_over(messages);
            let metrics = metrics_of(&self.services);
            metrics
                .handed_over
                .add(count.saturating_sub(refused) as u64);
            metrics.limits.add(LimitLabel::Mailbox, refused as u64);
            metrics
                .dropped
                .add(DropLabel(DropReason::Overload), refused as u64);
        }
    }
}

/// Messages in use and their memory.
pub(super) struct Messages {
    pool: MessagePool,
    /// Those that the core still held after it had handled them, oldest first.
    lent: VecDeque<Arc<Message>>,
}

impl Messages {
    /// None yet.
    pub(super) fn new() -> Messages {
        Messages {
            pool: MessagePool::default(),
            lent: VecDeque::new(),
        }
    }

    /// Scans into memory that the core has let go of.
    fn scan(&mut self, bytes: &[u8], limits: &Limits) -> Result<Arc<Message>, ScanError> {
        if self.pool.is_empty() {
            self.collect();
        }
        let mut message = self.pool.take();
        let Some(target) = Arc::get_mut(&mut message) else {
            unreachable!("the pool's messages are held by nobody else")
        };
        match target.parse_into(bytes, limits) {
            Ok(()) => Ok(message),
            Err(error) => {
                self.pool.put(message);
                Err(error)
            }
        }
    }

    /// The core has handled this message. Most it has let go of by then: all but requests that wait for their response.
    fn give_back(&mut self, message: Arc<Message>) {
        if Arc::strong_count(&message) == 1 {
            self.pool.put(message);
        } else if self.lent.len() < MAX_LENT {
            self.lent.push_back(message);
        }
    }

    /// Looks for one that the core has let go of by now. They are let go of in about the order in which they came, so that the first is
    /// likely to be one; to look at each of them costs a look at memory that the processor has not near any more.
    fn collect(&mut self) {
        for _ in 0..PROBED_LENT {
            let Some(message) = self.lent.pop_front() else {
                return;
            };
            if Arc::strong_count(&message) == 1 {
                self.pool.put(message);
                return;
            }
            self.lent.push_back(message);
        }
    }
}

/// The namespace of a tenant's registrations.
pub(super) fn namespace_of(tenant: &Tenant) -> Option<&Arc<Namespace>> {
    Chain::of(tenant).map(|chain| &chain.route.namespace)
}

/// A transaction is over that has run in this version, or in the versions of a chain.
pub(super) fn unpin(
    policies: &mut Reader<HookHost>,
    version: PolicyVersion,
    tenant: Option<&Tenant>,
) {
    match tenant.and_then(Chain::of) {
        None => policies.unpin(version.number()),
        Some(chain) => chain.end(policies.policies()),
    }
}

pub(super) fn metrics_of(services: &Services) -> &WorkerMetrics {
    let Some(metrics) = services
        .shared
        .metrics
        .workers
        .get(usize::from(services.worker))
    else {
        unreachable!("there are metrics for every worker")
    };
    metrics
}

fn count(services: &Services, event: &Event, method: MethodLabel) {
    let metrics = metrics_of(services);
    let count_final = |status, version| {
        let shared = &services.shared;
        shared
            .rollout
            .count_final(services.worker, version, status, &shared.policies);
    };
    match event {
        Event::Request => metrics.requests.increment(method),
        Event::Retransmission => metrics.retransmissions.increment(),
        Event::Dropped(reason) => metrics.dropped.increment(DropLabel(*reason)),
        Event::Replied { status, version } => {
            metrics.replies.increment(StatusClass(*status));
            count_final(*status, *version);
        }
        Event::InviteFinal { status, version } => {
            metrics.invite_finals.increment(StatusClass(*status));
            count_final(*status, *version);
        }
        Event::HookFault { fault, .. } => metrics.hook_faults.increment(*fault),
        Event::TimerC => metrics.timer_c.increment(),
        Event::Limit(name) => metrics.limits.increment(LimitLabel::from_name(name)),
    }
}
