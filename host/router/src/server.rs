//! Puts the router together: what all workers share, how it starts, reloads and ends.

mod lifetime;
mod open_files;
mod start;

pub(crate) use start::{auth_config, notice_of};

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use patchbay_core::auth::Authenticator;
use patchbay_core::door::Listener;
use patchbay_core::time::UnixTime;
use patchbay_policy::Policies;

use crate::config::{Config, Overrides};
use crate::data_dir::{DataDirError, Secrets};
use crate::hooks::HookHost;
use crate::keyvalue::KeyValueStore;
use crate::location::LocationService;
use crate::metrics::Metrics;
use crate::outside::HttpClient;
use crate::rollout::Rollout;
use crate::routes::Routes;
use crate::trace::Traces;
use crate::users::Users;

/// What every worker shares.
pub struct Shared {
    /// The configuration, replaced whole on a reload.
    pub config: ArcSwap<Config>,
    /// The listeners with their bound addresses, in the configuration's order.
    pub listeners: Vec<Listener>,
    /// The keys of tokens and nonces.
    pub secrets: Secrets,
    /// Who is registered where.
    pub location: Arc<LocationService>,
    /// The digest users.
    pub users: Arc<Users>,
    /// Makes and checks nonces and credentials.
    pub authenticator: Arc<Authenticator>,
    /// The policies and which of them is active.
    pub policies: Arc<Policies<HookHost>>,
    /// The version that runs some new dialogs, as far as there is one.
    pub rollout: Arc<Rollout>,
    /// Which requests other policies than the active one get.
    pub routes: Routes,
    /// Sends the requests of policies.
    pub http: HttpClient,
    /// The values of policies.
    pub keyvalue: KeyValueStore,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// What hook runs are traced for.
    pub traces: Arc<Traces>,
    /// New requests outside of dialogs are refused.
    pub draining: AtomicBool,
}

/// Where the configuration came from, to read it again.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file.
    pub file: Option<PathBuf>,
    /// What the command line changes.
    pub overrides: Overrides,
}

/// Why the router did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The file of the users.
    #[error(transparent)]
    Users(#[from] crate::users::UserFileError),
    /// The stored registrations.
    #[error("the registrations can't be read: {0}")]
    Location(#[from] crate::location::StoreError),
    /// The stored values of policies.
    #[error("the key-value store can't be read: {0}")]
    KeyValue(crate::location::StoreError),
    /// The WebAssembly engine.
    #[error(transparent)]
    Engine(#[from] patchbay_policy::EngineError),
    /// The first policy.
    #[error(transparent)]
    Policy(#[from] crate::policy_directory::StartPolicyError),
    /// A listener.
    #[error(transparent)]
    Bind(#[from] crate::transport::BindError),
    /// The listener of the admin API.
    #[error("admin.listen: can't listen on {address}: {source}")]
    Admin {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The token of the admin API.
    #[error("admin.token_file: {0}")]
    Token(String),
    /// Threads, signals, the system's random numbers.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A worker ended although nobody had told it to.
    #[error("a worker has ended unexpectedly; the log says why")]
    WorkerEnded,
}

/// Runs the router until it is told to end.
pub fn run(config: Config, source: Source) -> Result<(), StartError> {
    crate::logging::start(&config.log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Before anything else, so that no signal is missed.
        let signals = lifetime::Signals::new()?;
        let running = start::start(config, source)?;
        running.live(signals).await
    })
}

/// The wall clock, in the core's form.
pub fn unix_now() -> UnixTime {
    UnixTime(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |duration| duration.as_secs()),
    )
}
