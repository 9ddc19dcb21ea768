//! `cargo xtask policies`: builds the guests.

use std::path::Path;

use patchbay_guest_build::{build_policy, is_policy};

use crate::steps::{Failure, say};

/// Builds the policies of these names, or every one, to `target/policies`. One that fails does not keep the others from it.
pub(crate) fn build(root: &Path, names: &[String]) -> Result<(), Failure> {
    let names = if names.is_empty() {
        all(root)?
    } else {
        names.to_vec()
    };
    let mut problems = Vec::new();
    for name in names {
        let folder = root.join("policies").join(&name);
        if !is_policy(&folder) {
            return Err(Failure::NoSuchPolicy(name));
        }
        if let Err(error) = build_policy(&folder, &root.join("target").join("policies"), &mut say) {
            problems.push((name, error));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Failure::Policies(problems))
    }
}

/// The policy that ships inside the router.
pub(crate) fn build_default(root: &Path) -> Result<(), Failure> {
    build(root, &["default".to_owned()])
}

/// The names of all policies.
fn all(root: &Path) -> Result<Vec<String>, Failure> {
    let folder = root.join("policies");
    let entries = folder
        .read_dir()
        .map_err(|error| Failure::File(folder, error))?;
    let policies = entries.flatten().filter(|entry| is_policy(&entry.path()));
    let mut names: Vec<String> = policies
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}
