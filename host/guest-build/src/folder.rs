//! The folder of a policy: its name, and where what is built from it goes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{BuildError, Language};

/// Whether a folder holds a policy that [`crate::build_policy`] can build.
pub fn is_policy(folder: &Path) -> bool {
    folder.join("Cargo.toml").is_file() || folder.join("policy.toml").is_file()
}

/// Where a policy is built to unless the user says otherwise: `target/policies` of the workspace around it.
///
/// When workspaces lie inside each other the outermost counts, so that a policy of its own inside the repository is built
/// into the folder that `cargo xtask run` watches. Without any workspace it is `target/policies` beside the manifest.
pub fn default_output(folder: &Path) -> PathBuf {
    workspace(folder).join("target").join("policies")
}

/// Where what is made on the way to a component goes: `target/guest/LANGUAGE/NAME` of the workspace. It is made when it is not there.
pub(crate) fn work(policy: &Path, language: Language, name: &str) -> Result<PathBuf, BuildError> {
    let guests = workspace(policy).join("target").join("guest");
    let work = guests.join(language.name()).join(name);
    fs::create_dir_all(&work).map_err(|error| BuildError::io("create", &work, error))?;
    Ok(work)
}

/// The outermost workspace around a folder, or the folder itself.
pub(crate) fn workspace(folder: &Path) -> PathBuf {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let outermost = folder
        .ancestors()
        .filter(|ancestor| is_workspace(ancestor))
        .last();
    outermost.unwrap_or(&folder).to_owned()
}

fn is_workspace(folder: &Path) -> bool {
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    manifest
        .parse::<toml::Table>()
        .is_ok_and(|table| table.contains_key("workspace"))
}

/// The name of the policy in a folder: that of the folder.
pub(crate) fn policy_name(folder: &Path) -> Result<String, BuildError> {
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    check_name(&name)?;
    Ok(name)
}

/// The name ends up in file names, metrics and crate names: they all take this.
pub(crate) fn check_name(name: &str) -> Result<(), BuildError> {
    let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase());
    let fits = name.chars().all(|each| {
        each.is_ascii_lowercase() || each.is_ascii_digit() || matches!(each, '-' | '_')
    });
    if name == "builtin" {
        Err(BuildError::Reserved)
    } else if starts_well && fits {
        Ok(())
    } else {
        Err(BuildError::Name {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_workspace_takes_the_output() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("mine");
        fs::create_dir(&inner).unwrap();
        fs::write(root.path().join("Cargo.toml"), "[workspace]\n").unwrap();
        fs::write(
            inner.join("Cargo.toml"),
            "[workspace]\n[package]\nname = 'mine'\n",
        )
        .unwrap();
        assert_eq!(
            default_output(&inner),
            root.path().canonicalize().unwrap().join("target/policies")
        );
    }

    #[test]
    fn names_are_those_of_crates() {
        for good in ["default", "voicemail-on-busy", "tenant_2"] {
            check_name(good).unwrap();
        }
        for bad in ["", "-x", "2x", "Default", "a b", "a/b", "é"] {
            check_name(bad).unwrap_err();
        }
    }

    #[test]
    fn the_name_of_the_policy_inside_of_the_router_is_taken() {
        let error = check_name("builtin").unwrap_err().to_string();
        assert!(error.contains("another name"), "{error}");
    }
}
