//! The location service: who is registered where.
//!
//! An index in memory answers lookups; a thread writes changes to a [`LocationStore`], many in one commit. A registration is
//! applied at once to the newest state of its address-of-record (RFC 3261 §10.3, atomic per address-of-record), so lookups
//! see it before it is durable, and is answered when [`Durability`](crate::config::Durability) says so. A commit that fails takes its registrations back.
//!
//! One service holds one namespace (tenant). Every key of the store starts with it.

mod batch;
mod change;
mod commit;
mod expiry;
mod index;
mod log;
mod namespace;
mod queue;
mod record;
mod recover;
mod service;
mod sled_store;
mod store;

pub use batch::{Batch, Changes};
pub use index::Counts;
pub use log::{LogConfig, LoggedStore};
pub use namespace::Namespace;
pub use patchbay_core::registrar::Bindings;
pub use service::{
    Answer, Done, Events, LocationConfig, LocationEvent, LocationService, LocationStatistics,
    Recipient, Registered, registrar_config,
};
pub use sled_store::SledStore;
pub use store::{EachRecord, LocationStore, MemoryStore, StoreError};

/// The namespace of a router without tenants, and of those tenants that have none of their own.
pub const DEFAULT_NAMESPACE: &str = "default";
