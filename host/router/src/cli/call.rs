//! `patchbay call`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{AdminArguments, escape};
use super::differing::{self, Compared};
use super::{Failure, output};
use crate::trace::{Answer, CallReport, Environment, HookTrace, changes};

/// Shows the latest calls of a running router, hook by hook.
#[derive(Debug, Subcommand)]
pub(super) enum Call {
    /// Lists the latest calls.
    List(List),
    /// Shows every hook run of a call: what it saw, what it was told, what it decided.
    Show(Show),
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  patchbay call list --limit 20")]
pub(super) struct List {
    /// So many at most.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay call show a84b4c76e66710@192.0.2.4\n  patchbay call show a84b4c76e66710@192.0.2.4 --replay-with target/policies/new.wasm"
)]
pub(super) struct Show {
    /// The Call-ID.
    call_id: String,
    /// Runs the call again on this version, here, and shows where the two part; ends with 1 where they do.
    #[arg(long, value_name = "FILE.wasm")]
    replay_with: Option<PathBuf>,
    /// Only runs of this policy, where the call ran in more than one.
    #[arg(long, value_name = "NAME", requires = "replay_with")]
    name: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Call {
    pub(super) fn execute(self) -> Result<(), Failure> {
        match self {
            Call::List(list) => list.execute(),
            Call::Show(show) => show.execute(),
        }
    }
}

impl List {
    fn execute(self) -> Result<(), Failure> {
        let path = format!("/api/v1/calls?limit={}", self.limit);
        let answer = self.admin.client()?.get(&path)?;
        if self.json {
            output::json(&answer);
            return Ok(());
        }
        let calls = answer.get("calls").and_then(Value::as_array);
        let row = |call: &Value| {
            let part = |key: &str| call.get(key).map_or_else(|| "-".to_owned(), output::cell);
            let version: String = part("version").chars().take(12).collect();
            vec![
                part("call_id"),
                part("method"),
                part("request_uri"),
                part("runs"),
                part("faults"),
                part("last"),
                format!("{}@{version}", part("policy")),
            ]
        };
        let rows: Vec<Vec<String>> = calls.into_iter().flatten().map(row).collect();
        output::table(
            &[
                "CALL-ID",
                "METHOD",
                "REQUEST-URI",
                "HOOKS",
                "FAULTS",
                "LAST",
                "POLICY",
            ],
            &rows,
        );
        Ok(())
    }
}

impl Show {
    fn execute(self) -> Result<(), Failure> {
        let path = format!("/api/v1/calls/{}", escape(&self.call_id));
        let answer = self.admin.client()?.get(&path)?;
        let Some(file) = &self.replay_with else {
            if self.json {
                output::json(&answer);
            } else {
                print(&call(answer)?);
            }
            return Ok(());
        };
        let call = call(answer)?;
        let environments: HashMap<u32, Arc<Environment>> = call
            .environments
            .into_iter()
            .map(|(number, environment)| (number, Arc::new(environment)))
            .collect();
        let complete = call.left_out == 0;
        let mut compared = Compared::new(file, self.name);
        for run in &call.runs {
            if let Some(environment) = environments.get(&run.environment) {
                compared.run(run, environment)?;
            }
        }
        differing::report(compared, complete, true, self.json)
    }
}

fn call(answer: Value) -> Result<CallReport, Failure> {
    serde_json::from_value(answer)
        .map_err(|error| Failure::Said(format!("the router's answer is not understood: {error}")))
}

fn print(call: &CallReport) {
    for run in &call.runs {
        print_run(run);
    }
    if call.left_out > 0 {
        output::line(&format!(
            "{} further hook runs were not kept",
            call.left_out
        ));
    }
}

fn print_run(run: &HookTrace) {
    let version: String = run.version.chars().take(12).collect();
    output::line(&format!(
        "{} {}  {}@{version}  {} µs  -> {}",
        time_of(run.at_unix_ms),
        run.input.hook.name(),
        run.policy,
        run.elapsed_us,
        run.outcome.brief()
    ));
    if let Some(message) = run.current() {
        let text = message.seen().lossy();
        for line in text.split("\r\n\r\n").next().unwrap_or_default().lines() {
            output::line(&format!("    | {line}"));
        }
    }
    for answer in &run.answers {
        output::line(&format!("    ? {}", asked(answer)));
    }
    let effects = serde_json::to_value(&run.effects).unwrap_or_default();
    for (name, value) in effects.as_object().into_iter().flatten() {
        if name == "message" {
            continue;
        }
        output::line(&format!("    > {name}: {}", output::cell(value)));
    }
    for difference in changes(run) {
        let (field, old, new) = (difference.field, difference.old, difference.new);
        output::line(&format!("    > {field}: {old} => {new}"));
    }
    output::line("");
}

/// A question with its answer, in one line.
fn asked(answer: &Answer) -> String {
    let mut value = json!(answer);
    let name = value
        .as_object_mut()
        .and_then(|map| map.remove("asked"))
        .map_or_else(String::new, |name| output::cell(&name));
    format!("{name} {value}")
}

/// The time of day, in UTC.
fn time_of(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1000, unix_ms % 1000);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{hour:02}:{minute:02}:{second:02}.{ms:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_the_day() {
        assert_eq!(time_of(1_790_000_000_123), "14:13:20.123");
    }
}
