//! A message that is being changed: the bytes of the base and a list of patches.
//!
//! Nothing is copied until the message is written; reads go through the patches. `patch` holds the list, `edit` the
//! functions that add to it, `write` the way out.

mod edit;
mod field;
mod patch;
mod saved;
mod write;

pub use field::FitField;
pub use saved::SavedEdits;

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LazyLock};

use crate::cseq::CSeq;
use crate::draft::patch::{Entries, Entry, Origin, Patches, Walk};
use crate::error::Invalid;
use crate::list::Values;
use crate::message::{Message, max_forwards};
use crate::method::Method;
use crate::name::{HeaderName, Name};
use crate::name_addr::NameAddr;
use crate::span::Span;
use crate::uri::Uri;
use crate::usual::UsualUri;
use crate::via::Via;

/// What a draft without a base is a draft of.
static NOTHING: LazyLock<Arc<Message>> = LazyLock::new(Arc::default);

/// A message plus edits. Every reader shows the message with the edits. A clone shares the base.
///
/// The default is a draft of an empty message, which costs nothing: it stands where another was taken from. A draft is moved often, so it is
/// two words.
#[derive(Debug, Default)]
pub struct Draft {
    /// `None`: an empty message.
    base: Option<Arc<Message>>,
    edits: Edits,
}

/// What was changed, in memory of its own once there is something.
#[derive(Debug, Default)]
struct Edits(Option<Box<Changes>>);

/// What was changed.
#[derive(Debug)]
struct Changes {
    patches: Patches,
    request_uri: Option<EditedUri>,
    /// In the arena of the patches.
    body: Option<Span>,
}

/// Those of a draft without edits.
static NO_CHANGES: Changes = Changes::none();

impl Changes {
    const fn none() -> Changes {
        Changes {
            patches: Patches::none(),
            request_uri: None,
            body: None,
        }
    }

    #[cold]
    fn in_new_memory() -> Box<Changes> {
        Box::new(Changes::none())
    }
}

impl Deref for Edits {
    type Target = Changes;

    #[inline]
    fn deref(&self) -> &Changes {
        match &self.0 {
            Some(changes) => changes,
            None => &NO_CHANGES,
        }
    }
}

impl DerefMut for Edits {
    #[inline]
    fn deref_mut(&mut self) -> &mut Changes {
        self.0.get_or_insert_with(Changes::in_new_memory)
    }
}

impl Edits {
    /// Forgets them, keeping their memory.
    #[inline]
    fn clear(&mut self) {
        if let Some(changes) = &mut self.0 {
            changes.patches.clear();
            (changes.request_uri, changes.body) = (None, None);
        }
    }

    /// Whether a patch may be about that name.
    #[inline]
    fn may_touch(&self, name: HeaderName) -> bool {
        self.0
            .as_ref()
            .is_some_and(|changes| !changes.patches.is_empty() && changes.patches.touches(name))
    }

    fn clone_from(&mut self, source: &Edits) {
        match &source.0 {
            None => self.clear(),
            Some(source) => {
                let changes = &mut **self;
                changes.patches.clone_from(&source.patches);
                (changes.request_uri, changes.body) = (source.request_uri, source.body);
            }
        }
    }
}

/// Another Request-URI.
#[derive(Clone, Copy, Debug)]
struct EditedUri {
    /// In the arena of the patches.
    text: Span,
    /// Its parts, when it is one of the usual kind.
    usual: Option<UsualUri>,
}

impl Clone for Draft {
    fn clone(&self) -> Self {
        let mut copy = Draft::default();
        copy.clone_from(self);
        copy
    }

    fn clone_from(&mut self, source: &Self) {
        self.base.clone_from(&source.base);
        self.edits.clone_from(&source.edits);
    }
}

impl Draft {
    /// A draft without edits.
    pub fn new(base: Arc<Message>) -> Draft {
        Draft {
            base: Some(base),
            ..Draft::default()
        }
    }

    /// A draft without edits and with room for texts of so many bytes.
    pub fn with_capacity(base: Arc<Message>, bytes: usize) -> Draft {
        let mut draft = Draft::new(base);
        draft.edits.patches.reserve(bytes);
        draft
    }

    /// How many bytes the texts of edits may take before memory is asked for.
    pub fn capacity(&self) -> usize {
        self.edits.patches.capacity()
    }

    /// Starts again with another base, keeping the memory of the edits.
    pub fn reset(&mut self, base: Arc<Message>) {
        self.clear();
        self.base = Some(base);
    }

    /// Lets go of the message and of the edits, keeping the memory of these: a draft of an empty message.
    pub fn clear(&mut self) {
        self.base = None;
        self.edits.clear();
    }

    /// The message as it came.
    #[inline]
    pub fn base(&self) -> &Arc<Message> {
        match &self.base {
            Some(base) => base,
            None => nothing(),
        }
    }

    /// Whether anything was changed.
    pub fn is_edited(&self) -> bool {
        self.edits.request_uri.is_some()
            || self.edits.body.is_some()
            || !self.edits.patches.is_empty()
    }

    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        self.base().is_request()
    }

    /// The method; of a response, that of its CSeq.
    pub fn method(&self) -> Method<'_> {
        if self.is_request() {
            return self.base().method();
        }
        self.cseq().map_or(Method::Other(b""), |cseq| cseq.method)
    }

    /// The Request-URI; empty for a response.
    pub fn request_uri(&self) -> &[u8] {
        match &self.edits.request_uri {
            Some(edited) => self.edits.patches.text(edited.text),
            None => self.base().request_uri(),
        }
    }

    /// The parts of the Request-URI; [`Invalid::Uri`] for a response.
    pub fn request_uri_parts(&self) -> Result<Uri<'_>, Invalid> {
        match &self.edits.request_uri {
            Some(edited) => {
                let text = self.edits.patches.text(edited.text);
                match edited.usual {
                    Some(usual) => Ok(Uri::of_usual(text, usual)),
                    None => Uri::parse(text),
                }
            }
            None => self.base().request_uri_parts(),
        }
    }

    /// The version in the first line.
    pub fn version(&self) -> &[u8] {
        self.base().version()
    }

    /// The code of a response; `None` for a request.
    pub fn status(&self) -> Option<u16> {
        self.base().status()
    }

    /// The reason phrase of a response; empty for a request.
    pub fn reason(&self) -> &[u8] {
        self.base().reason()
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        match self.edits.body {
            Some(span) => self.edits.patches.text(span),
            None => self.base().body(),
        }
    }

    /// The value of the first field of that name.
    #[inline]
    pub fn header<'n>(&self, name: impl Into<Name<'n>>) -> Option<&[u8]> {
        let name = name.into();
        match &self.base {
            Some(base) if !self.edits.may_touch(name.known()) => base.header(name),
            _ => self.edited_header(name.known(), name.given()),
        }
    }

    /// The same of a name that an edit may be about.
    #[inline(never)]
    fn edited_header(&self, known: HeaderName, text: &[u8]) -> Option<&[u8]> {
        if self.edits.patches.is_gone(known) {
            return None;
        }
        let mut entries = self.entries(Name::new(known, text));
        entries.next().map(|entry| entry.value)
    }

    /// The whole line of the first field of that name, with its end, when it is as it came and as we would write it: its long name as its
    /// RFC spells it, a colon, one blank, the value.
    pub(crate) fn usual_line(&self, name: HeaderName) -> Option<&[u8]> {
        if self.edits.patches.touches(name) {
            return None;
        }
        self.base().usual_line(name)
    }

    /// The value of every field of that name, in order.
    pub fn headers<'m, 'n: 'm>(
        &'m self,
        name: impl Into<Name<'n>>,
    ) -> impl Iterator<Item = &'m [u8]> {
        self.entries(name.into()).map(|entry| entry.value)
    }

    /// The values of a list header over all its fields (see [`Message::values`]).
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.headers(name)
            .flat_map(move |value| Values::of(name, value))
    }

    /// Every field in order.
    pub fn fields(&self) -> impl Iterator<Item = (Name<'_>, &[u8])> {
        Walk::new(self.base(), &self.edits.patches)
    }

    /// The topmost Via.
    pub fn top_via(&self) -> Result<Via<'_>, Invalid> {
        if !self.edits.patches.touches(HeaderName::Via) {
            return self.base().top_via();
        }
        Via::parse_first(
            self.header(HeaderName::Via)
                .ok_or(Invalid::Missing(HeaderName::Via))?,
        )
    }

    /// From.
    pub fn from(&self) -> Result<NameAddr<'_>, Invalid> {
        if !self.edits.patches.touches(HeaderName::From) {
            return self.base().from();
        }
        self.address(HeaderName::From)
    }

    /// To.
    pub fn to(&self) -> Result<NameAddr<'_>, Invalid> {
        if !self.edits.patches.touches(HeaderName::To) {
            return self.base().to();
        }
        self.address(HeaderName::To)
    }

    fn address(&self, name: HeaderName) -> Result<NameAddr<'_>, Invalid> {
        let value = self.header(name).ok_or(Invalid::Missing(name))?;
        NameAddr::parse(value).map_err(|_| Invalid::Header(name))
    }

    /// The Call-ID; empty when there is none.
    pub fn call_id(&self) -> &[u8] {
        self.header(HeaderName::CallId).unwrap_or_default()
    }

    /// CSeq.
    pub fn cseq(&self) -> Result<CSeq<'_>, Invalid> {
        if !self.edits.patches.touches(HeaderName::CSeq) {
            return self.base().cseq();
        }
        CSeq::parse(
            self.header(HeaderName::CSeq)
                .ok_or(Invalid::Missing(HeaderName::CSeq))?,
        )
    }

    /// Max-Forwards; `None` when there is none.
    pub fn max_forwards(&self) -> Result<Option<u32>, Invalid> {
        max_forwards(self.header(HeaderName::MaxForwards))
    }

    fn entries<'m, 'n>(&'m self, name: Name<'n>) -> Entries<'m, 'n> {
        Entries::new(self.base(), &self.edits.patches, name)
    }

    fn first_entry(&self, name: Name<'_>) -> Option<Entry<'_>> {
        if self.edits.patches.touches(name.known()) {
            return self.entries(name).next();
        }
        let field = self.base().first_index(name)?;
        Some(Entry {
            origin: Origin::Base {
                field: field as u32,
            },
            value: self
                .base()
                .field(field)?
                .value
                .in_bytes(self.base().as_bytes()),
        })
    }

    fn last_entry(&self, name: Name<'_>) -> Option<Entry<'_>> {
        self.entries(name).last()
    }
}

#[cold]
fn nothing() -> &'static Arc<Message> {
    &NOTHING
}
