//! Keys and signed claims in what redaction leaves as text: of media, of calling numbers, of where a phone is.

use std::borrow::Cow;

/// A shorter word is no signed token.
const MIN_TOKEN_BYTES: usize = 20;
/// Headers whose parameters say where a phone is (RFC 7315 §5.4, RFC 7913).
const OF_ACCESS: [&[u8]; 2] = [b"P-Access-Network-Info", b"Cellular-Network-Info"];
/// RFC 7433: data of applications, which nobody can look through.
const USER_TO_USER: &[u8] = b"User-to-User";

/// The value of a header without what says where its phone is, and without data of applications.
pub(super) fn header_value<'v>(name: &[u8], value: &'v [u8]) -> Cow<'v, [u8]> {
    if OF_ACCESS
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
    {
        return Cow::Owned(without_parameters(value));
    }
    if name.eq_ignore_ascii_case(USER_TO_USER) {
        return Cow::Owned(without_data(value));
    }
    Cow::Borrowed(value)
}

/// Names of parameters stay, their values do not.
fn without_parameters(value: &[u8]) -> Vec<u8> {
    let (mut inside, mut quotes) = (false, Quotes::default());
    let hide = |byte: &u8| {
        let is_quote = quotes.pass(*byte);
        match byte {
            _ if is_quote => b'"',
            b';' | b',' if !quotes.inside => {
                inside = false;
                *byte
            }
            // There may be blanks on both sides of the sign.
            b' ' | b'\t' if !quotes.inside => *byte,
            b'=' if !inside => {
                inside = true;
                b'='
            }
            _ if inside => b'x',
            other => *other,
        }
    };
    value.iter().map(hide).collect()
}

/// The data, of which there may be several, is hidden, its parameters stay.
fn without_data(value: &[u8]) -> Vec<u8> {
    let (mut inside, mut quotes) = (true, Quotes::default());
    let hide = |byte: &u8| {
        let is_quote = quotes.pass(*byte);
        match byte {
            _ if is_quote => b'"',
            b';' | b',' if !quotes.inside => {
                inside = *byte == b',';
                *byte
            }
            b' ' | b'\t' if !quotes.inside => *byte,
            _ if inside => b'x',
            other => *other,
        }
    };
    value.iter().map(hide).collect()
}

/// Where quoted strings begin and end (RFC 3261 §25.1).
#[derive(Default)]
struct Quotes {
    inside: bool,
    escaped: bool,
}

impl Quotes {
    /// Whether this byte begins or ends one.
    fn pass(&mut self, byte: u8) -> bool {
        if std::mem::take(&mut self.escaped) {
            return false;
        }
        self.escaped = self.inside && byte == b'\\';
        let is_quote = byte == b'"';
        self.inside ^= is_quote;
        is_quote
    }
}

/// A line of a session description without the key that it has: `None` when it has none.
pub(super) fn session_line(line: &[u8]) -> Option<Vec<u8>> {
    let ends = |byte: u8| matches!(byte, b' ' | b'\r' | b'|');
    // RFC 8839 §5.4, RFC 8827 §5, RFC 4567 §3, RFC 4566 §5.12.
    for (start, separator) in [
        (&b"a=ice-pwd:"[..], None),
        (b"a=identity:", None),
        (b"a=key-mgmt:", Some(b' ')),
        (b"k=", Some(b':')),
    ] {
        let Some((begun, rest)) = split_behind(line, start) else {
            continue;
        };
        let at = separator.map_or(Some(0), |separator| {
            let at = rest.iter().position(|byte| *byte == separator)?;
            Some(at + 1)
        });
        let (kept, key) = rest.split_at_checked(at?)?;
        return Some([begun, kept, masked(key, ends).as_slice()].concat());
    }
    // RFC 4568 §9.1: a key may have more than one part.
    split_behind(line, b"a=crypto:")?;
    let mut hidden = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.windows(INLINE.len()).position(|part| part == INLINE) {
        let (before, key) = rest.split_at_checked(at + INLINE.len())?;
        hidden.extend_from_slice(before);
        let length = key.iter().position(|byte| ends(*byte) || *byte == b';');
        let (key, behind) = key.split_at_checked(length.unwrap_or(key.len()))?;
        hidden.extend(key.iter().map(|_| b'x'));
        rest = behind;
    }
    hidden.extend_from_slice(rest);
    Some(hidden)
}

const INLINE: &[u8] = b"inline:";

fn split_behind<'l>(line: &'l [u8], start: &[u8]) -> Option<(&'l [u8], &'l [u8])> {
    let (begun, rest) = line.split_at_checked(start.len())?;
    begun.eq_ignore_ascii_case(start).then_some((begun, rest))
}

/// As many `x` as there are bytes before the end.
fn masked(text: &[u8], ends: impl Fn(u8) -> bool) -> Vec<u8> {
    let end = text.iter().position(|byte| ends(*byte));
    let (hidden, rest) = text
        .split_at_checked(end.unwrap_or(text.len()))
        .unwrap_or_default();
    let mut masked = vec![b'x'; hidden.len()];
    masked.extend_from_slice(rest);
    masked
}

/// How long the signed token is that this begins with (RFC 7519 §3): a PASSporT (RFC 8225) has both numbers of the call in it.
pub(super) fn token_at(before: &[u8], rest: &[u8]) -> Option<usize> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.=".contains(byte);
    if !rest.starts_with(b"eyJ") || before.last().is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    let length = rest.iter().take_while(|byte| is_part(byte)).count();
    (length >= MIN_TOKEN_BYTES).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::super::super::scrub::tests::trace_of;
    use super::super::tests::hidden_line;
    use super::*;

    #[test]
    fn keys_of_media_are_hidden_and_the_rest_of_the_line_stays() {
        for (line, expected) in [
            (
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0|2^20|1:4;inline:a2V5 KDR=1\r",
                Some(
                    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:xxxxxxxx|2^20|1:4;inline:xxxx KDR=1\r",
                ),
            ),
            ("k=clear:s3cret\r", Some("k=clear:xxxxxx\r")),
            ("k=prompt\r", None),
            ("a=ice-pwd:s3cret", Some("a=ice-pwd:xxxxxx")),
            ("a=key-mgmt:mikey AQAF\r", Some("a=key-mgmt:mikey xxxx\r")),
            ("a=identity:eyJp x=1", Some("a=identity:xxxx x=1")),
            ("a=fingerprint:sha-256 AA:BB", None),
        ] {
            let hidden = session_line(line.as_bytes());
            assert_eq!(hidden.as_deref(), expected.map(str::as_bytes), "{line}");
        }
    }

    #[test]
    fn where_a_phone_is_stays_unknown() {
        let value = |name: &str, value: &str| {
            let hidden = header_value(name.as_bytes(), value.as_bytes());
            String::from_utf8(hidden.into_owned()).expect("text")
        };
        assert_eq!(
            value(
                "p-access-network-info",
                "IEEE-802.11; i-wlan-node-id=0011aabb, 3GPP-NR;cell=\"a;b\";np"
            ),
            "IEEE-802.11; i-wlan-node-id=xxxxxxxx, 3GPP-NR;cell=\"xxx\";np"
        );
        assert_eq!(
            value("User-to-User", "7a736563;encoding=hex"),
            "xxxxxxxx;encoding=hex"
        );
        assert_eq!(value("X-Other", "a=b"), "a=b");
        assert_eq!(
            value("P-Access-Network-Info", "3GPP; cell = 2621F;a=\"b\\\";c\""),
            "3GPP; cell = xxxxx;a=\"xxxxx\""
        );
        assert_eq!(
            value(
                "User-to-User",
                "\"Jane; 4711\";encoding=x, aa;encoding=hex,bb22"
            ),
            "\"xxxxxxxxxx\";encoding=x, xx;encoding=hex,xxxx"
        );
    }

    #[test]
    fn a_signed_claim_is_hidden_wherever_it_is() {
        let token = "eyJhbGciOiJFUzI1NiJ9.eyJvcmlnIjp7InRuIjoiMTU1NSJ9fQ.c2ln-_";
        let mut trace = trace_of(
            &format!("Identity: {token};info=<https://c.example/p>\r\n"),
            "",
        );
        trace.input.variables = vec![("claim".to_owned(), format!("it is {token}"))];
        let text = hidden_line(&trace);
        assert!(!text.contains("eyJ") && !text.contains("c2ln"), "{text}");
        assert!(text.contains("x;info=<https://c.example/p>"), "{text}");
        for short in ["eyJhbGci", "xeyJhbGciOiJFUzI1NiJ9.eyJ"] {
            let token = token_at(&short.as_bytes()[..0], short.as_bytes());
            assert_eq!(token, None, "{short}");
        }
    }

    #[test]
    fn a_session_description_has_no_keys() {
        let text = hidden_line(&trace_of(
            "Content-Type: application/sdp\r\n",
            "v=0\r\nk=clear:s3cret\r\na=crypto:1 S inline:s3cret\r\na=ice-pwd:s3cret\r\na=rtpmap:0 PCMU/8000\r\n",
        ));
        assert!(!text.contains("s3cret"), "{text}");
        assert!(text.contains("a=rtpmap:0 PCMU/8000"), "{text}");
    }
}
