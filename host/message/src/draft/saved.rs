//! Edits that are put aside, to be those of their draft again.

use super::{Draft, Edits};

/// Room for edits beyond which it is not kept.
const MAX_KEPT: usize = 4096;

/// The edits of a draft as they were, in memory that is used again for others.
#[derive(Debug, Default)]
pub struct SavedEdits(Edits);

/// A copy has nothing put aside: what is belongs to one draft.
impl Clone for SavedEdits {
    fn clone(&self) -> SavedEdits {
        SavedEdits::default()
    }
}

impl SavedEdits {
    /// Keeps those of this draft in place of what was kept before.
    pub fn save(&mut self, draft: &Draft) {
        self.0.clone_from(&draft.edits);
    }

    /// Gives them back to the draft that they are of, whose edits since then are gone. In another draft they would be about other fields.
    pub fn restore(&mut self, draft: &mut Draft) {
        std::mem::swap(&mut self.0, &mut draft.edits);
        self.0.clear();
    }

    /// Forgets them, and lets go of memory that is more than what edits usually take.
    pub fn let_go(&mut self) {
        if self.0.patches.capacity() > MAX_KEPT {
            self.0 = Edits::default();
        } else {
            self.0.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Limits, Message};

    #[test]
    fn what_was_edited_since_is_gone_and_what_was_before_is_not() {
        let text = "INVITE sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\n\
            From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n";
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        let mut draft = Draft::new(Arc::new(message));
        let written = |draft: &Draft| {
            let mut bytes = Vec::new();
            draft.write_to(&mut bytes);
            bytes
        };
        let mut saved = SavedEdits::default();
        for before in [None, Some("one"), Some("two")] {
            if let Some(before) = before {
                draft.set("X-A", before.as_bytes()).unwrap();
            }
            let expected = written(&draft);
            saved.save(&draft);
            for value in ["three", "four"] {
                draft.set("X-A", value.as_bytes()).unwrap();
                draft.set("X-B", value.as_bytes()).unwrap();
                draft.set_request_uri(b"sip:d@example.com").unwrap();
            }
            assert_ne!(written(&draft), expected);
            saved.restore(&mut draft);
            assert_eq!(written(&draft), expected);
        }
    }
}
