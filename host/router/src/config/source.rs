//! The configuration as it is written: a tree of values that know their line.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problem};

/// A value and where it is written.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value as TOML writes it, or as text of the command line whose type the key decides.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Table(BTreeMap<String, Entry>),
    Array(Vec<Entry>),
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// `--set key=this`.
    Raw(String),
    /// A type that no key has; its name.
    Other(&'static str),
}

impl Value {
    /// What this is, for an error.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Table(_) => "a section",
            Value::Array(_) => "a list",
            Value::Text(_) | Value::Raw(_) => "text",
            Value::Integer(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::Other(kind) => kind,
        }
    }
}

/// Reads a file. What can't be parsed is reported, the rest is kept.
pub(super) fn read_file(path: &Path, problems: &mut Vec<Problem>) -> BTreeMap<String, Entry> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, problems),
        Err(error) => {
            problems.push(Problem::new(
                Place::Nowhere,
                "",
                format!("can't be read: {error}"),
            ));
            BTreeMap::new()
        }
    }
}

/// Parses TOML text.
pub(super) fn parse(text: &str, problems: &mut Vec<Problem>) -> BTreeMap<String, Entry> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let lines = Lines::new(text);
    for error in errors {
        let place = error
            .span()
            .map_or(Place::Nowhere, |span| lines.place(span.start));
        let key = error.span().and_then(|span| text.get(span));
        let message = match (error.message(), key) {
            ("duplicate key", Some(key)) => format!("{key} is written twice"),
            (message, _) => message.to_owned(),
        };
        problems.push(Problem::new(place, "", message));
    }
    lines.table(table.get_ref())
}

/// Puts `--set key=value` into the tree, over what is there.
pub(super) fn set(tree: &mut BTreeMap<String, Entry>, assignment: &str) -> Result<(), Problem> {
    let wrong = |message: &str| {
        Problem::new(
            Place::CommandLine,
            "--set",
            format!("{assignment:?} {message}"),
        )
    };
    let (key, value) = assignment
        .split_once('=')
        .ok_or_else(|| wrong("is not of the form key=value"))?;
    let mut path: Vec<String> =
        split_key(key.trim()).ok_or_else(|| wrong("has no such key: write section.key"))?;
    let last = path.pop().ok_or_else(|| wrong("has no key"))?;
    let mut table = tree;
    for part in path {
        let entry = table.entry(part).or_insert_with(|| Entry {
            place: Place::CommandLine,
            value: Value::Table(BTreeMap::new()),
        });
        match &mut entry.value {
            Value::Table(inner) => table = inner,
            _ => return Err(wrong("goes into a key that is no section")),
        }
    }
    table.insert(
        last,
        Entry {
            place: Place::CommandLine,
            value: command_line_value(value.trim()),
        },
    );
    Ok(())
}

/// Splits `a."b.c".d` at its dots.
fn split_key(key: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = key;
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at_checked(rest.find('.').unwrap_or(rest.len()))?,
        };
        if part.is_empty() {
            return None;
        }
        parts.push(part.to_owned());
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None => return after.is_empty().then_some(parts),
        }
    }
}

/// Lists, tables and quoted text are TOML; anything else is text whose type the key decides.
fn command_line_value(text: &str) -> Value {
    if text.starts_with(['[', '{', '"', '\'']) {
        let document = format!("value = {text}");
        let mut problems = Vec::new();
        let mut tree = parse(&document, &mut problems);
        if let (true, Some(mut entry)) = (problems.is_empty(), tree.remove("value")) {
            entry.place = Place::CommandLine;
            relocate(&mut entry);
            return entry.value;
        }
    }
    Value::Raw(text.to_owned())
}

fn relocate(entry: &mut Entry) {
    entry.place = Place::CommandLine;
    match &mut entry.value {
        Value::Table(table) => table.values_mut().for_each(relocate),
        Value::Array(list) => list.iter_mut().for_each(relocate),
        _ => {}
    }
}

/// Where each line begins.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Lines {
        Lines(
            text.bytes()
                .enumerate()
                .filter(|(_, byte)| *byte == b'\n')
                .map(|(index, _)| index)
                .collect(),
        )
    }

    fn place(&self, offset: usize) -> Place {
        Place::Line(1 + self.0.partition_point(|&end| end < offset))
    }

    fn table(&self, table: &DeTable<'_>) -> BTreeMap<String, Entry> {
        table
            .iter()
            .map(|(key, value)| {
                let place = self.place(key.span().start);
                (
                    key.get_ref().to_string(),
                    Entry {
                        place,
                        value: self.value(value),
                    },
                )
            })
            .collect()
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other("a number that is too big"), Value::Integer),
            DeValue::Float(_) => Value::Other("a number with a fraction"),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(list) => Value::Array(
                list.iter()
                    .map(|item| Entry {
                        place: self.place(item.span().start),
                        value: self.value(item),
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table)),
        }
    }
}
