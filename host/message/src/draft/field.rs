//! A name and a value that were found fit for a message, to be written without a second look.

use crate::class::has_control;
use crate::draft::Draft;
use crate::error::EditError;
use crate::grammar::{is_token, trim};
use crate::name::{HeaderName, Name};
use crate::spelling::is_plain;

/// A header field that breaks no message: its name is a token, and its value has no control character but tabs.
#[derive(Clone, Copy, Debug)]
pub struct FitField<'a> {
    name: Name<'a>,
    value: &'a [u8],
}

impl<'a> FitField<'a> {
    /// Looks at both. [`EditError::Name`] or [`EditError::Value`].
    #[inline]
    pub fn new(name: Name<'a>, value: &'a [u8]) -> Result<FitField<'a>, EditError> {
        // A known name is a token.
        if name.known() == HeaderName::Other && !is_plain(name.given()) {
            check_token(name.given())?;
        }
        if has_control(value) {
            return Err(EditError::Value);
        }
        Ok(FitField { name, value })
    }
}

#[cold]
fn check_token(name: &[u8]) -> Result<(), EditError> {
    is_token(name).then_some(()).ok_or(EditError::Name)
}

impl Draft {
    /// [`Draft::set`] with what was looked at before.
    pub fn set_fit(&mut self, field: FitField<'_>) -> Result<(), EditError> {
        self.admit(field)?;
        self.put(field.name, trim(field.value));
        Ok(())
    }

    /// [`Draft::append`] with what was looked at before.
    pub fn append_fit(&mut self, field: FitField<'_>) -> Result<(), EditError> {
        self.admit(field)?;
        self.put_behind(field.name, trim(field.value));
        Ok(())
    }

    /// Whether the draft takes it.
    fn admit(&mut self, field: FitField<'_>) -> Result<(), EditError> {
        if field.name.known() == HeaderName::ContentLength {
            return Err(EditError::ContentLength);
        }
        self.make_room(field.name.text().len() + field.value.len() + 4)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Limits, Message};

    const INVITE: &[u8] = b"INVITE sip:bob@example.com SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nSubject: a\r\nX-A: 1\r\n\
        From: <sip:alice@example.com>;tag=a1\r\nTo: <sip:bob@example.com>\r\n\
        Call-ID: c1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";

    fn draft() -> Draft {
        Draft::new(Arc::new(
            Message::parse(INVITE, &Limits::default()).unwrap(),
        ))
    }

    fn written(draft: &Draft) -> String {
        let mut bytes = Vec::new();
        draft.write_to(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn it_does_what_set_and_append_do() {
        for (name, value) in [
            ("Subject", " b "),
            ("s", ""),
            ("X-A", "2\t3"),
            ("X-B", "caf\u{e9}"),
        ] {
            let (mut looked_at, mut plain) = (draft(), draft());
            for _ in 0..2 {
                let field = FitField::new(name.into(), value.as_bytes()).unwrap();
                looked_at.append_fit(field).unwrap();
                plain.append(name, value.as_bytes()).unwrap();
                assert_eq!(written(&looked_at), written(&plain));
                looked_at.set_fit(field).unwrap();
                plain.set(name, value.as_bytes()).unwrap();
                assert_eq!(written(&looked_at), written(&plain));
            }
        }
    }

    #[test]
    fn what_is_not_fit_is_refused() {
        let refused = |name: &str, value: &str| FitField::new(name.into(), value.as_bytes()).err();
        for name in [
            "",
            "X A",
            "X:",
            "X\r\nY",
            "X-Long-\u{e9}",
            "X-Name-of-16-b\u{e9}",
        ] {
            assert!(
                matches!(refused(name, "1"), Some(EditError::Name)),
                "{name:?}"
            );
        }
        for value in ["a\r\nb: c", "\0", "0123456789abcdef\x7f", "\x1b"] {
            assert!(
                matches!(refused("X-A", value), Some(EditError::Value)),
                "{value:?}"
            );
        }
        let length = FitField::new("l".into(), b"1").unwrap();
        let mut draft = draft();
        assert!(matches!(
            draft.set_fit(length),
            Err(EditError::ContentLength)
        ));
        assert!(matches!(
            draft.append_fit(length),
            Err(EditError::ContentLength)
        ));
    }
}
