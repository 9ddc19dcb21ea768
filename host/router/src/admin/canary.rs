//! `/api/v1/policies/NAME/canary`, `/promote` and `/abort`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};

use super::Admin;
use super::caller::Caller;
use super::policies::{changed, microseconds, valid_name};
use super::reply::{Answer, Refusal, blocking};
use crate::policy_directory::{DeployError, Deployed, Deployments};
use crate::rollout::{Canary, Rule, SideCounts};

pub(super) async fn begin(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Caller(origin): Caller,
    body: Bytes,
) -> Answer {
    let name = valid_name(name)?;
    let (version, rule) = asked(&body)?;
    let what = format!("canary begun with {} % of new dialogs", rule.percent);
    step(&admin, &what, move |deployments| {
        deployments.begin_canary(&name, version.as_deref(), rule, &origin)
    })
    .await
}

/// Takes a step and tells the log.
async fn step(
    admin: &Admin,
    what: &str,
    take: impl FnOnce(&Deployments) -> Result<Deployed, DeployError> + Send + 'static,
) -> Answer {
    let deployments = Arc::clone(&admin.deployments);
    let canary = blocking(move || take(&deployments)).await??;
    tracing::info!(
        policy = canary.policy,
        policy_version = canary.version.short(),
        "{what}"
    );
    Ok(changed(admin, &canary))
}

/// The version and the rule in a body such as `{"version": "3f2a91", "percent": 5}`.
fn asked(body: &[u8]) -> Result<(Option<String>, Rule), Refusal> {
    let wrong = |error: String| {
        Refusal::bad_request(format!(
            "the body is not {{\"version\": \"...\", \"percent\": 5, \"by\": \"call-id\", \"match\": [], \"guards\": {{}}}}: {error}"
        ))
    };
    let mut fields: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| wrong(error.to_string()))?;
    let version = match fields.remove("version") {
        None | Some(Value::Null) => None,
        Some(Value::String(version)) => Some(version),
        Some(_) => return Err(wrong("version is not text".to_owned())),
    };
    let rule: Rule =
        serde_json::from_value(Value::Object(fields)).map_err(|error| wrong(error.to_string()))?;
    match rule.problem() {
        None => Ok((version, rule)),
        Some(problem) => Err(Refusal::bad_request(problem)),
    }
}

pub(super) async fn promote(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Caller(origin): Caller,
) -> Answer {
    let name = valid_name(name)?;
    step(&admin, "canary promoted", move |deployments| {
        deployments.promote(Some(&name), &origin)
    })
    .await
}

pub(super) async fn abort(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Caller(origin): Caller,
) -> Answer {
    let name = valid_name(name)?;
    step(&admin, "canary aborted", move |deployments| {
        deployments.abort(Some(&name), &origin)
    })
    .await
}

/// What `GET /api/v1/policies` says of the canary.
pub(super) fn report(admin: &Admin) -> Value {
    let Some(canary) = admin.shared.rollout.canary() else {
        return Value::Null;
    };
    let origin = admin.deployments.canary_origin();
    let (own, stable) = canary.sides();
    json!({
        "policy": &**canary.version().name(),
        "version": canary.version().digest().as_str(),
        "rule": canary.rule(),
        "began_at": origin.as_ref().map(|(_, at)| at),
        "origin": origin.as_ref().map(|(origin, _)| origin),
        "canary": own_side(&canary, &own),
        "stable": side(&stable),
    })
}

fn own_side(canary: &Canary, counts: &SideCounts) -> Value {
    let record = canary.record();
    let mut report = side(counts);
    if let Value::Object(fields) = &mut report {
        fields.insert("hook_runs".to_owned(), record.hook_runs.into());
        fields.insert("faults".to_owned(), record.faults.into());
        fields.insert(
            "hook_time_p99_us".to_owned(),
            record.times.quantile(0.99).map(microseconds).into(),
        );
    }
    report
}

fn side(counts: &SideCounts) -> Value {
    let finals: Map<String, Value> = counts
        .finals
        .iter()
        .enumerate()
        .skip(1)
        .map(|(class, count)| (format!("{}xx", class + 1), (*count).into()))
        .collect();
    json!({ "requests": counts.requests, "responses": finals })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_names_version_and_rule() {
        let (version, rule) =
            asked(br#"{"version":"abcdef","percent":5,"by":"aor","match":["user=bob"]}"#)
                .expect("a body");
        assert_eq!(version.as_deref(), Some("abcdef"));
        assert_eq!((rule.percent, rule.only.len()), (5.0, 1));
        for body in [
            &b""[..],
            b"{}",
            b"{\"percent\":0}",
            b"{\"percent\":5,\"parts\":1}",
            b"{\"percent\":5,\"version\":1}",
        ] {
            assert!(asked(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }
}
