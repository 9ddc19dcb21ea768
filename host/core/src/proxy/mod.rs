//! RFC 3261 §16: the stateful proxy, one file for each step.

pub(crate) mod best;
pub(crate) mod branch;
pub(crate) mod cancel;
pub(crate) mod context;
pub(crate) mod decide;
pub(crate) mod fork;
pub(crate) mod forward;
pub(crate) mod machine;
pub(crate) mod next_hop;
pub(crate) mod own_response;
pub(crate) mod receive;
pub(crate) mod record_route;
pub(crate) mod register;
pub(crate) mod replies;
pub(crate) mod reply;
pub(crate) mod response;
pub(crate) mod route;
pub(crate) mod spent;
pub(crate) mod target;
pub(crate) mod timeout;
pub(crate) mod validate;

#[cfg(test)]
mod tests;
