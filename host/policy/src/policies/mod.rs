//! The versions of all policies: which one routes, which live on for transactions under way, which to go back to.
//!
//! Workers read without locks: the active version and the table of versions by number are swapped whole. What changes them takes
//! the registry's lock for a moment; compiling happens outside of it.

mod registry;
mod report;
mod retired;
mod rollout;
mod watch;

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::digest::Digest;
use crate::engine::{Engine, LoadError};
use crate::host::Host;
use crate::version::Version;

use registry::{Registry, Stored};
pub use report::{PolicyReport, VersionReport, VersionState};
use watch::{Finding, Watch};

/// The registry of policies. All of it may be called from any thread.
pub struct Policies<H: Host> {
    engine: Engine<H>,
    init_host: Box<dyn Fn() -> H + Send + Sync>,
    active: ArcSwapOption<Version<H>>,
    /// The versions that can be found by number: the active one, the one before, and those that are pinned.
    table: ArcSwap<Vec<Arc<Version<H>>>>,
    registry: Mutex<Registry<H>>,
    /// One version is compiled at a time.
    loading: Mutex<()>,
    /// Whether replaced versions are kept for their dialogs.
    keeps_dialogs: AtomicBool,
    /// Told of each automatic rollback, at once and on the worker's thread.
    on_rollback: OnceLock<Box<dyn Fn(AutomaticRollback) + Send + Sync>>,
}

/// Why a version is not activated. The one before goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActivateError {
    /// There is no policy of that name.
    #[error("there is no policy `{0}`")]
    UnknownPolicy(String),
    /// It has no such version, or more than one.
    #[error("policy `{policy}` has no version `{version}`")]
    UnknownVersion {
        /// The policy.
        policy: String,
        /// What was asked for.
        version: String,
    },
    /// It was checked before and refused.
    #[error("version {version} of policy `{policy}` was refused: {reason}")]
    Rejected {
        /// The policy.
        policy: String,
        /// The version.
        version: Digest,
        /// Why.
        reason: String,
    },
    /// New dialogs run in it already: it can't be tried on some of them.
    #[error("version {version} of policy `{policy}` is active already")]
    AlreadyActive {
        /// The policy.
        policy: String,
        /// The version.
        version: Digest,
    },
    /// It can't be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Why nothing is rolled back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    /// No version was active before.
    #[error("no version was active before this one")]
    NothingBefore,
    /// The version before can't be loaded any more.
    #[error("the version before can't be loaded: {0}")]
    Load(#[from] LoadError),
}

/// A version that kept failing soon after its activation has been replaced by the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutomaticRollback {
    /// The policy that failed.
    pub policy: Arc<str>,
    /// Its version.
    pub version: Digest,
    /// The policy that is active again.
    pub restored_policy: Arc<str>,
    /// Its version.
    pub restored_version: Digest,
}

impl<H: Host> Policies<H> {
    /// An empty registry; `init_host` makes the host of `init` runs.
    pub fn new(
        engine: Engine<H>,
        init_host: impl Fn() -> H + Send + Sync + 'static,
    ) -> Policies<H> {
        Policies {
            engine,
            init_host: Box::new(init_host),
            active: ArcSwapOption::empty(),
            table: ArcSwap::default(),
            registry: Mutex::new(Registry::default()),
            loading: Mutex::new(()),
            keeps_dialogs: AtomicBool::new(false),
            on_rollback: OnceLock::new(),
        }
    }

    /// Whether versions that are replaced from now on are kept for the dialogs that began in them.
    pub fn set_keeps_dialogs(&self, keeps_dialogs: bool) {
        self.keeps_dialogs.store(keeps_dialogs, Ordering::Relaxed);
    }

    /// Has `told` called with each automatic rollback, on the thread of the worker that found the fault: it must not wait. Only the
    /// first call counts.
    pub fn on_automatic_rollback(&self, told: impl Fn(AutomaticRollback) + Send + Sync + 'static) {
        // A second one is a mistake of the caller that costs nothing but its own notice.
        let _ = self.on_rollback.set(Box::new(told));
    }

    /// The engine that its versions are made for.
    pub fn engine(&self) -> &Engine<H> {
        &self.engine
    }

    /// The version that new transactions run in; `None` before the first activation.
    pub fn active(&self) -> Option<Arc<Version<H>>> {
        self.active.load_full()
    }

    /// A version that is active, was active just before, or is pinned.
    pub fn by_number(&self, number: u64) -> Option<Arc<Version<H>>> {
        self.table
            .load()
            .iter()
            .find(|version| version.number() == number)
            .cloned()
    }

    /// The active version, pinned. The pin is given back with [`unpin`](Policies::unpin).
    pub fn pin_active(&self) -> Option<Arc<Version<H>>> {
        let version = self.active()?;
        self.pin_version(&version);
        Some(version)
    }

    /// Keeps a version alive for a transaction (or dialog); false when it is gone already.
    pub fn pin(&self, number: u64) -> bool {
        match self.by_number(number) {
            Some(version) => {
                self.pin_version(&version);
                true
            }
            None => false,
        }
    }

    /// Keeps this version alive for a transaction (or dialog).
    pub fn pin_version(&self, version: &Arc<Version<H>>) {
        if version.pins.add() {
            return;
        }
        // It was released meanwhile, and is put back.
        let mut registry = self.lock();
        if let Some(listed) = self.by_number(version.number()) {
            // It was loaded again since: that one is found when the pin is given back.
            return listed.pins.open_and_add();
        }
        version.pins.open_and_add();
        registry.needed_again(version);
        self.publish(|table| list(table, version));
    }

    /// Ends one [`pin`](Policies::pin). The last one of a version that was replaced frees it.
    pub fn unpin(&self, number: u64) {
        let Some(version) = self.by_number(number) else {
            return;
        };
        if version.pins.remove() && !self.is_active(number) {
            self.release(&mut self.lock());
        }
    }

    /// Compiles, checks and initialises a version and keeps it, without activating it. What fails is listed as rejected.
    ///
    /// This takes as long as compiling takes: call it off the workers.
    pub fn store(&self, name: &str, bytes: &[u8]) -> Result<Digest, LoadError> {
        let digest = Digest::of(bytes);
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lock().refresh(name, &digest) {
            return Ok(digest);
        }
        let loaded = self.engine.load(name, bytes, &self.init_host);
        let mut registry = self.lock();
        let error = loaded.as_ref().err().cloned();
        registry.keep(name, Stored::new(digest.clone(), bytes, loaded));
        match error {
            None => Ok(digest),
            Some(error) => Err(error),
        }
    }

    /// Lists a version that is refused before it is even looked at, and why.
    pub fn reject(&self, name: &str, bytes: &[u8], reason: &str) {
        self.lock().reject(name, bytes, reason);
    }

    /// Makes a stored version the active one, in one step: the named one (a digest or the beginning of one), else the newest good one.
    ///
    /// It may have to be loaded again: call it off the workers. After an error the version that was active goes on.
    pub fn activate(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Arc<Version<H>>, ActivateError> {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = self.lock().choose(name, version)?;
        let version = self.loaded(name, &digest)?;
        if !self.is_active(version.number()) {
            self.install(&mut self.lock(), &version, Past::Remember);
        }
        Ok(version)
    }

    /// Makes the version active that was active before this one.
    pub fn rollback(&self) -> Result<Arc<Version<H>>, RollbackError> {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let before = self.lock().history.last().cloned();
            let Some((name, digest)) = before else {
                return Err(RollbackError::NothingBefore);
            };
            let loaded = self.loaded(&name, &digest);
            self.lock().history.pop();
            match loaded {
                Ok(version) => {
                    self.install(&mut self.lock(), &version, Past::Forget);
                    return Ok(version);
                }
                Err(ActivateError::Load(error)) => return Err(error.into()),
                // It is not kept any more: the one before it may be.
                Err(_) => {}
            }
        }
    }

    /// Tells of a fault of a version on a request from `source`. A version that keeps failing soon after its activation, for several
    /// sources, is replaced by the one before, once; otherwise an alarm is logged and counted.
    pub fn report_fault(
        &self,
        number: u64,
        source: IpAddr,
        now: Instant,
    ) -> Option<AutomaticRollback> {
        let failing = self.by_number(number)?;
        let mut registry = self.lock();
        let finding = registry.watch.as_mut()?.report(&failing, source, now)?;
        let restored = registry
            .previous
            .clone()
            .filter(|_| finding == Finding::FailsSoon)
            .filter(|good| good.number() != failing.number())
            .filter(|_| !registry.was_rolled_back(failing.digest()));
        let Some(restored) = restored else {
            registry.alarm(&failing);
            return None;
        };
        registry.rolled_back(&failing);
        registry.history.pop();
        self.install(&mut registry, &restored, Past::Forget);
        tracing::error!(
            policy = &**failing.name(),
            policy_version = failing.digest().short(),
            "the policy keeps failing since its activation: version {} of {} is active again",
            restored.digest().short(),
            restored.name()
        );
        drop(registry);
        let rollback = AutomaticRollback {
            policy: Arc::clone(failing.name()),
            version: failing.digest().clone(),
            restored_policy: Arc::clone(restored.name()),
            restored_version: restored.digest().clone(),
        };
        if let Some(told) = self.on_rollback.get() {
            told(rollback.clone());
        }
        Some(rollback)
    }

    /// Every policy with its versions, in the order of their names, the newest version first.
    pub fn list(&self) -> Vec<PolicyReport> {
        let active = self.active().map(|version| version.number());
        self.lock().report(active)
    }

    fn lock(&self) -> MutexGuard<'_, Registry<H>> {
        // Every change under the lock is a plain assignment: after a panic elsewhere the registry is still whole.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_active(&self, number: u64) -> bool {
        self.active
            .load()
            .as_ref()
            .is_some_and(|active| active.number() == number)
    }

    /// The version in memory, loaded again when it was freed.
    fn loaded(&self, name: &str, digest: &Digest) -> Result<Arc<Version<H>>, ActivateError> {
        let unknown = || ActivateError::UnknownVersion {
            policy: name.to_owned(),
            version: digest.to_string(),
        };
        let bytes = {
            let mut registry = self.lock();
            let stored = registry.stored(name, digest).ok_or_else(unknown)?;
            if let Some(version) = stored.version() {
                return Ok(version);
            }
            Arc::clone(&stored.bytes)
        };
        let version = self.engine.load(name, &bytes, &self.init_host);
        let mut registry = self.lock();
        let stored = registry.stored(name, digest).ok_or_else(unknown)?;
        stored.reloaded(version).map_err(ActivateError::Load)
    }

    fn install(&self, registry: &mut Registry<H>, version: &Arc<Version<H>>, past: Past) {
        // In the table first: whoever sees it active also finds it by number.
        let version = &self.listed(version);
        registry.promoted(version.number());
        let before = self.active.swap(Some(Arc::clone(version)));
        registry.activated(version, SystemTime::now());
        registry.watch = Some(Watch::new(version, Instant::now()));
        if let Some(before) = before
            .as_ref()
            .filter(|_| self.keeps_dialogs.load(Ordering::Relaxed))
        {
            registry.retired.keep(before, Instant::now());
        }
        registry.previous = match (past, before) {
            (Past::Remember, Some(before)) => {
                registry.remember(before.name(), before.digest());
                // One that was rolled back is no good one: what was to go back to stays it.
                if registry.was_rolled_back(before.digest()) {
                    registry.previous.take()
                } else {
                    Some(before)
                }
            }
            _ => None,
        };
        self.release(registry);
    }

    /// Drops from the table, and so from memory, what is not active, not the one before and not pinned.
    fn release(&self, registry: &mut Registry<H>) {
        let active = self.active.load().as_ref().map(|version| version.number());
        let previous = registry.previous.as_ref().map(|version| version.number());
        let mut freed = Vec::new();
        self.publish(|table| {
            let needless = |version: &mut Arc<Version<H>>| {
                let number = Some(version.number());
                let is_in_use =
                    number == active || number == previous || registry.is_kept(version.number());
                !is_in_use && version.pins.close()
            };
            freed = table.extract_if(.., needless).collect();
        });
        for version in freed {
            registry.freed(&version);
        }
    }

    /// Puts a version into the table, unless it is there, and opens it for pins; what is there counts. The registry's lock is held.
    fn listed(&self, version: &Arc<Version<H>>) -> Arc<Version<H>> {
        let listed = self.by_number(version.number());
        let version = listed.unwrap_or_else(|| Arc::clone(version));
        version.pins.open();
        self.publish(|table| list(table, &version));
        version
    }

    /// Changes the table; the registry's lock is held.
    fn publish(&self, change: impl FnOnce(&mut Vec<Arc<Version<H>>>)) {
        let mut table = Vec::clone(&self.table.load());
        change(&mut table);
        self.table.store(Arc::new(table));
    }
}

fn list<H: Host>(table: &mut Vec<Arc<Version<H>>>, version: &Arc<Version<H>>) {
    if !table.iter().any(|other| other.number() == version.number()) {
        table.push(Arc::clone(version));
    }
}

/// Whether the version that is replaced is the one to go back to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Past {
    Remember,
    Forget,
}

impl<H: Host> fmt::Debug for Policies<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies")
            .field("active", &self.active())
            .finish_non_exhaustive()
    }
}
