//! Loads machine code that this router compiled earlier: the one place of this crate that needs `unsafe`.

#![allow(unsafe_code)]

use std::fs;
use std::path::Path;

use wasmtime::component::Component;

/// The file is not loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrecompiledError {
    /// It can't be read.
    #[error("{0}")]
    Read(#[from] std::io::Error),
    /// Its content is not what was written.
    #[error("its digest is not the one that was written with it")]
    Damaged,
    /// It was made for another engine.
    #[error("{0:#}")]
    Refused(wasmtime::Error),
}

/// Maps the file into memory, when its BLAKE3 digest is `seal`.
pub(crate) fn load(
    engine: &wasmtime::Engine,
    path: &Path,
    seal: &str,
) -> Result<Component, PrecompiledError> {
    let found = blake3::hash(&fs::read(path)?);
    if found.to_hex().as_str() != seal {
        return Err(PrecompiledError::Damaged);
    }
    // SAFETY: the code must come from `Component::serialize` and must not change while it is mapped. The folder is private to the
    // router's user (0700), only `cache.rs` writes to it, from `Component::serialize`; the digest just compared shows that the file
    // is whole; and files are replaced by renaming, never written to in place. wasmtime itself checks its version and configuration.
    unsafe { Component::deserialize_file(engine, path) }.map_err(PrecompiledError::Refused)
}
