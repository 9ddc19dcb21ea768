//! `interface http` in Rust types.

use std::future::Future;
use std::pin::Pin;

use wasmtime::component::{ComponentType, Lift, Lower};

use super::HostError;

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
