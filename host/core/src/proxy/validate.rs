//! RFC 3261 §16.3: request validation, in the order of the RFC.

use std::hash::Hasher;

use patchbay_message::{Draft, HeaderName, Message, Method, Scheme, Uri, Via};

use crate::door::Reject;
use crate::environment::Environment;
use crate::keyed::Keyed;
use crate::proxy::branch::Branch;

/// RFC 3261 §16.6 step 3: what a request without Max-Forwards gets.
pub(crate) const DEFAULT_MAX_FORWARDS: u32 = 70;

/// What validation found out on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// What [`loop_hash`] makes of the request, once it was asked for.
    pub(crate) loop_hash: Option<u64>,
    /// What came, or [`DEFAULT_MAX_FORWARDS`] plus the hop that it then is.
    pub(crate) max_forwards: u32,
    /// RFC 5393 §5.3.3: at most what the configuration allows.
    pub(crate) max_breadth: u32,
}

/// RFC 3261 §16.3 step 2: the Request-URI. `tel:` is understood, because policies route it.
pub(crate) fn check_uri(request: &Draft) -> Result<Uri<'_>, Reject> {
    match request.base().request_uri_parts() {
        Ok(uri) if !matches!(uri.scheme, Scheme::Other(_)) => Ok(uri),
        Ok(_) => Err(Reject::new(416, "")),
        Err(_) => Err(Reject::new(400, "Bad Request-URI")),
    }
}

/// Checks a request that is about to be processed; the syntax and [`check_uri`] come before.
pub(crate) fn check(
    request: &Draft,
    environment: &Environment,
    is_local: bool,
) -> Result<Facts, Reject> {
    // Only the top Via is edited before this.
    let message = request.base();
    let max_forwards = check_max_forwards(message, is_local)?;
    let loop_hash = check_loop(message, &environment.keyed)?;
    check_proxy_require(message)?;
    Ok(Facts {
        loop_hash,
        max_forwards,
        max_breadth: max_breadth(message, environment.config.max_breadth)?,
    })
}

/// RFC 3261 §16.3 step 3. An OPTIONS for ourselves may be answered with nothing left; forwarding it is refused later.
fn check_max_forwards(request: &Message, is_local: bool) -> Result<u32, Reject> {
    match request.max_forwards() {
        Ok(Some(0)) if request.method() == Method::Options && is_local => Ok(0),
        Ok(Some(0)) => Err(Reject::new(483, "")),
        Ok(Some(hops)) => Ok(hops),
        Ok(None) => Ok(DEFAULT_MAX_FORWARDS + 1),
        Err(invalid) => Err(Reject::new(400, invalid.reason())),
    }
}

/// RFC 5393 §4.2.1: the second part of our branches for this request, over all that decides where a request goes, and Call-ID and CSeq number so that a collision does not last.
/// The method is not in it, so that CANCEL and ACK agree with their INVITE. Whoever could guess the value could have a request of
/// his own refused.
pub(crate) fn loop_hash(message: &Message, keyed: &Keyed) -> u64 {
    let tags = [message.from_tag(), message.to_tag()];
    let [from_tag, to_tag] = tags.map(Option::unwrap_or_default);
    let mut hash = keyed.quick();
    let mut add = |part: &[u8]| {
        hash.write_usize(part.len());
        hash.write(part);
    };
    for part in [message.request_uri(), message.call_id(), from_tag, to_tag] {
        add(part);
    }
    for name in [
        HeaderName::Route,
        HeaderName::ProxyAuthorization,
        HeaderName::Authorization,
    ] {
        // The message knows without a search which names it does not have.
        if message.header(name).is_some() {
            message.headers(name).for_each(&mut add);
        }
    }
    hash.write_u32(message.cseq().map_or(0, |cseq| cseq.number));
    hash.finish()
}

/// RFC 5393 §4.2.2. The hash is keyed with our secret and name, so an equal one was made here, whatever the sent-by says. Gives the
/// hash where it had to be made.
fn check_loop(message: &Message, keyed: &Keyed) -> Result<Option<u64>, Reject> {
    let may_be_looped = if message.has_one_via() {
        message.top_branch().and_then(Branch::parse).is_some()
    } else {
        message.headers(HeaderName::Via).any(Branch::may_be_in)
    };
    if !may_be_looped {
        return Ok(None);
    }
    let loop_hash = loop_hash(message, keyed);
    let is_looped = message.values(HeaderName::Via).any(|via| {
        let branch = Via::parse(via)
            .ok()
            .and_then(|via| via.branch())
            .and_then(Branch::parse);
        branch.is_some_and(|branch| branch.loop_hash == loop_hash)
    });
    if is_looped {
        Err(Reject::new(482, ""))
    } else {
        Ok(Some(loop_hash))
    }
}

/// RFC 3261 §16.3 step 5: no option for proxies is known here.
fn check_proxy_require(request: &Message) -> Result<(), Reject> {
    if request.header(HeaderName::ProxyRequire).is_none() {
        return Ok(());
    }
    Reject::bad_extension(request.values(HeaderName::ProxyRequire)).map_or(Ok(()), Err)
}

/// RFC 5393 §5.3.3.
fn max_breadth(request: &Message, most: u32) -> Result<u32, Reject> {
    match request.header(HeaderName::MaxBreadth) {
        None => Ok(most),
        Some(value) => match patchbay_message::parse_u32(value) {
            Some(breadth) => Ok(breadth.min(most)),
            None => Err(Reject::new(400, "Bad Max-Breadth")),
        },
    }
}
