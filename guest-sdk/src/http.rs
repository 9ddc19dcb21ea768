//! Requests over HTTP, to the URLs that the operator has granted (`policy.grants.http`).
//!
//! ```
//! # use patchbay_sdk::prelude::*;
//! fn gateway(number: &str) -> Result<String> {
//!     let url = format!("https://lcr.example.com/route?to={number}");
//!     let response = http::get(url).timeout(Duration::from_secs(1)).send()?;
//!     match response.status() {
//!         200 => Ok(response.text().into_owned()),
//!         status => Err(Error::new(format!("the route server answered {status}"))),
//!     }
//! }
//! ```
//!
//! The hook waits for the answer, and only this hook: the router goes on with other calls. What waits longer than
//! `policy.hook_timeout` gets an error here, so that the policy can still decide.

use std::borrow::Cow;
use std::time::Duration;

use crate::bindings::imports::patchbay::policy::http as types;
use crate::duration::as_milliseconds;
use crate::error::Result;
use crate::host::http as host;

/// A request, sent with [`Request::send`].
#[derive(Clone, Debug)]
pub struct Request(types::Request);

/// The response, whatever its status.
#[derive(Clone, Debug)]
pub struct Response(types::Response);

/// Asks for what is at this URL.
pub fn get(url: impl Into<String>) -> Request {
    request("GET", url)
}

/// Sends something to this URL: give it a [`body`](Request::body).
pub fn post(url: impl Into<String>) -> Request {
    request("POST", url)
}

/// A request with another method.
pub fn request(method: impl Into<String>, url: impl Into<String>) -> Request {
    Request(types::Request {
        method: method.into(),
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: None,
    })
}

impl Request {
    /// Adds a header. Host, Content-Length and what concerns the connection are the router's.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Request {
        self.0.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body, at most 1 MiB.
    pub fn body(mut self, content_type: impl Into<String>, body: impl Into<Vec<u8>>) -> Request {
        self.0.body = body.into();
        self.header("content-type", content_type)
    }

    /// Waits for the whole response no longer than this, and in any case no longer than `policy.hook_timeout`.
    pub fn timeout(mut self, timeout: Duration) -> Request {
        self.0.timeout_ms = Some(as_milliseconds(timeout));
        self
    }

    /// Sends it and waits for the whole response.
    ///
    /// # Errors
    /// [`Denied`](crate::ErrorKind::Denied) when the URL is not granted, [`Unavailable`](crate::ErrorKind::Unavailable) when there is no
    /// response in time, [`Limit`](crate::ErrorKind::Limit) when it is larger than 1 MiB.
    pub fn send(self) -> Result<Response> {
        Ok(Response(host::fetch(&self.0)?))
    }
}

impl Response {
    /// The status.
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.0.status)
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.0.headers.iter();
        headers
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// The body as text; what is not UTF-8 becomes U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0.body)
    }
}
