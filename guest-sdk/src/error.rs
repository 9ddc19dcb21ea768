//! What goes wrong in a hook, and what the caller is told.

use std::borrow::Cow;
use std::fmt;

use crate::bindings::imports::patchbay::policy::types;

pub use crate::bindings::imports::patchbay::policy::types::ErrorKind;

/// What hooks and calls to the router return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a hook can't decide. Returned from `request_route` it becomes a reply with [`Error::status`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: u16,
    kind: Option<ErrorKind>,
    message: Cow<'static, str>,
}

impl Error {
    /// An error of the policy itself: the caller gets 500, the log the message.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Error {
        Error {
            status: 500,
            kind: None,
            message: message.into(),
        }
    }

    /// The same error with another status for the caller.
    pub fn with_status(mut self, status: u16) -> Error {
        self.status = status;
        self
    }

    /// The status that the caller gets.
    ///
    /// Errors of the router's calls have: not found 404, not allowed 403, over a limit or not available 503, wrong use 500.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// What kind of error a call to the router answered; `None` for the policy's own errors.
    pub fn kind(&self) -> Option<ErrorKind> {
        self.kind
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Error {
        let status = match error.kind {
            ErrorKind::NotFound => 404,
            ErrorKind::Denied => 403,
            ErrorKind::Limit | ErrorKind::Unavailable => 503,
            ErrorKind::InvalidArgument | ErrorKind::WrongHook => 500,
        };
        Error {
            status,
            kind: Some(error.kind),
            message: Cow::Owned(error.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_user_is_a_404_and_a_mistake_of_the_policy_a_500() {
        let host = |kind| {
            Error::from(types::Error {
                kind,
                message: String::new(),
            })
            .status()
        };
        assert_eq!(host(ErrorKind::NotFound), 404);
        assert_eq!(host(ErrorKind::InvalidArgument), 500);
        assert_eq!(Error::new("no gateway").status(), 500);
    }
}
