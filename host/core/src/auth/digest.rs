//! RFC 7616 §3.4: the response that right credentials carry.

use std::cell::RefCell;

use patchbay_message::{DigestParameters, eq_ignore_case};

use super::algorithm::{Algorithm, Hash, Hex, Joined};
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
    pub username: &'a [u8],
    pub nonce: &'a [u8],
    pub uri: &'a [u8],
    pub response: &'a [u8],
    pub algorithm: Algorithm,
    pub protection: Protection,
    cnonce: &'a [u8],
    /// Its eight digits; of no meaning without qop.
    nc: [u8; 8],
    pub usage: NonceUse,
}

impl<'a> DigestCredentials<'a> {
    /// Reads what a response needs; `None` when something is missing, malformed or unknown.
    pub(super) fn read(found: &DigestParameters<'a>) -> Option<DigestCredentials<'a>> {
        let protection = protection(found.qop)?;
        let cnonce = found.cnonce.unwrap_or_default();
        let (nc, usage) = match protection {
            Protection::None => ([0; 8], NonceUse::Once),
            // RFC 7616 §3.4: with qop both are a must.
            _ if cnonce.is_empty() => return None,
            _ => {
                let nc = found.nc?.try_into().ok()?;
                (nc, NonceUse::Count(nonce_count(&nc)?))
            }
        };
        Some(DigestCredentials {
            username: found.username?,
            nonce: found.nonce?,
            uri: found.uri?,
            response: found.response?,
            algorithm: algorithm(found.algorithm)?,
            protection,
            cnonce,
            nc,
            usage,
        })
    }

    /// RFC 7616 §3.4.1: what `response` has to be for this HA1. RFC 8760 §2.6: it has the length of the algorithm.
    pub(super) fn expected_response(&self, ha1: &[u8], method: &[u8], body: &[u8]) -> Hex {
        let ha1 = Hash::from_bytes(ha1).hex();
        match self.protection {
            Protection::AuthInt => {
                let body = self.algorithm.hash_text(body).hex();
                let ha2 = self.algorithm.hash(&[method, self.uri, body.as_bytes()]);
                self.response_for(&ha1, &ha2.hex())
            }
            _ => LAST.with_borrow_mut(|last| {
                let ha2 = last.hash(self.algorithm, method, self.uri);
                self.response_for(&ha1, &ha2)
            }),
        }
    }

    #[inline]
    fn response_for(&self, ha1: &Hex, ha2: &Hex) -> Hex {
        let mut joined = Joined::new();
        joined.push_hex(ha1);
        joined.push(self.nonce);
        if self.protection != Protection::None {
            joined.push(&self.nc);
            joined.push(self.cnonce);
        }
        match self.protection {
            Protection::None => {}
            Protection::Auth => joined.push(b"auth"),
            Protection::AuthInt => joined.push(b"auth-int"),
        }
        joined.push_hex(ha2);
        self.algorithm.hash_text(joined.text()).hex()
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
        Some(name) => Algorithm::from_token(name),
    }
}

fn protection(qop: Option<&[u8]>) -> Option<Protection> {
    match qop {
        None => Some(Protection::None),
        Some(qop) if eq_ignore_case(qop, b"auth") => Some(Protection::Auth),
        Some(qop) if eq_ignore_case(qop, b"auth-int") => Some(Protection::AuthInt),
        Some(_) => None,
    }
}

/// RFC 7616 §3.4: eight hexadecimal digits.
fn nonce_count(digits: &[u8; 8]) -> Option<u32> {
    // Few nonces are used more than 255 times.
    let significant = digits.strip_prefix(b"000000").unwrap_or(digits);
    significant.iter().try_fold(0, |count, digit| {
        Some(count << 4 | char::from(*digit).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters<'a>(credentials: &'a str, room: &'a mut Vec<u8>) -> DigestParameters<'a> {
        let parsed = DigestParameters::parse(credentials.as_bytes(), room);
        parsed.unwrap().unwrap()
    }

    fn response(credentials: &str, password: &str, method: &str, body: &[u8]) -> (String, String) {
        let mut room = Vec::new();
        let parsed = parameters(credentials, &mut room);
        let digest = DigestCredentials::read(&parsed).unwrap();
        let realm = parsed.realm.unwrap();
        let user = String::from_utf8(digest.username.to_vec()).unwrap();
        let set = super::super::Ha1Set::from_password(
            &user,
            std::str::from_utf8(realm).unwrap(),
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
            DigestCredentials::read(&parameters(&text, &mut Vec::new())).is_some()
        };
        assert!(read(""));
        assert!(read(", qop=auth, nc=0000000a, cnonce=\"x\""));
        assert!(!read(", qop=auth, nc=0000000a"));
        assert!(!read(", qop=auth, cnonce=\"x\""));
        assert!(!read(", qop=auth, nc=1, cnonce=\"x\""));
        assert!(read(", qop=auth, nc=01ABCDEF, cnonce=\"x\""));
        for nc in [
            "000000001",
            "0000000g",
            "0000g001",
            "+000000a",
            "000000+1",
            "00000 01",
            "",
        ] {
            assert!(
                !read(&format!(", qop=auth, nc=\"{nc}\", cnonce=\"x\"")),
                "{nc}"
            );
        }
        assert!(!read(", qop=other, nc=0000000a, cnonce=\"x\""));
        assert!(!read(", algorithm=SHA-512"));
        assert!(!read(", algorithm=MD5-sess"));
    }
}
