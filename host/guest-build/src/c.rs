//! Compiles a policy in C or C++ to a core module.
//!
//! The header `policy.h` and the glue behind it are generated from the WIT package for exactly the hooks of the manifest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wit_bindgen_core::Files;

use crate::manifest::Manifest;
use crate::zig_compiler::Compiler;
use crate::{BuildError, Language, command, component};

/// What the code is for. Only what does not need WASI works; the rest fails as it does without files and sockets.
const TARGET: [&str; 3] = ["-target", "wasm32-wasi", "-O2"];

/// A library without a main function, small, with a stack of 64 KiB as for Rust.
const LINK: [&str; 3] = ["-mexec-model=reactor", "-s", "-Wl,-z,stack-size=65536"];

const WARNINGS: [&str; 2] = ["-Wall", "-Wextra"];

/// A fault ends the instance: nothing would catch an exception.
const CPP: [&str; 3] = ["-std=c++20", "-fno-exceptions", "-fno-rtti"];

/// Compiles the policy and returns the module.
pub(crate) fn compile(
    policy: &Path,
    manifest: &Manifest,
    work: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, BuildError> {
    let zig = Compiler::find(progress)?;
    let glue = bindings(&zig, work, manifest)?;
    progress(&format!("compiling {}", policy.display()));
    let (driver, flags): (&str, &[&str]) = match manifest.language {
        Language::Cpp => ("c++", &CPP),
        _ => ("cc", &[]),
    };
    let mut objects = Vec::new();
    for (number, source) in manifest.sources.iter().enumerate() {
        let object = work.join(format!("source-{number}.o"));
        let mut compile = driver_with(&zig, driver);
        compile.args(flags).args(WARNINGS).arg("-I").arg(work);
        compile
            .arg("-c")
            .arg(policy.join(source))
            .arg("-o")
            .arg(&object);
        command::run(&mut compile)?;
        objects.push(object);
    }
    let module = work.join("policy.wasm");
    let mut link = driver_with(&zig, driver);
    link.args(LINK)
        .arg("-o")
        .arg(&module)
        .args(objects)
        .args(glue);
    // The first link in C++ compiles the library, with thousands of warnings that are not the author's.
    command::output(&mut link)?;
    fs::read(&module).map_err(|error| BuildError::io("read", &module, error))
}

fn driver_with(zig: &Compiler, driver: &str) -> Command {
    let mut command = zig.command();
    command.arg(driver).args(TARGET);
    command
}

/// Writes `policy.h`, and compiles the glue behind it to what has to be linked with the policy.
pub(crate) fn bindings(
    zig: &Compiler,
    work: &Path,
    manifest: &Manifest,
) -> Result<Vec<PathBuf>, BuildError> {
    let mut objects = Vec::new();
    for file in write_bindings(work, manifest)? {
        if file.extension().is_none_or(|extension| extension != "c") {
            objects.push(file);
            continue;
        }
        let object = file.with_extension("glue.o");
        let mut compile = driver_with(zig, "cc");
        compile.arg("-c").arg(&file).arg("-o").arg(&object);
        command::output(&mut compile)?;
        objects.push(object);
    }
    Ok(objects)
}

/// Writes the header, the glue and an object that describes the world, and returns the latter two.
fn write_bindings(work: &Path, manifest: &Manifest) -> Result<Vec<PathBuf>, BuildError> {
    let (mut resolve, world) = component::world(manifest)?;
    let mut files = Files::default();
    let generated =
        wit_bindgen_c::Opts::default()
            .build()
            .generate(&mut resolve, world, &mut files);
    generated.map_err(|error| BuildError::Component {
        problem: format!("{error:#}"),
    })?;
    let mut sources = Vec::new();
    for (name, bytes) in files.iter() {
        let path = work.join(name);
        fs::write(&path, bytes).map_err(|error| BuildError::io("write", &path, error))?;
        if !name.ends_with(".h") {
            sources.push(path);
        }
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bindings_declare_the_hooks_of_the_manifest() {
        let work = tempfile::tempdir().unwrap();
        write_bindings(work.path(), &Manifest::of_hooks(&["request-route"])).unwrap();
        let header = fs::read_to_string(work.path().join("policy.h")).unwrap();
        assert!(
            header.contains("request_route") && !header.contains("failure_route_failure_route"),
            "{header}"
        );
    }
}
