//! What a response of ours says beyond what it copies from its request.
//!
//! A retransmission is the same request again, so that the same response can be made of it: of one that was sent only this is kept. There
//! are as many as requests in 32 seconds, so that each byte counts. The To tag is made of the request anew.
//!
//! | bytes | what |
//! | --- | --- |
//! | 2 | the status |
//! | 1 | whether there are a reason and a body |
//! | 2, then so many each | these, where there are |
//! | 1 | the number of a header's name, [`WRITTEN`] or [`DATE`] |
//! | 2, then so many | the name, when it is written |
//! | 2, then so many | the value; of a [`DATE`] 4, the second; then the next header |

use patchbay_message::{Draft, HeaderName, ResponseHead};

use crate::date;
use crate::time::UnixTime;

/// Stands for a name that is written out.
const WRITTEN: u8 = u8::MAX;
/// Stands for a Date with the second in which the response was made.
const DATE: u8 = WRITTEN - 1;
const HAS_REASON: u8 = 1;
const HAS_BODY: u8 = 2;

/// A response of ours, as far as it is kept.
#[derive(Clone, Copy)]
pub(crate) struct OwnResponse<'a> {
    pub status: u16,
    /// Empty: the usual one.
    pub reason: &'a str,
    pub headers: &'a [(&'a [u8], &'a [u8])],
    pub body: &'a [u8],
    /// When it was made, and the text of that.
    pub date: (UnixTime, &'a [u8]),
}

/// Puts a response into bytes that [`write`] reads. False when a part of it is too long for that.
pub(crate) fn keep(kept: &mut Vec<u8>, response: OwnResponse<'_>) -> bool {
    kept.clear();
    put(kept, response).is_some()
}

fn put(kept: &mut Vec<u8>, response: OwnResponse<'_>) -> Option<()> {
    let OwnResponse { reason, body, .. } = response;
    let flags = match (reason.is_empty(), body.is_empty()) {
        (true, true) => 0,
        (false, true) => HAS_REASON,
        (true, false) => HAS_BODY,
        (false, false) => HAS_REASON | HAS_BODY,
    };
    let [low, high] = response.status.to_le_bytes();
    kept.extend_from_slice(&[low, high, flags]);
    for part in [reason.as_bytes(), body] {
        if !part.is_empty() {
            put_text(kept, part)?;
        }
    }
    for (name, value) in response.headers {
        let number = number_of(name);
        if number == HeaderName::Date as u8 && *value == response.date.1 {
            let [a, b, c, d] = u32::try_from(response.date.0.0).ok()?.to_le_bytes();
            kept.extend_from_slice(&[DATE, a, b, c, d]);
            continue;
        }
        let [low, high] = u16::try_from(value.len()).ok()?.to_le_bytes();
        if number == WRITTEN {
            kept.push(WRITTEN);
            put_text(kept, name)?;
            kept.extend_from_slice(&[low, high]);
        } else {
            kept.extend_from_slice(&[number, low, high]);
        }
        kept.extend_from_slice(value);
    }
    Some(())
}

fn put_text(kept: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    let length = u16::try_from(text.len()).ok()?;
    kept.extend_from_slice(&length.to_le_bytes());
    kept.extend_from_slice(text);
    Some(())
}

/// The number of a known name that is spelt as in its RFC.
fn number_of(name: &[u8]) -> u8 {
    let known = HeaderName::from_bytes(name);
    match u8::try_from(known as usize) {
        Ok(number) if number < DATE && name_of(number) == Some(name) => number,
        _ => WRITTEN,
    }
}

fn name_of(number: u8) -> Option<&'static [u8]> {
    let name = HeaderName::ALL.get(usize::from(number))?;
    Some(name.text().as_bytes())
}

/// Writes the response to `request` once more, with its To tag.
pub(crate) fn write(out: &mut Vec<u8>, kept: &[u8], request: &Draft, tag: &[u8]) -> Option<()> {
    let (&[low, high, flags], mut rest) = kept.split_first_chunk()?;
    let mut part = |flag| match flags & flag {
        0 => Some(&[][..]),
        _ => take_text(&mut rest),
    };
    let (reason, body) = (part(HAS_REASON)?, part(HAS_BODY)?);
    let head = ResponseHead {
        status: u16::from_le_bytes([low, high]),
        // It is what `keep` was given.
        reason: std::str::from_utf8(reason).unwrap_or_default(),
        to_tag: Some(tag),
    };
    let mut made = Vec::new();
    let seconds = Headers(rest).find_map(|header| match header {
        Header::Date(seconds) => Some(seconds),
        Header::Text(..) => None,
    });
    if let Some(seconds) = seconds {
        date::write(&mut made, UnixTime(seconds.into()));
    }
    let headers = Headers(rest).map(|header| match header {
        Header::Date(_) => (HeaderName::Date.text().as_bytes(), &made[..]),
        Header::Text(name, value) => (name, value),
    });
    patchbay_message::write_response(out, request, head, headers, body);
    Some(())
}

enum Header<'a> {
    Date(u32),
    Text(&'a [u8], &'a [u8]),
}

/// The headers that are still to be read.
struct Headers<'a>(&'a [u8]);

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        let (&number, rest) = self.0.split_first()?;
        self.0 = rest;
        if number == DATE {
            let (seconds, rest) = rest.split_first_chunk()?;
            self.0 = rest;
            return Some(Header::Date(u32::from_le_bytes(*seconds)));
        }
        let name = match number {
            WRITTEN => take_text(&mut self.0)?,
            known => name_of(known)?,
        };
        Some(Header::Text(name, take_text(&mut self.0)?))
    }
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let (text, after) = after.split_at_checked(u16::from_le_bytes(*length).into())?;
    *rest = after;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use patchbay_message::{Limits, Message};
    use std::sync::Arc;

    const REQUEST: &str = "REGISTER sip:x SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:a@x>\r\n\
        Call-ID: c\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n\r\n";
    const NOON: (UnixTime, &[u8]) = (UnixTime(43_200), b"Thu, 01 Jan 1970 12:00:00 GMT");

    /// A response as it is written at first and as it is written of what was kept.
    fn both(response: OwnResponse<'_>) -> [String; 2] {
        let message = Message::parse(REQUEST.as_bytes(), &Limits::default()).unwrap();
        let request = Draft::new(Arc::new(message));
        let head = ResponseHead {
            status: response.status,
            reason: response.reason,
            to_tag: Some(b"tag"),
        };
        let (mut first, mut again, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        let headers = response.headers.iter().copied();
        patchbay_message::write_response(&mut first, &request, head, headers, response.body);
        assert!(keep(&mut kept, response));
        write(&mut again, &kept, &request, b"tag").unwrap();
        [first, again].map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_response_is_written_again_as_it_was() {
        let headers: [(&[u8], &[u8]); 6] = [
            (b"Contact", b"<sip:a@192.0.2.1>;expires=3600"),
            (b"contact", b"<sip:b@192.0.2.1>"),
            (b"X-Own", b""),
            (b"Date", NOON.1),
            (b"Date", b"another"),
            (b"m", b"<sip:c@192.0.2.1>"),
        ];
        let response = OwnResponse {
            status: 200,
            reason: "",
            headers: &headers,
            body: b"",
            date: NOON,
        };
        for response in [
            response,
            OwnResponse {
                reason: "Fine",
                ..response
            },
            OwnResponse {
                body: b"text",
                headers: &[],
                ..response
            },
            OwnResponse {
                status: 699,
                reason: "No",
                body: b"text",
                ..response
            },
        ] {
            let [first, again] = both(response);
            assert_eq!(first, again);
        }
    }

    #[test]
    fn known_names_and_the_date_take_few_bytes() {
        let headers: [(&[u8], &[u8]); 2] = [(b"Contact", b"<sip:a@b>"), (b"Date", NOON.1)];
        let response = OwnResponse {
            status: 200,
            reason: "",
            headers: &headers,
            body: b"",
            date: NOON,
        };
        let mut kept = Vec::new();
        assert!(keep(&mut kept, response));
        assert_eq!(kept.len(), 3 + 3 + 9 + 5);
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let long = vec![b'a'; 1 << 16];
        let headers: [(&[u8], &[u8]); 1] = [(b"Subject", &long)];
        let response = OwnResponse {
            status: 200,
            reason: "",
            headers: &headers,
            body: b"",
            date: NOON,
        };
        assert!(!keep(&mut Vec::new(), response));
        let response = OwnResponse {
            headers: &[],
            body: &long,
            ..response
        };
        assert!(!keep(&mut Vec::new(), response));
    }
}
