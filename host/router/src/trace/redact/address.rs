//! Finds IP addresses in texts, whatever they stand beside: a Call-ID may be `x-10.9.8.7` or `10.9.8.7_abc`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address at the beginning of `rest`, behind `before`; without brackets and port, with its length.
pub(in crate::trace) fn address_at(before: &[u8], rest: &[u8]) -> Option<(IpAddr, usize)> {
    let ipv6 = || ipv6_at(before, rest).map(|(address, length)| (address.into(), length));
    let ipv4 = || ipv4_at(before, rest).map(|(address, length)| (address.into(), length));
    ipv6().or_else(ipv4)
}

/// It neither begins nor ends inside of a number.
fn ipv4_at(before: &[u8], rest: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let goes_on = match before {
        [.., digit, b'.'] => digit.is_ascii_digit(),
        [.., last] => last.is_ascii_digit(),
        [] => false,
    };
    if goes_on || !rest.first()?.is_ascii_digit() {
        return None;
    }
    let mut octets = [0; 4];
    let mut at = 0;
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            at += usize::from(*rest.get(at)? == b'.');
        }
        let digits = rest.get(at..)?;
        let length = digits.iter().take_while(|byte| byte.is_ascii_digit());
        let length = length.count();
        *octet = std::str::from_utf8(digits.get(..length)?)
            .ok()?
            .parse()
            .ok()?;
        at += length;
    }
    Some((octets.into(), at))
}

/// It neither begins nor ends inside of a word.
fn ipv6_at(before: &[u8], rest: &[u8]) -> Option<(Ipv6Addr, usize)> {
    let ends_word = |byte: &u8| byte.is_ascii_alphanumeric();
    if before
        .last()
        .is_some_and(|byte| ends_word(byte) || *byte == b':')
    {
        return None;
    }
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    let end = rest.iter().position(|byte| !is_part(byte));
    let token = rest.get(..end.unwrap_or(rest.len()))?;
    // What goes on after the address is a port, or the end of a sentence.
    let mut length = token.len();
    while length > 1 {
        let text = std::str::from_utf8(token.get(..length)?).ok()?;
        let follows_word = length == token.len() && rest.get(length).is_some_and(ends_word);
        if !follows_word && let Ok(address) = text.parse() {
            return Some((address, length));
        }
        length = token
            .get(..length)?
            .iter()
            .rposition(|byte| matches!(byte, b'.' | b':'))?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let text = text.as_bytes();
        let mut found = Vec::new();
        let mut at = 0;
        while at < text.len() {
            match address_at(&text[..at], &text[at..]) {
                Some((address, length)) => {
                    found.push(address.to_string());
                    at += length;
                }
                None => at += 1,
            }
        }
        found
    }

    #[test]
    fn addresses_are_found_beside_words() {
        for text in [
            "10.9.8.7",
            "x-10.9.8.7",
            "10.9.8.7-abc",
            "abc_10.9.8.7",
            "u10.9.8.7",
            "10.9.8.7x",
            "a.10.9.8.7.b",
            "[10.9.8.7]:5060.",
        ] {
            assert_eq!(found(text), ["10.9.8.7"], "{text}");
        }
        for text in [
            "2001:db8::7",
            "a-2001:db8::7",
            "_2001:db8::7_a",
            "2001:db8::7%eth0",
            "[2001:db8::7]:5060",
        ] {
            assert_eq!(found(text), ["2001:db8::7"], "{text}");
        }
        assert_eq!(found("::ffff:10.0.0.1"), ["::ffff:10.0.0.1"]);
    }

    #[test]
    fn other_numbers_are_none() {
        for text in [
            "1.2.3",
            "300.1.2.3",
            "1.2.3.400",
            "12:30:45",
            "core::add",
            "1..2.3",
            "1.2.3.",
            "",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }
}
