//! The name that was meant.

/// The name that is nearest to a misspelt one, when one is near.
pub(crate) fn nearest<'a>(
    misspelt: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let near = names
        .into_iter()
        .map(|name| (distance(misspelt, name), name));
    let (distance, name) = near.min_by_key(|(distance, _)| *distance)?;
    (distance <= misspelt.len().div_ceil(3)).then_some(name)
}

/// `; did you mean "request-route"?`, or nothing.
pub(crate) fn hint<'a>(misspelt: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(misspelt, names).map_or_else(String::new, |name| format!("; did you mean \"{name}\"?"))
}

/// How many letters have to be put in, taken out or replaced.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.bytes().enumerate() {
        let mut before = line;
        let mut left = line + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(to.bytes()) {
            let replaced = before + usize::from(letter != other);
            before = *cell;
            left = replaced.min(before + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_differ_are_counted() {
        for (from, to, letters) in [
            ("htp", "http", 1),
            ("http", "http", 0),
            ("request_route", "request-route", 1),
            ("", "init", 4),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(from, to), letters, "{from} {to}");
        }
    }

    #[test]
    fn what_is_far_from_everything_has_no_nearest_name() {
        let names = ["http", "keyvalue"];
        assert_eq!(nearest("htp", names), Some("http"));
        assert_eq!(nearest("sockets", names), None);
        assert_eq!(hint("keyvalues", names), "; did you mean \"keyvalue\"?");
    }
}
