//! Instances that wait for a hook.

use std::sync::{Arc, Weak};

use crate::host::Host;
use crate::instance::Instance;
use crate::scope::Scope;
use crate::version::Version;

/// After a hook that had to begin again on a fiber, so many hooks of its version run there from the start.
const ON_FIBERS: u32 = 10_000;

/// The idle instances of one version in one scope. They keep neither alive.
pub(super) struct ScopedShelf<H: Host> {
    pub(super) scope: Weak<Scope>,
    pub(super) shelf: Shelf<H>,
}

/// The idle instances of one version. They do not keep the version alive.
pub(super) struct Shelf<H: Host> {
    pub(super) number: u64,
    pub(super) version: Weak<Version<H>>,
    pub(super) idle: Vec<Instance<H>>,
    /// How many hooks are not to be called straight.
    on_fibers: u32,
}

impl<H: Host> Shelf<H> {
    pub(super) fn new(version: &Arc<Version<H>>) -> Shelf<H> {
        Shelf {
            number: version.number(),
            version: Arc::downgrade(version),
            idle: Vec::new(),
            on_fibers: 0,
        }
    }

    /// Hooks run on fibers for a while.
    pub(super) fn leave_straight(&mut self) {
        self.on_fibers = ON_FIBERS;
    }

    /// An idle instance whose hooks are called straight, unless hooks are to run on fibers.
    #[inline]
    pub(super) fn idle_straight(&mut self) -> Option<Instance<H>> {
        if self.on_fibers > 0 {
            return None;
        }
        if self.idle.last()?.is_straight() {
            return self.idle.pop();
        }
        let place = self.idle.iter().rposition(Instance::is_straight)?;
        Some(self.idle.swap_remove(place))
    }

    /// An idle instance, or how one is to be made: whether its hooks are called straight, where they `can` be.
    #[inline]
    pub(super) fn take(&mut self, can: bool) -> Result<Instance<H>, bool> {
        let straight = can && self.on_fibers == 0;
        if can && !straight {
            self.on_fibers -= 1;
        }
        let fits = |instance: &Instance<H>| instance.is_straight() == straight;
        match self.idle.iter().rposition(fits) {
            Some(place) => Ok(self.idle.swap_remove(place)),
            None => Err(straight),
        }
    }
}
