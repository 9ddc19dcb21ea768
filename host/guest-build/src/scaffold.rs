//! `patchbay policy new`: a policy to start from.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{BuildError, folder};

/// A policy that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaffold {
    /// Its folder.
    pub folder: PathBuf,
    /// The files in it.
    pub files: Vec<PathBuf>,
}

/// Writes a new Rust policy into `folder`, whose last part is its name. The folder must not exist.
///
/// The crate is a workspace of its own. It finds the SDK in the repository that this program was built from.
///
/// # Errors
/// When the name does not fit, the folder exists, or it can't be written.
pub fn new_policy(folder: &Path) -> Result<Scaffold, BuildError> {
    let name = folder::policy_name(folder)?;
    fs::create_dir_all(folder.join("src"))
        .map_err(|error| BuildError::io("create", folder, error))?;
    let mut files = Vec::new();
    for (file, template) in [
        ("Cargo.toml", MANIFEST),
        (".gitignore", "/target\n"),
        ("src/lib.rs", SOURCE),
    ] {
        let path = folder.join(file);
        if path.exists() {
            return Err(BuildError::io(
                "create",
                &path,
                std::io::ErrorKind::AlreadyExists.into(),
            ));
        }
        let text = template
            .replace("{{name}}", &name)
            .replace("{{sdk}}", &sdk())
            .replace("{{type}}", &type_name(&name));
        fs::write(&path, text).map_err(|error| BuildError::io("write", &path, error))?;
        files.push(path);
    }
    Ok(Scaffold {
        folder: folder.to_owned(),
        files,
    })
}

/// How the new crate names the SDK.
fn sdk() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-sdk");
    let path = path.canonicalize().unwrap_or(path);
    format!("{{ path = {:?} }}", path.display().to_string())
}

/// `least-cost` as a type: `LeastCost`.
fn type_name(name: &str) -> String {
    let words = name.split(['-', '_']).filter(|word| !word.is_empty());
    words
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect()
}

/// The crate's manifest.
const MANIFEST: &str = include_str!("scaffold/Cargo.toml.template");

/// The crate's source.
const SOURCE: &str = include_str!("scaffold/lib.rs.template");
