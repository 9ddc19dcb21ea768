//! Policies for tests: the ones of `policies/`, and small ones of `tests/guests` that are built on demand with
//! `patchbay policy new` and `patchbay policy build`, as an operator would.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::router::{binary, policies};

/// A policy of `policies/`, built by `cargo xtask policies`.
pub fn built(name: &str) -> PathBuf {
    let path = policies().join(format!("{name}.wasm"));
    assert!(
        path.exists(),
        "{} is not built: run `cargo xtask policies`",
        path.display()
    );
    path
}

/// Lines of `[dependencies]` that policies of `tests/guests` need beside those of every policy.
const DEPENDENCIES: [(&str, &str); 1] = [("web", "wstd = \"0.6\"\n")];

/// The policy in `tests/guests/NAME.rs`, built when it is new or has changed.
pub fn guest(name: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("guests/{name}.rs"));
    let source = fs::read_to_string(file).expect("the guest's source");
    guest_from(name, &source)
}

/// The policy in the folder `tests/guests/NAME`, in another language than Rust.
pub fn guest_in(name: &str) -> PathBuf {
    let (root, _lock) = workshop();
    let built = root.join("built");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("guests")
        .join(name);
    build(&folder, &built);
    built.join(format!("{name}.wasm"))
}

/// What `patchbay policy new` writes in this language, built.
pub fn scaffold(language: &str) -> PathBuf {
    let (root, _lock) = workshop();
    let name = format!("new-{language}");
    let folder = root.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("remove what an earlier run wrote");
    }
    patchbay(&root, &["policy", "new", "--lang", language, &name]);
    build(&folder, &root.join("built"));
    root.join("built").join(format!("{name}.wasm"))
}

/// A policy from this source, under this name (lower case, hyphens).
pub fn guest_from(name: &str, source: &str) -> PathBuf {
    let dependencies = DEPENDENCIES
        .iter()
        .find(|(policy, _)| *policy == name)
        .map_or("", |(_, lines)| *lines);
    let (root, _lock) = workshop();
    let crate_folder = root.join(name);
    let component = root.join("built").join(format!("{name}.wasm"));
    let manifest = crate_folder.join("Cargo.toml");
    let file = crate_folder.join("src/lib.rs");
    let as_wanted = fs::read_to_string(&manifest).is_ok_and(|text| text.contains(dependencies));
    let is_same = || fs::read_to_string(&file).is_ok_and(|text| text == source);
    if as_wanted && is_newer_than_sdk(&component) && is_same() {
        return component;
    }
    if !as_wanted {
        if crate_folder.exists() {
            fs::remove_dir_all(&crate_folder).expect("remove what an earlier run wrote");
        }
        patchbay(&root, &["policy", "new", name]);
        let text = fs::read_to_string(&manifest).expect("the guest's manifest");
        let table = "[dependencies]\n";
        let text = text.replacen(table, &[table, dependencies].concat(), 1);
        fs::write(&manifest, text).expect("write the guest's manifest");
    }
    fs::write(&file, source).expect("write the guest's source");
    build(&crate_folder, &root.join("built"));
    assert!(
        component.exists(),
        "patchbay policy build left no {}",
        component.display()
    );
    component
}

/// Whether a component is there, and was built since the SDK was written.
fn is_newer_than_sdk(component: &Path) -> bool {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sdk = ["guest-sdk", "wit"].map(|folder| last_written(&repository.join(folder)));
    let built = fs::metadata(component).and_then(|metadata| metadata.modified());
    built.is_ok_and(|built| sdk.iter().all(|written| *written < built))
}

/// When the last of the files below a folder was written.
fn last_written(folder: &Path) -> SystemTime {
    let entries = fs::read_dir(folder).expect("a folder of the repository");
    let written = entries.map(|entry| {
        let entry = entry.expect("an entry of the folder");
        let metadata = entry.metadata().expect("what the entry is");
        match metadata.is_dir() {
            true => last_written(&entry.path()),
            false => metadata.modified().expect("when it was written"),
        }
    });
    written.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The folder where guests are built, for one process at a time.
fn workshop() -> (PathBuf, File) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-guests");
    fs::create_dir_all(&root).expect("a folder for guests");
    let lock = File::create(root.join("lock")).expect("a lock file");
    lock.lock().expect("lock the guests' folder");
    (root, lock)
}

fn build(folder: &Path, built: &Path) {
    fs::create_dir_all(built).expect("a folder for components");
    let built = built.to_str().expect("a UTF-8 path");
    patchbay(folder, &["policy", "build", ".", "--out", built]);
}

fn patchbay(folder: &Path, arguments: &[&str]) {
    let output = Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("run patchbay");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "patchbay {}: {text}",
        arguments.join(" ")
    );
}
