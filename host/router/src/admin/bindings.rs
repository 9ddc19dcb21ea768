//! `/api/v1/bindings`: the bindings of the location service in the form that another router takes.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use patchbay_core::door::Reject;
use patchbay_core::registrar::Registration;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::oneshot;

use super::Admin;
use super::registrations::{Place, namespace};
use super::reply::{self, Refusal, blocking};
use crate::location::{self, BindingLine, Done, Namespace};
use crate::server::unix_now;

/// The largest body that is taken: a client sends more in several.
pub(super) const MAX_BYTES: usize = 16 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    bindings: Vec<BindingLine>,
}

/// What became of the bindings of one request.
#[derive(Default, Serialize)]
struct Imported {
    imported: usize,
    /// There was a newer one, or the same.
    kept: usize,
    /// Its time was over.
    expired: usize,
    refused: Vec<Refused>,
}

#[derive(Serialize)]
struct Refused {
    /// Its place in the list, from 0.
    index: usize,
    aor: String,
    problem: String,
}

/// What came of one binding.
enum Step {
    Kept,
    Expired,
    /// The answer is there, or comes when the store has it.
    Done(location::Answer),
    Waits(oneshot::Receiver<location::Answer>),
}

/// Every binding, or those of one namespace.
pub(super) async fn export(
    State(admin): State<Arc<Admin>>,
    Query(place): Query<Place>,
) -> reply::Answer {
    let namespaces = match &place.namespace {
        Some(name) => vec![namespace(&admin, Some(name))?],
        None => admin.shared.location.namespaces(),
    };
    let lines = blocking(move || lines(&admin, &namespaces)).await?;
    Ok(Json(json!({ "bindings": lines })))
}

fn lines(admin: &Admin, namespaces: &[Arc<Namespace>]) -> Vec<BindingLine> {
    let location = &admin.shared.location;
    let now = unix_now();
    let mut lines = Vec::new();
    for namespace in namespaces {
        for listed in location.list_in(Some(namespace), None, usize::MAX, now) {
            let bindings = listed.bindings.iter();
            lines.extend(
                bindings.map(|binding| BindingLine::of(namespace.name(), &listed.aor, binding)),
            );
        }
    }
    lines
}

/// Takes bindings of another router. The answer comes when all of them are stored as `registrar.durability` says.
pub(super) async fn import(State(admin): State<Arc<Admin>>, body: Bytes) -> reply::Answer {
    let asked: Asked = serde_json::from_slice(&body).map_err(|error| {
        Refusal::bad_request(format!("the body is no list of bindings: {error}"))
    })?;
    let steps: Vec<Result<Step, String>> = asked
        .bindings
        .iter()
        .map(|line| begin(&admin, line))
        .collect();
    let mut report = Imported::default();
    for (index, (step, line)) in steps.into_iter().zip(&asked.bindings).enumerate() {
        let answer = match step {
            Ok(Step::Kept) => {
                report.kept += 1;
                continue;
            }
            Ok(Step::Expired) => {
                report.expired += 1;
                continue;
            }
            Ok(Step::Done(answer)) => answer.map_err(problem),
            Ok(Step::Waits(later)) => match later.await {
                Ok(answer) => answer.map_err(problem),
                Err(_) => Err("the location service is ending".to_owned()),
            },
            Err(problem) => Err(problem),
        };
        match answer {
            Ok(_) => report.imported += 1,
            Err(problem) => report.refused.push(Refused {
                index,
                aor: line.aor.clone(),
                problem,
            }),
        }
    }
    tracing::info!(
        imported = report.imported,
        kept = report.kept,
        expired = report.expired,
        refused = report.refused.len(),
        "registrations of another router are imported"
    );
    Ok(Json(json!(report)))
}

fn begin(admin: &Admin, line: &BindingLine) -> Result<Step, String> {
    let known = admin.shared.location.known_namespace(&line.namespace);
    let namespace = known.ok_or_else(|| {
        format!(
            "there is no namespace {:?}: no [[policy.route]] has it",
            line.namespace
        )
    })?;
    let now = unix_now();
    let min_expires = admin.config().registrar.min_expires.as_secs();
    let min_expires_secs = u32::try_from(min_expires).unwrap_or(u32::MAX);
    let Some(registration) = line.registration(now, min_expires_secs, &admin.shared.listeners)?
    else {
        return Ok(Step::Expired);
    };
    let bindings = admin
        .shared
        .location
        .lookup_in(Some(&namespace), &registration.aor, now);
    if location::has_newer(&bindings, &registration, now) {
        return Ok(Step::Kept);
    }
    Ok(update(admin, &namespace, &registration))
}

fn update(admin: &Admin, namespace: &Arc<Namespace>, registration: &Registration) -> Step {
    let location = &admin.shared.location;
    let (done, later) = oneshot::channel();
    // The receiver is gone when the client is: then nobody waits for the answer.
    let at_once = location.update_in(Some(namespace), registration, unix_now(), || {
        Done::call(move |answer| drop(done.send(answer)))
    });
    match at_once {
        Some(answer) => Step::Done(answer),
        None => Step::Waits(later),
    }
}

fn problem(reject: Reject) -> String {
    match (reject.status, reject.reason) {
        (503, _) => "too many changes wait for the store: import it again".to_owned(),
        (500, "") => "it could not be stored".to_owned(),
        (status, reason) => format!("{status} {reason}").trim_end().to_owned(),
    }
}
