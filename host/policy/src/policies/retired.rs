//! Versions that live on for the dialogs which began in them.
//!
//! A proxy does not know when a dialog ends: a version is kept until no hook has run in it for two hours, and only the latest few
//! are. A dialog whose version is gone goes on in the active one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::version::Version;

/// How many are kept; the oldest goes.
const MAX_RETIRED: usize = 8;
/// How long one is kept after its last hook.
const IDLE: Duration = Duration::from_secs(2 * 3600);

/// The versions that are kept, the oldest first.
pub(super) struct RetiredVersions<H: Host>(Vec<Retired<H>>);

struct Retired<H: Host> {
    version: Arc<Version<H>>,
    calls: u64,
    last_used: Instant,
}

impl<H: Host> Default for RetiredVersions<H> {
    fn default() -> RetiredVersions<H> {
        RetiredVersions(Vec::new())
    }
}

impl<H: Host> RetiredVersions<H> {
    /// Keeps a version from now on.
    pub(super) fn keep(&mut self, version: &Arc<Version<H>>, now: Instant) {
        self.remove(version.number());
        self.0.push(Retired {
            calls: calls(version),
            version: Arc::clone(version),
            last_used: now,
        });
        if self.0.len() > MAX_RETIRED {
            self.0.remove(0);
        }
    }

    /// It is in use again, or not wanted any more.
    pub(super) fn remove(&mut self, number: u64) {
        self.0.retain(|retired| retired.version.number() != number);
    }

    /// Whether it is kept.
    pub(super) fn has(&self, number: u64) -> bool {
        self.0
            .iter()
            .any(|retired| retired.version.number() == number)
    }

    /// Drops those that have not been used for long; whether there were any.
    pub(super) fn drop_idle(&mut self, now: Instant) -> bool {
        let before = self.0.len();
        for retired in &mut self.0 {
            let calls = calls(&retired.version);
            if std::mem::replace(&mut retired.calls, calls) != calls {
                retired.last_used = now;
            }
        }
        self.0
            .retain(|retired| now.saturating_duration_since(retired.last_used) < IDLE);
        self.0.len() < before
    }
}

fn calls<H: Host>(version: &Version<H>) -> u64 {
    version.stats().counts().total_calls()
}
