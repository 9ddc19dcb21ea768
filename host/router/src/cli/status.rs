//! `patchbay status`.

use clap::Args;
use serde_json::Value;

use super::Failure;
use super::client::AdminArguments;
use super::output;

/// Shows what a running router is doing.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay status\n  patchbay status --admin http://127.0.0.1:8060 --json"
)]
pub(super) struct Status {
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let status = self.admin.client()?.get("/api/v1/status")?;
        if self.json {
            output::json(&status);
        } else {
            print(&status);
        }
        Ok(())
    }
}

fn print(status: &Value) {
    let text = |pointer: &str| {
        status
            .pointer(pointer)
            .map_or_else(|| "-".to_owned(), output::cell)
    };
    output::line(&format!(
        "patchbay {} on {}, up {} s",
        text("/version"),
        text("/node"),
        text("/uptime_seconds")
    ));
    if status.get("draining") == Some(&Value::Bool(true)) {
        output::line("draining: new requests outside of dialogs get 503");
    }
    output::line(&format!(
        "policy {} version {}",
        text("/policy/name"),
        text("/policy/version")
    ));
    for listener in status
        .get("listeners")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let part = |key: &str| {
            listener
                .get(key)
                .map_or_else(|| "-".to_owned(), output::cell)
        };
        output::line(&format!(
            "listening {} {}",
            part("transport"),
            part("address")
        ));
    }
    for route in status
        .get("routes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        output::line(&route_line(route));
    }
    for (name, value) in status
        .get("counts")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        output::line(&format!("{} {value}", name.replace('_', " ")));
    }
}

/// `route red.example: screening, red; 2 transactions`.
fn route_line(route: &Value) -> String {
    let part = |key: &str| route.get(key).map_or_else(|| "-".to_owned(), output::cell);
    let policies = route.get("policies").and_then(Value::as_array);
    let names = policies
        .into_iter()
        .flatten()
        .filter_map(|policy| policy.get("name"));
    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
    format!(
        "route {}: {}; {} transactions",
        part("name"),
        names.join(", "),
        part("transactions")
    )
}
