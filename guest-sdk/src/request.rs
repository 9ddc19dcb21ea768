//! The request of the current transaction.

use std::cell::OnceCell;

use crate::bindings::imports::patchbay::policy::message::MessageFacts;
use crate::error::Result;
use crate::host;
use crate::message;
use crate::method::Method;
use crate::transaction::{self, Source};
use crate::uri::Uri;

/// The request of the current transaction; in `branch_route` the branch's own copy.
///
/// Each value is fetched from the router when it is asked for. Method and URIs are kept here, so that asking again costs
/// nothing. Names of headers have no case and may be in long or compact form (`From`, `f`). Via, CSeq, Call-ID, Content-Length,
/// Max-Forwards and the routing of Record-Route and Route are the router's: edits to them are refused.
#[derive(Debug, Default)]
pub struct Request {
    facts: OnceCell<MessageFacts>,
    method: OnceCell<Method>,
    uri: OnceCell<Uri>,
    from_uri: OnceCell<Uri>,
    to_uri: OnceCell<Uri>,
}

impl Request {
    /// The method.
    pub fn method(&self) -> &Method {
        self.method.get_or_init(|| {
            Method::of_facts(self.facts()).unwrap_or_else(|| Method::from(host::message::method()))
        })
    }

    /// The Request-URI.
    pub fn uri(&self) -> &Uri {
        self.uri
            .get_or_init(|| Uri::later(host::message::request_uri))
    }

    /// The URI in From, without the name.
    pub fn from_uri(&self) -> &Uri {
        self.from_uri
            .get_or_init(|| Uri::new(host::message::from_uri()))
    }

    /// The URI in To, without the name.
    pub fn to_uri(&self) -> &Uri {
        self.to_uri
            .get_or_init(|| Uri::new(host::message::to_uri()))
    }

    /// Changes the Request-URI.
    ///
    /// # Errors
    /// When the text is no URI.
    pub fn set_uri(&mut self, uri: impl Into<Uri>) -> Result<()> {
        let uri = uri.into();
        host::message::set_request_uri(uri.as_str())?;
        self.uri = OnceCell::from(uri);
        Ok(())
    }

    /// Whether the request belongs to a dialog that this router has record-routed.
    ///
    /// The router checks its own token in the Route header: a forged To tag does not get through.
    pub fn is_in_dialog(&self) -> bool {
        self.facts().contains(MessageFacts::IN_DIALOG)
    }

    fn facts(&self) -> MessageFacts {
        *self.facts.get_or_init(host::message::facts)
    }

    /// Where the request came from.
    pub fn source(&self) -> Source {
        transaction::source()
    }

    /// The Call-ID.
    pub fn call_id(&self) -> String {
        host::message::call_id()
    }

    /// The first header field of that name, as it stands.
    #[inline]
    pub fn header(&self, name: &str) -> Option<String> {
        message::header(name)
    }

    /// Every header field of that name, in order.
    pub fn headers(&self, name: &str) -> Vec<String> {
        message::headers(name)
    }

    /// The first header field of each of these names, faster than one by one.
    ///
    /// ```
    /// use patchbay_sdk::prelude::*;
    ///
    /// fn is_scanner(request: &Request) -> bool {
    ///     let [agent, server] = request.headers_named(["User-Agent", "Server"]);
    ///     [agent, server].into_iter().flatten().any(|name| name.contains("friendly-scanner"))
    /// }
    /// ```
    pub fn headers_named<const N: usize>(&self, names: [&str; N]) -> [Option<String>; N] {
        message::headers_named(names)
    }

    /// Whether there is a header field of that name.
    pub fn has_header(&self, name: &str) -> bool {
        host::message::has_header(name)
    }

    /// Replaces every header field of that name with one, or adds it.
    ///
    /// # Errors
    /// When the header is the router's, or the value breaks the grammar.
    pub fn set_header(&mut self, name: &str, value: &str) -> Result<()> {
        message::set_header(name, value)
    }

    /// Adds a header field after the others of that name.
    ///
    /// # Errors
    /// When the header is the router's, or the value breaks the grammar.
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<()> {
        message::add_header(name, value)
    }

    /// Removes every header field of that name, and says how many there were.
    ///
    /// # Errors
    /// When the header is the router's.
    pub fn remove_header(&mut self, name: &str) -> Result<u32> {
        message::remove_header(name)
    }

    /// The body's bytes.
    pub fn body(&self) -> Vec<u8> {
        host::message::body()
    }

    /// Replaces body and Content-Type; an empty body removes both.
    ///
    /// # Errors
    /// When the content type breaks the grammar, or the message becomes too long.
    pub fn set_body(&mut self, content_type: &str, body: &[u8]) -> Result<()> {
        Ok(host::message::set_body(content_type, body)?)
    }
}
