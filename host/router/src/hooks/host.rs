//! The capabilities of a policy, carried out.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use patchbay_core::door::{
    self, Armed as CoreArmed, ChainPlaces, HookContext, ListenerId, Routing, Target as CoreTarget,
    Transport as CoreTransport,
};
use patchbay_core::registrar::Registration;
use patchbay_message::{AddressOfRecord, Draft, HeaderName, Name, Uri};
use patchbay_policy::{
    Armed, Binding, Capability, ErrorKind, Host, HostError, HttpAnswer, HttpRequest,
    KeyValueAnswer, KeyValueRequest, Level, LookupResult, Sleep, Source, Target, Transport,
    Verification,
};

use super::again::EditsBefore;
use super::lookups::{
    Asked, address_of_record, address_of_record_in, host_error, is_registered_source, target,
};
use super::outside;
use super::services::Services;
use super::tape::Played;
use super::timers::TimerRefusal;
use super::{HookHost, PolicyName, ReplyParts};
use crate::config;
use crate::trace::{Act, Answer};
use crate::worker::unpredictable;

/// Where the lines of policies go in the log's filter.
pub(super) const LOG_TARGET: &str = "patchbay::policy";
/// Targets of one hook run, before `max_branches` counts them.
const MAX_TARGETS: usize = 1000;
/// Variables of a transaction, and bytes of one.
const MAX_VARIABLES: usize = 100;
const MAX_VARIABLE_BYTES: usize = 4096;
/// Parameters of our Record-Route.
const MAX_RECORD_ROUTE_PARAMETERS: usize = 16;
/// Headers of a reply.
const MAX_REPLY_HEADERS: usize = 100;
/// The longest name of a timer or counter.
const MAX_NAME_BYTES: usize = 128;

impl Host for HookHost {
    type Before = ();

    #[inline]
    fn before(&mut self) -> Option<()> {
        let can_begin_again = self.can_begin_again();
        self.edits = match can_begin_again {
            true => EditsBefore::Unsaved,
            false => EditsBefore::NotWanted,
        };
        can_begin_again.then_some(())
    }

    fn undo(&mut self, (): ()) {
        self.begin_again();
    }

    fn grants(&self, capability: Capability) -> bool {
        outside::grants(&self.config().policy.grants, capability)
    }

    fn message(&self) -> Option<&Draft> {
        let context = self.context.as_ref()?;
        match context.hook {
            door::Hook::OnreplyRoute => context.response.as_ref(),
            _ => Some(&context.request),
        }
    }

    fn message_mut(&mut self) -> Option<&mut Draft> {
        let context = self.context.as_deref_mut()?;
        let message = match context.hook {
            door::Hook::OnreplyRoute => context.response.as_mut()?,
            _ => &mut context.request,
        };
        if self.edits == EditsBefore::Unsaved {
            self.edits = EditsBefore::Saved;
            context.saved_edits.save(message);
        }
        Some(message)
    }

    fn may_write(&self, name: &str) -> bool {
        let grants = &self.config().policy.grants;
        grants
            .write_headers
            .as_ref()
            .is_none_or(|patterns| patterns.iter().any(|pattern| names(pattern, name)))
    }

    fn response(&self) -> Option<&Draft> {
        self.context.as_ref()?.response.as_ref()
    }

    fn source(&self) -> Option<Source> {
        let source = &self.context.as_ref()?.source;
        Some(Source {
            transport: transport(source.transport),
            remote: source.remote,
            local: source.local,
        })
    }

    fn in_dialog(&self) -> bool {
        self.context
            .as_ref()
            .is_some_and(|context| context.in_dialog)
    }

    fn is_local_uri(&self, uri: &str) -> bool {
        let (Some(context), Ok(uri)) = (&self.context, Uri::parse(uri.as_bytes())) else {
            return false;
        };
        let local = context.source.local.ip();
        match &self.services {
            Some(services) => match self.route() {
                None => services.is_local(&uri, local),
                Some(route) => route.names.is_local(&uri, local),
            },
            None => self
                .played()
                .is_some_and(|played| played.is_local(&uri, local)),
        }
    }

    fn failure_round(&self) -> u32 {
        self.context
            .as_ref()
            .map_or(0, |context| context.failure_round)
    }

    fn variable(&self, name: &str) -> Option<&str> {
        value_of(&self.context.as_ref()?.variables, name)
    }

    fn set_variable(&mut self, name: &str, value: &str) -> Result<(), HostError> {
        let variables = &mut self.context_mut()?.variables;
        if value.len() > MAX_VARIABLE_BYTES || name.len() > MAX_NAME_BYTES {
            return Err(host_error(
                ErrorKind::Limit,
                "a variable may have 4096 bytes, its name 128",
            ));
        }
        if let Some((_, old)) = variables.iter_mut().find(|(known, _)| known == name) {
            value.clone_into(old);
            return Ok(());
        }
        if variables.len() >= MAX_VARIABLES {
            return Err(host_error(
                ErrorKind::Limit,
                "a transaction may have 100 variables",
            ));
        }
        variables.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    fn arm(&mut self, hooks: Armed) {
        let Ok(context) = self.context_mut() else {
            return;
        };
        let own = ChainPlaces::at(context.place);
        let by = |is_armed| if is_armed { own } else { ChainPlaces::NONE };
        context.routing.armed = context.routing.armed.and(CoreArmed {
            branch_route: by(hooks.branch_route),
            onreply_route: by(hooks.onreply_route),
            failure_route: by(hooks.failure_route),
        });
    }

    fn set_record_route(&mut self, enabled: bool) {
        if let Ok(routing) = self.routing() {
            routing.record_route = Some(enabled);
        }
    }

    fn add_record_route_parameter(&mut self, name: &str, value: &str) -> Result<(), HostError> {
        let parameters = &mut self.routing()?.record_route_parameters;
        if value.len() > MAX_NAME_BYTES
            || name.len() > MAX_NAME_BYTES
            || parameters.len() >= MAX_RECORD_ROUTE_PARAMETERS
        {
            return Err(host_error(
                ErrorKind::Limit,
                "Record-Route may have 16 parameters of 128 bytes",
            ));
        }
        parameters.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    fn record_route_parameter(&self, name: &str) -> Option<&str> {
        value_of(&self.context.as_ref()?.record_route_parameters, name)
    }

    fn add_target(&mut self, target: Target) -> Result<(), HostError> {
        let listener = match &target.listener {
            Some(text) => Some(self.listener_named(text)?),
            None => None,
        };
        let target = CoreTarget {
            uri: target.uri.into_bytes(),
            q: target.q.min(1000),
            group: self.group,
            path: Vec::new(),
            flow: None,
            next_hop: target.next_hop.map(String::into_bytes),
            listener,
            no_answer: target
                .no_answer_ms
                .map(|ms| Duration::from_millis(ms.into())),
        };
        let targets = &mut self.routing()?.targets;
        if targets.len() >= MAX_TARGETS {
            return Err(host_error(ErrorKind::Limit, "a hook may add 1000 targets"));
        }
        targets.push(target);
        Ok(())
    }

    fn add_lookup(&mut self, lookup: u32) -> Result<u32, HostError> {
        let Some(services) = self.services.as_deref() else {
            return self.add_played_lookup(lookup);
        };
        let group = self.group;
        let bindings = self.lookups.bindings(lookup)?;
        let targets = &mut self
            .context
            .as_mut()
            .ok_or_else(wrong_hook)?
            .routing
            .targets;
        if targets.len().saturating_add(bindings.len()) > MAX_TARGETS {
            return Err(host_error(ErrorKind::Limit, "a hook may add 1000 targets"));
        }
        targets.extend(
            bindings
                .iter()
                .map(|binding| target(services, binding, group)),
        );
        Ok(u32::try_from(bindings.len()).unwrap_or(u32::MAX))
    }

    fn next_group(&mut self) {
        self.group = self.group.saturating_add(1);
    }

    fn set_no_answer_timeout(&mut self, ms: u32) {
        self.no_answer_ms = Some(ms);
    }

    fn clear_targets(&mut self) {
        if let Ok(routing) = self.routing() {
            routing.targets.clear();
        }
        self.group = 0;
    }

    fn target_count(&self) -> u32 {
        let count = self
            .context
            .as_ref()
            .map_or(0, |context| context.routing.targets.len());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn add_reply_header(&mut self, name: &str, value: &str) -> Result<(), HostError> {
        self.context_mut()?;
        let headers = &mut self.reply_parts().headers;
        if headers.len() >= MAX_REPLY_HEADERS {
            return Err(host_error(ErrorKind::Limit, "a reply may have 100 headers"));
        }
        headers.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        Ok(())
    }

    fn set_reply_body(&mut self, content_type: &str, body: &[u8]) -> Result<(), HostError> {
        self.context_mut()?;
        self.reply_parts().body =
            (!body.is_empty()).then(|| (content_type.as_bytes().to_vec(), body.to_vec()));
        Ok(())
    }

    fn lookup(&mut self, uri: &str) -> Result<LookupResult, HostError> {
        let aor = address_of_record(uri.as_bytes())?;
        self.look_up(&aor)
    }

    fn lookup_request_uri(&mut self) -> Result<LookupResult, HostError> {
        let context = self.context.as_deref().ok_or_else(wrong_hook)?;
        let aor = address_of_record_in(context.request.request_uri_parts().ok())?;
        self.look_up(&aor)
    }

    fn binding_at(&self, lookup: u32, index: u32) -> Option<Binding> {
        match self.played() {
            None => self.lookups.binding(lookup, index, self.now.unix),
            Some(played) => played.binding(lookup, index),
        }
    }

    fn is_registered_source(&self, uri: &str) -> bool {
        let (Some(context), Ok(aor)) = (&self.context, address_of_record(uri.as_bytes())) else {
            return false;
        };
        let Some(services) = &self.services else {
            let played = self.played();
            return played.is_some_and(|played| played.is_registered_source(uri));
        };
        let location = &services.shared.location;
        let bindings = location.lookup_in(self.namespace(), &aor, self.now.unix);
        let trust_udp_source = self.config().auth.trust_udp_source;
        let answer = is_registered_source(services, &bindings, context, trust_udp_source);
        self.note(|| Answer::RegisteredSource {
            uri: uri.to_owned(),
            answer,
        });
        answer
    }

    fn save_contact(
        &mut self,
        aor: &str,
        contact: &str,
        expires_secs: u32,
    ) -> Result<(), HostError> {
        let registration =
            Registration::of_contact(self.granted(aor)?, contact.as_bytes(), expires_secs, None);
        let registration = registration
            .map_err(|_| host_error(ErrorKind::InvalidArgument, "this is no contact"))?;
        let act = || Act::SaveContact {
            aor: aor.to_owned(),
            contact: contact.to_owned(),
            expires_secs,
        };
        if let Some(played) = self.played() {
            return played.act(act()).map(drop);
        }
        let saved = self.update_location(registration);
        self.note_act(saved.as_ref().map(|()| 0), act);
        saved
    }

    fn remove_contact(&mut self, aor: &str, contact: &str) -> Result<u32, HostError> {
        let known = self.granted(aor)?;
        let act = || Act::RemoveContact {
            aor: aor.to_owned(),
            contact: contact.to_owned(),
        };
        if let Some(played) = self.played() {
            return played.act(act());
        }
        let removed = self.remove_known(known, contact);
        self.note_act(removed.as_ref().copied(), act);
        removed
    }

    fn verify(&mut self) -> Verification {
        if let Some(verification) = self.verification {
            self.give_back_verified_user();
            return verification;
        }
        let verification = self.verify_once();
        self.verification = Some(verification);
        verification
    }

    fn verified_user(&self) -> Option<&str> {
        self.context.as_ref()?.verified_user.as_deref()
    }

    fn auth_required(&self) -> bool {
        self.is_registration_required()
    }

    fn realm(&self) -> &str {
        &self.config().auth.realm
    }

    fn setting(&self, name: &str) -> Option<&str> {
        self.config().policy.settings.get(name).map(String::as_str)
    }

    fn settings(&self) -> Vec<(String, String)> {
        self.config()
            .policy
            .settings
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    fn log(&self, level: Level, message: &str) {
        if !self.log_enabled(level) {
            return;
        }
        self.note_log(level, message);
        if self
            .services
            .as_ref()
            .is_none_or(|services| services.may_log(self.now))
        {
            self.write(level, message);
        }
    }

    fn log_enabled(&self, level: Level) -> bool {
        match level {
            Level::Trace => tracing::enabled!(target: LOG_TARGET, tracing::Level::TRACE),
            Level::Debug => tracing::enabled!(target: LOG_TARGET, tracing::Level::DEBUG),
            Level::Info => tracing::enabled!(target: LOG_TARGET, tracing::Level::INFO),
            Level::Warn => tracing::enabled!(target: LOG_TARGET, tracing::Level::WARN),
            Level::Error => tracing::enabled!(target: LOG_TARGET, tracing::Level::ERROR),
        }
    }

    fn unix_ms(&self) -> u64 {
        let Some(services) = &self.services else {
            return self.played().map_or(0, Played::unix_ms);
        };
        let answer = services.clock.unix_ms();
        self.note(|| Answer::UnixMs { answer });
        answer
    }

    fn monotonic_us(&self) -> u64 {
        let Some(services) = &self.services else {
            return self.played().map_or(0, Played::monotonic_us);
        };
        let answer = services.clock.instant().0;
        self.note(|| Answer::MonotonicUs { answer });
        answer
    }

    fn random_u64(&mut self) -> u64 {
        let Some(services) = &self.services else {
            return self.played().map_or_else(unpredictable, Played::random_u64);
        };
        let answer = services.random_u64();
        self.note(|| Answer::Random { answer });
        answer
    }

    fn add_counter(&mut self, name: &str, value: u64) -> Result<(), HostError> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(host_error(
                ErrorKind::InvalidArgument,
                "a counter has a name of 1 to 128 bytes",
            ));
        }
        let act = || Act::AddCounter {
            name: name.to_owned(),
            value,
        };
        if let Some(played) = self.played() {
            return played.act(act()).map(drop);
        }
        let counters = &self.services()?.shared.metrics.policy_counters;
        let added = counters.add(self.policy.name(), name, value);
        let added = added.map_err(|error| HostError {
            kind: ErrorKind::Limit,
            message: error.to_string(),
        });
        self.note_act(added.as_ref().map(|()| 0), act);
        added
    }

    fn set_timer(&mut self, name: &str, delay_ms: u32) -> Result<(), HostError> {
        if name.len() > MAX_NAME_BYTES {
            return Err(host_error(
                ErrorKind::InvalidArgument,
                "the name of a timer has at most 128 bytes",
            ));
        }
        let act = || Act::SetTimer {
            name: name.to_owned(),
            delay_ms,
        };
        if let Some(played) = self.played() {
            return played.act(act()).map(drop);
        }
        let delay = Duration::from_millis(delay_ms.into());
        let owner = self.timer_owner();
        let set = self.services()?.set_timer(owner, name, delay);
        let set = set.map_err(|refusal| match refusal {
            TimerRefusal::TooMany => host_error(ErrorKind::Limit, "a worker may have 1024 timers"),
            TimerRefusal::TooFar => {
                host_error(ErrorKind::InvalidArgument, "a timer may be set a day ahead")
            }
        });
        self.note_act(set.as_ref().map(|()| 0), act);
        set
    }

    fn cancel_timer(&mut self, name: &str) -> bool {
        let act = || Act::CancelTimer {
            name: name.to_owned(),
        };
        let Some(services) = &self.services else {
            let played = self.played().map(|played| played.act(act()));
            return played.is_some_and(|count| count.is_ok_and(|count| count > 0));
        };
        let was_set = services.cancel_timer(&self.timer_owner(), name);
        self.note_act(Ok(u32::from(was_set)), act);
        was_set
    }

    fn fetch(&mut self, request: HttpRequest, limit: Duration) -> HttpAnswer {
        self.send_request(request, limit)
    }

    fn sleep(&mut self, time: Duration) -> Sleep {
        self.wait_for(time)
    }

    fn key_value(&mut self, request: KeyValueRequest<'_>) -> Result<KeyValueAnswer, HostError> {
        self.ask_store(request)
    }
}

impl HookHost {
    /// Whether REGISTER needs verified credentials.
    pub(super) fn is_registration_required(&self) -> bool {
        match (&self.services, self.config.get()) {
            (Some(services), None) => services.requires_registration(),
            _ => self.config().auth.registration == config::Registration::Required,
        }
    }

    fn context_mut(&mut self) -> Result<&mut HookContext, HostError> {
        self.context.as_deref_mut().ok_or_else(wrong_hook)
    }

    fn routing(&mut self) -> Result<&mut Routing, HostError> {
        Ok(&mut self.context_mut()?.routing)
    }

    fn reply_parts(&mut self) -> &mut ReplyParts {
        let rare = self.rare.get_or_insert_default();
        rare.reply.get_or_insert_default()
    }

    fn look_up(&mut self, aor: &AddressOfRecord) -> Result<LookupResult, HostError> {
        let Some(services) = self.services.as_deref() else {
            return match self.played_mut() {
                Some(played) => played.lookup(aor),
                None => Err(wrong_hook()),
            };
        };
        let route = match &self.policy {
            PolicyName::Routed(link) => Some(&link.route),
            PolicyName::Checked(_) | PolicyName::Loaded(_) => None,
        };
        let asked = Asked {
            services,
            namespace: route.map(|route| &route.namespace),
            realm: route.map(|route| route.written.realm.as_str()),
            now: self.now.unix,
        };
        let found = self.lookups.look_up(&asked, aor);
        self.note_lookup(aor, &found);
        found
    }

    fn add_played_lookup(&mut self, lookup: u32) -> Result<u32, HostError> {
        let played = self.played().ok_or_else(wrong_hook)?;
        let made = played.targets(lookup, self.group)?;
        let targets = &mut self.routing()?.targets;
        if targets.len().saturating_add(made.len()) > MAX_TARGETS {
            return Err(host_error(ErrorKind::Limit, "a hook may add 1000 targets"));
        }
        let count = u32::try_from(made.len()).unwrap_or(u32::MAX);
        targets.extend(made);
        Ok(count)
    }

    pub(super) fn services(&self) -> Result<&Arc<Services>, HostError> {
        self.services.as_ref().ok_or_else(wrong_hook)
    }

    /// A listener by `transport:ip:port`, as configured or as bound.
    fn listener_named(&self, text: &str) -> Result<ListenerId, HostError> {
        let unknown = || {
            host_error(
                ErrorKind::InvalidArgument,
                "there is no such listener; write it as in the configuration: udp:192.0.2.1:5060",
            )
        };
        let (name, address) = text.split_once(':').ok_or_else(unknown)?;
        let address = address.parse().map_err(|_| unknown())?;
        let configured = self
            .config()
            .listen
            .iter()
            .map(|listen| (listen.transport, listen.address));
        let listeners = match &self.services {
            Some(services) => services.shared.listeners.as_slice(),
            None => self.played().ok_or_else(wrong_hook)?.listeners(),
        };
        let bound = listeners
            .iter()
            .map(|listener| (listener.transport, listener.address));
        let is_named = |(transport, known): (CoreTransport, _)| {
            config::transport_name(transport) == name && known == address
        };
        let index = bound
            .map(is_named)
            .zip(configured.map(is_named))
            .position(|(bound, configured)| bound || configured);
        let index = index.ok_or_else(unknown)?;
        u16::try_from(index).map(ListenerId).map_err(|_| unknown())
    }

    /// The Call-ID of the request; empty without one.
    pub(crate) fn call_id(&self) -> Cow<'_, str> {
        let context = self.context.as_ref();
        let call_id = context.and_then(|context| context.request.header(HeaderName::CallId));
        String::from_utf8_lossy(call_id.unwrap_or_default())
    }

    fn write(&self, level: Level, message: &str) {
        let call_id = self.call_id();
        let policy = self.policy.name();
        let policy_version = self
            .policy
            .version()
            .map_or("init", |digest| digest.short());
        // An event belongs to no call.
        let call_id = (!call_id.is_empty()).then(|| tracing::field::display(call_id));
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(target: LOG_TARGET, policy, policy_version, call_id, "{message}")
            };
        }
        match level {
            Level::Trace => line!(trace),
            Level::Debug => line!(debug),
            Level::Info => line!(info),
            Level::Warn => line!(warn),
            Level::Error => line!(error),
        }
    }
}

/// Whether a pattern of `write_headers` names this header: `*` at its end stands for any rest, a compact form for the long one.
fn names(pattern: &str, header: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => header
            .as_bytes()
            .get(..start.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(start.as_bytes())),
        None => Name::from(pattern) == Name::from(header),
    }
}

fn wrong_hook() -> HostError {
    host_error(ErrorKind::WrongHook, "there is no message in this hook")
}

fn value_of<'a>(list: &'a [(String, String)], name: &str) -> Option<&'a str> {
    list.iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
}

fn transport(transport: CoreTransport) -> Transport {
    match transport {
        CoreTransport::Udp => Transport::Udp,
        CoreTransport::Tcp => Transport::Tcp,
        CoreTransport::Tls => Transport::Tls,
        CoreTransport::Ws => Transport::Ws,
        CoreTransport::Wss => Transport::Wss,
    }
}
