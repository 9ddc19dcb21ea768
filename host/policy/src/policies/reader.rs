//! What one worker reads of the registry with every request: which version is active, and which has a number.
//!
//! To hold a version for a moment is to count it twice, in memory that all workers write to. A reader keeps what it saw last and compares it with
//! what is there now, which is one look while nothing changes.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption, Cache};

use super::Policies;
use crate::host::Host;
use crate::version::Version;

type Versions<H> = Vec<Arc<Version<H>>>;

/// A worker's way to read the registry.
///
/// It keeps what it has seen in memory until it looks again: a worker without requests is to [let go](Reader::let_go) now and then.
pub struct Reader<H: Host> {
    policies: Arc<Policies<H>>,
    active: Cache<Active<H>, Option<Arc<Version<H>>>>,
    table: Cache<Table<H>, Arc<Versions<H>>>,
}

struct Active<H: Host>(Arc<Policies<H>>);

impl<H: Host> Deref for Active<H> {
    type Target = ArcSwapOption<Version<H>>;

    fn deref(&self) -> &Self::Target {
        &self.0.active
    }
}

struct Table<H: Host>(Arc<Policies<H>>);

impl<H: Host> Deref for Table<H> {
    type Target = ArcSwap<Versions<H>>;

    fn deref(&self) -> &Self::Target {
        &self.0.table
    }
}

impl<H: Host> Reader<H> {
    /// A reader of this registry.
    pub fn new(policies: &Arc<Policies<H>>) -> Reader<H> {
        Reader {
            active: Cache::new(Active(Arc::clone(policies))),
            table: Cache::new(Table(Arc::clone(policies))),
            policies: Arc::clone(policies),
        }
    }

    /// The registry.
    pub fn policies(&self) -> &Policies<H> {
        &self.policies
    }

    /// As [`Policies::active`].
    #[inline]
    pub fn active(&mut self) -> Option<&Arc<Version<H>>> {
        self.active.load().as_ref()
    }

    /// As [`Policies::by_number`].
    #[inline]
    pub fn by_number(&mut self, number: u64) -> Option<&Arc<Version<H>>> {
        let mut versions = self.table.load().iter();
        versions.find(|version| version.number() == number)
    }

    /// As [`Policies::unpin`].
    pub fn unpin(&mut self, number: u64) {
        let is_last = self
            .by_number(number)
            .is_some_and(|version| version.pins.remove() == Some(0));
        if !is_last {
            return;
        }
        let is_active = self
            .active()
            .is_some_and(|active| active.number() == number);
        if !is_active {
            self.policies.ended(number);
        }
    }

    /// Looks again, so that what was replaced since can go.
    pub fn let_go(&mut self) {
        self.active.load();
        self.table.load();
    }
}
