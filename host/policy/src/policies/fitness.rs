//! Whether the versions that are gone back to by themselves start as things are now.
//!
//! Settings, grants and routes may be others than when a version was active. An automatic rollback happens on a worker, where there is no
//! time to try: it is tried whenever the one or the other changes.

use std::sync::Arc;

use super::Policies;
use super::lanes::LaneName;
use crate::host::Host;
use crate::version::Version;

impl<H: Host> Policies<H> {
    /// Tries the versions that lanes go back to by themselves. One that does not start is not gone back to. To be called when settings,
    /// grants or routes have changed, off the workers.
    pub fn check_previous(&self) {
        for (lane, previous) in self.previous_versions() {
            let refused = self.check_uses_of(&previous).err();
            let is_unfit = refused.is_some();
            let mut registry = self.lock();
            let Some(lane) = registry.lane(&lane) else {
                continue;
            };
            let was_unfit = lane.unfit == Some(previous.number());
            lane.unfit = is_unfit.then(|| previous.number());
            drop(registry);
            if let Some(error) = refused.filter(|_| !was_unfit) {
                let (policy, policy_version) = (&**previous.name(), previous.digest().short());
                tracing::warn!(policy, policy_version, %error, "the version before does not start with what is configured now: nothing is rolled back to it");
            }
        }
    }

    fn previous_versions(&self) -> Vec<(LaneName, Arc<Version<H>>)> {
        let mut registry = self.lock();
        let names = registry.lane_names().into_iter();
        names
            .filter_map(|name| {
                let previous = registry.lane(&name)?.previous.clone()?;
                Some((name, previous))
            })
            .collect()
    }
}
