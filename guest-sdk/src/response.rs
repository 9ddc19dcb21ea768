//! Responses.

use crate::error::Result;
use crate::host;
use crate::message;
use crate::method::Method;

/// The response a hook is about.
///
/// In `onreply_route` it is the current message and can be edited; in `failure_route` it is the best response, to read.
#[derive(Debug)]
pub struct Response {
    status: u16,
}

impl Response {
    pub(crate) fn current() -> Response {
        Response {
            status: host::message::response_status().unwrap_or(500),
        }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is a provisional one, below 200.
    pub fn is_provisional(&self) -> bool {
        self.status < 200
    }

    /// The method of the request it answers.
    pub fn method(&self) -> Method {
        Method::of_facts(host::message::facts())
            .unwrap_or_else(|| Method::from(host::message::method()))
    }

    /// The first header field of that name, as it stands.
    pub fn header(&self, name: &str) -> Option<String> {
        host::message::response_header(name)
    }

    /// Replaces every header field of that name with one, or adds it. Only in `onreply_route`.
    ///
    /// # Errors
    /// When the header is the router's, the value breaks the grammar, or the hook is another.
    pub fn set_header(&mut self, name: &str, value: &str) -> Result<()> {
        message::set_header(name, value)
    }

    /// Adds a header field after the others of that name. Only in `onreply_route`.
    ///
    /// # Errors
    /// As for [`Response::set_header`].
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<()> {
        message::add_header(name, value)
    }

    /// Removes every header field of that name, and says how many there were. Only in `onreply_route`.
    ///
    /// # Errors
    /// When the header is the router's, or the hook is another.
    pub fn remove_header(&mut self, name: &str) -> Result<u32> {
        message::remove_header(name)
    }

    /// The body's bytes. Only in `onreply_route`.
    pub fn body(&self) -> Vec<u8> {
        host::message::body()
    }

    /// Replaces body and Content-Type; an empty body removes both. Only in `onreply_route`.
    ///
    /// # Errors
    /// When the content type breaks the grammar, the message becomes too long, or the hook is another.
    pub fn set_body(&mut self, content_type: &str, body: &[u8]) -> Result<()> {
        Ok(host::message::set_body(content_type, body)?)
    }
}
