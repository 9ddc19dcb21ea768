//! Components that take long to make are made again only when something that they are made of has changed.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use crate::manifest::Manifest;
use crate::{BuildError, component, wit_files};

/// The component in the work folder when it was made of the same, else the one that `make` writes to the path it is given.
pub(crate) fn or_make(
    work: &Path,
    manifest: &Manifest,
    made_of: &[u8],
    make: impl FnOnce(&Path) -> Result<(), BuildError>,
) -> Result<Vec<u8>, BuildError> {
    let mut hasher = DefaultHasher::new();
    let world = component::world_text(manifest);
    let package: Vec<_> = wit_files::texts(manifest).collect();
    (env!("CARGO_PKG_VERSION"), world, made_of, package).hash(&mut hasher);
    let seal = format!("{:016x}", hasher.finish());
    let output = work.join("component.wasm");
    let seal_path = work.join("component.seal");
    if fs::read_to_string(&seal_path).is_ok_and(|kept| kept == seal)
        && let Ok(component) = fs::read(&output)
    {
        return Ok(component);
    }
    // Of a maker that is stopped halfway nothing may look current.
    if seal_path.exists() {
        fs::remove_file(&seal_path).map_err(|error| BuildError::io("remove", &seal_path, error))?;
    }
    make(&output)?;
    let component = fs::read(&output).map_err(|error| BuildError::io("read", &output, error))?;
    fs::write(&seal_path, seal).map_err(|error| BuildError::io("write", &seal_path, error))?;
    Ok(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_made_again_when_what_it_is_made_of_changes() {
        let work = tempfile::tempdir().unwrap();
        let manifest = Manifest::of_hooks(&["init"]);
        let build = |made_of: &[u8], result: &str| {
            or_make(work.path(), &manifest, made_of, |output| {
                fs::write(output, result).map_err(|error| BuildError::io("write", output, error))
            })
            .unwrap()
        };
        assert_eq!(build(b"a", "first"), b"first");
        assert_eq!(build(b"a", "second"), b"first");
        assert_eq!(build(b"b", "third"), b"third");
    }
}
