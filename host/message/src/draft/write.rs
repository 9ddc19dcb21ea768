//! Writes a draft in one pass: bytes of the base that did not change are copied in runs.

use smallvec::SmallVec;

use crate::draft::Draft;
use crate::draft::patch::{Action, Patch};
use crate::name::{HeaderName, Name};
use crate::scan::NONE;

/// A field of the base and another value for it.
type Replaced<'a> = (u32, &'a [u8]);

impl Draft {
    /// Writes the message at the end of `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.base().as_bytes().len() + self.edits.patches.arena_len());
        let mut sink = |bytes: &[u8]| out.extend_from_slice(bytes);
        self.emit_start_line(&mut sink);
        self.emit_rest(&mut [].iter(), &mut sink);
    }

    /// Writes the first line with its line end. Fields before all others may follow it, and then
    /// [`Draft::write_after_start_line`].
    pub fn write_start_line(&self, out: &mut Vec<u8>) {
        out.reserve(self.base().as_bytes().len() + self.edits.patches.arena_len());
        self.emit_start_line(&mut |bytes| out.extend_from_slice(bytes));
    }

    /// Writes what stands behind the first line. Each header of `values` gets that value, as [`Draft::set`] gives it; one that is
    /// not there is written before all others.
    ///
    /// The draft stays as it is: a proxy writes one for each place it forwards to. The values must not hold line ends.
    pub fn write_after_start_line(&self, out: &mut Vec<u8>, values: &[(HeaderName, &[u8])]) {
        if values.iter().any(|(name, _)| !self.is_plain(*name)) {
            return self.write_edited(out, values);
        }
        let mut replaced = SmallVec::<[Replaced<'_>; 4]>::new();
        for (name, value) in values {
            match self.base().first_index(Name::from(*name)) {
                Some(field) => replaced.push((field as u32, value)),
                None => {
                    for part in [name.text().as_bytes(), b": ", value, b"\r\n"] {
                        out.extend_from_slice(part);
                    }
                }
            }
        }
        replaced.sort_unstable_by_key(|(field, _)| *field);
        self.emit_rest(&mut replaced.iter(), &mut |bytes| {
            out.extend_from_slice(bytes)
        });
    }

    /// Whether at most one field has that name, and no edit is about it.
    pub(super) fn is_plain(&self, name: HeaderName) -> bool {
        let field = self.base().layout().first_field(name);
        !self.edits.patches.touches(name) && field.is_none_or(|field| field.next == NONE)
    }

    fn write_edited(&self, out: &mut Vec<u8>, values: &[(HeaderName, &[u8])]) {
        let mut edited = self.clone();
        for (name, value) in values {
            let set = edited.set(*name, value);
            debug_assert!(set.is_ok(), "the values hold no line ends");
        }
        edited.emit_rest(&mut [].iter(), &mut |bytes| out.extend_from_slice(bytes));
    }

    /// How many bytes [`Draft::write_to`] writes.
    pub fn written_len(&self) -> usize {
        let mut length = 0;
        let mut sink = |bytes: &[u8]| length += bytes.len();
        self.emit_start_line(&mut sink);
        self.emit_rest(&mut [].iter(), &mut sink);
        length
    }

    /// Where the first line ends.
    fn fields_start(&self) -> u32 {
        self.base()
            .field(0)
            .map_or(self.base().layout().headers_end as u32, |field| {
                field.line.start
            })
    }

    fn emit_start_line(&self, sink: &mut impl FnMut(&[u8])) {
        let bytes = self.base().as_bytes();
        let mut run = Run { bytes, start: 0 };
        if let Some(edited) = &self.edits.request_uri {
            let target = self.base().layout().start_line.target;
            run.replace(target.start, target.end, sink);
            sink(self.edits.patches.text(edited.text));
        }
        let end = self.fields_start();
        run.replace(end, end, sink);
    }

    /// The fields, where `replaced`, in the order of the fields, has other values for some that no patch is about, and the body.
    fn emit_rest(
        &self,
        replaced: &mut std::slice::Iter<'_, Replaced<'_>>,
        sink: &mut impl FnMut(&[u8]),
    ) {
        let bytes = self.base().as_bytes();
        let layout = self.base().layout();
        let mut run = Run {
            bytes,
            start: self.fields_start() as usize,
        };
        for patch in &self.edits.patches.list {
            self.emit_replaced(replaced, patch.at, &mut run, sink);
            self.emit_patch(patch, &mut run, sink);
        }
        self.emit_replaced(replaced, u32::MAX, &mut run, sink);
        let end = bytes.len() as u32;
        match self.edits.body {
            Some(body) => {
                run.replace(layout.body.start, end, sink);
                sink(self.edits.patches.text(body));
            }
            None => run.replace(end, end, sink),
        }
    }

    /// Writes other values of the fields before that one.
    fn emit_replaced(
        &self,
        replaced: &mut std::slice::Iter<'_, Replaced<'_>>,
        before: u32,
        run: &mut Run<'_>,
        sink: &mut impl FnMut(&[u8]),
    ) {
        while let Some((field, value)) = replaced.as_slice().first().copied()
            && field < before
        {
            replaced.next();
            if let Some(field) = self.base().field(field as usize) {
                run.replace(field.value.start, field.value.end, sink);
                sink(value);
            }
        }
    }

    fn emit_patch(&self, patch: &Patch, run: &mut Run<'_>, sink: &mut impl FnMut(&[u8])) {
        let field = self.base().field(patch.at as usize);
        match (patch.action, field) {
            (Action::Insert { line, .. }, field) => {
                let at = field.map_or(self.base().layout().headers_end as u32, |field| {
                    field.line.start
                });
                run.replace(at, at, sink);
                sink(self.edits.patches.text(line));
            }
            (Action::Replace(value), Some(field)) => {
                run.replace(field.value.start, field.value.end, sink);
                sink(self.edits.patches.text(value));
            }
            (Action::Remove, Some(field)) => run.replace(field.line.start, field.line.end, sink),
            (Action::Replace(_) | Action::Remove, None) => {}
        }
    }
}

/// What was not yet copied of the base.
struct Run<'a> {
    bytes: &'a [u8],
    start: usize,
}

impl Run<'_> {
    /// Copies up to `from` and leaves out what is before `to`.
    fn replace(&mut self, from: u32, to: u32, sink: &mut impl FnMut(&[u8])) {
        sink(
            self.bytes
                .get(self.start..from as usize)
                .unwrap_or_default(),
        );
        self.start = to as usize;
    }
}
