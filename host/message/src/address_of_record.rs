//! Addresses-of-record in canonical form.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::error::Invalid;
use crate::uri::{Host, Scheme, Uri};

/// The key of the location service: a URI in the canonical form of RFC 3261 §10.3 step 5.
///
/// Parameters, headers and password are gone, escapes are resolved, the host is in lower case; a port is gone as well. An IPv6
/// address is in its shortest form. A `tel:` number is without visual separators.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressOfRecord(Arc<str>);

impl AddressOfRecord {
    /// The canonical form of the URI; `None` for other schemes than `sip:`, `sips:` and `tel:`, and for a user that is not UTF-8.
    pub fn from_uri(uri: &Uri<'_>) -> Option<AddressOfRecord> {
        let user = uri.user_unescaped();
        let text = match uri.scheme {
            Scheme::Sip => canonical(b"sip:", &user, uri)?,
            Scheme::Sips => canonical(b"sips:", &user, uri)?,
            Scheme::Tel => {
                let number = std::str::from_utf8(&user).ok()?;
                format!("tel:{}", number.replace(['-', '.', '(', ')'], "")).into()
            }
            Scheme::Other(_) => return None,
        };
        Some(AddressOfRecord(text))
    }

    /// Takes text that [`AddressOfRecord::as_str`] gave, as it is: for stores. The canonical form is no URI any more, since
    /// escapes are resolved in it.
    pub fn from_canonical(text: &str) -> AddressOfRecord {
        AddressOfRecord(text.into())
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The user, escapes resolved; empty when there is none.
    pub fn user(&self) -> &str {
        match self.rest().rsplit_once('@') {
            Some((user, _)) => user,
            None if self.0.starts_with("tel:") => self.rest(),
            None => "",
        }
    }

    /// The host in lower case without port, an IPv6 address with its `[]`; empty for `tel:`.
    pub fn host(&self) -> &str {
        let host_port = match self.rest().rsplit_once('@') {
            Some((_, host_port)) => host_port,
            None if self.0.starts_with("tel:") => "",
            None => self.rest(),
        };
        match host_port.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => host_port,
        }
    }

    fn rest(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, rest)| rest)
    }
}

/// `None` when the user is not UTF-8: with what stands around it, the whole is not either.
fn canonical(scheme: &[u8], user: &[u8], uri: &Uri<'_>) -> Option<Arc<str>> {
    // Most fit here, so that memory is taken once.
    let mut text = SmallVec::<[u8; 128]>::new();
    text.extend_from_slice(scheme);
    text.extend_from_slice(user);
    if uri.user.is_some() {
        text.push(b'@');
    }
    match uri.host {
        Host::Name(name) => {
            let start = text.len();
            text.extend_from_slice(name);
            text.get_mut(start..)
                .unwrap_or_default()
                .make_ascii_lowercase();
        }
        Host::V4(address) => text.extend_from_slice(address.to_string().as_bytes()),
        Host::V6(address) => text.extend_from_slice(format!("[{address}]").as_bytes()),
    }
    // RFC 3261 §10.3 step 5 leaves a port in. It goes, deliberately: an address-of-record names a domain, and a phone that registers as
    // `sip:a@192.0.2.1` is called as `sip:a@192.0.2.1:5060` as well.
    std::str::from_utf8(&text).ok().map(Arc::from)
}

impl FromStr for AddressOfRecord {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let uri = Uri::parse(text.as_bytes())?;
        AddressOfRecord::from_uri(&uri).ok_or(Invalid::Uri)
    }
}

impl fmt::Display for AddressOfRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> AddressOfRecord {
        text.parse().unwrap()
    }

    #[test]
    fn parameters_go_and_escapes_are_resolved() {
        let aor = canonical("sip:%61lice%20b:secret@ExAmple.COM:5070;transport=tcp;user=phone?a=b");
        assert_eq!(aor.as_str(), "sip:alice b@example.com");
        assert_eq!((aor.user(), aor.host()), ("alice b", "example.com"));
    }

    #[test]
    fn a_port_makes_no_other_address_of_record() {
        assert_eq!(
            canonical("sip:a@192.0.2.1:5070"),
            canonical("sip:a@192.0.2.1")
        );
    }

    #[test]
    fn canonical_text_comes_back() {
        let aor = canonical("sip:a%40b%20c@example.com");
        assert_eq!(AddressOfRecord::from_canonical(aor.as_str()), aor);
    }

    #[test]
    fn user_keeps_its_case() {
        assert_ne!(
            canonical("sip:Alice@example.com"),
            canonical("sip:alice@example.com")
        );
    }

    #[test]
    fn an_escaped_at_sign_belongs_to_the_user() {
        let aor = canonical("sip:a%40b@example.com");
        assert_eq!((aor.user(), aor.host()), ("a@b", "example.com"));
    }

    #[test]
    fn addresses_have_one_form() {
        let aor = canonical("sip:a@[2001:DB8:0:0:0:0:0:10]:5070");
        assert_eq!(
            (aor.as_str(), aor.host()),
            ("sip:a@[2001:db8::10]", "[2001:db8::10]")
        );
        assert_eq!(canonical("sip:a@[2001:db8::10]").host(), "[2001:db8::10]");
    }

    #[test]
    fn schemes_stay_apart() {
        assert_ne!(canonical("sip:a@b"), canonical("sips:a@b"));
        assert_eq!(
            canonical("tel:+1-201-555-0123;x=y").as_str(),
            "tel:+12015550123"
        );
        assert_eq!(canonical("tel:+1-201-555-0123").user(), "+12015550123");
        assert!("urn:service:sos".parse::<AddressOfRecord>().is_err());
        assert_eq!(canonical("sip:example.com").user(), "");
    }
}
