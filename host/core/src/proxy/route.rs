//! RFC 3261 §16.4: route information preprocessing, and the proof that a request belongs to a dialog of ours.

use std::net::IpAddr;

use patchbay_message::{Draft, HeaderName, Message, NameAddr, Params, Uri};

use crate::door::{Flow, ListenerId, PolicyVersion, RouteId, Transport};
use crate::environment::Environment;
use crate::local;
use crate::proxy::record_route::{self, DialogIdentity, Token};

/// The URI parameters of our Record-Route that are not the policy's.
const OWN_PARAMETERS: [&[u8]; 2] = [b"lr", b"transport"];

/// Which tag of the request is that of the side that began the dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Initiator {
    /// The sender of this request.
    From,
    /// Its receiver.
    To,
}

/// A dialog whose token came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dialog {
    /// Who began it.
    pub(crate) initiator: Initiator,
    /// The version it is pinned to; 0: none.
    pub(crate) version: PolicyVersion,
    /// The route of the configuration that took its first request; 0: none.
    pub(crate) route: RouteId,
    /// The listener that the request leaves from (RFC 5658 §5: that of the last value of ours).
    pub(crate) listener: ListenerId,
    /// What the policy put into the Record-Route.
    pub(crate) parameters: Vec<(String, String)>,
}

/// Takes our own values off the front of the route of a request. Tells the dialog when a token in them proves it: the first that
/// does, because a phone may put us before its route set as its outbound proxy.
pub(crate) fn preprocess(
    request: &mut Draft,
    flow: &Flow,
    environment: &Environment,
) -> Option<Dialog> {
    let is_recovered = recover_from_strict_router(request, flow, environment);
    if is_recovered || !request.base().request_uri_params().is_empty() {
        strip_maddr(request, flow, environment);
    }
    let mut dialog: Option<Dialog> = None;
    while let Some(own) = own_first_route(request, flow.local.ip(), environment) {
        match (&mut dialog, own.proof) {
            (None, proof) => dialog = proof,
            (Some(dialog), Some(proof)) => dialog.listener = proof.listener,
            (Some(_), None) => {}
        }
        if !request
            .remove_first_value(HeaderName::Route)
            .unwrap_or(false)
        {
            break;
        }
    }
    dialog
}

/// RFC 3261 §16.4: a strict router put our Record-Route value into the Request-URI; the real one is the last Route value. The value goes
/// back to the front of the route, so that its token is checked like any other. Tells whether it was so.
fn recover_from_strict_router(request: &mut Draft, flow: &Flow, environment: &Environment) -> bool {
    // Nothing but the top Via is edited before this.
    let base = request.base();
    let token = base.request_uri_user().and_then(record_route::read_token);
    if token.is_none() {
        return false;
    }
    let Ok(uri) = base.request_uri_parts() else {
        return false;
    };
    if !environment.local.is_local(&uri, flow.local.ip()) {
        return false;
    }
    let own = [b"<", request.request_uri(), b">"].concat();
    let Some(last) = request.values(HeaderName::Route).last() else {
        return false;
    };
    let Ok(target) = NameAddr::parse(last).map(|value| value.uri_raw.to_vec()) else {
        return false;
    };
    // The target is checked like any URI when it is set: what is none stays as it came.
    let is_recovered = request.set_request_uri(&target).is_ok();
    if is_recovered {
        let removed = request
            .remove_last_value(HeaderName::Route)
            .unwrap_or(false);
        debug_assert!(removed, "the value was read above");
        // Our own text, which has been a URI in the request already.
        let _ = request.prepend(HeaderName::Route, &own);
    }
    is_recovered
}

/// RFC 3261 §16.4: a maddr that is ours goes away when the request came by the port and transport that the URI names.
fn strip_maddr(request: &mut Draft, flow: &Flow, environment: &Environment) {
    let Ok(uri) = request.request_uri_parts() else {
        return;
    };
    let Some(maddr) = uri.maddr() else { return };
    let Some(host) = patchbay_message::Host::parse(maddr) else {
        return;
    };
    let transport = uri
        .transport()
        .map_or(Some(Transport::Udp), local::transport_named);
    let port = uri.port.unwrap_or(local::default_port(flow.transport));
    let is_here = environment
        .local
        .is_local_host(&host, Some(flow.local.port()), flow.local.ip());
    if !is_here || transport != Some(flow.transport) || port != flow.local.port() {
        return;
    }
    let stripped = without_parameters(&uri, &[b"maddr", b"transport"]);
    // It is a part of a URI that was parsed.
    let _ = request.set_request_uri(&stripped);
}

/// The URI without port and these parameters.
fn without_parameters(uri: &Uri<'_>, names: &[&[u8]]) -> Vec<u8> {
    let raw = uri.raw;
    let scheme_end = raw
        .iter()
        .position(|byte| *byte == b':')
        .map_or(0, |at| at + 1);
    let mut out = raw.get(..scheme_end).unwrap_or_default().to_vec();
    if let Some(user) = uri.user {
        out.extend_from_slice(user);
        if let Some(password) = uri.password {
            out.push(b':');
            out.extend_from_slice(password);
        }
        out.push(b'@');
    }
    out.extend_from_slice(uri.host_raw);
    for (name, value) in uri
        .params
        .iter()
        .filter(|(name, _)| !names.iter().any(|other| other.eq_ignore_ascii_case(name)))
    {
        out.push(b';');
        out.extend_from_slice(name);
        if let Some(value) = value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    if let Some(headers) = uri.headers {
        out.push(b'?');
        out.extend_from_slice(headers);
    }
    out
}

/// The first Route value when it is this router.
struct OwnRoute {
    /// The dialog, when it is a Record-Route of ours whose token proves one.
    proof: Option<Dialog>,
}

fn own_first_route(request: &Draft, local: IpAddr, environment: &Environment) -> Option<OwnRoute> {
    // Most requests have none, which is seen at once.
    request.header(HeaderName::Route)?;
    let value = request.values(HeaderName::Route).next()?;
    let uri = NameAddr::parse(value).ok()?.uri().ok()?;
    let is_own = environment.local.is_local(&uri, local);
    is_own.then(|| OwnRoute {
        proof: prove(request.base(), &uri, environment),
    })
}

/// Checks the token in a Route value against the request's dialog. A dialog has both tags (RFC 3261 §12).
fn prove(request: &Message, uri: &Uri<'_>, environment: &Environment) -> Option<Dialog> {
    let token = Token::read(uri.user?)?;
    let from_tag = request.from_tag()?;
    let to_tag = request.to_tag()?;
    let is_of = |tag| {
        let dialog = DialogIdentity {
            call_id: request.call_id(),
            tag,
        };
        token.is_proved(&environment.keyed, dialog, policy_parameters(uri))
    };
    let initiator = match is_of(from_tag) {
        true => Initiator::From,
        false if is_of(to_tag) => Initiator::To,
        false => return None,
    };
    let facts = token.facts();
    let read = record_route::read_parameter_text;
    let parameters = policy_parameters(uri)
        .map(|(name, value)| (read(name), read(value)))
        .collect();
    Some(Dialog {
        initiator,
        version: facts.version,
        route: facts.route,
        listener: facts.listener,
        parameters,
    })
}

/// The parameters that `add-record-route-parameter` made, as they stand in the URI.
fn policy_parameters<'a>(uri: &Uri<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
    let is_policys = |name: &&[u8]| {
        !OWN_PARAMETERS
            .iter()
            .any(|own| own.eq_ignore_ascii_case(name))
    };
    let is_plain = uri.params.raw() == b";lr";
    let params = if is_plain {
        Params::default()
    } else {
        uri.params
    };
    params
        .iter()
        .filter(move |(name, _)| is_policys(name))
        .map(|(name, value)| (name, value.unwrap_or_default()))
}
