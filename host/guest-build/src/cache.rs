//! The folder where fetched toolchains stay.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::BuildError;

/// `$XDG_CACHE_HOME/patchbay`, else `~/.cache/patchbay`.
pub(crate) fn folder() -> Result<PathBuf, BuildError> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let base = base.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    base.map(|base| base.join("patchbay"))
        .ok_or_else(|| BuildError::Missing {
            what: "a folder for the toolchain cache",
            reason: "neither XDG_CACHE_HOME nor HOME is set".to_owned(),
            command: "export XDG_CACHE_HOME=/var/cache".to_owned(),
        })
}

/// Makes `name` in the cache unless it is there: `fill` gets an empty folder that takes the name when it is complete.
///
/// Of several processes one does the work and the others wait for it; one that is killed leaves nothing that looks complete.
pub(crate) fn ensure(
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), BuildError>,
) -> Result<PathBuf, BuildError> {
    ensure_in(&folder()?, name, fill)
}

fn ensure_in(
    cache: &Path,
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), BuildError>,
) -> Result<PathBuf, BuildError> {
    let complete = cache.join(name);
    if complete.is_dir() {
        return Ok(complete);
    }
    fs::create_dir_all(cache).map_err(|error| BuildError::io("create", cache, error))?;
    let lock_path = cache.join(format!("{name}.lock"));
    let lock =
        File::create(&lock_path).map_err(|error| BuildError::io("create", &lock_path, error))?;
    lock.lock()
        .map_err(|error| BuildError::io("lock", &lock_path, error))?;
    if complete.is_dir() {
        return Ok(complete);
    }
    let partial = cache.join(format!("{name}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(|error| BuildError::io("remove", &partial, error))?;
    }
    fs::create_dir(&partial).map_err(|error| BuildError::io("create", &partial, error))?;
    fill(&partial)?;
    fs::rename(&partial, &complete).map_err(|error| BuildError::io("rename", &partial, error))?;
    Ok(complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_made_once() {
        let cache = tempfile::tempdir().unwrap();
        let fill = |folder: &Path| {
            fs::write(folder.join("tool"), "x")
                .map_err(|error| BuildError::io("write", folder, error))
        };
        let path = ensure_in(cache.path(), "entry", fill).unwrap();
        assert!(path.join("tool").is_file());
        ensure_in(cache.path(), "entry", |_| {
            unreachable!("it is there already")
        })
        .unwrap();
    }

    #[test]
    fn a_failed_attempt_is_made_anew() {
        let cache = tempfile::tempdir().unwrap();
        let fail = |folder: &Path| {
            fs::write(folder.join("half"), "x").unwrap();
            Err(BuildError::NotAPolicy {
                folder: folder.to_owned(),
            })
        };
        ensure_in(cache.path(), "entry", fail).unwrap_err();
        let path = ensure_in(cache.path(), "entry", |_| Ok(())).unwrap();
        assert_eq!(fs::read_dir(path).unwrap().count(), 0);
    }
}
