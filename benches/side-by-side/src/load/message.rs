//! Reading SIP as far as the load needs it.

use memchr::memmem::Finder;
use memchr::{memchr, memmem};

/// A message taken apart: the headers that somebody looks at, still as they stand.
#[derive(Debug, Default)]
pub(crate) struct Message<'a> {
    /// Without its line end.
    pub(crate) start_line: &'a [u8],
    /// The top one.
    pub(crate) via: &'a [u8],
    /// The other Via headers.
    pub(crate) further_vias: Vec<&'a [u8]>,
    /// How many Via values there are, whether or not they share a header.
    pub(crate) vias: usize,
    /// `From`.
    pub(crate) from: &'a [u8],
    /// `To`.
    pub(crate) to: &'a [u8],
    /// `Call-ID`.
    pub(crate) call_id: &'a [u8],
    /// `CSeq`.
    pub(crate) cseq: &'a [u8],
    /// The values of all Contact headers, the first apart because it is nearly always the only one.
    pub(crate) contact: &'a [u8],
    /// The further ones.
    pub(crate) contacts: Vec<&'a [u8]>,
    /// In the order of the message.
    pub(crate) record_routes: Vec<&'a [u8]>,
    /// `WWW-Authenticate` or `Proxy-Authenticate`.
    pub(crate) challenge: &'a [u8],
    /// What follows the empty line.
    pub(crate) body: &'a [u8],
    /// `Content-Length`.
    pub(crate) content_length: Option<usize>,
}

impl<'a> Message<'a> {
    /// `None`: that is no message.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut message = Message::default();
        let (start_line, mut rest) = line(bytes)?;
        message.start_line = start_line;
        loop {
            let (header, after) = line(rest)?;
            rest = after;
            if header.is_empty() {
                break;
            }
            let colon = memchr(b':', header)?;
            let (name, value) = header.split_at(colon);
            message.keep(name.trim_ascii(), value.get(1..)?.trim_ascii());
        }
        message.body = rest;
        Some(message)
    }

    fn keep(&mut self, name: &[u8], value: &'a [u8]) {
        match Name::of(name) {
            Name::Via => {
                if self.vias == 0 {
                    self.via = value;
                } else {
                    self.further_vias.push(value);
                }
                self.vias += 1 + memchr::memchr_iter(b',', value).count();
            }
            Name::From => self.from = value,
            Name::To => self.to = value,
            Name::CallId => self.call_id = value,
            Name::CSeq => self.cseq = value,
            Name::Contact if self.contact.is_empty() => self.contact = value,
            Name::Contact => self.contacts.push(value),
            Name::RecordRoute => self.record_routes.push(value),
            Name::Challenge => self.challenge = value,
            Name::ContentLength => {
                self.content_length = number(value).and_then(|value| value.try_into().ok());
            }
            Name::Other => {}
        }
    }

    /// The status of a response, `None` for a request.
    pub(crate) fn status(&self) -> Option<u16> {
        let digits = self.start_line.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
        number(digits).and_then(|status| status.try_into().ok())
    }

    /// The method of a request, or of the request that a response answers.
    pub(crate) fn method(&self) -> &'a [u8] {
        if self.start_line.starts_with(b"SIP/2.0 ") {
            let space = self.cseq.iter().rposition(|&byte| byte == b' ');
            return space.map_or(b"", |at| self.cseq.get(at + 1..).unwrap_or(b""));
        }
        word(self.start_line)
    }

    /// The Request-URI.
    pub(crate) fn uri(&self) -> &'a [u8] {
        let method = word(self.start_line).len();
        word(self.start_line.get(method + 1..).unwrap_or(b""))
    }

    /// Whether any Contact holds this text.
    pub(crate) fn has_contact(&self, text: &[u8]) -> bool {
        let finder = Finder::new(text);
        let holds = |value: &[u8]| finder.find(value).is_some();
        holds(self.contact) || self.contacts.iter().any(|value| holds(value))
    }
}

/// The headers that the load looks at, under their long and their compact names.
enum Name {
    Via,
    From,
    To,
    CallId,
    CSeq,
    Contact,
    RecordRoute,
    Challenge,
    ContentLength,
    Other,
}

impl Name {
    fn of(name: &[u8]) -> Name {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        // By length first: most headers are none of these, and comparing costs.
        match name.len() {
            1 if is(b"v") => Name::Via,
            1 if is(b"f") => Name::From,
            1 if is(b"t") => Name::To,
            1 if is(b"i") => Name::CallId,
            1 if is(b"m") => Name::Contact,
            1 if is(b"l") => Name::ContentLength,
            2 if is(b"to") => Name::To,
            3 if is(b"via") => Name::Via,
            4 if is(b"from") => Name::From,
            4 if is(b"cseq") => Name::CSeq,
            7 if is(b"call-id") => Name::CallId,
            7 if is(b"contact") => Name::Contact,
            12 if is(b"record-route") => Name::RecordRoute,
            14 if is(b"content-length") => Name::ContentLength,
            16 if is(b"www-authenticate") => Name::Challenge,
            18 if is(b"proxy-authenticate") => Name::Challenge,
            _ => Name::Other,
        }
    }
}

/// The length of the message that these bytes of a stream begin with; `None`: it is not all there.
pub(crate) fn message_length(bytes: &[u8]) -> Option<usize> {
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let message = Message::read(bytes.get(..head)?)?;
    let length = head + message.content_length.unwrap_or(0);
    (bytes.len() >= length).then_some(length)
}

/// The value of a parameter such as `branch` or `tag`, without quotes, of a header or a challenge.
pub(crate) fn parameter<'a>(header: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut from = 0;
    loop {
        let at = from + memmem::find(header.get(from..)?, name)?;
        let before = at.checked_sub(1).and_then(|at| header.get(at));
        let after = header.get(at + name.len()..)?;
        let begins = before.is_some_and(|byte| matches!(byte, b';' | b',' | b' ' | b'\t'));
        match after.strip_prefix(b"=") {
            Some(value) if begins => return Some(parameter_value(value)),
            _ => from = at + name.len(),
        }
    }
}

fn parameter_value(value: &[u8]) -> &[u8] {
    if let Some(quoted) = value.strip_prefix(b"\"") {
        let end = memchr(b'"', quoted).unwrap_or(quoted.len());
        return quoted.get(..end).unwrap_or(quoted);
    }
    let ends = |byte: &u8| matches!(byte, b';' | b',' | b' ' | b'\t' | b'>');
    let end = value.iter().position(ends).unwrap_or(value.len());
    value.get(..end).unwrap_or(value)
}

/// The URI of a Contact, with or without angle brackets.
pub(crate) fn contact_uri(contact: &[u8]) -> &[u8] {
    let uri = memchr(b'<', contact).and_then(|open| {
        let inside = contact.get(open + 1..)?;
        inside.get(..memchr(b'>', inside)?)
    });
    uri.unwrap_or_else(|| parameter_value(contact))
}

/// A decimal number, and nothing else.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &digit| {
        let digit = char::from(digit).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

/// Up to the first space.
fn word(text: &[u8]) -> &[u8] {
    let end = memchr(b' ', text).unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

/// The first line without its end, and the rest.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b'\n', bytes)?;
    let line = bytes.get(..end)?;
    Some((
        line.strip_suffix(b"\r").unwrap_or(line),
        bytes.get(end + 1..)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RINGING: &[u8] = b"SIP/2.0 180 Ringing\r\n\
        v: SIP/2.0/UDP 127.0.0.2:4000;branch=z9hG4bK1.2.x.1;rport=4000\r\n\
        Record-Route: <sip:127.0.0.1;lr;x=1>\r\n\
        From: \"A: B\" <sip:a@bench.test>;tag=1\r\n\
        t: <sip:u1@bench.test>;tag=abc\r\n\
        Call-ID: 1\r\n\
        CSeq: 1 INVITE\r\n\
        Contact: <sip:bench@127.0.0.3:6080>;expires=60\r\n\
        l: 4\r\n\r\nbody";

    #[test]
    fn a_response_is_taken_apart() {
        let message = Message::read(RINGING).unwrap();
        assert_eq!(message.status(), Some(180));
        assert_eq!(message.method(), b"INVITE");
        assert_eq!(message.vias, 1);
        assert_eq!(
            parameter(message.via, b"branch").unwrap(),
            b"z9hG4bK1.2.x.1"
        );
        assert_eq!(parameter(message.to, b"tag").unwrap(), b"abc");
        assert_eq!(contact_uri(message.contact), b"sip:bench@127.0.0.3:6080");
        assert_eq!(message.record_routes, [b"<sip:127.0.0.1;lr;x=1>"]);
        assert_eq!(message.body, b"body");
    }

    #[test]
    fn a_request_has_a_method_and_a_uri() {
        let message = Message::read(b"BYE sip:x@y SIP/2.0\r\nCSeq: 2 BYE\r\n\r\n").unwrap();
        assert_eq!(message.status(), None);
        assert_eq!(message.method(), b"BYE");
        assert_eq!(message.uri(), b"sip:x@y");
    }

    #[test]
    fn several_vias_are_counted_wherever_they_stand() {
        let message = Message::read(b"SIP/2.0 200 OK\r\nVia: a, b\r\nv: c\r\n\r\n").unwrap();
        assert_eq!((message.vias, message.via), (3, b"a, b".as_slice()));
    }

    #[test]
    fn what_has_no_end_of_headers_is_no_message() {
        assert!(Message::read(b"SIP/2.0 200 OK\r\nVia: a\r\n").is_none());
        assert!(Message::read(b"").is_none());
    }

    #[test]
    fn a_message_of_a_stream_is_complete_with_its_body() {
        assert_eq!(message_length(RINGING), Some(RINGING.len()));
        let mut more = RINGING.to_vec();
        more.extend_from_slice(b"SIP/2.0");
        assert_eq!(message_length(&more), Some(RINGING.len()));
        assert_eq!(message_length(&RINGING[..RINGING.len() - 1]), None);
    }

    #[test]
    fn parameters_of_a_challenge_are_found_by_their_whole_name() {
        let challenge = b"Digest realm=\"bench.test\", cnonce=\"no\", nonce=\"n 1\",qop=\"auth\"";
        assert_eq!(parameter(challenge, b"nonce").unwrap(), b"n 1");
        assert_eq!(parameter(challenge, b"qop").unwrap(), b"auth");
        assert_eq!(parameter(challenge, b"opaque"), None);
    }
}
