//! URIs, as text with a look inside.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A URI (`sip:`, `sips:`, `tel:`, ...), kept as it was written; its parts are looked up when they are asked for.
///
/// ```
/// use patchbay_sdk::Uri;
///
/// let uri = Uri::new("sip:alice%40home@example.com:5070;transport=tcp?Subject=Hello");
/// assert_eq!(uri.scheme(), "sip");
/// assert_eq!(uri.user().as_deref(), Some("alice@home"));
/// assert_eq!(uri.host(), "example.com");
/// assert_eq!(uri.port(), Some(5070));
/// assert_eq!(uri.parameter("Transport"), Some("tcp"));
/// ```
#[derive(Default)]
pub struct Uri {
    text: OnceCell<String>,
    /// Where the text comes from when it is asked for: it is the Request-URI of the hook.
    later: Option<fn() -> String>,
}

impl Uri {
    /// Takes a text as a URI. The router checks the grammar when the URI is used.
    pub fn new(text: impl Into<String>) -> Uri {
        Uri {
            text: OnceCell::from(text.into()),
            later: None,
        }
    }

    /// The Request-URI, which is fetched when it is looked into.
    pub(crate) fn later(fetch: fn() -> String) -> Uri {
        Uri {
            text: OnceCell::new(),
            later: Some(fetch),
        }
    }

    /// Whether it is the current Request-URI, and nothing else is known of it.
    pub(crate) fn is_requests(&self) -> bool {
        self.later.is_some()
    }

    /// The URI as it is written.
    pub fn as_str(&self) -> &str {
        self.text
            .get_or_init(|| self.later.map(|fetch| fetch()).unwrap_or_default())
    }

    /// The scheme, as it is written: `sip`, `sips`, `tel`; empty when there is none.
    pub fn scheme(&self) -> &str {
        split(self.as_str(), b':').map_or("", |(scheme, _)| scheme)
    }

    /// Whether the scheme is this one; schemes have no case.
    pub fn is_scheme(&self, scheme: &str) -> bool {
        self.scheme().eq_ignore_ascii_case(scheme)
    }

    /// The user part with its escapes resolved and without a password; of a `tel:` URI the number. `None` when there is none.
    pub fn user(&self) -> Option<Cow<'_, str>> {
        let (scheme, rest) = split(self.as_str(), b':')?;
        let raw = match split(rest, b'@') {
            _ if scheme.eq_ignore_ascii_case("tel") => before_any(rest, b";?"),
            found => found?.0,
        };
        let user = before_any(raw, b":");
        (!user.is_empty()).then(|| unescape(user))
    }

    /// The host, an IPv6 address in its brackets; empty when the scheme has none.
    pub fn host(&self) -> &str {
        let host_port = self.host_port();
        if host_port.starts_with('[') {
            return host_port.split_inclusive(']').next().unwrap_or_default();
        }
        host_port.split(':').next().unwrap_or_default()
    }

    /// The port, when it is written.
    pub fn port(&self) -> Option<u16> {
        let rest = self.host_port().strip_prefix(self.host())?;
        rest.strip_prefix(':')?.parse().ok()
    }

    /// A parameter of the URI by its name, which has no case; empty when it has no value.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let after_host = self.as_str().get(self.host_end()..)?;
        let parameters = after_host.split('?').next().unwrap_or_default();
        let mut pairs = parameters
            .split(';')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs
            .find(|(key, _)| !key.is_empty() && key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// What follows the scheme.
    fn rest(&self) -> &str {
        split(self.as_str(), b':').map_or("", |(_, rest)| rest)
    }

    /// User and password. RFC 3261 §25.1: `;` and `?` may stand in a user part, `@` only escaped.
    fn user_info(&self) -> Option<&str> {
        split(self.rest(), b'@').map(|(user, _)| user)
    }

    fn host_port(&self) -> &str {
        let rest = self.rest();
        if !(self.is_scheme("sip") || self.is_scheme("sips")) {
            return "";
        }
        let after_user = split(rest, b'@').map_or(rest, |(_, after)| after);
        before_any(after_user, b";?")
    }

    /// The offset of the first character after host and port.
    fn host_end(&self) -> usize {
        let rest = self.rest();
        let rest_start = self.as_str().len() - rest.len();
        if !(self.is_scheme("sip") || self.is_scheme("sips")) {
            return rest_start;
        }
        let user_len = self.user_info().map_or(0, |user| user.len() + 1);
        rest_start + user_len + self.host_port().len()
    }
}

/// A copy is the text as it is now, whatever becomes of the request.
impl Clone for Uri {
    fn clone(&self) -> Uri {
        Uri::new(self.as_str())
    }
}

impl PartialEq for Uri {
    fn eq(&self, other: &Uri) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Uri {}

impl Hash for Uri {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Uri").field(&self.as_str()).finish()
    }
}

impl From<&str> for Uri {
    fn from(text: &str) -> Uri {
        Uri::new(text)
    }
}

impl From<String> for Uri {
    fn from(text: String) -> Uri {
        Uri::new(text)
    }
}

impl AsRef<str> for Uri {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What stands before the first such byte, which is ASCII, and what behind it. URIs are short: a look at each byte is sooner done than
/// the search in `str` begins.
fn split(text: &str, at: u8) -> Option<(&str, &str)> {
    let place = text.bytes().position(|byte| byte == at)?;
    Some((text.get(..place)?, text.get(place + 1..)?))
}

/// What stands before the first of these bytes, which are ASCII.
fn before_any<'a>(text: &'a str, ends: &[u8]) -> &'a str {
    let end = text.bytes().position(|byte| ends.contains(&byte));
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

/// Resolves `%41`; what is no escape, or would not be text, stays.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        match (first, escaped(after)) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// The byte that two hexadecimal digits stand for.
fn escaped(digits: &[u8]) -> Option<u8> {
    let [high, low] = *digits.first_chunk::<2>()?;
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_uri_has_no_user_port_or_parameters() {
        let uri = Uri::new("sip:example.com");
        assert_eq!(
            (uri.user(), uri.host(), uri.port(), uri.parameter("lr")),
            (None, "example.com", None, None)
        );
    }

    #[test]
    fn an_ipv6_host_keeps_its_brackets() {
        let uri = Uri::new("sips:bob@[2001:db8::1]:5061;lr");
        assert_eq!(
            (uri.host(), uri.port(), uri.parameter("lr")),
            ("[2001:db8::1]", Some(5061), Some(""))
        );
    }

    #[test]
    fn a_user_part_may_hold_parameters_of_its_own() {
        let uri = Uri::new("sip:+3581234;phone-context=+358@gw.example.com;user=phone");
        assert_eq!(uri.user().as_deref(), Some("+3581234;phone-context=+358"));
        assert_eq!(
            (
                uri.host(),
                uri.parameter("user"),
                uri.parameter("phone-context")
            ),
            ("gw.example.com", Some("phone"), None)
        );
    }

    #[test]
    fn a_password_is_no_part_of_the_user() {
        assert_eq!(
            Uri::new("sip:bob:secret@example.com").user().as_deref(),
            Some("bob")
        );
    }

    #[test]
    fn a_tel_uri_has_a_number_and_parameters_but_no_host() {
        let uri = Uri::new("tel:+15551234;phone-context=example.com");
        assert_eq!((uri.user().as_deref(), uri.host()), (Some("+15551234"), ""));
        assert_eq!(uri.parameter("phone-context"), Some("example.com"));
    }

    #[test]
    fn a_broken_escape_stays_as_it_is() {
        assert_eq!(
            Uri::new("sip:50%@example.com").user().as_deref(),
            Some("50%")
        );
        assert_eq!(
            Uri::new("sip:%ff@example.com").user().as_deref(),
            Some("%ff")
        );
        assert_eq!(
            Uri::new("sip:a%c3%a9@example.com").user().as_deref(),
            Some("aé")
        );
    }
}
