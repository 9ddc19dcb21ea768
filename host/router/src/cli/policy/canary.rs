//! `patchbay policy canary`, `promote` and `abort`, against a running router.

use clap::Args;
use serde_json::{Map, Value, json};

use super::super::client::{AdminArguments, Client, escape};
use super::super::{Failure, output, values};
use super::said;
use crate::policy_directory::DeployError;
use crate::rollout::Match;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay policy canary mine --percent 5\n  patchbay policy canary mine@3f2a91 --percent 10 --match domain=example.com --max-5xx-rate 2 --for 30m\n  patchbay policy canary mine@3f2a91 --percent 100 --match user=alice"
)]
pub(in crate::cli) struct Canary {
    /// The policy, and the digest of its version or the beginning of it. Default: the newest version.
    #[arg(value_name = "NAME[@VERSION]")]
    version: String,
    /// The share of new dialogs.
    #[arg(long, value_parser = values::some_share)]
    percent: f64,
    /// Only requests of domain=HOST (Request-URI), source=ADDRESS[/BITS] or user=NAME[@HOST] (From). May be given several times.
    #[arg(long = "match", value_name = "CONDITION", value_parser = condition)]
    only: Vec<String>,
    /// What decides: each call anew, or the caller's address-of-record.
    #[arg(long, value_parser = ["call-id", "aor"], default_value = "call-id")]
    by: String,
    /// Ends it when more of its hook runs fail, in percent. Default: 1.
    #[arg(long, value_name = "PERCENT", value_parser = values::share)]
    max_fault_rate: Option<f64>,
    /// Ends it when more of its final responses are 5xx, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = values::share)]
    max_5xx_rate: Option<f64>,
    /// Ends it when more of its final responses are 6xx, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = values::share)]
    max_6xx_rate: Option<f64>,
    /// Ends it when its share of 5xx and 6xx is so many points above that of the dialogs beside it. 100: never. Default: 20, with --match 100.
    #[arg(long, value_name = "POINTS", value_parser = values::share)]
    max_failure_excess: Option<f64>,
    /// Ends it when more than 1 % of its hooks take longer, such as 20ms.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_hook_time: Option<String>,
    /// Judges it only after so many new requests. Default: 20.
    #[arg(long, value_name = "N")]
    min_calls: Option<u64>,
    /// Makes it active after this time, when no guard has ended it and it has had its calls.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    duration: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  patchbay policy promote")]
pub(in crate::cli) struct Promote {
    /// The policy of the canary. Default: whichever it is.
    name: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  patchbay policy abort")]
pub(in crate::cli) struct Abort {
    /// The policy of the canary. Default: whichever it is.
    name: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

fn condition(text: &str) -> Result<String, String> {
    text.parse::<Match>().map(String::from)
}

fn duration(text: &str) -> Result<String, String> {
    crate::config::duration(text).map(|_| text.to_owned())
}

impl Canary {
    pub(in crate::cli) fn execute(self) -> Result<(), Failure> {
        let (name, version) = match self.version.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (self.version.as_str(), None),
        };
        let mut guards = Map::new();
        let numbers = [
            ("max_fault_rate", self.max_fault_rate.map(Value::from)),
            ("max_5xx_rate", self.max_5xx_rate.map(Value::from)),
            ("max_6xx_rate", self.max_6xx_rate.map(Value::from)),
            (
                "max_failure_excess",
                self.max_failure_excess.map(Value::from),
            ),
            ("max_hook_time", self.max_hook_time.map(Value::from)),
            ("min_calls", self.min_calls.map(Value::from)),
            ("for", self.duration.map(Value::from)),
        ];
        for (key, value) in numbers {
            if let Some(value) = value {
                guards.insert(key.to_owned(), value);
            }
        }
        let body = json!({
            "version": version,
            "percent": self.percent,
            "by": self.by,
            "match": self.only,
            "guards": guards,
        });
        let path = format!("/api/v1/policies/{}/canary", escape(name));
        let answer = self.admin.client()?.post(&path, &body)?;
        said(&answer, self.json, "canary:")
    }
}

impl Promote {
    pub(in crate::cli) fn execute(self) -> Result<(), Failure> {
        let client = self.admin.client()?;
        let answer = end(&client, self.name, "promote")?;
        said(&answer, self.json, "active:")
    }
}

impl Abort {
    pub(in crate::cli) fn execute(self) -> Result<(), Failure> {
        let client = self.admin.client()?;
        let answer = end(&client, self.name, "abort")?;
        said(&answer, self.json, "aborted:")
    }
}

fn end(client: &Client, name: Option<String>, how: &str) -> Result<Value, Failure> {
    let name = match name {
        Some(name) => name,
        None => current(client)?,
    };
    client.post(
        &format!("/api/v1/policies/{}/{how}", escape(&name)),
        &json!({}),
    )
}

/// The policy of the canary that there is.
fn current(client: &Client) -> Result<String, Failure> {
    let answer = client.get("/api/v1/policies")?;
    answer
        .get("canary")
        .and_then(|canary| canary.get("policy"))
        .map(output::cell)
        .ok_or_else(|| Failure::Refused(DeployError::NoCanary(None).to_string()))
}
