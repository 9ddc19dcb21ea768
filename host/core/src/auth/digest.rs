//! RFC 7616 §3.4: the response that right credentials carry.

use std::borrow::Cow;
use std::cell::RefCell;

use patchbay_message::{DigestParameters, unquote};

use super::algorithm::{Algorithm, Hash, Hex};
use super::replay::NonceUse;

/// The quality of protection that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    /// No qop: RFC 3261 §22.4 keeps the form of RFC 2069.
    None,
    /// `auth`.
    Auth,
    /// `auth-int`: the body is protected too.
    AuthInt,
}

/// The parameters of a Digest Authorization or Proxy-Authorization value.
pub(super) struct DigestCredentials<'a> {
    pub username: Cow<'a, [u8]>,
    pub nonce: Cow<'a, [u8]>,
    pub uri: Cow<'a, [u8]>,
    pub response: Cow<'a, [u8]>,
    pub algorithm: Algorithm,
    pub protection: Protection,
    cnonce: Cow<'a, [u8]>,
    nc: Cow<'a, [u8]>,
    pub usage: NonceUse,
}

impl<'a> DigestCredentials<'a> {
    /// Reads what a response needs; `None` when something is missing, malformed or unknown.
    pub(super) fn read(found: &DigestParameters<'a>) -> Option<DigestCredentials<'a>> {
        let protection = protection(found.qop.map(unquote).as_deref())?;
        let cnonce = found.cnonce.map(unquote).unwrap_or_default();
        let nc = found.nc.map(unquote).unwrap_or_default();
        let usage = match protection {
            Protection::None => NonceUse::Once,
            // RFC 7616 §3.4: with qop both are a must.
            _ if cnonce.is_empty() => return None,
            _ => NonceUse::Count(nonce_count(&nc)?),
        };
        Some(DigestCredentials {
            username: found.username.map(unquote)?,
            nonce: found.nonce.map(unquote)?,
            uri: found.uri.map(unquote)?,
            response: found.response.map(unquote)?,
            algorithm: algorithm(found.algorithm.map(unquote).as_deref())?,
            protection,
            cnonce,
            nc,
            usage,
        })
    }

    /// RFC 7616 §3.4.1: what `response` has to be for this HA1. RFC 8760 §2.6: it has the length of the algorithm.
    pub(super) fn expected_response(&self, ha1: &[u8], method: &[u8], body: &[u8]) -> Hex {
        let ha1 = Hash::from_bytes(ha1).hex();
        let hash = |parts: &[&[u8]]| self.algorithm.hash(parts).hex();
        let ha2 = match self.protection {
            Protection::AuthInt => hash(&[method, &self.uri, hash(&[body]).as_bytes()]),
            _ => LAST.with_borrow_mut(|last| last.hash(self.algorithm, method, &self.uri)),
        };
        let (nonce, ha2) = (&*self.nonce, ha2.as_bytes());
        match self.protection {
            Protection::None => hash(&[ha1.as_bytes(), nonce, ha2]),
            Protection::Auth => {
                hash(&[ha1.as_bytes(), nonce, &self.nc, &self.cnonce, b"auth", ha2])
            }
            Protection::AuthInt => hash(&[
                ha1.as_bytes(),
                nonce,
                &self.nc,
                &self.cnonce,
                b"auth-int",
                ha2,
            ]),
        }
    }
}

thread_local! {
    /// The HA2 that was made last.
    static LAST: RefCell<Ha2> = const { RefCell::new(Ha2::none()) };
}

/// H(method:uri) without a body (RFC 7616 §3.4.3). It has no secret, and all who register in a domain have the same one.
struct Ha2 {
    method: Vec<u8>,
    uri: Vec<u8>,
    hash: Option<(Algorithm, Hex)>,
}

/// Longer ones are nobody's who comes again.
const MAX_KEPT_URI: usize = 256;

impl Ha2 {
    const fn none() -> Ha2 {
        Ha2 {
            method: Vec::new(),
            uri: Vec::new(),
            hash: None,
        }
    }

    fn hash(&mut self, algorithm: Algorithm, method: &[u8], uri: &[u8]) -> Hex {
        match self.hash {
            Some((made_with, hash))
                if made_with == algorithm && self.uri == uri && self.method == method =>
            {
                hash
            }
            _ => {
                let hash = algorithm.hash(&[method, uri]).hex();
                if method.len() + uri.len() <= MAX_KEPT_URI {
                    method.clone_into(&mut self.method);
                    uri.clone_into(&mut self.uri);
                    self.hash = Some((algorithm, hash));
                }
                hash
            }
        }
    }
}

/// RFC 7616 §3.3: without the parameter it is MD5.
fn algorithm(name: Option<&[u8]>) -> Option<Algorithm> {
    match name {
        None => Some(Algorithm::Md5),
        Some(name) => Algorithm::from_name(std::str::from_utf8(name).ok()?),
    }
}

fn protection(qop: Option<&[u8]>) -> Option<Protection> {
    match qop {
        None => Some(Protection::None),
        Some(qop) if qop.eq_ignore_ascii_case(b"auth") => Some(Protection::Auth),
        Some(qop) if qop.eq_ignore_ascii_case(b"auth-int") => Some(Protection::AuthInt),
        Some(_) => None,
    }
}

/// RFC 7616 §3.4: eight hexadecimal digits.
fn nonce_count(nc: &[u8]) -> Option<u32> {
    if nc.len() != 8 || !nc.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(nc).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(credentials: &str) -> DigestParameters<'_> {
        let parsed = DigestParameters::parse(credentials.as_bytes());
        parsed.unwrap().unwrap()
    }

    fn response(credentials: &str, password: &str, method: &str, body: &[u8]) -> (String, String) {
        let parsed = parameters(credentials);
        let digest = DigestCredentials::read(&parsed).unwrap();
        let realm = parsed.realm.map(unquote).unwrap();
        let user = String::from_utf8(digest.username.to_vec()).unwrap();
        let set = super::super::Ha1Set::from_password(
            &user,
            std::str::from_utf8(&realm).unwrap(),
            password,
        );
        let expected =
            digest.expected_response(set.get(digest.algorithm).unwrap(), method.as_bytes(), body);
        (
            String::from_utf8(expected.as_bytes().to_vec()).unwrap(),
            String::from_utf8(digest.response.to_vec()).unwrap(),
        )
    }

    #[track_caller]
    fn is_right(credentials: &str, password: &str, method: &str) {
        let (expected, given) = response(credentials, password, method, b"");
        assert_eq!(expected, given);
    }

    #[test]
    fn example_of_rfc_2617_section_3_5() {
        is_right(
            "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
             uri=\"/dir/index.html\", qop=auth, nc=00000001, cnonce=\"0a4f113b\", \
             response=\"6629fae49393a05397450978507c4ef1\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
            "Circle Of Life",
            "GET",
        );
    }

    #[test]
    fn examples_of_rfc_7616_section_3_9_1() {
        let credentials = |algorithm: &str, response: &str| {
            format!(
                "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
                 cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"{response}\""
            )
        };
        is_right(
            &credentials("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            "Circle of Life",
            "GET",
        );
        let sha256 = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";
        is_right(&credentials("SHA-256", sha256), "Circle of Life", "GET");
    }

    /// The example of RFC 7616 §3.9.2 was computed with something else, as its errata say; this value comes from OpenSSL's SHA-512/256.
    #[test]
    fn sha_512_256_matches_an_independent_computation() {
        is_right(
            "Digest username=\"J.S\", realm=\"api@example.org\", uri=\"/doe.json\", algorithm=SHA-512-256, \
             nonce=\"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK\", nc=00000001, \
             cnonce=\"NTg6RKcb9boFIAS3KrFK9BGeh+niz/sm\", qop=auth, response=\"c291553980e36600e8f46a34212226d19c55b950e6aaddd151561e0813f2f0ad\"",
            "Secret, or not?",
            "GET",
        );
    }

    /// Credentials as in the call flows of RFC 3665, whose responses are not computed; these come from an independent MD5.
    #[test]
    fn forms_of_rfc_3665_section_2_1_and_3_3() {
        is_right(
            "Digest username=\"bob\", realm=\"atlanta.example.com\", nonce=\"ea9c8e88df84f1cec4341ae6cbe5a359\", opaque=\"\", \
             uri=\"sips:ss2.biloxi.example.com\", response=\"b5f508175c6cccc6f0600285b4391fbf\"",
            "zanzibar",
            "REGISTER",
        );
        is_right(
            "Digest username=\"alice\", realm=\"atlanta.example.com\", nonce=\"wf84f1ceczx41ae6cbe5aea9c8e88d359\", opaque=\"\", \
             uri=\"sip:bob@biloxi.example.com\", response=\"4309a8cb620b5b1123f1ca0ac26c6887\"",
            "secret",
            "INVITE",
        );
    }

    #[test]
    fn auth_int_covers_the_body() {
        let credentials = "Digest username=\"bob\", realm=\"biloxi.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
             uri=\"sip:bob@biloxi.com\", qop=auth-int, nc=00000001, cnonce=\"0a4f113b\", response=\"77226bb823dc077c1ad3537415667bae\"";
        let (expected, given) = response(credentials, "zanzibar", "INVITE", b"v=0\r\n");
        assert_eq!(expected, given);
        assert_ne!(
            response(credentials, "zanzibar", "INVITE", b"v=1\r\n").0,
            given
        );
    }

    #[test]
    fn what_was_asked_for_is_hashed_anew_when_any_of_it_is_another() {
        let mut last = Ha2::none();
        let long = vec![b'x'; MAX_KEPT_URI + 1];
        let asked: [(Algorithm, &[u8], &[u8]); 7] = [
            (Algorithm::Md5, b"REGISTER", b"sip:a.example"),
            (Algorithm::Md5, b"REGISTER", b"sip:a.example"),
            (Algorithm::Md5, b"REGISTER", b"sip:b.example"),
            (Algorithm::Md5, b"INVITE", b"sip:b.example"),
            (Algorithm::Sha256, b"INVITE", b"sip:b.example"),
            (Algorithm::Sha256, b"INVITE", &long),
            (Algorithm::Sha256, b"INVITE", b"sip:b.example"),
        ];
        for (algorithm, method, uri) in asked {
            assert_eq!(
                last.hash(algorithm, method, uri).as_bytes(),
                algorithm.hash(&[method, uri]).hex().as_bytes()
            );
        }
    }

    #[test]
    fn what_has_no_room_on_the_stack_is_hashed_all_the_same() {
        for length in [100, 253, 254, 255, 300] {
            let (one, other) = (vec![b'a'; length], b"b");
            let whole = [&one[..], b":", other].concat();
            let hash = |parts: &[&[u8]]| Algorithm::Md5.hash(parts).hex().as_bytes().to_vec();
            assert_eq!(hash(&[&one, other]), hash(&[&whole]), "{length}");
        }
    }

    #[test]
    fn incomplete_or_unknown_parameters_are_refused() {
        let complete =
            "Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:r\", response=\"00\"";
        let read = |more: &str| {
            let text = format!("{complete}{more}");
            DigestCredentials::read(&parameters(&text)).is_some()
        };
        assert!(read(""));
        assert!(read(", qop=auth, nc=0000000a, cnonce=\"x\""));
        assert!(!read(", qop=auth, nc=0000000a"));
        assert!(!read(", qop=auth, cnonce=\"x\""));
        assert!(!read(", qop=auth, nc=1, cnonce=\"x\""));
        assert!(!read(", qop=auth, nc=+000000a, cnonce=\"x\""));
        assert!(!read(", qop=other, nc=0000000a, cnonce=\"x\""));
        assert!(!read(", algorithm=SHA-512"));
        assert!(!read(", algorithm=MD5-sess"));
    }
}
