//! The imports of the component, answered by the [`World`](super::router::World) of the scenario.

use patchbay_message::{HeaderName, Name};

use crate::bindings::imports::patchbay::policy::types;
use types::{Error, ErrorKind};

pub(crate) use super::outside::{http, keyvalue};

pub(super) fn refuse<T>(kind: ErrorKind, message: impl Into<String>) -> Result<T, Error> {
    Err(Error {
        kind,
        message: message.into(),
    })
}

/// The headers that no policy may change.
fn is_host_owned(name: &str) -> bool {
    use HeaderName::{CSeq, CallId, ContentLength, MaxForwards, RecordRoute, Route, Via};
    matches!(
        Name::from(name).known(),
        Via | CSeq | CallId | ContentLength | MaxForwards | RecordRoute | Route
    )
}

fn check_editable(name: &str) -> Result<(), Error> {
    if is_host_owned(name) {
        refuse(ErrorKind::Denied, format!("{name} is the router's"))
    } else {
        Ok(())
    }
}

fn check_value(name: &str, value: &str) -> Result<(), Error> {
    let is_token = !name.is_empty() && name.bytes().all(patchbay_message::is_token_byte);
    let breaks = value.contains(['\r', '\n', '\0']);
    if is_token && !breaks {
        Ok(())
    } else {
        refuse(
            ErrorKind::InvalidArgument,
            format!("{name}: {value:?} breaks the message"),
        )
    }
}

fn check_uri(uri: &str) -> Result<(), Error> {
    match patchbay_message::Uri::parse(uri.as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => refuse(ErrorKind::InvalidArgument, format!("{uri:?} is no URI")),
    }
}

pub(crate) mod message {
    use super::super::router::with;
    use super::super::run::lossy;
    use super::{Error, ErrorKind, check_editable, check_uri, check_value, refuse};
    use crate::bindings::imports::patchbay::policy::message::MessageFacts;
    use patchbay_message::{Draft, EditError, NameAddr};

    fn read<T: Default>(read: impl FnOnce(&Draft) -> T) -> T {
        with(|world| world.message().map(read).unwrap_or_default())
    }

    fn edit<T>(edit: impl FnOnce(&mut Draft) -> Result<T, EditError>) -> Result<T, Error> {
        with(|world| match world.message_mut().map(edit) {
            Some(Ok(result)) => Ok(result),
            Some(Err(error)) => refuse(ErrorKind::InvalidArgument, error.to_string()),
            None => refuse(ErrorKind::WrongHook, "no message is current"),
        })
    }

    fn uri_in(address: Result<NameAddr<'_>, patchbay_message::Invalid>) -> String {
        address
            .map(|address| lossy(address.uri_raw))
            .unwrap_or_default()
    }

    pub(crate) fn method() -> String {
        read(|message| lossy(message.method().as_bytes()))
    }

    pub(crate) fn request_uri() -> String {
        read(|message| lossy(message.request_uri()))
    }

    pub(crate) fn facts() -> MessageFacts {
        let mut facts = read(|message| {
            let known = [
                MessageFacts::INVITE,
                MessageFacts::ACK,
                MessageFacts::BYE,
                MessageFacts::CANCEL,
                MessageFacts::REGISTER,
                MessageFacts::OPTIONS,
                MessageFacts::INFO,
                MessageFacts::PRACK,
                MessageFacts::SUBSCRIBE,
                MessageFacts::NOTIFY,
                MessageFacts::PUBLISH,
                MessageFacts::MESSAGE,
                MessageFacts::REFER,
                MessageFacts::UPDATE,
            ];
            let method = crate::Method::from(lossy(message.method().as_bytes()));
            known
                .into_iter()
                .find(|fact| crate::Method::of_facts(*fact).as_ref() == Some(&method))
        })
        .unwrap_or(MessageFacts::empty());
        facts.set(MessageFacts::IN_DIALOG, super::transaction::in_dialog());
        facts
    }

    pub(crate) fn set_request_uri(uri: &str) -> Result<(), Error> {
        check_uri(uri)?;
        edit(|message| message.set_request_uri(uri.as_bytes()))
    }

    pub(crate) fn from_uri() -> String {
        read(|message| uri_in(message.from()))
    }

    pub(crate) fn to_uri() -> String {
        read(|message| uri_in(message.to()))
    }

    pub(crate) fn call_id() -> String {
        read(|message| lossy(message.call_id()))
    }

    pub(crate) fn body() -> Vec<u8> {
        read(|message| message.body().to_vec())
    }

    pub(crate) fn set_body(content_type: &str, body: &[u8]) -> Result<(), Error> {
        edit(|message| message.set_body(content_type.as_bytes(), body))
    }

    pub(crate) fn header(name: &str) -> Option<String> {
        read(|message| message.header(name).map(lossy))
    }

    pub(crate) fn headers(name: &str) -> Vec<String> {
        read(|message| message.headers(name).map(lossy).collect())
    }

    pub(crate) fn headers_joined(names: &str) -> String {
        let joined = |name| match header(name) {
            Some(value) => format!("{}:{value}", value.len()),
            None => ":".to_owned(),
        };
        names.split(',').map(joined).collect()
    }

    pub(crate) fn has_header(name: &str) -> bool {
        read(|message| message.header(name).is_some())
    }

    pub(crate) fn set_header(name: &str, value: &str) -> Result<(), Error> {
        check_editable(name)?;
        check_value(name, value)?;
        edit(|message| message.set(name, value.as_bytes()))
    }

    pub(crate) fn add_header(name: &str, value: &str) -> Result<(), Error> {
        check_editable(name)?;
        check_value(name, value)?;
        edit(|message| message.append(name, value.as_bytes()))
    }

    pub(crate) fn remove_header(name: &str) -> Result<u32, Error> {
        check_editable(name)?;
        let count = edit(|message| message.remove(name))?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    pub(crate) fn response_status() -> Option<u16> {
        with(|world| world.response.as_ref().and_then(Draft::status))
    }

    pub(crate) fn response_header(name: &str) -> Option<String> {
        with(|world| {
            world
                .response
                .as_ref()
                .and_then(|response| response.header(name).map(lossy))
        })
    }
}

pub(crate) mod transaction {
    use std::net::IpAddr;

    use super::super::router::with;
    use super::Error;
    pub(crate) use crate::bindings::imports::patchbay::policy::transaction::{
        Hooks, MessageSource,
    };

    pub(crate) fn source() -> MessageSource {
        with(|world| MessageSource {
            transport: world.router.transport,
            address: world.router.source.ip().to_string(),
            port: world.router.source.port(),
            local: world.router.local.to_string(),
        })
    }

    pub(crate) fn source_address() -> String {
        source().address
    }

    pub(crate) fn source_in(networks: &str) -> bool {
        let source = with(|world| world.router.source.ip());
        networks
            .split([' ', ','])
            .filter(|network| !network.is_empty())
            .any(|network| contains(network, source))
    }

    /// Whether an address, or a network with its length of prefix, holds the address.
    fn contains(network: &str, address: IpAddr) -> bool {
        let (base, length) = network
            .split_once('/')
            .map_or((network, None), |(base, length)| {
                (base, length.parse().ok())
            });
        let prefix = |bits: u128, width: u32| {
            bits.checked_shr(width - length.unwrap_or(width).min(width))
                .unwrap_or(0)
        };
        match (base.parse(), address) {
            (Ok(IpAddr::V4(base)), IpAddr::V4(address)) => {
                prefix(base.to_bits().into(), 32) == prefix(address.to_bits().into(), 32)
            }
            (Ok(IpAddr::V6(base)), IpAddr::V6(address)) => {
                prefix(base.to_bits(), 128) == prefix(address.to_bits(), 128)
            }
            _ => false,
        }
    }

    pub(crate) fn in_dialog() -> bool {
        with(|world| world.router.in_dialog)
    }

    pub(crate) fn is_local_uri(uri: &str) -> bool {
        with(|world| world.router.is_local(uri))
    }

    pub(crate) fn failure_round() -> u32 {
        with(|world| world.failure_round)
    }

    pub(crate) fn variable(name: &str) -> Option<String> {
        with(|world| {
            world
                .variables
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
        })
    }

    pub(crate) fn set_variable(name: &str, value: &str) -> Result<(), Error> {
        with(|world| {
            world.variables.retain(|(known, _)| known != name);
            world.variables.push((name.to_owned(), value.to_owned()));
        });
        Ok(())
    }

    pub(crate) fn arm(hooks: Hooks) {
        with(|world| {
            let armed = &mut world.qualities.armed;
            armed.branch_route |= hooks.contains(Hooks::BRANCH_ROUTE);
            armed.onreply_route |= hooks.contains(Hooks::ONREPLY_ROUTE);
            armed.failure_route |= hooks.contains(Hooks::FAILURE_ROUTE);
        });
    }

    pub(crate) fn set_record_route(enabled: bool) {
        with(|world| world.qualities.record_route = Some(enabled));
    }

    pub(crate) fn add_record_route_parameter(name: &str, value: &str) -> Result<(), Error> {
        with(|world| {
            world
                .qualities
                .record_route_parameters
                .push((name.to_owned(), value.to_owned()))
        });
        Ok(())
    }

    pub(crate) fn record_route_parameter(name: &str) -> Option<String> {
        with(|world| {
            let mut parameters = world.router.returned_parameters.iter();
            parameters
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
        })
    }
}

pub(crate) mod targets {
    use std::time::Duration;

    use super::super::router::with;
    use super::{Error, ErrorKind, check_uri, refuse};
    pub(crate) use crate::bindings::imports::patchbay::policy::targets::Target;

    pub(crate) fn add_uri(uri: &str) -> Result<(), Error> {
        add(&Target {
            uri: uri.to_owned(),
            q: 1000,
            next_hop: None,
            listener: None,
            no_answer_ms: None,
        })
    }

    pub(crate) fn add(target: &Target) -> Result<(), Error> {
        check_uri(&target.uri)?;
        target.next_hop.as_deref().map_or(Ok(()), check_uri)?;
        if target.q > 1000 {
            return refuse(ErrorKind::InvalidArgument, "q is more than 1000");
        }
        with(|world| world.qualities.add(target.clone()));
        Ok(())
    }

    pub(crate) fn add_lookup(lookup: u32) -> Result<u32, Error> {
        let bindings = with(|world| world.lookups.get(lookup as usize).cloned());
        let Some(bindings) = bindings else {
            return refuse(ErrorKind::NotFound, "there is no lookup of this number");
        };
        for binding in &bindings {
            let uri = binding.uri.clone();
            add(&Target {
                uri,
                q: binding.q,
                next_hop: None,
                listener: None,
                no_answer_ms: None,
            })?;
        }
        Ok(u32::try_from(bindings.len()).unwrap_or(u32::MAX))
    }

    pub(crate) fn next_group() {
        with(|world| world.qualities.next_group());
    }

    pub(crate) fn set_no_answer_timeout(ms: u32) {
        with(|world| world.qualities.no_answer = Some(Duration::from_millis(ms.into())));
    }
}

pub(crate) mod reply {
    use super::super::router::with;
    use super::{Error, check_editable, check_value};

    pub(crate) fn add_header(name: &str, value: &str) -> Result<(), Error> {
        check_editable(name)?;
        check_value(name, value)?;
        with(|world| {
            world
                .qualities
                .reply_headers
                .push((name.to_owned(), value.to_owned()))
        });
        Ok(())
    }

    pub(crate) fn set_body(content_type: &str, body: &[u8]) -> Result<(), Error> {
        check_value("Content-Type", content_type)?;
        with(|world| world.qualities.reply_body = Some((content_type.to_owned(), body.to_vec())));
        Ok(())
    }
}

pub(crate) mod location {
    use super::super::router::{address_of_record, with};
    use super::{Error, ErrorKind, check_uri, refuse};
    pub(crate) use crate::bindings::imports::patchbay::policy::location::LookupResult;
    use crate::location::Binding;

    pub(crate) fn lookup(uri: &str) -> Result<LookupResult, Error> {
        with(|world| {
            let Some(bindings) = world.router.user(uri).map(<[Binding]>::to_vec) else {
                return refuse(ErrorKind::NotFound, format!("nobody is known as {uri}"));
            };
            let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
            let result = LookupResult {
                lookup: number(world.lookups.len()),
                count: number(bindings.len()),
            };
            world.lookups.push(bindings);
            Ok(result)
        })
    }

    pub(crate) fn lookup_request_uri() -> Result<LookupResult, Error> {
        lookup(&super::message::request_uri())
    }

    pub(crate) fn binding_at(lookup: u32, index: u32) -> Option<Binding> {
        with(|world| {
            world
                .lookups
                .get(lookup as usize)?
                .get(index as usize)
                .cloned()
        })
    }

    pub(crate) fn is_registered_source(uri: &str) -> bool {
        let aor = address_of_record(uri);
        with(|world| {
            world
                .router
                .registered_sources
                .iter()
                .any(|known| Some(known) == aor.as_ref())
        })
    }

    pub(crate) fn save_contact(aor: &str, contact: &str, expires_secs: u32) -> Result<(), Error> {
        check_uri(aor)?;
        check_uri(contact)?;
        let binding = Binding {
            uri: contact.to_owned(),
            q: 1000,
            expires_secs,
            received: String::new(),
            user_agent: String::new(),
            instance: None,
        };
        with(|world| {
            let bindings = world.router.user_mut(aor);
            bindings.retain(|known| known.uri != contact);
            bindings.push(binding);
        });
        Ok(())
    }

    pub(crate) fn remove_contact(aor: &str, contact: &str) -> Result<u32, Error> {
        check_uri(aor)?;
        with(|world| {
            let bindings = world.router.user_mut(aor);
            let before = bindings.len();
            bindings.retain(|known| !contact.is_empty() && known.uri != contact);
            Ok(u32::try_from(before - bindings.len()).unwrap_or(u32::MAX))
        })
    }
}

pub(crate) mod auth {
    use super::super::router::with;
    use crate::auth::Verification;

    pub(crate) fn verify() -> Verification {
        with(|world| world.router.verification)
    }

    pub(crate) fn verified_user() -> Option<String> {
        with(|world| world.router.verified_user.clone())
    }

    pub(crate) fn required() -> bool {
        with(|world| world.router.registration_required)
    }

    pub(crate) fn realm() -> String {
        with(|world| world.router.domains.first().cloned().unwrap_or_default())
    }
}

pub(crate) mod settings {
    use super::super::router::with;

    pub(crate) fn get(name: &str) -> Option<String> {
        with(|world| {
            world
                .router
                .settings
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
        })
    }

    pub(crate) fn all() -> Vec<(String, String)> {
        with(|world| world.router.settings.clone())
    }
}

pub(crate) mod log {
    use super::super::outcome::LogLine;
    use super::super::router::with;
    use crate::log::Level;

    pub(crate) fn log(level: Level, message: &str) {
        with(|world| {
            world.log.push(LogLine {
                level,
                text: message.to_owned(),
            })
        });
    }

    pub(crate) fn enabled(_level: Level) -> bool {
        true
    }
}

pub(crate) mod clock {
    use super::super::router::with;

    pub(crate) fn unix_ms() -> u64 {
        with(|world| u64::try_from(world.router.time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn monotonic_us() -> u64 {
        with(|world| u64::try_from(world.router.time.as_micros()).unwrap_or(u64::MAX))
    }
}

pub(crate) mod random {
    use super::super::router::with;

    /// The same numbers in every run: Marsaglia's xorshift.
    pub(crate) fn u64() -> u64 {
        with(|world| {
            world.random ^= world.random << 13;
            world.random ^= world.random >> 7;
            world.random ^= world.random << 17;
            world.random
        })
    }
}

pub(crate) mod counters {
    use super::super::router::with;
    use super::Error;

    pub(crate) fn add(name: &str, value: u64) -> Result<(), Error> {
        with(|world| world.counters.push((name.to_owned(), value)));
        Ok(())
    }
}

pub(crate) mod timers {
    use std::time::Duration;

    use super::super::router::with;
    use super::{Error, ErrorKind, refuse};

    /// As the WIT package says.
    const LONGEST: Duration = Duration::from_secs(86_400);

    pub(crate) fn set(name: &str, delay_ms: u32) -> Result<(), Error> {
        let delay = Duration::from_millis(delay_ms.into());
        if delay > LONGEST {
            return refuse(ErrorKind::Limit, "a timer runs at most a day");
        }
        cancel(name);
        with(|world| world.timers.push((name.to_owned(), delay)));
        Ok(())
    }

    pub(crate) fn cancel(name: &str) -> bool {
        with(|world| {
            let before = world.timers.len();
            world.timers.retain(|(known, _)| known != name);
            world.timers.len() < before
        })
    }
}
