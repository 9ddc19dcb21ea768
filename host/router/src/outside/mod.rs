//! What policies reach beyond the router: requests over HTTP.
//!
//! They are made on a thread of their own, which starts with the first of them. A worker only leaves a request there and is woken when the
//! response is complete. In a scenario a script answers instead.

mod client;
mod request;
mod script;
mod url;

pub use client::{HttpClient, HttpStatistics};
pub(crate) use request::refusal;
pub(crate) use script::Script;
pub use url::{UrlError, UrlPrefix};
pub(crate) use url::{user_info, without_user_info};
