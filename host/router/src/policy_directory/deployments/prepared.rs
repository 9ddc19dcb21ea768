//! What is done before the state is held: compiling and loading take as long as they take, and nobody who goes back to a good version has
//! to wait for that. What was found before may not be so any more once the state is held, and is looked at again then.

use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

use patchbay_policy::{ActivateError, Compiled, Digest, Loaded};

use super::{Component, DeployError, Deployed, Deployments};
use crate::config::BUILTIN;
use crate::hooks::HookHost;
use crate::policy_directory::BUILTIN_POLICY;
use crate::policy_directory::memory::{Activation, RememberedLane, VersionName};
use crate::policy_directory::origin::Origin;
use crate::signature;

/// A component that is compiled and checked, or refused, and not stored.
pub(super) struct Prepared<'c> {
    pub(super) name: &'c str,
    pub(super) component: Component<'c>,
    pub(super) digest: Digest,
    pub(super) checked: Result<Checked<'c>, DeployError>,
}

/// Somebody trusted has signed it, where that is asked for.
pub(super) struct Checked<'c> {
    pub(super) signed_by: Option<String>,
    pub(super) compiled: Compiled<'c, HookHost>,
}

/// The file of a policy and the signature beside it.
pub(super) struct PolicyFile {
    pub(super) path: PathBuf,
    bytes: Vec<u8>,
    signature: Option<String>,
}

/// A stored version that is in memory.
pub(super) type Held<'d> = Loaded<'d, HookHost>;

impl PolicyFile {
    pub(super) fn read(path: &Path) -> Result<PolicyFile, DeployError> {
        PolicyFile::of(path, std::fs::read(path)?)
    }

    pub(super) fn of(path: &Path, bytes: Vec<u8>) -> Result<PolicyFile, DeployError> {
        Ok(PolicyFile {
            path: path.to_path_buf(),
            bytes,
            signature: signature::read_beside(path)?,
        })
    }

    pub(super) fn digest(&self) -> String {
        Digest::of(&self.bytes).to_string()
    }

    /// Whether something else is there by now, or nothing.
    pub(super) fn has_changed(&self) -> bool {
        std::fs::read(&self.path).ok().as_ref() != Some(&self.bytes)
    }

    pub(super) fn component(&self) -> Component<'_> {
        Component {
            bytes: &self.bytes,
            signature: self.signature.as_deref(),
        }
    }

    pub(super) fn origin(&self) -> Origin {
        Origin::file(&self.path)
    }
}

impl Deployments {
    /// Compiles and checks a component that did not come with the router.
    pub(super) fn prepare<'c>(&self, name: &'c str, component: Component<'c>) -> Prepared<'c> {
        let checked = match name {
            BUILTIN => Err(DeployError::Reserved),
            _ => self.check_signature(name, component).map_err(Into::into),
        };
        self.prepared(name, component, checked)
    }

    /// The same of the embedded policy.
    pub(super) fn prepare_builtin(&self) -> Prepared<'static> {
        let component = Component {
            bytes: BUILTIN_POLICY,
            signature: None,
        };
        self.prepared(BUILTIN, component, Ok(None))
    }

    fn prepared<'c>(
        &self,
        name: &'c str,
        component: Component<'c>,
        signed_by: Result<Option<String>, DeployError>,
    ) -> Prepared<'c> {
        let checked = signed_by.map(|signed_by| Checked {
            signed_by,
            compiled: self.policies.compile(name, component.bytes),
        });
        Prepared {
            name,
            component,
            digest: Digest::of(component.bytes),
            checked,
        }
    }

    /// One component at a time: what operators push at once could take more memory than there is.
    pub(super) fn prepare_alone<'c>(
        &self,
        name: &'c str,
        component: Component<'c>,
    ) -> Prepared<'c> {
        let _pushing = self.pushing.lock().unwrap_or_else(PoisonError::into_inner);
        self.prepare(name, component)
    }

    /// Has the version in memory that is meant (a digest or its beginning, else the newest), and then holds the state. A version that is
    /// stored meanwhile may be the one that is meant.
    pub(super) fn hold(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> (
        Result<Held<'_>, DeployError>,
        MutexGuard<'_, Option<Activation>>,
    ) {
        loop {
            let held = self.load_meant(name, version);
            let state = self.lock();
            let is_meant = |held: &Held<'_>| {
                let meant = self.policies.choose(name, version);
                meant.is_ok_and(|meant| meant == *held.version().digest())
            };
            match &held {
                Ok(held) if !is_meant(held) => {}
                _ => return (held, state),
            }
        }
    }

    fn load_meant(&self, name: &str, version: Option<&str>) -> Result<Held<'_>, DeployError> {
        self.store_missing(name, version)?;
        Ok(self.policies.load(name, version)?)
    }

    /// The version that a component is, when it was stored before: it may have been freed since, and is not compiled for being stored again.
    pub(super) fn hold_known(&self, prepared: &Prepared<'_>) -> Option<Held<'_>> {
        let version = Some(prepared.digest.as_str());
        // Otherwise it is in memory when it is stored, or refused.
        self.policies.load(prepared.name, version).ok()
    }

    /// A version that was just stored.
    pub(super) fn hold_stored(&self, stored: &Deployed) -> Result<Held<'_>, DeployError> {
        let version = Some(stored.version.as_str());
        Ok(self.policies.load(&stored.policy, version)?)
    }

    /// Has the version in memory that a rollback leads to, as far as there is one, and then holds the state.
    pub(super) fn hold_before(
        &self,
        policy: Option<&str>,
    ) -> (Option<Held<'_>>, MutexGuard<'_, Option<Activation>>) {
        let before = || {
            let routed = policy.filter(|policy| self.policies.is_routed(policy));
            self.policies.history(routed).before
        };
        loop {
            self.load_before(policy);
            let found = before();
            let held = self.first_that_loads(&found);
            let state = self.lock();
            if before() == found {
                return (held, state);
            }
        }
    }

    /// The latest of these that is still kept, unless it does not load: that is then for the rollback to tell.
    fn first_that_loads(&self, before: &[(String, Digest)]) -> Option<Held<'_>> {
        for (policy, version) in before.iter().rev() {
            match self.policies.load(policy, Some(version.as_str())) {
                Ok(held) => return Some(held),
                Err(ActivateError::Load(_)) => return None,
                Err(_) => {}
            }
        }
        None
    }

    /// Has the active version of a lane in memory, and as far as it loads the one before; `None`: the active one does not load. Why is told
    /// where the lane is restored.
    pub(super) fn hold_lane(&self, lane: &RememberedLane) -> Option<Vec<Held<'_>>> {
        let load = |name: &VersionName| -> Result<Held<'_>, DeployError> {
            self.load_kept(name)?;
            Ok(self.policies.load(&name.policy, Some(&name.version))?)
        };
        let active = load(&lane.active).ok()?;
        let before = lane.previous.iter().flat_map(load);
        Some(before.chain([active]).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use patchbay_policy::VersionState;

    use super::super::tests::{
        active, audited, config, deployments, operator, plain, policy, rule, start, start_with,
    };
    use super::*;
    use crate::policy_directory::audit::Action;
    use crate::trace::Traces;

    /// Longer than anything takes that waits for nobody.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A router that does not get on with compiling `slow` until it is told to, and what tells that it has come there.
    fn router_with_a_slow_policy(folder: &Path) -> (Deployments, Receiver<()>, Sender<()>) {
        drop(deployments(folder));
        let ((begun, begins), (go_on, goes_on)) = (channel(), channel());
        let goes_on: Mutex<Receiver<()>> = Mutex::new(goes_on);
        let router = start_with(folder, "", move |name| {
            if name == "slow" {
                // The test looks at the first time alone.
                let _ = begun.send(());
                // It goes on for good then.
                let _ = goes_on.lock().expect("no panic").recv();
            }
        });
        (router.expect("a policy"), begins, go_on)
    }

    /// Does `work` while `other` has come as far as compiling `slow`, and lets that end then.
    fn during<T: Send>(
        (begins, go_on): (Receiver<()>, Sender<()>),
        other: impl FnOnce() -> T + Send,
        work: impl FnOnce() + Send,
    ) -> T {
        std::thread::scope(|scope| {
            let other = scope.spawn(other);
            begins.recv_timeout(PATIENCE).expect("it is compiled");
            let (done, is_done) = channel();
            let work = scope.spawn(move || {
                work();
                done.send(()).expect("the test waits");
            });
            let in_time = is_done.recv_timeout(PATIENCE);
            // Whoever waits for it need not wait for ever.
            drop(go_on);
            work.join().expect("the work is done");
            in_time.expect("nobody waits for the compilation");
            other.join().expect("it is compiled")
        })
    }

    fn push(router: &Deployments, text: &str) -> Deployed {
        let stored = router.store("first", plain(&policy(text)), &operator());
        stored.expect("a policy")
    }

    fn activate(router: &Deployments, version: &Deployed) {
        let digest = Some(version.version.as_str());
        router
            .activate("first", digest, &operator())
            .expect("activated");
    }

    /// Everything that must not wait for somebody else's compilation.
    fn change_everything(router: &Deployments, folder: &Path) {
        let traces = Traces::new(1, Vec::new(), 0);
        let before = router.active();
        let two = Digest::of(&policy("two"));
        let two = Some(two.as_str());
        router.activate("first", two, &operator()).expect("active");
        router.rollback(None, &operator()).expect("back");
        assert_eq!(router.active(), before);
        router
            .begin_canary("first", two, rule(5.0), &operator())
            .expect("a canary");
        router.abort(None, &operator()).expect("aborted");
        router
            .begin_canary("first", two, rule(5.0), &operator())
            .expect("a canary");
        router.promote(None, &operator()).expect("promoted");
        router
            .begin_shadow(&traces, "second", None, &operator())
            .expect("a shadow");
        router
            .end_shadow(&traces, "second", &operator())
            .expect("a shadow");
        let file = folder.join("policies/first.wasm");
        std::fs::write(&file, policy("changed")).expect("write");
        assert!(router.file_changed("first", &file));
        let digest = router.active().expect("active").version;
        assert_eq!(digest, Digest::of(&policy("changed")));
        router.follow();
    }

    #[test]
    fn nobody_waits_until_a_push_has_been_compiled() {
        let folder = tempfile::tempdir().expect("a folder");
        let (router, begins, go_on) = router_with_a_slow_policy(folder.path());
        push(&router, "two");
        let slow = policy("slow");
        let pushed = during(
            (begins, go_on),
            || router.store("slow", plain(&slow), &operator()),
            || change_everything(&router, folder.path()),
        );
        let pushed = pushed.expect("it is stored");
        let last = audited(&router).pop();
        assert_eq!(last, Some((Action::Store, true)));
        let activated = router.activate("slow", None, &operator());
        assert_eq!(activated.expect("active").active, pushed);
    }

    #[test]
    fn nobody_waits_until_the_policy_of_a_new_route_has_been_compiled() {
        let folder = tempfile::tempdir().expect("a folder");
        let (router, begins, go_on) = router_with_a_slow_policy(folder.path());
        push(&router, "two");
        std::fs::write(folder.path().join("policies/slow.wasm"), policy("slow")).expect("write");
        let route = "[[policy.route]]\ndomain = \"slow.example\"\npolicy = \"slow\"\n";
        let config = config(folder.path(), route);
        let reloaded = during(
            (begins, go_on),
            || router.take_routes(&config),
            || change_everything(&router, folder.path()),
        );
        reloaded.expect("the routes are taken");
        let slow = router.active_of("slow").expect("active");
        assert_eq!(slow.version, Digest::of(&policy("slow")));
    }

    #[test]
    fn what_is_activated_during_a_reload_that_is_refused_stays_active() {
        let folder = tempfile::tempdir().expect("a folder");
        let (router, begins, go_on) = router_with_a_slow_policy(folder.path());
        let second = folder.path().join("policies/second.wasm");
        assert!(router.file_found("second", &second));
        std::fs::write(folder.path().join("policies/slow.wasm"), policy("slow")).expect("write");
        let routes = ["second", "slow", "unknown"].map(|name| {
            format!("[[policy.route]]\ndomain = \"{name}.example\"\npolicy = \"{name}\"\n")
        });
        let config = config(folder.path(), &routes.concat());
        let reloaded = during(
            (begins, go_on),
            || router.take_routes(&config),
            || {
                let activated = router.activate("second", None, &operator());
                assert!(!activated.expect("active").was_active);
            },
        );
        reloaded.expect_err("there is no policy `unknown`");
        assert_eq!(active(&router), "second");
        drop(router);
        let after = start(folder.path(), "").expect("a policy");
        assert_eq!(active(&after), "second");
    }

    #[test]
    fn nobody_waits_until_the_version_of_another_activation_has_been_compiled() {
        let folder = tempfile::tempdir().expect("a folder");
        let (router, begins, go_on) = router_with_a_slow_policy(folder.path());
        push(&router, "two");
        std::fs::write(folder.path().join("policies/slow.wasm"), policy("slow")).expect("write");
        router.load_stored(|| false);
        let second = folder.path().join("policies/second.wasm");
        assert!(router.file_found("second", &second));
        let activated = during(
            (begins, go_on),
            || router.activate("slow", None, &operator()),
            || change_everything(&router, folder.path()),
        );
        assert_eq!(activated.expect("active").active.policy, "slow");
        assert_eq!(active(&router), "slow");
    }

    #[test]
    fn a_file_that_is_compiled_when_an_operator_activates_another_policy_is_only_stored() {
        let folder = tempfile::tempdir().expect("a folder");
        let (router, begins, go_on) = router_with_a_slow_policy(folder.path());
        let file = folder.path().join("policies/slow.wasm");
        std::fs::write(&file, policy("slow")).expect("write");
        let stored = during(
            (begins, go_on),
            || router.file_changed("slow", &file),
            || {
                router
                    .activate("second", None, &operator())
                    .expect("active");
            },
        );
        assert!(stored);
        assert_eq!(active(&router), "second");
        assert!(
            router
                .policies
                .is_stored("slow", &Digest::of(&policy("slow")))
        );
    }

    #[test]
    fn the_same_bytes_pushed_twice_at_once_are_one_version() {
        let folder = tempfile::tempdir().expect("a folder");
        let router = deployments(folder.path());
        let bytes = policy("pushed");
        // All of them have compiled it before the first one stores it.
        let compiled = std::sync::Barrier::new(3);
        let store = || {
            let prepared = router.prepare("first", plain(&bytes));
            compiled.wait();
            router.store_own(prepared, &operator(), &router.lock())
        };
        let stored: Vec<Deployed> = std::thread::scope(|scope| {
            let pushes = [(); 3].map(|()| scope.spawn(store));
            let results = pushes
                .into_iter()
                .map(|push| push.join().expect("no panic"));
            results
                .map(|stored| stored.expect("it is stored"))
                .collect()
        });
        assert!(stored.iter().all(|stored| *stored == stored_first(&router)));
        let stores = audited(&router);
        assert_eq!(stores[stores.len() - 3..], [(Action::Store, true); 3]);
        activate(&router, &stored[0]);
        assert_eq!(router.active().as_ref(), stored.first());
    }

    /// The newest version of `first`, of which there are two.
    fn stored_first(router: &Deployments) -> Deployed {
        let listed = router.policies.list();
        let first = listed.iter().find(|listed| listed.name == "first");
        let versions = &first.expect("listed").versions;
        assert_eq!(versions.len(), 2);
        Deployed {
            policy: "first".to_owned(),
            version: versions[0].digest.clone(),
        }
    }

    #[test]
    fn what_is_held_stays_in_memory_however_much_is_stored_meanwhile() {
        let folder = tempfile::tempdir().expect("a folder");
        let router = deployments(folder.path());
        let pushed = push(&router, "pushed");
        let (held, state) = router.hold("first", Some(pushed.version.as_str()));
        drop(state);
        let held = held.expect("it is stored");
        for number in 0..10 {
            push(&router, &number.to_string());
        }
        let state_of = || {
            let listed = router.policies.list();
            let mut versions = listed.iter().flat_map(|policy| &policy.versions);
            let found = versions.find(|version| version.digest == pushed.version);
            found.map(|version| version.state)
        };
        assert_ne!(state_of(), Some(VersionState::Stored));
        let mut state = router.lock();
        router
            .activate_locked("first", None, Ok(held), &operator(), &mut state)
            .expect("it is in memory");
        drop(state);
        assert_eq!(state_of(), Some(VersionState::Active));
        assert_eq!(router.active(), Some(pushed));
    }
}
