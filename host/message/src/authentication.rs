//! Credentials and challenges (RFC 3261 §20.7, §20.27, §20.28, §20.44).

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::class::{TOKEN, long_run};
use crate::error::Invalid;
use crate::grammar::{eq_ignore_case, is_lws, is_token, quoted_length, trim, trim_start, unquote};

macro_rules! authentication_value {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name<'a>(Scheme<'a>);

        impl<'a> $name<'a> {
            /// Parses the value of one field.
            pub fn parse(value: &'a [u8]) -> Result<$name<'a>, Invalid> {
                Scheme::parse(value).map($name)
            }

            /// The scheme as it is spelt.
            pub fn scheme(&self) -> &'a [u8] {
                self.0.scheme
            }

            /// Whether the scheme is `Digest`.
            pub fn is_digest(&self) -> bool {
                eq_ignore_case(self.0.scheme, b"Digest")
            }

            /// The parameter of that name with quotes and escapes resolved.
            pub fn get(&self, name: &[u8]) -> Option<Cow<'a, [u8]>> {
                self.get_raw(name).map(unquote)
            }

            /// The parameter of that name as it is spelt, with its quotes.
            pub fn get_raw(&self, name: &[u8]) -> Option<&'a [u8]> {
                self.iter().find(|(other, _)| eq_ignore_case(other, name)).map(|(_, value)| value)
            }

            /// Name and value of each parameter as they are spelt.
            pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
                self.0.parameters.iter().copied()
            }
        }
    };
}

authentication_value! {
    /// The value of Authorization or Proxy-Authorization.
    Credentials
}

authentication_value! {
    /// The value of WWW-Authenticate or Proxy-Authenticate.
    Challenge
}

/// More than any scheme has; bounds the work for a hostile value.
pub(crate) const MAX_PARAMETERS: usize = 32;

/// What credentials and challenges have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scheme<'a> {
    scheme: &'a [u8],
    /// Name and value; as many as digest credentials have stay out of the heap.
    parameters: SmallVec<[(&'a [u8], &'a [u8]); 12]>,
}

impl<'a> Scheme<'a> {
    /// Every parameter must be `name=value`, and no name may come twice, so that all readers see one value. More than
    /// [`MAX_PARAMETERS`] are refused. Empty elements of the list are skipped.
    fn parse(value: &'a [u8]) -> Result<Scheme<'a>, Invalid> {
        let (scheme, rest) = scheme(value)?;
        let mut parameters = SmallVec::<[(&[u8], &[u8]); 12]>::new();
        let mut seen = 0;
        each_parameter(rest, |name, value| {
            let like = likeness(name);
            let is_other = |(other, _): &(&[u8], _)| !eq_ignore_case(other, name);
            let is_new = seen & like == 0 || parameters.iter().all(is_other);
            seen |= like;
            parameters.push((name, value));
            is_new
        })?;
        Ok(Scheme { scheme, parameters })
    }
}

/// The scheme of a value, and what follows it.
pub(crate) fn scheme(value: &[u8]) -> Result<(&[u8], &[u8]), Invalid> {
    let value = trim(value);
    let end = value
        .iter()
        .position(|byte| is_lws(*byte))
        .unwrap_or(value.len());
    let (scheme, rest) = value.split_at_checked(end).unwrap_or_default();
    match is_token(scheme) {
        true => Ok((scheme, rest)),
        false => Err(Invalid::Authentication),
    }
}

/// Hands over name and value of each parameter, [`MAX_PARAMETERS`] at most, until `take` refuses one.
fn each_parameter<'a>(
    mut rest: &'a [u8],
    mut take: impl FnMut(&'a [u8], &'a [u8]) -> bool,
) -> Result<(), Invalid> {
    let mut left = MAX_PARAMETERS;
    loop {
        rest = trim_start(rest);
        match rest {
            [] => return Ok(()),
            [b',', after @ ..] => rest = after,
            _ => {
                let (name, value, after) = parameter(rest).ok_or(Invalid::Authentication)?;
                if left == 0 || !take(name, value) {
                    return Err(Invalid::Authentication);
                }
                left -= 1;
                rest = after;
            }
        }
    }
}

/// A bit that names which are equal have in common, in any case; the names of digest credentials all have bits of their own.
pub(crate) const fn likeness(name: &[u8]) -> u64 {
    let first = match name {
        [first, ..] => (*first | 0x20) as usize,
        [] => 0,
    };
    1 << ((first + 7 * name.len()) % 64)
}

/// Name and value of the parameter that the text starts with, and what follows: nothing, or a comma.
fn parameter(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, after) = text.split_at_checked(long_run(text, TOKEN))?;
    let after = trim_start(trim_start(after).strip_prefix(b"=")?);
    let length = match after {
        [b'"', ..] => quoted_length(after)?,
        // A token as a rule.
        _ => {
            let token = long_run(after, TOKEN);
            let ends = |byte: &u8| is_lws(*byte) || matches!(byte, b',' | b'"');
            let rest = after.get(token..)?;
            token + rest.iter().position(ends).unwrap_or(rest.len())
        }
    };
    let (value, after) = after.split_at_checked(length)?;
    let after = trim_start(after);
    let is_whole = !name.is_empty() && !value.is_empty() && matches!(after, [] | [b',', ..]);
    is_whole.then_some((name, value, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_without_case_and_unquoted() {
        let value = b"Digest username=\"bo\\\"b\",\r\n realm=\"a, b\" , NC=00000001,qop=auth";
        let credentials = Credentials::parse(value).unwrap();
        assert!(credentials.is_digest());
        assert_eq!(credentials.get(b"username").as_deref(), Some(&b"bo\"b"[..]));
        assert_eq!(credentials.get(b"realm").as_deref(), Some(&b"a, b"[..]));
        assert_eq!(credentials.get(b"nc").as_deref(), Some(&b"00000001"[..]));
        assert_eq!(credentials.get_raw(b"realm"), Some(&b"\"a, b\""[..]));
        assert_eq!(credentials.get(b"opaque"), None);
        assert_eq!(credentials.iter().count(), 4);
    }

    #[test]
    fn broken_and_doubled_parameters_are_refused() {
        for value in [
            "",
            "Digest a",
            "Digest a=\"b",
            "Digest a=b c",
            "Digest a=1, A=2",
            "Di gest",
            "Digest a=\"b\"c",
            "Digest a=b\"c\"",
            "Digest a=",
            "Digest =b",
            "Digest a=b, c",
            "Digest a=<b,c>",
        ] {
            assert!(Credentials::parse(value.as_bytes()).is_err(), "{value}");
        }
    }

    #[test]
    fn names_of_digest_credentials_are_told_apart_by_a_bit() {
        let names = [
            "username",
            "realm",
            "nonce",
            "uri",
            "response",
            "algorithm",
            "cnonce",
            "opaque",
            "qop",
            "nc",
        ];
        let bits = names.map(|name| likeness(name.as_bytes()));
        assert_eq!(bits.iter().fold(0, |all, bit| all | bit).count_ones(), 10);
        assert_eq!(likeness(b"Nonce"), likeness(b"nONCE"));
    }

    #[test]
    fn empty_elements_and_white_space_are_skipped() {
        let credentials = Credentials::parse(b"Digest ,a = 1 ,, b=\t\"2\" , ").unwrap();
        assert_eq!(
            credentials.iter().collect::<Vec<_>>(),
            [(&b"a"[..], &b"1"[..]), (b"b", b"\"2\"")]
        );
    }

    #[test]
    fn the_number_of_parameters_is_bounded() {
        let value = |count: usize| {
            let parameters: Vec<_> = (0..count).map(|n| format!("p{n}=1")).collect();
            format!("Digest {}", parameters.join(","))
        };
        assert!(Credentials::parse(value(MAX_PARAMETERS).as_bytes()).is_ok());
        assert!(Credentials::parse(value(MAX_PARAMETERS + 1).as_bytes()).is_err());
    }

    #[test]
    fn a_challenge_reads_the_same_way() {
        let challenge = Challenge::parse(b"Digest realm=\"r\", stale=FALSE").unwrap();
        assert_eq!(challenge.get(b"stale").as_deref(), Some(&b"FALSE"[..]));
    }
}
