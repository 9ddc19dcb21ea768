//! Lists the files of the SDK, so that `patchbay policy new` works on machines without the repository.
//!
//! Writes `sdk.rs`: `IDENTITY`, which differs when any file does, and `FILES` with the path and the text of each.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the SDK consists of, from the root of the repository: its crates, and what they inherit from the workspace.
const PARTS: [&str; 8] = [
    "Cargo.toml",
    "Cargo.lock",
    "guest-sdk/Cargo.toml",
    "guest-sdk/src",
    "guest-sdk/macros/Cargo.toml",
    "guest-sdk/macros/src",
    "host/message/Cargo.toml",
    "host/message/src",
];

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the SDK can't be embedded: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> io::Result<()> {
    let root = Path::new(&env("CARGO_MANIFEST_DIR")?).join("../..");
    let mut files = BTreeMap::new();
    for part in PARTS {
        let path = root.join(part);
        println!("cargo:rerun-if-changed={}", path.display());
        collect(part, &path, &mut files)?;
    }
    let mut hasher = DefaultHasher::new();
    let mut list = String::new();
    for (name, path) in files {
        (&name, fs::read(&path)?).hash(&mut hasher);
        let path = path.canonicalize()?;
        list.push_str(&format!("    ({name:?}, include_str!({path:?})),\n"));
    }
    let text = format!(
        "pub(super) const IDENTITY: &str = \"{}-{:016x}\";\npub(super) const FILES: &[(&str, &str)] = &[\n{list}];\n",
        env("CARGO_PKG_VERSION")?,
        hasher.finish()
    );
    fs::write(Path::new(&env("OUT_DIR")?).join("sdk.rs"), text)
}

/// Adds a file, or all files of a folder; names have `/` on every system.
fn collect(name: &str, path: &Path, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.insert(name.to_owned(), path.to_owned());
        return Ok(());
    }
    for entry in path.read_dir()? {
        let entry = entry?;
        let inner = format!("{name}/{}", entry.file_name().to_string_lossy());
        collect(&inner, &entry.path(), files)?;
    }
    Ok(())
}

fn env(name: &str) -> io::Result<String> {
    std::env::var(name).map_err(io::Error::other)
}
