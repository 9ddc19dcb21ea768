//! Reads the keys of one section with their types, and collects every problem on the way.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::{Place, Problem};
use super::source::{Entry, Value};
use super::units;

/// What is known and what is wrong, over all sections.
#[derive(Default)]
pub(super) struct Findings {
    problems: RefCell<Vec<Problem>>,
    known: RefCell<Vec<String>>,
    unknown: RefCell<Vec<(Place, String)>>,
}

impl Findings {
    pub(super) fn new(problems: Vec<Problem>) -> Findings {
        Findings {
            problems: RefCell::new(problems),
            ..Findings::default()
        }
    }

    pub(super) fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Every problem in the order of the file.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        let known = self.known.into_inner();
        for (place, key) in self.unknown.into_inner() {
            let message = match nearest(&key, &known) {
                Some(near) if near == key => {
                    "does not go with the other keys here: leave it out".to_owned()
                }
                Some(near) => {
                    forget_missing(&mut problems, place, near);
                    format!("unknown key; did you mean {near}?")
                }
                None => "unknown key".to_owned(),
            };
            problems.push(Problem::new(place, key, message));
        }
        problems.sort_by_key(|problem| problem.place);
        problems
    }
}

/// A key that is there with another spelling is not missing as well. It is missing where its section begins: that of the last one before.
fn forget_missing(problems: &mut Vec<Problem>, misspelt: Place, key: &str) {
    let is_of_section = |problem: &&Problem| {
        problem.key == key && problem.message == MISSING && problem.place <= misspelt
    };
    let section = problems.iter().filter(is_of_section).map(|one| one.place);
    if let Some(section) = section.max() {
        problems.retain(|one| (&*one.key, &*one.message, one.place) != (key, MISSING, section));
    }
}

/// What is said of a key that has to be there.
const MISSING: &str = "is missing";

/// One section while it is read. Keys that nobody asked for are reported by [`Section::finish`].
pub(super) struct Section<'a> {
    path: String,
    entries: Option<&'a BTreeMap<String, Entry>>,
    place: Place,
    known: Vec<&'static str>,
    findings: &'a Findings,
    /// What relative paths are relative to.
    folder: &'a Path,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(
        entries: &'a BTreeMap<String, Entry>,
        findings: &'a Findings,
        folder: &'a Path,
    ) -> Section<'a> {
        Section {
            path: String::new(),
            entries: Some(entries),
            place: Place::Nowhere,
            known: Vec::new(),
            findings,
            folder,
        }
    }

    /// Whether the section is written at all.
    pub(super) fn is_present(&self) -> bool {
        self.entries.is_some()
    }

    /// Whether there are sections in it.
    pub(super) fn has_sections(&self) -> bool {
        let mut entries = self.entries.into_iter().flat_map(BTreeMap::values);
        entries.any(|entry| matches!(entry.value, Value::Table(_)))
    }

    /// Reports a problem of `key`.
    pub(super) fn problem(&self, key: &str, message: impl Into<String>) {
        self.findings
            .report(Problem::new(self.place_of(key), self.full(key), message));
    }

    /// Reports the keys that were not asked for.
    pub(super) fn finish(self) {
        let mut known = self.findings.known.borrow_mut();
        for key in &self.known {
            let full = self.full(key);
            if !known.contains(&full) {
                known.push(full);
            }
        }
        for (key, entry) in self.entries.into_iter().flatten() {
            if !self.known.contains(&key.as_str()) {
                self.findings
                    .unknown
                    .borrow_mut()
                    .push((entry.place, self.full(key)));
            }
        }
    }

    /// A section inside of this one; an absent one reads as empty.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let entry = self.entry(key);
        let entries = match entry.map(|entry| &entry.value) {
            Some(Value::Table(table)) => Some(table),
            Some(other) => {
                self.mistyped(key, "a section", other);
                None
            }
            None => None,
        };
        self.inner(
            self.full(key),
            entries,
            entry.map_or(Place::Nowhere, |entry| entry.place),
        )
    }

    /// A list of sections (`[[key]]`); `None` when it is absent.
    pub(super) fn sections(&mut self, key: &'static str) -> Option<Vec<Section<'a>>> {
        let entry = self.entry(key)?;
        let Value::Array(list) = &entry.value else {
            self.mistyped(key, "a list of sections ([[...]])", &entry.value);
            return None;
        };
        let mut sections = Vec::new();
        for item in list {
            match &item.value {
                Value::Table(table) => {
                    sections.push(self.inner(self.full(key), Some(table), item.place))
                }
                other => self.mistyped(key, "a list of sections ([[...]])", other),
            }
        }
        Some(sections)
    }

    fn inner(
        &self,
        path: String,
        entries: Option<&'a BTreeMap<String, Entry>>,
        place: Place,
    ) -> Section<'a> {
        Section {
            path,
            entries,
            place,
            known: Vec::new(),
            findings: self.findings,
            folder: self.folder,
        }
    }

    /// Text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let entry = self.entry(key)?;
        match &entry.value {
            Value::Text(text) | Value::Raw(text) => Some(text.clone()),
            other => {
                self.mistyped(key, "text in quotes", other);
                None
            }
        }
    }

    /// Text that `read` turns into a value; its error is the problem.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(key)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(key, message);
                None
            }
        }
    }

    /// A duration of at least `least`.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        least: Duration,
    ) -> Duration {
        let Some(value) = self.parsed(key, units::duration) else {
            return default;
        };
        if value < least {
            self.problem(key, format!("must be at least {}ms", least.as_millis()));
            return default;
        }
        value
    }

    /// A size in this range.
    pub(super) fn size(
        &mut self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> usize {
        let Some(value) = self.parsed(key, units::size) else {
            return default;
        };
        if !range.contains(&value) {
            self.problem(
                key,
                format!("must be between {}B and {}B", range.start(), range.end()),
            );
            return default;
        }
        value
    }

    /// A whole number in this range.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> usize {
        let Some(entry) = self.entry(key) else {
            return default;
        };
        let number = match &entry.value {
            Value::Integer(number) => Some(*number),
            Value::Raw(text) => text.parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            self.mistyped(key, "a whole number", &entry.value);
            return default;
        };
        match usize::try_from(number) {
            Ok(number) if range.contains(&number) => number,
            _ => {
                self.problem(
                    key,
                    format!(
                        "{number} is not between {} and {}",
                        range.start(),
                        range.end()
                    ),
                );
                default
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let Some(entry) = self.entry(key) else {
            return default;
        };
        match &entry.value {
            Value::Boolean(value) => *value,
            Value::Raw(text) if text == "true" || text == "false" => text == "true",
            other => {
                self.mistyped(key, "true or false", other);
                default
            }
        }
    }

    /// One of a closed set of texts.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> T {
        let read = |text: &str| choice_of(text, choices);
        self.parsed(key, read).unwrap_or(default)
    }

    /// A list of texts; the command line may separate them by commas.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let entry = self.entry(key)?;
        let list = match &entry.value {
            Value::Array(list) => list,
            Value::Raw(text) => {
                return Some(
                    text.split(',')
                        .map(str::trim)
                        .filter(|item| !item.is_empty())
                        .map(str::to_owned)
                        .collect(),
                );
            }
            other => {
                self.mistyped(key, "a list of texts", other);
                return None;
            }
        };
        let mut texts = Vec::new();
        for item in list {
            match &item.value {
                Value::Text(text) => texts.push(text.clone()),
                other => self.mistyped(key, "a list of texts", other),
            }
        }
        Some(texts)
    }

    /// A section whose keys are free and whose values are text.
    pub(super) fn free_texts(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let section = self.section(key);
        let mut texts = BTreeMap::new();
        for (name, entry) in section.entries.into_iter().flatten() {
            match &entry.value {
                Value::Text(text) | Value::Raw(text) => {
                    texts.insert(name.clone(), text.clone());
                }
                other => section.mistyped(name, "text in quotes", other),
            }
        }
        texts
    }

    /// Where each key of a section is written.
    pub(super) fn places(&mut self, key: &'static str) -> BTreeMap<String, Place> {
        let table = match self.entry(key).map(|entry| &entry.value) {
            Some(Value::Table(table)) => Some(table),
            _ => None,
        };
        let entries = table.into_iter().flatten();
        entries
            .map(|(name, entry)| (name.clone(), entry.place))
            .collect()
    }

    /// A path; a relative one of the file is relative to the file's folder.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let place = self.entry(key)?.place;
        let text = self.text(key)?;
        if text.is_empty() {
            self.problem(key, "is empty");
            return None;
        }
        Some(match place {
            Place::Line(_) => self.folder.join(text),
            _ => PathBuf::from(text),
        })
    }

    /// A path of a file that has to exist.
    pub(super) fn existing_file(&mut self, key: &'static str) -> Option<PathBuf> {
        let path = self.path(key)?;
        if let Err(error) = std::fs::File::open(&path) {
            self.problem(key, format!("{}: {error}", path.display()));
        } else if path.is_dir() {
            self.problem(
                key,
                format!("{} is a directory, not a file", path.display()),
            );
        }
        Some(path)
    }

    /// Says that a key of this section has to be there.
    pub(super) fn missing(&self, key: &str) {
        self.findings
            .report(Problem::new(self.place, self.full(key), MISSING));
    }

    /// Whether the key is written.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.entry(key).is_some()
    }

    fn entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries?.get(key)
    }

    fn mistyped(&self, key: &str, expected: &str, found: &Value) {
        self.problem(
            key,
            format!(
                "wrong type: {expected} is expected, this is {}",
                found.kind()
            ),
        );
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

/// For keys whose names are free, and values that may be of several types.
impl<'a> Section<'a> {
    /// Where the section is written.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Where this key is written; without it, where the section begins.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.entries
            .and_then(|entries| entries.get(key))
            .map_or(self.place, |entry| entry.place)
    }

    /// The value as it is written, whatever its type.
    pub(super) fn written(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.entry(key)
    }

    /// Says that a value has another type than one of the `expected`.
    pub(super) fn wrong_type(&self, key: &str, expected: &str, found: &Value) {
        self.mistyped(key, expected, found);
    }

    /// The table of a value that was [`written`](Section::written) at `key`.
    pub(super) fn table(&self, key: &str, entry: &'a Entry) -> Option<Section<'a>> {
        match &entry.value {
            Value::Table(table) => Some(self.inner(self.full(key), Some(table), entry.place)),
            _ => None,
        }
    }

    /// The sections in a section whose keys are free, with their names, in the order of the file.
    pub(super) fn named_sections(&mut self, key: &'static str) -> Vec<(&'a str, Section<'a>)> {
        let section = self.section(key);
        let mut sections = Vec::new();
        for (name, entry) in section.entries.into_iter().flatten() {
            match &entry.value {
                // All of them have the same keys, so that one of another is a near one.
                Value::Table(table) => {
                    let inner = self.inner(self.full(key), Some(table), entry.place);
                    sections.push((name.as_str(), inner));
                }
                other => section.mistyped(name, "a section", other),
            }
        }
        sections.sort_by_key(|(_, section)| section.place);
        sections
    }
}

/// The value of `text` among `choices`.
pub(super) fn choice_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let names: Vec<String> = choices
                .iter()
                .map(|(name, _)| format!("{name:?}"))
                .collect();
            format!("{text:?} is not one of {}", names.join(", "))
        })
}

/// The known key that was most likely meant: a similar one of the same section, else one of the same name elsewhere, else a similar one.
fn nearest<'k>(key: &str, known: &'k [String]) -> Option<&'k str> {
    let (section, name) = split(key);
    let same_section = known.iter().filter(|other| split(other).0 == section);
    let near = |other: &'k String| {
        let distance = distance(name, split(other).1);
        (distance <= 1 + name.len() / 4).then_some((distance, other.as_str()))
    };
    same_section
        .filter_map(near)
        .min()
        .or_else(|| {
            // A whole section may have been meant.
            let same = known.iter().filter(|other| split(other).1 == name);
            same.min_by_key(|other| other.len() > name.len())
                .map(|other| (0, other.as_str()))
        })
        .or_else(|| known.iter().filter_map(near).min())
        .map(|(_, other)| other)
}

/// The word that was most likely meant.
pub(super) fn nearest_word<'w>(
    word: &str,
    known: impl Iterator<Item = &'w str>,
) -> Option<&'w str> {
    known
        .map(|other| (distance(word, other), other))
        .filter(|(distance, _)| *distance <= 1 + word.len() / 4)
        .min()
        .map(|(_, other)| other)
}

fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

/// The Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = i;
        let mut previous = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(right.bytes()) {
            let substituted = diagonal + usize::from(a != b);
            diagonal = *cell;
            previous = substituted.min(*cell + 1).min(previous + 1);
            *cell = previous;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("max_branch", "max_branches"), 2);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn nearest_prefers_the_same_section() {
        let known = ["node.name", "tls.domain.name", "auth.realm"].map(str::to_owned);
        assert_eq!(nearest("tls.domain.nam", &known), Some("tls.domain.name"));
        assert_eq!(nearest("node.realm", &known), Some("auth.realm"));
        assert_eq!(nearest("node.colour", &known), None);
        let known = ["admin.listen", "listen"].map(str::to_owned);
        assert_eq!(nearest("node.listen", &known), Some("listen"));
    }
}
