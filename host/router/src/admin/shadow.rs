//! `/api/v1/policies/NAME/shadow`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::caller::Caller;
use super::policies::valid_name;
use super::reply::{Answer, Refusal, blocking};
use crate::trace::ShadowReport;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    version: Option<String>,
}

pub(super) async fn start(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Caller(origin): Caller,
    body: Bytes,
) -> Answer {
    let asked: Asked = if body.is_empty() {
        Asked::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            Refusal::bad_request(format!("the body is not {{\"version\": \"...\"}}: {error}"))
        })?
    };
    let name = valid_name(name)?;
    let started = blocking(move || {
        let traces = &admin.shared.traces;
        admin
            .deployments
            .begin_shadow(traces, &name, asked.version.as_deref(), &origin)
    });
    let report = started.await??;
    tracing::info!(
        policy = report.policy,
        policy_version = report.version,
        "a version runs in the shadow"
    );
    Ok(Json(json!(report)))
}

pub(super) async fn show(State(admin): State<Arc<Admin>>, Path(name): Path<String>) -> Answer {
    let traces = Arc::clone(&admin.shared.traces);
    let report = blocking(move || traces.shadow()).await?;
    of(report, &name)
}

pub(super) async fn end(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Caller(origin): Caller,
) -> Answer {
    let report = blocking(move || {
        let ended = admin
            .deployments
            .end_shadow(&admin.shared.traces, &name, &origin);
        ended.ok_or_else(|| no_shadow(&name))
    });
    Ok(Json(json!(report.await??)))
}

/// Whatever policy it is of.
pub(super) async fn current(State(admin): State<Arc<Admin>>) -> Answer {
    let traces = Arc::clone(&admin.shared.traces);
    let report = blocking(move || traces.shadow()).await?;
    Ok(Json(match report {
        Some(report) => json!(report),
        None => json!({ "policy": null }),
    }))
}

fn of(report: Option<ShadowReport>, name: &str) -> Answer {
    match report.filter(|report| report.policy == name) {
        Some(report) => Ok(Json(json!(report))),
        None => Err(no_shadow(name)),
    }
}

fn no_shadow(name: &str) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "no_shadow",
        format!("no version of {name} runs in the shadow"),
    )
}
