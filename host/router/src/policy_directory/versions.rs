//! The components of policy versions, kept in the data directory so that a version can be activated again after a restart.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use patchbay_policy::Digest;

use crate::config::is_policy_name;
use crate::data_dir::write_private;

/// Versions that are kept per policy; the oldest go.
const MAX_VERSIONS: usize = 20;

/// A folder `NAME/DIGEST.wasm`.
pub(super) struct VersionFiles(pub(super) PathBuf);

/// One file of it.
pub(super) struct VersionFile {
    pub(super) policy: String,
    pub(super) digest: String,
    pub(super) path: PathBuf,
    stored: SystemTime,
}

impl VersionFiles {
    /// Keeps a version, and drops the oldest ones beyond the limit but never `keep`.
    pub(super) fn put(
        &self,
        policy: &str,
        digest: &Digest,
        bytes: &[u8],
        keep: &[&str],
    ) -> io::Result<()> {
        let folder = self.0.join(policy);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let path = folder.join(format!("{}.wasm", digest.as_str()));
        if !path.exists() {
            write_private(&path, bytes)?;
        }
        let mut files = files(policy, &folder)?;
        files.sort_by_key(|file| file.stored);
        let superfluous = files.len().saturating_sub(MAX_VERSIONS);
        let old = files
            .iter()
            .take(superfluous)
            .filter(|file| file.digest != digest.as_str() && !keep.contains(&file.digest.as_str()));
        old.map(|file| &file.path).try_for_each(fs::remove_file)
    }

    /// The bytes of a version, checked against its digest.
    pub(super) fn get(&self, policy: &str, digest: &str) -> io::Result<Vec<u8>> {
        let bytes = fs::read(self.0.join(policy).join(format!("{digest}.wasm")))?;
        if Digest::of(&bytes).as_str() != digest {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the stored version is damaged",
            ));
        }
        Ok(bytes)
    }

    /// Every version, the oldest first.
    pub(super) fn list(&self) -> io::Result<Vec<VersionFile>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let folder = entry?.path();
            let policy = folder
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default()
                .to_owned();
            if folder.is_dir() && is_policy_name(&policy) {
                all.extend(files(&policy, &folder)?);
            }
        }
        all.sort_by_key(|file| file.stored);
        Ok(all)
    }
}

fn files(policy: &str, folder: &Path) -> io::Result<Vec<VersionFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let digest = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default()
            .to_owned();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
            && digest.parse::<Digest>().is_ok()
        {
            files.push(VersionFile {
                policy: policy.to_owned(),
                digest,
                path,
                stored: entry.metadata()?.modified()?,
            });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_comes_back_and_damage_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = VersionFiles(folder.path().to_path_buf());
        let digest = Digest::of(b"bytes");
        files.put("mine", &digest, b"bytes", &[]).expect("put");
        assert_eq!(files.get("mine", digest.as_str()).expect("get"), b"bytes");
        fs::write(&files.list().expect("list")[0].path, b"other").expect("write");
        assert_eq!(
            files
                .get("mine", digest.as_str())
                .expect_err("damaged")
                .kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn a_bounded_number_of_versions_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = VersionFiles(folder.path().to_path_buf());
        let first = Digest::of(b"first");
        files.put("mine", &first, b"first", &[]).expect("put");
        for number in 0..2 * MAX_VERSIONS {
            let bytes = number.to_string();
            files
                .put(
                    "mine",
                    &Digest::of(bytes.as_bytes()),
                    bytes.as_bytes(),
                    &[first.as_str()],
                )
                .expect("put");
        }
        assert!(files.list().expect("list").len() <= MAX_VERSIONS + 1);
        files.get("mine", first.as_str()).expect("the one to keep");
    }
}
