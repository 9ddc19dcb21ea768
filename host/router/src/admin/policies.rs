//! `/api/v1/policies`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use patchbay_policy::{Fault, Hook, PolicyReport, VersionReport, VersionState};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Admin;
use super::caller::Caller;
use super::canary;
use super::reply::{Answer, Refusal, blocking};
use crate::config::{BUILTIN, is_policy_name};
use crate::policy_directory::{Component, Deployed, VersionRecord};

/// The header with the signature of a component.
pub(crate) const SIGNATURE_HEADER: &str = "x-patchbay-signature";

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Answer {
    // The state may be held while a version is compiled.
    blocking(move || {
        let listed = admin.shared.policies.list();
        let policies: Vec<Value> = listed.iter().map(|report| policy(&admin, report)).collect();
        Json(json!({ "policies": policies, "canary": canary::report(&admin) }))
    })
    .await
}

fn policy(admin: &Admin, report: &PolicyReport) -> Value {
    let active = report
        .versions
        .iter()
        .find(|version| version.activated_at.is_some() && version.state.as_str() == "active");
    json!({
        "name": report.name,
        "active": report.active,
        "routes": admin.shared.routes.names_of(&report.name),
        "active_version": active.map(|version| version.digest.as_str()),
        "last_error": last_error(report),
        "versions": report.versions.iter().map(|found| version(admin, &report.name, found)).collect::<Vec<_>>(),
    })
}

/// The error of what was stored or activated last: what a good version has replaced since then is over.
fn last_error(report: &PolicyReport) -> Option<&String> {
    let is = |version: &&VersionReport, state| version.state == state;
    let versions = report.versions.iter();
    let refused = versions
        .clone()
        .take_while(|version| is(version, VersionState::Rejected));
    let active = versions
        .clone()
        .filter(|version| is(version, VersionState::Active));
    let newest = versions
        .filter(|version| !is(version, VersionState::Rejected))
        .take(1);
    refused
        .chain(active)
        .chain(newest)
        .find_map(|version| version.last_error.as_ref())
}

fn version(admin: &Admin, policy: &str, report: &VersionReport) -> Value {
    let counts = &report.counts;
    let record = admin.deployments.record(policy, report.digest.as_str());
    let quantile = |share| counts.times.quantile(share).map(microseconds);
    json!({
        "version": report.digest.as_str(),
        "state": report.state.as_str(),
        "size_bytes": report.size_bytes,
        "hooks": report.hooks.iter().map(|hook| hook.name()).collect::<Vec<_>>(),
        "pinned": report.pinned,
        "calls": counts.total_calls(),
        "calls_by_hook": numbers(Hook::ALL.iter().map(|hook| hook.name()), &counts.calls),
        "faults": counts.total_faults(),
        "faults_by_kind": numbers(Fault::NAMES.into_iter(), &counts.faults),
        "hook_time_us": { "p50": quantile(0.5), "p90": quantile(0.9), "p99": quantile(0.99) },
        "alarms": report.alarms,
        "last_error": report.last_error,
        "stored_at": stored_at(policy, report, record.as_ref()),
        "origin": record.as_ref().map(|record| &record.origin),
        "signed_by": record.as_ref().and_then(|record| record.signed_by.as_ref()),
        "activated_at": report.activated_at.map(unix_secs),
    })
}

/// When a version was stored first; of the embedded policy nothing, it came with the router.
fn stored_at(policy: &str, report: &VersionReport, record: Option<&VersionRecord>) -> Option<u64> {
    let first = record.map_or_else(|| unix_secs(report.stored_at), |record| record.stored_at);
    (policy != BUILTIN).then_some(first)
}

fn numbers(names: impl Iterator<Item = &'static str>, values: &[u64]) -> Map<String, Value> {
    names
        .zip(values)
        .map(|(name, value)| (name.to_owned(), (*value).into()))
        .collect()
}

/// A time in microseconds, with its fraction.
pub(super) fn microseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

fn unix_secs(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |duration| duration.as_secs())
}

pub(super) async fn store(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Caller(origin): Caller,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let name = valid_name(name)?;
    let bytes = body.map_err(|rejection| {
        Refusal::new(rejection.status(), "body_refused", rejection.body_text())
    })?;
    let deployments = Arc::clone(&admin.deployments);
    let stored = blocking(move || {
        let signature = headers
            .get(SIGNATURE_HEADER)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let component = Component {
            bytes: &bytes,
            signature: signature.as_deref(),
        };
        deployments.store(&name, component, &origin)
    })
    .await??;
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
    Caller(origin): Caller,
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
    let activated =
        blocking(move || deployments.activate(&name, asked.version.as_deref(), &origin)).await??;
    let active = &activated.active;
    tracing::info!(
        policy = active.policy,
        policy_version = active.version.short(),
        was_active = activated.was_active,
        "policy activated"
    );
    let mut answer = changed(&admin, active);
    if let Value::Object(fields) = &mut answer.0 {
        fields.insert("was_active".to_owned(), activated.was_active.into());
    }
    Ok(answer)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollback {
    policy: Option<String>,
}

pub(super) async fn rollback(
    State(admin): State<Arc<Admin>>,
    Caller(origin): Caller,
    body: Bytes,
) -> Answer {
    let asked: Rollback = if body.is_empty() {
        Rollback::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            Refusal::bad_request(format!("the body is not {{\"policy\": \"...\"}}: {error}"))
        })?
    };
    let deployments = Arc::clone(&admin.deployments);
    let active = blocking(move || deployments.rollback(asked.policy.as_deref(), &origin)).await??;
    tracing::info!(
        policy = active.policy,
        policy_version = active.version.short(),
        "policy rolled back"
    );
    Ok(changed(&admin, &active))
}

pub(super) fn valid_name(name: String) -> Result<String, Refusal> {
    if is_policy_name(&name) {
        return Ok(name);
    }
    Err(Refusal::new(
        StatusCode::BAD_REQUEST,
        "bad_name",
        "the name of a policy has 1 to 64 letters, digits, '-' and '_'",
    ))
}

/// The answer to what changed which versions run: also whether the next start knows it.
pub(super) fn changed(admin: &Admin, version: &Deployed) -> Json<Value> {
    let mut answer = deployed(version);
    if let Value::Object(fields) = &mut answer.0 {
        let is_remembered = admin.deployments.is_remembered();
        fields.insert("remembered".to_owned(), is_remembered.into());
    }
    answer
}

fn deployed(deployed: &Deployed) -> Json<Value> {
    Json(json!({ "policy": deployed.policy, "version": deployed.version.as_str() }))
}

#[cfg(test)]
mod tests {
    use patchbay_policy::Digest;

    use super::*;

    fn found(state: VersionState, last_error: Option<&str>) -> VersionReport {
        VersionReport {
            digest: Digest::of(b"any"),
            number: None,
            state,
            size_bytes: 1,
            hooks: Vec::new(),
            pinned: 0,
            counts: Default::default(),
            alarms: 0,
            last_error: last_error.map(str::to_owned),
            stored_at: UNIX_EPOCH,
            activated_at: None,
        }
    }

    #[test]
    fn an_error_is_over_when_a_good_version_comes() {
        let error = |versions: Vec<VersionReport>| {
            let report = PolicyReport {
                name: "mine".to_owned(),
                active: true,
                versions,
            };
            last_error(&report).cloned()
        };
        let active = found(VersionState::Active, None);
        let garbage = found(VersionState::Rejected, Some("no policy"));
        let ready = found(VersionState::Ready, None);
        let failing = found(VersionState::Active, Some("it trapped"));
        let refused = vec![garbage.clone(), active.clone()];
        assert_eq!(error(refused).as_deref(), Some("no policy"));
        assert_eq!(error(vec![ready.clone(), garbage.clone(), active]), None);
        let running = error(vec![ready, garbage, failing]);
        assert_eq!(running.as_deref(), Some("it trapped"));
    }
}
