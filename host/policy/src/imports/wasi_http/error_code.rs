//! What an error of the host is in `wasi:http`.

use super::bindings::types::ErrorCode;
use crate::host::{ErrorKind, HostError, HttpRequest};

/// The request's body is larger than a body may be.
pub(super) fn body_too_large() -> ErrorCode {
    ErrorCode::HttpRequestBodySize(Some(HttpRequest::MAX_BODY_BYTES as u64))
}

/// With a text for who reads the guest's log.
pub(super) fn explained(text: &str) -> ErrorCode {
    ErrorCode::InternalError(Some(text.to_owned()))
}

impl From<HostError> for ErrorCode {
    /// It is made of the error alone, so that a recorded one gives the same again.
    fn from(error: HostError) -> ErrorCode {
        match error.kind {
            ErrorKind::Denied => ErrorCode::HttpRequestDenied,
            // A request that is too large does not get as far.
            ErrorKind::Limit => {
                ErrorCode::HttpResponseBodySize(Some(HttpRequest::MAX_BODY_BYTES as u64))
            }
            ErrorKind::Unavailable if error.is_late() => ErrorCode::HttpResponseTimeout,
            _ => ErrorCode::InternalError(Some(error.message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn code(kind: ErrorKind) -> ErrorCode {
        let message = "why".to_owned();
        HostError { kind, message }.into()
    }

    #[test]
    fn errors_keep_their_meaning() {
        assert!(matches!(
            code(ErrorKind::Denied),
            ErrorCode::HttpRequestDenied
        ));
        assert!(matches!(
            code(ErrorKind::Limit),
            ErrorCode::HttpResponseBodySize(Some(1_048_576))
        ));
        let late = HostError::late(Duration::from_secs(1));
        assert!(matches!(
            ErrorCode::from(late),
            ErrorCode::HttpResponseTimeout
        ));
        for kind in [ErrorKind::Unavailable, ErrorKind::InvalidArgument] {
            let ErrorCode::InternalError(Some(text)) = code(kind) else {
                panic!("{kind:?}")
            };
            assert_eq!(text, "why");
        }
    }
}
