//! `/api/v1/calls`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::reply::{Answer, Refusal, blocking};

/// Calls in one answer, unless fewer are asked for.
const MAX_CALLS: usize = 1000;

#[derive(Deserialize)]
pub(super) struct Bound {
    limit: Option<usize>,
}

pub(super) async fn list(State(admin): State<Arc<Admin>>, Query(bound): Query<Bound>) -> Answer {
    let limit = bound.limit.unwrap_or(MAX_CALLS).min(MAX_CALLS);
    let traces = Arc::clone(&admin.shared.traces);
    let calls = blocking(move || traces.calls(limit)).await?;
    let calls = calls.ok_or_else(no_ring)?;
    Ok(Json(json!({ "calls": calls })))
}

pub(super) async fn show(State(admin): State<Arc<Admin>>, Path(call_id): Path<String>) -> Answer {
    let traces = Arc::clone(&admin.shared.traces);
    let asked = call_id.clone();
    let (call, is_kept) =
        blocking(move || (traces.call(&asked), traces.calls(0).is_some())).await?;
    match call {
        Some(call) => Ok(Json(json!(call))),
        None if !is_kept => Err(no_ring()),
        None => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "unknown_call",
            format!("{call_id} is none of the latest calls"),
        )),
    }
}

fn no_ring() -> Refusal {
    Refusal::new(
        StatusCode::CONFLICT,
        "no_call_ring",
        "no calls are kept: policy.call_ring says of how many to keep the hook runs, and takes effect with SIGHUP",
    )
}
