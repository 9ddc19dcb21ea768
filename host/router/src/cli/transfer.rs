//! `patchbay registrations export` and `import`: all bindings of one router, taken to another.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::client::{AdminArguments, Client, escape};
use super::{Failure, output};
use crate::data_dir::write_private;
use crate::location::BindingLine;

/// Bindings in one request, and their bytes.
const MAX_SENT: usize = 2000;
const MAX_SENT_BYTES: usize = 4 << 20;
/// Refused ones that are printed one by one; the rest is counted.
const MAX_PRINTED: usize = 50;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay registrations export bindings.jsonl\n  patchbay registrations export --namespace tenant > tenant.jsonl"
)]
pub(super) struct Export {
    /// The file, for its owner alone. Default: stdout.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only this namespace. Default: all.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON about the file.
    #[arg(long, requires = "file")]
    json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay registrations import bindings.jsonl\n  patchbay registrations export --admin http://10.0.0.1:8060 --token-file old.token | patchbay registrations import -\n\nA binding that the router has already, with the same end or a later one, is kept. Ends with 1 when one is refused."
)]
pub(super) struct Import {
    /// A file of `patchbay registrations export`; -: stdin.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Into this namespace, whatever the file says.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Export {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let path = match &self.namespace {
            Some(name) => format!("/api/v1/bindings?namespace={}", escape(name)),
            None => "/api/v1/bindings".to_owned(),
        };
        let answer = self.admin.client()?.get(&path)?;
        let bindings = answer.get("bindings").and_then(Value::as_array);
        let bindings = bindings.map(Vec::as_slice).unwrap_or_default();
        let Some(file) = &self.file else {
            bindings
                .iter()
                .for_each(|line| output::line(&line.to_string()));
            return Ok(());
        };
        let lines: String = bindings.iter().map(|line| format!("{line}\n")).collect();
        write_private(file, lines.as_bytes()).map_err(|source| Failure::File {
            path: file.clone(),
            source,
        })?;
        if self.json {
            output::json(&json!({ "file": file, "bindings": bindings.len() }));
        } else {
            output::line(&format!("{}: {} bindings", file.display(), bindings.len()));
        }
        Ok(())
    }
}

/// What came of an import so far.
#[derive(Default)]
struct Total {
    imported: u64,
    kept: u64,
    expired: u64,
    refused: Vec<Value>,
}

/// A binding with the number of its line.
struct Numbered {
    number: usize,
    bytes: usize,
    binding: BindingLine,
}

impl Import {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let text = read(&self.file)?;
        let mut lines = lines(&self.file, &text)?;
        if let Some(namespace) = &self.namespace {
            for line in &mut lines {
                line.binding.namespace.clone_from(namespace);
            }
        }
        let client = self.admin.client()?;
        let mut total = Total::default();
        let mut rest = lines.as_slice();
        while !rest.is_empty() {
            let (sent, after) = rest.split_at(first_part(rest));
            send(&client, sent, &mut total)?;
            rest = after;
        }
        total.report(self.json)
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|read| text = read)
    };
    read.map_err(|source| Failure::File {
        path: file.to_path_buf(),
        source,
    })?;
    Ok(text)
}

/// Every line, or the first that is wrong: then nothing is imported.
fn lines(file: &Path, text: &str) -> Result<Vec<Numbered>, Failure> {
    let numbered = (1..).zip(text.lines());
    let full = numbered.filter(|(_, line)| !line.trim().is_empty());
    full.map(|(number, line)| {
        let binding = serde_json::from_str(line).map_err(|error| {
            let problem = error.to_string();
            let problem = problem.split(" at line ").next().unwrap_or_default();
            let file = file.display();
            Failure::Said(format!(
                "{file}: line {number}: this is no binding of `patchbay registrations export`: {problem}; nothing is imported"
            ))
        })?;
        Ok(Numbered {
            number,
            bytes: line.len(),
            binding,
        })
    })
    .collect()
}

/// How many of these are sent together: one at least.
fn first_part(lines: &[Numbered]) -> usize {
    let mut bytes = 0;
    let fits = lines.iter().take(MAX_SENT).take_while(|line| {
        bytes += line.bytes;
        bytes <= MAX_SENT_BYTES
    });
    fits.count().max(1)
}

fn send(client: &Client, lines: &[Numbered], total: &mut Total) -> Result<(), Failure> {
    let bindings: Vec<&BindingLine> = lines.iter().map(|line| &line.binding).collect();
    let answer = client.post("/api/v1/bindings", &json!({ "bindings": bindings }))?;
    let count = |key: &str| answer.get(key).and_then(Value::as_u64).unwrap_or_default();
    total.imported += count("imported");
    total.kept += count("kept");
    total.expired += count("expired");
    let refused = answer.get("refused").and_then(Value::as_array);
    for refused in refused.into_iter().flatten() {
        let index = refused.get("index").and_then(Value::as_u64);
        let index = index.and_then(|index| usize::try_from(index).ok());
        let number = index
            .and_then(|index| lines.get(index))
            .map(|line| line.number);
        let part = |key: &str| refused.get(key).cloned().unwrap_or_default();
        total
            .refused
            .push(json!({ "line": number, "aor": part("aor"), "problem": part("problem") }));
    }
    Ok(())
}

impl Total {
    fn report(&self, json: bool) -> Result<(), Failure> {
        if json {
            output::json(&json!({
                "imported": self.imported,
                "kept": self.kept,
                "expired": self.expired,
                "refused": self.refused,
            }));
        } else {
            self.print();
        }
        match self.refused.is_empty() {
            true => Ok(()),
            false => Err(Failure::Printed),
        }
    }

    fn print(&self) {
        for refused in self.refused.iter().take(MAX_PRINTED) {
            let part = |key: &str| refused.get(key).map_or_else(String::new, output::cell);
            eprintln!(
                "line {}: {}: {}",
                part("line"),
                part("aor"),
                part("problem")
            );
        }
        if self.refused.len() > MAX_PRINTED {
            eprintln!("... and {} more", self.refused.len() - MAX_PRINTED);
        }
        output::line(&format!(
            "{} imported, {} kept that were as new, {} expired, {} refused",
            self.imported,
            self.kept,
            self.expired,
            self.refused.len()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"aor":"sip:bob@example.com","contact":"<sip:bob@192.0.2.4>","expires_unix":1790003600}"#;

    #[test]
    fn lines_are_counted_from_one_and_empty_ones_left_out() {
        let read = lines(Path::new("f"), &format!("{LINE}\n\n{LINE}\n")).expect("two lines");
        let numbers: Vec<usize> = read.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [1, 3]);
        assert_eq!(read[0].binding.namespace, "default");
        let wrong = LINE.replace("contact", "contakt");
        let error = lines(Path::new("f"), &format!("{LINE}\n{wrong}\n")).err();
        let error = error.expect("a wrong line").to_string();
        assert!(
            error.contains("f: line 2:") && error.contains("contakt"),
            "{error}"
        );
    }

    #[test]
    fn many_are_sent_in_parts() {
        let text = format!("{LINE}\n").repeat(MAX_SENT + 1);
        let read = lines(Path::new("f"), &text).expect("lines");
        assert_eq!(first_part(&read), MAX_SENT);
        assert_eq!(first_part(&read[MAX_SENT..]), 1);
    }
}
