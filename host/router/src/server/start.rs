//! From a configuration to a running router.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use patchbay_core::auth::{Algorithm, AuthConfig, Authenticator};
use patchbay_core::door::Listener;
use patchbay_core::registrar::{ChangeKind, RegistrarConfig};
use patchbay_core::time::UnixTime;
use patchbay_policy::{Engine, EngineConfig, Event, Policies, RegistrationEvent};
use rand::TryRngCore;

use super::lifetime::Running;
use super::{Shared, Source, StartError, open_files, unix_now};
use crate::admin::{Admin, AdminThread, Endpoint};
use crate::config::{
    self, Config, DigestAlgorithm, Durability, Registrar, Registration, transport_name,
};
use crate::data_dir::DataDir;
use crate::hooks::HookHost;
use crate::keyvalue::{self, KeyValueStore};
use crate::location::{
    Events, LocationConfig, LocationEvent, LocationService, LocationStore, LogConfig, LoggedStore,
    SledStore,
};
use crate::metrics::Metrics;
use crate::outside::HttpClient;
use crate::policy_directory::{CanaryWatch, Deployments, DirectoryWatch, StartPolicyError};
use crate::rollout::Rollout;
use crate::routes::{Routes, Table, uses_of};
use crate::trace::{TraceThread, Traces};
use crate::transport::{self, BoundListener};
use crate::users::{UserFile, UserWatch, Users};
use crate::worker::{self, Addressee, Notice, Workers};

/// Registration events that wait for the policy; more are lost and counted.
const MAX_LOCATION_EVENTS: usize = 10_000;

/// Starts everything. Whatever is wrong ends it before the first packet is taken.
pub(super) fn start(config: Config, source: Source) -> Result<Running, StartError> {
    let started = Instant::now();
    warn_of(&config);
    open_files::take_all(config.limits.max_connections);
    let token = config
        .admin
        .token_file
        .as_deref()
        .map(config::token)
        .transpose()
        .map_err(StartError::Token)?;
    let data_dir = DataDir::open(&config.node.data_dir)?;
    let token_file = config.admin.token_file.iter().cloned();
    token_file
        .chain([data_dir.secrets_file()])
        .for_each(|path| warn_of_readers(&path));
    let users = Arc::new(Users::open(UserFile::in_directory(data_dir.path()))?);
    let metrics = Arc::new(Metrics::new(config.node.workers));
    let init_config = Arc::new(ArcSwap::from_pointee(config.clone()));
    let engine = Engine::new(engine_config(&config, &data_dir))?;
    let policies = Arc::new(policies(&engine, &init_config));
    let rollout = Arc::new(Rollout::default());
    let deployments = Deployments::start(
        Arc::clone(&policies),
        Arc::clone(&metrics),
        Arc::clone(&rollout),
        &config,
        &data_dir,
    );
    let in_file = |error: StartPolicyError| error.in_file(source.file.as_deref());
    let deployments = Arc::new(deployments.map_err(in_file)?);

    let bound = transport::bind(&config.listen, config.node.workers)?;
    let listeners: Vec<Listener> = bound.first().into_iter().flatten().map(listener).collect();
    let admin_listener =
        TcpListener::bind(config.admin.listen).map_err(|source| StartError::Admin {
            address: config.admin.listen,
            source,
        })?;
    let (location, events) = location(&config, &data_dir, &listeners, Arc::clone(&policies))?;
    let keyvalue = KeyValueStore::default();
    open_keyvalue(&keyvalue, &config, &data_dir)?;
    let shared = Arc::new(Shared {
        http: HttpClient::default(),
        keyvalue,
        listeners: listeners.clone(),
        secrets: data_dir.secrets().clone(),
        location: Arc::new(location),
        authenticator: Arc::new(Authenticator::new(
            data_dir.secrets().nonce_key,
            auth_config(&config),
        )),
        users: Arc::clone(&users),
        policies,
        rollout,
        routes: Routes::default(),
        metrics,
        traces: Arc::new(Traces::new(
            config.node.workers,
            listeners.clone(),
            config.policy.call_ring,
        )),
        draining: AtomicBool::new(false),
        config: ArcSwap::from_pointee(config),
    });
    let routes = Table::new(&shared.config.load(), &shared, &Table::default());
    shared.routes.replace(routes);
    let trace_thread = TraceThread::start(Arc::clone(&shared.traces))?;
    let workers = Arc::new(worker::start(&shared, bound)?);
    post_events(events, Arc::downgrade(&workers))?;

    let address = admin_listener.local_addr()?;
    let admin = Arc::new(Admin {
        shared: Arc::clone(&shared),
        workers: Arc::clone(&workers),
        deployments: Arc::clone(&deployments),
        recordings: data_dir.recordings(),
        started,
        ready: AtomicBool::new(false),
        address,
        token,
        local_token: random_token()?,
    });
    Endpoint {
        address,
        token: admin.local_token.clone(),
    }
    .write(data_dir.path())?;
    let admin_thread = AdminThread::start(Arc::clone(&admin), admin_listener)?;
    let canary_watch = CanaryWatch::start(Arc::downgrade(&deployments))?;
    let routed = Arc::downgrade(&deployments);
    let free = free_replaced(Arc::downgrade(&shared), Arc::downgrade(&workers));
    let policy_watch = DirectoryWatch::start(deployments, free)?;
    let user_watch = UserWatch::start(users)?;
    log_listeners(&shared.listeners, &admin);
    admin.ready.store(true, Ordering::Relaxed);
    drop(admin);
    Ok(Running {
        shared,
        workers,
        init_config,
        deployments: routed,
        source,
        data_dir,
        admin_thread,
        canary_watch,
        trace_thread,
        policy_watch,
        user_watch,
    })
}

/// Frees what versions leave behind that nobody needs any more: where they were kept for routes without requests, and their instances on
/// workers that have nothing to do.
fn free_replaced(shared: Weak<Shared>, workers: Weak<Workers>) -> impl FnMut() + Send + 'static {
    let (mut seen, mut again) = (0, false);
    move || {
        // What is gone has freed it.
        let (Some(shared), Some(workers)) = (shared.upgrade(), workers.upgrade()) else {
            return;
        };
        let was_held = shared.routes.let_go_of_replaced();
        shared.policies.let_go();
        let freed = shared.policies.freed();
        let is_freed = std::mem::replace(&mut seen, freed) != freed || was_held;
        // Twice: what one worker still held when another looked is gone by then.
        if std::mem::replace(&mut again, is_freed) || is_freed {
            workers.sweep();
        }
    }
}

fn warn_of(config: &Config) {
    if config.auth.registration == Registration::Open {
        tracing::warn!(
            "registration is open: anybody can register any address-of-record; auth.registration = \"required\" asks for passwords"
        );
    }
}

/// Whoever can read a key or a token can use it.
fn warn_of_readers(path: &Path) {
    if std::fs::metadata(path).is_ok_and(|file| file.mode() & 0o007 != 0) {
        tracing::warn!(path = %path.display(), "everybody on this machine can read this file, which is a secret: chmod 600");
    }
}

/// Opens the store of policies where it is granted: who grants nothing needs none of its threads and caches.
pub(super) fn open_keyvalue(
    keyvalue: &KeyValueStore,
    config: &Config,
    data_dir: &DataDir,
) -> Result<(), StartError> {
    if !config.grants_keyvalue() || keyvalue.is_open() {
        return Ok(());
    }
    let store = SledStore::tree(data_dir.store()?, keyvalue::TREE).map_err(StartError::KeyValue)?;
    let now_ms = unix_now().0.saturating_mul(1000);
    keyvalue
        .open(Box::new(store), now_ms)
        .map_err(StartError::KeyValue)
}

fn engine_config(config: &Config, data_dir: &DataDir) -> EngineConfig {
    EngineConfig {
        cache_dir: Some(data_dir.policy_cache()),
        memory_limit: config.policy.memory_limit,
        hook_deadline: config.policy.hook_deadline,
        hook_timeout: config.policy.hook_timeout,
        max_concurrent_hooks: config.policy.max_concurrent_hooks,
        workers: config.node.workers,
        ..EngineConfig::default()
    }
}

fn policies(engine: &Engine<HookHost>, config: &Arc<ArcSwap<Config>>) -> Policies<HookHost> {
    let config = Arc::clone(config);
    Policies::with_uses(engine.clone(), move |name| {
        uses_of(&config.load_full(), name)
    })
}

fn listener(bound: &BoundListener) -> Listener {
    Listener {
        transport: bound.transport,
        address: bound.address,
        advertise: bound.advertise.clone(),
    }
}

fn location(
    config: &Config,
    data_dir: &DataDir,
    listeners: &[Listener],
    policies: Arc<Policies<HookHost>>,
) -> Result<(LocationService, Receiver<LocationEvent>), StartError> {
    let (sender, events) = sync_channel(MAX_LOCATION_EVENTS);
    let store: Option<Box<dyn LocationStore>> = match config.registrar.durability {
        Durability::Memory => None,
        Durability::Batched | Durability::Relaxed => {
            let store = SledStore::new(data_dir.store()?)?;
            let folder = data_dir.registrations();
            Some(Box::new(LoggedStore::open(
                &folder,
                store,
                LogConfig::default(),
            )?))
        }
    };
    let location_config = LocationConfig {
        registrar: registrar_config(&config.registrar),
        durability: config.registrar.durability,
        listeners: listeners.to_vec(),
        events: Some(Events {
            sender,
            wanted: Arc::new(move || policies.hears_events()),
        }),
        ..LocationConfig::default()
    };
    Ok((LocationService::open(store, location_config)?, events))
}

/// The limits of `[registrar]` as the rule takes them.
pub(super) fn registrar_config(registrar: &Registrar) -> RegistrarConfig {
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    RegistrarConfig {
        default_expires_secs: seconds(registrar.default_expires),
        min_expires_secs: seconds(registrar.min_expires),
        max_expires_secs: seconds(registrar.max_expires),
        max_contacts: registrar.max_contacts,
    }
}

/// `[auth]` as an authenticator takes it.
pub(crate) fn auth_config(config: &Config) -> AuthConfig {
    let algorithm = |algorithm: &DigestAlgorithm| match algorithm {
        DigestAlgorithm::Md5 => Algorithm::Md5,
        DigestAlgorithm::Sha256 => Algorithm::Sha256,
        DigestAlgorithm::Sha512_256 => Algorithm::Sha512_256,
    };
    AuthConfig {
        realm: config.auth.realm.clone(),
        algorithms: config.auth.algorithms.iter().map(algorithm).collect(),
        nonce_lifetime: config.auth.nonce_lifetime,
        ..AuthConfig::default()
    }
}

/// Hands what happens to registrations to the policy's `event-route`, until the location service ends.
fn post_events(events: Receiver<LocationEvent>, workers: Weak<Workers>) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("events".to_owned());
    thread.spawn(move || {
        for event in events {
            let Some(workers) = workers.upgrade() else {
                return;
            };
            // What finds too many waiting is counted by the worker.
            let _ = workers.post_event(notice_of(&event, unix_now()));
        }
    })?;
    Ok(())
}

/// An event of the location service, and whom it concerns.
pub(crate) fn notice_of(event: &LocationEvent, now: UnixTime) -> Notice {
    Notice {
        to: Addressee::Registration {
            namespace: Arc::clone(&event.namespace),
            domain: event.aor.host().to_owned(),
        },
        event: policy_event(event, now),
    }
}

/// The same as `event-route` sees it.
fn policy_event(event: &LocationEvent, now: UnixTime) -> Event {
    let registration = RegistrationEvent {
        aor: event.aor.as_str().to_owned(),
        contact: String::from_utf8_lossy(event.binding.uri()).into_owned(),
        expires_secs: event.binding.remaining_secs(now),
    };
    match event.kind {
        ChangeKind::Added => Event::RegistrationAdded(registration),
        ChangeKind::Refreshed => Event::RegistrationRefreshed(registration),
        ChangeKind::Removed => Event::RegistrationRemoved(RegistrationEvent {
            expires_secs: 0,
            ..registration
        }),
        ChangeKind::Expired => Event::RegistrationExpired(RegistrationEvent {
            expires_secs: 0,
            ..registration
        }),
    }
}

fn random_token() -> std::io::Result<String> {
    let mut bytes = [0; 32];
    rand::rngs::OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(std::io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn log_listeners(listeners: &[Listener], admin: &Admin) {
    for listener in listeners {
        tracing::info!(transport = %transport_name(listener.transport), address = %listener.address, "listening");
    }
    tracing::info!(transport = %"http", address = %admin.address, "listening");
}
