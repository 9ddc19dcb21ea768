//! Where users are in texts: in URIs, in addresses of mail and of presence, and in the names of devices.

use std::collections::BTreeSet;

use patchbay_message::{HeaderName, Message};
use serde::Deserialize;
use serde_json::Value;

use super::super::model::message_of;
use super::super::scrub::GONE;
use super::super::text::Text;
use super::is_word;

/// What names a user, a number or a device behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// The user ends at the `@`.
    Sip,
    /// All of it is the number, up to its parameters.
    Tel,
    /// All of it is the device (RFC 5626 §4.1, RFC 7254).
    Device,
}

const SCHEMES: [(&[u8], Scheme); 5] = [
    (b"sip:", Scheme::Sip),
    (b"sips:", Scheme::Sip),
    (b"tel:", Scheme::Tel),
    (b"urn:uuid:", Scheme::Device),
    (b"urn:gsma:imei:", Scheme::Device),
];
/// Words before a colon that may be somebody's name as well, and are no user there.
const NAMES_OF_SCHEMES: [&[u8]; 5] = [b"sip", b"sips", b"tel", b"urn", b"mailto"];
/// Where the messages of a line are.
pub(super) const MESSAGES: [&str; 4] = [
    "/run/input/request/received",
    "/run/input/request/current",
    "/run/input/response/received",
    "/run/input/response/current",
];

/// Users of one line of a recording.
pub(super) fn find_in_line(line: &Value, users: &mut Vec<Vec<u8>>) {
    let call_ids = call_ids(line);
    each_text(line, &mut |text| {
        find_in_uris(text, users);
        find_in_mail(text, &call_ids, users);
    });
}

/// Users of a text that has no Call-ID in it.
pub(super) fn find(text: &[u8], users: &mut Vec<Vec<u8>>) {
    find_in_uris(text, users);
    find_in_mail(text, &BTreeSet::new(), users);
}

fn find_in_uris(text: &[u8], users: &mut Vec<Vec<u8>>) {
    for at in 0..text.len() {
        let Some((before, rest)) = text.split_at_checked(at) else {
            return;
        };
        let user = scheme_before(before).and_then(|scheme| user_at(rest, scheme));
        users.extend(user.map(<[u8]>::to_vec));
    }
}

/// The scheme of a URI that has begun, whose user follows.
pub(super) fn scheme_before(before: &[u8]) -> Option<Scheme> {
    if before.last() != Some(&b':') {
        return None;
    }
    let ends = |scheme: &[u8]| {
        let start = before.len().checked_sub(scheme.len());
        start
            .and_then(|start| before.split_at_checked(start))
            .is_some_and(|(head, tail)| {
                tail.eq_ignore_ascii_case(scheme) && !head.last().is_some_and(|byte| is_word(*byte))
            })
    };
    let found = SCHEMES.into_iter().find(|(scheme, _)| ends(scheme));
    found.map(|(_, kind)| kind)
}

/// The user at the beginning of what follows a scheme.
pub(super) fn user_at(rest: &[u8], scheme: Scheme) -> Option<&[u8]> {
    let ends = |byte: &u8| {
        matches!(
            byte,
            b'>' | b'<' | b'"' | b' ' | b'\t' | b',' | b'\r' | b'\n'
        )
    };
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    let uri = rest.get(..end)?;
    let end = match scheme {
        Scheme::Sip => uri.iter().position(|byte| *byte == b'@')?,
        Scheme::Tel | Scheme::Device => {
            let end = uri.iter().position(|byte| *byte == b';');
            end.unwrap_or(uri.len())
        }
    };
    uri.get(..end).filter(|user| !user.is_empty())
}

/// What stands before each `@` with a host behind it, as in `mailto:`, `xmpp:` or without a scheme; not what begins one of these Call-IDs.
fn find_in_mail(text: &[u8], call_ids: &BTreeSet<Vec<u8>>, users: &mut Vec<Vec<u8>>) {
    let signs = (0..text.len()).filter(|at| text.get(*at) == Some(&b'@'));
    for at in signs {
        let (before, rest) = text.split_at_checked(at).unwrap_or_default();
        let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'[';
        let is_of_user = |byte: &u8| is_word(*byte) || *byte == b'+';
        let start = before.iter().rposition(|byte| !is_of_user(byte));
        let user = before.get(start.map_or(0, |start| start + 1)..);
        let user = user.unwrap_or_default();
        if user.is_empty() || user == GONE || !rest.get(1).is_some_and(is_host) {
            continue;
        }
        if !call_ids.contains(user) {
            users.push(user.to_vec());
        }
    }
}

/// What stands before an `@` in the Call-IDs that the messages of a line name: these are nobody.
fn call_ids(line: &Value) -> BTreeSet<Vec<u8>> {
    let mut found = Vec::new();
    for place in MESSAGES {
        let text = line.pointer(place).map(Text::deserialize);
        let message = text.and_then(Result::ok);
        if let Some(message) = message.as_ref().and_then(message_of) {
            for value in values_with_call_ids(&message) {
                find_in_mail(value, &BTreeSet::new(), &mut found);
            }
        }
    }
    found.into_iter().collect()
}

fn values_with_call_ids(message: &Message) -> impl Iterator<Item = &[u8]> {
    let fields = message.fields().filter(|(name, _)| {
        matches!(
            name.known(),
            HeaderName::CallId | HeaderName::InReplyTo | HeaderName::Replaces | HeaderName::Join
        ) || name.text().eq_ignore_ascii_case(b"Target-Dialog")
    });
    fields.map(|(_, value)| value)
}

/// Whether a word that is a user's elsewhere is the name of a parameter or of a scheme here.
pub(super) fn is_name(before: &[u8], word: &[u8], after: &[u8]) -> bool {
    match after.first() {
        Some(b'=') => matches!(before.last(), Some(b';' | b'?' | b'&')),
        Some(b':') => {
            let mut names = NAMES_OF_SCHEMES.iter();
            names.any(|name| word.eq_ignore_ascii_case(name))
        }
        _ => false,
    }
}

fn each_text(value: &Value, take: &mut impl FnMut(&[u8])) {
    match value {
        Value::String(text) => take(text.as_bytes()),
        Value::Array(list) => list.iter().for_each(|item| each_text(item, take)),
        Value::Object(map) => {
            if map.contains_key("hex")
                && let Ok(text) = Text::deserialize(value)
            {
                take(text.as_bytes());
            }
            map.values().for_each(|item| each_text(item, take));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::scrub::tests::trace_of;
    use super::super::tests::{hidden_line, redactor};
    use super::*;

    #[test]
    fn users_are_in_every_kind_of_address() {
        for (text, expected) in [
            ("<sip:alice@h>;x=<tel:+4930;phone>", &["alice", "+4930"][..]),
            ("mailto:alice.b@h xmpp:bob@h/phone", &["alice.b", "bob"]),
            ("{\"mail\": \"a+tag@h\"}", &["a+tag"]),
            (
                "+sip.instance=\"<urn:uuid:0000-11>\";gr=urn:gsma:imei:9042-0;x",
                &["0000-11", "9042-0"],
            ),
            ("a @ b, @c, http://removed@h/, x@ y", &[]),
        ] {
            let mut users = Vec::new();
            find(text.as_bytes(), &mut users);
            users.sort();
            users.dedup();
            let mut expected: Vec<_> = expected.iter().map(|one| one.as_bytes().to_vec()).collect();
            expected.sort();
            assert_eq!(users, expected, "{text}");
        }
    }

    #[test]
    fn what_begins_a_call_id_is_nobody() {
        let trace = trace_of("Replaces: other7@h;to-tag=1\r\nX-Mail: alice@h\r\n", "");
        let text = hidden_line(&trace);
        for kept in ["Call-ID: c1@", "Replaces: other7@h"] {
            assert!(text.contains(kept), "{kept} is not in {text}");
        }
        assert!(!text.contains("alice"), "{text}");
    }

    #[test]
    fn a_device_is_hidden_the_same_way_everywhere() {
        let mut trace = trace_of(
            "Contact: <sip:h>;+sip.instance=\"<urn:uuid:0011-aabb>\"\r\n",
            "",
        );
        trace.input.variables = vec![("device".to_owned(), "0011-aabb".to_owned())];
        let text = hidden_line(&trace);
        let device = redactor().user(b"0011-aabb");
        assert!(text.contains(&format!("<urn:uuid:{device}>")), "{text}");
        assert!(
            text.contains(&format!("[\"device\",\"{device}\"]")),
            "{text}"
        );
    }

    #[test]
    fn names_of_parameters_and_schemes_are_no_users() {
        let text = hidden_line(&trace_of(
            "X-Mail: sip@h, user@h, tag@h\r\nX-To: <sip:bob@h;user=phone>\r\n",
            "",
        ));
        for kept in ["<sip:u", ";user=phone>", ";tag=1"] {
            assert!(text.contains(kept), "{kept} is not in {text}");
        }
        assert!(
            !text.contains("sip@h") && !text.contains("user@h"),
            "{text}"
        );
    }

    #[test]
    fn users_in_bytes_that_are_no_text_are_found() {
        let mut users = Vec::new();
        let line = serde_json::json!({"a": Text(b"\xff <sip:alice@h>".to_vec())});
        find_in_line(&line, &mut users);
        assert_eq!(users, [b"alice".to_vec(), b"alice".to_vec()]);
    }
}
