//! Puts the router together: what all workers share, how it starts, reloads and ends.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use patchbay_core::auth::Authenticator;
use patchbay_core::door::Listener;
use patchbay_policy::Policies;

use crate::config::Config;
use crate::data_dir::Secrets;
use crate::hooks::HookHost;
use crate::location::LocationService;
use crate::metrics::Metrics;
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
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// New requests outside of dialogs are refused.
    pub draining: AtomicBool,
}
