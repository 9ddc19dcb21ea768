//! Policies for tests: the ones of `policies/`, and small ones of `tests/guests` that are built on demand with
//! `patchbay policy new` and `patchbay policy build`, as an operator would.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// The policy in `tests/guests/NAME.rs`, built when it is new or has changed.
pub fn guest(name: &str) -> PathBuf {
    let source =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("guests/{name}.rs")))
            .expect("the guest's source");
    guest_from(name, &source)
}

/// A policy from this source, under this name (lower case, hyphens).
pub fn guest_from(name: &str, source: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-guests");
    fs::create_dir_all(&root).expect("a folder for guests");
    let lock = File::create(root.join("lock")).expect("a lock file");
    lock.lock().expect("lock the guests' folder");
    let crate_folder = root.join(name);
    let component = root.join("built").join(format!("{name}.wasm"));
    let file = crate_folder.join("src/lib.rs");
    if component.exists() && fs::read_to_string(&file).is_ok_and(|text| text == source) {
        return component;
    }
    if !crate_folder.join("Cargo.toml").exists() {
        patchbay(&root, &["policy", "new", name]);
    }
    fs::write(&file, source).expect("write the guest's source");
    let built = root.join("built");
    fs::create_dir_all(&built).expect("a folder for components");
    patchbay(
        &crate_folder,
        &[
            "policy",
            "build",
            ".",
            "--out",
            built.to_str().expect("a UTF-8 path"),
        ],
    );
    assert!(
        component.exists(),
        "patchbay policy build left no {}",
        component.display()
    );
    component
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
