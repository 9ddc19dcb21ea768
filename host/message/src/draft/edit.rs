//! The functions that change a draft. None of them can break the structure of the message.

use crate::class::{breaks_lines, find_byte};
use crate::draft::patch::{Action, Entry, Origin, Patch};
use crate::draft::{Changes, Draft, EditedUri};
use crate::error::EditError;
use crate::grammar::{Decimal, find_outside, is_token, trim, trim_start};
use crate::list::Values;
use crate::name::{HeaderName, Name};
use crate::span::Span;
use crate::uri::Uri;
use crate::usual;

/// When the texts of the edits are this large, those that are no longer in use are dropped.
const COMPACT_AT_BYTES: usize = 16 * 1024;

/// The texts of all edits together; a message is not larger either.
const MAX_EDIT_BYTES: usize = 256 * 1024;

/// The patches of one message.
const MAX_PATCHES: usize = 4096;

impl Draft {
    /// Changes the Request-URI. RFC 3261 §16.6 step 2: what a URI may have only in other places, headers and a `method`
    /// parameter (§19.1.1, Table 1), is left out.
    pub fn set_request_uri(&mut self, uri: &[u8]) -> Result<(), EditError> {
        if !self.is_request() {
            return Err(EditError::NoRequestUri);
        }
        self.make_room(uri.len())?;
        // Read once, for all who ask for its parts.
        if let Some(usual) = usual::uri(uri, Span::new(0, uri.len()))
            && usual.params.len() == 0
        {
            self.edits.request_uri = Some(EditedUri {
                text: self.edits.patches.store(uri),
                usual: Some(usual),
            });
            return Ok(());
        }
        let parsed = Uri::parse(uri).map_err(|_| EditError::Uri)?;
        let text = if parsed.headers.is_none() && !parsed.params.contains(b"method") {
            self.edits.patches.store(uri)
        } else {
            self.edits.patches.store(&for_start_line(&parsed))
        };
        self.edits.request_uri = Some(EditedUri { text, usual: None });
        Ok(())
    }

    /// Makes this the only field of that name: in place of the first one, else at the end.
    pub fn set<'n>(&mut self, name: impl Into<Name<'n>>, value: &[u8]) -> Result<(), EditError> {
        let (name, value) = self.check(name.into(), value)?;
        self.put(name, value);
        Ok(())
    }

    /// Adds a field after the others of that name, else at the end.
    pub fn append<'n>(&mut self, name: impl Into<Name<'n>>, value: &[u8]) -> Result<(), EditError> {
        let (name, value) = self.check(name.into(), value)?;
        self.put_behind(name, value);
        Ok(())
    }

    /// A field after the others of that name, else at the end.
    pub(super) fn put_behind(&mut self, name: Name<'_>, value: &[u8]) {
        match self.last_entry(name).map(|entry| entry.origin) {
            Some(Origin::Base { field }) => {
                let place = self
                    .edits
                    .patches
                    .list
                    .partition_point(|patch| patch.at <= field);
                self.insert(place, field + 1, name, value);
            }
            Some(Origin::Inserted { place, at }) => self.insert(place + 1, at, name, value),
            None => self.insert_at_end(name, value),
        }
    }

    /// Adds a field before the others of that name, else before every field.
    pub fn prepend<'n>(
        &mut self,
        name: impl Into<Name<'n>>,
        value: &[u8],
    ) -> Result<(), EditError> {
        let (name, value) = self.check(name.into(), value)?;
        match self.first_entry(name).map(|entry| entry.origin) {
            Some(Origin::Base { field }) => {
                self.insert(self.place_of(field), field, name, value);
            }
            Some(Origin::Inserted { place, at }) => self.insert(place, at, name, value),
            None => self.insert(0, 0, name, value),
        }
        Ok(())
    }

    /// Removes every field of that name and says how many there were.
    pub fn remove<'n>(&mut self, name: impl Into<Name<'n>>) -> Result<usize, EditError> {
        let name = name.into();
        if name.known() == HeaderName::ContentLength {
            return Err(EditError::ContentLength);
        }
        self.make_room(0)?;
        Ok(self.remove_after_first(name, 0))
    }

    /// Replaces the first value of the first field of a list header; the rest of that field stays.
    ///
    /// Without such a field it is added before every other.
    pub fn replace_first_value(&mut self, name: HeaderName, value: &[u8]) -> Result<(), EditError> {
        let (known, value) = self.check(Name::from(name), value)?;
        let Some(entry) = self.first_entry(known) else {
            return self.prepend(name, value);
        };
        let origin = entry.origin;
        let behind = self.after_first(name, &entry);
        if behind.is_empty() {
            self.replace(origin, name, value);
            return Ok(());
        }
        let mut whole = scratch(value);
        whole.extend_from_slice(behind);
        self.make_room(whole.len())?;
        self.replace(origin, name, &whole);
        Ok(())
    }

    /// Removes the first value of the first field of a list header, and the field when it has no other. `false` when there
    /// is none.
    pub fn remove_first_value(&mut self, name: HeaderName) -> Result<bool, EditError> {
        self.check_removal(name)?;
        let Some(entry) = self.first_entry(Name::from(name)) else {
            return Ok(false);
        };
        let origin = entry.origin;
        let rest = trim_start(self.after_first(name, &entry).get(1..).unwrap_or_default());
        if rest.is_empty() || Values::of(name, rest).next().is_none() {
            self.take_out(origin, name);
            return Ok(true);
        }
        let rest = scratch(rest);
        self.keep_rest(origin, name, &rest)
    }

    /// Removes the last value of the last field of a list header, and the field when it has no other. `false` when there is
    /// none.
    pub fn remove_last_value(&mut self, name: HeaderName) -> Result<bool, EditError> {
        self.check_removal(name)?;
        let Some(entry) = self.last_entry(Name::from(name)) else {
            return Ok(false);
        };
        let rest = scratch(before_last(name, entry.value));
        self.keep_rest(entry.origin, name, &rest)
    }

    /// Replaces the body and Content-Type. Content-Length follows; an empty body removes Content-Type.
    pub fn set_body(&mut self, content_type: &[u8], body: &[u8]) -> Result<(), EditError> {
        if body.is_empty() {
            self.make_room(32)?;
            self.remove_after_first(HeaderName::ContentType.into(), 0);
        } else {
            let (name, content_type) = self.check(HeaderName::ContentType.into(), content_type)?;
            self.make_room(body.len() + content_type.len() + 32)?;
            self.put(name, content_type);
        }
        self.edits.body = Some(self.edits.patches.store(body));
        self.put(
            HeaderName::ContentLength.into(),
            Decimal::new(body.len() as u64).as_bytes(),
        );
        Ok(())
    }

    /// Adds Content-Length when the message has none, as a stream needs it (RFC 3261 §18.3).
    pub fn ensure_content_length(&mut self) -> Result<(), EditError> {
        if self.header(HeaderName::ContentLength).is_none() {
            self.make_room(32)?;
            let length = Decimal::new(self.body().len() as u64);
            self.put(HeaderName::ContentLength.into(), length.as_bytes());
        }
        Ok(())
    }

    /// Checks name and value, and that there is room for them. The value comes back without the blanks around it.
    fn check<'n, 'v>(
        &mut self,
        name: Name<'n>,
        value: &'v [u8],
    ) -> Result<(Name<'n>, &'v [u8]), EditError> {
        if name.known() == HeaderName::ContentLength {
            return Err(EditError::ContentLength);
        }
        if name.known() == HeaderName::Other && !is_token(name.text()) {
            return Err(EditError::Name);
        }
        if breaks_lines(value) {
            return Err(EditError::Value);
        }
        self.make_room(name.text().len() + value.len() + 4)?;
        Ok((name, trim(value)))
    }

    /// The same for an edit without a value.
    fn check_removal(&mut self, name: HeaderName) -> Result<(), EditError> {
        match name {
            HeaderName::ContentLength => Err(EditError::ContentLength),
            HeaderName::Other => Err(EditError::Name),
            _ => self.make_room(name.text().len() + 4),
        }
    }

    #[inline]
    pub(super) fn make_room(&mut self, bytes: usize) -> Result<(), EditError> {
        let patches = &self.edits.patches;
        if patches.arena_len() + bytes <= COMPACT_AT_BYTES && patches.list.len() < MAX_PATCHES {
            return Ok(());
        }
        self.make_room_in_much(bytes)
    }

    /// The same where a short look does not tell.
    #[cold]
    fn make_room_in_much(&mut self, bytes: usize) -> Result<(), EditError> {
        let Changes {
            patches,
            request_uri,
            body,
        } = &mut *self.edits;
        if patches.arena_len() + bytes > COMPACT_AT_BYTES {
            let request_uri = request_uri.as_mut().map(|edited| &mut edited.text);
            patches.compact([request_uri, body.as_mut()]);
        }
        let fits =
            patches.arena_len() + bytes <= MAX_EDIT_BYTES && patches.list.len() < MAX_PATCHES;
        fits.then_some(()).ok_or(EditError::TooLarge)
    }

    /// The only field of that name from now on.
    #[inline]
    pub(super) fn put(&mut self, name: Name<'_>, value: &[u8]) {
        if self.edits.patches.touches(name.known()) {
            return self.put_among(name, value);
        }
        match self.base().first_index(name) {
            // As with most names that only policies set.
            None => self.insert_at_end(name, value),
            Some(field) if self.base().index_after(name, field).is_none() => {
                let field = field as u32;
                self.replace(Origin::Base { field }, name.known(), value);
            }
            Some(_) => self.put_among(name, value),
        }
    }

    /// The same where there may be several, and edits about them.
    fn put_among(&mut self, name: Name<'_>, value: &[u8]) {
        let mut entries = self.entries(name);
        let first = entries.next().map(|entry| entry.origin);
        let has_more = entries.next().is_some();
        let Some(origin) = first else {
            return self.insert_at_end(name, value);
        };
        self.replace(origin, name.known(), value);
        if has_more {
            self.remove_after_first(name, 1);
        }
    }

    /// What stands in an entry from the comma after its first value on.
    fn after_first<'m>(&self, name: HeaderName, entry: &Entry<'m>) -> &'m [u8] {
        // The top Via is known since the message was scanned.
        if name == HeaderName::Via
            && let Some(via) = &self.base().kept().top_via
            && std::ptr::eq(via.raw(self.base().as_bytes()), entry.value)
        {
            return b"";
        }
        after_first(name, entry.value)
    }

    /// Gives the entry its remaining values, or removes it when there are none.
    fn keep_rest(
        &mut self,
        origin: Origin,
        name: HeaderName,
        rest: &[u8],
    ) -> Result<bool, EditError> {
        if rest.is_empty() {
            self.take_out(origin, name);
            return Ok(true);
        }
        self.make_room(rest.len())?;
        self.replace(origin, name, rest);
        Ok(true)
    }

    /// Removes the entries of that name but the first `kept`, and says how many there were.
    fn remove_after_first(&mut self, name: Name<'_>, kept: usize) -> usize {
        let mut removed = 0;
        while let Some(origin) = self.nth_origin(name, kept) {
            self.take_out(origin, name.known());
            removed += 1;
        }
        removed
    }

    fn nth_origin(&self, name: Name<'_>, nth: usize) -> Option<Origin> {
        self.entries(name).nth(nth).map(|entry| entry.origin)
    }

    /// Where in the list the patch of a field of the base belongs: behind the insertions before that field.
    fn place_of(&self, field: u32) -> usize {
        self.edits
            .patches
            .list
            .partition_point(|patch| patch.at < field || patch.at == field && patch.is_insert())
    }

    fn insert_at_end(&mut self, name: Name<'_>, value: &[u8]) {
        let end = self.base().layout().fields.len() as u32;
        self.edits.patches.push_line(end, name, value);
    }

    fn insert(&mut self, place: usize, at: u32, name: Name<'_>, value: &[u8]) {
        let patch = Patch {
            at,
            known: name.known(),
            action: self.edits.patches.store_line(name.text(), value),
        };
        self.edits.patches.list.insert(place, patch);
        self.edits.patches.touch(name.known());
    }

    fn replace(&mut self, origin: Origin, known: HeaderName, text: &[u8]) {
        self.edits.patches.touch(known);
        match origin {
            Origin::Base { field } => {
                let text = self.edits.patches.store(text);
                self.patch_field(field, known, Action::Replace(text));
            }
            Origin::Inserted { place, .. } => self.replace_inserted(place, text),
        }
    }

    fn replace_inserted(&mut self, place: usize, value: &[u8]) {
        let Some(&Patch {
            action: Action::Insert { line, name_len },
            ..
        }) = self.edits.patches.list.get(place)
        else {
            return;
        };
        let name = scratch(self.edits.patches.name_in(line, name_len));
        let action = self.edits.patches.store_line(&name, value);
        if let Some(patch) = self.edits.patches.list.get_mut(place) {
            patch.action = action;
        }
    }

    fn take_out(&mut self, origin: Origin, known: HeaderName) {
        let is_last = known != HeaderName::Other && self.is_plain(known);
        self.edits.patches.touch(known);
        if is_last {
            self.edits.patches.note_gone(known);
        }
        match origin {
            Origin::Base { field } => self.patch_field(field, known, Action::Remove),
            Origin::Inserted { place, .. } => {
                self.edits.patches.list.remove(place);
            }
        }
    }

    /// Sets the one patch that a field of the base may have besides insertions.
    fn patch_field(&mut self, field: u32, known: HeaderName, action: Action) {
        let place = self.place_of(field);
        match self.edits.patches.list.get_mut(place) {
            Some(patch) if patch.at == field => patch.action = action,
            _ => self.edits.patches.list.insert(
                place,
                Patch {
                    at: field,
                    known,
                    action,
                },
            ),
        }
    }
}

/// The URI without its headers and `method` parameter.
fn for_start_line(uri: &Uri<'_>) -> smallvec::SmallVec<[u8; 512]> {
    let headers = uri.headers.map_or(0, |headers| headers.len() + 1);
    let behind = headers + uri.params.raw().len();
    let mut line = scratch(
        uri.raw
            .get(..uri.raw.len().saturating_sub(behind))
            .unwrap_or_default(),
    );
    let is_method = |name: &[u8]| name.eq_ignore_ascii_case(b"method");
    for (name, value) in uri.params.iter().filter(|(name, _)| !is_method(name)) {
        line.push(b';');
        line.extend_from_slice(name);
        if let Some(value) = value {
            line.push(b'=');
            line.extend_from_slice(value);
        }
    }
    line
}

/// A copy on the stack, because the text may stand in the arena that is about to be written.
fn scratch(text: &[u8]) -> smallvec::SmallVec<[u8; 512]> {
    smallvec::SmallVec::from_slice(text)
}

/// From the comma after the first value on.
fn after_first(name: HeaderName, field: &[u8]) -> &[u8] {
    if !name.is_list() || find_byte(field, b',').is_none() {
        return b"";
    }
    let Some(first) = Values::of(name, field).next() else {
        return b"";
    };
    let start = Span::of(first, field).end as usize;
    let rest = field.get(start..).unwrap_or_default();
    match find_outside(rest, b',', name.has_comments()) {
        Some(comma) => rest.get(comma..).unwrap_or_default(),
        None => b"",
    }
}

/// Everything before the last value, without the comma.
fn before_last(name: HeaderName, field: &[u8]) -> &[u8] {
    let mut ends = Values::of(name, field).map(|value| Span::of(value, field).end as usize);
    let mut before = 0;
    let mut last = match ends.next() {
        Some(end) => end,
        None => return b"",
    };
    for end in ends {
        (before, last) = (last, end);
    }
    debug_assert!(before <= last, "values come in order");
    field.get(..before).unwrap_or_default()
}
