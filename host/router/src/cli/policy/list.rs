//! `patchbay policy list` and `audit`: what a running router has, and who changed it.

use clap::Args;
use serde_json::Value;

use super::super::client::AdminArguments;
use super::super::{Failure, output};
use crate::rollout::Rule;

/// How many digits of a version a table shows.
const SHORT_LEN: usize = 12;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay policy list --admin http://127.0.0.1:8060\n  patchbay policy list --json"
)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  patchbay policy audit --limit 20")]
pub(in crate::cli) struct Audit {
    /// How many of the latest lines.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(in crate::cli) fn execute(self) -> Result<(), Failure> {
        let answer = self.admin.client()?.get("/api/v1/policies")?;
        if self.json {
            output::json(&answer);
            return Ok(());
        }
        let mut rows = Vec::new();
        for policy in items(&answer, "policies") {
            for version in items(policy, "versions") {
                rows.push(row(policy, version));
                if let Some(error) = version.get("last_error").and_then(Value::as_str) {
                    let (name, version) = (cell(policy, "name"), short(version, "version"));
                    eprintln!("{}", output::visible(&format!("{name}@{version}: {error}")));
                }
            }
        }
        let routes: Vec<String> = items(&answer, "policies")
            .iter()
            .filter_map(routes_line)
            .collect();
        output::table(
            &[
                "POLICY", "VERSION", "STATE", "PINNED", "CALLS", "FAULTS", "P50", "P90", "P99",
                "STORED", "BY",
            ],
            &rows,
        );
        routes.iter().for_each(|line| output::line(line));
        if let Some(canary) = answer.get("canary").filter(|canary| !canary.is_null()) {
            canary_lines(canary)
                .iter()
                .for_each(|line| output::line(line));
        }
        Ok(())
    }
}

fn row(policy: &Value, version: &Value) -> Vec<String> {
    let time = |quantile: &str| {
        let micros = version
            .get("hook_time_us")
            .and_then(|times| times.get(quantile));
        micros
            .and_then(Value::as_f64)
            .map_or_else(|| "-".to_owned(), time_text)
    };
    vec![
        cell(policy, "name"),
        short(version, "version"),
        cell(version, "state"),
        cell(version, "pinned"),
        cell(version, "calls"),
        cell(version, "faults"),
        time("p50"),
        time("p90"),
        time("p99"),
        moment(version, "stored_at"),
        version.get("origin").map_or_else(|| "-".to_owned(), who),
    ]
}

/// `tenant routes: a.example, b.example`; `None`: no route names the policy.
fn routes_line(policy: &Value) -> Option<String> {
    let routes = items(policy, "routes").iter().filter_map(Value::as_str);
    let routes: Vec<&str> = routes.collect();
    let is_any = !routes.is_empty();
    is_any.then(|| format!("routes of {}: {}", cell(policy, "name"), routes.join(", ")))
}

fn time_text(micros: f64) -> String {
    if micros < 1000.0 {
        format!("{micros:.1}us")
    } else {
        format!("{:.1}ms", micros / 1000.0)
    }
}

/// What the canary gets and what ends it, and how it and the dialogs beside it do.
fn canary_lines(canary: &Value) -> [String; 3] {
    let rule = canary.get("rule").cloned().unwrap_or_default();
    let rule = serde_json::from_value::<Rule>(rule.clone())
        .map_or_else(|_| output::cell(&rule), |rule| rule.to_string());
    let since = moment(canary, "began_at");
    let side = |name: &str| canary.get(name).unwrap_or(&Value::Null);
    let own = side("canary");
    [
        format!(
            "canary: {}@{} since {since} gets {rule}",
            cell(canary, "policy"),
            short(canary, "version"),
        ),
        format!(
            "  canary: {}, {} faults in {} hook runs",
            requests(own),
            cell(own, "faults"),
            cell(own, "hook_runs"),
        ),
        format!("  beside it: {}", requests(side("stable"))),
    ]
}

/// `12 requests (2xx 11, 4xx 1)`.
fn requests(side: &Value) -> String {
    let classes = side.get("responses").and_then(Value::as_object);
    let answered = classes
        .into_iter()
        .flatten()
        .filter(|(_, count)| count.as_u64() > Some(0));
    let answered: Vec<String> = answered
        .map(|(class, count)| format!("{class} {count}"))
        .collect();
    let requests = cell(side, "requests");
    if answered.is_empty() {
        format!("{requests} requests")
    } else {
        format!("{requests} requests ({})", answered.join(", "))
    }
}

impl Audit {
    pub(in crate::cli) fn execute(self) -> Result<(), Failure> {
        let answer = self
            .admin
            .client()?
            .get(&format!("/api/v1/audit?limit={}", self.limit))?;
        if self.json {
            output::json(&answer);
            return Ok(());
        }
        let rows: Vec<Vec<String>> = items(&answer, "audit").iter().map(audit_row).collect();
        output::table(&["WHEN", "WHAT", "BEFORE", "AFTER", "BY", "RESULT"], &rows);
        Ok(())
    }
}

fn audit_row(record: &Value) -> Vec<String> {
    let version = |key: &str| match record.get(key) {
        Some(name) if !name.is_null() => {
            format!("{}@{}", cell(name, "policy"), short(name, "version"))
        }
        _ => "-".to_owned(),
    };
    let done = record.get("done").and_then(Value::as_bool) == Some(true);
    let detail = record.get("detail").and_then(Value::as_str);
    let result = match (done, detail) {
        (true, None) => "done".to_owned(),
        (true, Some(detail)) => format!("done: {detail}"),
        (false, detail) => format!("refused: {}", detail.unwrap_or("-")),
    };
    vec![
        moment(record, "at"),
        cell(record, "action"),
        version("before"),
        version("after"),
        who(record),
        result,
    ]
}

/// Who did something: `alice (cli, 127.0.0.1:40312)`.
fn who(origin: &Value) -> String {
    let part = |key: &str| origin.get(key).and_then(Value::as_str);
    let way: Vec<&str> = [part("via"), part("from")].into_iter().flatten().collect();
    match part("by") {
        Some(name) => format!("{name} ({})", way.join(", ")),
        None => way.join(", "),
    }
}

fn items<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn cell(value: &Value, key: &str) -> String {
    value.get(key).map_or_else(|| "-".to_owned(), output::cell)
}

fn short(value: &Value, key: &str) -> String {
    cell(value, key).chars().take(SHORT_LEN).collect()
}

fn moment(value: &Value, key: &str) -> String {
    value
        .get(key)
        .and_then(Value::as_u64)
        .map_or_else(|| "-".to_owned(), utc)
}

/// Seconds since 1970 as `2026-11-29 16:53:49Z`.
fn utc(unix_secs: u64) -> String {
    let (days, secs) = (unix_secs / 86_400, unix_secs % 86_400);
    // Days since the first of March of the year 0 in eras of 400 years, as in the calendar of Gregory.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (secs / 3600, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00Z");
        assert_eq!(utc(951_827_696), "2000-02-29 12:34:56Z");
        assert_eq!(utc(1_735_689_599), "2024-12-31 23:59:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00Z");
    }

    #[test]
    fn a_canary_is_shown_with_its_rule_and_both_sides() {
        let canary = serde_json::json!({
            "policy": "mine", "version": "3f2a91d0aa55e1", "began_at": 1_735_689_599,
            "rule": {"percent": 100.0, "by": "call-id", "match": ["user=alice"], "guards": {"for": "1h"}},
            "canary": {"requests": 12, "responses": {"2xx": 11, "4xx": 1, "5xx": 0}, "hook_runs": 60, "faults": 2},
            "stable": {"requests": 0, "responses": {"2xx": 0}},
        });
        let lines = canary_lines(&canary);
        assert!(
            lines[0].starts_with("canary: mine@3f2a91d0aa55 since 2024-12-31 23:59:59Z gets 100 % of new dialogs with user=alice; ends above"),
            "{}",
            lines[0]
        );
        assert!(lines[0].ends_with("active after 1h"), "{}", lines[0]);
        assert_eq!(
            lines[1],
            "  canary: 12 requests (2xx 11, 4xx 1), 2 faults in 60 hook runs"
        );
        assert_eq!(lines[2], "  beside it: 0 requests");
    }

    #[test]
    fn times_are_short() {
        assert_eq!(time_text(3.072), "3.1us");
        assert_eq!(time_text(50_331.648), "50.3ms");
    }
}
