//! The patch list: what is put before, in place of, and instead of the fields of the base.

use smallvec::SmallVec;

use crate::message::Message;
use crate::name::{HeaderName, Name};
use crate::span::Span;

/// What a patch does at its field of the base.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Puts a new field before it.
    Insert {
        known: HeaderName,
        /// The name of a field that is not known, in the arena.
        name: Span,
        /// In the arena.
        value: Span,
    },
    /// Gives it another value, in the arena.
    Replace(Span),
    /// Takes it out.
    Remove,
}

/// One patch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patch {
    /// The number of the field of the base; the number of fields for the end.
    pub(crate) at: u32,
    pub(crate) action: Action,
}

/// The patches in the order of the message: by field, insertions first.
#[derive(Debug, Default)]
pub(crate) struct Patches {
    pub(crate) list: SmallVec<[Patch; 8]>,
    /// The texts of the patches.
    arena: Vec<u8>,
    /// One bit for each known name that a patch is about; all unknown ones share one.
    touched: u128,
}

const _: () = assert!(HeaderName::COUNT <= 128, "a bit for each name");

impl Clone for Patches {
    fn clone(&self) -> Self {
        Patches {
            list: self.list.clone(),
            arena: self.arena.clone(),
            touched: self.touched,
        }
    }

    fn clone_from(&mut self, source: &Self) {
        self.list.clear();
        self.list.extend_from_slice(&source.list);
        self.arena.clone_from(&source.arena);
        self.touched = source.touched;
    }
}

impl Patches {
    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.arena.clear();
        self.touched = 0;
    }

    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.arena.reserve(bytes);
    }

    pub(crate) fn capacity(&self) -> usize {
        self.arena.capacity()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn touches(&self, name: HeaderName) -> bool {
        self.touched & 1 << name.number() != 0
    }

    pub(crate) fn touch(&mut self, name: HeaderName) {
        self.touched |= 1 << name.number();
    }

    pub(crate) fn text(&self, span: Span) -> &[u8] {
        span.in_bytes(&self.arena)
    }

    pub(crate) fn arena_len(&self) -> usize {
        self.arena.len()
    }

    pub(crate) fn store(&mut self, text: &[u8]) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_slice(text);
        Span::new(start, self.arena.len())
    }

    /// Moves texts that are still in use to a new arena, which leaves out those that later edits replaced.
    pub(crate) fn compact(&mut self, others: [&mut Option<Span>; 2]) {
        let old = std::mem::take(&mut self.arena);
        let mut keep = |span: &mut Span| {
            let start = self.arena.len();
            self.arena.extend_from_slice(span.in_bytes(&old));
            *span = Span::new(start, self.arena.len());
        };
        for patch in &mut self.list {
            match &mut patch.action {
                Action::Insert { name, value, .. } => {
                    keep(name);
                    keep(value);
                }
                Action::Replace(value) => keep(value),
                Action::Remove => {}
            }
        }
        others.into_iter().flatten().for_each(keep);
    }
}

/// Where an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This field of the base, whose patch (if any) belongs at this place of the list.
    Base { field: u32, place: usize },
    /// The insertion at this place of the list.
    Inserted { place: usize, at: u32 },
}

/// A field as it will be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) origin: Origin,
    pub(crate) name: Name<'a>,
    pub(crate) value: &'a [u8],
}

/// The fields of base and patches, merged.
pub(crate) struct Walk<'a> {
    base: &'a Message,
    patches: &'a Patches,
    field: u32,
    place: usize,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(base: &'a Message, patches: &'a Patches) -> Walk<'a> {
        Walk {
            base,
            patches,
            field: 0,
            place: 0,
        }
    }

    fn inserted(&mut self, at: u32, known: HeaderName, name: Span, value: Span) -> Entry<'a> {
        let origin = Origin::Inserted {
            place: self.place,
            at,
        };
        self.place += 1;
        Entry {
            origin,
            name: Name::new(known, self.patches.text(name)),
            value: self.patches.text(value),
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let patch = self
                .patches
                .list
                .get(self.place)
                .filter(|patch| patch.at == self.field);
            if let Some(&Patch {
                at,
                action: Action::Insert { known, name, value },
            }) = patch
            {
                return Some(self.inserted(at, known, name, value));
            }
            let field = self.base.field(self.field as usize)?;
            let origin = Origin::Base {
                field: self.field,
                place: self.place,
            };
            self.field += 1;
            self.place += usize::from(patch.is_some());
            let value = match patch.map(|patch| patch.action) {
                Some(Action::Remove) => continue,
                Some(Action::Replace(value)) => self.patches.text(value),
                _ => field.value.in_bytes(self.base.as_bytes()),
            };
            return Some(Entry {
                origin,
                name: self.base.name_of(field),
                value,
            });
        }
    }
}
