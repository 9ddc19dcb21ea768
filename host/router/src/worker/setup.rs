//! Starting a worker, and taking over a new configuration.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use patchbay_core::Core;
use patchbay_core::affinity::Affinity;
use patchbay_core::door::CoreConfig;
use patchbay_core::local::LocalNames;
use patchbay_message::Limits;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::driver::{Driver, Messages};
use super::event_loop::EventLoop;
use super::hand_over::HandedOver;
use super::hook_runs::HookRuns;
use super::sending::Sending;
use super::source_limit::SourceLimit;
use super::spin::{Last, Spin};
use super::{Clock, Mail, Mailbox, Status, unpredictable, wait_loop};
use crate::config::{self, Config};
use crate::hooks::Services;
use crate::metrics::MethodLabel;
use crate::resolve::Resolver;
use crate::server::Shared;
use crate::transport::{
    BoundListener, ConnectionTasks, Connections, ListenerSocket, Poller, Ring, Way, split_udp,
    wait_for_turns,
};

/// RFC 5393 §5.3.3: the recommended value.
const MAX_BREADTH: u32 = 60;
/// Long enough for a peer to find another router, short enough to come back soon.
const RETRY_AFTER_SECS: u32 = 10;
/// Messages that connections have read and the worker has not taken.
const MAX_ARRIVALS: usize = 1024;

/// What a worker begins with.
pub(super) struct Setup {
    pub(super) worker: u16,
    pub(super) shared: Arc<Shared>,
    pub(super) listeners: Vec<BoundListener>,
    pub(super) mailboxes: Vec<Mailbox>,
    pub(super) connections: Arc<Connections>,
    pub(super) clock: Clock,
    pub(super) status: Arc<Status>,
    /// Shares its buckets with those of the other workers.
    pub(super) source_limit: SourceLimit,
}

/// Workers that share a processor come one after the other. A worker that breaks into another one's turn finds few messages to handle
/// together, and each change costs what both had at hand.
fn share_processors() {
    if let Err(error) = wait_for_turns() {
        tracing::debug!(%error, "the system does not have workers take turns");
    }
}

/// Runs a worker on this thread until it is told to stop.
pub(super) fn run(setup: Setup) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(wait_loop::serve)
        .build()?;
    let node = setup.shared.config.load().node.clone();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let spin = Spin::among(node.workers, processors, node.spin);
    if node.workers > processors {
        share_processors();
    }
    runtime.block_on(async {
        let way = match ring(node.io, setup.worker, Ring::new)? {
            Some(ring) => Way::Ring(Box::new(ring)),
            None => Way::Poll(Box::new(Poller::new()?)),
        };
        let doorbell = Arc::clone(way.doorbell());
        let event_loop = event_loop(setup, way)?;
        wait_loop::run(event_loop, doorbell, spin).await;
        Ok(())
    })
}

/// The ring that a worker waits in, if it can be made; `None`: it polls.
fn ring<R>(
    wanted: config::Io,
    worker: u16,
    make: impl FnOnce() -> io::Result<R>,
) -> io::Result<Option<R>> {
    let ring = match wanted {
        config::Io::Epoll => None,
        config::Io::Uring => Some(make()?),
        config::Io::Auto => make()
            .inspect_err(|error| tracing::debug!(worker, %error, "no io_uring"))
            .ok(),
    };
    if worker == 0 {
        let io = if ring.is_some() { "uring" } else { "epoll" };
        tracing::info!(io, "workers wait for datagrams");
    }
    Ok(ring)
}

fn event_loop(setup: Setup, way: Way) -> io::Result<EventLoop> {
    let config = setup.shared.config.load_full();
    let core_config = core_config(&setup.shared, &config, setup.worker);
    let limits = message_limits(&config);
    let (arrivals_sender, arrivals) = mpsc::channel(MAX_ARRIVALS);
    let tasks = Arc::new(ConnectionTasks {
        worker: setup.worker,
        connections: Arc::clone(&setup.connections),
        arrivals: arrivals_sender,
        limits,
        metrics: Arc::clone(&setup.shared.metrics),
    });
    let mut datagrams = Vec::new();
    for listener in setup.listeners {
        match listener.socket {
            ListenerSocket::Udp(socket) => datagrams.push((listener.id, socket)),
            ListenerSocket::Stream(socket) => {
                let socket = TcpListener::from_std(socket)?;
                tokio::spawn(Arc::clone(&tasks).accept(socket, listener.id, listener.transport));
            }
        }
    }
    let (receivers, senders) = split_udp(datagrams, way)?;
    let Some(mailbox) = setup.mailboxes.get(usize::from(setup.worker)).cloned() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let names = LocalNames::of(&config.shared_domains(), &setup.shared.listeners);
    let now = setup.clock.now();
    let services = Services::new(
        Arc::clone(&setup.shared),
        setup.worker,
        setup.connections,
        names,
        setup.clock,
    );
    let workers = u16::try_from(setup.mailboxes.len()).unwrap_or(u16::MAX);
    let mut source_limit = setup.source_limit;
    source_limit.set_rate(config.limits.requests_per_source);
    let driver = Driver {
        affinity: Affinity::new(&core_config, workers),
        core: Core::new(Arc::new(core_config), unpredictable()),
        services: Arc::new(services),
        hooks: HookRuns::new(&setup.shared.policies, setup.worker, mailbox.clone()),
        sending: Sending {
            udp: senders,
            tasks,
            // The tasks that accept have not begun.
            concerns_runtime: true,
        },
        resolver: Resolver::new(setup.shared.listeners.clone()),
        limits,
        source_limit,
        hand_over: setup
            .mailboxes
            .iter()
            .map(|_| HandedOver::default())
            .collect(),
        mailboxes: setup.mailboxes,
        recipient: mailbox.recipient(),
        resolving: FuturesUnordered::new(),
        originated: HashMap::new(),
        next_originate: 0,
        messages: Messages::new(),
        method: MethodLabel::Other,
        last: Last::default(),
        now,
    };
    Ok(EventLoop {
        wall_read: driver.now.instant,
        driver,
        receivers,
        arrivals,
        may_have_arrivals: true,
        mailbox,
        mail: Mail::default(),
        events: VecDeque::new(),
        status: setup.status,
        wakes_at: None,
        woke: None,
    })
}

/// Takes over the configuration in `Shared`. The listeners stay as they are.
pub(super) fn reload(driver: &mut Driver) {
    let shared = Arc::clone(&driver.services.shared);
    let config = shared.config.load_full();
    let core_config = core_config(&shared, &config, driver.services.worker);
    driver.limits = message_limits(&config);
    driver
        .source_limit
        .set_rate(config.limits.requests_per_source);
    driver
        .services
        .connections
        .set_max(config.limits.max_connections);
    let names = LocalNames::of(&config.shared_domains(), &shared.listeners);
    driver.services.reconfigure(&config, names);
    driver.core.reconfigure(Arc::new(core_config));
}

pub(super) fn message_limits(config: &Config) -> Limits {
    Limits {
        max_message_bytes: config.limits.max_message_bytes,
        ..Limits::default()
    }
}

/// The configuration as a core sees it.
pub(super) fn core_config(shared: &Shared, config: &Config, worker: u16) -> CoreConfig {
    CoreConfig {
        node: config.node.name.clone(),
        worker,
        domains: config.all_domains(),
        tenant_domains: config.tenant_domains(),
        listeners: shared.listeners.clone(),
        token_key: shared.secrets.token_key,
        registration_required: config.auth.registration == config::Registration::Required,
        realm: config.auth.realm.clone(),
        pin_dialog: config.policy.pin == config::Pin::Dialog,
        t1: config.timers.t1,
        t2: config.timers.t2,
        t4: config.timers.t4,
        timer_c: config.timers.timer_c,
        // Calls spread evenly, so that each worker has its part of the limit.
        max_transactions: config
            .limits
            .max_transactions
            .div_ceil(config.node.workers.max(1)),
        max_branches: config.limits.max_branches,
        max_failure_rounds: config.limits.max_failure_rounds,
        max_breadth: MAX_BREADTH,
        retry_after_secs: RETRY_AFTER_SECS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Io;

    #[test]
    fn a_system_without_io_uring_gets_epoll_unless_told_otherwise() {
        let refused = || Err::<(), _>(io::ErrorKind::PermissionDenied.into());
        assert!(matches!(ring(Io::Auto, 0, refused), Ok(None)));
        assert!(ring(Io::Uring, 0, refused).is_err());
        assert!(matches!(ring(Io::Epoll, 0, || Ok(())), Ok(None)));
        for wanted in [Io::Auto, Io::Uring] {
            assert!(matches!(ring(wanted, 0, || Ok(())), Ok(Some(()))));
        }
    }
}
