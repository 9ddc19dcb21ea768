//! A message as it came.

use crate::cseq::CSeq;
use crate::error::{Invalid, Limits, ScanError};
use crate::grammar::{eq_ignore_case, parse_u32};
use crate::kept::Kept;
use crate::list::Values;
use crate::method::Method;
use crate::name::{HeaderName, Name};
use crate::name_addr::NameAddr;
use crate::scan::{Field, Layout, NONE, repair, skip_empty_lines};
use crate::uri::Uri;
use crate::via::{SentBy, Via};

/// A scanned message: its bytes and where everything is in them. [`Message::parse_into`] reuses both.
///
/// The top Via, From, To, CSeq and the Request-URI are read when it is scanned, so that asking for them costs next to nothing.
/// Only the structure is known to be right; [`Message::validate`] judges the rest, and each view judges its own value.
#[derive(Clone, Debug, Default)]
pub struct Message {
    bytes: Vec<u8>,
    layout: Layout,
    kept: Kept,
}

impl Message {
    /// The bytes it holds in memory for the text.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Scans a datagram, or one message of a stream.
    ///
    /// CRLFs before the message are skipped; what lies beyond Content-Length is dropped. A body that is shorter than
    /// Content-Length is kept, and reported by [`Message::validate`]. Line ends that are all LF alone become CRLF.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Message, ScanError> {
        let mut message = Message::default();
        message.parse_into(bytes, limits)?;
        Ok(message)
    }

    /// Like [`Message::parse`], in place of the message that was here. After an error this is an empty message.
    pub fn parse_into(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), ScanError> {
        let scanned = self.scan(skip_empty_lines(bytes), limits);
        if scanned.is_err() {
            self.bytes.clear();
            self.layout.clear();
        }
        self.kept.read(&self.bytes, &self.layout);
        scanned
    }

    fn scan(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), ScanError> {
        self.bytes.clear();
        if bytes.is_empty() {
            return Err(ScanError::KeepAlive);
        }
        self.layout.scan(bytes, limits)?;
        if self.layout.noted.needs_repair() {
            repair(bytes, &self.layout, &mut self.bytes);
            return self.layout.scan(&self.bytes, limits);
        }
        let end = self.layout.body.end as usize;
        self.bytes
            .extend_from_slice(bytes.get(..end).unwrap_or_default());
        Ok(())
    }

    /// The bytes of the message, from its first line to the end of its body.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        self.layout.start_line.status == 0
    }

    /// The method; of a response, that of its CSeq, or an empty name when it has none that can be read.
    #[inline]
    pub fn method(&self) -> Method<'_> {
        match self.kept.method {
            Some(known) => known,
            None => self.other_method(),
        }
    }

    #[cold]
    fn other_method(&self) -> Method<'_> {
        if self.is_request() {
            return Method::from_bytes(self.layout.start_line.method.in_bytes(&self.bytes));
        }
        self.cseq().map_or(Method::Other(b""), |cseq| cseq.method)
    }

    /// The Request-URI as it stands; empty for a response.
    pub fn request_uri(&self) -> &[u8] {
        if self.is_request() {
            self.layout.start_line.target.in_bytes(&self.bytes)
        } else {
            b""
        }
    }

    /// The parts of the Request-URI; [`Invalid::Uri`] for a response.
    #[inline]
    pub fn request_uri_parts(&self) -> Result<Uri<'_>, Invalid> {
        match &self.kept.request_uri {
            Some(kept) => Ok(kept.view(&self.bytes)),
            None => Uri::parse(self.request_uri()),
        }
    }

    /// The user part of the Request-URI; `None` when it has none or can't be read.
    #[inline]
    pub fn request_uri_user(&self) -> Option<&[u8]> {
        self.kept.request_uri.as_ref()?.user(&self.bytes)
    }

    /// The parameters of the Request-URI, from the first semicolon on; empty when it has none or can't be read.
    #[inline]
    pub fn request_uri_params(&self) -> &[u8] {
        match &self.kept.request_uri {
            Some(kept) => kept.params(&self.bytes),
            None => b"",
        }
    }

    /// The version in the first line.
    pub fn version(&self) -> &[u8] {
        self.layout.start_line.version.in_bytes(&self.bytes)
    }

    /// The code of a response; `None` for a request.
    pub fn status(&self) -> Option<u16> {
        (!self.is_request()).then_some(self.layout.start_line.status)
    }

    /// The reason phrase of a response; empty for a request.
    pub fn reason(&self) -> &[u8] {
        if self.is_request() {
            b""
        } else {
            self.layout.start_line.target.in_bytes(&self.bytes)
        }
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.layout.body.in_bytes(&self.bytes)
    }

    /// The value of the first field of that name, without the white space around it; folds are kept as they are.
    #[inline]
    pub fn header<'n>(&self, name: impl Into<Name<'n>>) -> Option<&[u8]> {
        let name = name.into();
        match name.known() {
            HeaderName::Other => self.other_header(name.given()),
            known => Some(self.layout.first_field(known)?.value.in_bytes(&self.bytes)),
        }
    }

    /// The same of a name that we don't know.
    #[inline(never)]
    fn other_header(&self, name: &[u8]) -> Option<&[u8]> {
        let name = Name::new(HeaderName::Other, name);
        let field = self.field(self.first_index(name)?)?;
        Some(field.value.in_bytes(&self.bytes))
    }

    /// The value of every field of that name, in order.
    pub fn headers<'m, 'n: 'm>(
        &'m self,
        name: impl Into<Name<'n>>,
    ) -> impl Iterator<Item = &'m [u8]> {
        let name = name.into();
        self.indices(name)
            .filter_map(|index| Some(self.field(index)?.value.in_bytes(&self.bytes)))
    }

    /// The values of a list header over all its fields, split at commas that are not inside quotes or `<>`.
    ///
    /// A header that is no list gives the value of each field as it is.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.headers(name)
            .flat_map(move |value| Values::of(name, value))
    }

    /// Every field in order.
    pub fn fields(&self) -> impl Iterator<Item = (Name<'_>, &[u8])> {
        self.layout
            .fields
            .iter()
            .map(|field| (self.name_of(field), field.value.in_bytes(&self.bytes)))
    }

    /// The topmost Via.
    #[inline]
    pub fn top_via(&self) -> Result<Via<'_>, Invalid> {
        match &self.kept.top_via {
            Some(kept) => Ok(kept.view(&self.bytes)),
            None => self.read_top_via(),
        }
    }

    /// The branch parameter of the topmost Via; `None` when it has none or can't be read.
    #[inline]
    pub fn top_branch(&self) -> Option<&[u8]> {
        self.kept.top_via.as_ref()?.branch(&self.bytes)
    }

    /// Whether the topmost Via is known to be the only one.
    #[inline]
    pub fn has_one_via(&self) -> bool {
        let field = self.layout.first_field(HeaderName::Via);
        match (&self.kept.top_via, field) {
            (Some(kept), Some(field)) => field.next == NONE && kept.is_all_of(field.value),
            _ => false,
        }
    }

    /// The tag of From; `None` when it has none or can't be read.
    #[inline]
    pub fn from_tag(&self) -> Option<&[u8]> {
        self.kept.from.as_ref()?.tag(&self.bytes)
    }

    /// The tag of To; `None` when it has none or can't be read.
    #[inline]
    pub fn to_tag(&self) -> Option<&[u8]> {
        self.kept.to.as_ref()?.tag(&self.bytes)
    }

    /// What the topmost Via says of its sender and of the way back; `None` when it can't be read.
    #[inline]
    pub fn sent_by(&self) -> Option<SentBy<'_>> {
        match &self.kept.top_via {
            Some(kept) => Some(kept.sent_by(&self.bytes)),
            None => self.read_sent_by(),
        }
    }

    #[cold]
    fn read_sent_by(&self) -> Option<SentBy<'_>> {
        Some(self.read_top_via().ok()?.sent_by())
    }

    #[cold]
    fn read_top_via(&self) -> Result<Via<'_>, Invalid> {
        let field = self
            .header(HeaderName::Via)
            .ok_or(Invalid::Missing(HeaderName::Via))?;
        Via::parse_first(field)
    }

    /// From.
    #[inline]
    pub fn from(&self) -> Result<NameAddr<'_>, Invalid> {
        match &self.kept.from {
            Some(kept) => Ok(kept.view(&self.bytes)),
            None => self.address(HeaderName::From),
        }
    }

    /// To.
    #[inline]
    pub fn to(&self) -> Result<NameAddr<'_>, Invalid> {
        match &self.kept.to {
            Some(kept) => Ok(kept.view(&self.bytes)),
            None => self.address(HeaderName::To),
        }
    }

    #[cold]
    fn address(&self, name: HeaderName) -> Result<NameAddr<'_>, Invalid> {
        let value = self.header(name).ok_or(Invalid::Missing(name))?;
        NameAddr::parse(value).map_err(|_| Invalid::Header(name))
    }

    /// The line of the first field of that name, when it is as we would write it (see [`Draft::usual_line`](crate::Draft)).
    pub(crate) fn usual_line(&self, name: HeaderName) -> Option<&[u8]> {
        let field = self.layout.first_field(name)?;
        let is_usual = field.is_usual && field.name_len as usize == name.text().len();
        is_usual.then(|| field.line.in_bytes(&self.bytes))
    }

    /// The Call-ID; empty when there is none.
    pub fn call_id(&self) -> &[u8] {
        self.header(HeaderName::CallId).unwrap_or_default()
    }

    /// CSeq.
    #[inline]
    pub fn cseq(&self) -> Result<CSeq<'_>, Invalid> {
        match &self.kept.cseq {
            Some(kept) => Ok(kept.view(&self.bytes)),
            None => self.read_cseq(),
        }
    }

    #[cold]
    fn read_cseq(&self) -> Result<CSeq<'_>, Invalid> {
        CSeq::parse(
            self.header(HeaderName::CSeq)
                .ok_or(Invalid::Missing(HeaderName::CSeq))?,
        )
    }

    /// Max-Forwards; `None` when there is none.
    pub fn max_forwards(&self) -> Result<Option<u32>, Invalid> {
        max_forwards(self.header(HeaderName::MaxForwards))
    }

    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn field(&self, index: usize) -> Option<&Field> {
        self.layout.fields.get(index)
    }

    pub(crate) fn name_of(&self, field: &Field) -> Name<'_> {
        Name::new(field.known, field.name().in_bytes(&self.bytes))
    }

    /// The numbers of the fields of that name, in order.
    pub(crate) fn indices<'m, 'n: 'm>(
        &'m self,
        name: Name<'n>,
    ) -> impl Iterator<Item = usize> + use<'m, 'n> {
        std::iter::successors(self.first_index(name), move |index| {
            self.index_after(name, *index)
        })
    }

    /// The number of the first field of that name.
    #[inline]
    pub(crate) fn first_index(&self, name: Name<'_>) -> Option<usize> {
        match name.known() {
            HeaderName::Other => {
                let first = *self.layout.first.get(OTHER)?;
                // Many messages have none.
                index_of(first)?;
                self.unknown_index(name.given(), first)
            }
            known => index_of(*self.layout.first.get(known.number())?),
        }
    }

    /// The number of the next field of that name after one.
    #[inline]
    pub(crate) fn index_after(&self, name: Name<'_>, index: usize) -> Option<usize> {
        match name.known() {
            HeaderName::Other => self.unknown_index(name.given(), self.field(index)?.next),
            _ => index_of(self.field(index)?.next),
        }
    }

    /// The first field of that name in the chain of those that we know no name for, from this one on.
    #[inline(never)]
    fn unknown_index(&self, name: &[u8], mut link: u16) -> Option<usize> {
        let length = name.len();
        while let Some(index) = index_of(link) {
            let field = self.field(index)?;
            // A broken line has an empty name and is never found.
            if field.name_len as usize == length
                && length > 0
                && eq_ignore_case(field.name().in_bytes(&self.bytes), name)
            {
                return Some(index);
            }
            link = field.next;
        }
        None
    }
}

/// The number of the chain of fields whose names we don't know.
const OTHER: usize = HeaderName::Other.number();

#[inline]
fn index_of(link: u16) -> Option<usize> {
    (link != NONE).then_some(usize::from(link))
}

/// RFC 3261 §20.22: 0 to 255.
pub(crate) fn max_forwards(value: Option<&[u8]>) -> Result<Option<u32>, Invalid> {
    let Some(value) = value else { return Ok(None) };
    match parse_u32(value) {
        Some(number) if number <= 255 => Ok(Some(number)),
        _ => Err(Invalid::Header(HeaderName::MaxForwards)),
    }
}
