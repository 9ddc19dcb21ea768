//! Reading the store into memory at the start, every namespace of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use patchbay_core::door::{Flow, ListenerId, Transport};
use patchbay_core::registrar::{Bindings, ContactBinding, RegistrarConfig};
use patchbay_core::time::UnixTime;
use patchbay_message::AddressOfRecord;

use super::batch::Batch;
use super::namespace::Namespace;
use super::record;
use super::service::{LocationConfig, Reports};
use super::store::{LocationStore, StoreError};

/// Expired records that are removed in one commit at the start.
const SWEEP_RECORDS: usize = 10_000;

/// The namespaces while the service is opened.
pub(super) struct Namespaces {
    pub(super) shared: Arc<Namespace>,
    pub(super) all: BTreeMap<Arc<str>, Arc<Namespace>>,
    pub(super) registrar: RegistrarConfig,
}

impl Namespaces {
    pub(super) fn new(config: &LocationConfig) -> Namespaces {
        let shared = Namespace::shared(&config.namespace, &config.registrar);
        Namespaces {
            all: BTreeMap::from([(Arc::clone(shared.name()), Arc::clone(&shared))]),
            shared,
            registrar: config.registrar.clone(),
        }
    }

    fn of_name(&mut self, name: &str) -> &Arc<Namespace> {
        let registrar = &self.registrar;
        let new = || Namespace::of_tenant(name, registrar);
        self.all.entry(name.into()).or_insert_with(new)
    }
}

/// Reads the store into the indexes of its namespaces.
pub(super) fn recover(
    store: &mut dyn LocationStore,
    config: &LocationConfig,
    namespaces: &mut Namespaces,
    reports: &Reports,
    now: UnixTime,
) -> Result<(), StoreError> {
    let mut expired = Vec::new();
    store.load(&[], &mut |key, value| {
        let Some((namespace, aor, bindings)) = recovered(key, value, config) else {
            reports.damaged_records.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let namespace = namespaces.of_name(namespace);
        let live: Bindings = bindings
            .into_iter()
            .filter(|binding| binding.is_live(now))
            .collect();
        if live.is_empty() && value.is_some() {
            expired.push((Arc::clone(namespace), aor.clone()));
        }
        if let Some(mut locked) = namespace.index.lock(&aor) {
            locked.replace(live);
        }
    })?;
    sweep(store, expired)
}

/// Removes records of which nothing is left; a later one may have taken the place of one that had expired.
fn sweep(
    store: &mut dyn LocationStore,
    expired: Vec<(Arc<Namespace>, AddressOfRecord)>,
) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    for (namespace, aor) in expired {
        if namespace
            .index
            .lock(&aor)
            .is_some_and(|locked| locked.bindings().is_empty())
        {
            batch.push_change(
                &[namespace.prefix(), aor.as_str().as_bytes()].concat(),
                None,
            );
        }
        if batch.len() >= SWEEP_RECORDS {
            store.commit(&batch)?;
            batch.clear();
        }
    }
    store.commit(&batch)
}

fn recovered<'k>(
    key: &'k [u8],
    value: Option<&[u8]>,
    config: &LocationConfig,
) -> Option<(&'k str, AddressOfRecord, Vec<ContactBinding>)> {
    let (namespace, aor) = record::parts(key)?;
    let bindings = match value {
        Some(value) => record::decode(value)?,
        None => Vec::new(),
    };
    let bindings = bindings
        .iter()
        .map(|binding| binding.with_listener(listener_of(binding.flow(), config)))
        .collect();
    Some((namespace, AddressOfRecord::from_canonical(aor), bindings))
}

/// A connection ended with its process; over UDP any socket on the same address is the same flow.
fn listener_of(flow: Option<Flow>, config: &LocationConfig) -> Option<ListenerId> {
    let flow = flow.filter(|flow| flow.transport == Transport::Udp)?;
    let at = config.listeners.iter().position(|listener| {
        let (bound, ours) = (listener.address, flow.local);
        let same_address = bound.ip() == ours.ip()
            || (bound.ip().is_unspecified() && bound.is_ipv4() == ours.is_ipv4());
        listener.transport == Transport::Udp && same_address && bound.port() == ours.port()
    });
    Some(ListenerId(u16::try_from(at?).ok()?))
}
