//! Compiles a Rust policy to a core module.

use std::fs;
use std::path::Path;

use crate::{BuildError, TARGET, cache, command, ensure_toolchain, folder, sdk};

/// A stack of 64 KiB instead of 1 MiB: two pages of memory for each instance instead of seventeen.
const STACK: &str = "-Clink-arg=-zstack-size=65536";

/// Builds the crate with the profile `guest` and returns the module.
///
/// It has a target folder of its own (`target/guest`), so that building a policy never makes the host's crates compile anew.
pub(crate) fn compile(
    crate_folder: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, BuildError> {
    let manifest = manifest(crate_folder)?;
    let library = library_name(crate_folder, &manifest)?;
    if let Some(sdk) = sdk_path(&manifest) {
        let manifest = crate_folder.join("Cargo.toml");
        sdk::restore(&manifest, sdk, &cache::folder()?, progress)?;
    }
    let toolchain = ensure_toolchain(progress)?;
    let target = folder::workspace(crate_folder).join("target").join("guest");
    progress(&format!("compiling {}", crate_folder.display()));
    let mut cargo = toolchain.cargo();
    cargo.args([
        "build",
        "--quiet",
        "--lib",
        "--profile",
        "guest",
        "--target",
        TARGET,
    ]);
    cargo
        .arg("--target-dir")
        .arg(&target)
        .current_dir(crate_folder)
        .env("CARGO_ENCODED_RUSTFLAGS", STACK);
    command::run(&mut cargo)?;
    let module = target
        .join(TARGET)
        .join("guest")
        .join(format!("{library}.wasm"));
    fs::read(&module).map_err(|error| BuildError::io("read", &module, error))
}

fn manifest(crate_folder: &Path) -> Result<toml::Table, BuildError> {
    let path = crate_folder.join("Cargo.toml");
    let text = fs::read_to_string(&path).map_err(|error| BuildError::io("read", &path, error))?;
    text.parse()
        .map_err(|error: toml::de::Error| BuildError::Manifest {
            path,
            problem: error.to_string(),
        })
}

/// Where the manifest says that the SDK is.
fn sdk_path(manifest: &toml::Table) -> Option<&str> {
    let sdk = manifest.get("dependencies")?.get("patchbay-sdk")?;
    sdk.get("path")?.as_str()
}

/// The name of the crate's library, as cargo derives it.
fn library_name(crate_folder: &Path, manifest: &toml::Table) -> Result<String, BuildError> {
    let name_in = |table: &str| {
        manifest
            .get(table)
            .and_then(|table| table.get("name"))
            .and_then(toml::Value::as_str)
    };
    let name = name_in("lib").or_else(|| name_in("package"));
    let name = name.ok_or_else(|| BuildError::Manifest {
        path: crate_folder.join("Cargo.toml"),
        problem: "it describes no package".to_owned(),
    })?;
    Ok(name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_named_after_the_package_unless_it_has_its_own_name() {
        let name = |manifest: &str| library_name(Path::new("."), &manifest.parse().unwrap());
        let package = "[package]\nname = 'default-policy'\n";
        assert_eq!(name(package).unwrap(), "default_policy");
        let library = format!("{package}[lib]\nname = 'routing'\n");
        assert_eq!(name(&library).unwrap(), "routing");
        name("[workspace]\n").unwrap_err();
    }
}
