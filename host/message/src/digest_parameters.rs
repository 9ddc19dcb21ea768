//! The parameters of digest credentials (RFC 7616 §3.4), read without a list of all of them.
//!
//! Nearly all credentials are spelt alike: names in lower case, nothing around `=`, no escapes. Those are read in one pass, in which
//! the few that are not are found out; they are read as [`Credentials`] and picked from there. So both ways accept the same.

use crate::authentication::{Credentials, MAX_PARAMETERS, likeness, scheme};
use crate::class::{TOKEN, find_either, long_run};
use crate::error::Invalid;
use crate::grammar::{eq_ignore_case, is_token, trim_start};
use crate::lanes;

/// The parameters of digest credentials with quotes and escapes resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DigestParameters<'a> {
    /// Who it is.
    pub username: Option<&'a [u8]>,
    /// Where that name is known.
    pub realm: Option<&'a [u8]>,
    /// What the challenge gave.
    pub nonce: Option<&'a [u8]>,
    /// What is asked for.
    pub uri: Option<&'a [u8]>,
    /// The proof that the password is known.
    pub response: Option<&'a [u8]>,
    /// How the proof is made; MD5 without it.
    pub algorithm: Option<&'a [u8]>,
    /// What the proof covers.
    pub qop: Option<&'a [u8]>,
    /// What the client put into the proof.
    pub cnonce: Option<&'a [u8]>,
    /// How often the nonce was used.
    pub nc: Option<&'a [u8]>,
}

/// In the order of the fields.
const NAMES: [&[u8]; 9] = [
    b"username",
    b"realm",
    b"nonce",
    b"uri",
    b"response",
    b"algorithm",
    b"qop",
    b"cnonce",
    b"nc",
];

impl<'a> DigestParameters<'a> {
    /// Parses the value of one Authorization or Proxy-Authorization field; `None`: the scheme is another. What [`Credentials`] refuses
    /// is refused here too. `room` is for texts that can't be borrowed from the value; what it holds is replaced.
    #[inline]
    pub fn parse(
        value: &'a [u8],
        room: &'a mut Vec<u8>,
    ) -> Result<Option<DigestParameters<'a>>, Invalid> {
        let mut found = DigestParameters::default();
        match found.read_usual(value) {
            Some(()) => Ok(Some(found)),
            None => DigestParameters::read_any(value, room),
        }
    }

    /// Reads them whatever their spelling.
    #[cold]
    fn read_any(
        value: &'a [u8],
        room: &'a mut Vec<u8>,
    ) -> Result<Option<DigestParameters<'a>>, Invalid> {
        let (scheme, _) = scheme(value)?;
        if !eq_ignore_case(scheme, b"Digest") {
            return Ok(None);
        }
        let credentials = Credentials::parse(value)?;
        room.clear();
        let ranges = NAMES.map(|name| {
            let start = room.len();
            room.extend_from_slice(&credentials.get(name)?);
            Some(start..room.len())
        });
        let room: &[u8] = room;
        Ok(Some(DigestParameters::of(
            ranges.map(|range| room.get(range?)),
        )))
    }

    /// Reads what is spelt as by nearly all clients. `None`: a closer look is needed, and what was found so far says nothing.
    fn read_usual(&mut self, value: &'a [u8]) -> Option<()> {
        let mut seen = KNOWN;
        let mut rest = value.strip_prefix(b"Digest ")?;
        loop {
            rest = skip_blanks(rest);
            let short;
            let start = match rest.first_chunk() {
                Some(start) => start,
                None => {
                    short = padded(rest);
                    &short
                }
            };
            // Sixteen or more: there is none.
            let length = lanes::equal(start, b'=').trailing_zeros() as usize;
            let place = self.place(start, length);
            let name = rest.get(..length)?;
            let (text, after) = usual_value(rest.get(length + 1..)?)?;
            let is_first = match place {
                Some(place) => place.replace(text).is_none(),
                None => is_new(name, &mut seen),
            };
            match after {
                _ if !is_first => return None,
                [] => return Some(()),
                [b',', more @ ..] => rest = more,
                _ => return None,
            }
        }
    }

    /// Where the value belongs of a parameter that starts like this, and whose name is so long.
    #[inline]
    fn place(&mut self, start: &[u8; 16], length: usize) -> Option<&mut Option<&'a [u8]>> {
        Some(match length {
            2 if start.starts_with(b"nc") => &mut self.nc,
            3 if start.starts_with(b"uri") => &mut self.uri,
            3 if start.starts_with(b"qop") => &mut self.qop,
            5 if start.starts_with(b"realm") => &mut self.realm,
            5 if start.starts_with(b"nonce") => &mut self.nonce,
            6 if start.starts_with(b"cnonce") => &mut self.cnonce,
            8 if start.starts_with(b"username") => &mut self.username,
            8 if start.starts_with(b"response") => &mut self.response,
            9 if start.starts_with(b"algorithm") => &mut self.algorithm,
            _ => return None,
        })
    }

    fn of(texts: [Option<&'a [u8]>; NAMES.len()]) -> DigestParameters<'a> {
        let [
            username,
            realm,
            nonce,
            uri,
            response,
            algorithm,
            qop,
            cnonce,
            nc,
        ] = texts;
        DigestParameters {
            username,
            realm,
            nonce,
            uri,
            response,
            algorithm,
            qop,
            cnonce,
            nc,
        }
    }
}

/// What the names that are looked for have in common with names that are equal to them but for the case.
const KNOWN: u64 = known();

const fn known() -> u64 {
    let mut known = 0;
    let mut rest: &[&[u8]] = &NAMES;
    while let [name, others @ ..] = rest {
        known |= likeness(name);
        rest = others;
    }
    known
}

/// Whether it is clear at once that nothing like this name, which is none of the usual ones, was seen before.
#[inline(never)]
fn is_new(name: &[u8], seen: &mut u64) -> bool {
    let like = likeness(name);
    let is_new = *seen & like == 0;
    *seen |= like;
    let are_few = (seen.count_ones() as usize) < MAX_PARAMETERS;
    is_new && are_few && name.len() < 16 && is_token(name)
}

/// One blank is the rule after a comma.
#[inline]
fn skip_blanks(text: &[u8]) -> &[u8] {
    match text {
        [b' ', rest @ ..] if rest.first().is_some_and(|next| *next > b' ') => rest,
        _ => trim_start(text),
    }
}

/// The text, filled up with NULs.
fn padded(text: &[u8]) -> [u8; 16] {
    let mut padded = [0; 16];
    for (place, byte) in padded.iter_mut().zip(text) {
        *place = *byte;
    }
    padded
}

/// A quoted string without escapes or a token at the start of the text, and what follows.
#[inline]
fn usual_value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if let [b'"', inner @ ..] = text {
        let (text, after) = inner.split_at_checked(find_either(inner, [b'"', b'\\'])?)?;
        return Some((text, after.strip_prefix(b"\"")?));
    }
    let length = long_run(text, TOKEN);
    (length > 0).then(|| text.split_at_checked(length))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What [`DigestParameters::parse`] has to answer.
    fn picked(value: &[u8]) -> Result<Option<[Option<Vec<u8>>; 9]>, Invalid> {
        let (scheme, _) = scheme(value)?;
        if !eq_ignore_case(scheme, b"Digest") {
            return Ok(None);
        }
        let credentials = Credentials::parse(value)?;
        let get = |name| credentials.get(name).map(|text| text.into_owned());
        Ok(Some(NAMES.map(get)))
    }

    fn parsed(value: &[u8]) -> Result<Option<[Option<Vec<u8>>; 9]>, Invalid> {
        let mut room = b"from before".to_vec();
        let found = DigestParameters::parse(value, &mut room)?;
        Ok(found.map(|found| texts(&found).map(|text| text.map(<[u8]>::to_vec))))
    }

    fn texts<'a>(found: &DigestParameters<'a>) -> [Option<&'a [u8]>; 9] {
        [
            found.username,
            found.realm,
            found.nonce,
            found.uri,
            found.response,
            found.algorithm,
            found.qop,
            found.cnonce,
            found.nc,
        ]
    }

    #[track_caller]
    fn is_read_as_credentials(value: &[u8]) {
        assert_eq!(parsed(value), picked(value), "{}", value.escape_ascii());
    }

    const USUAL: &str = "Digest username=\"a12\", realm=\"bench.test\", nonce=\"ZVPxAAAAAAAAAUJc-_3hL0cy\", uri=\"sip:bench.test\", \
                         response=\"0123456789abcdef0123456789abcdef\", algorithm=MD5, cnonce=\"abcd\", qop=auth, nc=00000001";

    #[test]
    fn usual_credentials_are_read_at_once() {
        let more = |more: &str| format!("{USUAL}{more}");
        for value in [
            more(""),
            more(", opaque=\"\""),
            more(",auts=x, opaque=\"a,b=c\""),
            USUAL.replace(", ", ","),
            USUAL.replace(", ", ",\r\n\t "),
            USUAL.replace("a12", ""),
            USUAL.replace("a12", "\u{fc}\u{f1}, x=1"),
        ] {
            let mut found = DigestParameters::default();
            found.read_usual(value.as_bytes()).expect(&value);
            let texts = texts(&found).map(|text| text.map(<[u8]>::to_vec));
            assert_eq!(Ok(Some(texts)), picked(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn other_credentials_get_a_closer_look() {
        for (usual, other) in [
            ("Digest ", "digest "),
            ("Digest ", "Digest\t"),
            ("username", "Username"),
            ("realm", "REALM"),
            ("nonce=", "nonce ="),
            ("uri=", "uri= "),
            ("uri=\"sip:bench.test\"", "uri=sip:bench.test"),
            ("a12", "a\\12"),
            ("a12", "a\\\"12"),
            ("a12\"", "a12\" "),
            ("=MD5", "=\tMD5"),
            ("=MD5", "=MD5 "),
            ("nc=00000001", "nc=00000001,"),
            ("nc=00000001", ",nc=00000001"),
            ("nc=00000001", "nc=00000001, OPAQUE=1, opaque_=2"),
        ] {
            let value = USUAL.replacen(usual, other, 1);
            if !value.contains("OPAQUE") {
                let mut found = DigestParameters::default();
                assert_eq!(found.read_usual(value.as_bytes()), None);
            }
            is_read_as_credentials(value.as_bytes());
            assert!(matches!(parsed(value.as_bytes()), Ok(Some(_))), "{value}");
        }
    }

    #[test]
    fn broken_credentials_are_refused() {
        for (usual, broken) in [
            ("a12\"", "a12"),
            ("nc=00000001", "nc=\"00000001"),
            ("nc=00000001", "nc=\"00000001\\\""),
            ("nc=00000001", "nc="),
            ("nc=00000001", "nc"),
            ("nc=00000001", "=00000001"),
            ("nc=00000001", "nc=00000001 x"),
            ("nc=00000001", "nc=00000001, x"),
            ("nc=00000001", "nc=00000001, nc=00000001"),
            ("nc=00000001", "nc=00000001, Realm=x"),
            ("nc=00000001", "nc=00000001, x=1, X=2"),
            ("nc=00000001", "nc=00000001, \0nc=2"),
            ("nc=00000001", "nc=00000001, nc\0=2"),
            ("nc=00000001", "nc=00000001, a.very.long.name.without.value"),
            ("nc=", "\u{fc}="),
            ("=MD5,", "=MD5;"),
            ("=MD5", "="),
            ("\"abcd\"", "\"abcd\"x"),
            ("Digest ", "Digest,"),
        ] {
            let value = USUAL.replacen(usual, broken, 1);
            assert!(parsed(value.as_bytes()).is_err(), "{value}");
            is_read_as_credentials(value.as_bytes());
        }
    }

    #[test]
    fn another_scheme_is_none_of_ours() {
        for value in [&b"Basic YTpi"[..], b"Basic a=1", b"Digests a=1"] {
            assert_eq!(parsed(value), Ok(None));
        }
        for value in [&b"Digest"[..], b"Digest ", b"digest \t", b" Digest"] {
            assert_eq!(parsed(value), Ok(Some(Default::default())));
        }
    }

    #[test]
    fn parameters_are_as_many_as_in_credentials() {
        let many = |count: usize| (0..count).map(|n| format!(", p{n}=1")).collect::<String>();
        for count in [1, 9, 10, 21, 22, 23, 24, 31, 32, 60] {
            let value = format!("Digest nonce=1{}", many(count));
            is_read_as_credentials(value.as_bytes());
            assert_eq!(parsed(value.as_bytes()).is_ok(), count < MAX_PARAMETERS);
        }
        // Each with a bit of its own.
        let names: Vec<String> = (0..)
            .map(|n: usize| format!("{}{n}", char::from(b'a' + (n % 26) as u8)))
            .take(60)
            .collect();
        for count in 1..names.len() {
            let value = format!("Digest {}=1", names[..count].join("=1, "));
            is_read_as_credentials(value.as_bytes());
        }
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        let name = prop_oneof![
            8 => prop::sample::select(NAMES.to_vec()).prop_map(<[u8]>::to_vec),
            1 => prop::sample::select(NAMES.to_vec()).prop_map(<[u8]>::to_ascii_uppercase),
            1 => "[a-c]{0,2}|opaque|[ -~]{0,20}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ];
        let text = prop_oneof![
            4 => "\"[a-z0-9:@.,= -]{0,40}\"".prop_map(String::into_bytes),
            4 => "[a-z0-9.-]{1,40}".prop_map(String::into_bytes),
            1 => "\"([a-z\"\\\\,= ]|\\\\.){0,20}\"".prop_map(String::into_bytes),
            1 => "[ -~]{0,20}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..20),
        ];
        let blanks = prop_oneof![8 => Just(""), 1 => "[ \t]|\r\n ".prop_map(|blanks| match blanks.as_str() {
            " " => " ",
            "\t" => "\t",
            _ => "\r\n ",
        })];
        let comma =
            prop::sample::select(vec![", ", ", ", ", ", ", ", ",", ",\r\n ", " ,", ",,", " "]);
        let parameter = (name, blanks.clone(), blanks, text, comma).prop_map(
            |(name, before, after, text, comma)| {
                let parts: [&[u8]; 6] = [
                    &name,
                    before.as_bytes(),
                    b"=",
                    after.as_bytes(),
                    &text,
                    comma.as_bytes(),
                ];
                parts.concat()
            },
        );
        let scheme =
            prop::sample::select(vec!["Digest ", "Digest ", "Digest ", "dIgest ", "Digest"]);
        (
            scheme,
            prop::collection::vec(parameter, 0..12),
            any::<bool>(),
        )
            .prop_map(|(scheme, parameters, ends_whole)| {
                let mut value = [scheme.as_bytes(), &parameters.concat()].concat();
                while ends_whole && matches!(value.last(), Some(b',' | b' ')) {
                    value.pop();
                }
                value
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn whatever_comes_is_read_as_credentials(value in value()) {
            prop_assert_eq!(parsed(&value), picked(&value));
        }

        #[test]
        fn usual_credentials_are_read_alike_when_a_byte_is_another(at in 0..USUAL.len(), byte in any::<u8>()) {
            let mut value = USUAL.as_bytes().to_vec();
            value[at] = byte;
            prop_assert_eq!(parsed(&value), picked(&value));
            value.truncate(at);
            prop_assert_eq!(parsed(&value), picked(&value));
        }
    }
}
