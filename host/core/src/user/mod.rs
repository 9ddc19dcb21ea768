//! Transaction users that are neither the proxy nor the registrar: so far the sender of requests of our own.

mod originate;

pub use originate::{HopIdentity, OriginateError, OriginatedRequest, RequestIdentity};
