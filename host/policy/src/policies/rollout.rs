//! Versions beside the active one: the canary, the shadow, and those that dialogs go on in.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::{ActivateError, Policies};
use crate::digest::Digest;
use crate::host::Host;
use crate::version::Version;

impl<H: Host> Policies<H> {
    /// Makes a stored version the canary, in place of one before: the named one (a digest or the beginning of one), else the newest
    /// good one. Who gives it new dialogs is the caller's business.
    ///
    /// It may have to be loaded again: call it off the workers.
    pub fn begin_canary(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Arc<Version<H>>, ActivateError> {
        let version = self.load_chosen(name, version)?;
        let mut registry = self.lock();
        self.refuse_active(&version)?;
        let version = self.listed(&version);
        registry.retired.remove(version.number());
        registry.taken(&version);
        let before = registry.canary.replace(Arc::clone(&version));
        if let Some(before) = before.filter(|before| before.number() != version.number()) {
            registry.retired.keep(&before, Instant::now());
        }
        self.release(&mut registry);
        Ok(version)
    }

    /// Ends the canary of this number without making it active. It is kept for the dialogs that it has.
    pub fn end_canary(&self, number: u64) -> Option<Arc<Version<H>>> {
        let mut registry = self.lock();
        let ended = registry
            .canary
            .take_if(|canary| canary.number() == number)?;
        registry.retired.keep(&ended, Instant::now());
        self.release(&mut registry);
        Some(ended)
    }

    /// The versions that are kept for dialogs which began in them, the latest last.
    pub fn kept_for_dialogs(&self) -> Vec<(String, Digest)> {
        self.lock().retired.versions()
    }

    /// Keeps a stored version for the dialogs that began in it before a restart, as one that was replaced before all others. One that new
    /// dialogs run in needs no keeping.
    pub fn keep_for_dialogs(&self, name: &str, version: &Digest) -> Result<(), ActivateError> {
        let version = self.load_chosen(name, Some(version.as_str()))?;
        let mut registry = self.lock();
        let number = version.number();
        let is_canary = registry
            .canary
            .as_ref()
            .is_some_and(|canary| canary.number() == number);
        if !is_canary && !self.is_active(number) {
            let version = self.listed(&version);
            registry.taken(&version);
            registry.retired.keep_as_oldest(&version, Instant::now());
            self.release(&mut registry);
        }
        Ok(())
    }

    /// The version that a name, or a digest or its beginning, means; without one the newest good one.
    pub fn choose(&self, name: &str, version: Option<&str>) -> Result<Digest, ActivateError> {
        self.lock().choose(name, version)
    }

    /// The canary.
    pub fn canary(&self) -> Option<Arc<Version<H>>> {
        self.lock().canary.clone()
    }

    /// Makes a stored version the shadow, in place of one before; `begin_canary` says which. It is listed as such and stays in memory.
    pub fn begin_shadow(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Arc<Version<H>>, ActivateError> {
        let version = self.load_chosen(name, version)?;
        let mut registry = self.lock();
        // It would be compared with itself: with nothing.
        self.refuse_active(&version)?;
        let version = self.listed(&version);
        registry.taken(&version);
        registry.shadow = Some(Arc::clone(&version));
        self.release(&mut registry);
        Ok(version)
    }

    /// Ends the shadow.
    pub fn end_shadow(&self) -> Option<Arc<Version<H>>> {
        let mut registry = self.lock();
        let ended = registry.shadow.take()?;
        self.release(&mut registry);
        Some(ended)
    }

    /// Frees versions that were kept for dialogs and have not been used for long. To be called now and then.
    pub fn drop_idle(&self, now: Instant) {
        let mut registry = self.lock();
        if registry.retired.drop_idle(now) {
            self.release(&mut registry);
        }
    }

    fn refuse_active(&self, version: &Version<H>) -> Result<(), ActivateError> {
        if self.is_active(version.number()) {
            return Err(ActivateError::AlreadyActive {
                policy: version.name().to_string(),
                version: version.digest().clone(),
            });
        }
        Ok(())
    }

    fn load_chosen(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Arc<Version<H>>, ActivateError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = self.lock().choose(name, version)?;
        self.loaded(name, &digest)
    }
}
