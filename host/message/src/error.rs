//! What can be wrong with a message, an edit, or a stream.

use thiserror::Error;

use crate::name::HeaderName;

/// Bounds of what the scanner and the framer accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Start line, headers and body together.
    pub max_message_bytes: usize,
    /// Header fields.
    pub max_headers: usize,
    /// One header field with its folded lines, and the start line.
    pub max_header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_message_bytes: 65_536,
            max_headers: 256,
            max_header_bytes: 8_192,
        }
    }
}

/// Why bytes are no message that could be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum ScanError {
    /// Nothing but CRLFs (RFC 5626 §3.5.1).
    #[error("keep-alive")]
    KeepAlive,
    /// The first line is neither a Request-Line nor a Status-Line.
    #[error("not a SIP message")]
    NotSip,
    /// The code of a response is not 100 to 699.
    #[error("status code out of range")]
    StatusCode,
    /// The empty line after the headers is missing.
    #[error("the headers do not end")]
    Incomplete,
    /// More than `max_message_bytes`.
    #[error("message is too large")]
    MessageTooLarge,
    /// More than `max_headers`.
    #[error("too many headers")]
    TooManyHeaders,
    /// A line of more than `max_header_bytes`.
    #[error("a header is too long")]
    HeaderTooLong,
}

/// What breaks RFC 3261 in a message or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Invalid {
    /// A version that is not `SIP/2.0`.
    #[error("SIP version is not 2.0")]
    Version,
    /// White space or another fault in the first line.
    #[error("bad start line")]
    StartLine,
    /// The Request-URI breaks the grammar.
    #[error("bad Request-URI")]
    RequestUri,
    /// A line without colon or with a name that is no token.
    #[error("bad header line")]
    HeaderLine,
    /// A CR alone in the header section, or lines that end with LF alone among others.
    #[error("lines do not end with CRLF")]
    LineEnd,
    /// A header that must be there is not.
    #[error("missing {}", .0.text())]
    Missing(HeaderName),
    /// A header that may be there once is there twice.
    #[error("duplicate {}", .0.text())]
    Duplicate(HeaderName),
    /// The value of a header breaks its grammar.
    #[error("bad {}", .0.text())]
    Header(HeaderName),
    /// The method of CSeq is not the method of the request.
    #[error("CSeq method does not match")]
    MethodMismatch,
    /// The same, for a method that is not known (RFC 4475 §3.1.2.18 prefers 501).
    #[error("unknown method, and CSeq method does not match")]
    UnknownMethodMismatch,
    /// Fewer bytes came than Content-Length says.
    #[error("body is shorter than Content-Length")]
    BodyTooShort,
    /// A URI breaks the grammar.
    #[error("bad URI")]
    Uri,
    /// A name-addr or addr-spec breaks the grammar.
    #[error("bad address")]
    Address,
    /// A parameter breaks the grammar.
    #[error("bad parameter")]
    Parameter,
    /// A number breaks the grammar or its range.
    #[error("bad number")]
    Number,
    /// Credentials or a challenge break the grammar.
    #[error("bad authentication value")]
    Authentication,
}

impl Invalid {
    /// The status that answers a request with this fault.
    pub fn status(&self) -> u16 {
        match self {
            Invalid::Version => 505,
            Invalid::UnknownMethodMismatch => 501,
            _ => 400,
        }
    }

    /// A short reason phrase for that answer.
    pub fn reason(&self) -> &'static str {
        match self {
            Invalid::Version => "Version Not Supported",
            Invalid::StartLine => "Bad Start Line",
            Invalid::RequestUri => "Bad Request-URI",
            Invalid::HeaderLine => "Bad Header Line",
            Invalid::LineEnd => "Bad Line End",
            Invalid::Missing(name) => name.missing_phrase(),
            Invalid::Duplicate(name) => name.duplicate_phrase(),
            Invalid::Header(name) => name.bad_phrase(),
            Invalid::MethodMismatch => "CSeq Method Mismatch",
            Invalid::UnknownMethodMismatch => "Not Implemented",
            Invalid::BodyTooShort => "Body Too Short",
            Invalid::Uri => "Bad URI",
            Invalid::Address => "Bad Address",
            Invalid::Parameter => "Bad Parameter",
            Invalid::Number => "Bad Number",
            Invalid::Authentication => "Bad Authentication",
        }
    }
}

/// Why an edit was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum EditError {
    /// The name is no token.
    #[error("the name of a header must be a token")]
    Name,
    /// The value holds CR, LF or NUL.
    #[error("a value must not hold CR, LF or NUL")]
    Value,
    /// The text is no URI.
    #[error("not a valid URI")]
    Uri,
    /// Content-Length follows the body and can't be edited.
    #[error("Content-Length follows the body")]
    ContentLength,
    /// A response has no Request-URI.
    #[error("a response has no Request-URI")]
    NoRequestUri,
    /// The edits together are larger than a message may be.
    #[error("the edits are too large")]
    TooLarge,
}
