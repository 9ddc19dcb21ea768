//! The versions of all policies: which one routes, which live on for transactions under way, which to go back to.
//!
//! Workers read without locks: the active version and the table of versions by number are swapped whole. What changes them takes
//! the registry's lock for a moment; compiling happens outside of it.

mod compiled;
mod fitness;
mod history;
mod lanes;
mod reader;
mod registry;
mod report;
mod retired;
mod rollout;
mod watch;

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::digest::{Digest, MIN_LEN};
use crate::engine::{Engine, LoadError};
use crate::host::Host;
use crate::version::Version;

use compiled::UnderWay;
pub use compiled::{Compiled, Loaded};
pub use fitness::Refusing;
pub use history::ActiveHistory;
pub use lanes::ActiveVersion;
use lanes::LaneName;
pub use reader::Reader;
use registry::Registry;
pub use report::{PolicyReport, VersionReport, VersionState};
use watch::Finding;

/// Tells on which terms a policy of this name is to run.
type Uses<H> = dyn Fn(&str) -> Vec<Use<H>> + Send + Sync;

/// The registry of policies. All of it may be called from any thread.
pub struct Policies<H: Host> {
    engine: Engine<H>,
    uses: Box<Uses<H>>,
    active: ArcSwapOption<Version<H>>,
    /// The versions that can be found by number: the active one, the one before, and those that are pinned.
    table: ArcSwap<Vec<Arc<Version<H>>>>,
    /// The numbers of the versions that are active for routes, in order.
    routed_numbers: ArcSwap<Vec<u64>>,
    /// Whether a version that is active anywhere is told of events.
    hear_events: AtomicBool,
    registry: Mutex<Registry<H>>,
    /// One change of what is active, the canary or the shadow at a time. Who must not be waited for while it is compiled is
    /// [loaded](Policies::load) before.
    changing: Mutex<()>,
    under_way: UnderWay,
    /// Whether replaced versions are kept for their dialogs.
    keeps_dialogs: AtomicBool,
    /// How many were freed.
    freed: AtomicU64,
    /// Told of each automatic rollback, at once and on the worker's thread.
    on_rollback: OnceLock<Box<dyn Fn(AutomaticRollback) + Send + Sync>>,
}

/// A use that a version of a policy has to be fit for.
pub struct Use<H> {
    /// The route of the configuration; `None`: the requests that no route takes.
    pub route: Option<String>,
    /// What it is started with.
    pub host: H,
}

impl<H> Use<H> {
    /// For the requests that no route takes.
    pub fn anywhere(host: H) -> Use<H> {
        Use { route: None, host }
    }
}

/// Why a version is not activated. The one before goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActivateError {
    /// There is no policy of that name.
    #[error("there is no policy `{0}`: `patchbay policy list` shows which there are")]
    UnknownPolicy(String),
    /// It has no such version.
    #[error("policy `{policy}` has no version `{version}`{}: `patchbay policy list` shows which it has", too_short(.version))]
    UnknownVersion {
        /// The policy.
        policy: String,
        /// What was asked for.
        version: String,
    },
    /// More than one version begins so.
    #[error("more than one version of policy `{policy}` begins with `{version}`: give more digits")]
    AmbiguousVersion {
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
    /// New dialogs run in it already: it can't be tried on some of them, or compared with itself.
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

/// What is wrong with a version of few digits.
fn too_short(version: &str) -> &'static str {
    if !version.is_empty() && version.len() < MIN_LEN {
        " (it takes six digits or more)"
    } else {
        ""
    }
}

/// Why nothing is rolled back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    /// No version was active before.
    #[error("no version was active before this one")]
    NothingBefore,
    /// Neither is the policy active, nor do routes name it.
    #[error("policy `{0}` is not active")]
    NotActive(String),
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
        Policies::with_uses(engine, move |_| vec![Use::anywhere(init_host())])
    }

    /// The same where a policy may be used for several tenants: `uses` tells those of the policy of this name. A version is good when it
    /// starts for each of them.
    pub fn with_uses(
        engine: Engine<H>,
        uses: impl Fn(&str) -> Vec<Use<H>> + Send + Sync + 'static,
    ) -> Policies<H> {
        Policies {
            engine,
            uses: Box::new(uses),
            routed_numbers: ArcSwap::default(),
            hear_events: AtomicBool::new(false),
            active: ArcSwapOption::empty(),
            table: ArcSwap::default(),
            registry: Mutex::new(Registry::default()),
            changing: Mutex::new(()),
            under_way: UnderWay::default(),
            keeps_dialogs: AtomicBool::new(false),
            freed: AtomicU64::new(0),
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
        if version.pins.remove() == Some(0) {
            self.ended(number);
        }
    }

    /// The last pin of this version is gone.
    fn ended(&self, number: u64) {
        if !self.is_active(number) {
            self.release(&mut self.lock());
        }
    }

    /// Frees what nobody needs any more. It happens by itself, but for a version that was replaced in the moment in which its last pin ended.
    pub fn let_go(&self) {
        if self.table.load().len() > 1 {
            self.release(&mut self.lock());
        }
    }

    /// Ends one [`pin_version`](Policies::pin_version), without looking for the version.
    pub fn unpin_version(&self, version: &Arc<Version<H>>) {
        match version.pins.remove() {
            // It was forgotten and loaded again before it was pinned.
            None => self.unpin(version.number()),
            Some(0) => self.ended(version.number()),
            Some(_) => {}
        }
    }

    /// A version in memory that is so.
    pub fn find(&self, is_so: impl Fn(&Version<H>) -> bool) -> Option<Arc<Version<H>>> {
        let table = self.table.load();
        table.iter().find(|version| is_so(version)).cloned()
    }

    /// Makes a stored version the newest one of its policy, as if it were stored now.
    pub fn make_newest(&self, name: &str, version: &Digest) {
        let mut registry = self.lock();
        let now = registry.next_moment(name);
        registry.refresh(name, version, now);
    }

    /// Lists a version that is refused before it is even looked at, and why.
    pub fn reject(&self, name: &str, bytes: &[u8], reason: &str) {
        let (digest, now) = (Digest::of(bytes), SystemTime::now());
        self.lock().reject(name, digest, bytes.len(), now, reason);
    }

    /// The same for a version that was stored at this time and whose bytes are not known any more.
    pub fn reject_version(&self, name: &str, version: Digest, stored_at: SystemTime, reason: &str) {
        self.lock().reject(name, version, 0, stored_at, reason);
    }

    /// Lists a version as rejected that was stored here and could not be kept for later: it would be gone after a restart. One that is in
    /// use stays.
    pub fn withdraw(&self, name: &str, version: &Digest, reason: &str) {
        let mut registry = self.lock();
        registry.withdraw(name, version, reason, |number| {
            self.by_number(number).is_some()
        });
    }

    /// Makes a stored version the active one, in one step: the named one (a digest or the beginning of one), else the newest good one.
    ///
    /// It may have to be [loaded](Policies::load) again: call it off the workers. After an error the version that was active goes on.
    pub fn activate(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Arc<Version<H>>, ActivateError> {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = self.lock().choose(name, version)?;
        let version = self.loaded(name, &digest)?;
        let mut registry = self.lock();
        let mut lanes = self.lanes_of(&registry, name);
        lanes.retain(|lane| !self.is_active_in(&registry, lane, version.number()));
        for lane in &lanes {
            self.install(&mut registry, lane, &version, Past::Remember);
        }
        drop(registry);
        drop(changing);
        self.check_previous_in(lanes);
        Ok(version)
    }

    /// Makes the version active that was active before this one, for the requests that no route takes.
    pub fn rollback(&self) -> Result<Arc<Version<H>>, RollbackError> {
        self.go_back(&LaneName::Shared)
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
        let mut rollback = None;
        let mut alarm = false;
        for lane in registry.lane_names() {
            let watch = registry.lane(&lane).and_then(|lane| lane.watch.as_mut());
            let Some(finding) = watch.and_then(|watch| watch.report(&failing, source, now)) else {
                continue;
            };
            match self.good_before(&mut registry, &lane, &failing, finding) {
                Some(restored) => {
                    rollback = Some(self.restore(&mut registry, &lane, &failing, &restored));
                }
                None => alarm = true,
            }
        }
        if rollback.is_some() {
            registry.rolled_back(&failing);
        } else if alarm {
            registry.alarm(&failing);
        }
        drop(registry);
        if let (Some(rollback), Some(told)) = (&rollback, self.on_rollback.get()) {
            told(rollback.clone());
        }
        rollback
    }

    /// What a lane goes back to by itself when its version fails.
    fn good_before(
        &self,
        registry: &mut Registry<H>,
        lane: &LaneName,
        failing: &Version<H>,
        finding: Finding,
    ) -> Option<Arc<Version<H>>> {
        if finding != Finding::FailsSoon || registry.was_rolled_back(failing.digest()) {
            return None;
        }
        let lane = registry.lane(lane)?;
        let previous = lane.previous.clone()?;
        let number = previous.number();
        (number != failing.number() && lane.unfit != Some(number)).then_some(previous)
    }

    fn restore(
        &self,
        registry: &mut Registry<H>,
        lane: &LaneName,
        failing: &Version<H>,
        restored: &Arc<Version<H>>,
    ) -> AutomaticRollback {
        if let Some(lane) = registry.lane(lane) {
            lane.history.pop();
        }
        self.install(registry, lane, restored, Past::Forget);
        tracing::error!(
            policy = &**failing.name(),
            policy_version = failing.digest().short(),
            "the policy keeps failing since its activation: version {} of {} is active again",
            restored.digest().short(),
            restored.name()
        );
        AutomaticRollback {
            policy: Arc::clone(failing.name()),
            version: failing.digest().clone(),
            restored_policy: Arc::clone(restored.name()),
            restored_version: restored.digest().clone(),
        }
    }

    /// How many versions were freed so far: when it is another number, workers may have idle instances to throw away.
    pub fn freed(&self) -> u64 {
        self.freed.load(Ordering::Relaxed)
    }

    /// Every policy with its versions, in the order of their names, the newest version first.
    pub fn list(&self) -> Vec<PolicyReport> {
        self.lock().report(&|number| self.is_active(number))
    }

    fn lock(&self) -> MutexGuard<'_, Registry<H>> {
        // Every change under the lock is a plain assignment: after a panic elsewhere the registry is still whole.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops from the table, and so from memory, what is not active, not the one before and not pinned.
    fn release(&self, registry: &mut Registry<H>) {
        let needless = |version: &mut Arc<Version<H>>| {
            let number = version.number();
            let is_in_use =
                self.is_active(number) || registry.is_previous(number) || registry.is_kept(number);
            !is_in_use && version.pins.close()
        };
        let mut table = Vec::clone(&self.table.load());
        let freed: Vec<Arc<Version<H>>> = table.extract_if(.., needless).collect();
        if freed.is_empty() {
            return;
        }
        self.table.store(Arc::new(table));
        let count = u64::try_from(freed.len()).unwrap_or(u64::MAX);
        self.freed.fetch_add(count, Ordering::Relaxed);
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
