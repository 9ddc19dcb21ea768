//! Placeholder.
pub mod host;
