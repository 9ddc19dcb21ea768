//! Tables and JSON on stdout.

use std::borrow::Cow;
use std::io::{self, Write};

use serde_json::Value;

/// Prints a line. A closed pipe (`patchbay … | head`) ends the output without a complaint.
pub(super) fn line(text: &str) {
    let _ = writeln!(io::stdout(), "{}", visible(text));
}

/// Prints JSON for programs.
pub(super) fn json(value: &Value) {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string());
    // JSON leaves those behind ASCII as they are.
    let text = escaped(&text, |letter| format!("\\u{:04x}", u32::from(letter)));
    let _ = writeln!(io::stdout(), "{text}");
}

/// The text with its control characters written out: what somebody put into a message must not speak to the terminal.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| letter.escape_default().to_string())
}

fn escaped(text: &str, escape: impl Fn(char) -> String) -> Cow<'_, str> {
    let is_meant = |letter: char| matches!(letter, '\n' | '\t') || !letter.is_control();
    if text.chars().all(is_meant) {
        return Cow::Borrowed(text);
    }
    let mut all = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match is_meant(letter) {
            true => all.push(letter),
            false => all.push_str(&escape(letter)),
        }
    }
    Cow::Owned(all)
}

/// Prints rows under a head, in columns.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let text: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        line(text.join("  ").trim_end());
    };
    print(&mut head.iter().copied());
    for row in rows {
        print(&mut row.iter().map(String::as_str));
    }
}

/// The text of a JSON value for a table.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(
            visible("a\x1b]0;b\x07\u{9b}31m\r\n\tc"),
            "a\\u{1b}]0;b\\u{7}\\u{9b}31m\\r\n\tc"
        );
        assert!(matches!(visible("a\u{fc}"), Cow::Borrowed(_)));
    }
}
