//! SIP grammar: bytes to messages and back. No clock, no IO.
//!
//! A [`Message`] is scanned in one pass: its bytes and where everything is in them, nothing else. Views ([`Via`],
//! [`NameAddr`], [`Uri`], [`CSeq`], ...) read a value in place when it is asked for, and report what is wrong with it
//! ([`Invalid`]). A [`Draft`] holds edits as a list of patches beside the message and writes both in one pass. A
//! [`Framer`] cuts a stream into messages. Bytes that nobody edited leave as they came.
//!
//! Reusing [`Message`]s (see [`MessagePool`]) and [`Draft`]s makes all of this free of allocations.

mod address_of_record;
mod authentication;
mod class;
mod cseq;
mod digest_parameters;
mod draft;
mod error;
mod framing;
mod grammar;
mod kept;
mod lanes;
mod list;
mod message;
mod method;
mod name;
mod name_addr;
mod params;
mod pool;
mod response;
#[cfg(any(feature = "rsip", test))]
mod rsip_conversion;
mod scan;
mod span;
mod spelling;
mod uri;
mod uri_comparison;
mod usual;
mod validate;
mod via;

pub use address_of_record::AddressOfRecord;
pub use authentication::{Challenge, Credentials};
pub use class::breaks_lines;
pub use cseq::CSeq;
pub use digest_parameters::DigestParameters;
pub use draft::{Draft, FitField, SavedEdits};
pub use error::{EditError, Invalid, Limits, ScanError};
pub use framing::{Frame, Framer, FramingError, KeepAlive};
pub use grammar::{
    Decimal, eq_ignore_case, is_token, is_token_byte, parse_u32, parse_u64, trim, unescape, unquote,
};
pub use list::Values;
pub use message::Message;
pub use method::Method;
pub use name::{HeaderName, Name};
pub use name_addr::{ContactValue, NameAddr};
pub use params::Params;
pub use pool::MessagePool;
pub use response::{ResponseHead, default_reason, write_response};
pub use scan::peek_header;
pub use uri::{Host, Scheme, Uri};
pub use uri_comparison::uri_eq;
pub use via::{MAGIC_COOKIE, SentBy, Via, has_magic_cookie};
