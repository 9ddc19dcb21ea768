//! Policies in every language do the same: one suite for all of them, through the real components.
//!
//! `screening` runs one table of cases on each `policies/screening-*`, `calls` one call through the router with each, and `imports`
//! lets small policies call everything that the router provides, `outside` lets the others reach beyond it, `mistakes` what two of them get wrong, `scaffolds` builds what `patchbay policy new` writes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

mod calls;
mod guest;
mod host;
mod imports;
mod mistakes;
mod outside;
mod scaffolds;
mod screening;
