//! Namespaces: the bindings of one tenant, which never meet those of another.

use std::fmt;
use std::sync::Arc;

use patchbay_core::registrar::RegistrarConfig;

use super::index::Index;
use super::record;

/// Shards of a namespace that is one of many. Looking for what expires looks at each of them.
const FEW_SHARDS: usize = 16;

/// The bindings of one tenant.
pub struct Namespace {
    name: Arc<str>,
    /// What its keys in the store begin with.
    prefix: Vec<u8>,
    pub(super) index: Index,
}

impl Namespace {
    /// The one that all share who have none of their own.
    pub(super) fn shared(name: &str, registrar: &RegistrarConfig) -> Arc<Namespace> {
        Namespace::with(name, Index::new(registrar))
    }

    /// A tenant's.
    pub(super) fn of_tenant(name: &str, registrar: &RegistrarConfig) -> Arc<Namespace> {
        Namespace::with(name, Index::with_shards(registrar, FEW_SHARDS))
    }

    fn with(name: &str, index: Index) -> Arc<Namespace> {
        Arc::new(Namespace {
            name: name.into(),
            prefix: record::prefix(name),
            index,
        })
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn prefix(&self) -> &[u8] {
        &self.prefix
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Namespace").field(&self.name).finish()
    }
}
