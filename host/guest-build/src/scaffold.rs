//! `patchbay policy new`: a policy to start from.

use std::fs::{self, File};
use std::io::{self, Write};
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

/// Writes a new Rust policy into `folder`, whose last part is its name. The folder must be new or empty.
///
/// The crate is a workspace of its own. It finds the SDK in the repository that this program was built from, and starts with the
/// versions of the SDK's dependencies that are locked there.
///
/// # Errors
/// When the name does not fit, the folder has something in it, or it can't be written.
pub fn new_policy(folder: &Path) -> Result<Scaffold, BuildError> {
    let name = folder::policy_name(folder)?;
    fs::create_dir_all(folder.join("src"))
        .map_err(|error| BuildError::io("create", folder, error))?;
    let repository = repository();
    let mut texts = vec![
        ("Cargo.toml", fill(MANIFEST, &name, &repository)),
        (".gitignore", "/target\n".to_owned()),
        ("src/lib.rs", fill(SOURCE, &name, &repository)),
    ];
    texts.extend(
        fs::read_to_string(repository.join("Cargo.lock"))
            .ok()
            .map(|lock| ("Cargo.lock", lock)),
    );
    let mut files = Vec::new();
    for (file, text) in texts {
        let path = folder.join(file);
        write_new(&path, &text).map_err(|error| BuildError::io("create", &path, error))?;
        files.push(path);
    }
    Ok(Scaffold {
        folder: folder.to_owned(),
        files,
    })
}

/// The repository that this program was built from.
fn repository() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    path.canonicalize().unwrap_or(path)
}

/// Writes a file that must not be there.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    File::create_new(path)?.write_all(text.as_bytes())
}

/// Puts names into a template.
fn fill(template: &str, name: &str, repository: &Path) -> String {
    let sdk = repository.join("guest-sdk").display().to_string();
    let sdk = toml::Value::String(sdk).to_string();
    template
        .replace("{{name}}", name)
        .replace("{{sdk}}", &sdk)
        .replace("{{type}}", &type_name(name))
}

/// `least-cost` as a type: `LeastCost`.
fn type_name(name: &str) -> String {
    let mut starts_word = true;
    let mut capitalise = |each: char| {
        let capital = starts_word;
        starts_word = matches!(each, '-' | '_');
        if capital {
            each.to_ascii_uppercase()
        } else {
            each
        }
    };
    name.chars()
        .map(&mut capitalise)
        .filter(|each| !matches!(each, '-' | '_'))
        .collect()
}

/// The crate's manifest.
const MANIFEST: &str = include_str!("scaffold/Cargo.toml.template");

/// The crate's source.
const SOURCE: &str = include_str!("scaffold/lib.rs.template");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_policy_is_a_crate_that_names_its_type() {
        let parent = tempfile::tempdir().unwrap();
        let scaffold = new_policy(&parent.path().join("least-cost")).unwrap();
        let read = |file: &str| fs::read_to_string(scaffold.folder.join(file)).unwrap();
        let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("least-cost"));
        assert!(
            Path::new(
                manifest["dependencies"]["patchbay-sdk"]["path"]
                    .as_str()
                    .unwrap()
            )
            .is_dir()
        );
        assert!(read("src/lib.rs").contains("impl Policy for LeastCost {"));
        assert!(!read("src/lib.rs").contains("{{"));
    }

    #[test]
    fn nothing_is_overwritten() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("mine");
        new_policy(&folder).unwrap();
        fs::write(folder.join("src/lib.rs"), "mine").unwrap();
        new_policy(&folder).unwrap_err();
        assert_eq!(
            fs::read_to_string(folder.join("src/lib.rs")).unwrap(),
            "mine"
        );
    }
}
