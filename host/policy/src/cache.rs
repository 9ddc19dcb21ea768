//! Compiled policies on disk, by digest, so that a start or a swap need not compile again.
//!
//! A compiled policy is machine code: only files that the router wrote itself are loaded. So the folder is the owner's alone, a
//! file's name is made of everything that its content depends on, and a second file holds the digest of the first.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::component::Component;

use crate::digest::Digest;
use crate::precompiled;

/// Files beyond this number are removed, oldest first, when one is added.
const MAX_FILES: usize = 64;
const CODE: &str = "cwasm";
const SEAL: &str = "blake3";

/// What was compiled for a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The component as it is.
    Component,
    /// The one that [`direct`](crate::direct) makes of it. When that changes, the name has to.
    Direct,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Form::Component => "",
            Form::Direct => "-direct1",
        }
    }
}

pub(crate) struct Cache {
    folder: PathBuf,
    /// What the code depends on besides the component: engine configuration, processor, wasmtime's version.
    engine: String,
    /// Files that were found damaged.
    damaged: AtomicU64,
    /// Makes the names of new files unique.
    written: AtomicU64,
}

impl Cache {
    pub(crate) fn open(folder: &Path, engine: &wasmtime::Engine) -> io::Result<Cache> {
        fs::create_dir_all(folder)?;
        keep_private(folder)?;
        Ok(Cache {
            folder: folder.to_owned(),
            engine: engine_digest(engine),
            damaged: AtomicU64::new(0),
            written: AtomicU64::new(0),
        })
    }

    /// The compiled component, when there is one that is whole and fits this engine.
    pub(crate) fn load(
        &self,
        engine: &wasmtime::Engine,
        digest: &Digest,
        form: Form,
    ) -> Option<Component> {
        let code = self.path(digest, form, CODE);
        let seal = fs::read_to_string(self.path(digest, form, SEAL)).ok()?;
        match precompiled::load(engine, &code, seal.trim()) {
            Ok(component) => Some(component),
            Err(error) => {
                self.damaged.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    policy_version = digest.short(),
                    "a compiled policy is damaged and compiled again: {error}"
                );
                None
            }
        }
    }

    /// How many files were found damaged.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Keeps the compiled component. A failure costs the next start some time, and is logged.
    pub(crate) fn store(&self, component: &Component, digest: &Digest, form: Form) {
        if let Err(error) = self.try_store(component, digest, form) {
            tracing::warn!(
                policy_version = digest.short(),
                "the compiled policy is not kept: {error}"
            );
        }
    }

    fn try_store(&self, component: &Component, digest: &Digest, form: Form) -> io::Result<()> {
        let code = component.serialize().map_err(io::Error::other)?;
        self.replace(&self.path(digest, form, CODE), &code)?;
        self.replace(
            &self.path(digest, form, SEAL),
            blake3::hash(&code).to_hex().as_bytes(),
        )?;
        self.remove_oldest()
    }

    /// Writes beside and renames: a file that is mapped into a process is never written to, and no two writers share a file.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let beside = path.with_extension(format!("{}-{number}.new", std::process::id()));
        let mut file = create_private(&beside)?;
        file.write_all(bytes)?;
        fs::rename(&beside, path)
    }

    fn path(&self, digest: &Digest, form: Form, extension: &str) -> PathBuf {
        let form = form.name();
        self.folder
            .join(format!("{digest}-{}{form}.{extension}", self.engine))
    }

    fn remove_oldest(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry
                .path()
                .extension()
                .is_some_and(|extension| extension == CODE)
            {
                files.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        files.sort();
        let surplus = files.len().saturating_sub(MAX_FILES);
        for (_, path) in files.into_iter().take(surplus) {
            fs::remove_file(path.with_extension(SEAL)).or_else(absent)?;
            fs::remove_file(&path).or_else(absent)?;
        }
        Ok(())
    }
}

/// Another process may have removed it.
fn absent(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

fn engine_digest(engine: &wasmtime::Engine) -> String {
    let mut hasher = Blake3Hasher(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher
        .0
        .finalize()
        .to_hex()
        .as_str()
        .chars()
        .take(16)
        .collect()
}

struct Blake3Hasher(blake3::Hasher);

impl Hasher for Blake3Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let mut first = [0; 8];
        self.0.finalize_xof().fill(&mut first);
        u64::from_le_bytes(first)
    }
}

#[cfg(unix)]
fn keep_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn keep_private(_folder: &Path) -> io::Result<()> {
    Ok(())
}

fn create_private(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}
