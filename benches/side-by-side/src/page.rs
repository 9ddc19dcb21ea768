//! The results in `docs/performance.md`.

use std::fs;

use crate::failure::Failure;
use crate::machine::repository;

/// Puts the text between the markers of this name, in place of what is there.
pub(crate) fn update(name: &str, text: &str) -> Result<(), Failure> {
    let path = repository().join("docs/performance.md");
    let page = fs::read_to_string(&path).map_err(Failure::file(&path))?;
    let Some(page) = replace(&page, name, text) else {
        return Err(Failure::NoPlace(path, begin(name)));
    };
    fs::write(&path, page).map_err(Failure::file(&path))
}

fn begin(name: &str) -> String {
    format!("<!-- begin {name} -->\n")
}

fn replace(page: &str, name: &str, text: &str) -> Option<String> {
    let begin = begin(name);
    let end = format!("<!-- end {name} -->");
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{text}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n";
        let expected = "a\n<!-- begin x -->\nnew\n<!-- end x -->\nb\n";
        assert_eq!(replace(page, "x", "new\n").unwrap(), expected);
        assert_eq!(replace(page, "y", "new\n"), None);
    }
}
