//! What a file is by its first bytes, so that whoever takes the wrong one is told.

use crate::world::CheckError;

/// So much of a text is shown.
const SHOWN_LETTERS: usize = 24;

/// The magic numbers of files that are taken for policies by mistake.
const KINDS: [(&[u8], &str); 6] = [
    (b"\x7fELF", "a program of this or another machine (ELF)"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"!<arch>", "a library archive"),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file itself",
    ),
];

/// Why these bytes are no component; `None`: they begin as one does, in the binary form or as text.
pub fn not_a_component(bytes: &[u8]) -> Option<CheckError> {
    if is_core_module(bytes) {
        return Some(CheckError::CoreModule);
    }
    if bytes.starts_with(b"\0asm") || is_text_form(bytes) {
        return None;
    }
    Some(CheckError::Invalid(format!("the file is {}", kind(bytes))))
}

/// The magic number, then version 1 of layer 0: a core module. A component is layer 1.
fn is_core_module(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm\x01\0\0\0")
}

/// The text form begins with a parenthesis or a comment.
fn is_text_form(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    text.starts_with(b"(") || text.starts_with(b";;")
}

fn kind(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "empty".to_owned();
    }
    if let Some((_, kind)) = KINDS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return (*kind).to_owned();
    }
    let start = bytes.get(..256).unwrap_or(bytes);
    if let Some(text) = text(start) {
        let line = text.trim_start().lines().next().unwrap_or_default();
        let shown: String = line.chars().take(SHOWN_LETTERS).collect();
        return format!("text, which begins with {shown:?}");
    }
    let first: Vec<String> = start
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "of another kind, it begins with the bytes {}",
        first.join(" ")
    )
}

/// The bytes as text, which may be cut off in the middle of a letter.
fn text(bytes: &[u8]) -> Option<&str> {
    let whole = match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => return None,
    };
    let text = std::str::from_utf8(bytes.get(..whole)?).ok()?;
    let is_binary = |letter: char| letter.is_control() && !letter.is_ascii_whitespace();
    (!text.contains(is_binary)).then_some(text)
}

/// A message of several lines as one: it is part of tables and of lines of the log.
pub(crate) fn one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| !matches!(*line, "" | "|")).collect();
    lines.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_file_is_told_by_what_it_is() {
        for (bytes, text) in [
            (b"".as_slice(), "the file is empty"),
            (
                b"#!/bin/sh\nexit 0\n",
                "text, which begins with \"#!/bin/sh\"",
            ),
            (b"\x7fELF\x02\x01", "(ELF)"),
            (b"PK\x03\x04\x14", "ZIP"),
            (b"\x89PNG\r\n", "the bytes 89 50 4e 47"),
        ] {
            let problem = not_a_component(bytes).map(|problem| problem.to_string());
            let problem = problem.expect("no component");
            assert!(problem.contains(text), "{problem}");
            assert_eq!(problem.lines().count(), 1);
        }
        let module = not_a_component(b"\0asm\x01\0\0\0");
        assert_eq!(module, Some(CheckError::CoreModule));
    }

    #[test]
    fn a_component_may_be_text() {
        for bytes in [
            b"\0asm\x0d\0\x01\0".as_slice(),
            b" (component)",
            b";; a\n(component)",
        ] {
            assert_eq!(not_a_component(bytes), None);
        }
    }

    #[test]
    fn messages_become_one_line() {
        assert_eq!(one_line("a\n  |\n 1 | b\n"), "a 1 | b");
    }
}
