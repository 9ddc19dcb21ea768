//! Digest authentication: RFC 3261 §22, RFC 7616 and RFC 8760.
//!
//! An [`Authenticator`] holds no nonces: each one proves itself with a keyed hash. Only the nonce counts that were used are
//! remembered, in one table of fixed size that all workers share.

mod algorithm;
mod authenticator;
mod base64;
mod digest;
mod hex;
mod nonce;
mod replay;

pub use algorithm::{Algorithm, Ha1Set};
pub use authenticator::{AuthConfig, Authenticator, Users, Verification};

#[cfg(test)]
mod tests;
