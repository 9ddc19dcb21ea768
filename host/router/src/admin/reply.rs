//! Answers: JSON, and errors in one shape.

use axum::Json;
use axum::body::to_bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::policy_directory::DeployError;

/// A longer text of an error is none that was made here.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// An error of the API: `{"error": "...", "detail": "..."}`.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: &'static str,
    detail: String,
}

impl Refusal {
    pub(super) fn new(
        status: StatusCode,
        error: &'static str,
        detail: impl Into<String>,
    ) -> Refusal {
        Refusal {
            status,
            error,
            detail: detail.into(),
        }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.error, "detail": self.detail }));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                header::HeaderValue::from_static("Bearer"),
            );
        }
        response
    }
}

impl From<DeployError> for Refusal {
    fn from(error: DeployError) -> Refusal {
        use patchbay_policy::{ActivateError, RollbackError};
        let detail = error.to_string();
        match error {
            DeployError::Load(_) => {
                Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "policy_refused", detail)
            }
            DeployError::Activate(ActivateError::UnknownPolicy(_)) | DeployError::NoFile(_) => {
                Refusal::new(StatusCode::NOT_FOUND, "unknown_policy", detail)
            }
            DeployError::Activate(ActivateError::UnknownVersion { .. }) => {
                Refusal::new(StatusCode::NOT_FOUND, "unknown_version", detail)
            }
            DeployError::Activate(ActivateError::AmbiguousVersion { .. }) => {
                Refusal::new(StatusCode::CONFLICT, "ambiguous_version", detail)
            }
            DeployError::Activate(ActivateError::AlreadyActive { .. }) => {
                Refusal::new(StatusCode::CONFLICT, "already_active", detail)
            }
            DeployError::Signature(_) => {
                Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "not_trusted", detail)
            }
            DeployError::NoCanary(_) | DeployError::LostCanary(_) => {
                Refusal::new(StatusCode::CONFLICT, "no_canary", detail)
            }
            DeployError::OtherCanary(_) => {
                Refusal::new(StatusCode::CONFLICT, "other_canary", detail)
            }
            DeployError::Activate(_) => {
                Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "policy_refused", detail)
            }
            DeployError::Rollback(RollbackError::NotActive(_)) => {
                Refusal::new(StatusCode::CONFLICT, "not_active", detail)
            }
            DeployError::Rollback(RollbackError::NothingBefore) => {
                Refusal::new(StatusCode::CONFLICT, "nothing_to_roll_back", detail)
            }
            DeployError::Rollback(_) => {
                Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "policy_refused", detail)
            }
            DeployError::Reserved => Refusal::new(StatusCode::CONFLICT, "reserved_name", detail),
            DeployError::Io(_) | DeployError::Kept(_) => {
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "storage_failed", detail)
            }
        }
    }
}

pub(super) type Answer = Result<Json<Value>, Refusal>;

pub(super) async fn not_found() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing at this path",
    )
}

pub(super) async fn method_not_allowed() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path has another method",
    )
}

/// Gives errors in a request that are found before its handler runs, such as a query that can't be read, the shape of all others.
pub(super) async fn in_one_shape(response: Response) -> Response {
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let status = response.status();
    if is_json || !status.is_client_error() {
        return response;
    }
    let error = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "body_refused",
        _ => "bad_request",
    };
    let text = to_bytes(response.into_body(), MAX_ERROR_BYTES).await;
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    Refusal::new(status, error, text).into_response()
}

/// Runs what may take long beside the thread that answers.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let failed = |_| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the work was cut off",
        )
    };
    tokio::task::spawn_blocking(work).await.map_err(failed)
}
