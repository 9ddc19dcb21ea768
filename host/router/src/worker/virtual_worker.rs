//! A worker without sockets, in virtual time: the same core, hooks, location service and look-ups as a real one.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::task::{Context, Poll, Waker};

use patchbay_core::door::{
    DropReason, Event, Flow, Hook, HookFault, HookId, Input, ListenerId, Output, ResolveId, SendId,
    SendTo, Target, Tenant, UpdateId, Verdict,
};
use patchbay_core::local::LocalNames;
use patchbay_core::time::{Instant, Now, UnixTime};
use patchbay_core::{Core, Counts};
use patchbay_message::{Limits, Message, ScanError};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::driver::{namespace_of, unpin};
use super::hook_runs::{HookJob, HookRuns};
use super::mailbox::{Answer, Mail};
use super::notices::Notice;
use super::setup::{core_config, message_limits};
use super::{Clock, Mailbox, VirtualTime};
use crate::hooks::Services;
use crate::location::{Done, LocationEvent};
use crate::outside::Script;
use crate::resolve::{Resolution, Resolver};
use crate::server::{Shared, notice_of};
use crate::transport::Connections;

/// The only worker there is.
const WORKER: u16 = 0;

/// What a worker did that can be seen from outside, or that explains what it did next.
#[derive(Debug)]
pub(crate) enum Effect {
    /// It wants this packet sent.
    Send {
        /// For [`VirtualWorker::send_failed`].
        id: SendId,
        /// Where to.
        to: SendTo,
        /// What.
        packet: patchbay_core::door::Packet,
    },
    /// A hook returned.
    Hook {
        /// Which; `None` when a fault lost it.
        hook: Option<Hook>,
        /// What it decided.
        result: Result<Verdict, HookFault>,
        /// The targets it added.
        targets: Vec<Target>,
    },
    /// `event-route` was given this.
    Event(patchbay_policy::Event),
    /// A message was dropped.
    Dropped(DropReason),
}

/// One worker with everything around it.
pub(crate) struct VirtualWorker {
    core: Core,
    services: Arc<Services>,
    hooks: HookRuns,
    /// For hooks whose answer from outside is there.
    mailbox: Mailbox,
    resolver: Resolver,
    limits: Limits,
    time: Arc<VirtualTime>,
    now: Now,
    /// Changes of bindings, for `event-route`.
    changes: Receiver<LocationEvent>,
    events: VecDeque<Notice>,
    /// Versions pinned, less those given back.
    pins: i64,
    running: Vec<(HookId, Hook)>,
    /// When a registration may expire, as it was when the location service may last have changed.
    expiry: Option<UnixTime>,
    is_expiry_stale: bool,
}

impl VirtualWorker {
    /// A worker whose time starts at `start`, whose random numbers come from `seed`, and who resolves these names.
    pub(crate) fn new(
        shared: Arc<Shared>,
        changes: Receiver<LocationEvent>,
        start: UnixTime,
        seed: u64,
        names: HashMap<String, Vec<IpAddr>>,
    ) -> VirtualWorker {
        let config = shared.config.load_full();
        let core_config = core_config(&shared, &config, WORKER);
        let time = Arc::new(VirtualTime::starting_at(start));
        let clock = Clock::showing(Arc::clone(&time));
        let now = clock.now();
        let connections = Connections::new(&[Mailbox::new()], config.limits.max_connections);
        let mut random = StdRng::seed_from_u64(seed);
        let core_seed = random.random();
        let mailbox = Mailbox::new();
        let services = Services::new(
            Arc::clone(&shared),
            WORKER,
            Arc::new(connections),
            LocalNames::of(&config.shared_domains(), &shared.listeners),
            clock,
        );
        VirtualWorker {
            resolver: Resolver::of_names(shared.listeners.clone(), names),
            core: Core::new(Arc::new(core_config), core_seed),
            hooks: HookRuns::new(&shared.policies, WORKER, mailbox.clone()),
            mailbox,
            services: Arc::new(services.with_random(random)),
            limits: message_limits(&config),
            time,
            now,
            changes,
            events: VecDeque::new(),
            pins: 0,
            running: Vec::new(),
            expiry: None,
            is_expiry_stale: true,
        }
    }

    /// What it shares with the rest of the router.
    pub(crate) fn shared(&self) -> &Shared {
        &self.services.shared
    }

    /// Its connections.
    pub(crate) fn connections(&self) -> &Connections {
        &self.services.connections
    }

    /// The time it is.
    pub(crate) fn now(&self) -> Now {
        self.now
    }

    /// Milliseconds since 1970.
    pub(crate) fn unix_ms(&self) -> u64 {
        self.services.clock.unix_ms()
    }

    /// What is alive in the core, and hooks that have not returned.
    pub(crate) fn counts(&self) -> Counts {
        self.core.counts()
    }

    /// Versions that are pinned by transactions.
    pub(crate) fn pins(&self) -> i64 {
        self.pins
    }

    /// How often `event-route` has failed.
    pub(crate) fn event_faults(&self) -> u64 {
        self.hooks.event_faults()
    }

    /// Forgets the changes of bindings so far.
    pub(crate) fn forget_changes(&mut self) {
        self.changes.try_iter().for_each(drop);
        self.is_expiry_stale = true;
    }

    /// When it has something to do by itself, traffic apart. Registrations expire at a full second.
    pub(crate) fn deadline(&mut self) -> Option<Instant> {
        let expiry = self.next_expiry().map(|expiry| {
            let seconds = expiry.0.saturating_sub(self.now.unix.0);
            let this_second = self.now.instant.0 - self.now.instant.0 % 1_000_000;
            Instant(this_second.saturating_add(seconds.saturating_mul(1_000_000)))
        });
        [
            self.core.poll_timeout(),
            self.services.next_timer(),
            expiry.map(|moment| moment.max(self.now.instant)),
            self.script().and_then(|script| script.next_due()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Who answers over HTTP.
    pub(crate) fn script(&self) -> Option<&Script> {
        self.services.shared.http.script().map(|script| &**script)
    }

    fn next_expiry(&mut self) -> Option<UnixTime> {
        if std::mem::take(&mut self.is_expiry_stale) {
            self.expiry = self.services.shared.location.next_expiry();
        }
        self.expiry
    }

    /// Lets time pass up to this moment, and does what is due.
    pub(crate) fn advance(&mut self, to: Instant, effects: &mut Vec<Effect>) {
        self.time.set(to.max(self.now.instant));
        self.now = self.services.clock.now();
        if self
            .core
            .poll_timeout()
            .is_some_and(|moment| moment <= self.now.instant)
        {
            self.core.handle_timeout(self.now);
        }
        let events = &mut self.events;
        self.services
            .take_due_timers(self.now.instant, |owner, name| {
                events.push_back(Notice::timer(owner, name))
            });
        if self
            .next_expiry()
            .is_some_and(|expiry| expiry <= self.now.unix)
        {
            self.services.shared.location.expire(self.now.unix);
            self.is_expiry_stale = true;
        }
        if let Some(script) = self.script() {
            script.answer_due(self.now.instant);
        }
        self.carry_out(effects);
    }

    /// A message came.
    pub(crate) fn received(
        &mut self,
        flow: Flow,
        bytes: &[u8],
        effects: &mut Vec<Effect>,
    ) -> Result<(), ScanError> {
        let message = Arc::new(Message::parse(bytes, &self.limits)?);
        self.core
            .handle(self.now, Input::Received { flow, message });
        self.carry_out(effects);
        Ok(())
    }

    /// A packet could not be sent.
    pub(crate) fn send_failed(&mut self, id: SendId, effects: &mut Vec<Effect>) {
        self.core.handle(self.now, Input::SendFailed { id });
        self.carry_out(effects);
    }

    /// Performs outputs, and runs hooks to their end, or until they wait for an answer from outside: only that takes virtual time.
    fn carry_out(&mut self, effects: &mut Vec<Effect>) {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            while let Some(output) = self.core.poll_output() {
                self.perform(output, effects, &mut context);
            }
            self.start_events(effects);
            match self.hooks.poll_next(&self.services, self.now, &mut context) {
                Poll::Ready(input) => self.returned(input, effects),
                Poll::Pending if self.hooks.is_waiting() => std::thread::yield_now(),
                Poll::Pending if self.has_more() || self.has_woken() => {}
                Poll::Pending => return,
            }
        }
    }

    /// Whether hooks of events have left something to do.
    fn has_more(&mut self) -> bool {
        self.take_changes();
        !self.events.is_empty()
    }

    /// Whether hooks go on whose answer from outside is there.
    fn has_woken(&mut self) -> bool {
        let mut mail = Mail::default();
        self.mailbox.take(&mut mail);
        for answer in mail.answers {
            if let Answer::HookWoken(number) = answer {
                self.hooks.wake(number);
            }
        }
        self.hooks.is_waiting()
    }

    fn perform(&mut self, output: Output, effects: &mut Vec<Effect>, context: &mut Context<'_>) {
        match output {
            Output::Send { id, to, packet } => effects.push(Effect::Send { id, to, packet }),
            Output::RunHook {
                id,
                hook,
                version,
                tenant,
                context: seen,
            } => {
                self.pins += i64::from(hook == Hook::RequestRoute);
                self.running.push((id, hook));
                let job = HookJob {
                    id,
                    hook,
                    version,
                    tenant,
                    context: seen,
                };
                if let Some(input) = self.hooks.run(job, &self.services, self.now, context) {
                    self.returned(input, effects);
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
                self.pins -= 1;
                unpin(&mut self.hooks.policies, version, tenant.as_deref());
            }
            // Nobody asks for requests of the router's own here.
            Output::OriginateResponse { .. } => {}
            Output::Event(Event::Dropped(reason)) => effects.push(Effect::Dropped(reason)),
            Output::Event(_) => {}
        }
    }

    fn returned(&mut self, input: Input, effects: &mut Vec<Effect>) {
        // A hook may have changed a contact.
        self.is_expiry_stale = true;
        if let Input::HookReturned {
            id,
            result,
            context,
            ..
        } = &input
        {
            let at = self.running.iter().position(|(running, _)| running == id);
            effects.push(Effect::Hook {
                hook: at.map(|at| self.running.swap_remove(at).1),
                result: result.clone(),
                targets: context
                    .as_ref()
                    .map(|context| context.routing.targets.clone())
                    .unwrap_or_default(),
            });
        }
        self.core.handle(self.now, input);
    }

    fn start_events(&mut self, effects: &mut Vec<Effect>) {
        self.take_changes();
        while self.hooks.takes_event()
            && let Some(notice) = self.events.pop_front()
        {
            effects.push(Effect::Event(notice.event.clone()));
            self.is_expiry_stale = true;
            self.hooks.run_event(notice, &self.services, self.now);
        }
    }

    fn take_changes(&mut self) {
        let now = self.now.unix;
        let changes = self.changes.try_iter();
        self.events
            .extend(changes.map(|change| notice_of(&change, now)));
    }

    fn resolve(&mut self, id: ResolveId, uri: &[u8], listener: Option<ListenerId>) {
        let destinations = match self.resolver.resolve(uri, listener) {
            Resolution::Now(destinations) => destinations,
            Resolution::Later(_) => unreachable!("all names are known"),
        };
        self.core
            .handle(self.now, Input::Resolved { id, destinations });
    }

    fn update_bindings(
        &mut self,
        id: UpdateId,
        registration: &patchbay_core::registrar::Registration,
        tenant: Option<&Tenant>,
    ) {
        self.is_expiry_stale = true;
        let location = &self.services.shared.location;
        // Without a store every answer comes at once.
        let namespace = tenant.and_then(namespace_of);
        let done = || Done::call(drop);
        let answer = location.update_in(namespace, registration, self.now.unix, done);
        if let Some(result) = answer {
            self.core
                .handle(self.now, Input::BindingsUpdated { id, result });
        }
    }
}
