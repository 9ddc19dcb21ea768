//! Comma-separated values.

use crate::class::find_byte;
use crate::grammar::{find_outside, trim};
use crate::name::HeaderName;

/// The values in one field of a list header. Empty elements are skipped.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    rest: Option<&'a [u8]>,
    splits: bool,
    comments: bool,
}

impl<'a> Values<'a> {
    /// Splits the value of a field of this header; a header that is no list gives its value whole.
    pub fn of(name: HeaderName, field: &'a [u8]) -> Values<'a> {
        Values {
            rest: Some(field),
            splits: name.is_list(),
            comments: name.has_comments(),
        }
    }

    /// Splits any text at the commas that are not inside quotes or `<>`.
    pub fn split(text: &'a [u8]) -> Values<'a> {
        Values {
            rest: Some(text),
            splits: true,
            comments: false,
        }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.rest.take()?;
            if !self.splits {
                return Some(rest);
            }
            // Most fields hold one value, which is seen at once.
            let comma = find_byte(rest, b',').and_then(|_| find_outside(rest, b',', self.comments));
            let value = match comma {
                Some(comma) => {
                    self.rest = rest.get(comma + 1..);
                    rest.get(..comma)?
                }
                None => rest,
            };
            let value = trim(value);
            if !value.is_empty() {
                return Some(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        Values::split(text.as_bytes())
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    #[test]
    fn commas_in_quotes_and_brackets_do_not_split() {
        assert_eq!(
            split(r#""a, b" <sip:c,d@e> , <sip:f>;x="g,h""#),
            [r#""a, b" <sip:c,d@e>"#, r#"<sip:f>;x="g,h""#]
        );
    }

    #[test]
    fn empty_elements_are_skipped() {
        assert_eq!(split(" ,a,, b ,"), ["a", "b"]);
        assert_eq!(split(""), [""; 0]);
    }

    #[test]
    fn a_header_that_is_no_list_is_not_split() {
        let date = b"Sat, 13 Nov 2010 23:29:00 GMT";
        assert_eq!(
            Values::of(HeaderName::Date, date).collect::<Vec<_>>(),
            [date]
        );
    }
}
