//! A running router: signals, reload, drain, end.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use patchbay_policy::Refusing;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::start::{self, registrar_config};
use super::{Shared, Source, StartError};
use crate::admin::{AdminThread, Endpoint};
use crate::config::{Config, Pin};
use crate::data_dir::DataDir;
use crate::hooks::HookHost;
use crate::logging;
use crate::policy_directory::{CanaryWatch, Deployments, DirectoryWatch, StartPolicyError};
use crate::routes::{Table, is_same_for_instances};
use crate::trace::TraceThread;
use crate::users::UserWatch;
use crate::worker::Workers;

/// How often a draining router looks whether it is done.
const DRAIN_STEP: Duration = Duration::from_millis(20);
/// How often is looked whether the workers are alive.
const WORKER_CHECK: Duration = Duration::from_secs(1);
/// Transactions that are looked at one by one while draining; with more of them the router is not idle.
const MAX_DRAIN_LIST: usize = 10_000;

/// The signals that end or reload a router.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Everything that lives as long as the router does.
pub(super) struct Running {
    pub(super) shared: Arc<Shared>,
    pub(super) workers: Arc<Workers>,
    /// What `init` sees.
    pub(super) init_config: Arc<ArcSwap<Config>>,
    /// Takes over the routes of a new configuration.
    pub(super) deployments: Weak<Deployments>,
    pub(super) source: Source,
    pub(super) data_dir: DataDir,
    pub(super) admin_thread: AdminThread,
    pub(super) canary_watch: CanaryWatch,
    pub(super) trace_thread: TraceThread,
    pub(super) policy_watch: DirectoryWatch,
    pub(super) user_watch: UserWatch,
}

impl Running {
    /// Runs until the end.
    pub(super) async fn live(self, mut signals: Signals) -> Result<(), StartError> {
        let ended = self.serve(&mut signals).await;
        if ended.is_ok() {
            self.drain(&mut signals).await;
        }
        self.end()?;
        ended
    }

    /// Serves until a signal says to end.
    async fn serve(&self, signals: &mut Signals) -> Result<(), StartError> {
        let mut check = interval(WORKER_CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return Ok(()),
                _ = signals.interrupt.recv() => return Ok(()),
                _ = signals.hang_up.recv() => self.reload(),
                _ = check.tick() => if !self.workers.are_alive() {
                    return Err(StartError::WorkerEnded);
                },
            }
        }
    }

    /// Reads configuration and users again; what is wrong changes nothing.
    fn reload(&self) {
        let metrics = &self.shared.metrics;
        match Config::load(self.source.file.as_deref(), &self.source.overrides) {
            Ok(config) => match self.apply(config) {
                Ok(()) => {
                    metrics.reloads.add_shared(1);
                    tracing::info!("configuration reloaded");
                }
                Err(problem) => {
                    metrics.reload_failures.add_shared(1);
                    tracing::error!(%problem, "the configuration is not reloaded");
                }
            },
            Err(problems) => {
                metrics.reload_failures.add_shared(1);
                for problem in problems.lines() {
                    tracing::error!(problem, "the configuration is not reloaded");
                }
            }
        }
        match self.shared.users.reload() {
            Ok(true) => tracing::info!(users = self.shared.users.count(), "users read"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the users are not reloaded"),
        }
    }

    fn apply(&self, new: Config) -> Result<(), StartPolicyError> {
        let old = self.shared.config.load_full();
        for key in needs_restart(&old, &new) {
            tracing::warn!(key, "a change here takes effect at the next start");
        }
        let config = Arc::new(reloaded(&old, new));
        let renews = !is_same_for_instances(&old, &config);
        self.take_policies(&config, renews)?;
        logging::set_filter(&config.log.filter);
        self.shared
            .location
            .set_registrar_config(registrar_config(&config.registrar));
        self.shared
            .policies
            .set_keeps_dialogs(config.policy.pin == Pin::Dialog);
        self.shared.traces.set_call_ring(config.policy.call_ring);
        if let Err(error) = start::open_keyvalue(&self.shared.keyvalue, &config, &self.data_dir) {
            tracing::error!(%error, "values of policies are not stored");
        }
        self.init_config.store(Arc::clone(&config));
        let routes = Table::new(&config, &self.shared, &self.shared.routes.table());
        self.shared.config.store(config);
        // The domains of new routes are ours once the workers have the configuration; a request that comes before is treated as before.
        self.shared.routes.replace(routes);
        // It takes a while, and comes before the workers have the new configuration and the old instances.
        let refusing = match renews {
            true => self.refusing_versions(),
            false => Vec::new(),
        };
        self.workers.reload();
        if renews {
            self.workers.renew_instances(&refusing);
        }
        if let Some(deployments) = self.deployments.upgrade() {
            deployments.reconsider_refused();
        }
        self.check_active();
        self.shared.policies.check_previous();
        Ok(())
    }

    /// The active version goes on whatever the new configuration says, and would not start with it if a grant or a setting that it needs is
    /// gone. A policy that a route names keeps the whole configuration from being taken over.
    fn check_active(&self) {
        let policies = &self.shared.policies;
        let Some(active) = policies.active() else {
            return;
        };
        if let Err(error) = policies.check_uses_of(&active) {
            tracing::warn!(policy = &**active.name(), policy_version = active.digest().short(), %error, "the active policy does not start with the new configuration: it goes on, and the next start of the router is refused");
        }
    }

    /// The numbers of the versions in which calls go on that no route has taken, and whose instances can't be made anew.
    fn refusing_versions(&self) -> Vec<u64> {
        let refusing = self.shared.policies.refusing();
        for Refusing {
            version,
            route,
            error,
        } in &refusing
        {
            tracing::warn!(policy = &**version.name(), policy_version = version.digest().short(), route = route.as_deref(), %error, "a version in which calls go on does not start with the new configuration: what needs a new instance of it fails; set back what it misses and reload, or let these calls end");
        }
        let unrouted = refusing.iter().filter(|refusing| refusing.route.is_none());
        unrouted.map(|refusing| refusing.version.number()).collect()
    }

    /// The active policy takes its settings, and the policies that routes name get versions, before anything else changes.
    fn take_policies(&self, config: &Arc<Config>, renews: bool) -> Result<(), StartPolicyError> {
        let Some(deployments) = self.deployments.upgrade() else {
            return Ok(());
        };
        let before = self.init_config.swap(Arc::clone(config));
        let settings = match renews {
            true => self.check_settings(),
            false => Ok(()),
        };
        let taken = settings.and_then(|()| deployments.take_routes(config));
        taken.map_err(|error| {
            self.init_config.store(before);
            let error = error.of_setting(&config.policy);
            error.in_file(self.source.file.as_deref())
        })?;
        deployments.check_shadow(&self.shared.traces);
        Ok(())
    }

    /// Instances that are made anew ask `init`: when it refuses, nobody would be served.
    fn check_settings(&self) -> Result<(), StartPolicyError> {
        let policies = &self.shared.policies;
        let Some(active) = policies.active() else {
            return Ok(());
        };
        // Its grants are another matter: without one that it needs it goes on.
        let host = HookHost::for_init(self.init_config.load_full(), active.name());
        let tried = policies.try_out(&active, host);
        tried.map_err(|error| StartPolicyError::Deploy {
            name: active.name().to_string(),
            source: error.into(),
        })
    }

    /// RFC 3261 §21.5.4: new requests outside of dialogs get 503 with Retry-After, all others are served to the end, until everything is
    /// done, the time is over, or a second signal comes.
    async fn drain(&self, signals: &mut Signals) {
        // The readiness goes first, so that nobody sends more.
        self.shared.draining.store(true, Ordering::SeqCst);
        self.workers.drain();
        let timeout = self.shared.config.load().node.drain_timeout;
        tracing::info!(timeout_secs = timeout.as_secs(), "draining");
        let deadline = Instant::now() + timeout;
        while self.is_busy().await {
            if Instant::now() >= deadline {
                tracing::warn!(
                    transactions = self.workers.counts().transactions,
                    "the drain timeout is over"
                );
                return;
            }
            tokio::select! {
                () = sleep(DRAIN_STEP) => {}
                () = signals.end() => {
                    tracing::warn!("a second signal: stopping at once");
                    return;
                }
            }
        }
    }

    /// Whether a transaction or a hook is under way. Transactions that only absorb retransmissions do not count.
    async fn is_busy(&self) -> bool {
        let counts = self.workers.counts();
        if counts.hooks > 0 {
            return true;
        }
        if counts.transactions == 0 {
            return false;
        }
        let live = self.workers.transactions(MAX_DRAIN_LIST).await;
        live.len() >= MAX_DRAIN_LIST
            || live
                .iter()
                .any(|transaction| transaction.state != "finished")
    }

    /// Ends everything in an order in which nobody misses what is gone, and writes what is left to write.
    fn end(self) -> io::Result<()> {
        Endpoint::remove(self.data_dir.path());
        drop(self.canary_watch);
        drop(self.policy_watch);
        drop(self.user_watch);
        drop(self.admin_thread);
        self.workers.stop();
        match Arc::try_unwrap(self.workers) {
            Ok(workers) => workers.join()?,
            // A request to the admin API that is just being cut off: the process ends with it.
            Err(workers) => drop(workers),
        }
        drop(self.trace_thread);
        self.shared.keyvalue.close();
        // The last user of the location service: its store is written to the end here.
        drop(self.shared);
        self.data_dir.flush()?;
        tracing::info!("ended");
        Ok(())
    }
}

/// The keys in which something changed that can't change while the router runs.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    macro_rules! changed {
        ($($section:ident.$key:ident),* $(,)?) => {
            [$((
                concat!(stringify!($section), ".", stringify!($key)),
                old.$section.$key != new.$section.$key,
            )),*]
        };
    }
    let changed = changed![
        node.name,
        node.data_dir,
        node.workers,
        node.io,
        node.spin,
        policy.directory,
        policy.active,
        policy.hook_deadline,
        policy.hook_timeout,
        policy.max_concurrent_hooks,
        policy.memory_limit,
        policy.trusted_keys,
        registrar.durability,
        auth.realm,
        auth.algorithms,
        auth.nonce_lifetime,
        admin.listen,
        admin.token_file,
        log.format,
        log.redact,
    ];
    let whole = [
        ("listen", old.listen != new.listen),
        ("tls", old.tls != new.tls),
    ];
    let all = changed.into_iter().chain(whole);
    all.filter(|(_, changed)| *changed)
        .map(|(key, _)| key)
        .collect()
}

/// The new configuration with what can't change left as it was.
fn reloaded(old: &Config, mut new: Config) -> Config {
    new.node.name.clone_from(&old.node.name);
    new.node.data_dir.clone_from(&old.node.data_dir);
    new.node.workers = old.node.workers;
    new.node.io = old.node.io;
    new.node.spin = old.node.spin;
    new.listen.clone_from(&old.listen);
    new.tls.clone_from(&old.tls);
    new.policy = crate::config::Policy {
        pin: new.policy.pin,
        call_ring: new.policy.call_ring,
        setting_places: new.policy.setting_places,
        settings: new.policy.settings,
        grants: new.policy.grants,
        routes: new.policy.routes,
        ..old.policy.clone()
    };
    new.registrar.durability = old.registrar.durability;
    new.auth = crate::config::Auth {
        registration: new.auth.registration,
        trust_udp_source: new.auth.trust_udp_source,
        ..old.auth.clone()
    };
    new.admin.clone_from(&old.admin);
    new.log = crate::config::Log {
        filter: new.log.filter,
        ..old.log.clone()
    };
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;

    fn config(text: &str) -> Config {
        Config::parse(text, "".as_ref(), &Overrides::default()).expect("valid")
    }

    #[test]
    fn settings_change_live_and_workers_do_not() {
        let old = config(
            "[node]\nname = \"a\"\nworkers = 1\n[policy.settings]\nvoicemail = \"sip:a@a\"\n",
        );
        let new = config(
            "[node]\nname = \"a\"\nworkers = 2\ndomains = [\"b.example\"]\n[auth]\nrealm = \"a\"\n[policy.settings]\nvoicemail = \"sip:b@b\"\n",
        );
        assert_eq!(needs_restart(&old, &new), ["node.workers"]);
        let reloaded = reloaded(&old, new);
        assert_eq!(reloaded.node.workers, 1);
        assert_eq!(reloaded.node.domains, ["b.example"]);
        assert_eq!(reloaded.policy.settings["voicemail"], "sip:b@b");
    }

    #[test]
    fn every_key_that_needs_a_restart_is_named() {
        let old = config("[node]\nname = \"a\"\n");
        let new = config(
            "[node]\nname = \"a\"\nio = \"epoll\"\nspin = \"0s\"\ndrain_timeout = \"1s\"\n[auth]\nnonce_lifetime = \"1m\"\n[log]\nredact = true\n[[listen]]\naddress = \"udp:127.0.0.1:0\"\n",
        );
        let keys = [
            "node.io",
            "node.spin",
            "auth.nonce_lifetime",
            "log.redact",
            "listen",
        ];
        assert_eq!(needs_restart(&old, &new), keys);
        let reloaded = reloaded(&old, new);
        assert_eq!(
            (reloaded.node.io, reloaded.node.spin),
            (old.node.io, old.node.spin)
        );
    }

    #[test]
    fn an_unchanged_configuration_needs_no_restart() {
        let config = config("[node]\nname = \"a\"\n");
        assert!(needs_restart(&config, &config).is_empty());
        assert_eq!(reloaded(&config, config.clone()), config);
    }
}
