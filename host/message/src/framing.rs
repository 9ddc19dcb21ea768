//! Cuts a byte stream into messages (RFC 3261 §18.3, RFC 5626 §3.5.1). Fed with bytes in any pieces.

use memchr::memchr;
use thiserror::Error;

use crate::error::Limits;
use crate::grammar::parse_u64;
use crate::name::HeaderName;
use crate::scan::peek_headers;

/// What was found in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The bytes of one message, to scan.
    Message(&'a [u8]),
    /// CRLFs between messages.
    KeepAlive(KeepAlive),
}

/// RFC 5626 §4.4.1: CRLFs between messages.
///
/// They are told as they come, so that it does not matter how the stream is cut: the first CRLF is a pong, a second one
/// directly after it makes both a ping. The pong before a ping means nothing to who has not sent a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// A double CRLF: to be answered with one CRLF.
    Ping,
    /// A single CRLF: the answer.
    Pong,
}

/// Why the stream can't be followed any further. The connection is to be closed, after a response to [`Framer::broken_head`]
/// if it is a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum FramingError {
    /// A message has no Content-Length (RFC 3261 §18.3).
    #[error("no Content-Length on a stream")]
    NoContentLength,
    /// Content-Length is no number, or there are several that differ.
    #[error("Content-Length can't be understood")]
    BadContentLength,
    /// A message is larger than the limit.
    #[error("message is too large")]
    TooLarge,
}

impl FramingError {
    /// The status that answers the request.
    pub fn status(&self) -> u16 {
        match self {
            FramingError::TooLarge => 513,
            FramingError::NoContentLength | FramingError::BadContentLength => 400,
        }
    }
}

/// The frames of one stream.
#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    buffer: Vec<u8>,
    /// Everything before was handed out.
    start: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between messages; whether the last thing was a CRLF.
    Between { after_crlf: bool },
    /// The end of the headers was not found in the first `searched` bytes of the message; a line begins there.
    Headers { searched: usize },
    /// The message has `length` bytes.
    Body { length: usize },
    /// Nothing more can be read; the headers of the broken message end at `head_length`.
    Broken {
        error: FramingError,
        head_length: usize,
    },
}

impl Framer {
    /// A framer at the start of a stream.
    pub fn new(limits: Limits) -> Framer {
        Framer {
            limits,
            buffer: Vec::new(),
            start: 0,
            state: State::Between { after_crlf: false },
        }
    }

    /// Adds what was read from the stream. Drain [`Framer::next`] after each push, so that the buffer stays small.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            let kept = self.buffer.len() - self.start;
            self.buffer.copy_within(self.start.., 0);
            self.buffer.truncate(kept);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes wait for the rest of their message.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Whether the stream is inside a message, so that its end now cuts one off.
    pub fn is_inside_message(&self) -> bool {
        !matches!(self.state, State::Between { .. })
    }

    /// The next frame; `None` when more bytes are needed. An error stays.
    #[allow(clippy::should_implement_trait)] // The frame borrows from the framer.
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, FramingError> {
        loop {
            match self.state {
                State::Between { after_crlf } => match self.between(after_crlf) {
                    Between::KeepAlive(kind) => return Ok(Some(Frame::KeepAlive(kind))),
                    Between::NeedMore => return Ok(None),
                    Between::Message => self.state = State::Headers { searched: 0 },
                },
                State::Headers { searched } => match self.headers(searched) {
                    Ok(true) => {}
                    Ok(false) => return Ok(None),
                    Err((error, head_length)) => self.state = State::Broken { error, head_length },
                },
                State::Body { length } if self.pending_bytes() < length => return Ok(None),
                State::Body { length } => return Ok(Some(Frame::Message(self.take(length)))),
                State::Broken { error, .. } => return Err(error),
            }
        }
    }

    /// The headers of the message that broke the stream, with an empty line, when they are whole.
    pub fn broken_head(&self) -> Option<&[u8]> {
        match self.state {
            State::Broken { head_length, .. } if head_length > 0 => {
                self.pending().get(..head_length)
            }
            _ => None,
        }
    }

    fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn take(&mut self, length: usize) -> &[u8] {
        let start = self.start;
        self.start += length;
        self.state = State::Between { after_crlf: false };
        self.buffer.get(start..self.start).unwrap_or_default()
    }

    fn between(&mut self, after_crlf: bool) -> Between {
        match self.pending() {
            [b'\r', b'\n', ..] => {
                self.start += 2;
                self.state = State::Between {
                    after_crlf: !after_crlf,
                };
                Between::KeepAlive(if after_crlf {
                    KeepAlive::Ping
                } else {
                    KeepAlive::Pong
                })
            }
            [] | [b'\r'] => Between::NeedMore,
            _ => Between::Message,
        }
    }

    /// Searches the end of the headers; `Ok(false)` when more bytes are needed.
    fn headers(&mut self, mut searched: usize) -> Result<bool, (FramingError, usize)> {
        let pending = self.pending();
        while let Some(feed) = memchr(b'\n', pending.get(searched..).unwrap_or_default()) {
            let is_empty = match pending.get(searched..searched + feed) {
                Some(line) => line.is_empty() || line == b"\r",
                None => false,
            };
            searched += feed + 1;
            if is_empty {
                let length = self
                    .message_length(searched)
                    .map_err(|error| (error, searched))?;
                self.state = State::Body { length };
                return Ok(true);
            }
        }
        if pending.len() > self.limits.max_message_bytes {
            return Err((FramingError::TooLarge, 0));
        }
        self.state = State::Headers { searched };
        Ok(false)
    }

    /// The length of the message whose headers end at `head_length`.
    fn message_length(&self, head_length: usize) -> Result<usize, FramingError> {
        let head = self.pending().get(..head_length).unwrap_or_default();
        let mut lengths = peek_headers(head, HeaderName::ContentLength);
        let first = lengths.next().ok_or(FramingError::NoContentLength)?;
        let body_length = parse_u64(first).ok_or(FramingError::BadContentLength)?;
        if lengths.any(|other| parse_u64(other) != Some(body_length)) {
            return Err(FramingError::BadContentLength);
        }
        let length = usize::try_from(body_length)
            .ok()
            .and_then(|body_length| body_length.checked_add(head_length));
        length
            .filter(|length| *length <= self.limits.max_message_bytes)
            .ok_or(FramingError::TooLarge)
    }
}

enum Between {
    KeepAlive(KeepAlive),
    NeedMore,
    Message,
}
