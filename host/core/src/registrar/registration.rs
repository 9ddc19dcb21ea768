//! What a REGISTER asks for.

use patchbay_message::{AddressOfRecord, Draft, HeaderName, NameAddr, Uri, Values};

use crate::door::{Flow, Reject};

/// A request to change, or only to read, the bindings of one address-of-record.
#[derive(Clone, Debug)]
pub struct Registration {
    /// RFC 3261 §10.3 step 5: the canonical form of the URI in To.
    pub aor: AddressOfRecord,
    /// Empty: the change does not come from a REGISTER, so there is no order to check.
    pub call_id: Vec<u8>,
    /// The CSeq number.
    pub cseq: u32,
    /// What is to change.
    pub contacts: Contacts,
    /// RFC 3327 §5.3: the Path values, to be stored and returned in order.
    pub path: Vec<Vec<u8>>,
    /// The User-Agent header; empty: none.
    pub user_agent: Vec<u8>,
    /// The way the request came.
    pub flow: Option<Flow>,
    /// RFC 5626 §6.
    pub outbound: OutboundSupport,
    /// Contacts that the address-of-record may have, where it is not as many as everybody's.
    pub max_contacts: Option<usize>,
}

/// The three forms of the Contact header in a REGISTER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contacts {
    /// No Contact: only list the bindings.
    Fetch,
    /// `*`: remove every binding.
    RemoveAll,
    /// Add, refresh or remove these, in order.
    Change(Vec<ContactChange>),
}

/// One Contact value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContactChange {
    /// The display name as it came, with its quotes; empty: none.
    pub display: Vec<u8>,
    /// The URI.
    pub uri: Vec<u8>,
    /// All parameters but `expires`, each as `;name=value`.
    pub parameters: Vec<u8>,
    /// `+sip.instance` without its quotes.
    pub instance: Option<Vec<u8>>,
    /// `reg-id`; it counts only beside an instance and where outbound applies (RFC 5626 §6).
    pub reg_id: Option<u32>,
    /// Thousandths; 1000 when absent (RFC 3261 §10.2.1.2 leaves it to us) or malformed.
    pub q: u16,
    /// The seconds asked for; `None`: the default.
    pub expires_secs: Option<u32>,
}

/// Whether RFC 5626 applies to a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboundSupport {
    /// No `reg-id` counts.
    None,
    /// `reg-id` counts; the UA does not ask for the option tag.
    Flows,
    /// `reg-id` counts, and the 200 says `Require: outbound`.
    Required,
}

impl Registration {
    /// Reads a REGISTER that has passed validation.
    ///
    /// Fails with 400 for contacts that make no sense, 420 for a Path that the UA does not support or an extension that is required and
    /// not understood, and 439 when an intermediate hop lacks outbound support.
    pub fn from_request(request: &Draft, flow: Flow) -> Result<Registration, Reject> {
        let mut registration =
            Registration::without_request(registered(&registrant(request)?)?, Contacts::Fetch);
        registration.read(request, flow)?;
        Ok(registration)
    }

    /// Reads everything but To, into the memory of what was read before.
    pub(crate) fn read(&mut self, request: &Draft, flow: Flow) -> Result<(), Reject> {
        check_require(request)?;
        let cseq = request.cseq().map_err(|_| bad_request("Malformed CSeq"))?;
        self.cseq = cseq.number;
        self.flow = Some(flow);
        self.contacts = contacts(
            request,
            std::mem::replace(&mut self.contacts, Contacts::Fetch),
        )?;
        self.path = path(request)?;
        self.outbound = outbound_support(request, &self.contacts, &self.path)?;
        self.call_id.clear();
        self.call_id
            .extend_from_slice(request.header(HeaderName::CallId).unwrap_or_default());
        self.user_agent.clear();
        push_without_folds(
            &mut self.user_agent,
            request.header(HeaderName::UserAgent).unwrap_or_default(),
        );
        Ok(())
    }

    /// Adds or refreshes one contact without a REGISTER; zero seconds remove it.
    ///
    /// `contact` is a URI, or a Contact value with `<>`; `expires_secs` wins over its `expires`.
    pub fn of_contact(
        aor: AddressOfRecord,
        contact: &[u8],
        expires_secs: u32,
        flow: Option<Flow>,
    ) -> Result<Registration, Reject> {
        // The parameters of a bare URI are the URI's, unlike in a Contact header (RFC 3261 §20).
        let mut change = if contact.contains(&b'<') {
            contact_change(contact, None, ContactChange::default())?
        } else {
            let contact = [b"<", contact, b">"].concat();
            contact_change(&contact, None, ContactChange::default())?
        };
        change.expires_secs = Some(expires_secs);
        Ok(Registration {
            flow,
            ..Registration::without_request(aor, Contacts::Change(vec![change]))
        })
    }

    /// Removes every contact without a REGISTER.
    pub fn of_removal(aor: AddressOfRecord) -> Registration {
        Registration::without_request(aor, Contacts::RemoveAll)
    }

    fn without_request(aor: AddressOfRecord, contacts: Contacts) -> Registration {
        Registration {
            aor,
            call_id: Vec::new(),
            cseq: 0,
            contacts,
            path: Vec::new(),
            user_agent: Vec::new(),
            flow: None,
            outbound: OutboundSupport::None,
            max_contacts: None,
        }
    }
}

/// The URI in To.
pub(crate) fn registrant(request: &Draft) -> Result<Uri<'_>, Reject> {
    let to = request.to().map_err(|_| bad_request("Malformed To"))?;
    to.uri().map_err(|_| bad_request("Malformed To"))
}

/// RFC 3261 §10.3 step 5: the address-of-record of the URI in To.
pub(crate) fn registered(registrant: &Uri<'_>) -> Result<AddressOfRecord, Reject> {
    AddressOfRecord::from_uri(registrant).ok_or(bad_request("Not an Address-of-Record"))
}

fn bad_request(reason: &'static str) -> Reject {
    Reject::new(400, reason)
}

/// The option tags that a registrar here understands: RFC 3327 and RFC 5626.
const UNDERSTOOD: [&[u8]; 2] = [b"path", b"outbound"];

/// RFC 3261 §10.3 step 2: what a REGISTER requires is processed as by any user agent server.
fn check_require(request: &Draft) -> Result<(), Reject> {
    if request.header(HeaderName::Require).is_none() {
        return Ok(());
    }
    let is_understood = |option: &[u8]| {
        let mut understood = UNDERSTOOD.iter();
        understood.any(|known| known.eq_ignore_ascii_case(option))
    };
    let unknown = request.values(HeaderName::Require);
    Reject::bad_extension(unknown.filter(|option| !is_understood(option))).map_or(Ok(()), Err)
}

/// RFC 3261 §10.3 step 6: `*` stands alone and with `Expires: 0` only.
fn contacts(request: &Draft, used: Contacts) -> Result<Contacts, Reject> {
    let header_expires = request.header(HeaderName::Expires).map(delta_seconds);
    let (mut changes, mut used) = match used {
        Contacts::Change(mut changes) => {
            let first = changes.pop();
            changes.clear();
            (changes, first)
        }
        Contacts::Fetch | Contacts::RemoveAll => (Vec::new(), None),
    };
    let mut star = false;
    // As `values` would go through them: these two loops keep where they are in fewer numbers.
    for field in request.headers(HeaderName::Contact) {
        for value in Values::of(HeaderName::Contact, field) {
            if value.trim_ascii() == b"*" {
                star = true;
            } else {
                let used = used.take().unwrap_or_default();
                changes.push(contact_change(value, header_expires.flatten(), used)?);
            }
        }
    }
    match (star, changes.is_empty()) {
        (false, true) => Ok(Contacts::Fetch),
        (false, false) => Ok(Contacts::Change(changes)),
        (true, true) if header_expires == Some(Some(0)) => Ok(Contacts::RemoveAll),
        (true, _) => Err(bad_request("Invalid Request")),
    }
}

/// Reads a value into the memory of what was `used` before.
fn contact_change(
    value: &[u8],
    header_expires: Option<u32>,
    used: ContactChange,
) -> Result<ContactChange, Reject> {
    let malformed = || bad_request("Malformed Contact");
    let address = NameAddr::parse_with_uri(value).map_err(|_| malformed())?;
    let mut change = ContactChange {
        instance: None,
        reg_id: None,
        q: 1000,
        expires_secs: header_expires,
        ..used
    };
    change.display.clear();
    push_without_folds(&mut change.display, address.display.unwrap_or_default());
    change.uri.clear();
    change.uri.extend_from_slice(address.uri_raw);
    change.parameters.clear();
    for (name, value) in address.params.iter() {
        read_parameter(&mut change, name, value);
    }
    Ok(change)
}

/// RFC 3261 §10.3 step 7: `expires` of the contact wins over the header; everything else is kept.
fn read_parameter(change: &mut ContactChange, name: &[u8], value: Option<&[u8]>) {
    if name.eq_ignore_ascii_case(b"expires") {
        change.expires_secs = value.and_then(delta_seconds);
        return;
    }
    if name.eq_ignore_ascii_case(b"q") {
        change.q = value.and_then(q_thousandths).unwrap_or(1000);
    } else if name.eq_ignore_ascii_case(b"+sip.instance") {
        change.instance = value.map(|value| without_quotes(value).to_vec());
    } else if name.eq_ignore_ascii_case(b"reg-id") {
        change.reg_id = value.and_then(delta_seconds).filter(|&number| number > 0);
    }
    change.parameters.push(b';');
    change.parameters.extend_from_slice(name);
    if let Some(value) = value {
        change.parameters.push(b'=');
        push_without_folds(&mut change.parameters, value);
    }
}

/// RFC 3261 §20.10: what is no number counts as absent, so that the default applies; RFC 3261 §10.2.1.1 stops at 2**32-1.
fn delta_seconds(value: &[u8]) -> Option<u32> {
    // What is nearly always there; the rest is for blanks around it and numbers that are too large.
    if let Some(seconds) = patchbay_message::parse_u32(value) {
        return Some(seconds);
    }
    let value = value.trim_ascii();
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0u32, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u32::from(digit - b'0'))
    }))
}

/// RFC 3261 §25.1 qvalue: up to three decimals of a number from 0 to 1.
fn q_thousandths(value: &[u8]) -> Option<u16> {
    let (whole, decimals) = match value.iter().position(|&byte| byte == b'.') {
        Some(dot) => value
            .split_at_checked(dot)
            .map(|(whole, rest)| (whole, rest.get(1..).unwrap_or_default()))?,
        None => (value, &[][..]),
    };
    if decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let fraction = [100, 10, 1]
        .iter()
        .zip(decimals)
        .map(|(weight, digit)| weight * u16::from(digit - b'0'))
        .sum::<u16>();
    match whole {
        b"0" | b"" if !(whole.is_empty() && decimals.is_empty()) => Some(fraction),
        b"1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

/// RFC 3327 §5.3: without support by the UA the recommended policy is 420, so that it can detect a proxy that must not be there.
fn path(request: &Draft) -> Result<Vec<Vec<u8>>, Reject> {
    // The message knows without a search which names it does not have.
    if request.header(HeaderName::Path).is_none() {
        return Ok(Vec::new());
    }
    let path: Vec<Vec<u8>> = request
        .values(HeaderName::Path)
        .map(without_folds)
        .collect();
    if path.is_empty()
        || has_option(request, HeaderName::Supported, b"path")
        || has_option(request, HeaderName::Require, b"path")
    {
        return Ok(path);
    }
    Err(Reject {
        headers: vec![("Unsupported", "path".to_owned())],
        ..Reject::new(420, "")
    })
}

fn has_option(request: &Draft, header: HeaderName, option: &[u8]) -> bool {
    request
        .values(header)
        .any(|value| value.eq_ignore_ascii_case(option))
}

/// RFC 5626 §6: flows count on the first hop, or where the first Path URI has `ob`; a UA that relies on them hears 439.
fn outbound_support(
    request: &Draft,
    contacts: &Contacts,
    path: &[Vec<u8>],
) -> Result<OutboundSupport, Reject> {
    let Contacts::Change(changes) = contacts else {
        return Ok(OutboundSupport::None);
    };
    let flow_contacts = changes
        .iter()
        .filter(|change| change.reg_id.is_some())
        .count();
    if flow_contacts == 0 {
        return Ok(OutboundSupport::None);
    }
    let asks = has_option(request, HeaderName::Supported, b"outbound");
    let first_hop = request.values(HeaderName::Via).count() <= 1;
    if !first_hop && !path.first().is_some_and(|value| has_ob(value)) {
        return if asks {
            Err(Reject::new(439, "First Hop Lacks Outbound Support"))
        } else {
            Ok(OutboundSupport::None)
        };
    }
    let counts = |change: &&ContactChange| {
        change.reg_id.is_some() && change.instance.is_some() && change.expires_secs != Some(0)
    };
    let added = changes
        .iter()
        .filter(|change| change.expires_secs != Some(0))
        .count();
    if added > 1 && changes.iter().any(|change| counts(&change)) {
        return Err(bad_request("One Contact per Flow"));
    }
    Ok(
        if asks && changes.iter().any(|change| change.instance.is_some()) {
            OutboundSupport::Required
        } else {
            OutboundSupport::Flows
        },
    )
}

fn has_ob(value: &[u8]) -> bool {
    NameAddr::parse(value)
        .is_ok_and(|address| address.uri().is_ok_and(|uri| uri.param(b"ob").is_some()))
}

fn without_quotes(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""))
        .unwrap_or(value)
}

fn without_folds(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push_without_folds(&mut out, value);
    out
}

/// A folded value on one line, so that it can be written into another message.
fn push_without_folds(out: &mut Vec<u8>, value: &[u8]) {
    let start = out.len();
    out.extend_from_slice(value);
    if !patchbay_message::breaks_lines(value) {
        return;
    }
    for byte in out.iter_mut().skip(start) {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
}
