//! Versions that are kept for the dialogs which began in them, over a restart.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{DeployError, Deployments};
use crate::policy_directory::memory::VersionName;

/// How long the start may take for that. What is compiled already is there in no time; after a change of the router, which compiles anew,
/// calls must not wait for versions of the past: those are loaded beside them.
const PATIENCE: Duration = Duration::from_secs(5);

impl Deployments {
    /// What is kept, and what is to be kept again, to be remembered.
    pub(super) fn kept_for_dialogs(&self) -> Vec<VersionName> {
        // These first: one that is kept again is here until it is there.
        let mut all = self.unresumed().clone();
        let kept = self.policies.kept_for_dialogs().into_iter();
        let kept: Vec<VersionName> = kept
            .map(|(policy, version)| VersionName::new(&policy, version.as_str()))
            .collect();
        all.retain(|name| !kept.contains(name));
        all.extend(kept);
        all
    }

    /// What was kept when the router ended and is not yet again.
    pub(super) fn unresumed(&self) -> MutexGuard<'_, Vec<VersionName>> {
        self.unresumed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was kept when the router ended, as far as that takes no long time.
    pub(super) fn resume_dialogs_soon(&self) {
        let began = Instant::now();
        self.resume_dialogs(|| began.elapsed() <= PATIENCE);
        for VersionName { policy, version } in self.unresumed().iter() {
            tracing::warn!(
                policy,
                policy_version = version,
                "there is no time to load a version for its dialogs: they go on in the active one until it is loaded"
            );
        }
    }

    /// Keeps what was kept when the router ended, the latest first, as long as that may take.
    pub(super) fn resume_dialogs(&self, goes_on: impl Fn() -> bool) {
        loop {
            let latest = self.unresumed().last().cloned();
            let Some(name) = latest.filter(|_| goes_on()) else {
                return;
            };
            if let Err(error) = self.keep_again(&name) {
                let (policy, policy_version) = (&name.policy, &name.version);
                tracing::warn!(policy, policy_version, %error, "a version does not load for its dialogs: they go on in the active one");
            }
            self.unresumed().retain(|other| *other != name);
        }
    }

    fn keep_again(&self, name: &VersionName) -> Result<(), DeployError> {
        self.load_kept(name)?;
        // In memory until it is kept: nobody waits for it to be compiled then.
        let _held = self.policies.load(&name.policy, Some(&name.version))?;
        let version = self.policies.choose(&name.policy, Some(&name.version))?;
        self.policies.keep_for_dialogs(&name.policy, &version)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use patchbay_policy::VersionState;

    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use super::super::tests::{deployments, operator, plain, policy, rule, start, start_with};
    use super::*;
    use crate::policy_directory::memory::{self, Activation};

    /// What each version of `first` is, the newest first.
    fn states(deployments: &Deployments) -> Vec<VersionState> {
        let listed = deployments.policies.list();
        let first = listed.iter().find(|policy| policy.name == "first");
        let versions = &first.expect("listed").versions;
        versions.iter().map(|version| version.state).collect()
    }

    /// Pushes a version and makes it the canary, and no more.
    fn tried(router: &Deployments, text: &str) -> u64 {
        router
            .store("first", plain(&policy(text)), &operator())
            .expect("a policy");
        router
            .begin_canary("first", None, rule(5.0), &operator())
            .expect("a canary");
        let number = router.policies.canary().expect("a canary").number();
        router.abort(None, &operator()).expect("aborted");
        number
    }

    #[test]
    fn dialogs_of_an_aborted_canary_have_their_version_after_restarts() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        let numbers = ["one", "two"].map(|text| tried(&before, text));
        let kept = before.policies.kept_for_dialogs();
        drop(before);
        for _ in 0..2 {
            let after = start(folder.path(), "").expect("a policy");
            assert_eq!(after.policies.kept_for_dialogs(), kept);
            for number in numbers {
                assert!(after.policies.by_number(number).is_some());
            }
            after.load_stored(|| false);
            after.follow();
            assert_eq!(
                states(&after),
                [
                    VersionState::Draining,
                    VersionState::Draining,
                    VersionState::Active
                ]
            );
        }
        let last = start(folder.path(), "").expect("a policy");
        let long_after = Instant::now() + Duration::from_secs(3 * 3600);
        last.policies.drop_idle(long_after);
        last.follow();
        drop(last);
        let later = start(folder.path(), "").expect("a policy");
        assert_eq!(later.policies.kept_for_dialogs(), []);
    }

    #[test]
    fn a_replaced_version_is_kept_for_pinned_dialogs_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(deployments(folder.path()));
        let pin = "pin = \"dialog\"\n";
        let before = start(folder.path(), pin).expect("a policy");
        let first = before.policies.active().expect("active").number();
        for text in ["one", "two"] {
            before
                .store("first", plain(&policy(text)), &operator())
                .expect("a policy");
            before
                .activate("first", None, &operator())
                .expect("activated");
        }
        drop(before);
        let after = start(folder.path(), pin).expect("a policy");
        assert_eq!(after.policies.kept_for_dialogs().len(), 2);
        assert!(after.policies.by_number(first).is_some());
    }

    #[test]
    fn a_damaged_version_does_not_keep_the_router_from_starting() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        let number = tried(&before, "one");
        let version = before.kept_for_dialogs().remove(0).version;
        drop(before);
        let file = format!("data/policies/versions/first/{version}.wasm");
        std::fs::write(folder.path().join(file), b"damaged").expect("write");
        let after = start(folder.path(), "").expect("a policy");
        assert!(after.policies.by_number(number).is_none());
        assert_eq!(states(&after)[1..], [VersionState::Active]);
    }

    /// What is remembered in the folder.
    fn remembered(folder: &Path) -> Activation {
        memory::remembered(&folder.join("data")).expect("an activation")
    }

    #[test]
    fn a_kill_during_the_start_takes_no_version_from_its_dialogs() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        tried(&before, "one");
        let kept = before.kept_for_dialogs();
        drop(before);
        // The changed file is remembered before the start has come to the dialogs.
        let file = folder.path().join("policies/first.wasm");
        std::fs::write(file, policy("changed")).expect("write");
        let route = "[[policy.route]]\ndomain = \"b.example\"\npolicy = \"second\"\n";
        let (data, seen) = (folder.path().to_path_buf(), Arc::new(Mutex::new(None)));
        let look = Arc::clone(&seen);
        let after = start_with(folder.path(), route, move |name| {
            if name == "second" {
                *look.lock().expect("no panic") = Some(remembered(&data));
            }
        });
        let now = after.expect("a policy").active().expect("active");
        let seen = seen
            .lock()
            .expect("no panic")
            .take()
            .expect("it was loaded");
        assert_eq!(seen.lane.active, now.name());
        assert_eq!(seen.kept, kept);
    }

    #[test]
    fn what_the_start_has_no_time_for_is_loaded_later_and_remembered_until_then() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        let number = tried(&before, "one");
        drop(before);
        let after = start(folder.path(), "").expect("a policy");
        let kept = after.kept_for_dialogs();
        let long_after = Instant::now() + Duration::from_secs(3 * 3600);
        after.policies.drop_idle(long_after);
        after.unresumed().clone_from(&kept);
        after.resume_dialogs(|| false);
        assert!(after.policies.by_number(number).is_none());
        after
            .activate("second", None, &operator())
            .expect("activated");
        assert_eq!(remembered(folder.path()).kept, kept);
        after.load_stored(|| false);
        assert!(after.policies.by_number(number).is_some());
        assert_eq!(after.kept_for_dialogs(), kept);
        assert!(after.unresumed().is_empty());
    }
}
