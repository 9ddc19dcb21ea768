//! Leaves names of people out of headers.

use std::borrow::Cow;

use patchbay_message::HeaderName;

/// Whether a header has people's names in front of addresses.
pub(super) fn has_display_names(name: HeaderName) -> bool {
    matches!(
        name,
        HeaderName::From
            | HeaderName::To
            | HeaderName::Contact
            | HeaderName::ReplyTo
            | HeaderName::ReferTo
            | HeaderName::ReferredBy
            | HeaderName::PAssertedIdentity
            | HeaderName::PPreferredIdentity
            | HeaderName::Diversion
            | HeaderName::HistoryInfo
            | HeaderName::Other
    )
}

/// What stands before the `<` of each address is left out.
pub(super) fn without_display_names(value: &[u8]) -> Cow<'_, [u8]> {
    let has_uri = value.windows(5).any(|window| {
        window.eq_ignore_ascii_case(b"<sip:")
            || window.eq_ignore_ascii_case(b"<sips")
            || window.eq_ignore_ascii_case(b"<tel:")
            || window.eq_ignore_ascii_case(b"<mail")
    });
    if !has_uri {
        return Cow::Borrowed(value);
    }
    let mut kept = Vec::with_capacity(value.len());
    // Where the value began that has no `<` yet.
    let mut begun = Some(0);
    let (mut quoted, mut escaped, mut inside) = (false, false, false);
    for byte in value {
        let was_escaped = std::mem::take(&mut escaped);
        match byte {
            b'\\' if quoted && !was_escaped => escaped = true,
            b'"' if !was_escaped => quoted = !quoted,
            b'<' if !quoted => {
                if let Some(start) = begun.take() {
                    kept.truncate(start);
                }
                inside = true;
            }
            b'>' if !quoted => inside = false,
            b',' if !quoted && !inside => {
                kept.push(b',');
                begun = Some(kept.len());
                continue;
            }
            _ => {}
        }
        kept.push(*byte);
    }
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_people_are_left_out() {
        let without = |text: &str| {
            String::from_utf8(without_display_names(text.as_bytes()).into_owned()).expect("text")
        };
        assert_eq!(
            without("\"A, \\\" <B>\" <sip:a@b>;tag=1"),
            "<sip:a@b>;tag=1"
        );
        assert_eq!(
            without("Alice <sip:a@b>, Bob <sip:c@d>;q=1"),
            "<sip:a@b>,<sip:c@d>;q=1"
        );
        assert_eq!(without("sip:a@b;x=\"<\""), "sip:a@b;x=\"<\"");
    }
}
