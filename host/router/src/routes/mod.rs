//! The routes of the configuration (`[[policy.route]]`): which requests other policies than the active one get, and on which terms.
//!
//! A `Table` is made of a configuration and replaced whole on a reload. Choosing among its routes is a look-up by domain or a look
//! at a short list, without a lock or memory. What a transaction was begun with is a `Chain`, which the core keeps with it: whatever
//! the operator changes meanwhile, it ends with the same versions, settings and limits.

mod chain;
mod table;
mod usage;
mod uses;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use patchbay_core::door::RouteId;

pub(crate) use chain::{Chain, Link, NoVersion, may_have};
pub(crate) use table::{Route, Table, is_same_for_instances};
pub use uses::uses_of;

/// The routes of a router. Without any, all this costs one branch per request.
#[derive(Default)]
pub struct Routes {
    /// Whether there are any: what the path of a message looks at.
    is_on: AtomicBool,
    table: ArcSwap<Table>,
}

impl Routes {
    /// Whether there are any.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// The routes as they are now.
    pub(crate) fn table(&self) -> arc_swap::Guard<Arc<Table>> {
        self.table.load()
    }

    /// The name of the route of this number.
    pub fn name_of(&self, route: RouteId) -> Option<String> {
        let table = self.table.load();
        let entry = table.by_number(route)?;
        Some(entry.route().name().to_owned())
    }

    /// The names of the routes that name this policy.
    pub fn names_of(&self, policy: &str) -> Vec<String> {
        let table = self.table.load();
        let named = table.routes().filter(|route| route.has_policy(policy));
        named.map(|route| route.name().to_owned()).collect()
    }

    /// Lets go of versions that were replaced; whether there were any. To be called now and then, off the workers.
    pub(crate) fn let_go_of_replaced(&self) -> bool {
        self.table.load().let_go_of_replaced()
    }

    /// Takes over those of a new configuration.
    pub(crate) fn replace(&self, table: Table) {
        let is_on = !table.is_empty();
        self.table.store(Arc::new(table));
        self.is_on.store(is_on, Ordering::SeqCst);
    }
}
