//! `/api/v1/policies/NAME/shadow`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::reply::{Answer, Refusal, blocking};
use crate::policy_directory::DeployError;
use crate::trace::ShadowReport;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    version: Option<String>,
}

pub(super) async fn start(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let asked: Asked = if body.is_empty() {
        Asked::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            Refusal::bad_request(format!("the body is not {{\"version\": \"...\"}}: {error}"))
        })?
    };
    let shared = Arc::clone(&admin.shared);
    let started = blocking(move || {
        let policies = &shared.policies;
        let version = policies
            .begin_shadow(&name, asked.version.as_deref())
            .map_err(DeployError::from)?;
        let engine = policies.engine().clone();
        let started = shared.traces.set_shadow(engine, version);
        if started.is_err() {
            policies.end_shadow();
        }
        started.map_err(DeployError::from)
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

pub(super) async fn end(State(admin): State<Arc<Admin>>, Path(name): Path<String>) -> Answer {
    let shared = Arc::clone(&admin.shared);
    let report = blocking(move || {
        let is_asked_for = |report: ShadowReport| report.policy == name;
        if !shared.traces.shadow().is_some_and(is_asked_for) {
            return Err(no_shadow(&name));
        }
        let report = shared.traces.end_shadow();
        shared.policies.end_shadow();
        Ok(report)
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
