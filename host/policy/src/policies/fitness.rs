//! Whether versions beside the active ones start as things are now: those that are gone back to, and those in which calls go on.
//!
//! Settings, grants and routes may be others than when a version was active. An automatic rollback happens on a worker, where there is no
//! time to try: it is tried whenever the one or the other changes.

use std::sync::Arc;

use super::lanes::LaneName;
use super::{Policies, Use};
use crate::engine::LoadError;
use crate::host::Host;
use crate::version::Version;

/// A version in which transactions or dialogs go on, which is not active, and of which no new instance starts as things are now.
pub struct Refusing<H: Host> {
    /// The version.
    pub version: Arc<Version<H>>,
    /// The route of the configuration that it does not start for; `None`: the requests that no route takes.
    pub route: Option<String>,
    /// Why.
    pub error: LoadError,
}

impl<H: Host> Policies<H> {
    /// Tries the versions in which transactions or dialogs go on though they are not active. What they are granted is another matter: they go
    /// on without it. To be called when settings or routes have changed, off the workers.
    pub fn refusing(&self) -> Vec<Refusing<H>> {
        let table = self.table.load_full();
        let going_on = table.iter().filter(|version| {
            let number = version.number();
            !self.is_active(number) && (version.pinned() > 0 || self.lock().is_kept(number))
        });
        let mut refusing = Vec::new();
        for version in going_on {
            for Use { route, host } in (self.uses)(version.name()) {
                let refused = self.try_out(version, host).err();
                if let Some(error) = refused.filter(|error| !error.is_of_the_machine()) {
                    let version = Arc::clone(version);
                    refusing.push(Refusing {
                        version,
                        route,
                        error,
                    });
                }
            }
        }
        refusing
    }

    /// Tries the versions that lanes go back to by themselves. One that does not start is not gone back to. To be called when settings,
    /// grants or routes have changed, off the workers.
    pub fn check_previous(&self) {
        let lanes = self.lock().lane_names();
        self.check_previous_in(lanes);
    }

    /// The same for some lanes.
    pub(super) fn check_previous_in(&self, lanes: Vec<LaneName>) {
        for (lane, previous) in self.previous_versions(lanes) {
            let refused = self.check_uses_of(&previous).err();
            // It may well start when it is needed.
            if refused.as_ref().is_some_and(LoadError::is_of_the_machine) {
                continue;
            }
            let is_unfit = refused.is_some();
            let mut registry = self.lock();
            let Some(lane) = registry.lane(&lane) else {
                continue;
            };
            let is_previous = |now: &Arc<Version<H>>| now.number() == previous.number();
            if !lane.previous.as_ref().is_some_and(is_previous) {
                continue;
            }
            let was_unfit = lane.unfit == Some(previous.number());
            lane.unfit = is_unfit.then(|| previous.number());
            drop(registry);
            if let Some(error) = refused.filter(|_| !was_unfit) {
                let (policy, policy_version) = (&**previous.name(), previous.digest().short());
                tracing::warn!(policy, policy_version, %error, "the version before does not start with what is configured now: nothing is rolled back to it");
            }
        }
    }

    fn previous_versions(&self, lanes: Vec<LaneName>) -> Vec<(LaneName, Arc<Version<H>>)> {
        let mut registry = self.lock();
        lanes
            .into_iter()
            .filter_map(|name| {
                let previous = registry.lane(&name)?.previous.clone()?;
                Some((name, previous))
            })
            .collect()
    }
}
