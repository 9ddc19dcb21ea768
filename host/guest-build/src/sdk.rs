//! Where policies find the SDK: in the repository when they lie in it, else in a copy that this program brings along.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{BuildError, cache};

/// The files of the SDK, as they were when this program was built.
mod embedded {
    include!(concat!(env!("OUT_DIR"), "/sdk.rs"));
}

/// The manifest of the SDK, from the root of the repository or of its copy.
const MANIFEST: &str = "guest-sdk/Cargo.toml";

/// The folders of the copy: a workspace of these.
const MEMBERS: [&str; 3] = ["guest-sdk", "guest-sdk/macros", "host/message"];

/// The crates in them.
pub(crate) const CRATES: [&str; 3] = ["patchbay-sdk", "patchbay-sdk-macros", "patchbay-message"];

/// The entry of the cache; other builds of Patchbay have others.
fn entry() -> String {
    format!("sdk-{}", embedded::IDENTITY)
}

/// The lock file of the repository: the versions of the SDK's dependencies that it was tested with.
pub(crate) fn lock() -> Option<&'static str> {
    let (_, text) = embedded::FILES
        .iter()
        .find(|(name, _)| *name == "Cargo.lock")?;
    Some(text)
}

/// The repository around a folder that may not exist yet.
pub(crate) fn repository(folder: &Path) -> Option<PathBuf> {
    let around = folder.ancestors().find_map(|path| {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        path.canonicalize().ok()
    })?;
    let root = around.ancestors().find(|path| is_sdk(&path.join(MANIFEST)));
    root.map(Path::to_owned)
}

fn is_sdk(manifest: &Path) -> bool {
    let text = fs::read_to_string(manifest).unwrap_or_default();
    text.parse::<toml::Table>().is_ok_and(|table| {
        let name = table.get("package").and_then(|package| package.get("name"));
        name.and_then(toml::Value::as_str) == Some("patchbay-sdk")
    })
}

/// The folder of the SDK's copy in this cache, unpacked when it is not there.
pub(crate) fn unpacked(
    cache: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf, BuildError> {
    let root = cache::ensure_in(cache, &entry(), progress, |root, progress| {
        progress("unpacking the SDK");
        unpack(root)
    })?;
    Ok(root.join("guest-sdk"))
}

/// Brings back the SDK that a manifest names, when it is a copy of ours that was deleted: a cache may be emptied at any time.
pub(crate) fn restore(
    sdk: &Path,
    cache: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<(), BuildError> {
    if sdk.join("Cargo.toml").is_file() || !sdk.starts_with(cache) {
        return Ok(());
    }
    let ours = unpacked(cache, progress)?;
    if ours == sdk {
        return Ok(());
    }
    Err(BuildError::Missing {
        what: "the SDK that Cargo.toml names",
        reason: format!("{} is another version's", sdk.display()),
        command: format!(
            "cargo add --path {} patchbay-sdk    # the SDK of this version",
            ours.display()
        ),
    })
}

fn unpack(root: &Path) -> Result<(), BuildError> {
    for (name, text) in embedded::FILES {
        let path = root.join(name);
        let folder = path.parent().unwrap_or(root);
        fs::create_dir_all(folder).map_err(|error| BuildError::io("create", folder, error))?;
        let text = match *name {
            "Cargo.toml" => workspace(text, &path)?,
            _ => (*text).to_owned(),
        };
        fs::write(&path, text).map_err(|error| BuildError::io("write", &path, error))?;
    }
    Ok(())
}

/// The manifest of the repository, reduced to what the SDK's crates inherit.
fn workspace(text: &str, path: &Path) -> Result<String, BuildError> {
    let manifest = |problem: String| BuildError::Manifest {
        path: path.to_owned(),
        problem,
    };
    let mut table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| manifest(error.to_string()))?;
    let workspace = table
        .get_mut("workspace")
        .and_then(toml::Value::as_table_mut)
        .ok_or_else(|| manifest("it describes no workspace".to_owned()))?;
    for key in ["default-members", "exclude"] {
        workspace.remove(key);
    }
    workspace.insert("members".to_owned(), toml::Value::from(MEMBERS.to_vec()));
    table.retain(|key, _| key == "workspace");
    toml::to_string(&table).map_err(|error| manifest(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_a_workspace_of_the_sdk_and_what_it_needs() {
        let cache = tempfile::tempdir().unwrap();
        let sdk = unpacked(cache.path(), &mut |_| {}).unwrap();
        assert!(is_sdk(&sdk.join("Cargo.toml")));
        let root = sdk.parent().unwrap();
        for member in MEMBERS {
            assert!(root.join(member).join("src/lib.rs").is_file(), "{member}");
        }
        for (member, name) in MEMBERS.iter().zip(CRATES) {
            let manifest = fs::read_to_string(root.join(member).join("Cargo.toml")).unwrap();
            let manifest: toml::Table = manifest.parse().unwrap();
            assert_eq!(manifest["package"]["name"].as_str(), Some(name));
        }
        let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let table: toml::Table = manifest.parse().unwrap();
        assert_eq!(
            table["workspace"]["members"].as_array().unwrap().len(),
            MEMBERS.len()
        );
        assert!(table["workspace"]["dependencies"]["wit-bindgen"].is_table());
    }

    #[test]
    fn a_folder_of_the_repository_finds_it_even_before_it_exists() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().unwrap();
        assert_eq!(repository(&root.join("not/there")), Some(root));
        let elsewhere = tempfile::tempdir().unwrap();
        assert_eq!(repository(&elsewhere.path().join("mine")), None);
    }

    #[test]
    fn a_deleted_copy_comes_back() {
        let cache = tempfile::tempdir().unwrap();
        let sdk = unpacked(cache.path(), &mut |_| {}).unwrap();
        fs::remove_dir_all(sdk.parent().unwrap()).unwrap();
        restore(&sdk, cache.path(), &mut |_| {}).unwrap();
        assert!(is_sdk(&sdk.join("Cargo.toml")));
    }

    #[test]
    fn the_copy_of_another_version_is_not_made_up() {
        let cache = tempfile::tempdir().unwrap();
        let sdk = cache.path().join("sdk-0.0.0-0/guest-sdk");
        let error = restore(&sdk, cache.path(), &mut |_| {}).unwrap_err();
        assert!(matches!(error, BuildError::Missing { .. }), "{error}");
    }
}
