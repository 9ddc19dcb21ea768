//! `/api/v1/audit`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::reply::{Answer, Refusal, blocking};

/// Lines in one answer, unless fewer are asked for.
const MAX_RECORDS: usize = 1000;

#[derive(Deserialize)]
pub(super) struct Bound {
    limit: Option<usize>,
}

pub(super) async fn list(State(admin): State<Arc<Admin>>, Query(bound): Query<Bound>) -> Answer {
    let limit = bound.limit.unwrap_or(MAX_RECORDS).min(MAX_RECORDS);
    let deployments = Arc::clone(&admin.deployments);
    let records = blocking(move || deployments.audit().latest(limit)).await?;
    let records = records.map_err(|error| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "storage_failed",
            format!("the audit log can't be read: {error}"),
        )
    })?;
    Ok(Json(json!({ "audit": records })))
}
