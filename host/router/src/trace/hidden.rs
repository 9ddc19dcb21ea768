//! Whether a text of a redacted recording may be what redaction made of another one.
//!
//! The key of a recording is kept nowhere, so what a version asks with words of its own can't be hidden once more to look for it. It is
//! compared with what was hidden: where a user, an address or letters are hidden, anything may have been.

use super::outside::{KeyValueCall, RequestTrace, open_headers};
use super::redact::{address_at, decoded, pseudonym_at};
use super::text::Text;

/// What separates the parts of a URL or a key: nothing that was hidden goes beyond.
const SEPARATORS: &[u8] = b"/?#&=;";
/// So many `x` may be hidden letters.
const MIN_HIDDEN_LETTERS: usize = 4;

/// A piece of a hidden text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Byte(u8),
    Anything,
}

impl RequestTrace {
    /// Whether redaction may have made this request of the other one.
    pub(crate) fn may_hide(&self, other: &RequestTrace) -> bool {
        let headers = open_headers(&self.headers).zip(open_headers(&other.headers));
        self.method == other.method
            && may_hide(&decoded(&self.url), &decoded(&other.url))
            && self.body.is_empty() == other.body.is_empty()
            && self.body.0.iter().all(|byte| *byte == b'x')
            && open_headers(&self.headers).count() == open_headers(&other.headers).count()
            && headers
                .into_iter()
                .all(|((name, hidden), (asked, value))| name == asked && may_hide(hidden, value))
    }
}

impl KeyValueCall {
    /// Whether redaction may have made this call of the other one.
    pub(crate) fn may_hide(&self, other: &KeyValueCall) -> bool {
        use KeyValueCall::{Delete, Exists, Get, Increment, ListKeys, Set};
        let is_same = match (self, other) {
            (Get { .. }, Get { .. })
            | (Exists { .. }, Exists { .. })
            | (Delete { .. }, Delete { .. }) => true,
            (
                Set {
                    value, ttl_secs, ..
                },
                Set {
                    value: asked,
                    ttl_secs: asked_secs,
                    ..
                },
            ) => ttl_secs == asked_secs && may_hide_text(value, asked),
            (
                Increment {
                    delta, ttl_secs, ..
                },
                Increment {
                    delta: asked,
                    ttl_secs: asked_secs,
                    ..
                },
            ) => (delta, ttl_secs) == (asked, asked_secs),
            (ListKeys { after, .. }, ListKeys { after: asked, .. }) => may_hide(after, asked),
            _ => false,
        };
        is_same && may_hide(self.key(), other.key())
    }
}

fn may_hide_text(hidden: &Text, text: &Text) -> bool {
    may_hide(&hidden.lossy(), &text.lossy())
}

/// Whether the text has the hidden one's parts, with anything where something is hidden.
fn may_hide(hidden: &str, text: &str) -> bool {
    let pieces = pieces(hidden.as_bytes());
    let text = text.as_bytes();
    let (mut piece, mut at) = (0, 0);
    // Behind the latest piece that may be anything, and where that ends so far.
    let mut open: Option<(usize, usize)> = None;
    loop {
        match (pieces.get(piece), text.get(at)) {
            (None, None) => return true,
            (Some(Piece::Byte(byte)), Some(found)) if byte == found => {
                (piece, at) = (piece + 1, at + 1);
                continue;
            }
            (Some(Piece::Anything), Some(found)) if !SEPARATORS.contains(found) => {
                (piece, at) = (piece + 1, at + 1);
                open = Some((piece, at));
                continue;
            }
            _ => {}
        }
        // It has one byte more.
        let Some((after, end)) = open else {
            return false;
        };
        match text.get(end) {
            Some(byte) if !SEPARATORS.contains(byte) => {
                (piece, at) = (after, end + 1);
                open = Some((after, end + 1));
            }
            _ => return false,
        }
    }
}

fn pieces(hidden: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(hidden.len());
    let mut at = 0;
    while let Some(rest) = hidden.get(at..).filter(|rest| !rest.is_empty()) {
        let before = hidden.get(..at).unwrap_or_default();
        let letters = rest.iter().take_while(|byte| **byte == b'x').count();
        let length = pseudonym_at(rest)
            .or_else(|| hidden_address_at(before, rest))
            .or_else(|| (letters >= MIN_HIDDEN_LETTERS).then_some(letters));
        match length {
            Some(length) => {
                if pieces.last() != Some(&Piece::Anything) {
                    pieces.push(Piece::Anything);
                }
                at += length;
            }
            None => {
                pieces.extend(rest.first().map(|byte| Piece::Byte(*byte)));
                at += 1;
            }
        }
    }
    pieces
}

/// How long the address is that this begins with; one that hides nobody was the same before.
fn hidden_address_at(before: &[u8], rest: &[u8]) -> Option<usize> {
    let (address, length) = address_at(before, rest)?;
    (!address.is_loopback() && !address.is_unspecified()).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_may_have_been_where_something_is_hidden() {
        for (hidden, text) in [
            ("http://a/r?t=u0123456789&f=1", "http://a/r?t=sekret123&f=1"),
            ("http://10.1.2.3:80/a", "http://192.0.2.77:80/a"),
            (
                "sip:u0123456789@h/u0123456789",
                "sip:alice@h/49 30 123 456@x",
            ),
            ("calls/u0123456789", "calls/total"),
            ("a xxxxxx b", "a secret b"),
            ("same", "same"),
            ("", ""),
        ] {
            assert!(may_hide(hidden, text), "{hidden} {text}");
        }
        for (hidden, text) in [
            ("http://a/r?t=u0123456789&f=1", "http://a/r?t=s&f=2"),
            ("http://a/u0123456789", "http://a/b/c"),
            ("http://a/u0123456789", "http://a/"),
            ("calls/u0123456789", "call/total"),
            ("calls/u01234", "calls/total"),
            ("one", "other"),
            ("http://127.0.0.1:80/", "http://192.0.2.7:80/"),
            ("0.0.0.0", "::"),
            ("", "a"),
        ] {
            assert!(!may_hide(hidden, text), "{hidden} {text}");
        }
    }

    #[test]
    fn requests_are_compared_by_what_is_not_hidden() {
        let request = |url: &str, header: &str, body: &str| RequestTrace {
            method: "POST".to_owned(),
            url: url.to_owned(),
            headers: vec![("X-Who".to_owned(), header.to_owned())],
            body: body.as_bytes().into(),
        };
        let hidden = request("http://a/?u=sip%3Au0123456789%40b", "u0123456789", "xxx");
        let asked = request("http://a/?u=sip%3Aalice@b", "alice", "{\"a\": 1}");
        assert!(hidden.may_hide(&asked));
        assert!(!asked.may_hide(&hidden), "a body that is not hidden");
        let without_body = request("http://a/?u=sip%3Au0123456789%40b", "u0123456789", "");
        assert!(!without_body.may_hide(&asked), "no body and one");
        assert!(!hidden.may_hide(&without_body), "a body and none");
        let other = RequestTrace {
            method: "PUT".to_owned(),
            ..asked
        };
        assert!(!hidden.may_hide(&other));
    }

    #[test]
    fn calls_of_the_store_are_compared_by_what_they_do() {
        let add = |key: &str, delta| KeyValueCall::Increment {
            key: key.to_owned(),
            delta,
            ttl_secs: None,
        };
        let hidden = add("calls/u0123456789", 1);
        assert!(hidden.may_hide(&add("calls/total", 1)));
        assert!(!hidden.may_hide(&add("calls/total", 2)));
        let get = KeyValueCall::Get {
            key: "calls/total".to_owned(),
        };
        assert!(!hidden.may_hide(&get));
        let set = |value: &str| KeyValueCall::Set {
            key: "calls/u0123456789".to_owned(),
            value: value.as_bytes().into(),
            ttl_secs: None,
        };
        assert!(set("").may_hide(&set("")) && !set("").may_hide(&set("a")));
    }
}
