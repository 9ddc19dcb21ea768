//! The components of policy versions, kept in the data directory so that a version can be activated again after a restart.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use patchbay_policy::Digest;
use serde::{Deserialize, Serialize};

use super::origin::Origin;
use crate::config::is_policy_name;
use crate::data_dir::write_private;

/// Versions that are kept per policy; the oldest go.
const MAX_VERSIONS: usize = 8;

/// A folder with `NAME/DIGEST.wasm`, and beside each component `DIGEST.json`, what is known of it.
pub(super) struct VersionFiles(pub(super) PathBuf);

/// Where a version came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// When it was stored first, in seconds since 1970.
    pub stored_at: u64,
    /// By whom.
    pub origin: Origin,
    /// The signature it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The trusted key that made the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
}

/// One file of it.
pub(super) struct VersionFile {
    pub(super) policy: String,
    pub(super) digest: String,
    pub(super) path: PathBuf,
    /// When it was stored last.
    pub(super) stored: SystemTime,
}

impl VersionFiles {
    /// Keeps a version, and drops the oldest ones beyond the limit but never `keep`.
    pub(super) fn put(
        &self,
        policy: &str,
        digest: &Digest,
        bytes: &[u8],
        record: &VersionRecord,
        keep: &[String],
    ) -> io::Result<VersionRecord> {
        let folder = self.0.join(policy);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let path = folder.join(format!("{}.wasm", digest.as_str()));
        // One that is damaged is whole again.
        let is_new = self.get(policy, digest.as_str()).is_err();
        if is_new {
            write_private(&path, bytes)?;
        }
        let put = make_newest(policy, &folder, &path)
            .and_then(|()| self.put_record(policy, digest.as_str(), record));
        if put.is_err() && is_new {
            // The next start is not to find a version that was refused.
            remove_if_there(&path)?;
        }
        let record = put?;
        let mut files = files(policy, &folder)?;
        files.sort_by_key(|file| file.stored);
        let superfluous = files.len().saturating_sub(MAX_VERSIONS);
        let old = files
            .iter()
            .take(superfluous)
            .filter(|file| file.digest != digest.as_str() && !keep.contains(&file.digest));
        for file in old {
            fs::remove_file(&file.path)?;
            remove_if_there(&file.path.with_extension("json"))?;
        }
        Ok(record)
    }

    /// Who stored a version first stays known; a newer signature counts.
    fn put_record(
        &self,
        policy: &str,
        digest: &str,
        new: &VersionRecord,
    ) -> io::Result<VersionRecord> {
        let known = self.record(policy, digest);
        let record = match known.clone() {
            None => new.clone(),
            Some(known) if new.signature.is_none() => known,
            Some(known) => VersionRecord {
                signature: new.signature.clone(),
                signed_by: new.signed_by.clone(),
                ..known
            },
        };
        if known.as_ref() != Some(&record) {
            let path = self.0.join(policy).join(format!("{digest}.json"));
            write_private(&path, &serde_json::to_vec_pretty(&record)?)?;
        }
        Ok(record)
    }

    /// What is known of a version.
    pub(super) fn record(&self, policy: &str, digest: &str) -> Option<VersionRecord> {
        let path = self.0.join(policy).join(format!("{digest}.json"));
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "what is known of a version can't be read");
                return None;
            }
        };
        serde_json::from_slice(&text)
            .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "what is known of a version is damaged"))
            .ok()
    }

    /// Makes a version the newest one of its policy.
    pub(super) fn make_newest(&self, policy: &str, digest: &str) -> io::Result<()> {
        let folder = self.0.join(policy);
        let path = folder.join(format!("{digest}.wasm"));
        make_newest(policy, &folder, &path)
    }

    /// When a version was stored last.
    pub(super) fn stored_at(&self, policy: &str, digest: &str) -> io::Result<SystemTime> {
        let path = self.0.join(policy).join(format!("{digest}.wasm"));
        fs::metadata(path)?.modified()
    }

    /// The bytes of a version, checked against its digest.
    pub(super) fn get(&self, policy: &str, digest: &str) -> io::Result<Vec<u8>> {
        let bytes = fs::read(self.0.join(policy).join(format!("{digest}.wasm")))?;
        if Digest::of(&bytes).as_str() != digest {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the stored version is damaged: push it again",
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

/// A version that is stored again is the newest; the time that the system gives may be too coarse to tell two apart, or set back.
fn make_newest(policy: &str, folder: &Path, path: &Path) -> io::Result<()> {
    let others = files(policy, folder)?;
    let others = others.iter().filter(|file| file.path != path);
    let newest = others
        .map(|file| file.stored + Duration::from_nanos(1))
        .max();
    let now = SystemTime::now();
    fs::File::open(path)?.set_modified(newest.map_or(now, |newest| newest.max(now)))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
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

    fn record(signature: Option<&str>) -> VersionRecord {
        VersionRecord {
            stored_at: 1,
            origin: Origin::router(),
            signature: signature.map(str::to_owned),
            signed_by: None,
        }
    }

    fn put(files: &VersionFiles, bytes: &[u8], record: &VersionRecord, keep: &[String]) {
        files
            .put("mine", &Digest::of(bytes), bytes, record, keep)
            .expect("put");
    }

    #[test]
    fn who_stored_it_first_stays_known_and_a_signature_is_added() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = VersionFiles(folder.path().to_path_buf());
        let digest = Digest::of(b"bytes");
        put(&files, b"bytes", &record(None), &[]);
        let later = VersionRecord {
            stored_at: 2,
            origin: Origin::builtin(),
            ..record(Some("s"))
        };
        put(&files, b"bytes", &later, &[]);
        put(&files, b"bytes", &record(None), &[]);
        assert_eq!(
            files.record("mine", digest.as_str()),
            Some(record(Some("s")))
        );
    }

    #[test]
    fn a_version_comes_back_and_damage_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = VersionFiles(folder.path().to_path_buf());
        let digest = Digest::of(b"bytes");
        put(&files, b"bytes", &record(None), &[]);
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
        put(&files, b"first", &record(None), &[]);
        for number in 0..2 * MAX_VERSIONS {
            let bytes = number.to_string();
            put(
                &files,
                bytes.as_bytes(),
                &record(None),
                &[first.to_string()],
            );
        }
        let left = fs::read_dir(folder.path().join("mine")).expect("a folder");
        assert!(left.count() <= 2 * (MAX_VERSIONS + 1));
        assert!(files.list().expect("list").len() <= MAX_VERSIONS + 1);
        files.get("mine", first.as_str()).expect("the one to keep");
    }
}
