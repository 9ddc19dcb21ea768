//! CSeq (RFC 3261 §20.16).

use crate::error::Invalid;
use crate::grammar::{is_lws, is_token, parse_u32, trim_start};
use crate::method::Method;
use crate::name::HeaderName;

/// The value of CSeq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Less than 2^31 (RFC 3261 §8.1.1.5).
    pub number: u32,
    /// The method of the request it numbers.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    /// Parses the value of a field.
    pub fn parse(value: &'a [u8]) -> Result<CSeq<'a>, Invalid> {
        Self::read(value).ok_or(Invalid::Header(HeaderName::CSeq))
    }

    fn read(value: &'a [u8]) -> Option<CSeq<'a>> {
        let blank = value.iter().position(|byte| is_lws(*byte))?;
        let (number, method) = value.split_at_checked(blank)?;
        let number = parse_u32(number).filter(|number| *number < 1 << 31)?;
        let method = Method::from_bytes(trim_start(method));
        let is_method = match method {
            Method::Other(name) => is_token(name),
            _ => true,
        };
        is_method.then_some(CSeq { number, method })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_below_two_to_the_31() {
        assert_eq!(
            CSeq::parse(b"2147483647 INVITE"),
            Ok(CSeq {
                number: (1 << 31) - 1,
                method: Method::Invite
            })
        );
        assert!(CSeq::parse(b"2147483648 INVITE").is_err());
        assert!(CSeq::parse(b"36893488147419103232 REGISTER").is_err());
    }

    #[test]
    fn white_space_and_folds_are_allowed_between() {
        let cseq = CSeq::parse(b"0009\r\n  INVITE").unwrap();
        assert_eq!((cseq.number, cseq.method), (9, Method::Invite));
    }

    #[test]
    fn half_values_are_refused() {
        for value in [&b""[..], b"1", b"INVITE", b"1 ", b"1 IN VITE", b"-1 INVITE"] {
            assert!(CSeq::parse(value).is_err());
        }
    }
}
