//! A compiler with the WebAssembly target in a closed network: Debian's `rustc-web`, unpacked into the cache.
//!
//! The packages are unpacked, not installed: installing them would conflict with rustup and need root. Debian ships the
//! compiler and the library's source but not the library for our target, so that is built once, by the same compiler
//! (compiler and library must match). Cargo and the linker stay those of rustup.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::toolchain::{Origin, Toolchain, rust_lld};
use crate::{BuildError, TARGET, cache, command};

/// The entry of the cache.
const ENTRY: &str = "debian-rust";

/// A crate with nothing in it: building it builds the standard library.
const SEED_MANIFEST: &str = "\
[package]
name = \"std_seed\"
version = \"0.0.0\"
edition = \"2024\"

[workspace]

[profile.release]
panic = \"abort\"
";

/// The toolchain, when it is in the cache already.
pub(crate) fn cached() -> Result<Option<Toolchain>, BuildError> {
    let prefix = cache::folder()?.join(ENTRY);
    if prefix.is_dir() {
        environment(&prefix).map(Some)
    } else {
        Ok(None)
    }
}

/// The toolchain, from the cache or made anew.
pub(crate) fn toolchain(progress: &mut dyn FnMut(&str)) -> Result<Toolchain, BuildError> {
    let prefix = cache::ensure(ENTRY, progress, make)?;
    environment(&prefix)
}

fn environment(prefix: &Path) -> Result<Toolchain, BuildError> {
    let environment = vec![
        ("RUSTC", prefix.join("usr/bin/rustc").into_os_string()),
        ("LD_LIBRARY_PATH", library_path(prefix)?),
        (
            "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER",
            rust_lld()?.into_os_string(),
        ),
    ];
    Ok(Toolchain::new(Origin::Debian, environment))
}

/// `usr/lib/x86_64-linux-gnu`, whatever the machine is.
fn library_path(prefix: &Path) -> Result<OsString, BuildError> {
    let libraries = prefix.join("usr").join("lib");
    let entries = libraries
        .read_dir()
        .map_err(|error| BuildError::io("read", &libraries, error))?;
    let mut folders = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with("-linux-gnu"));
    folders
        .next()
        .map(PathBuf::into_os_string)
        .ok_or_else(|| incomplete("it has no libraries"))
}

fn make(prefix: &Path, progress: &mut dyn FnMut(&str)) -> Result<(), BuildError> {
    for tool in ["apt-get", "dpkg"] {
        if !command::exists(tool) {
            return Err(incomplete(&format!("there is no {tool}")));
        }
    }
    let apt = Apt::new(prefix, progress)?;
    let packages = apt.packages()?;
    progress(&format!(
        "downloading {} into the cache",
        packages.join(" ")
    ));
    let archives = prefix.join("archives");
    fs::create_dir(&archives).map_err(|error| BuildError::io("create", &archives, error))?;
    command::output(
        apt.command("apt-get")
            .args(["download", "-q"])
            .args(&packages)
            .current_dir(&archives),
    )?;
    unpack(&archives, prefix)?;
    progress("building the standard library for WebAssembly, once (about a minute)");
    build_standard_library(prefix)?;
    for folder in ["archives", "apt", "seed", "usr/share", "usr/src"] {
        remove(&prefix.join(folder))?;
    }
    Ok(())
}

/// Debian's package tools, with lists of their own when the machine's are empty.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(prefix: &Path, progress: &mut dyn FnMut(&str)) -> Result<Apt, BuildError> {
        let system = Apt {
            options: Vec::new(),
        };
        if system.candidate("rustc-web").is_ok() {
            return Ok(system);
        }
        progress("apt-get update (into the cache, the machine's lists stay as they are)");
        let state = prefix.join("apt");
        for folder in ["lists/partial", "archives/partial"] {
            let folder = state.join(folder);
            fs::create_dir_all(&folder)
                .map_err(|error| BuildError::io("create", &folder, error))?;
        }
        let own = Apt {
            options: vec![
                format!("-oDir::State::lists={}", state.join("lists").display()),
                format!("-oDir::Cache={}", state.display()),
            ],
        };
        command::output(own.command("apt-get").args(["update", "-q"]))?;
        Ok(own)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .args(&self.options)
            .arg("-oAPT::Sandbox::User=")
            .env("LC_ALL", "C");
        command
    }

    /// The packages to download, each as `name=version`: a compiler, its libraries, and the source of the same version.
    fn packages(&self) -> Result<Vec<String>, BuildError> {
        let version = self.candidate("rustc-web")?;
        let library = self.dependency(
            &format!("libstd-rust-web-dev={version}"),
            "libstd-rust-web-",
        )?;
        let llvm = self.dependency(&format!("{library}={version}"), "libllvm")?;
        let with_version = ["rustc-web", &library, "libstd-rust-web-dev", "rust-web-src"]
            .map(|name| format!("{name}={version}"));
        Ok(with_version.into_iter().chain([llvm]).collect())
    }

    /// The version of a package that would be installed.
    fn candidate(&self, package: &str) -> Result<String, BuildError> {
        let policy = command::output(self.command("apt-cache").args(["policy", package]))?;
        let candidate = policy
            .lines()
            .find_map(|line| line.trim().strip_prefix("Candidate: "))
            .filter(|version| *version != "(none)");
        candidate
            .map(str::to_owned)
            .ok_or_else(|| incomplete(&format!("this Debian has no package {package}")))
    }

    /// The first dependency of a package whose name starts so.
    fn dependency(&self, package: &str, prefix: &str) -> Result<String, BuildError> {
        let depends = command::output(self.command("apt-cache").args(["depends", package]))?;
        let mut names = depends
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "));
        let name = names.find(|name| name.starts_with(prefix));
        name.map(str::to_owned)
            .ok_or_else(|| incomplete(&format!("{package} depends on no {prefix}*")))
    }
}

fn unpack(archives: &Path, prefix: &Path) -> Result<(), BuildError> {
    let entries = archives
        .read_dir()
        .map_err(|error| BuildError::io("read", archives, error))?;
    for archive in entries.flatten() {
        command::output(
            Command::new("dpkg")
                .arg("-x")
                .arg(archive.path())
                .arg(prefix),
        )?;
    }
    Ok(())
}

/// Builds the library with the seed crate and puts it where the compiler looks for it.
fn build_standard_library(prefix: &Path) -> Result<(), BuildError> {
    let seed = prefix.join("seed");
    write(&seed.join("Cargo.toml"), SEED_MANIFEST)?;
    write(&seed.join("src").join("lib.rs"), "")?;
    let mut cargo = environment(prefix)?.cargo();
    cargo.args([
        "build",
        "--quiet",
        "--release",
        "-Zbuild-std=std,panic_abort",
        "--target",
        TARGET,
    ]);
    cargo
        .arg("--target-dir")
        .arg(seed.join("target"))
        .current_dir(&seed);
    cargo
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", "-Cembed-bitcode=yes");
    command::output(&mut cargo)?;
    let built = seed
        .join("target")
        .join(TARGET)
        .join("release")
        .join("deps");
    let library = prefix.join("usr/lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(&library).map_err(|error| BuildError::io("create", &library, error))?;
    let entries = built
        .read_dir()
        .map_err(|error| BuildError::io("read", &built, error))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let Some(name) = path
            .file_name()
            .filter(|name| is_library(&name.to_string_lossy()))
        else {
            continue;
        };
        fs::copy(&path, library.join(name))
            .map_err(|error| BuildError::io("copy", &path, error))?;
    }
    Ok(())
}

fn is_library(name: &str) -> bool {
    name.ends_with(".rlib") && !name.starts_with("libstd_seed")
}

fn write(path: &Path, text: &str) -> Result<(), BuildError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|error| BuildError::io("create", folder, error))?;
    fs::write(path, text).map_err(|error| BuildError::io("write", path, error))
}

fn remove(folder: &Path) -> Result<(), BuildError> {
    if folder.is_dir() {
        fs::remove_dir_all(folder).map_err(|error| BuildError::io("remove", folder, error))
    } else {
        Ok(())
    }
}

fn incomplete(reason: &str) -> BuildError {
    BuildError::Missing {
        what: "Debian's Rust compiler with WebAssembly (rustc-web)",
        reason: reason.to_owned(),
        command: format!("rustup target add {TARGET}    # or, on Debian: apt-get update"),
    }
}
