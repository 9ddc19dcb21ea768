//! The folder where fetched toolchains and copies of the SDK stay.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::BuildError;

/// `$XDG_CACHE_HOME/patchbay`, else `~/.cache/patchbay`.
///
/// # Errors
/// When neither variable is set.
pub fn folder() -> Result<PathBuf, BuildError> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let base = base.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    base.map(|base| base.join("patchbay"))
        .ok_or_else(|| BuildError::Missing {
            what: "a folder for the cache",
            reason: "neither XDG_CACHE_HOME nor HOME is set".to_owned(),
            command: "export XDG_CACHE_HOME=/var/cache".to_owned(),
        })
}

/// Makes `name` in the cache unless it is there: `fill` gets an empty folder that takes the name when it is complete.
///
/// Of several processes one does the work and the others wait for it; one that is killed leaves nothing that looks complete.
pub(crate) fn ensure(
    name: &str,
    progress: &mut dyn FnMut(&str),
    fill: impl FnOnce(&Path, &mut dyn FnMut(&str)) -> Result<(), BuildError>,
) -> Result<PathBuf, BuildError> {
    ensure_in(&folder()?, name, progress, fill)
}

/// The same in another folder than the usual one.
pub(crate) fn ensure_in(
    cache: &Path,
    name: &str,
    progress: &mut dyn FnMut(&str),
    fill: impl FnOnce(&Path, &mut dyn FnMut(&str)) -> Result<(), BuildError>,
) -> Result<PathBuf, BuildError> {
    let complete = cache.join(name);
    if complete.is_dir() {
        return Ok(complete);
    }
    fs::create_dir_all(cache).map_err(|error| BuildError::io("create", cache, error))?;
    let lock_path = cache.join(format!("{name}.lock"));
    let lock =
        File::create(&lock_path).map_err(|error| BuildError::io("create", &lock_path, error))?;
    if lock.try_lock().is_err() {
        progress("waiting for another build that makes the same files");
        lock.lock()
            .map_err(|error| BuildError::io("lock", &lock_path, error))?;
    }
    if complete.is_dir() {
        return Ok(complete);
    }
    let partial = cache.join(format!("{name}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(|error| BuildError::io("remove", &partial, error))?;
    }
    fs::create_dir(&partial).map_err(|error| BuildError::io("create", &partial, error))?;
    fill(&partial, progress)?;
    fs::rename(&partial, &complete).map_err(|error| BuildError::io("rename", &partial, error))?;
    Ok(complete)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn an_entry_is_made_once() {
        let cache = tempfile::tempdir().unwrap();
        let path = ensure_in(cache.path(), "entry", &mut |_| {}, |folder, _| {
            fs::write(folder.join("tool"), "x")
                .map_err(|error| BuildError::io("write", folder, error))
        });
        assert!(path.unwrap().join("tool").is_file());
        ensure_in(cache.path(), "entry", &mut |_| {}, |_, _| {
            unreachable!("it is there already")
        })
        .unwrap();
    }

    #[test]
    fn a_failed_attempt_is_made_anew() {
        let cache = tempfile::tempdir().unwrap();
        let failed = ensure_in(cache.path(), "entry", &mut |_| {}, |folder, _| {
            fs::write(folder.join("half"), "x").unwrap();
            Err(BuildError::NotAPolicy {
                folder: folder.to_owned(),
            })
        });
        failed.unwrap_err();
        let path = ensure_in(cache.path(), "entry", &mut |_| {}, |_, _| Ok(())).unwrap();
        assert_eq!(fs::read_dir(path).unwrap().count(), 0);
    }

    #[test]
    fn of_two_builds_one_waits_for_the_other() {
        let cache = tempfile::tempdir().unwrap();
        let made = AtomicU32::new(0);
        let make = || {
            ensure_in(cache.path(), "entry", &mut |_| {}, |_, _| {
                made.fetch_add(1, Ordering::SeqCst);
                Ok(())
            })
            .unwrap()
        };
        std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(make))));
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }
}
