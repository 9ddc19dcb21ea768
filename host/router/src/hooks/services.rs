//! What the hooks of one worker share.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use patchbay_core::local::LocalNames;
use patchbay_core::time::{Instant, Now};
use patchbay_message::Uri;
use rand::RngCore;
use rand::rngs::StdRng;

use super::log_budget::{Line, LogBudget};
use super::timers::{PolicyTimers, TimerOwner, TimerRefusal};
use crate::config::{Config, Registration};
use crate::server::Shared;
use crate::transport::Connections;
use crate::worker::{Clock, generator};

/// What the hooks of one worker share. The locks in it are taken by that worker's thread only, so that nobody ever waits.
pub(crate) struct Services {
    /// What all workers share.
    pub(crate) shared: Arc<Shared>,
    /// The worker.
    pub(crate) worker: u16,
    /// To know whether a flow lives.
    pub(crate) connections: Arc<Connections>,
    /// Which hosts are ours; replaced on a reload.
    names: ArcSwap<LocalNames>,
    /// `auth.registration`, which each REGISTER asks for; replaced with them. A hook that runs while a configuration is replaced may see this of
    /// the old one and the rest of the new one.
    requires_registration: AtomicBool,
    /// The worker's clock.
    pub(crate) clock: Clock,
    log_budget: LogBudget,
    random: Mutex<StdRng>,
    timers: Mutex<PolicyTimers>,
    /// When the next of them ends, in microseconds, for a look without a lock.
    next_timer: AtomicU64,
}

/// No timer is set.
const NO_TIMER: u64 = u64::MAX;

impl Services {
    /// The services of a worker.
    pub(crate) fn new(
        shared: Arc<Shared>,
        worker: u16,
        connections: Arc<Connections>,
        names: LocalNames,
        clock: Clock,
    ) -> Services {
        let requires_registration = is_required(&shared.config.load());
        Services {
            requires_registration: AtomicBool::new(requires_registration),
            shared,
            worker,
            connections,
            names: ArcSwap::from_pointee(names),
            clock,
            log_budget: LogBudget::default(),
            random: Mutex::new(generator()),
            timers: Mutex::default(),
            next_timer: AtomicU64::new(NO_TIMER),
        }
    }

    /// With these random numbers instead of unpredictable ones.
    pub(crate) fn with_random(self, random: StdRng) -> Services {
        Services {
            random: Mutex::new(random),
            ..self
        }
    }

    /// The configuration as it is now.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.shared.config.load_full()
    }

    /// Whether a URI is one of ours, for a message that came to this address.
    pub(crate) fn is_local(&self, uri: &Uri<'_>, local: IpAddr) -> bool {
        self.names.load().is_local(uri, local)
    }

    /// Whether REGISTER needs verified credentials.
    pub(crate) fn requires_registration(&self) -> bool {
        self.requires_registration.load(Ordering::Relaxed)
    }

    /// Takes over a new configuration, and its names.
    pub(crate) fn reconfigure(&self, config: &Config, names: LocalNames) {
        let required = is_required(config);
        self.requires_registration
            .store(required, Ordering::Relaxed);
        self.names.store(Arc::new(names));
    }

    /// 64 unpredictable bits.
    pub(crate) fn random_u64(&self) -> u64 {
        self.random
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next_u64()
    }

    /// Whether a line about policies may be written now; says how many were left out before.
    pub(crate) fn may_log(&self, now: Now) -> bool {
        match self.log_budget.take(now.unix.0) {
            Line::Written => true,
            Line::WrittenAfter(lines) => {
                tracing::warn!(lines, "too many log lines of policies: some were left out");
                true
            }
            Line::LeftOut => false,
        }
    }

    /// Sets a timer of a policy, anew when there is one of that name.
    pub(crate) fn set_timer(
        &self,
        owner: Option<TimerOwner>,
        name: &str,
        delay: Duration,
    ) -> Result<(), TimerRefusal> {
        let now = self.clock.instant();
        self.with_timers(|timers| timers.set(owner, name, now, delay))
    }

    /// Cancels a timer of a policy; `false` when there is none of that name.
    pub(crate) fn cancel_timer(&self, owner: &Option<TimerOwner>, name: &str) -> bool {
        self.with_timers(|timers| timers.cancel(owner, name))
    }

    /// When the next timer of a policy ends.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        match self.next_timer.load(Ordering::Relaxed) {
            NO_TIMER => None,
            moment => Some(Instant(moment)),
        }
    }

    /// Takes the timers of policies that have ended.
    pub(crate) fn take_due_timers(
        &self,
        now: Instant,
        mut take: impl FnMut(Option<TimerOwner>, String),
    ) {
        self.with_timers(|timers| {
            while let Some((owner, name)) = timers.take_due(now) {
                take(owner, name);
            }
        });
    }

    fn with_timers<T>(&self, change: impl FnOnce(&mut PolicyTimers) -> T) -> T {
        let mut timers = self.timers.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut timers);
        let next = timers.next().map_or(NO_TIMER, |moment| moment.0);
        self.next_timer.store(next, Ordering::Relaxed);
        changed
    }
}

fn is_required(config: &Config) -> bool {
    config.auth.registration == Registration::Required
}
