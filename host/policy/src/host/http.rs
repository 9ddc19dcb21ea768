//! `interface http` in Rust types.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use wasmtime::component::{ComponentType, Lift, Lower};

use super::{ErrorKind, HostError};

/// `http.request`.
#[derive(Clone, Debug, Default, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub struct HttpRequest {
    /// A token.
    pub method: String,
    /// Absolute.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// Empty: none.
    pub body: Vec<u8>,
    /// Milliseconds for the whole response.
    #[component(name = "timeout-ms")]
    pub timeout_ms: Option<u32>,
}

impl HttpRequest {
    /// Headers of a request.
    pub const MAX_HEADERS: usize = 64;
    /// Bytes of the body of a request, and of a response.
    pub const MAX_BODY_BYTES: usize = 1 << 20;

    /// Whether the header of this name is written by the host alone: it concerns the connection, or says where the message ends.
    pub fn is_host_owned(name: &str) -> bool {
        HOST_OWNED
            .iter()
            .any(|owned| name.eq_ignore_ascii_case(owned))
            || name
                .get(..PROXY.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(PROXY))
    }
}

const HOST_OWNED: [&str; 8] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "expect",
];
/// How names begin that are between us and a proxy.
const PROXY: &str = "proxy-";

/// `http.response`.
#[derive(Clone, Debug, Default, PartialEq, Eq, ComponentType, Lower)]
#[component(record)]
pub struct HttpResponse {
    /// Whatever it is.
    pub status: u16,
    /// Names, lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The whole of it.
    pub body: Vec<u8>,
}

/// The response, when it is there. Whoever polls this is woken through its waker, from any thread.
pub type HttpAnswer = Pin<Box<dyn Future<Output = Result<HttpResponse, HostError>> + Send>>;

/// The time, when it is over. Whoever polls this is woken through its waker, from any thread.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the text of an error has that says that time was over.
const LATE: &str = "no whole response within";

impl HostError {
    /// There was no response in this time.
    pub fn late(limit: Duration) -> HostError {
        HostError {
            kind: ErrorKind::Unavailable,
            message: format!("{LATE} {} ms", limit.as_millis()),
        }
    }

    /// There is no time left that an answer could take.
    pub(crate) fn no_time_left() -> HostError {
        HostError {
            kind: ErrorKind::Unavailable,
            message: format!("policy.hook_timeout is over: {LATE} the time that was left"),
        }
    }

    /// Whether it is one of these.
    pub(crate) fn is_late(&self) -> bool {
        self.kind == ErrorKind::Unavailable && self.message.contains(LATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_writes_what_concerns_the_connection() {
        for name in ["Host", "TE", "content-length", "Proxy-Authorization"] {
            assert!(HttpRequest::is_host_owned(name), "{name}");
        }
        for name in ["X-Host", "Authorization", "proxy", ""] {
            assert!(!HttpRequest::is_host_owned(name), "{name}");
        }
    }
}
