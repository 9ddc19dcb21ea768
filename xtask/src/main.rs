//! Set-up and chores of the repository.

mod bindings;

use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = repository();
    match std::env::args().nth(1).as_deref() {
        Some("bindings") => bindings::write(&root).map(drop),
        _ => policies(&root),
    }
}

/// Builds every policy of the repository.
fn policies(root: &Path) -> Result<(), Box<dyn Error>> {
    for folder in std::fs::read_dir(root.join("policies"))?
        .flatten()
        .map(|entry| entry.path())
    {
        if patchbay_guest_build::is_policy(&folder) {
            patchbay_guest_build::build_policy(
                &folder,
                &root.join("target/policies"),
                &mut |line| println!("{line}"),
            )?;
        }
    }
    Ok(())
}

/// The root of the repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
