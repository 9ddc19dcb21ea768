//! What takes as long as compiling takes, apart from what changes the registry: nobody who changes it has to wait for somebody who
//! compiles.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::SystemTime;

use super::registry::Stored;
use super::{ActivateError, Policies};
use crate::digest::Digest;
use crate::engine::LoadError;
use crate::host::Host;
use crate::version::Version;

/// A component that was compiled, checked and initialised, or refused, and is not kept yet.
pub struct Compiled<'c, H: Host> {
    name: &'c str,
    bytes: &'c [u8],
    digest: Digest,
    /// `None`: it was stored already.
    loaded: Option<Result<Arc<Version<H>>, LoadError>>,
}

impl<H: Host> Compiled<'_, H> {
    /// The version.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Whether it can't be kept.
    pub fn is_refused(&self) -> bool {
        matches!(self.loaded, Some(Err(_)))
    }
}

/// A stored version that stays in memory until this is dropped: to make it active takes no compiling.
pub struct Loaded<'p, H: Host> {
    policies: &'p Policies<H>,
    version: Arc<Version<H>>,
}

impl<H: Host> Loaded<'_, H> {
    /// The version.
    pub fn version(&self) -> &Arc<Version<H>> {
        &self.version
    }
}

impl<H: Host> Drop for Loaded<'_, H> {
    fn drop(&mut self) {
        self.policies.unpin_version(&self.version);
    }
}

/// The versions that are being compiled or loaded: each by one thread at a time, whose result may be what the next one needs.
#[derive(Default)]
pub(super) struct UnderWay {
    versions: Mutex<BTreeSet<(String, Digest)>>,
    ended: Condvar,
}

struct Turn<'u> {
    under_way: &'u UnderWay,
    version: (String, Digest),
}

impl UnderWay {
    /// Waits until nobody else compiles this version. Whoever has a turn waits for nothing that others hold meanwhile.
    fn turn(&self, policy: &str, version: &Digest) -> Turn<'_> {
        let version = (policy.to_owned(), version.clone());
        let versions = self.versions.lock();
        let versions = versions.unwrap_or_else(PoisonError::into_inner);
        let taken = |versions: &mut BTreeSet<_>| versions.contains(&version);
        let versions = self.ended.wait_while(versions, taken);
        let mut versions = versions.unwrap_or_else(PoisonError::into_inner);
        versions.insert(version.clone());
        Turn {
            under_way: self,
            version,
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let versions = self.under_way.versions.lock();
        let mut versions = versions.unwrap_or_else(PoisonError::into_inner);
        versions.remove(&self.version);
        self.under_way.ended.notify_all();
    }
}

impl<H: Host> Policies<H> {
    /// Compiles, checks and initialises a version and keeps it, without activating it. What fails is listed as rejected.
    ///
    /// This takes as long as compiling takes: call it off the workers.
    pub fn store(&self, name: &str, bytes: &[u8]) -> Result<Digest, LoadError> {
        self.keep(self.compile(name, bytes))
    }

    /// The same for a version that was stored at this time, before a restart: what was stored later stays newer.
    pub fn store_of(
        &self,
        name: &str,
        bytes: &[u8],
        stored_at: SystemTime,
    ) -> Result<Digest, LoadError> {
        self.keep_of(self.compile(name, bytes), stored_at)
    }

    /// Compiles, checks and initialises a version, as far as that has not been done, and changes nothing. To be kept with
    /// [`keep`](Policies::keep).
    pub fn compile<'c>(&self, name: &'c str, bytes: &'c [u8]) -> Compiled<'c, H> {
        let digest = Digest::of(bytes);
        let _turn = self.under_way.turn(name, &digest);
        let is_stored = self.is_stored(name, &digest);
        Compiled {
            name,
            bytes,
            digest,
            loaded: (!is_stored).then(|| self.load_anew(name, bytes)),
        }
    }

    /// Keeps what was compiled, as the newest version. What was refused is listed as rejected. Where the same version was stored meanwhile,
    /// it is that one.
    pub fn keep(&self, compiled: Compiled<'_, H>) -> Result<Digest, LoadError> {
        let now = self.lock().next_moment(compiled.name);
        self.keep_of(compiled, now)
    }

    /// The same for a version that was stored at this time.
    pub fn keep_of(
        &self,
        compiled: Compiled<'_, H>,
        stored_at: SystemTime,
    ) -> Result<Digest, LoadError> {
        let Compiled {
            name,
            bytes,
            digest,
            loaded,
        } = compiled;
        if self.lock().refresh(name, &digest, stored_at) {
            return Ok(digest);
        }
        // One that was stored and has been forgotten since is loaded after all.
        let loaded = loaded.unwrap_or_else(|| self.load_anew(name, bytes));
        let mut registry = self.lock();
        if registry.refresh(name, &digest, stored_at) {
            return Ok(digest);
        }
        let error = loaded.as_ref().err().cloned();
        registry.keep(name, Stored::new(digest.clone(), bytes, loaded, stored_at));
        match error {
            None => Ok(digest),
            Some(error) => Err(error),
        }
    }

    /// Has a stored version in memory, however long it takes to load it again: the named one (a digest or the beginning of one), else the
    /// newest good one.
    pub fn load(&self, name: &str, version: Option<&str>) -> Result<Loaded<'_, H>, ActivateError> {
        let digest = self.lock().choose(name, version)?;
        let (version, _) = self.in_memory(name, &digest)?;
        self.pin_version(&version);
        Ok(Loaded {
            policies: self,
            version,
        })
    }

    /// The version in memory, loaded again when it was freed, and fit for each use of its policy.
    pub(super) fn loaded(
        &self,
        name: &str,
        digest: &Digest,
    ) -> Result<Arc<Version<H>>, ActivateError> {
        let (version, is_new) = self.in_memory(name, digest)?;
        if !is_new {
            // Routes and settings may have changed since it was loaded.
            self.check_uses_of(&version).map_err(ActivateError::Load)?;
        }
        Ok(version)
    }

    /// The version in memory, and whether it was loaded for that.
    fn in_memory(
        &self,
        name: &str,
        digest: &Digest,
    ) -> Result<(Arc<Version<H>>, bool), ActivateError> {
        let unknown = || ActivateError::UnknownVersion {
            policy: name.to_owned(),
            version: digest.to_string(),
        };
        let find = || -> Result<_, ActivateError> {
            let mut registry = self.lock();
            let stored = registry.stored(name, digest).ok_or_else(unknown)?;
            Ok((stored.version(), Arc::clone(&stored.bytes)))
        };
        if let (Some(version), _) = find()? {
            return Ok((version, false));
        }
        let _turn = self.under_way.turn(name, digest);
        let (found, bytes) = find()?;
        if let Some(version) = found {
            return Ok((version, false));
        }
        let version = self.load_anew(name, &bytes);
        let mut registry = self.lock();
        let stored = registry.stored(name, digest).ok_or_else(unknown)?;
        let version = stored.reloaded(version).map_err(ActivateError::Load)?;
        Ok((version, true))
    }

    fn load_anew(&self, name: &str, bytes: &[u8]) -> Result<Arc<Version<H>>, LoadError> {
        self.engine.load_for(name, bytes, (self.uses)(name))
    }
}
