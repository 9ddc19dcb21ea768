//! Messages that are written once, with gaps: formatting each anew would cost the load more than sending it.

/// A text with gaps, which are written `{name}`.
#[derive(Debug)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Text(Vec<u8>),
    Gap(Gap),
}

/// What goes into a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gap {
    /// `{user}`: the number of the user.
    User,
    /// `{key}`: what tells this transaction from all others.
    Key,
    /// `{cseq}`: a sequence number.
    CSeq,
    /// `{authorization}`: header lines, or nothing.
    Authorization,
    /// `{target}`: the URI of the other side.
    Target,
    /// `{routes}`: header lines, or nothing.
    Routes,
    /// `{from}`: the value of From.
    From,
    /// `{to}`: the value of To.
    To,
    /// `{call}`: the Call-ID.
    Call,
}

impl Template {
    /// Text that looks like a gap and is none stays text.
    pub(crate) fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        let mut kept = String::new();
        while let Some((before, after)) = rest.split_once('{') {
            kept.push_str(before);
            let gap = after
                .split_once('}')
                .and_then(|(name, after)| Some((Gap::named(name)?, after)));
            if let Some((gap, after)) = gap {
                pieces.push(Piece::Text(std::mem::take(&mut kept).into_bytes()));
                pieces.push(Piece::Gap(gap));
                rest = after;
            } else {
                kept.push('{');
                rest = after;
            }
        }
        kept.push_str(rest);
        pieces.push(Piece::Text(kept.into_bytes()));
        Self { pieces }
    }

    /// Writes the message in place of what is in `to`.
    pub(crate) fn fill<'a>(&self, to: &mut Vec<u8>, value: impl Fn(Gap) -> &'a [u8]) {
        to.clear();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => to.extend_from_slice(text),
                Piece::Gap(gap) => to.extend_from_slice(value(*gap)),
            }
        }
    }
}

impl Gap {
    fn named(name: &str) -> Option<Gap> {
        Some(match name {
            "user" => Gap::User,
            "key" => Gap::Key,
            "cseq" => Gap::CSeq,
            "authorization" => Gap::Authorization,
            "target" => Gap::Target,
            "routes" => Gap::Routes,
            "from" => Gap::From,
            "to" => Gap::To,
            "call" => Gap::Call,
            _ => return None,
        })
    }
}

/// A number in decimal digits, without going through the formatter.
pub(crate) struct Digits {
    bytes: [u8; 20],
    from: usize,
}

impl Digits {
    /// The digits of this number.
    pub(crate) fn new(mut number: u64) -> Self {
        let mut bytes = [b'0'; 20];
        let mut from = bytes.len();
        for (at, byte) in bytes.iter_mut().enumerate().rev() {
            // A remainder of ten is one digit.
            *byte = b'0' + (number % 10) as u8;
            number /= 10;
            from = at;
            if number == 0 {
                break;
            }
        }
        Self { bytes, from }
    }

    /// At least one digit.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled() {
        let template = Template::new("INVITE sip:u{user}@{domain} {key}\r\n");
        let mut text = b"old".to_vec();
        template.fill(&mut text, |gap| match gap {
            Gap::User => b"7",
            Gap::Key => b"k",
            _ => b"?",
        });
        assert_eq!(text, b"INVITE sip:u7@{domain} k\r\n");
    }

    #[test]
    fn numbers_have_the_usual_digits() {
        for number in [0, 7, 10, 4711, u64::MAX] {
            assert_eq!(
                Digits::new(number).as_bytes(),
                number.to_string().as_bytes()
            );
        }
    }
}
