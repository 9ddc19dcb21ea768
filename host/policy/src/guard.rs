//! What a policy may write into a message: never what belongs to the host, never what would break it.

use patchbay_message::{
    ContactValue, Draft, EditError, FitField, HeaderName, Name, NameAddr, Uri, Values, is_token,
    parse_u32,
};

use crate::host::{ErrorKind, HostError};

/// The longest text that is written to a header or kept as a variable.
pub(crate) const MAX_VALUE_LEN: usize = 8192;
/// The longest name of a variable, counter or timer.
pub(crate) const MAX_NAME_LEN: usize = 64;

/// `message.set-header`.
pub(crate) fn set_header<'a>(
    message: &mut Draft,
    name: impl Into<Name<'a>>,
    value: &str,
) -> Result<(), HostError> {
    let name = name.into();
    let header = name.known();
    let field = check_field(name, value)?;
    match header {
        HeaderName::From | HeaderName::To => check_tag_is_kept(message, header, value)?,
        _ => deny_host_owned(header)?,
    }
    message.set_fit(field).map_err(refused)
}

/// `message.add-header`.
pub(crate) fn add_header<'a>(
    message: &mut Draft,
    name: impl Into<Name<'a>>,
    value: &str,
) -> Result<(), HostError> {
    let name = name.into();
    let header = name.known();
    let field = check_field(name, value)?;
    deny_host_owned(header)?;
    if matches!(header, HeaderName::From | HeaderName::To)
        || header.is_single() && message.header(header).is_some()
    {
        return Err(invalid(format!(
            "a message has one {} header: use set-header",
            header.text()
        )));
    }
    message.append_fit(field).map_err(refused)
}

/// `message.remove-header`.
pub(crate) fn remove_header<'a>(
    message: &mut Draft,
    name: impl Into<Name<'a>>,
) -> Result<u32, HostError> {
    let name = name.into();
    let header = name.known();
    deny_host_owned(header)?;
    if matches!(header, HeaderName::From | HeaderName::To) {
        return Err(denied(format!(
            "a message can't be without {}",
            header.text()
        )));
    }
    let removed = message.remove(name).map_err(refused)?;
    Ok(u32::try_from(removed).unwrap_or(u32::MAX))
}

/// The operator's grant, for every change of a header; what is the host's nobody can be granted.
pub(crate) fn check_grant(
    header: HeaderName,
    name: &str,
    is_granted: impl FnOnce(&str) -> bool,
) -> Result<(), HostError> {
    deny_host_owned(header)?;
    let name = match header {
        HeaderName::Other => name,
        known => known.text(),
    };
    if is_granted(name) {
        return Ok(());
    }
    Err(denied(format!(
        "policy.grants.write_headers does not have `{}`",
        name.escape_debug()
    )))
}

/// `message.set-body`.
pub(crate) fn set_body(
    message: &mut Draft,
    content_type: &str,
    body: &[u8],
) -> Result<(), HostError> {
    check_body(content_type, body)?;
    message
        .set_body(content_type.as_bytes(), body)
        .map_err(refused)
}

/// `reply.add-header`: the host writes what identifies the transaction and the dialog.
pub(crate) fn check_reply_header(name: &str, value: &str) -> Result<(), HostError> {
    let name = Name::from(name);
    let header = name.known();
    check_field(name, value)?;
    deny_host_owned(header)?;
    match header {
        HeaderName::From | HeaderName::To => Err(denied(format!(
            "{} of a reply is the host's",
            header.text()
        ))),
        HeaderName::ContentType => Err(invalid(
            "Content-Type goes with the body: use reply.set-body".into(),
        )),
        _ => Ok(()),
    }
}

/// The type and the bytes of a body; none at all is an empty body.
pub(crate) fn check_body(content_type: &str, body: &[u8]) -> Result<(), HostError> {
    if body.is_empty() && content_type.is_empty() {
        return Ok(());
    }
    check_field(HeaderName::ContentType.into(), content_type).map(drop)
}

/// A URI of any scheme.
pub(crate) fn check_uri(uri: &str) -> Result<(), HostError> {
    match Uri::parse(uri.as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err(invalid(format!("`{uri}` is no URI"))),
    }
}

/// A URI that says where to send.
pub(crate) fn check_next_hop(uri: &str) -> Result<(), HostError> {
    match Uri::parse(uri.as_bytes()) {
        Ok(parsed) if parsed.is_sip() => Ok(()),
        _ => Err(invalid(format!("`{uri}` is no sip: or sips: URI"))),
    }
}

/// The name of a variable, counter or timer.
pub(crate) fn check_name(name: &str) -> Result<(), HostError> {
    if is_token(name.as_bytes()) && name.len() <= MAX_NAME_LEN {
        return Ok(());
    }
    Err(invalid(format!(
        "a name is a token of at most {MAX_NAME_LEN} characters"
    )))
}

/// The name of a counter becomes a label of a metric.
pub(crate) fn check_counter_name(name: &str) -> Result<(), HostError> {
    let valid = !name.is_empty()
        && name.len() <= MAX_NAME_LEN
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if valid {
        return Ok(());
    }
    Err(invalid(format!(
        "the name of a counter has letters, digits, `_` and `-`, at most {MAX_NAME_LEN}"
    )))
}

/// A parameter of our Record-Route: it stands in a URI, unescaped.
pub(crate) fn check_parameter(name: &str, value: &str) -> Result<(), HostError> {
    check_name(name)?;
    if (value.is_empty() || is_token(value.as_bytes())) && value.len() <= 256 {
        return Ok(());
    }
    Err(invalid(
        "the value of a parameter is a token of at most 256 characters".into(),
    ))
}

pub(crate) fn check_len(value: &str) -> Result<(), HostError> {
    if value.len() <= MAX_VALUE_LEN {
        return Ok(());
    }
    Err(HostError {
        kind: ErrorKind::Limit,
        message: format!("a value has at most {MAX_VALUE_LEN} bytes"),
    })
}

/// Why no policy may write the header of this name; `None`: it may.
pub fn refuses_header(name: &str) -> Option<String> {
    let refused = deny_host_owned(Name::from(name.as_bytes()).known()).err()?;
    Some(refused.message)
}

#[inline]
fn deny_host_owned(header: HeaderName) -> Result<(), HostError> {
    match header {
        HeaderName::Via
        | HeaderName::CSeq
        | HeaderName::CallId
        | HeaderName::ContentLength
        | HeaderName::MaxForwards
        | HeaderName::RecordRoute
        | HeaderName::Route => Err(host_owned(header)),
        _ => Ok(()),
    }
}

#[cold]
fn host_owned(header: HeaderName) -> HostError {
    let instead = match header {
        HeaderName::RecordRoute => {
            ": use transaction.set-record-route and transaction.add-record-route-parameter"
        }
        HeaderName::Route => ": use the next-hop of a target",
        _ => "",
    };
    denied(format!("{} is the host's{instead}", header.text()))
}

/// RFC 3261 §12: the tags identify the dialog, so that only the name and the URI may change.
fn check_tag_is_kept(message: &Draft, header: HeaderName, value: &str) -> Result<(), HostError> {
    let new = NameAddr::parse(value.as_bytes())
        .map_err(|_| invalid(format!("`{value}` is no address")))?;
    let old = if header == HeaderName::From {
        message.from()
    } else {
        message.to()
    };
    if old.is_ok_and(|old| old.tag() == new.tag()) {
        return Ok(());
    }
    Err(denied(format!(
        "the tag of {} is the host's: keep it as it is",
        header.text()
    )))
}

/// Name and value, fit to be written. Called, it would copy both and a result as large as an error.
#[inline(always)]
fn check_field<'a>(name: Name<'a>, value: &'a str) -> Result<FitField<'a>, HostError> {
    let header = name.known();
    // Of a header that we don't know any value is one.
    let is_well_formed = || header == HeaderName::Other || is_well_formed(header, value.as_bytes());
    match FitField::new(name, value.as_bytes()) {
        Ok(field) if value.len() <= MAX_VALUE_LEN && is_well_formed() => Ok(field),
        result => Err(unfit(name, value, result.err())),
    }
}

/// Why a field can't be written.
#[cold]
fn unfit(name: Name<'_>, value: &str, error: Option<EditError>) -> HostError {
    let shown = String::from_utf8_lossy(name.text());
    if matches!(error, Some(EditError::Name)) {
        return invalid(format!("`{}` is no name of a header", shown.escape_debug()));
    }
    if let Err(too_long) = check_len(value) {
        return too_long;
    }
    match error {
        Some(_) => invalid(format!("the value of {shown} has a control character")),
        None => invalid(format!("`{value}` is no value of {shown}")),
    }
}

/// The grammar of the headers that the host or a peer would reject a message for.
fn is_well_formed(header: HeaderName, value: &[u8]) -> bool {
    match header {
        HeaderName::Contact => {
            Values::of(header, value).all(|value| ContactValue::parse(value).is_ok())
        }
        HeaderName::PAssertedIdentity | HeaderName::PPreferredIdentity => {
            Values::of(header, value).all(|value| NameAddr::parse(value).is_ok())
        }
        HeaderName::From | HeaderName::To | HeaderName::ReferTo => NameAddr::parse(value).is_ok(),
        HeaderName::Expires | HeaderName::MinExpires | HeaderName::MaxBreadth => {
            parse_u32(value).is_some()
        }
        HeaderName::ContentType => is_media_type(value),
        _ => true,
    }
}

fn is_media_type(value: &[u8]) -> bool {
    let essence = value.split(|&byte| byte == b';').next().unwrap_or_default();
    let mut parts = essence.splitn(2, |&byte| byte == b'/');
    let (Some(kind), Some(subtype)) = (parts.next(), parts.next()) else {
        return false;
    };
    is_token(kind.trim_ascii()) && is_token(subtype.trim_ascii())
}

pub(crate) fn refused(error: EditError) -> HostError {
    let kind = if matches!(error, EditError::TooLarge) {
        ErrorKind::Limit
    } else {
        ErrorKind::InvalidArgument
    };
    HostError {
        kind,
        message: error.to_string(),
    }
}

pub(crate) fn invalid(message: String) -> HostError {
    HostError {
        kind: ErrorKind::InvalidArgument,
        message,
    }
}

fn denied(message: String) -> HostError {
    HostError {
        kind: ErrorKind::Denied,
        message,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use patchbay_message::{Limits, Message};

    use super::*;

    const INVITE: &[u8] = b"INVITE sip:bob@example.com SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
        From: <sip:alice@example.com>;tag=a1\r\nTo: <sip:bob@example.com>\r\n\
        Call-ID: c1\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@192.0.2.1>\r\nContent-Length: 0\r\n\r\n";

    fn invite() -> Draft {
        Draft::new(Arc::new(
            Message::parse(INVITE, &Limits::default()).unwrap(),
        ))
    }

    fn kind(result: Result<(), HostError>) -> Option<ErrorKind> {
        result.err().map(|error| error.kind)
    }

    fn grant(name: &str, is_granted: impl FnOnce(&str) -> bool) -> Result<(), HostError> {
        check_grant(Name::from(name).known(), name, is_granted)
    }

    #[test]
    fn host_owned_headers_can_not_be_changed_under_any_name() {
        for name in [
            "Via",
            "v",
            "VIA",
            "CSeq",
            "Call-ID",
            "i",
            "Content-Length",
            "l",
            "Max-Forwards",
            "Record-Route",
            "Route",
            "rOuTe",
        ] {
            let mut message = invite();
            assert_eq!(
                kind(set_header(&mut message, name, "1")),
                Some(ErrorKind::Denied),
                "{name}"
            );
            assert_eq!(
                kind(add_header(&mut message, name, "1")),
                Some(ErrorKind::Denied),
                "{name}"
            );
            assert_eq!(
                kind(remove_header(&mut message, name).map(drop)),
                Some(ErrorKind::Denied),
                "{name}"
            );
            assert_eq!(
                kind(check_reply_header(name, "1")),
                Some(ErrorKind::Denied),
                "{name}"
            );
            assert!(!message.is_edited());
        }
    }

    #[test]
    fn a_header_without_a_grant_is_denied_by_its_long_name() {
        let only_contact = |name: &str| name == "Contact";
        assert_eq!(grant("m", only_contact), Ok(()));
        assert_eq!(grant("CONTACT", only_contact), Ok(()));
        let error = grant("s", only_contact).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied);
        assert_eq!(
            error.message,
            "policy.grants.write_headers does not have `Subject`"
        );
        let unknown = grant("X-a", only_contact).unwrap_err();
        assert!(unknown.message.ends_with("`X-a`"), "{}", unknown.message);
    }

    #[test]
    fn what_is_the_hosts_can_not_be_granted() {
        let error = grant("v", |_| true).unwrap_err();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::Denied, "Via is the host's")
        );
    }

    #[test]
    fn a_name_or_value_can_not_inject_a_header() {
        let mut message = invite();
        for (name, value) in [
            ("X-A", "1\r\nVia: x"),
            ("X-A", "1\nB: c"),
            ("X-A", "\0"),
            ("X-A: b\r\nX", "1"),
            ("", "1"),
            ("X A", "1"),
        ] {
            assert_eq!(
                kind(set_header(&mut message, name, value)),
                Some(ErrorKind::InvalidArgument),
                "{name:?} {value:?}"
            );
            assert_eq!(
                kind(add_header(&mut message, name, value)),
                Some(ErrorKind::InvalidArgument),
                "{name:?} {value:?}"
            );
        }
        assert!(!message.is_edited());
    }

    #[test]
    fn from_may_change_while_its_tag_stays() {
        let mut message = invite();
        assert_eq!(
            set_header(
                &mut message,
                "f",
                "\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=a1"
            ),
            Ok(())
        );
        assert_eq!(
            kind(set_header(
                &mut message,
                "From",
                "<sip:x@example.com>;tag=other"
            )),
            Some(ErrorKind::Denied)
        );
        assert_eq!(
            kind(set_header(&mut message, "From", "<sip:x@example.com>")),
            Some(ErrorKind::Denied)
        );
        assert_eq!(
            kind(set_header(
                &mut message,
                "To",
                "<sip:x@example.com>;tag=forged"
            )),
            Some(ErrorKind::Denied)
        );
        assert_eq!(
            kind(remove_header(&mut message, "t").map(drop)),
            Some(ErrorKind::Denied)
        );
    }

    #[test]
    fn values_of_known_headers_are_checked() {
        let mut message = invite();
        for (name, value) in [
            ("Contact", "<sip:a@b"),
            ("Expires", "soon"),
            ("Content-Type", "sdp"),
            ("P-Asserted-Identity", "\"x <sip:a@b>"),
        ] {
            assert_eq!(
                kind(set_header(&mut message, name, value)),
                Some(ErrorKind::InvalidArgument),
                "{name}"
            );
        }
        assert_eq!(
            set_header(
                &mut message,
                "Content-Type",
                "application/sdp; charset=utf-8"
            ),
            Ok(())
        );
        assert_eq!(
            set_header(&mut message, "P-Asserted-Identity", "<sip:a@b>, <tel:+1>"),
            Ok(())
        );
    }

    #[test]
    fn a_single_header_is_not_added_twice() {
        let mut message = invite();
        assert_eq!(add_header(&mut message, "Expires", "60"), Ok(()));
        assert_eq!(
            kind(add_header(&mut message, "Expires", "61")),
            Some(ErrorKind::InvalidArgument)
        );
        assert_eq!(add_header(&mut message, "X-Any", "1"), Ok(()));
        assert_eq!(add_header(&mut message, "X-Any", "2"), Ok(()));
        assert_eq!(remove_header(&mut message, "x-any"), Ok(2));
    }

    #[test]
    fn a_body_needs_a_type() {
        let mut message = invite();
        assert_eq!(
            kind(set_body(&mut message, "", b"v=0")),
            Some(ErrorKind::InvalidArgument)
        );
        assert_eq!(set_body(&mut message, "application/sdp", b"v=0"), Ok(()));
        assert_eq!(message.body(), b"v=0");
        assert_eq!(set_body(&mut message, "", b""), Ok(()));
        assert_eq!(message.header(HeaderName::ContentType), None);
    }
}
