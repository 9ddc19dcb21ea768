//! Lookups, updates and what they report.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use patchbay_core::door::{Listener, Reject};
use patchbay_core::registrar::{
    Bindings, Change, ChangeKind, Changes, ContactBinding, Contacts, RegistrarConfig, Registration,
};
use patchbay_core::time::UnixTime;
use patchbay_message::AddressOfRecord;

use super::change::{Changed, Outcome};
use super::commit::{Committer, Job};
use super::expiry::ExpiryThread;
use super::index::{Counts, Locked};
use super::namespace::Namespace;
use super::queue::Queue;
use super::recover::{Namespaces, recover};
use super::store::{LocationStore, StoreError};
use crate::config::{Durability, Registrar};

/// RFC 3261 §21.5.4: when a full queue may have room again.
const RETRY_AFTER_SECS: u32 = 2;

/// What an update comes to: all live bindings, or why it was refused.
pub type Answer = Result<Bindings, Reject>;

/// Whom to tell what an update that had to wait has come to.
pub enum Done {
    /// Called once, from another thread.
    Call(Box<dyn FnOnce(Answer) + Send>),
    /// Told from another thread, together with all others that came to an end with it.
    Tell {
        /// Who.
        recipient: Arc<dyn Recipient>,
        /// What the recipient knows the update by.
        id: u64,
    },
}

/// Who makes many updates.
pub trait Recipient: Send + Sync {
    /// Takes the answers out, each with the number of its update.
    fn tell(&self, answers: &mut Vec<(u64, Answer)>);
}

impl Done {
    /// Calls this.
    pub fn call(done: impl FnOnce(Answer) + Send + 'static) -> Done {
        Done::Call(Box::new(done))
    }
}

/// The configuration of a [`LocationService`].
#[derive(Clone, Debug)]
pub struct LocationConfig {
    /// The namespace that all share who have none of their own.
    pub namespace: String,
    /// The registrar's limits.
    pub registrar: RegistrarConfig,
    /// When an update is answered.
    pub durability: Durability,
    /// Changes that may wait for the store; beyond that an update gets 503.
    pub queue: usize,
    /// The bound listeners: a stored UDP flow is taken up by the one with its local address.
    pub listeners: Vec<Listener>,
    /// Where changes are reported.
    pub events: Option<Events>,
}

/// Where additions, refreshes, removals and expiries are reported.
#[derive(Clone)]
pub struct Events {
    /// When it is full, events are counted and lost.
    pub sender: SyncSender<LocationEvent>,
    /// Whether anybody listens; while nobody does, events are not even made.
    pub wanted: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Default for LocationConfig {
    fn default() -> LocationConfig {
        LocationConfig {
            namespace: super::DEFAULT_NAMESPACE.to_owned(),
            registrar: RegistrarConfig::default(),
            durability: Durability::Batched,
            queue: 65_536,
            listeners: Vec::new(),
            events: None,
        }
    }
}

impl LocationConfig {
    /// What the configuration says, for listeners that are bound.
    pub fn of(config: &Registrar, listeners: Vec<Listener>) -> LocationConfig {
        LocationConfig {
            registrar: registrar_config(config),
            durability: config.durability,
            listeners,
            ..LocationConfig::default()
        }
    }
}

/// The registrar's limits in the configuration, for [`LocationService::set_registrar_config`] after a reload.
pub fn registrar_config(config: &Registrar) -> RegistrarConfig {
    let secs = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    RegistrarConfig {
        default_expires_secs: secs(config.default_expires),
        min_expires_secs: secs(config.min_expires),
        max_expires_secs: secs(config.max_expires),
        max_contacts: config.max_contacts,
    }
}

/// Something that happened to a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocationEvent {
    /// What happened.
    pub kind: ChangeKind,
    /// Where it is.
    pub namespace: Arc<str>,
    /// Whose binding it is.
    pub aor: AddressOfRecord,
    /// The binding as it is now; of one that is gone, as it was.
    pub binding: ContactBinding,
}

/// An address-of-record in a listing.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The address-of-record.
    pub aor: AddressOfRecord,
    /// Its live bindings.
    pub bindings: Bindings,
}

/// What the service did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocationStatistics {
    /// Commits that succeeded.
    pub commits: u64,
    /// Address-of-records written by them.
    pub records: u64,
    /// Commits that failed.
    pub failed_commits: u64,
    /// Updates that got 503 because the queue was full.
    pub refused: u64,
    /// Events that nobody took in time.
    pub lost_events: u64,
    /// Stored records that could not be read at the start.
    pub damaged_records: u64,
}

/// The counters behind [`LocationStatistics`], and the way out for events.
#[derive(Default)]
pub(super) struct Reports {
    pub commits: AtomicU64,
    pub records: AtomicU64,
    pub failed_commits: AtomicU64,
    refused: AtomicU64,
    lost_events: AtomicU64,
    pub damaged_records: AtomicU64,
    events: Option<Events>,
}

impl Reports {
    /// Whether somebody wants to know what changes.
    fn is_wanted(&self) -> bool {
        self.events.as_ref().is_some_and(|events| (events.wanted)())
    }

    /// Reports what changed.
    pub(super) fn changed(&self, namespace: &Namespace, aor: &AddressOfRecord, changes: Changes) {
        if changes.is_empty() {
            return;
        }
        let Some(events) = self.events.as_ref().filter(|events| (events.wanted)()) else {
            return;
        };
        for Change { kind, binding } in changes {
            if events
                .sender
                .try_send(LocationEvent {
                    kind,
                    namespace: Arc::clone(namespace.name()),
                    aor: aor.clone(),
                    binding,
                })
                .is_err()
            {
                self.lost_events.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The bindings of all namespaces, in memory and in a store. Shared by all workers.
pub struct LocationService {
    inner: Arc<Inner>,
    // Dropped in this order: no more expiries, then the store is written to the end.
    _expiry: Option<ExpiryThread>,
    _committer: Option<Committer>,
}

/// What the service and its threads share.
pub(super) struct Inner {
    shared: Arc<Namespace>,
    /// All of them by name, the shared one included. Only who is new takes the lock.
    namespaces: ArcSwap<BTreeMap<Arc<str>, Arc<Namespace>>>,
    adding: Mutex<RegistrarConfig>,
    reports: Arc<Reports>,
    durability: Durability,
    jobs: Option<Queue<Job>>,
}

impl LocationService {
    /// Opens the service and reads what the store holds; bindings that expired meanwhile are removed from it.
    ///
    /// Without a store, or with [`Durability::Memory`], nothing is kept.
    pub fn open(
        store: Option<Box<dyn LocationStore>>,
        config: LocationConfig,
    ) -> Result<LocationService, StoreError> {
        let reports = Arc::new(Reports {
            events: config.events.clone(),
            ..Reports::default()
        });
        let mut namespaces = Namespaces::new(&config);
        let mut store = store.filter(|_| config.durability != Durability::Memory);
        if let Some(store) = &mut store {
            recover(
                store.as_mut(),
                &config,
                &mut namespaces,
                &reports,
                unix_now(),
            )?;
        }
        let committer =
            store.map(|store| Committer::start(store, config.queue, Arc::clone(&reports)));
        let committer = committer.transpose()?;
        let jobs = committer.as_ref().map(Committer::jobs);
        let inner = Arc::new(Inner::new(namespaces, config.durability, reports, jobs));
        let expiry = ExpiryThread::start(Arc::downgrade(&inner))?;
        Ok(LocationService {
            inner,
            _expiry: Some(expiry),
            _committer: committer,
        })
    }

    /// A service that stores nothing and has no thread: who made it calls [`LocationService::expire`], at
    /// [`LocationService::next_expiry`] or later.
    pub fn untimed(config: LocationConfig) -> LocationService {
        let namespaces = Namespaces::new(&config);
        let reports = Arc::new(Reports {
            events: config.events,
            ..Reports::default()
        });
        let inner = Inner::new(namespaces, Durability::Memory, reports, None);
        LocationService {
            inner: Arc::new(inner),
            _expiry: None,
            _committer: None,
        }
    }

    /// When a binding may expire next.
    pub fn next_expiry(&self) -> Option<UnixTime> {
        let namespaces = self.inner.namespaces.load();
        let due = namespaces.values().map(|found| found.index.next_due());
        due.flatten().min()
    }

    /// The namespace of this name; there is none before somebody needs it.
    pub fn namespace(&self, name: &str) -> Arc<Namespace> {
        if let Some(found) = self.known_namespace(name) {
            return found;
        }
        let registrar = self.inner.adding.lock();
        let registrar = registrar.unwrap_or_else(PoisonError::into_inner);
        let mut all = BTreeMap::clone(&self.inner.namespaces.load());
        let new = || Namespace::of_tenant(name, &registrar);
        let found = Arc::clone(all.entry(name.into()).or_insert_with(new));
        self.inner.namespaces.store(Arc::new(all));
        found
    }

    /// The namespace of this name, if somebody has needed it or something is stored in it.
    pub fn known_namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        self.inner.namespaces.load().get(name).cloned()
    }

    /// All namespaces, in the order of their names.
    pub fn namespaces(&self) -> Vec<Arc<Namespace>> {
        self.inner.namespaces.load().values().cloned().collect()
    }

    /// The live bindings of an address-of-record; the result shares them.
    pub fn lookup(&self, aor: &AddressOfRecord, now: UnixTime) -> Bindings {
        self.inner.shared.index.lookup(aor, now)
    }

    /// The same in a tenant's namespace; `None`: the shared one.
    pub fn lookup_in(
        &self,
        namespace: Option<&Arc<Namespace>>,
        aor: &AddressOfRecord,
        now: UnixTime,
    ) -> Bindings {
        let namespace = namespace.unwrap_or(&self.inner.shared);
        namespace.index.lookup(aor, now)
    }

    /// Applies a registration. Returns the answer when [`Durability`] allows it at once; otherwise whoever `done` names is told
    /// when it does.
    ///
    /// Refusals: those of [`patchbay_core::registrar::apply`]; 503 when too many changes wait for the store; 500 when the commit failed, after which
    /// the bindings are as before.
    #[must_use = "an answer that is returned is told to nobody else"]
    pub fn update(
        &self,
        registration: &Registration,
        now: UnixTime,
        done: impl FnOnce() -> Done,
    ) -> Option<Answer> {
        self.inner
            .update(&self.inner.shared, registration, now, done)
    }

    /// The same in a tenant's namespace; `None`: the shared one.
    #[must_use = "an answer that is returned is told to nobody else"]
    pub fn update_in(
        &self,
        namespace: Option<&Arc<Namespace>>,
        registration: &Registration,
        now: UnixTime,
        done: impl FnOnce() -> Done,
    ) -> Option<Answer> {
        let namespace = namespace.unwrap_or(&self.inner.shared);
        self.inner.update(namespace, registration, now, done)
    }

    /// Every address-of-record of the shared namespace whose text contains `filter`, in order, `limit` at most.
    pub fn list(&self, filter: Option<&str>, limit: usize, now: UnixTime) -> Vec<Registered> {
        self.list_in(None, filter, limit, now)
    }

    /// The same in a tenant's namespace; `None`: the shared one.
    pub fn list_in(
        &self,
        namespace: Option<&Arc<Namespace>>,
        filter: Option<&str>,
        limit: usize,
        now: UnixTime,
    ) -> Vec<Registered> {
        let mut listed = Vec::new();
        let namespace = namespace.unwrap_or(&self.inner.shared);
        namespace.index.for_each(now, |aor, bindings| {
            if filter.is_none_or(|filter| aor.as_str().contains(filter)) {
                listed.push(Registered {
                    aor: aor.clone(),
                    bindings,
                });
            }
        });
        listed.sort_by(|a, b| a.aor.as_str().cmp(b.aor.as_str()));
        listed.truncate(limit);
        listed
    }

    /// How many addresses-of-record and contacts there are, in all namespaces.
    pub fn counts(&self) -> Counts {
        let namespaces = self.inner.namespaces.load();
        let counts = namespaces.values().map(|found| found.index.counts());
        counts.fold(Counts::default(), |sum, counts| Counts {
            aors: sum.aors + counts.aors,
            contacts: sum.contacts + counts.contacts,
        })
    }

    /// What was done so far.
    pub fn statistics(&self) -> LocationStatistics {
        let reports = &self.inner.reports;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LocationStatistics {
            commits: of(&reports.commits),
            records: of(&reports.records),
            failed_commits: of(&reports.failed_commits),
            refused: of(&reports.refused),
            lost_events: of(&reports.lost_events),
            damaged_records: of(&reports.damaged_records),
        }
    }

    /// Other limits for registrations from now on.
    pub fn set_registrar_config(&self, config: RegistrarConfig) {
        let adding = self.inner.adding.lock();
        let mut adding = adding.unwrap_or_else(PoisonError::into_inner);
        for namespace in self.inner.namespaces.load().values() {
            namespace.index.set_registrar_config(&config);
        }
        *adding = config;
    }

    /// Removes what has expired by `now`. A thread does this every second.
    pub fn expire(&self, now: UnixTime) {
        self.inner.expire(now);
    }
}

impl Inner {
    fn new(
        namespaces: Namespaces,
        durability: Durability,
        reports: Arc<Reports>,
        jobs: Option<Queue<Job>>,
    ) -> Inner {
        Inner {
            shared: namespaces.shared,
            namespaces: ArcSwap::from_pointee(namespaces.all),
            adding: Mutex::new(namespaces.registrar),
            reports,
            durability,
            jobs,
        }
    }

    /// Removes what has expired by `now`.
    pub(super) fn expire(&self, now: UnixTime) {
        for namespace in self.namespaces.load().values() {
            for aor in namespace.index.take_due(now) {
                self.expire_one(namespace, aor, now);
            }
        }
    }

    fn expire_one(&self, namespace: &Arc<Namespace>, aor: AddressOfRecord, now: UnixTime) {
        let registration = Registration {
            contacts: Contacts::Fetch,
            ..Registration::of_removal(aor)
        };
        let aor = &registration.aor;
        let Some(mut locked) = namespace.index.lock(aor) else {
            return;
        };
        let changed = match locked.change(&registration, now, true) {
            Ok(Outcome::Changed(changed)) => changed,
            Ok(Outcome::Unchanged(_)) => return locked.look_in_time(),
            Err(_) => return,
        };
        let Some(jobs) = &self.jobs else {
            drop(locked);
            return self.reports.changed(namespace, aor, changed.changes);
        };
        if self
            .hand_over(jobs, namespace, &mut locked, changed, None)
            .is_err()
        {
            // The store's queue is full; lookups leave out what has expired, the record can wait.
            locked.look_again(UnixTime(now.0 + 1));
        }
    }

    fn update(
        &self,
        namespace: &Arc<Namespace>,
        registration: &Registration,
        now: UnixTime,
        done: impl FnOnce() -> Done,
    ) -> Option<Answer> {
        let aor = &registration.aor;
        let Some(mut locked) = namespace.index.lock(aor) else {
            return Some(Err(Reject::new(500, "")));
        };
        let changed = match locked.change(registration, now, self.reports.is_wanted()) {
            Ok(Outcome::Changed(changed)) => changed,
            Ok(Outcome::Unchanged(bindings)) => return Some(Ok(bindings)),
            Err(reject) => return Some(Err(reject)),
        };
        let Some(jobs) = &self.jobs else {
            drop(locked);
            self.reports.changed(namespace, aor, changed.changes);
            return Some(Ok(changed.after));
        };
        let waits = self.durability == Durability::Batched;
        let answer = (!waits).then(|| changed.after.clone());
        if self
            .hand_over(jobs, namespace, &mut locked, changed, waits.then(done))
            .is_err()
        {
            self.reports.refused.fetch_add(1, Ordering::Relaxed);
            return Some(Err(retry_later()));
        }
        answer.map(Ok)
    }

    /// Hands a change to the store's thread. The address-of-record stays locked meanwhile, so that the store sees its changes
    /// in their order. After an error the bindings are as before.
    fn hand_over(
        &self,
        jobs: &Queue<Job>,
        namespace: &Arc<Namespace>,
        locked: &mut Locked<'_>,
        changed: Changed,
        done: Option<Done>,
    ) -> Result<(), QueueFull> {
        let job = Job {
            namespace: Arc::clone(namespace),
            aor: locked.aor().clone(),
            changed,
            revert: self.durability == Durability::Batched,
            done,
        };
        jobs.push(job).map_err(|job| {
            locked.replace(job.changed.before());
            QueueFull
        })
    }
}

/// Too many changes wait for the store.
struct QueueFull;

fn retry_later() -> Reject {
    Reject {
        headers: vec![("Retry-After", RETRY_AFTER_SECS.to_string())],
        ..Reject::new(503, "")
    }
}

/// The wall clock, for what expires without a message.
pub(super) fn unix_now() -> UnixTime {
    // A clock before 1970 makes every binding live; it is corrected or it is not.
    UnixTime(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    )
}

#[cfg(test)]
pub(super) mod tests;
