//! Compiles a policy in Zig to a core module.
//!
//! The bindings are those of C, translated into a Zig module that is called `policy`.

use std::fs;
use std::path::Path;

use crate::manifest::Manifest;
use crate::zig_compiler::Compiler;
use crate::{BuildError, c, command};

/// As for C: a library without a main function, optimised, with a stack of 64 KiB.
const FLAGS: [&str; 8] = [
    "-target",
    "wasm32-wasi",
    "-mexec-model=reactor",
    "-OReleaseFast",
    "-fstrip",
    "-lc",
    "--stack",
    "65536",
];

/// Compiles the policy and returns the module.
pub(crate) fn compile(
    policy: &Path,
    manifest: &Manifest,
    work: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, BuildError> {
    let zig = Compiler::find(progress)?;
    let glue = c::bindings(&zig, work, manifest)?;
    let mut translate = zig.command();
    translate.args(["translate-c", "-target", "wasm32-wasi", "-lc"]);
    let bindings = command::output(translate.arg(work.join("policy.h")))?;
    let bindings_path = work.join("policy.zig");
    fs::write(&bindings_path, bindings)
        .map_err(|error| BuildError::io("write", &bindings_path, error))?;
    progress(&format!("compiling {}", policy.display()));
    let module = work.join("policy.wasm");
    let mut build = zig.command();
    build.arg("build-exe").args(FLAGS);
    build.args(["--dep", "policy"]).args(glue);
    build.arg(option("-Mroot=", &policy.join(manifest.main())));
    build.arg(option("-Mpolicy=", &bindings_path));
    build.arg(option("-femit-bin=", &module));
    command::run(build.current_dir(work))?;
    fs::read(&module).map_err(|error| BuildError::io("read", &module, error))
}

fn option(name: &str, path: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(name);
    option.push(path);
    option
}
