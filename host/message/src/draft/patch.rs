//! The patch list: what is put before, in place of, and instead of the fields of the base.

use crate::grammar::eq_ignore_case;
use crate::message::Message;
use crate::name::{HeaderName, Name};
use crate::span::Span;

/// What a patch does at its field of the base.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Puts a new field before it.
    Insert {
        /// The whole line with its end, in the arena.
        line: Span,
        name_len: u32,
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
    /// Which header it is about.
    pub(crate) known: HeaderName,
    pub(crate) action: Action,
}

impl Patch {
    pub(crate) fn is_insert(&self) -> bool {
        matches!(self.action, Action::Insert { .. })
    }
}

/// The patches in the order of the message: by field, insertions first.
#[derive(Debug)]
pub(crate) struct Patches {
    pub(crate) list: Vec<Patch>,
    /// The texts of the patches.
    arena: Vec<u8>,
    touched: Touched,
}

/// The names that patches are about.
#[derive(Clone, Copy, Debug, Default)]
struct Touched {
    /// One bit for each known name; all unknown ones share one.
    bits: [u64; 2],
    /// The last name of which no field is left, when one is known.
    gone: Option<HeaderName>,
}

impl Touched {
    const NONE: Touched = Touched {
        bits: [0; 2],
        gone: None,
    };

    #[inline]
    fn has(&self, name: HeaderName) -> bool {
        let [low, high] = self.bits;
        let bits = if name.number() < 64 { low } else { high };
        bits >> (name.number() % 64) & 1 != 0
    }

    #[inline]
    fn add(&mut self, name: HeaderName) {
        let [low, high] = &mut self.bits;
        let bits = if name.number() < 64 { low } else { high };
        *bits |= 1 << (name.number() % 64);
        if self.is_gone(name) {
            self.gone = None;
        }
    }

    fn note_gone(&mut self, name: HeaderName) {
        self.gone = Some(name);
    }

    #[inline]
    fn is_gone(&self, name: HeaderName) -> bool {
        self.gone == Some(name)
    }
}

/// As many as a forwarded request has: two Vias, Max-Forwards, Max-Breadth, Record-Route, Route, and what a policy sets.
const USUAL_PATCHES: usize = 8;

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
    pub(crate) const fn none() -> Patches {
        Patches {
            list: Vec::new(),
            arena: Vec::new(),
            touched: Touched::NONE,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.arena.clear();
        self.touched = Touched::default();
    }

    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.arena.reserve(bytes);
        self.list.reserve(USUAL_PATCHES);
    }

    pub(crate) fn capacity(&self) -> usize {
        self.arena.capacity()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    #[inline]
    pub(crate) fn touches(&self, name: HeaderName) -> bool {
        self.touched.has(name)
    }

    #[inline]
    pub(crate) fn touch(&mut self, name: HeaderName) {
        self.touched.add(name);
    }

    /// Notes that no field of that name is left; the next patch about it ends that.
    pub(crate) fn note_gone(&mut self, name: HeaderName) {
        self.touched.note_gone(name);
    }

    /// Whether it is known that no field of that name is left.
    pub(crate) fn is_gone(&self, name: HeaderName) -> bool {
        self.touched.is_gone(name)
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

    /// Puts a new field behind all others.
    #[inline]
    pub(crate) fn push_line(&mut self, at: u32, name: Name<'_>, value: &[u8]) {
        let patch = Patch {
            at,
            known: name.known(),
            action: self.store_line(name.text(), value),
        };
        self.list.push(patch);
        self.touch(name.known());
    }

    /// Stores the line of a new field.
    #[inline(always)]
    pub(crate) fn store_line(&mut self, name: &[u8], value: &[u8]) -> Action {
        let start = self.arena.len();
        self.arena.extend_from_slice(name);
        self.arena.extend_from_slice(b": ");
        self.arena.extend_from_slice(value);
        self.arena.extend_from_slice(b"\r\n");
        Action::Insert {
            line: Span::new(start, self.arena.len()),
            name_len: name.len() as u32,
        }
    }

    /// The name of an inserted line.
    pub(crate) fn name_in(&self, line: Span, name_len: u32) -> &[u8] {
        self.text(Span {
            start: line.start,
            end: line.start + name_len,
        })
    }

    /// The value of an inserted line.
    fn value_in(&self, line: Span, name_len: u32) -> &[u8] {
        self.text(Span {
            start: line.start + name_len + 2,
            end: line.end - 2,
        })
    }

    /// Moves texts that are still in use to a new arena, which leaves out those that later edits replaced.
    pub(crate) fn compact(&mut self, others: [Option<&mut Span>; 2]) {
        let old = std::mem::take(&mut self.arena);
        let mut keep = |span: &mut Span| {
            let start = self.arena.len();
            self.arena.extend_from_slice(span.in_bytes(&old));
            *span = Span::new(start, self.arena.len());
        };
        for patch in &mut self.list {
            match &mut patch.action {
                Action::Insert { line, .. } => keep(line),
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
    /// This field of the base.
    Base { field: u32 },
    /// The insertion at this place of the list.
    Inserted { place: usize, at: u32 },
}

/// A field as it will be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) origin: Origin,
    pub(crate) value: &'a [u8],
}

/// The fields of one name in base and patches, merged.
pub(crate) struct Entries<'a, 'n> {
    base: &'a Message,
    patches: &'a Patches,
    name: Name<'n>,
    /// The next field of that name in the base.
    field: Option<usize>,
    place: usize,
}

impl<'a, 'n> Entries<'a, 'n> {
    #[inline]
    pub(crate) fn new(base: &'a Message, patches: &'a Patches, name: Name<'n>) -> Self {
        let known = name.known();
        let is_gone = patches.is_gone(known);
        Entries {
            base,
            patches,
            name,
            field: match is_gone {
                true => None,
                false => base.first_index(name),
            },
            // Nothing to look for there when no patch is about the name.
            place: match patches.touches(known) && !is_gone {
                true => 0,
                false => patches.list.len(),
            },
        }
    }

    fn is_about_name(&self, patch: &Patch) -> bool {
        if patch.known != self.name.known() || patch.known != HeaderName::Other {
            return patch.known == self.name.known();
        }
        let text = match patch.action {
            Action::Insert { line, name_len } => self.patches.name_in(line, name_len),
            Action::Replace(_) | Action::Remove => self
                .base
                .field(patch.at as usize)
                .map_or(&b""[..], |field| {
                    field.name().in_bytes(self.base.as_bytes())
                }),
        };
        eq_ignore_case(text, self.name.text())
    }

    /// The next patch of that name, unless a field of the base comes before it.
    fn due_patch(&mut self) -> Option<&'a Patch> {
        let list = self.patches.list.as_slice();
        while let Some(patch) = list.get(self.place) {
            if self.is_about_name(patch) {
                let is_due = self.field.is_none_or(|field| patch.at as usize <= field);
                return is_due.then_some(patch);
            }
            self.place += 1;
        }
        None
    }

    /// The next field of the base, which is passed.
    fn pass_field(&mut self) -> Option<usize> {
        let field = self.field?;
        self.field = self.base.index_after(self.name, field);
        Some(field)
    }
}

impl<'a> Iterator for Entries<'a, '_> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let Some(patch) = self.due_patch() else {
                let field = self.pass_field()?;
                let value = self.base.field(field)?.value;
                return Some(Entry {
                    origin: Origin::Base {
                        field: field as u32,
                    },
                    value: value.in_bytes(self.base.as_bytes()),
                });
            };
            let place = self.place;
            self.place += 1;
            match patch.action {
                Action::Insert { line, name_len } => {
                    return Some(Entry {
                        origin: Origin::Inserted {
                            place,
                            at: patch.at,
                        },
                        value: self.patches.value_in(line, name_len),
                    });
                }
                Action::Replace(value) => {
                    self.pass_field();
                    return Some(Entry {
                        origin: Origin::Base { field: patch.at },
                        value: self.patches.text(value),
                    });
                }
                Action::Remove => {
                    self.pass_field();
                }
            }
        }
    }
}

/// All fields of base and patches, merged.
pub(crate) struct Walk<'a> {
    base: &'a Message,
    patches: &'a Patches,
    field: usize,
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
}

impl<'a> Iterator for Walk<'a> {
    type Item = (Name<'a>, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let patch = self
                .patches
                .list
                .get(self.place)
                .filter(|patch| patch.at as usize == self.field);
            self.place += usize::from(patch.is_some());
            if let Some(&Patch {
                known,
                action: Action::Insert { line, name_len },
                ..
            }) = patch
            {
                let name = Name::new(known, self.patches.name_in(line, name_len));
                return Some((name, self.patches.value_in(line, name_len)));
            }
            let field = self.base.field(self.field)?;
            self.field += 1;
            let value = match patch.map(|patch| patch.action) {
                Some(Action::Remove) => continue,
                Some(Action::Replace(value)) => self.patches.text(value),
                _ => field.value.in_bytes(self.base.as_bytes()),
            };
            return Some((self.base.name_of(field), value));
        }
    }
}
