//! Where policies find the SDK: in the repository when they lie in it, else in a copy that this program brings along.

use std::fs;
use std::io;
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

/// Sees to it that there is the SDK that a manifest names. A cache may be emptied at any time, and a policy may come from another
/// machine, user or version of Patchbay, whose copy is elsewhere: then the manifest gets the place of the copy here.
pub(crate) fn restore(
    manifest: &Path,
    sdk: &str,
    cache: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<(), BuildError> {
    let named = manifest.parent().unwrap_or(manifest).join(sdk);
    if named.join("Cargo.toml").is_file() {
        return Ok(());
    }
    let ours = unpacked(cache, progress)?;
    if ours == named {
        return Ok(());
    }
    if is_copy(&named) && name_in(manifest, sdk, &ours).is_ok() {
        progress(&format!(
            "{} named the SDK at {sdk}, which is not here: it names {} now",
            manifest.display(),
            ours.display()
        ));
        return Ok(());
    }
    Err(BuildError::Manifest {
        path: manifest.to_owned(),
        problem: format!(
            "there is no SDK at {sdk}: patchbay-sdk = {{ path = {:?} }} is the one of this version of Patchbay",
            ours.display().to_string()
        ),
    })
}

/// Whether this is the place of a copy in some cache.
fn is_copy(sdk: &Path) -> bool {
    let root = sdk.parent().and_then(Path::file_name);
    let is_entry = root.is_some_and(|name| name.to_string_lossy().starts_with("sdk-"));
    is_entry && sdk.ends_with("guest-sdk")
}

/// Writes another place of the SDK into a manifest, and leaves the rest as it is.
fn name_in(manifest: &Path, before: &str, after: &Path) -> io::Result<()> {
    let text = fs::read_to_string(manifest)?;
    let mut forms = [format!("\"{before}\""), format!("'{before}'")].into_iter();
    let written = forms.find(|written| text.contains(written.as_str()));
    let written = written.ok_or(io::ErrorKind::NotFound)?;
    let after = toml::Value::String(after.display().to_string()).to_string();
    fs::write(manifest, text.replace(&written, &after))
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
        let (manifest, named) = names(&cache, &sdk);
        restore(&manifest, &named, cache.path(), &mut |_| {}).unwrap();
        assert!(is_sdk(&sdk.join("Cargo.toml")));
    }

    /// A manifest that names an SDK, in the folder of the cache.
    fn names(cache: &tempfile::TempDir, sdk: &Path) -> (PathBuf, String) {
        let manifest = cache.path().join("Cargo.toml");
        let sdk = sdk.display().to_string();
        let text =
            format!("# mine\n[dependencies]\npatchbay-sdk = {{ path = \"{sdk}\" }} # kept\n");
        fs::write(&manifest, text).unwrap();
        (manifest, sdk)
    }

    #[test]
    fn of_an_sdk_that_is_no_copy_the_place_is_told() {
        let cache = tempfile::tempdir().unwrap();
        let (manifest, named) = names(&cache, Path::new("../sdk"));
        let error = restore(&manifest, &named, cache.path(), &mut |_| {}).unwrap_err();
        let ours = cache.path().join(entry()).join("guest-sdk");
        let expected = format!("there is no SDK at ../sdk: patchbay-sdk = {{ path = {ours:?} }}");
        assert!(error.to_string().contains(&expected), "{error}");
        assert!(fs::read_to_string(&manifest).unwrap().contains("../sdk"));
    }

    #[test]
    fn the_copy_of_another_machine_or_version_is_that_of_this_one() {
        let cache = tempfile::tempdir().unwrap();
        let ours = cache.path().join(entry()).join("guest-sdk");
        let line = format!("patchbay-sdk = {{ path = {ours:?} }} # kept");
        for theirs in [&*entry(), "sdk-0.0.0-0"] {
            let theirs = Path::new("/home/somebody/.cache/patchbay").join(theirs);
            let (manifest, named) = names(&cache, &theirs.join("guest-sdk"));
            restore(&manifest, &named, cache.path(), &mut |_| {}).unwrap();
            let text = fs::read_to_string(&manifest).unwrap();
            assert!(text.contains(&line) && text.starts_with("# mine"), "{text}");
            assert!(is_sdk(&ours.join("Cargo.toml")));
        }
    }
}
