//! Builds policies to WebAssembly components, with whatever toolchain the machine has.
//!
//! A policy is a folder: a Rust crate (`Cargo.toml`), or a `policy.toml` with sources in another [`Language`]. [`build_policy`] finds
//! or fetches the toolchain, compiles the folder, makes the result a component of `patchbay:policy@0.1.0` and puts
//! `NAME.wasm` into the output folder in one step, so that a router that watches the folder never sees half a file.

mod c;
mod cache;
mod command;
mod component;
mod debian;
mod error;
mod folder;
mod go;
mod javascript;
mod kept;
mod language;
mod manifest;
mod nearest;
mod npm;
mod python;
mod rust;
mod scaffold;
mod sdk;
mod shape;
mod toolchain;
mod venv;
mod wasi;
mod wasi_http;
mod wit_files;
mod zig;
mod zig_compiler;

pub use cache::folder as cache_folder;
pub use error::BuildError;
pub use folder::{default_output, is_policy};
pub use language::Language;
pub use scaffold::{Scaffold, new_policy};
pub use toolchain::{Origin, Toolchain, ensure_toolchain};

use std::fs;
use std::path::{Path, PathBuf};

use manifest::Manifest;

/// The target that Rust policies are compiled for. It has no WASI: time, random numbers and logs come from the router.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// A policy that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltPolicy {
    /// The name of the policy: that of its folder.
    pub name: String,
    /// The component.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size_bytes: usize,
}

/// Builds the policy in `folder` to `output/NAME.wasm`.
///
/// `progress` is told what is being done, a line at a time. The compiler's own messages go to the standard error.
///
/// # Errors
/// When a tool is missing (the error names the command that installs it), the policy does not compile, or the files can't be
/// written.
pub fn build_policy(
    folder: &Path,
    output: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<BuiltPolicy, BuildError> {
    let folder = folder
        .canonicalize()
        .map_err(|error| BuildError::io("read", folder, error))?;
    let name = folder::policy_name(&folder)?;
    let component = if folder.join("Cargo.toml").is_file() {
        component::encode(&rust::compile(&folder, progress)?)?
    } else if folder.join("policy.toml").is_file() {
        from_manifest(&folder, &name, progress)?
    } else {
        return Err(BuildError::NotAPolicy { folder });
    };
    let path = output.join(format!("{name}.wasm"));
    write_atomically(&path, &component)?;
    progress(&format!(
        "built {} ({} bytes)",
        path.display(),
        component.len()
    ));
    Ok(BuiltPolicy {
        name,
        path,
        size_bytes: component.len(),
    })
}

/// The component of a folder with a `policy.toml`.
fn from_manifest(
    folder: &Path,
    name: &str,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, BuildError> {
    let manifest = Manifest::read(folder)?;
    let language = manifest.language;
    let work = folder::work(folder, language, name)?;
    match language {
        Language::JavaScript | Language::TypeScript => {
            javascript::compile(folder, &manifest, &work, progress)
        }
        Language::Python => python::compile(folder, &manifest, &work, progress),
        Language::Go => component::encode(&go::compile(folder, &manifest, &work, progress)?),
        Language::Zig => component::encode(&zig::compile(folder, &manifest, &work, progress)?),
        // The manifest of a Rust policy is a Cargo.toml, so it is C or C++ that is left.
        Language::C | Language::Cpp | Language::Rust => {
            component::encode(&c::compile(folder, &manifest, &work, progress)?)
        }
    }
}

/// Writes a file under another name and renames it, so that no reader sees a part of it. A file that would not change is left
/// alone, so that nobody who watches it takes it for a new version.
fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    if fs::read(path).is_ok_and(|current| current == bytes) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| BuildError::io("create", folder, error))?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.partial", std::process::id()));
    let partial = PathBuf::from(partial);
    fs::write(&partial, bytes).map_err(|error| BuildError::io("write", &partial, error))?;
    fs::rename(&partial, path).map_err(|error| BuildError::io("write", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_replaces_the_old_one_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policies/default.wasm");
        write_atomically(&path, b"first").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_without_a_manifest_is_no_policy() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("empty");
        fs::create_dir(&folder).unwrap();
        let error = build_policy(&folder, parent.path(), &mut |_| {}).unwrap_err();
        assert!(matches!(error, BuildError::NotAPolicy { .. }), "{error}");
    }
}
