//! Telephone numbers in headers that have no URI.

use patchbay_message::HeaderName;
use serde_json::Value;

use super::super::model::message_of;
use super::super::text::Text;
use super::address::address_at;
use super::users::MESSAGES;

/// A shorter number of a header is no telephone number.
const MIN_DIGITS: usize = 6;
/// The same of one that begins with `+`.
const MIN_INTERNATIONAL_DIGITS: usize = 5;
/// The numbers in headers of the messages of this line whose values the router knows nothing of.
pub(super) fn find(line: &Value, found: &mut Vec<Vec<u8>>) {
    for place in MESSAGES {
        let text = line.pointer(place).cloned();
        let text = text.and_then(|text| serde_json::from_value::<Text>(text).ok());
        let Some(message) = text.as_ref().and_then(message_of) else {
            continue;
        };
        for (name, value) in message.fields() {
            if matches!(name.known(), HeaderName::Other | HeaderName::Subject) {
                found.extend(numbers(value).map(<[u8]>::to_vec));
            }
        }
    }
}

fn numbers(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._%".contains(byte);
    value
        .split(move |byte| !is_inside(byte))
        .filter(|word| is_number(word))
}

/// Digits, with `-` and `.` between them.
fn is_number(word: &[u8]) -> bool {
    let number = word.strip_prefix(b"+").unwrap_or(word);
    let digits = number.iter().filter(|byte| byte.is_ascii_digit()).count();
    digits >= MIN_DIGITS
        && number
            .iter()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
        && address_at(b"", number).is_none()
}

/// How long the number with a country code is that this begins with.
pub(super) fn international_at(rest: &[u8]) -> Option<usize> {
    let number = rest.strip_prefix(b"+")?;
    let length = number.iter().take_while(|byte| byte.is_ascii_digit());
    let length = length.count();
    (length >= MIN_INTERNATIONAL_DIGITS).then_some(length + 1)
}

#[cfg(test)]
mod tests {
    use super::super::super::file::Line;
    use super::super::super::scrub::tests::trace_of;
    use super::super::tests::redactor;
    use super::*;

    #[test]
    fn numbers_in_headers_without_a_uri_are_hidden_wherever_they_are() {
        let mut trace = trace_of(
            "X-Tel: +15551234\r\nX-From: 030-555-12345;x=1\r\nSubject: call 4930123456 now\r\nX-Port: 5060\r\nX-Id: a1234567b\r\n",
            "",
        );
        trace.input.variables = vec![("caller".to_owned(), "4930123456".to_owned())];
        let mut redactor = redactor();
        let json = redactor.line(&Line::Run(Box::new(trace))).expect("JSON");
        let text = String::from_utf8(json).expect("text");
        for gone in ["15551234", "555-12345", "4930123456"] {
            assert!(!text.contains(gone), "{gone} is in {text}");
        }
        for kept in ["X-Port: 5060", "X-Id: a1234567b", "CSeq: 1 INVITE"] {
            assert!(text.contains(kept), "{kept} is not in {text}");
        }
        let caller = redactor.user(b"4930123456");
        assert!(text.contains(&format!("call {caller} now")), "{text}");
        assert!(
            text.contains(&format!("[\"caller\",\"{caller}\"]")),
            "{text}"
        );
    }

    #[test]
    fn a_country_code_makes_a_number() {
        for (text, length) in [
            ("+15551234;x", Some(9)),
            ("+0530", None),
            ("15551234", None),
            ("+", None),
        ] {
            assert_eq!(international_at(text.as_bytes()), length, "{text}");
        }
    }
}
