//! Whether a message is what a step expects.

use patchbay_message::{Message, Method};

use super::compose::text;
use super::phone::Seen;
use crate::config::scenario::{Expect, HeaderIs, What};

/// What was expected of a message and what it is, where the two differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) expected: String,
    pub(super) seen: String,
}

/// A kind of message in words: `INVITE`, `486`, `4xx`.
pub(super) fn kind(what: &What) -> String {
    match what {
        What::Request(method) => method.clone(),
        What::Status(status) => status.to_string(),
        What::Class(class) => format!("{class}xx"),
    }
}

/// A message in a few words: `INVITE sip:bob@example.com`, `486 Busy Here`.
pub(super) fn name(message: &Message) -> String {
    match message.status() {
        Some(status) => format!("{status} {}", text(message.reason())),
        None => format!(
            "{} {}",
            text(message.method().as_bytes()),
            text(message.request_uri())
        ),
    }
}

/// Whether it is of that kind. The response to a CANCEL is none to the INVITE.
pub(super) fn is_of_kind(message: &Message, what: &What) -> bool {
    match (what, message.status()) {
        (What::Request(method), None) => message.method().as_bytes() == method.as_bytes(),
        (What::Status(status), Some(seen)) => *status == seen && message.method() != Method::Cancel,
        (What::Class(class), Some(seen)) => {
            *class == seen / 100 && message.method() != Method::Cancel
        }
        _ => false,
    }
}

/// Whether it is a response of that kind to a CANCEL, or one that came before. Such a one is meant only where no other fits.
pub(super) fn can_stand_in(seen: &Seen, what: &What) -> bool {
    let status = seen.message.status();
    let is_of_kind = match what {
        What::Status(status_wanted) => status == Some(*status_wanted),
        What::Class(class) => status.is_some_and(|status| *class == status / 100),
        What::Request(_) => false,
    };
    is_of_kind && (seen.is_copy || seen.message.method() == Method::Cancel)
}

/// The first thing in which a message of the right kind is not as expected.
pub(super) fn difference(message: &Message, expect: &Expect) -> Option<Difference> {
    let like = |what: &str, pattern: &str, seen: &str| {
        Some(Difference {
            expected: format!("{what} {pattern}"),
            seen: format!("{what} {seen}"),
        })
    };
    if let Some(pattern) = &expect.uri {
        let uri = text(message.request_uri());
        if !pattern.fits(&uri) {
            return like("Request-URI", &pattern.0, &uri);
        }
    }
    if let Some(pattern) = &expect.reason {
        let reason = text(message.reason());
        if !pattern.fits(&reason) {
            return like("reason", &pattern.0, &reason);
        }
    }
    if let Some(pattern) = &expect.body {
        let body = text(message.body());
        if !pattern.fits(body.trim_end()) {
            return like("body", &pattern.0, &body);
        }
    }
    expect
        .headers
        .iter()
        .find_map(|(name, is)| header_difference(message, name, is))
}

fn header_difference(message: &Message, name: &str, is: &HeaderIs) -> Option<Difference> {
    let fields: Vec<String> = message.headers(name).map(text).collect();
    let expected = match is {
        HeaderIs::Absent if fields.is_empty() => return None,
        HeaderIs::Present if !fields.is_empty() => return None,
        HeaderIs::Like(pattern) if fields.iter().any(|field| pattern.fits(field)) => return None,
        HeaderIs::Fields(patterns) => {
            let mut pairs = patterns.iter().zip(&fields);
            if patterns.len() == fields.len() && pairs.all(|(pattern, field)| pattern.fits(field)) {
                return None;
            }
            let wanted: Vec<&str> = patterns.iter().map(|pattern| pattern.0.as_str()).collect();
            format!("{name}: {}", wanted.join(&format!(" | {name}: ")))
        }
        HeaderIs::Absent => format!("no header {name}"),
        HeaderIs::Present => format!("a header {name}"),
        HeaderIs::Like(pattern) => format!("{name}: {}", pattern.0),
    };
    let seen = if fields.is_empty() {
        format!("no header {name}")
    } else {
        format!("{name}: {}", fields.join(&format!(" | {name}: ")))
    };
    Some(Difference { expected, seen })
}

#[cfg(test)]
mod tests {
    use patchbay_message::Limits;

    use super::*;
    use crate::config::scenario::Pattern;

    fn message() -> Message {
        let text = "SIP/2.0 486 Busy Here\r\nX-A: 1\r\nX-A: 2\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
        Message::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    fn like(text: &str) -> Pattern {
        Pattern(text.to_owned())
    }

    #[test]
    fn a_kind_is_a_method_a_status_or_a_class() {
        let fits = |what| is_of_kind(&message(), &what);
        assert!(fits(What::Status(486)) && fits(What::Class(4)));
        assert!(!fits(What::Status(480)) && !fits(What::Class(2)));
        assert!(!fits(What::Request("INVITE".to_owned())));
    }

    #[test]
    fn headers_are_compared_by_their_fields() {
        let differs = |name: &str, is| header_difference(&message(), name, &is);
        assert_eq!(differs("x-a", HeaderIs::Like(like("2"))), None);
        assert_eq!(
            differs("X-A", HeaderIs::Fields(vec![like("1"), like("*")])),
            None
        );
        assert_eq!(differs("X-B", HeaderIs::Absent), None);
        let difference = differs("X-A", HeaderIs::Like(like("3"))).unwrap();
        assert_eq!(difference.seen, "X-A: 1 | X-A: 2");
        assert_eq!(
            differs("X-B", HeaderIs::Present).unwrap().seen,
            "no header X-B"
        );
        assert!(differs("X-A", HeaderIs::Fields(vec![like("1")])).is_some());
    }
}
