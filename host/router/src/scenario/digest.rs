//! The answer of a phone to a challenge (RFC 7616).

use std::fmt::Write;

use patchbay_core::auth::Algorithm;
use patchbay_message::{Challenge, HeaderName, Message};
use sha2::{Digest, Sha256, Sha512_256};

use super::compose::text;

/// A phone's cnonce need not be unpredictable here.
const CNONCE: &str = "0a4f113b";

/// Who answers what.
pub(super) struct Credentials<'a> {
    pub(super) user: &'a str,
    pub(super) password: &'a str,
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
}

impl Credentials<'_> {
    /// Name and value of the header that answers the first challenge that can be answered.
    pub(super) fn answer(&self, response: &Message) -> Option<(&'static str, String)> {
        let (challenge, answer) = match response.status()? {
            401 => (HeaderName::WwwAuthenticate, "Authorization"),
            407 => (HeaderName::ProxyAuthenticate, "Proxy-Authorization"),
            _ => return None,
        };
        let value = response
            .headers(challenge)
            .find_map(|value| self.value(&Challenge::parse(value).ok()?))?;
        Some((answer, value))
    }

    fn value(&self, challenge: &Challenge<'_>) -> Option<String> {
        let part = |name: &[u8]| challenge.get(name).map(|value| text(&value));
        let algorithm = match part(b"algorithm") {
            Some(name) => Algorithm::from_name(&name)?,
            None => Algorithm::Md5,
        };
        let (realm, nonce) = (part(b"realm")?, part(b"nonce")?);
        let (user, uri) = (self.user, self.uri);
        let hash = |parts: &[&str]| hash(algorithm, parts);
        let ha1 = hash(&[user, &realm, self.password]);
        let ha2 = hash(&[self.method, uri]);
        let has_qop =
            part(b"qop").is_some_and(|qop| qop.split(',').any(|qop| qop.trim() == "auth"));
        let response = if has_qop {
            hash(&[&ha1, &nonce, "00000001", CNONCE, "auth", &ha2])
        } else {
            hash(&[&ha1, &nonce, &ha2])
        };
        let mut value = format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", algorithm={}",
            algorithm.name()
        );
        if has_qop {
            // Writing to a text can't fail.
            let _ = write!(value, ", qop=auth, nc=00000001, cnonce=\"{CNONCE}\"");
        }
        if let Some(opaque) = part(b"opaque") {
            let _ = write!(value, ", opaque=\"{opaque}\"");
        }
        Some(value)
    }
}

fn hash(algorithm: Algorithm, parts: &[&str]) -> String {
    let joined = parts.join(":");
    match algorithm {
        Algorithm::Md5 => hex(&*md5::compute(joined)),
        Algorithm::Sha256 => hex(&Sha256::digest(joined)),
        Algorithm::Sha512_256 => hex(&Sha512_256::digest(joined)),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a text can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use patchbay_message::Limits;

    use super::*;

    #[test]
    fn the_example_of_rfc_2069_section_2_4() {
        let credentials = Credentials {
            user: "Mufasa",
            password: "CircleOfLife",
            method: "GET",
            uri: "/dir/index.html",
        };
        let response = "SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"\r\n\r\n";
        let response = Message::parse(response.as_bytes(), &Limits::default()).unwrap();
        let (name, value) = credentials.answer(&response).unwrap();
        assert_eq!(name, "Authorization");
        // As erratum 749 corrects it.
        assert!(
            value.contains("response=\"1949323746fe6a43ef61f9606e7febea\""),
            "{value}"
        );
        assert!(value.ends_with("opaque=\"5ccc069c403ebaf9f0171e9517f40e41\""));
    }
}
