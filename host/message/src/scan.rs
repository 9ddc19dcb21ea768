//! Finds the structure of a message in one pass: start line, header fields, body.
//!
//! Nothing is judged here that a response could complain about: the scanner notes it and [`crate::Message::validate`]
//! reports it. A line ends at LF. A CR alone, or an LF alone among CRLFs, is noted as a fault rather than passed on,
//! because the next hop may read it as a line end or not. A message whose lines all end with LF alone, or that ends with
//! its last header, has one meaning only: it is noted for [`repair`].

use memchr::{memchr, memrchr};

use crate::class::{TOKEN, find_line_end, find_low, run};
use crate::error::{Limits, ScanError};
use crate::grammar::{eq_ignore_case, is_lws, parse_u64, trim, trim_end};
use crate::lanes;
use crate::name::HeaderName;
use crate::span::Span;
use crate::spelling;

/// Marks the end of a chain of fields of one name.
pub(crate) const NONE: u16 = u16::MAX;

/// One header field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// From its first byte to the line end of its last folded line.
    pub(crate) line: Span,
    /// Of the name, with which the line begins; 0 when the line is broken.
    pub(crate) name_len: u32,
    /// Without the white space around it; folds are kept.
    pub(crate) value: Span,
    /// Which header.
    pub(crate) known: HeaderName,
    /// The line is the long or compact name as its RFC spells it, a colon, a blank, a value without folds, and CRLF.
    pub(crate) is_usual: bool,
    /// The next field of the same known name.
    pub(crate) next: u16,
}

impl Field {
    /// The name as it is spelt; empty when the line is broken.
    #[inline]
    pub(crate) fn name(&self) -> Span {
        Span {
            start: self.line.start,
            end: self.line.start + self.name_len,
        }
    }
}

/// The first line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StartLine {
    /// The code of a response; 0 in a request.
    pub(crate) status: u16,
    /// The method of a request, empty in a response.
    pub(crate) method: Span,
    /// The Request-URI of a request, the reason phrase of a response.
    pub(crate) target: Span,
    pub(crate) version: Span,
}

/// What the scanner saw besides the structure; most of it only [`crate::Message::validate`] reports.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Noted {
    /// A line that ends with CRLF.
    crlf: bool,
    /// A line that ends with LF alone.
    bare_feed: bool,
    /// A CR inside a line.
    bare_return: bool,
    /// The data ends with the last header line, without an empty line.
    no_empty_line: bool,
    /// A line that is no header field.
    pub(crate) header_line: bool,
    /// A header that may stand once stands twice.
    pub(crate) doubled: bool,
    /// Content-Length is not a number.
    pub(crate) content_length: bool,
    /// The body is shorter than Content-Length.
    pub(crate) body_too_short: bool,
}

impl Noted {
    #[inline]
    fn line(&mut self, line: Line) {
        let is_crlf = line.end - line.text_end == 2;
        self.crlf |= is_crlf;
        self.bare_feed |= !is_crlf;
        self.bare_return |= line.has_return;
    }

    /// Two elements could see different lines.
    pub(crate) fn has_ambiguous_lines(&self) -> bool {
        self.bare_return || (self.crlf && self.bare_feed)
    }

    /// Lines end in another way than RFC 3261 §7 says, but without ambiguity.
    pub(crate) fn needs_repair(&self) -> bool {
        !self.has_ambiguous_lines() && (self.bare_feed || self.no_empty_line)
    }
}

/// Writes the message with CRLF at the end of each line and an empty line after its headers; the body stays as it is.
///
/// A deviation from RFC 3261 §7 in favour of what is sent by hand and by scripts.
pub(crate) fn repair(bytes: &[u8], layout: &Layout, out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(line) = Line::at(bytes, at).filter(|line| line.start <= layout.headers_end) {
        out.extend_from_slice(line.text(bytes));
        out.extend_from_slice(b"\r\n");
        at = line.end;
    }
    if layout.noted.no_empty_line {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(layout.body.in_bytes(bytes));
}

/// Where everything is in a message. Reused from message to message.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) start_line: StartLine,
    pub(crate) fields: Vec<Field>,
    /// The first field of each known name, and the first of those that have none.
    pub(crate) first: [u16; HeaderName::COUNT],
    /// The last one, of a name that has a first one.
    last: [u16; HeaderName::COUNT],
    /// Where the empty line begins.
    pub(crate) headers_end: usize,
    pub(crate) body: Span,
    pub(crate) noted: Noted,
}

impl Default for Layout {
    fn default() -> Self {
        Layout {
            start_line: StartLine::default(),
            fields: Vec::new(),
            first: [NONE; HeaderName::COUNT],
            last: [NONE; HeaderName::COUNT],
            headers_end: 0,
            body: Span::default(),
            noted: Noted::default(),
        }
    }
}

/// The bytes after the CRLFs that may stand before a message (RFC 3261 §7.5).
pub(crate) fn skip_empty_lines(mut bytes: &[u8]) -> &[u8] {
    while let [b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

impl Layout {
    /// Scans a message that starts at the first byte.
    pub(crate) fn scan(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), ScanError> {
        self.clear();
        if bytes.len() > limits.max_message_bytes || u32::try_from(bytes.len()).is_err() {
            return Err(ScanError::MessageTooLarge);
        }
        let line = Line::at(bytes, 0).ok_or(ScanError::NotSip)?;
        if line.end > limits.max_header_bytes {
            return Err(ScanError::HeaderTooLong);
        }
        self.noted.line(line);
        self.start_line = start_line(line.text(bytes))?;
        let body_start = self.scan_headers(bytes, line.end, limits)?;
        self.scan_body(bytes, body_start);
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.start_line = StartLine::default();
        self.fields.clear();
        self.first = [NONE; HeaderName::COUNT];
        self.headers_end = 0;
        self.body = Span::default();
        self.noted = Noted::default();
    }

    /// Scans to the empty line and returns where the body begins.
    fn scan_headers(
        &mut self,
        bytes: &[u8],
        mut at: usize,
        limits: &Limits,
    ) -> Result<usize, ScanError> {
        let max_fields = limits.max_headers.min(usize::from(NONE));
        loop {
            if let Some(line) = UsualLine::read(bytes.get(at..).unwrap_or_default())
                && line.text_end + 2 <= limits.max_header_bytes
                && self.fields.len() < max_fields
            {
                self.add_usual(at, line);
                at += line.text_end + 2;
                continue;
            }
            if let Some([b'\r', b'\n', ..]) = bytes.get(at..) {
                self.noted.crlf = true;
                self.headers_end = at;
                return Ok(at + 2);
            }
            if at == bytes.len() && !self.fields.is_empty() {
                self.noted.no_empty_line = true;
                self.headers_end = at;
                return Ok(at);
            }
            let line = Line::at(bytes, at).ok_or(ScanError::Incomplete)?;
            if line.text_end == at {
                self.noted.line(line);
                self.headers_end = at;
                return Ok(line.end);
            }
            if self.fields.len() >= max_fields {
                return Err(ScanError::TooManyHeaders);
            }
            let end = self.scan_field(bytes, line);
            if end - at > limits.max_header_bytes {
                return Err(ScanError::HeaderTooLong);
            }
            at = end;
        }
    }

    /// Adds the field that begins with this line, and returns where the next begins.
    fn scan_field(&mut self, bytes: &[u8], first: Line) -> usize {
        let mut line = first;
        self.noted.line(line);
        // RFC 3261 §7.3.1: a line that starts with white space continues the one before.
        while matches!(bytes.get(line.end), Some(b' ' | b'\t')) {
            let Some(folded) = Line::at(bytes, line.end) else {
                break;
            };
            line = folded;
            self.noted.line(line);
        }
        let text = bytes.get(first.start..line.text_end).unwrap_or_default();
        let (name, value) = split_field(text).unwrap_or_else(|| {
            self.noted.header_line = true;
            (&[], trim(text))
        });
        let known = HeaderName::from_bytes(name);
        self.link(known);
        self.fields.push(Field {
            line: Span::new(first.start, line.end),
            name_len: name.len() as u32,
            value: Span::of(value, bytes),
            known,
            is_usual: false,
            next: NONE,
        });
        line.end
    }

    /// Adds the field of a usual line that starts at a place.
    #[inline]
    fn add_usual(&mut self, start: usize, line: UsualLine) {
        self.noted.crlf = true;
        self.link(line.known);
        self.fields.push(Field {
            line: Span::new(start, start + line.text_end + 2),
            name_len: line.name_end as u32,
            value: Span::new(start + line.name_end + 2, start + line.text_end),
            known: line.known,
            is_usual: true,
            next: NONE,
        });
    }

    /// Chains the field about to be added to the one of the same name before. Those whose name we don't know are one chain.
    #[inline]
    fn link(&mut self, known: HeaderName) {
        // At most `NONE` fields are ever added.
        let index = self.fields.len() as u16;
        let number = known.number();
        let (Some(first), Some(last)) = (self.first.get_mut(number), self.last.get_mut(number))
        else {
            return;
        };
        let previous = std::mem::replace(last, index);
        if *first == NONE {
            *first = index;
        } else if let Some(field) = self.fields.get_mut(usize::from(previous)) {
            field.next = index;
            self.noted.doubled |= known.is_single();
        }
    }

    /// RFC 3261 §18.3: the body is as long as Content-Length says, the rest of a datagram is dropped; without
    /// Content-Length it ends with the datagram.
    fn scan_body(&mut self, bytes: &[u8], start: usize) {
        let rest = bytes.len() - start;
        let declared = self
            .first_field(HeaderName::ContentLength)
            .map(|field| parse_u64(field.value.in_bytes(bytes)));
        let length = match declared {
            None => rest,
            Some(None) => {
                self.noted.content_length = true;
                rest
            }
            Some(Some(length)) => {
                self.noted.body_too_short = length > rest as u64;
                usize::try_from(length).unwrap_or(rest).min(rest)
            }
        };
        self.body = Span::new(start, start + length);
    }

    /// The first field of a known name.
    #[inline]
    pub(crate) fn first_field(&self, known: HeaderName) -> Option<&Field> {
        self.fields
            .get(usize::from(*self.first.get(known.number())?))
    }
}

/// A line of the header section.
#[derive(Clone, Copy)]
struct Line {
    start: usize,
    /// Without its line end.
    text_end: usize,
    /// Where the next line begins.
    end: usize,
    /// A CR stands in the text.
    has_return: bool,
}

impl Line {
    fn at(bytes: &[u8], start: usize) -> Option<Line> {
        let mut has_return = false;
        let mut at = start;
        loop {
            let tail = bytes.get(at..)?;
            let found = find_line_end(tail)?;
            let line = |length| Line {
                start,
                text_end: at + found,
                end: at + found + length,
                has_return,
            };
            match tail.get(found..)? {
                [b'\r', b'\n', ..] => return Some(line(2)),
                [b'\n', ..] => return Some(line(1)),
                _ => at += found + 1,
            }
            has_return = true;
        }
    }

    fn text(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start..self.text_end).unwrap_or_default()
    }
}

/// A line as nearly every one is: a name that we know, as its RFC spells it, a colon and a blank in sixteen bytes, a value that has
/// no blanks around it, and CRLF; the next line is another one. All places are counted from its first byte.
#[derive(Clone, Copy)]
struct UsualLine {
    known: HeaderName,
    name_end: usize,
    text_end: usize,
}

impl UsualLine {
    /// The line at the start of the text; `None` when it is another one.
    #[inline(always)]
    fn read(text: &[u8]) -> Option<UsualLine> {
        let head: &[u8; 18] = text.first_chunk()?;
        let (known, name_end) = spelling::of_line(head.first_chunk()?)?;
        // The colon was seen; a blank and the first byte of the value follow it.
        let value = name_end + 2;
        if *head.get(name_end + 1)? != b' ' {
            return None;
        }
        let first = head.get(value)?;
        let text_end = value + find_low(text.get(value..)?)?;
        let [last, b'\r', b'\n', next] = text.get(text_end - 1..)?.first_chunk()? else {
            return None;
        };
        let is_usual = *first > b' ' && *last > b' ' && !matches!(next, b' ' | b'\t');
        is_usual.then_some(UsualLine {
            known,
            name_end,
            text_end,
        })
    }
}

/// Splits `name HCOLON value`; `None` when there is no such thing.
fn split_field(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let token = run(text, TOKEN);
    let (name, mut rest) = text.split_at_checked(token).filter(|_| token > 0)?;
    // Nearly every field is written like this.
    if let [b':', b' ', value @ ..] = rest
        && let [first, .., last] = value
        && !is_lws(*first)
        && !is_lws(*last)
    {
        return Some((name, value));
    }
    while let [b' ' | b'\t', behind @ ..] = rest {
        rest = behind;
    }
    let [b':', value @ ..] = rest else {
        return None;
    };
    Some((name, trim(value)))
}

fn start_line(line: &[u8]) -> Result<StartLine, ScanError> {
    if line
        .get(..4)
        .is_some_and(|prefix| eq_ignore_case(prefix, b"SIP/"))
    {
        return status_line(line);
    }
    request_line(line)
}

/// `SIP/2.0 200 OK`; the reason phrase may be empty (RFC 3261 §25.1).
fn status_line(line: &[u8]) -> Result<StartLine, ScanError> {
    let blank = match line.get(7) {
        Some(b' ') => 7,
        _ => memchr(b' ', line).ok_or(ScanError::NotSip)?,
    };
    let after = line.get(blank + 1..).unwrap_or_default();
    let code_length = match after.get(3) {
        Some(b' ') => 3,
        _ => memchr(b' ', after).unwrap_or(after.len()),
    };
    let status = match after.get(..code_length) {
        Some([a @ b'1'..=b'6', b @ b'0'..=b'9', c @ b'0'..=b'9']) => {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ => return Err(ScanError::StatusCode),
    };
    let reason_start = (blank + 1 + code_length + 1).min(line.len());
    Ok(StartLine {
        status,
        method: Span::default(),
        target: Span::new(reason_start, line.len()),
        version: Span::new(0, blank),
    })
}

/// How many bytes of a token stand at the start of the line.
#[inline]
fn method_end(line: &[u8]) -> usize {
    match line.first_chunk() {
        // The first byte that is neither letter nor digit ends nearly every method; without one there it is the seventeenth.
        Some(sixteen) => match (lanes::not_plain(sixteen) | 1 << 16).trailing_zeros() as usize {
            blank if line.get(blank) == Some(&b' ') => blank,
            _ => run(line, TOKEN),
        },
        None => run(line, TOKEN),
    }
}

/// `INVITE sip:bob@example.com SIP/2.0`, where anything may stand between the method and the last ` SIP/`.
fn request_line(line: &[u8]) -> Result<StartLine, ScanError> {
    let method_end = method_end(line);
    if method_end == 0 || !matches!(line.get(method_end), Some(b' ' | b'\t')) {
        return Err(ScanError::NotSip);
    }
    // The version is what follows the last blank before any trailing blanks.
    let version_start = match line {
        [before @ .., b' ', b'S', b'I', b'P', b'/', b'2', b'.', b'0'] => before.len() + 1,
        _ => 1 + memrchr(b' ', trim_end(line)).ok_or(ScanError::NotSip)?,
    };
    let version = line.get(version_start..).unwrap_or_default();
    if !version
        .get(..4)
        .is_some_and(|prefix| eq_ignore_case(prefix, b"SIP/"))
        || version_start <= method_end
    {
        return Err(ScanError::NotSip);
    }
    let target_end = (version_start - 1).max(method_end + 1);
    Ok(StartLine {
        status: 0,
        method: Span::new(0, method_end),
        target: Span::new(method_end + 1, target_end),
        version: Span::new(version_start, line.len()),
    })
}

/// The first value of a header, found without scanning the rest of the message.
///
/// For the question which worker a message belongs to: nothing else is indexed or judged. `None` when the header is not
/// there.
pub fn peek_header(bytes: &[u8], wanted: HeaderName) -> Option<&[u8]> {
    peek_headers(skip_empty_lines(bytes), wanted).next()
}

/// The values of every field of that name in a message that starts at the first byte, found as one goes.
pub(crate) fn peek_headers(bytes: &[u8], wanted: HeaderName) -> impl Iterator<Item = &[u8]> {
    let mut at = Line::at(bytes, 0).map(|line| line.end);
    std::iter::from_fn(move || {
        loop {
            let first = Line::at(bytes, at?)?;
            if first.text_end == first.start {
                return None;
            }
            let last = last_folded(bytes, first);
            at = Some(last.end);
            let text = bytes.get(first.start..last.text_end)?;
            match split_field(text) {
                Some((name, value)) if HeaderName::from_bytes(name) == wanted => {
                    return Some(value);
                }
                _ => {}
            }
        }
    })
}

/// RFC 3261 §7.3.1: a line that starts with white space continues the one before.
fn last_folded(bytes: &[u8], first: Line) -> Line {
    let mut line = first;
    while matches!(bytes.get(line.end), Some(b' ' | b'\t')) {
        let Some(folded) = Line::at(bytes, line.end) else {
            break;
        };
        line = folded;
    }
    line
}
