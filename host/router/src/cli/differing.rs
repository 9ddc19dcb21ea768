//! Running recorded hooks on another version, and printing where the two part.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::client::{AdminArguments, escape};
use super::{Failure, output};
use crate::trace::file::Recorded;
use crate::trace::{Difference, Environment, HookTrace, Replayer, RunDifference};

/// Differences that are printed one by one; the rest is counted.
const MAX_PRINTED: usize = 200;
/// How wide the old side of a difference is.
const SIDE: usize = 44;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay policy replay recording-1790000000000.jsonl --policy target/policies/new.wasm\n  patchbay policy replay monday.jsonl --policy new.wasm --json\n\nEnds with 0 when every hook decides as it was recorded, and with 1 when one does not or the recording is not whole: fit to gate a deployment."
)]
pub(super) struct Replay {
    /// A recording of `patchbay record`.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The version to try.
    #[arg(long, value_name = "FILE.wasm")]
    policy: PathBuf,
    /// Only runs of this policy, where more than one was recorded.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Takes a recording that is not whole: ends with 1 only when a hook decides otherwise.
    #[arg(long)]
    partial: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay policy shadow default@3f2a91\n  patchbay policy shadow default\n  patchbay policy shadow off"
)]
pub(super) struct Shadow {
    /// NAME or NAME@VERSION: a stored version (a digest or its beginning; default: the newest) to run on copies of live requests. `off`
    /// ends it.
    #[arg(value_name = "NAME@VERSION|off")]
    version: String,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay policy diff\n  patchbay policy diff default@3f2a91 --json"
)]
pub(super) struct Diff {
    /// The version in the shadow, as a check that it is the one that is meant.
    #[arg(value_name = "NAME@VERSION")]
    version: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Recorded runs on a version, so far.
pub(super) struct Compared {
    file: PathBuf,
    name: Option<String>,
    replayer: Option<Replayer>,
    runs: u64,
    /// Runs of other policies than the one of this name, by theirs.
    others: BTreeMap<String, u64>,
    /// Runs that failed without having begun.
    never_ran: u64,
    /// Runs that were answered more than was recorded.
    lacking: u64,
    found: Vec<RunDifference>,
}

impl Compared {
    /// On the version in this file; only runs of the policy of this name.
    pub(super) fn new(file: &Path, name: Option<String>) -> Compared {
        Compared {
            file: file.to_path_buf(),
            name,
            replayer: None,
            runs: 0,
            others: BTreeMap::new(),
            never_ran: 0,
            lacking: 0,
            found: Vec::new(),
        }
    }

    /// Runs one of them.
    pub(super) fn run(
        &mut self,
        trace: &HookTrace,
        environment: &Arc<Environment>,
    ) -> Result<(), Failure> {
        if self.name.as_ref().is_some_and(|name| *name != trace.policy) {
            *self.others.entry(trace.policy.clone()).or_default() += 1;
            return Ok(());
        }
        if !trace.has_run() {
            self.never_ran += 1;
            return Ok(());
        }
        if !trace.has_answers() {
            self.lacking += 1;
            return Ok(());
        }
        let mut replayer = match self.replayer.take() {
            Some(replayer) => replayer,
            None => self.load(&trace.policy, environment)?,
        };
        self.runs += 1;
        self.found.extend(replayer.compare(trace, environment));
        self.replayer = Some(replayer);
        Ok(())
    }

    fn skipped(&self) -> u64 {
        self.never_ran + self.lacking + self.others.values().sum::<u64>()
    }

    /// What was not played, in words.
    fn left_aside(&self) -> String {
        let others: u64 = self.others.values().sum();
        let mut text = String::new();
        if others > 0 {
            text += &format!(", {others} of other policies skipped");
        }
        if self.never_ran > 0 {
            text += &format!(
                ", {} skipped that never ran (too many hooks at once, or no instance)",
                self.never_ran
            );
        }
        if self.lacking > 0 {
            text += &format!(
                ", {} skipped that were answered more than is recorded (over 256 KiB)",
                self.lacking
            );
        }
        text
    }

    /// Why nothing was played, when nothing was.
    fn why_nothing(&self) -> Option<String> {
        if self.runs > 0 {
            return None;
        }
        let others: Vec<&str> = self.others.keys().map(String::as_str).collect();
        Some(match &self.name {
            Some(name) if !others.is_empty() && self.never_ran + self.lacking == 0 => format!(
                "there is no hook run of the policy {name}: --name takes one of {}",
                others.join(", ")
            ),
            _ => "there is no hook run to replay".to_owned(),
        })
    }

    fn load(&self, policy: &str, environment: &Environment) -> Result<Replayer, Failure> {
        let file = &self.file;
        let bytes = std::fs::read(file).map_err(|source| Failure::File {
            path: file.clone(),
            source,
        })?;
        Replayer::load(policy, &bytes, environment)
            .map_err(|problem| Failure::Said(format!("{}: {problem}", file.display())))
    }
}

/// Prints what was found; an error when there was anything, or when runs are missing and that is not taken.
pub(super) fn report(
    compared: Compared,
    complete: bool,
    partial: bool,
    json: bool,
) -> Result<(), Failure> {
    let calls = by_call(&compared.found);
    if json {
        output::json(&json!({
            "complete": complete,
            "runs": compared.runs,
            "skipped": compared.skipped(),
            "never_ran": compared.never_ran,
            "lacking_answers": compared.lacking,
            "different_runs": compared.found.len(),
            "different_calls": calls,
            "differences": compared.found,
        }));
    } else {
        print(&compared.found);
        output::line(&format!(
            "{} hook runs, {} different in {calls} calls{}",
            compared.runs,
            compared.found.len(),
            compared.left_aside()
        ));
    }
    match compared.found.is_empty() && (complete || partial) {
        true => Ok(()),
        false => Err(Failure::Printed),
    }
}

fn by_call(found: &[RunDifference]) -> usize {
    let calls: BTreeMap<&str, ()> = found
        .iter()
        .map(|difference| (difference.call_id.as_str(), ()))
        .collect();
    calls.len()
}

/// Side by side: what it was, what it would be.
fn print(found: &[RunDifference]) {
    for run in found.iter().take(MAX_PRINTED) {
        output::line(&format!("{}  {}  {}", run.call_id, run.hook, run.message));
        for difference in &run.differences {
            let Difference { field, old, new } = difference;
            output::line(&format!("    {field:22} {old:SIDE$} | {new}"));
        }
    }
    if found.len() > MAX_PRINTED {
        output::line(&format!(
            "... and {} more; --json has them all",
            found.len() - MAX_PRINTED
        ));
    }
}

impl Replay {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let wrong = |error: crate::trace::file::ReadError| Failure::Said(error.to_string());
        let mut recorded = Recorded::open(&self.file).map_err(wrong)?;
        let mut compared = Compared::new(&self.policy, self.name);
        while let Some((trace, environment)) = recorded.next_run().map_err(wrong)? {
            compared.run(&trace, &environment)?;
        }
        if let Some(why) = compared.why_nothing() {
            return Err(Failure::Said(format!("{}: {why}", self.file.display())));
        }
        let missing = match recorded.end() {
            None => Some("the recording was cut off, its end is missing".to_owned()),
            Some(end) if end.dropped > 0 => Some(format!(
                "{} hook runs are missing, which the router did not keep up with",
                end.dropped
            )),
            Some(_) => None,
        };
        if let Some(missing) = &missing {
            let hint = if self.partial {
                ""
            } else {
                "; --partial takes what there is"
            };
            eprintln!("patchbay: {}: {missing}{hint}", self.file.display());
        }
        report(compared, missing.is_none(), self.partial, self.json)
    }
}

impl Shadow {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let client = self.admin.client()?;
        let answer = if self.version == "off" {
            let path = shadow_of(&client.get("/api/v1/shadow")?)?;
            client.delete(&path)?
        } else {
            let (name, version) = name_and_version(&self.version);
            let body = version.map_or_else(|| json!({}), |version| json!({ "version": version }));
            client.post(&format!("/api/v1/policies/{}/shadow", escape(name)), &body)?
        };
        if self.json {
            output::json(&answer);
        } else {
            let word = if self.version == "off" {
                "ended"
            } else {
                "in the shadow"
            };
            output::line(&format!("{word}: {}", summary(&answer)));
        }
        Ok(())
    }
}

impl Diff {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let answer = self.admin.client()?.get("/api/v1/shadow")?;
        let part = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
        shadow_of(&answer)?;
        if let Some(asked) = &self.version {
            let (name, version) = name_and_version(asked);
            let is_version = version.is_none_or(|version| part("version").starts_with(version));
            if part("policy") != name || !is_version {
                return Err(Failure::Said(format!(
                    "{}@{} runs in the shadow, not {asked}: patchbay policy shadow {asked}",
                    part("policy"),
                    part("version")
                )));
            }
        }
        if self.json {
            output::json(&answer);
            return Ok(());
        }
        let found = answer.get("differences").cloned().unwrap_or_default();
        let found: Vec<RunDifference> = serde_json::from_value(found).map_err(|error| {
            Failure::Said(format!("the router's answer is not understood: {error}"))
        })?;
        print(&found);
        output::line(&summary(&answer));
        Ok(())
    }
}

/// The path of the shadow that runs.
fn shadow_of(answer: &Value) -> Result<String, Failure> {
    match answer.get("policy").and_then(Value::as_str) {
        Some(name) => Ok(format!("/api/v1/policies/{}/shadow", escape(name))),
        None => Err(Failure::Said(
            "no version runs in the shadow: patchbay policy shadow NAME@VERSION starts one"
                .to_owned(),
        )),
    }
}

fn name_and_version(text: &str) -> (&str, Option<&str>) {
    match text.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    }
}

fn summary(answer: &Value) -> String {
    let text = |key: &str| answer.get(key).map_or_else(|| "-".to_owned(), output::cell);
    let version: String = text("version").chars().take(12).collect();
    format!(
        "{}@{version}, {} hook runs compared, {} different, {} of them faults, {} dropped",
        text("policy"),
        text("runs"),
        text("different"),
        text("faults"),
        text("dropped")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_behind_its_policy() {
        assert_eq!(name_and_version("a@12"), ("a", Some("12")));
        assert_eq!(name_and_version("a"), ("a", None));
    }
}
