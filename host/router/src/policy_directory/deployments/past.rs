//! What is kept of the past of the active versions over a restart.

use std::sync::atomic::Ordering;

use patchbay_policy::Digest;

use super::{Deployed, Deployments};
use crate::policy_directory::memory::{Activation, RememberedLane, VersionName};

impl Deployments {
    /// An active version, of the routes that name this policy or else of the requests that no route takes, with its past.
    pub(super) fn remembered_lane(
        &self,
        policy: Option<&str>,
        active: &Deployed,
    ) -> RememberedLane {
        let file = self.file_digest(&active.policy);
        RememberedLane::new(active.name(), &self.policies.history(policy), file)
    }

    /// Remembers what is active. The router goes on when that fails, and tries again until it is done: a full disk must keep nobody from
    /// leaving a version that fails.
    pub(super) fn save(&self, state: &mut Activation) {
        state.kept = self.kept_for_dialogs();
        match self.activation.write(state) {
            Ok(()) if self.unsaved.swap(false, Ordering::SeqCst) => {
                tracing::info!("what is active is remembered again");
            }
            Ok(()) => {}
            Err(error) if self.unsaved.swap(true, Ordering::SeqCst) => {
                tracing::debug!(%error, "what is active can't be remembered yet");
            }
            Err(error) => {
                tracing::error!(path = %self.activation.0.display(), %error, "what is active can't be remembered over a restart: that is tried again and again");
            }
        }
    }

    /// Remembers what could not be before, and what has changed by itself.
    pub(super) fn save_anew(&self) {
        if let Some(state) = &mut *self.lock()
            && (!self.is_remembered() || state.kept != self.kept_for_dialogs())
        {
            self.save(state);
        }
    }

    /// Whether the next start knows what is active now; false while the data directory can't be written.
    pub fn is_remembered(&self) -> bool {
        !self.unsaved.load(Ordering::SeqCst)
    }

    /// The versions that are not rolled back by themselves again.
    pub(super) fn rolled_back_versions(&self) -> Vec<String> {
        let digests = self.policies.rolled_back();
        digests.iter().map(Digest::to_string).collect()
    }

    /// Remembers that a version was rolled back by itself, also when an operator has already activated another one.
    pub(super) fn remember_rolled_back(&self, state: &mut Option<Activation>) {
        let Some(activation) = state else { return };
        let rolled_back = self.rolled_back_versions();
        if activation.rolled_back != rolled_back {
            activation.rolled_back = rolled_back;
            self.save(activation);
        }
    }

    /// Loads where a rollback leads: soon after a start that has not come to it yet.
    pub(super) fn load_before(&self, policy: Option<&str>) {
        let routed = policy.filter(|policy| self.policies.is_routed(policy));
        let before = self.policies.history(routed).before;
        for (policy, version) in before.iter().rev() {
            if self.policies.is_stored(policy, version) {
                return;
            }
            match self.load_kept(&VersionName::new(policy, version.as_str())) {
                Ok(()) if self.policies.is_stored(policy, version) => return,
                // The embedded policy is another one than it was.
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(policy, policy_version = version.short(), %error, "a version that was active before does not load");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use super::super::tests::{deployments, edit, operator, plain, policy, start};
    use super::*;
    use crate::policy_directory::audit::unix_secs;

    /// Stores a version of `first` and makes it active.
    fn push(deployments: &Deployments, text: &str) -> Deployed {
        deployments
            .store("first", plain(&policy(text)), &operator())
            .expect("a policy");
        activate(deployments, text)
    }

    fn activate(deployments: &Deployments, text: &str) -> Deployed {
        let version = Digest::of(&policy(text));
        deployments
            .activate("first", Some(version.as_str()), &operator())
            .expect("activated")
            .active
    }

    /// The active version fails for several sources; whether it is rolled back.
    fn fail(deployments: &Deployments) -> bool {
        let number = deployments.policies.active().expect("active").number();
        let now = Instant::now();
        let rollbacks = (1..=6)
            .filter_map(|last| {
                let source = [192, 0, 2, last].into();
                deployments.policies.report_fault(number, source, now)
            })
            .count();
        deployments.follow();
        rollbacks > 0
    }

    fn restart(deployments: Deployments, folder: &Path) -> Deployments {
        drop(deployments);
        start(folder, "").expect("a policy")
    }

    #[test]
    fn a_restart_is_no_new_activation() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        let pushed = push(&before, "pushed");
        drop(before);
        edit(folder.path(), |remembered| {
            remembered["activated_at"] = (unix_secs() - 31).into();
        });
        let after = start(folder.path(), "").expect("a policy");
        assert!(!fail(&after), "the time after its activation is over");
        assert_eq!(after.active(), Some(pushed));
        let listed = &after.policies.list()[0].versions;
        assert!(listed.iter().any(|version| version.alarms == 1));
    }

    #[test]
    fn a_version_that_fails_at_once_is_rolled_back_also_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        let first = before.active();
        push(&before, "pushed");
        drop(before);
        // Soon after the activation, however long the start takes.
        edit(folder.path(), |remembered| {
            remembered["activated_at"] = (unix_secs() + 20).into();
        });
        let after = start(folder.path(), "").expect("a policy");
        assert!(fail(&after));
        assert_eq!(after.active(), first);
    }

    #[test]
    fn what_an_earlier_router_activated_is_not_rolled_back_by_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        let first = before.active();
        push(&before, "pushed");
        drop(before);
        edit(folder.path(), |remembered| {
            let fields = remembered.as_object_mut().expect("an object");
            fields.remove("activated_at");
            fields.remove("history");
        });
        let after = start(folder.path(), "").expect("a policy");
        assert!(!fail(&after));
        after.rollback(None, &operator()).expect("back");
        assert_eq!(after.active(), first);
    }

    #[test]
    fn a_version_is_rolled_back_by_itself_once_over_restarts() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        let pushed = push(&before, "pushed");
        assert!(fail(&before));
        let after = restart(before, folder.path());
        assert_ne!(after.active(), Some(pushed.clone()));
        after.load_stored(|| false);
        activate(&after, "pushed");
        assert!(!fail(&after), "who activates it again means it");
        let later = restart(after, folder.path());
        assert!(!fail(&later));
        assert_eq!(later.active(), Some(pushed));
    }

    #[test]
    fn what_can_not_be_remembered_is_done_and_remembered_as_soon_as_it_can_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        let obstacle = folder.path().join("data/policies/active.new");
        std::fs::create_dir(&obstacle).expect("a folder");
        let pushed = push(&before, "pushed");
        assert_eq!(before.active(), Some(pushed.clone()));
        assert!(!before.is_remembered());
        before.follow();
        assert!(!before.is_remembered());
        std::fs::remove_dir(&obstacle).expect("it was there");
        before.follow();
        assert!(before.is_remembered());
        let after = restart(before, folder.path());
        assert_eq!(after.active(), Some(pushed));
    }

    #[test]
    fn rollbacks_go_as_far_back_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        let first = before.active();
        let pushed: Vec<_> = ["one", "two", "three"]
            .map(|text| Some(push(&before, text)))
            .to_vec();
        let mut router = restart(before, folder.path());
        for expected in [&pushed[1], &pushed[0], &first] {
            router.rollback(None, &operator()).expect("back");
            assert_eq!(router.active(), *expected);
            router = restart(router, folder.path());
            assert_eq!(router.active(), *expected);
        }
        assert!(router.rollback(None, &operator()).is_err());
    }

    #[test]
    fn a_file_that_changed_while_the_router_was_down_replaces_what_was_active() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        let first = before.active().expect("active");
        drop(before);
        let file = folder.path().join("policies/first.wasm");
        std::fs::write(&file, policy("changed")).expect("a policy");
        let after = start(folder.path(), "").expect("a policy");
        let changed = after.active().expect("active");
        assert_eq!(changed.version, Digest::of(&policy("changed")));
        let line = after.audit().latest(1).expect("readable").remove(0);
        assert_eq!(
            (line.before, line.after),
            (Some(first.name()), Some(changed.name()))
        );
        assert!(fail(&after), "it is activated now");
        assert_eq!(after.active(), Some(first));
    }

    #[test]
    fn another_configured_policy_replaces_what_was_active() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        let first = before.active().expect("active");
        drop(before);
        edit(folder.path(), |remembered| {
            remembered["configured"] = "another".into();
            remembered["active"]["policy"] = "first".into();
        });
        std::fs::write(
            folder.path().join("policies/first.wasm"),
            policy("configured"),
        )
        .expect("a policy");
        let after = start(folder.path(), "").expect("a policy");
        let configured = after.active().expect("active");
        assert_eq!(configured.version, Digest::of(&policy("configured")));
        after.rollback(None, &operator()).expect("back");
        assert_eq!(after.active(), Some(first));
    }
}
