//! The default policy, which ships inside the router.
//!
//! | request | answer |
//! | --- | --- |
//! | in a dialog that went through this router | sent on where its Route headers say |
//! | REGISTER | with `registration = "required"` authenticated (401), then saved |
//! | OPTIONS to the router itself | 200, with Require 420; other methods 405 |
//! | to a local user | relayed to every contact; 404 when nobody knows the user, 480 when there is no contact |
//! | to anybody else | 403: this router is no open relay |
//!
//! With `registration = "required"` callers prove who they are: they are in `trusted`, or call over the connection they
//! registered on, or have the password (407). Others, callers of foreign domains among them, get 403. With `"open"` nobody is asked.
//!
//! # Settings
//! - `voicemail`: a SIP URI where calls go on 486, 600, 408 and 480, and when there is no contact. None: such calls fail.
//! - `no_answer_timeout`: how long a phone rings, default `"30s"`.
//! - `trusted`: addresses and networks that need no authentication and whose P-Asserted-Identity counts (`"10.0.0.0/8 192.0.2.7"`).

use std::net::IpAddr;

use patchbay_sdk::prelude::*;

/// The methods the router answers itself.
const ALLOW: &str = "OPTIONS, REGISTER";

/// How long a phone rings unless the settings say otherwise.
const NO_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The default policy with its settings.
#[derive(Debug, Default)]
pub struct DefaultPolicy {
    voicemail: Option<Uri>,
    no_answer_timeout: Duration,
    trusted: Option<String>,
}

#[patchbay_sdk::policy]
impl Policy for DefaultPolicy {
    fn init(&mut self) -> Result<()> {
        let setting = |name| settings::get(name).filter(|value| !value.trim().is_empty());
        self.voicemail = setting("voicemail").map(Uri::new);
        if let Some(voicemail) = &self.voicemail
            && !(voicemail.is_scheme("sip") || voicemail.is_scheme("sips"))
        {
            return Err(Error::new(format!(
                "setting voicemail = {:?} is no SIP URI",
                voicemail.as_str()
            )));
        }
        self.no_answer_timeout =
            settings::duration("no_answer_timeout")?.unwrap_or(NO_ANSWER_TIMEOUT);
        self.trusted = setting("trusted");
        match self.trusted.as_deref().and_then(no_network) {
            Some(wrong) => Err(Error::new(format!(
                "setting trusted: {wrong:?} is no address or network such as \"10.0.0.0/8\""
            ))),
            None => Ok(()),
        }
    }

    fn request_route(&self, request: &mut Request) -> Result<Verdict> {
        if request.is_in_dialog() {
            return Ok(forward());
        }
        match request.method() {
            // An ACK to a 2xx is always in a dialog; this one belongs to nothing we know.
            Method::Ack => Ok(drop()),
            Method::Register => Ok(register(request)),
            _ => self.route(request),
        }
    }

    fn failure_route(&self, _request: &mut Request, response: &Response) -> Result<Verdict> {
        match (&self.voicemail, response.status()) {
            (Some(voicemail), 408 | 480 | 486 | 600) => Ok(relay(voicemail)),
            _ => Ok(pass()),
        }
    }
}

impl DefaultPolicy {
    /// A request outside of dialogs that is no REGISTER.
    fn route(&self, request: &mut Request) -> Result<Verdict> {
        if !transaction::is_local(request.uri()) {
            return Ok(reply(403).reason("Relaying Denied"));
        }
        if request.uri().user().is_none() {
            return Ok(answer_for_router(request));
        }
        let trusted = self.trusted.as_deref().is_some_and(transaction::source_in);
        if !trusted {
            if let Some(refusal) = refusal(request) {
                return Ok(refusal);
            }
            // RFC 3325 §5: an assertion counts only when it comes from somebody we trust.
            if request.has_header("P-Asserted-Identity") {
                request.remove_header("P-Asserted-Identity")?;
            }
        }
        self.relay_to_user(request)
    }

    /// To every contact of a local user; calls may end in voicemail.
    fn relay_to_user(&self, request: &Request) -> Result<Verdict> {
        let contacts = location::lookup(request.uri())?;
        if *request.method() != Method::Invite {
            return Ok(relay(contacts));
        }
        match &self.voicemail {
            Some(voicemail) if contacts.is_empty() => Ok(relay(voicemail)),
            Some(_) => Ok(relay(contacts)
                .no_answer(self.no_answer_timeout)
                .on_failure()),
            None => Ok(relay(contacts).no_answer(self.no_answer_timeout)),
        }
    }
}

/// The first of the networks, separated as for [`transaction::source_in`], that is none.
fn no_network(networks: &str) -> Option<&str> {
    let mut networks = networks.split([' ', ',', '\t', '\n']);
    networks.find(|text| !text.is_empty() && !is_network(text))
}

/// Whether this is an address, or one with the length of a prefix.
fn is_network(text: &str) -> bool {
    let (address, prefix) = text.split_once('/').unwrap_or((text, "0"));
    let most = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    prefix.parse::<u8>().is_ok_and(|prefix| prefix <= most)
}

/// RFC 3261 §10.3: a registrar serves the address-of-records of its own domains.
fn register(request: &Request) -> Verdict {
    if !transaction::is_local(request.uri()) {
        return reply(403).reason("Relaying Denied");
    }
    if !transaction::is_local(request.to_uri()) {
        return reply(404);
    }
    if auth::is_required() && !auth::is_verified() {
        return challenge();
    }
    save()
}

/// RFC 3261 §11.2: an OPTIONS to the router itself tells what it understands, and that it is alive.
fn answer_for_router(request: &Request) -> Verdict {
    if *request.method() != Method::Options {
        return reply(405).header("Allow", ALLOW);
    }
    // RFC 3261 §8.2.2.3: here the router is the user agent server, and knows no extension.
    if request.has_header("Require") {
        return reply(420).header("Unsupported", request.headers("Require").join(", "));
    }
    reply(200).header("Allow", ALLOW)
}

/// What a caller who may not call is told, `None` for one who may.
fn refusal(request: &Request) -> Option<Verdict> {
    if !auth::is_required() || location::is_registered_source(request.from_uri()) {
        return None;
    }
    if !auth::is_verified() {
        let is_ours = transaction::is_local(request.from_uri());
        return Some(if is_ours { challenge() } else { reply(403) });
    }
    (!calls_as_oneself(request)).then(|| reply(403).reason("Not Your Address"))
}

/// Whether From names the user whose password was given.
fn calls_as_oneself(request: &Request) -> bool {
    let verified = auth::verified_user().unwrap_or_default();
    let user = verified
        .rsplit_once('@')
        .map_or(verified.as_str(), |(user, _)| user);
    request.from_uri().user().as_deref() == Some(user)
}

#[cfg(test)]
mod tests;
