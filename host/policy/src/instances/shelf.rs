//! Instances that wait for a hook.

use std::sync::{Arc, Weak};

use crate::host::Host;
use crate::instance::Instance;
use crate::scope::Scope;
use crate::version::Version;

/// Idle instances that are kept per version.
pub(super) const MAX_IDLE: usize = 64;
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

    /// Whether the next hook is to run on a fiber.
    pub(super) fn is_on_fibers(&mut self) -> bool {
        let is_on_fibers = self.on_fibers > 0;
        self.on_fibers = self.on_fibers.saturating_sub(1);
        is_on_fibers
    }

    /// An idle instance whose hooks are called straight, or on a fiber.
    #[inline]
    pub(super) fn take(&mut self, straight: bool) -> Option<Instance<H>> {
        let fits = |instance: &Instance<H>| instance.is_straight() == straight;
        let place = self.idle.iter().rposition(fits)?;
        Some(self.idle.swap_remove(place))
    }

    /// Keeps an instance where there is room; one whose hooks are called straight has it before others. Whether there is one more.
    #[inline]
    pub(super) fn put(&mut self, instance: Instance<H>) -> bool {
        if self.idle.len() < MAX_IDLE {
            self.idle.push(instance);
            return true;
        }
        let other = self.idle.iter_mut().find(|other| !other.is_straight());
        if let Some(other) = other.filter(|_| instance.is_straight()) {
            *other = instance;
        }
        false
    }
}
