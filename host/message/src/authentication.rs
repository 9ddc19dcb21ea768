//! Credentials and challenges (RFC 3261 §20.7, §20.27, §20.28, §20.44).

use std::borrow::Cow;

use crate::error::Invalid;
use crate::grammar::{eq_ignore_case, is_lws, is_token, trim, unquote};
use crate::list::Values;

macro_rules! authentication_value {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
            pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
                Values::split(self.0.parameters).filter_map(split)
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
const MAX_PARAMETERS: usize = 32;

/// What credentials and challenges have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scheme<'a> {
    scheme: &'a [u8],
    parameters: &'a [u8],
}

impl<'a> Scheme<'a> {
    /// Every parameter must be `name=value`, and no name may come twice, so that all readers see one value. More than
    /// [`MAX_PARAMETERS`] are refused.
    fn parse(value: &'a [u8]) -> Result<Scheme<'a>, Invalid> {
        let value = trim(value);
        let end = value
            .iter()
            .position(|byte| is_lws(*byte))
            .unwrap_or(value.len());
        let (scheme, parameters) = value.split_at_checked(end).unwrap_or_default();
        let mut pairs = Values::split(parameters).map(split);
        let whole = is_token(scheme)
            && pairs.all(|pair| pair.is_some())
            && Values::split(parameters).nth(MAX_PARAMETERS).is_none()
            && !has_duplicates(parameters);
        whole
            .then_some(Scheme { scheme, parameters })
            .ok_or(Invalid::Authentication)
    }
}

fn has_duplicates(parameters: &[u8]) -> bool {
    let names = |skip| {
        Values::split(parameters)
            .filter_map(split)
            .map(|(name, _)| name)
            .skip(skip)
    };
    names(0)
        .enumerate()
        .any(|(index, name)| names(index + 1).any(|other| eq_ignore_case(name, other)))
}

fn split(parameter: &[u8]) -> Option<(&[u8], &[u8])> {
    let equal = memchr::memchr(b'=', parameter)?;
    let (name, value) = (
        trim(parameter.get(..equal)?),
        trim(parameter.get(equal + 1..)?),
    );
    let whole_value = match value {
        [b'"', ..] => crate::grammar::quoted_length(value) == Some(value.len()),
        value => !value.is_empty() && !value.iter().any(|byte| is_lws(*byte) || *byte == b'"'),
    };
    (is_token(name) && whole_value).then_some((name, value))
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
        ] {
            assert!(Credentials::parse(value.as_bytes()).is_err(), "{value}");
        }
    }

    #[test]
    fn a_challenge_reads_the_same_way() {
        let challenge = Challenge::parse(b"Digest realm=\"r\", stale=FALSE").unwrap();
        assert_eq!(challenge.get(b"stale").as_deref(), Some(&b"FALSE"[..]));
    }
}
