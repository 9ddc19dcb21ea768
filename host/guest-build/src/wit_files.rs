//! The WIT package as files, for generators that are programs of their own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::manifest::Manifest;
use crate::{BuildError, component};

/// Writes the package and the world [`component::WORLD`] of this manifest into `work/wit`, and returns that folder.
pub(crate) fn write(work: &Path, manifest: &Manifest) -> Result<PathBuf, BuildError> {
    // What these generators say of an unknown interface names their own files.
    component::world(manifest)?;
    let folder = work.join("wit");
    let package = folder.join("deps").join("policy");
    fs::create_dir_all(&package).map_err(|error| BuildError::io("create", &package, error))?;
    for (name, text) in component::WIT {
        write_file(&package.join(name), text)?;
    }
    write_file(&folder.join("guest.wit"), &component::world_text(manifest))?;
    Ok(folder)
}

pub(crate) fn write_file(path: &Path, text: &str) -> Result<(), BuildError> {
    fs::write(path, text).map_err(|error| BuildError::io("write", path, error))
}
