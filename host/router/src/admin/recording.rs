//! `/api/v1/recording`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Admin;
use super::reply::{Answer, Refusal, blocking};
use crate::config;
use crate::data_dir::make_private_folder;
use crate::trace::{RecordError, RecordingBounds};

/// Bounds of a recording that names none.
const DEFAULT_MAX_BYTES: u64 = 256 << 20;
const DEFAULT_MAX_TIME: Duration = Duration::from_secs(3600);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    name: Option<String>,
    max_size: Option<String>,
    max_time: Option<String>,
    redact: bool,
}

pub(super) async fn status(State(admin): State<Arc<Admin>>) -> Answer {
    let traces = Arc::clone(&admin.shared.traces);
    let report = blocking(move || traces.recording()).await?;
    Ok(Json(match report {
        Some(report) => shown(&report),
        None => json!({ "running": false, "file": null }),
    }))
}

pub(super) async fn start(State(admin): State<Arc<Admin>>, body: Bytes) -> Answer {
    let asked: Asked = if body.is_empty() {
        Asked::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| Refusal::bad_request(error.to_string()))?
    };
    let bounds = bounds(&asked)?;
    let name = file_name(asked.name.as_deref())?;
    let folder = admin.recordings.clone();
    let traces = Arc::clone(&admin.shared.traces);
    let started = blocking(move || {
        make_private_folder(&folder).map_err(|source| RecordError::File {
            path: folder.clone(),
            source,
        })?;
        traces.record(folder.join(name), bounds)
    });
    let report = started.await??;
    tracing::info!(file = %report.file.display(), redacted = report.redacted, "hook runs are recorded");
    Ok(Json(shown(&report)))
}

pub(super) async fn stop(State(admin): State<Arc<Admin>>) -> Answer {
    let traces = Arc::clone(&admin.shared.traces);
    let report = blocking(move || traces.stop_recording()).await??;
    Ok(Json(shown(&report)))
}

fn bounds(asked: &Asked) -> Result<RecordingBounds, Refusal> {
    let wrong = |key: &'static str| {
        move |message: String| Refusal::bad_request(format!("{key}: {message}"))
    };
    let max_bytes = asked.max_size.as_deref().map(RecordingBounds::size);
    let max_bytes = max_bytes.transpose().map_err(wrong("max_size"))?;
    let max_time = asked.max_time.as_deref().map(RecordingBounds::time);
    let max_time = max_time.transpose();
    Ok(RecordingBounds {
        max_bytes: max_bytes.unwrap_or(DEFAULT_MAX_BYTES),
        max_time: max_time
            .map_err(wrong("max_time"))?
            .unwrap_or(DEFAULT_MAX_TIME),
        redact: asked.redact,
    })
}

/// A recording is in the folder for them, whatever its name: the API writes nowhere else.
fn file_name(name: Option<&str>) -> Result<PathBuf, Refusal> {
    let name = match name {
        Some(name) if config::is_policy_name(name) => name.to_owned(),
        Some(_) => {
            return Err(Refusal::bad_request(
                "the name of a recording has 1 to 64 letters, digits, '-' and '_'",
            ));
        }
        None => {
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
            format!("recording-{}", since_1970.unwrap_or_default().as_millis())
        }
    };
    Ok(PathBuf::from(format!("{name}.jsonl")))
}

fn shown(report: &impl Serialize) -> Value {
    serde_json::to_value(report).unwrap_or_default()
}

impl From<RecordError> for Refusal {
    fn from(error: RecordError) -> Refusal {
        let detail = error.to_string();
        match error {
            RecordError::Running(_) => {
                Refusal::new(StatusCode::CONFLICT, "already_recording", detail)
            }
            RecordError::NotRunning => Refusal::new(StatusCode::CONFLICT, "not_recording", detail),
            RecordError::Exists(_) => Refusal::new(StatusCode::CONFLICT, "file_exists", detail),
            RecordError::File { .. } => {
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "storage_failed", detail)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_folder() {
        assert_eq!(
            file_name(Some("monday")).expect("valid"),
            PathBuf::from("monday.jsonl")
        );
        for name in ["../x", "a/b", "", "a.b"] {
            assert!(file_name(Some(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn bounds_have_units() {
        let asked = |max_size: &str, max_time: &str| Asked {
            max_size: Some(max_size.to_owned()),
            max_time: Some(max_time.to_owned()),
            ..Asked::default()
        };
        let good = bounds(&asked("1MiB", "5m")).expect("valid");
        assert_eq!((good.max_bytes, good.max_time.as_secs()), (1 << 20, 300));
        assert!(bounds(&asked("1", "5m")).is_err());
        assert!(bounds(&asked("1KiB", "5m")).is_err());
        assert!(bounds(&asked("1MiB", "soon")).is_err());
        assert!(bounds(&asked("1MiB", "0s")).is_err());
    }
}
