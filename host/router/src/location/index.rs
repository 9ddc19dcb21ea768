//! The bindings in memory, in shards that are locked one at a time.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use foldhash::fast::RandomState;
use patchbay_core::door::Reject;
use patchbay_core::registrar::{Bindings, RegistrarConfig, Registration, apply, refresh};
use patchbay_core::time::UnixTime;
use patchbay_message::AddressOfRecord;

use super::change::{Changed, Outcome, WayBack};

/// Many more than there are cores, so that workers hardly ever meet.
const SHARDS: usize = 256;

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Addresses-of-record with a binding.
    pub aors: usize,
    /// Bindings.
    pub contacts: usize,
}

/// All bindings of a namespace.
pub(super) struct Index {
    shards: Box<[RwLock<Shard>]>,
    /// Seeded at random: nobody can choose names that share a shard.
    hasher: RandomState,
    aors: AtomicUsize,
    contacts: AtomicUsize,
}

#[derive(Default)]
struct Shard {
    /// The same in all of them: who changes an address-of-record has locked its shard anyway.
    registrar: RegistrarConfig,
    entries: HashMap<AddressOfRecord, Entry, RandomState>,
    due: Due,
}

/// By second: what may expire then.
type Due = BTreeMap<u64, Vec<AddressOfRecord>>;

/// An entry without bindings stays until its time in `due`, so that each address-of-record is there about once.
#[derive(Default)]
struct Entry {
    bindings: Bindings,
    /// When it stands in `due`; 0: not at all.
    due_secs: u64,
}

/// One address-of-record while its shard is locked.
pub(super) struct Locked<'a> {
    index: &'a Index,
    shard: RwLockWriteGuard<'a, Shard>,
    aor: &'a AddressOfRecord,
}

impl Index {
    /// An empty index.
    pub(super) fn new(registrar: &RegistrarConfig) -> Index {
        Index::with_shards(registrar, SHARDS)
    }

    /// The same with so many shards.
    pub(super) fn with_shards(registrar: &RegistrarConfig, shards: usize) -> Index {
        let shard = || Shard {
            registrar: registrar.clone(),
            ..Shard::default()
        };
        Index {
            shards: (0..shards.max(1)).map(|_| RwLock::new(shard())).collect(),
            hasher: RandomState::default(),
            aors: AtomicUsize::new(0),
            contacts: AtomicUsize::new(0),
        }
    }

    /// The live bindings.
    pub(super) fn lookup(&self, aor: &AddressOfRecord, now: UnixTime) -> Bindings {
        let Some(shard) = self.shard(aor) else {
            return Bindings::default();
        };
        let bindings = {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.entries.get(aor).map(|entry| entry.bindings.clone())
        };
        bindings.unwrap_or_default().live(now)
    }

    /// Locks one address-of-record for a change.
    pub(super) fn lock<'a>(&'a self, aor: &'a AddressOfRecord) -> Option<Locked<'a>> {
        let shard = self
            .shard(aor)?
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        Some(Locked {
            index: self,
            shard,
            aor,
        })
    }

    /// Other limits for registrations from now on.
    pub(super) fn set_registrar_config(&self, registrar: &RegistrarConfig) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.registrar = registrar.clone();
        }
    }

    /// Takes out what may have expired by now.
    pub(super) fn take_due(&self, now: UnixTime) -> Vec<AddressOfRecord> {
        let mut due = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            while let Some(first) = shard
                .due
                .first_entry()
                .filter(|first| *first.key() <= now.0)
            {
                let aors = first.remove();
                for aor in &aors {
                    shard.forget_due(aor, now);
                }
                due.extend(aors);
            }
        }
        due
    }

    /// When something may expire next.
    pub(super) fn next_due(&self) -> Option<UnixTime> {
        let first = |shard: &RwLock<Shard>| {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.due.first_key_value().map(|(secs, _)| UnixTime(*secs))
        };
        self.shards.iter().filter_map(first).min()
    }

    /// Hands every address-of-record with its live bindings to `each`, in no order.
    pub(super) fn for_each(&self, now: UnixTime, mut each: impl FnMut(&AddressOfRecord, Bindings)) {
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            for (aor, entry) in &shard.entries {
                let bindings = entry.bindings.clone().live(now);
                if !bindings.is_empty() {
                    each(aor, bindings);
                }
            }
        }
    }

    /// How much there is, expired bindings that were not swept yet included.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            aors: self.aors.load(Ordering::Relaxed),
            contacts: self.contacts.load(Ordering::Relaxed),
        }
    }

    fn shard(&self, aor: &AddressOfRecord) -> Option<&RwLock<Shard>> {
        // The high bits: the maps inside use the low ones of another seed.
        let at = (self.hasher.hash_one(aor) >> 32) as usize % self.shards.len();
        self.shards.get(at)
    }

    fn recount(&self, before: usize, after: usize) {
        if before == after {
            return;
        }
        self.contacts
            .fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        let aors = usize::from(after > 0).wrapping_sub(usize::from(before > 0));
        self.aors.fetch_add(aors, Ordering::Relaxed);
    }
}

impl Shard {
    /// The entry of `aor` no longer stands in `due`; an empty one goes.
    fn forget_due(&mut self, aor: &AddressOfRecord, now: UnixTime) {
        let Some(entry) = self.entries.get_mut(aor) else {
            return;
        };
        if entry.due_secs <= now.0 {
            entry.due_secs = 0;
        }
        if entry.due_secs == 0 && entry.bindings.is_empty() {
            self.entries.remove(aor);
        }
    }
}

impl Locked<'_> {
    /// The address-of-record.
    pub(super) fn aor(&self) -> &AddressOfRecord {
        self.aor
    }

    /// Applies a registration and puts in place what comes of it. Unless the changes are `wanted`, they may be left out.
    pub(super) fn change(
        &mut self,
        registration: &Registration,
        now: UnixTime,
        wanted: bool,
    ) -> Result<Outcome, Reject> {
        if let Some(changed) = self.refresh(registration, now, wanted) {
            return Ok(Outcome::Changed(changed));
        }
        let before = self.bindings();
        let applied = apply(&before, registration, &self.shard.registrar, now)?;
        if applied.changes.is_empty() {
            return Ok(Outcome::Unchanged(applied.bindings));
        }
        self.replace(applied.bindings.clone());
        Ok(Outcome::Changed(Changed {
            way_back: WayBack::Replace(before),
            after: applied.bindings,
            changes: applied.changes,
        }))
    }

    /// See [`refresh`].
    fn refresh(
        &mut self,
        registration: &Registration,
        now: UnixTime,
        wanted: bool,
    ) -> Option<Changed> {
        let Shard {
            registrar,
            entries,
            due,
        } = &mut *self.shard;
        let entry = entries.get_mut(self.aor)?;
        let overwritten = refresh(&mut entry.bindings, registration, registrar, now)?;
        entry.look_in_time(self.aor, due);
        let after = entry.bindings.clone();
        let change = wanted.then(|| overwritten.change(&after)).flatten();
        Some(Changed {
            way_back: WayBack::Overwrite(overwritten),
            changes: change.into_iter().collect(),
            after,
        })
    }

    /// The bindings as they are, expired ones included.
    pub(super) fn bindings(&self) -> Bindings {
        self.shard
            .entries
            .get(self.aor)
            .map(|entry| entry.bindings.clone())
            .unwrap_or_default()
    }

    /// Puts others in their place.
    pub(super) fn replace(&mut self, bindings: Bindings) {
        let Shard { entries, due, .. } = &mut *self.shard;
        let entry = match entries.get_mut(self.aor) {
            Some(entry) => entry,
            None if bindings.is_empty() => return,
            None => entries.entry(self.aor.clone()).or_default(),
        };
        self.index.recount(entry.bindings.len(), bindings.len());
        entry.bindings = bindings;
        if entry.bindings.is_empty() && entry.due_secs == 0 {
            entries.remove(self.aor);
        } else {
            entry.look_in_time(self.aor, due);
        }
    }

    /// Looks at it again when its first binding ends.
    pub(super) fn look_in_time(&mut self) {
        let Shard { entries, due, .. } = &mut *self.shard;
        if let Some(entry) = entries.get_mut(self.aor) {
            entry.look_in_time(self.aor, due);
        }
    }

    /// Looks at it again at that second.
    pub(super) fn look_again(&mut self, at: UnixTime) {
        let Shard { entries, due, .. } = &mut *self.shard;
        if let Some(entry) = entries.get_mut(self.aor) {
            entry.look_at(at.0, self.aor, due);
        }
    }
}

impl Entry {
    /// Puts it in `due` for when its first binding ends.
    fn look_in_time(&mut self, aor: &AddressOfRecord, due: &mut Due) {
        let ends = self.bindings.iter().map(|binding| binding.expires().0);
        if let Some(earliest) = ends.min() {
            self.look_at(earliest, aor, due);
        }
    }

    /// Puts it in `due` for that second, unless it stands there for an earlier one.
    fn look_at(&mut self, secs: u64, aor: &AddressOfRecord, due: &mut Due) {
        if self.due_secs == 0 || secs < self.due_secs {
            self.due_secs = secs.max(1);
            due.entry(self.due_secs).or_default().push(aor.clone());
        }
    }
}
