//! `/api/v1/policies`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use patchbay_policy::{Hook, PolicyReport, VersionReport};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Admin;
use super::reply::{Answer, Refusal, blocking};
use crate::config::is_policy_name;
use crate::policy_directory::Deployed;

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let policies: Vec<Value> = admin.shared.policies.list().iter().map(policy).collect();
    Json(json!({ "policies": policies }))
}

fn policy(report: &PolicyReport) -> Value {
    let active = report
        .versions
        .iter()
        .find(|version| version.activated_at.is_some() && version.state.as_str() == "active");
    let newest_error = report
        .versions
        .iter()
        .find_map(|version| version.last_error.as_ref());
    json!({
        "name": report.name,
        "active": report.active,
        "active_version": active.map(|version| version.digest.as_str()),
        "last_error": newest_error,
        "versions": report.versions.iter().map(version).collect::<Vec<_>>(),
    })
}

fn version(report: &VersionReport) -> Value {
    let runs: Map<String, Value> = Hook::ALL
        .iter()
        .zip(report.counts.calls)
        .map(|(hook, calls)| (hook.name().to_owned(), calls.into()))
        .collect();
    json!({
        "version": report.digest.as_str(),
        "state": report.state.as_str(),
        "size_bytes": report.size_bytes,
        "hooks": report.hooks.iter().map(|hook| hook.name()).collect::<Vec<_>>(),
        "pinned": report.pinned,
        "calls": report.counts.total_calls(),
        "calls_by_hook": runs,
        "faults": report.counts.total_faults(),
        "alarms": report.alarms,
        "last_error": report.last_error,
        "stored_at": unix_secs(report.stored_at),
        "activated_at": report.activated_at.map(unix_secs),
    })
}

fn unix_secs(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |duration| duration.as_secs())
}

pub(super) async fn store(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let name = valid_name(name)?;
    let bytes = body.map_err(|rejection| {
        Refusal::new(rejection.status(), "body_refused", rejection.body_text())
    })?;
    let deployments = Arc::clone(&admin.deployments);
    let stored = blocking(move || deployments.store(&name, &bytes)).await??;
    tracing::info!(
        policy = stored.policy,
        policy_version = stored.version.short(),
        "policy stored"
    );
    Ok(deployed(&stored))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Activate {
    version: Option<String>,
}

pub(super) async fn activate(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let name = valid_name(name)?;
    let asked: Activate = if body.is_empty() {
        Activate::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            Refusal::bad_request(format!("the body is not {{\"version\": \"...\"}}: {error}"))
        })?
    };
    let deployments = Arc::clone(&admin.deployments);
    let active = blocking(move || deployments.activate(&name, asked.version.as_deref())).await??;
    tracing::info!(
        policy = active.policy,
        policy_version = active.version.short(),
        "policy activated"
    );
    Ok(deployed(&active))
}

pub(super) async fn rollback(State(admin): State<Arc<Admin>>) -> Answer {
    let deployments = Arc::clone(&admin.deployments);
    let active = blocking(move || deployments.rollback()).await??;
    tracing::info!(
        policy = active.policy,
        policy_version = active.version.short(),
        "policy rolled back"
    );
    Ok(deployed(&active))
}

fn valid_name(name: String) -> Result<String, Refusal> {
    if is_policy_name(&name) {
        return Ok(name);
    }
    Err(Refusal::new(
        StatusCode::BAD_REQUEST,
        "bad_name",
        "the name of a policy has 1 to 64 letters, digits, '-' and '_'",
    ))
}

fn deployed(deployed: &Deployed) -> Json<Value> {
    Json(json!({ "policy": deployed.policy, "version": deployed.version.as_str() }))
}
