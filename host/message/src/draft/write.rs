//! Writes a draft in one pass: bytes of the base that did not change are copied in runs.

use crate::draft::Draft;
use crate::draft::patch::{Action, Patch};

impl Draft {
    /// Writes the message at the end of `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.base.as_bytes().len() + self.patches.arena_len());
        self.emit(|bytes| out.extend_from_slice(bytes));
    }

    /// How many bytes [`Draft::write_to`] writes.
    pub fn written_len(&self) -> usize {
        let mut length = 0;
        self.emit(|bytes| length += bytes.len());
        length
    }

    fn emit(&self, mut sink: impl FnMut(&[u8])) {
        let bytes = self.base.as_bytes();
        let layout = self.base.layout();
        let mut run = Run { bytes, start: 0 };
        if let Some(uri) = self.request_uri {
            run.replace(
                layout.start_line.target.start,
                layout.start_line.target.end,
                &mut sink,
            );
            sink(self.patches.text(uri));
        }
        for patch in &self.patches.list {
            self.emit_patch(patch, &mut run, &mut sink);
        }
        let end = bytes.len() as u32;
        match self.body {
            Some(body) => {
                run.replace(layout.body.start, end, &mut sink);
                sink(self.patches.text(body));
            }
            None => run.replace(end, end, &mut sink),
        }
    }

    fn emit_patch(&self, patch: &Patch, run: &mut Run<'_>, sink: &mut impl FnMut(&[u8])) {
        let field = self.base.field(patch.at as usize);
        match (patch.action, field) {
            (Action::Insert { line, .. }, field) => {
                let at = field.map_or(self.base.layout().headers_end as u32, |field| {
                    field.line.start
                });
                run.replace(at, at, sink);
                sink(self.patches.text(line));
            }
            (Action::Replace(value), Some(field)) => {
                run.replace(field.value.start, field.value.end, sink);
                sink(self.patches.text(value));
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
