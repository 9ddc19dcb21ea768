//! When two URIs are the same (RFC 3261 §19.1.4, RFC 3966 §4).

use crate::grammar::{eq_ignore_case, hex_digit};
use crate::uri::{Scheme, Uri};

/// Whether the URIs are equivalent (RFC 3261 §19.1.4).
pub fn uri_eq(left: &Uri<'_>, right: &Uri<'_>) -> bool {
    if has_too_many_components(left) || has_too_many_components(right) {
        return left.raw == right.raw;
    }
    match (left.scheme, right.scheme) {
        (Scheme::Sip, Scheme::Sip) | (Scheme::Sips, Scheme::Sips) => sip_eq(left, right),
        (Scheme::Tel, Scheme::Tel) => tel_eq(left, right),
        (Scheme::Other(left_name), Scheme::Other(right_name)) => {
            let rest = |uri: &Uri<'_>, name: &[u8]| uri.raw.get(name.len()..).map(<[u8]>::to_vec);
            eq_ignore_case(left_name, right_name)
                && rest(left, left_name) == rest(right, right_name)
        }
        _ => false,
    }
}

/// Components of a URI that are compared one by one; with more, only equal texts are equal. Bounds the work for a hostile
/// URI.
const MAX_COMPONENTS: usize = 64;

fn has_too_many_components(uri: &Uri<'_>) -> bool {
    uri.raw
        .iter()
        .filter(|byte| matches!(byte, b';' | b'&'))
        .nth(MAX_COMPONENTS)
        .is_some()
}

fn sip_eq(left: &Uri<'_>, right: &Uri<'_>) -> bool {
    option_eq(left.user, right.user, Case::Kept)
        && option_eq(left.password, right.password, Case::Kept)
        && left.host == right.host
        // RFC 3261 §19.1.4: a URI without a port does not match one with the default port.
        && left.port == right.port
        && params_match(left, right)
        && params_match(right, left)
        && headers_match(left, right)
}

/// RFC 3261 §19.1.4: a parameter in both must have one value; one of these in a single URI never matches; any other in a
/// single URI is ignored.
fn params_match(left: &Uri<'_>, right: &Uri<'_>) -> bool {
    const NEVER_IGNORED: [&[u8]; 5] = [b"user", b"ttl", b"method", b"maddr", b"transport"];
    left.params.iter().all(|(name, value)| {
        match right
            .params
            .iter()
            .find(|(other, _)| text_eq(name, other, Case::Folded))
        {
            Some((_, other)) => option_eq(value, other, Case::Folded),
            None => !NEVER_IGNORED
                .iter()
                .any(|special| text_eq(name, special, Case::Folded)),
        }
    })
}

/// RFC 3261 §19.1.4: header components are never ignored; their order does not matter.
fn headers_match(left: &Uri<'_>, right: &Uri<'_>) -> bool {
    let pieces = |uri: &Uri<'_>| {
        uri.headers
            .unwrap_or_default()
            .split(|byte| *byte == b'&')
            .count()
    };
    let holds = |within: &Uri<'_>, piece: &[u8]| {
        within
            .headers
            .unwrap_or_default()
            .split(|byte| *byte == b'&')
            .any(|other| header_eq(piece, other))
    };
    pieces(left) == pieces(right)
        && left
            .headers
            .unwrap_or_default()
            .split(|byte| *byte == b'&')
            .all(|piece| holds(right, piece))
        && right
            .headers
            .unwrap_or_default()
            .split(|byte| *byte == b'&')
            .all(|piece| holds(left, piece))
}

fn header_eq(left: &[u8], right: &[u8]) -> bool {
    let parts = |piece: &[u8]| memchr::memchr(b'=', piece).unwrap_or(piece.len());
    let (left_name, left_value) = left.split_at_checked(parts(left)).unwrap_or_default();
    let (right_name, right_value) = right.split_at_checked(parts(right)).unwrap_or_default();
    text_eq(left_name, right_name, Case::Folded) && text_eq(left_value, right_value, Case::Kept)
}

/// RFC 3966 §4: visual separators do not count; parameters must be the same set.
fn tel_eq(left: &Uri<'_>, right: &Uri<'_>) -> bool {
    let digits = |uri: &Uri<'_>| -> Vec<u8> {
        let is_digit = |byte: &u8| !matches!(byte, b'-' | b'.' | b'(' | b')');
        uri.user
            .unwrap_or_default()
            .iter()
            .filter(|byte| is_digit(byte))
            .map(u8::to_ascii_lowercase)
            .collect()
    };
    let holds = |within: &Uri<'_>, name: &[u8], value: Option<&[u8]>| match within.param(name) {
        Some(other) => option_eq(value, other, Case::Folded),
        None => false,
    };
    digits(left) == digits(right)
        && left
            .params
            .iter()
            .all(|(name, value)| holds(right, name, value))
        && right
            .params
            .iter()
            .all(|(name, value)| holds(left, name, value))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Kept,
    Folded,
}

fn option_eq(left: Option<&[u8]>, right: Option<&[u8]>, case: Case) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => text_eq(left, right, case),
        (None, None) => true,
        _ => false,
    }
}

/// RFC 3261 §19.1.4: a character is the same as its escape, unless it is one of the reserved ones.
fn text_eq(left: &[u8], right: &[u8], case: Case) -> bool {
    let fold = |(byte, escaped): (u8, bool)| {
        (
            if case == Case::Folded {
                byte.to_ascii_lowercase()
            } else {
                byte
            },
            escaped,
        )
    };
    Characters(left).map(fold).eq(Characters(right).map(fold))
}

/// The characters of a text with escapes resolved, and whether each is a reserved one that was escaped.
struct Characters<'a>(&'a [u8]);

impl Iterator for Characters<'_> {
    type Item = (u8, bool);

    fn next(&mut self) -> Option<(u8, bool)> {
        if let [b'%', high, low, rest @ ..] = self.0
            && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
        {
            self.0 = rest;
            let byte = high << 4 | low;
            return Some((byte, is_reserved(byte)));
        }
        let [byte, rest @ ..] = self.0 else {
            return None;
        };
        self.0 = rest;
        Some((*byte, false))
    }
}

/// RFC 2396 §2.2.
fn is_reserved(byte: u8) -> bool {
    matches!(
        byte,
        b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b','
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(left: &str, right: &str) -> bool {
        let (left, right) = (
            Uri::parse(left.as_bytes()).unwrap(),
            Uri::parse(right.as_bytes()).unwrap(),
        );
        assert_eq!(
            uri_eq(&left, &right),
            uri_eq(&right, &left),
            "not symmetric"
        );
        uri_eq(&left, &right)
    }

    #[test]
    fn equivalent_examples_of_the_rfc() {
        for (left, right) in [
            (
                "sip:%61lice@atlanta.com;transport=TCP",
                "sip:alice@AtLanTa.CoM;Transport=tcp",
            ),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            (
                "sip:carol@chicago.com;newparam=5",
                "sip:carol@chicago.com;security=on",
            ),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
        ] {
            assert!(same(left, right), "{left} {right}");
        }
    }

    #[test]
    fn different_examples_of_the_rfc() {
        for (left, right) in [
            (
                "SIP:ALICE@AtLanTa.CoM;Transport=udp",
                "sip:alice@AtLanTa.CoM;Transport=UDP",
            ),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            (
                "sip:bob@biloxi.com",
                "sip:bob@biloxi.com:6000;transport=tcp",
            ),
            (
                "sip:carol@chicago.com",
                "sip:carol@chicago.com?Subject=next%20meeting",
            ),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ] {
            assert!(!same(left, right), "{left} {right}");
        }
    }

    #[test]
    fn equality_is_not_transitive() {
        assert!(!same(
            "sip:carol@chicago.com;security=on",
            "sip:carol@chicago.com;security=off"
        ));
    }

    #[test]
    fn schemes_and_special_parameters_decide() {
        assert!(!same("sip:a@h", "sips:a@h"));
        assert!(!same("sip:a@h", "sip:a@h;maddr=1.2.3.4"));
        assert!(!same("sip:a@h", "sip:a@h;user=phone"));
        assert!(!same("sip:a@h;ttl=1", "sip:a@h"));
        assert!(!same("sip:a@h;method=INVITE", "sip:a@h"));
        assert!(same("sip:a@h;lr", "sip:a@h;LR"));
    }

    #[test]
    fn addresses_are_compared_as_addresses() {
        assert!(same("sip:[2001:db8::10]", "sip:[2001:DB8:0:0:0:0:0:10]"));
        assert!(!same("sip:[::ffff:192.0.2.1]", "sip:192.0.2.1"));
    }

    #[test]
    fn reserved_characters_differ_from_their_escapes() {
        assert!(!same("sip:a%3Bb@h", "sip:a;b@h"));
        assert!(same("sip:a%3bb@h", "sip:a%3Bb@h"));
        assert!(!same("sip:A@h", "sip:a@h"));
    }

    #[test]
    fn telephone_numbers_ignore_visual_separators() {
        assert!(same("tel:+1-201-555-0123", "tel:+1(201)555.0123"));
        assert!(!same("tel:0123;phone-context=a.com", "tel:0123"));
        assert!(same(
            "tel:0123;phone-context=a.com;x=1",
            "tel:0123;x=1;phone-context=A.com"
        ));
    }

    #[test]
    fn other_schemes_are_compared_as_text() {
        assert!(same("urn:service:sos", "URN:service:sos"));
        assert!(!same("urn:service:sos", "urn:service:SOS"));
    }
}
