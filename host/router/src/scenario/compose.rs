//! Messages as phones write them.

use patchbay_message::{HeaderName, Message, Name, default_reason};

use crate::config::scenario::HeaderEdit;

/// A session description like that of any phone (RFC 4566).
pub(super) const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.200\r\ns=-\r\nc=IN IP4 192.0.2.200\r\nt=0 0\r\nm=audio 49170 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";
/// Its type.
const SDP_TYPE: &str = "application/sdp";

/// A message under construction: the first line, the header fields in order, the body.
#[derive(Clone, Debug)]
pub(super) struct Composed {
    first_line: String,
    fields: Vec<(String, String)>,
    body: String,
}

impl Composed {
    /// A message without headers.
    pub(super) fn new(first_line: String) -> Composed {
        Composed {
            first_line,
            fields: Vec::with_capacity(12),
            body: String::new(),
        }
    }

    /// A response to a request: what RFC 3261 §8.2.6.2 copies. `tag` is for a To without one.
    pub(super) fn response(
        request: &Message,
        status: u16,
        reason: Option<&str>,
        tag: &str,
    ) -> Composed {
        let reason = reason.unwrap_or_else(|| default_reason(status));
        let mut response = Composed::new(format!("SIP/2.0 {status} {reason}"));
        for via in request.headers(HeaderName::Via) {
            response.field("Via", text(via));
        }
        if (101..300).contains(&status) {
            for route in request.headers(HeaderName::RecordRoute) {
                response.field("Record-Route", text(route));
            }
        }
        response.field("From", header(request, HeaderName::From));
        let to = header(request, HeaderName::To);
        let has_tag = request.to_tag().is_some() || status == 100;
        response.field(
            "To",
            if has_tag {
                to
            } else {
                format!("{to};tag={tag}")
            },
        );
        response.field("Call-ID", text(request.call_id()));
        response.field("CSeq", header(request, HeaderName::CSeq));
        response
    }

    /// Adds a field.
    pub(super) fn field(&mut self, name: &str, value: impl Into<String>) {
        self.fields.push((name.to_owned(), value.into()));
    }

    /// Gives it a body. Unless `edits` say otherwise it is a session description, or plain text.
    pub(super) fn body(&mut self, body: &str) {
        let is_description = body.starts_with("v=0");
        let content_type = if is_description {
            SDP_TYPE
        } else {
            "text/plain"
        };
        self.field("Content-Type", content_type);
        body.clone_into(&mut self.body);
    }

    /// Replaces the fields of that name with one.
    pub(super) fn replace(&mut self, name: &str, value: String) {
        let name = name.to_owned();
        let values = vec![value];
        self.edit(&[HeaderEdit { name, values }]);
    }

    /// Another Request-URI.
    pub(super) fn set_request_uri(&mut self, method: &str, uri: &str) {
        self.first_line = format!("{method} {uri} SIP/2.0");
    }

    /// Replaces or removes fields.
    pub(super) fn edit(&mut self, edits: &[HeaderEdit]) {
        for edit in edits {
            let name = Name::from(edit.name.as_str());
            let is_same = |(other, _): &(String, String)| Name::from(other.as_str()) == name;
            let at = self.fields.iter().position(is_same);
            self.fields.retain(|field| !is_same(field));
            let at = at.unwrap_or(self.fields.len());
            let fields = edit
                .values
                .iter()
                .map(|value| (edit.name.clone(), value.clone()));
            self.fields.splice(at..at, fields);
        }
    }

    /// The text of it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut text = String::with_capacity(512 + self.body.len());
        let mut line = |parts: [&str; 3]| {
            parts.into_iter().for_each(|part| text.push_str(part));
            text.push_str("\r\n");
        };
        line([&self.first_line, "", ""]);
        let mut has_length = false;
        for (name, value) in &self.fields {
            has_length |= Name::from(name.as_str()) == Name::from("Content-Length");
            line([name, ": ", value]);
        }
        if !has_length {
            line(["Content-Length: ", &self.body.len().to_string(), ""]);
        }
        line(["", "", ""]);
        text.push_str(&self.body);
        text.into_bytes()
    }
}

/// A message that was written by hand: lines end as they must, and are not indented beyond the least indented of them, so that a line that
/// goes on with the one before (RFC 3261 §7.3.1) still does.
pub(super) fn by_hand(text: &str) -> Vec<u8> {
    let text = text.trim_start_matches(['\r', '\n']);
    let text = text.replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let indent = |line: &str| line.len() - line.trim_start().len();
    // The first may stand behind the quotes.
    let others = head.lines().skip(1).filter(|line| !line.trim().is_empty());
    let margin = others.map(indent).min().unwrap_or(0);
    let mut lines: Vec<&str> = head
        .lines()
        .map(|line| line.get(margin.min(indent(line))..).unwrap_or_default())
        .map(str::trim_end)
        .collect();
    if let Some(first) = lines.first_mut() {
        *first = first.trim_start();
    }
    let body = body.replace('\n', "\r\n");
    format!("{}\r\n\r\n{body}", lines.join("\r\n")).into_bytes()
}

/// The first field of that name.
pub(super) fn header(message: &Message, name: HeaderName) -> String {
    text(message.header(name).unwrap_or_default())
}

/// Bytes of a message as text.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use patchbay_message::Limits;

    use super::*;

    #[test]
    fn edits_replace_add_and_remove() {
        let mut message = Composed::new("OPTIONS sip:a SIP/2.0".to_owned());
        message.field("Subject", "one");
        message.field("Contact", "<sip:a>");
        let edit = |name: &str, values: &[&str]| HeaderEdit {
            name: name.to_owned(),
            values: values.iter().map(|&value| value.to_owned()).collect(),
        };
        message.edit(&[
            edit("s", &["two", "three"]),
            edit("contact", &[]),
            edit("X-A", &["1"]),
        ]);
        let text = text(&message.bytes());
        assert_eq!(
            text,
            "OPTIONS sip:a SIP/2.0\r\ns: two\r\ns: three\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_folded_line_by_hand_stays_one() {
        for start in ["\n    ", ""] {
            let bytes = by_hand(&format!(
                "{start}OPTIONS sip:a SIP/2.0\n    Via: SIP/2.0/UDP a;branch=z9hG4bK1\n    Subject: a\n      b\n    CSeq: 1 OPTIONS\n\n"
            ));
            let text = text(&bytes);
            assert!(text.contains("\r\nSubject: a\r\n  b\r\nCSeq: 1"), "{text}");
        }
    }

    #[test]
    fn a_message_by_hand_gets_the_line_ends_of_sip() {
        let bytes = by_hand(
            "\n    OPTIONS sip:a SIP/2.0\n    Via: SIP/2.0/UDP a;branch=z9hG4bK1\n    CSeq: 1 OPTIONS\n\nbody\n",
        );
        assert!(bytes.ends_with(b"CSeq: 1 OPTIONS\r\n\r\nbody\r\n"));
        let message = Message::parse(&bytes, &Limits::default()).unwrap();
        assert_eq!(message.request_uri(), b"sip:a");
    }
}
