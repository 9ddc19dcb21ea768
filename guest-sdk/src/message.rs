//! Reading and editing the current message, for [`crate::Request`] and [`crate::Response`] alike.

use crate::error::{Error, Result};
use crate::host::message;

#[inline(always)]
pub(crate) fn header(name: &str) -> Option<String> {
    message::header(name)
}

pub(crate) fn headers(name: &str) -> Vec<String> {
    message::headers(name)
}

/// One crossing for all of them.
pub(crate) fn headers_named<const N: usize>(names: [&str; N]) -> [Option<String>; N] {
    // No header has a comma in its name.
    let names = names.map(|name| if name.contains(',') { "" } else { name });
    let joined = message::headers_joined(&names.join(","));
    let mut rest = joined.as_str();
    std::array::from_fn(|_| next_value(&mut rest).map(str::to_owned))
}

/// The next value, which stands behind its length and a colon. None: there is no length, as the message has no such header.
fn next_value<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit);
    let (length, digits) = digits.fold((0_usize, 0), |(length, digits), digit| {
        let length = length.wrapping_mul(10).wrapping_add((digit - b'0').into());
        (length, digits + 1)
    });
    *rest = rest.get(digits + 1..)?;
    if digits == 0 {
        return None;
    }
    let (value, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(value)
}

pub(crate) fn set_header(name: &str, value: &str) -> Result<()> {
    message::set_header(name, value).map_err(Error::from)
}

pub(crate) fn add_header(name: &str, value: &str) -> Result<()> {
    message::add_header(name, value).map_err(Error::from)
}

pub(crate) fn remove_header(name: &str) -> Result<u32> {
    message::remove_header(name).map_err(Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_values_are_taken_apart() {
        let mut rest = "11:caf\u{e9}, a: b0::12:0123456789:;1:x";
        let expected = [
            Some("caf\u{e9}, a: b"),
            Some(""),
            None,
            Some("0123456789:;"),
            Some("x"),
            None,
        ];
        assert_eq!(expected.map(|_| next_value(&mut rest)), expected);
        for broken in ["5:abc", "3", "1:\u{e9}", "99999999999999999999999:a"] {
            assert_eq!(next_value(&mut { broken }), None, "{broken}");
        }
    }
}
