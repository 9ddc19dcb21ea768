//! What is hidden without the key of a recording: names of people, and bodies.

use std::borrow::Cow;

use patchbay_message::{HeaderName, trim};

use super::super::model::{Effects, message_of};
use super::super::scrub::rewritten;
use super::super::text::Text;
use super::display_names::{has_display_names, without_display_names};
use super::{is_word, secrets};

/// The value of a header without names of people, and without what says where they are.
pub(super) fn header_value<'v>(name: &[u8], value: &'v [u8]) -> Cow<'v, [u8]> {
    match has_display_names(HeaderName::from_bytes(name)) {
        true => match secrets::header_value(name, value) {
            Cow::Borrowed(value) => without_display_names(value),
            hidden => hidden,
        },
        false => Cow::Borrowed(value),
    }
}

/// Whether a header has words and numbers of the protocol alone: a user called `101` is not meant by `CSeq: 101 INVITE`.
pub(super) fn has_no_users(name: HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Via
            | HeaderName::CSeq
            | HeaderName::MaxForwards
            | HeaderName::MaxBreadth
            | HeaderName::ContentLength
            | HeaderName::ContentType
            | HeaderName::ContentEncoding
            | HeaderName::ContentLanguage
            | HeaderName::ContentDisposition
            | HeaderName::MimeVersion
            | HeaderName::Expires
            | HeaderName::MinExpires
            | HeaderName::SessionExpires
            | HeaderName::MinSe
            | HeaderName::FlowTimer
            | HeaderName::RetryAfter
            | HeaderName::Require
            | HeaderName::ProxyRequire
            | HeaderName::Supported
            | HeaderName::Unsupported
            | HeaderName::Allow
            | HeaderName::AllowEvents
            | HeaderName::Accept
            | HeaderName::AcceptEncoding
            | HeaderName::AcceptLanguage
            | HeaderName::Event
            | HeaderName::SubscriptionState
            | HeaderName::Date
            | HeaderName::Timestamp
            | HeaderName::Priority
            | HeaderName::Privacy
            | HeaderName::RSeq
            | HeaderName::RAck
    )
}

/// The same of a text that may be something else than such a value: of one that begins with a name.
pub(super) fn without_name(text: &[u8]) -> Cow<'_, [u8]> {
    let start = text.iter().position(|byte| *byte == b'<');
    let before = start.and_then(|start| text.get(..start));
    let is_name = before.is_some_and(|before| {
        before.first() == Some(&b'"') || before.iter().all(|byte| is_word(*byte) || *byte == b' ')
    });
    match is_name {
        true => without_display_names(text),
        false => Cow::Borrowed(text),
    }
}

/// A session description without names and keys, and with other lines; of every other body nothing but its length.
pub(super) fn body(content_type: &[u8], body: &[u8], line: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    if !is_session_description(content_type) {
        return vec![b'x'; body.len()];
    }
    let without_name = |text: &[u8]| match text.first_chunk::<2>() {
        Some(b"s=" | b"i=" | b"u=" | b"e=" | b"p=") => {
            let end: &[u8] = if text.ends_with(b"\r") { b"-\r" } else { b"-" };
            [text.get(..2).unwrap_or_default(), end].concat()
        }
        // The user name, then the numbers and the address of the session (RFC 8866 §5.2).
        Some(b"o=") => {
            let space = text.iter().position(|byte| *byte == b' ');
            let rest = space.and_then(|space| text.get(space..));
            [b"o=-", line(rest.unwrap_or_default()).as_slice()].concat()
        }
        _ => line(&secrets::session_line(text).map_or(Cow::Borrowed(text), Cow::Owned)),
    };
    let lines: Vec<Vec<u8>> = body
        .split(|byte| *byte == b'\n')
        .map(without_name)
        .collect();
    lines.join(&b'\n')
}

fn is_session_description(content_type: &[u8]) -> bool {
    let start = trim(content_type).get(..15);
    start.is_some_and(|start| start.eq_ignore_ascii_case(b"application/sdp"))
}

/// Hides in what a replay made the names and bodies that are hidden in the recorded run, so that the two can be compared.
pub(in crate::trace) fn hide_as_in(recorded: &Effects, replayed: &mut Effects) {
    for (name, value) in &mut replayed.reply_headers {
        *value = Text(header_value(name.as_bytes(), value.as_bytes()).into_owned());
    }
    let paths = replayed.targets.iter_mut();
    for path in paths.flat_map(|target| &mut target.path) {
        *path = Text(without_name(path.as_bytes()).into_owned());
    }
    for (_, value) in replayed.variables.iter_mut().flatten() {
        *value = String::from_utf8_lossy(&without_name(value.as_bytes())).into_owned();
    }
    if let Some((content_type, text)) = &mut replayed.reply_body {
        let old = recorded.reply_body.as_ref();
        let old = old.map(|(_, body)| body.as_bytes()).unwrap_or_default();
        *text = Text(body_as_in(old, content_type.as_bytes(), text.as_bytes()));
    }
    if let Some(message) = &mut replayed.message {
        let old = recorded.message.as_ref().and_then(message_of);
        let old = old.as_ref().map(|old| old.body()).unwrap_or_default();
        *message = rewritten(
            message,
            |uri| uri.to_vec(),
            |name, value| header_value(name.text(), value).into_owned(),
            |message, body| {
                let content_type = message.header(HeaderName::ContentType);
                body_as_in(old, content_type.unwrap_or_default(), body)
            },
        );
    }
}

/// A body has another length where there are other users in it.
fn body_as_in(old: &[u8], content_type: &[u8], text: &[u8]) -> Vec<u8> {
    let is_hidden = !old.is_empty() && old.iter().all(|byte| *byte == b'x');
    match is_hidden && !text.is_empty() && !is_session_description(content_type) {
        true => old.to_vec(),
        false => body(content_type, text, <[u8]>::to_vec),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::file::Line;
    use super::super::super::model::{HookTrace, TargetTrace};
    use super::super::super::scrub::tests::trace_of;
    use super::super::tests::redactor;
    use super::*;

    fn text(text: &str) -> Text {
        Text(text.as_bytes().to_vec())
    }

    /// What a policy makes that has names and bodies in its code.
    fn made(content_type: &str, body: &str) -> HookTrace {
        let mut trace = trace_of("", "");
        let message = trace_of("X-Name: Service Desk <sip:h>\r\n", "a body of its own");
        trace.effects.message = message.input.request.map(|message| message.received);
        trace.effects.reply_headers = vec![
            (text("Contact"), text("\"Bob Jones\" <sip:h>, Zed <sip:i>")),
            (text("Warning"), text("399 h \"no <sip:j>\"")),
        ];
        trace.effects.variables = Some(vec![
            ("name".to_owned(), "Bob Jones <sip:h>".to_owned()),
            ("json".to_owned(), "{\"a\": \"b <sip:h>\"}".to_owned()),
            ("pair".to_owned(), "a=<sip:h>".to_owned()),
        ]);
        trace.effects.targets = vec![TargetTrace {
            uri: text("sip:h"),
            q: 1000,
            group: 0,
            path: vec![text("\"Edge of Bob\" <sip:h;lr>")],
            flow: None,
            next_hop: None,
            listener: None,
            no_answer_ms: None,
        }];
        trace.effects.reply_body = Some((text(content_type), text(body)));
        trace
    }

    fn hidden(trace: &HookTrace) -> HookTrace {
        let json = redactor().line(&Line::Run(Box::new(trace.clone())));
        match serde_json::from_slice(&json.expect("JSON")) {
            Ok(Line::Run(trace)) => *trace,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_policy_makes_has_no_names_and_no_bodies_either() {
        let trace = made("text/plain", "Bob is away");
        let hidden = hidden(&trace).effects;
        let json = serde_json::to_string(&hidden).expect("JSON");
        for gone in ["Bob", "Zed", "Desk", "body of its own"] {
            assert!(!json.contains(gone), "{gone} is in {json}");
        }
        assert_eq!(hidden.reply_headers[0].1, text("<sip:h>,<sip:i>"));
        assert_eq!(hidden.reply_headers[1], trace.effects.reply_headers[1]);
        let variables = hidden.variables.expect("variables");
        assert_eq!(variables[0].1, "<sip:h>");
        assert_eq!(
            &variables[1..],
            &trace.effects.variables.expect("variables")[1..]
        );
        assert_eq!(hidden.targets[0].path, [text("<sip:h;lr>")]);
        let body = (text("text/plain"), text("xxxxxxxxxxx"));
        assert_eq!(hidden.reply_body, Some(body));
    }

    #[test]
    fn a_session_description_keeps_no_name_of_its_user() {
        let trace = made(
            "application/sdp",
            "v=0\r\no=bob 1 2 IN IP4 127.0.0.1\r\ns=Bob\r\nm=audio 4000 RTP/AVP 0\r\n",
        );
        let (_, body) = hidden(&trace).effects.reply_body.expect("a body");
        assert_eq!(
            body.lossy(),
            "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nm=audio 4000 RTP/AVP 0\r\n"
        );
    }

    #[test]
    fn what_a_replay_makes_is_compared_without_them() {
        let sdp = "v=0\r\no=bob 1 2 IN IP4 127.0.0.1\r\ns=Bob\r\n";
        for (content_type, body) in [("text/plain", "Bob is away"), ("application/sdp", sdp)] {
            let mut trace = made(content_type, body);
            let message = trace.effects.message.take();
            let recorded = hidden(&trace).effects;
            let mut replayed = trace.effects.clone();
            hide_as_in(&recorded, &mut replayed);
            assert_eq!(replayed, recorded);
            trace.effects.message = message;
            trace.effects.reply_body = Some((text("text/plain"), Text::default()));
            hide_as_in(&recorded, &mut trace.effects);
            assert_ne!(trace.effects.reply_body, recorded.reply_body);
            let message = trace.effects.message.as_ref().and_then(message_of);
            assert_eq!(message.expect("a message").body(), b"xxxxxxxxxxxxxxxxx");
        }
    }
}
