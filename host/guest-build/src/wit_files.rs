//! The WIT package as files, for generators that are programs of their own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::manifest::Manifest;
use crate::{BuildError, component, wasi_http};

/// The interface of which these generators would import more than a policy may use without a grant, and what of it needs one.
const LOCATION: &str = "location";
const SAVING: [&str; 2] = ["save-contact", "remove-contact"];

/// Writes the package and the world [`component::WORLD`] of this manifest into `work/wit`, and returns that folder.
pub(crate) fn write(work: &Path, manifest: &Manifest) -> Result<PathBuf, BuildError> {
    // What these generators say of an unknown interface names their own files.
    component::world(manifest)?;
    let folder = work.join("wit");
    // Nothing is left of what an earlier manifest wanted.
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| BuildError::io("remove", &folder, error))?;
    }
    let package = folder.join("deps").join("policy");
    fs::create_dir_all(&package).map_err(|error| BuildError::io("create", &package, error))?;
    for (name, text) in texts(manifest) {
        write_file(&package.join(name), &text)?;
    }
    for (name, text) in wasi_http::packages(manifest) {
        let package = folder.join("deps").join(name);
        fs::create_dir_all(&package).map_err(|error| BuildError::io("create", &package, error))?;
        write_file(&package.join(wasi_http::file_name(name)), text)?;
    }
    write_file(&folder.join("guest.wit"), &component::world_text(manifest))?;
    Ok(folder)
}

/// The files of the package, as these generators get them.
pub(crate) fn texts(manifest: &Manifest) -> impl Iterator<Item = (&'static str, String)> {
    component::WIT
        .into_iter()
        .map(|(name, text)| (name, granted(text, manifest)))
}

/// What these generators make imports every function of an interface, used or not. So what needs a grant is there when the manifest names
/// the interface, and is left out otherwise.
fn granted(text: &str, manifest: &Manifest) -> String {
    if saves(manifest) {
        return text.to_owned();
    }
    let mut kept: Vec<&str> = Vec::new();
    for line in text.lines() {
        let name = line.trim_start().split(':').next().unwrap_or_default();
        if !SAVING.contains(&name) {
            kept.push(line);
            continue;
        }
        // Its documentation goes with it.
        while kept
            .pop_if(|above| above.trim_start().starts_with("///"))
            .is_some()
        {}
    }
    kept.join("\n") + "\n"
}

/// Whether a function is left out for that reason.
pub(crate) fn leaves_out(function: &str, manifest: &Manifest) -> bool {
    SAVING.contains(&function) && !saves(manifest)
}

fn saves(manifest: &Manifest) -> bool {
    manifest.imports.iter().any(|import| import == LOCATION)
}

pub(crate) fn write_file(path: &Path, text: &str) -> Result<(), BuildError> {
    fs::write(path, text).map_err(|error| BuildError::io("write", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(imports: &[&str]) -> Vec<String> {
        let mut manifest = Manifest::of_hooks(&["request-route"]);
        manifest.imports = imports.iter().map(|&name| name.to_owned()).collect();
        let mut sources = wit_parser::SourceMap::default();
        for (name, text) in texts(&manifest) {
            sources.push_str(name, &text);
        }
        let package = sources.parse().unwrap();
        let interface = package
            .main
            .interfaces
            .iter()
            .find(|(_, interface)| interface.name.as_deref() == Some(LOCATION));
        interface.unwrap().1.functions.keys().cloned().collect()
    }

    #[test]
    fn what_needs_a_grant_is_left_out_until_the_manifest_names_it() {
        let all = location(&[LOCATION]);
        assert!(SAVING.iter().all(|name| all.iter().any(|one| one == name)));
        let without = location(&[]);
        let expected: Vec<_> = all
            .into_iter()
            .filter(|name| !SAVING.contains(&name.as_str()))
            .collect();
        assert_eq!(without, expected);
    }
}
