//! `imports = ["wasi:http"]`, for a policy that brings a client for it: the interfaces of WASI that the router provides.
//!
//! What makes components of Python leaves out all of WASI or nothing, by the name of the package. There the packages have another name of the
//! same length while the component is made.

use std::fs;
use std::path::Path;

use crate::BuildError;
use crate::manifest::Manifest;
use crate::wit_files::write_file;

/// What stands in the manifest.
const IMPORT: &str = "wasi:http";

/// The packages of WIT, each after those that it needs.
const PACKAGES: [(&str, &str); 3] = [
    ("io", include_str!("../../../wit/wasi/io.wit")),
    ("clocks", include_str!("../../../wit/wasi/clocks.wit")),
    ("http", include_str!("../../../wit/wasi/http.wit")),
];

/// What a world imports.
const IMPORTS: &str = "import wasi:http/types@0.2.12;\nimport wasi:http/outgoing-handler@0.2.12;\n";

/// The namespace, and the one instead of it.
const NAMESPACE: &str = "wasi:";
const HIDDEN: &str = "wasj:";

/// Whether an import in a manifest is this one, and not an interface of our package.
pub(crate) fn is(import: &str) -> bool {
    import == IMPORT
}

/// Whether the manifest wants it.
pub(crate) fn is_wanted(manifest: &Manifest) -> bool {
    manifest.imports.iter().any(|import| is(import))
}

/// The packages that a manifest wants besides ours.
pub(crate) fn packages(manifest: &Manifest) -> &'static [(&'static str, &'static str)] {
    if is_wanted(manifest) { &PACKAGES } else { &[] }
}

/// What the world of a manifest imports of them.
pub(crate) fn imports(manifest: &Manifest) -> &'static str {
    if is_wanted(manifest) { IMPORTS } else { "" }
}

/// Gives the packages in a folder of WIT files the other name.
pub(crate) fn hide(wit: &Path) -> Result<(), BuildError> {
    let packages = PACKAGES.map(|(name, _)| wit.join("deps").join(name).join(file_name(name)));
    for path in packages.into_iter().chain([wit.join("guest.wit")]) {
        let text =
            fs::read_to_string(&path).map_err(|error| BuildError::io("read", &path, error))?;
        write_file(&path, &text.replace(NAMESPACE, HIDDEN))?;
    }
    Ok(())
}

/// Gives the imports of a component their own name again.
pub(crate) fn show(component: &Path) -> Result<(), BuildError> {
    let mut bytes =
        fs::read(component).map_err(|error| BuildError::io("read", component, error))?;
    restore(&mut bytes);
    fs::write(component, bytes).map_err(|error| BuildError::io("write", component, error))
}

/// Names stay where they are, as both are equally long.
fn restore(bytes: &mut [u8]) {
    for (package, _) in PACKAGES {
        let hidden = format!("{HIDDEN}{package}/");
        let mut rest = &mut *bytes;
        while let Some(start) = position(rest, hidden.as_bytes()) {
            let (_, found) = rest.split_at_mut(start);
            let (name, behind) = found.split_at_mut(NAMESPACE.len());
            name.copy_from_slice(NAMESPACE.as_bytes());
            rest = behind;
        }
    }
}

fn position(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

/// The name of the file of a package.
pub(crate) fn file_name(package: &str) -> String {
    format!("{package}.wit")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component;

    fn manifest() -> Manifest {
        let mut manifest = Manifest::of_hooks(&["request-route"]);
        manifest.imports = vec![IMPORT.to_owned(), "http".to_owned()];
        manifest
    }

    #[test]
    fn the_world_has_what_a_client_needs() {
        let (resolve, world) = component::world(&manifest()).unwrap();
        let imports = &resolve.worlds.get(world).unwrap().imports;
        let names: Vec<String> = imports
            .keys()
            .map(|key| resolve.name_world_key(key))
            .collect();
        for name in [
            "wasi:http/outgoing-handler@0.2.12",
            "wasi:io/poll@0.2.12",
            "patchbay:policy/http@0.1.0",
        ] {
            assert!(names.iter().any(|other| other == name), "{names:?}");
        }
    }

    #[test]
    fn a_name_that_was_hidden_comes_back_and_nothing_else_changes() {
        assert_eq!(NAMESPACE.len(), HIDDEN.len());
        let made = "\u{1}wasj:http/types@0.2.12 wasj:io/poll wasj:other/x wasj:io/streams";
        let mut bytes = made.as_bytes().to_vec();
        restore(&mut bytes);
        let expected = "\u{1}wasi:http/types@0.2.12 wasi:io/poll wasj:other/x wasi:io/streams";
        assert_eq!(bytes, expected.as_bytes());
    }

    #[test]
    fn the_folder_has_no_name_of_wasi_while_it_is_hidden() {
        let work = tempfile::tempdir().unwrap();
        let wit = crate::wit_files::write(work.path(), &manifest()).unwrap();
        hide(&wit).unwrap();
        let read = |name: &str| fs::read_to_string(wit.join(name)).unwrap();
        for text in [read("guest.wit"), read("deps/http/http.wit")] {
            assert!(!text.contains("wasi:") && text.contains("wasj:http"));
        }
    }
}
