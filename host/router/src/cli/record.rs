//! `patchbay record`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::AdminArguments;
use super::{Failure, output, values};

/// Records hook inputs, the host's answers and verdicts of a running router to a file.
#[derive(Debug, Subcommand)]
pub(super) enum Record {
    /// Starts a recording, in the data directory of the router.
    Start(Start),
    /// Ends the recording.
    Stop(Stop),
    /// Shows how the recording is getting on, or how the last one ended.
    Status(Status),
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay record start\n  patchbay record start --name monday --max-size 1GiB --max-time 10m --redact"
)]
pub(super) struct Start {
    /// The name of the file, without its ending. Default: one with the time.
    #[arg(long, value_name = "NAME", value_parser = values::recording_name)]
    name: Option<String>,
    /// The recording ends when the file has this size. Default: 256MiB.
    #[arg(long, value_name = "SIZE", value_parser = values::recording_size)]
    max_size: Option<String>,
    /// The recording ends after this time. Default: 1h.
    #[arg(long, value_name = "TIME", value_parser = values::recording_time)]
    max_time: Option<String>,
    /// Hides users and addresses, the same one always in the same way.
    #[arg(long)]
    redact: bool,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  patchbay record stop")]
pub(super) struct Stop {
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  patchbay record status --json")]
pub(super) struct Status {
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Record {
    pub(super) fn execute(self) -> Result<(), Failure> {
        match self {
            Record::Start(start) => start.execute(),
            Record::Stop(stop) => {
                let report = stop.admin.client()?.delete("/api/v1/recording")?;
                show(&report, stop.json);
                Ok(())
            }
            Record::Status(status) => {
                let report = status.admin.client()?.get("/api/v1/recording")?;
                show(&report, status.json);
                Ok(())
            }
        }
    }
}

impl Start {
    fn execute(self) -> Result<(), Failure> {
        let mut body = json!({ "redact": self.redact });
        let keys = [
            ("name", self.name),
            ("max_size", self.max_size),
            ("max_time", self.max_time),
        ];
        if let Some(map) = body.as_object_mut() {
            let given = keys
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), Value::String(value?))));
            map.extend(given);
        }
        let report = self.admin.client()?.post("/api/v1/recording", &body)?;
        show(&report, self.json);
        Ok(())
    }
}

fn show(report: &Value, json: bool) {
    if json {
        return output::json(report);
    }
    let text = |key: &str| report.get(key).map_or_else(|| "-".to_owned(), output::cell);
    if report.get("file").is_none_or(Value::is_null) {
        return output::line("nothing is recorded");
    }
    let state = match report.get("running") {
        Some(Value::Bool(true)) => "recording to".to_owned(),
        _ => format!("ended ({}):", text("ended")),
    };
    output::line(&format!("{state} {}", text("file")));
    output::line(&format!(
        "{} hook runs, {} of {} bytes, {} of {} s, {} dropped{}",
        text("runs"),
        text("bytes"),
        text("max_bytes"),
        text("seconds"),
        text("max_seconds"),
        text("dropped"),
        match report.get("redacted") {
            Some(Value::Bool(true)) => ", redacted",
            _ => "",
        }
    ));
}
