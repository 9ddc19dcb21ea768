//! Whether a canary goes on: over a restart, and where the routes of the configuration are others than when it began.

use std::time::Duration;

use super::super::{Deployed, Deployments};
use crate::policy_directory::audit::{Action, AuditRecord, unix_secs};
use crate::policy_directory::memory::RememberedCanary;
use crate::policy_directory::origin::Origin;
use crate::rollout::{Canary, Reach};

impl Deployments {
    /// Whose new dialogs a canary of this policy would have.
    pub(in super::super) fn reach_of(&self, policy: &str) -> Reach {
        let routes = self.policies.is_routed(policy);
        let is_active = || self.active().is_some_and(|active| active.policy == policy);
        Reach {
            routes,
            elsewhere: !routes || is_active(),
        }
    }

    /// A canary that was under way when the router ended goes on since it began, and is judged by what it does from now on.
    pub(in super::super) fn restore_canary(&self, remembered: &RememberedCanary) {
        let name = &remembered.name;
        let now = self.reach_of(&name.policy);
        let reach = remembered.reach.unwrap_or(now);
        if let Some(reason) = reach.lost_in(now) {
            return self.lose_canary(remembered, reason);
        }
        let ran_before = Duration::from_secs(unix_secs().saturating_sub(remembered.began_at));
        let restored = self.load_kept(name).and_then(|()| {
            let rule = remembered.rule.clone();
            self.begin_canary_locked(&name.policy, Some(&name.version), rule, reach, ran_before)
        });
        match restored {
            Ok(canary) => tracing::warn!(
                policy = canary.policy,
                policy_version = canary.version.short(),
                percent = remembered.rule.percent,
                "the canary goes on"
            ),
            Err(error) => self.lose_canary(remembered, &error.to_string()),
        }
    }

    /// A canary that was under way when the router ended does not go on.
    pub(in super::super) fn lose_canary(&self, remembered: &RememberedCanary, reason: &str) {
        let name = &remembered.name;
        let mut state = self.lock();
        self.forget_canary(&mut state);
        self.metrics.automatic_aborts.add_shared(1);
        tracing::error!(
            policy = name.policy,
            policy_version = name.version,
            reason,
            "the canary does not go on and is over"
        );
        let active = self.active_before(&name.policy);
        let record = AuditRecord {
            before: Some(name.clone()),
            after: active.as_ref().map(Deployed::name),
            ..AuditRecord::new(Action::AutomaticAbort, &Origin::router(), &name.policy)
        };
        self.audit.write(&record.because(reason));
    }

    /// Ends a canary that would have the dialogs of others than it was begun for, or does not start with what is configured now.
    pub(in super::super) fn check_canary(&self) {
        let Some(canary) = self.rollout.canary() else {
            return;
        };
        if let Some(reason) = self.problem_of(&canary) {
            self.abort_by_itself(&canary, &reason);
        }
    }

    /// Why a canary would have the dialogs of others than it was begun for.
    pub(super) fn why_lost(&self, canary: &Canary) -> Option<&'static str> {
        let now = self.reach_of(canary.version().name());
        canary.reach().lost_in(now)
    }

    fn problem_of(&self, canary: &Canary) -> Option<String> {
        if let Some(reason) = self.why_lost(canary) {
            return Some(reason.to_owned());
        }
        let refused = self.policies.check_uses_of(canary.version()).err();
        let error = refused.filter(|error| !error.is_of_the_machine())?;
        Some(format!("it does not start any more: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::tests::{
        config, deployments, edit, operator, plain, policy, rule, start,
    };
    use super::super::super::{Component, DeployError};
    use super::*;
    use crate::signature::{self, PrivateKey};

    /// A route that names `second`, which is not active elsewhere.
    const ROUTE: &str = "[[policy.route]]\ndomain = \"red.example\"\npolicy = \"second\"\n";

    /// A router with these routes and a canary of `second`.
    fn with_canary(folder: &Path, routes: &str) -> Deployments {
        drop(deployments(folder));
        let router = start(folder, routes).expect("a policy");
        router
            .store("second", plain(&policy("pushed")), &operator())
            .expect("a policy");
        router
            .begin_canary("second", None, rule(50.0), &operator())
            .expect("a canary");
        router
    }

    /// Why it was aborted.
    fn reason_of_abort(router: &Deployments) -> String {
        assert!(router.rollout.canary().is_none());
        assert!(router.policies.canary().is_none());
        let line = router.audit().latest(1).expect("readable").remove(0);
        assert_eq!(line.action, Action::AutomaticAbort);
        assert_eq!(router.metrics.automatic_aborts.value(), 1);
        assert_eq!(line.origin, Origin::router());
        line.detail.expect("a reason")
    }

    #[test]
    fn a_canary_is_over_when_a_reload_takes_its_route_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let router = with_canary(folder.path(), ROUTE);
        let first = router.active();
        router
            .take_routes(&config(folder.path(), ""))
            .expect("routes");
        assert!(reason_of_abort(&router).contains("no route names"));
        drop(router);
        let after = start(folder.path(), ROUTE).expect("a policy");
        assert!(after.rollout.canary().is_none());
        assert_eq!(after.active(), first);
    }

    #[test]
    fn a_canary_is_not_promoted_for_others_while_a_reload_takes_its_route_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let router = with_canary(folder.path(), ROUTE);
        let first = router.active();
        // As far as a reload has come before it looks at the canary.
        router.policies.set_routed(&Default::default());
        let promoted = router.promote(None, &operator());
        assert!(
            matches!(promoted, Err(DeployError::LostCanary(_))),
            "{promoted:?}"
        );
        assert_eq!(router.active(), first);
        router.check_canary();
        assert!(reason_of_abort(&router).contains("no route names"));
    }

    #[test]
    fn a_canary_is_over_when_its_route_is_gone_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(with_canary(folder.path(), ROUTE));
        let after = start(folder.path(), "").expect("a policy");
        assert!(reason_of_abort(&after).contains("no route names"));
    }

    #[test]
    fn a_canary_for_everybody_does_not_become_that_of_a_new_route() {
        let folder = tempfile::tempdir().expect("a folder");
        let router = with_canary(folder.path(), "");
        router
            .take_routes(&config(folder.path(), ROUTE))
            .expect("routes");
        assert!(reason_of_abort(&router).contains("a route names"));
    }

    #[test]
    fn a_canary_for_everybody_is_over_also_where_a_route_makes_it_active() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(deployments(folder.path()));
        let router = start(folder.path(), "").expect("a policy");
        router
            .begin_canary("second", None, rule(50.0), &operator())
            .expect("the file's version");
        router
            .take_routes(&config(folder.path(), ROUTE))
            .expect("routes");
        let line = router.audit().latest(1).expect("readable").remove(0);
        assert!(line.done);
        assert!(reason_of_abort(&router).contains("a route names"));
    }

    /// Stores a version of `first`.
    fn push(router: &Deployments, text: &str, signature: Option<&str>) -> Deployed {
        let component = Component {
            bytes: &policy(text),
            signature,
        };
        let stored = router.store("first", component, &operator());
        stored.expect("a policy")
    }

    /// Makes one version active and another one the canary.
    fn activate_and_begin(router: &Deployments, active: &Deployed, canary: &Deployed) {
        router
            .activate("first", Some(active.version.as_str()), &operator())
            .expect("activated");
        let version = Some(canary.version.as_str());
        router
            .begin_canary("first", version, rule(5.0), &operator())
            .expect("a canary");
    }

    #[test]
    fn a_canary_goes_on_when_the_active_version_is_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        let file = before.active();
        let (two, three) = (push(&before, "two", None), push(&before, "three", None));
        activate_and_begin(&before, &two, &three);
        drop(before);
        let stored = format!("data/policies/versions/first/{}.wasm", two.version);
        std::fs::write(folder.path().join(stored), b"damaged").expect("write");
        let after = start(folder.path(), "").expect("a policy");
        assert_eq!(after.active(), file);
        assert_eq!(after.canary_version(), Some(three));
        let back = after.rollback(None, &operator());
        assert!(
            matches!(back, Err(DeployError::Rollback(_))),
            "it is where that would lead: {back:?}"
        );
    }

    #[test]
    fn a_canary_goes_on_when_the_active_version_is_not_trusted_any_more() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(deployments(folder.path()));
        let keys = [(); 2].map(|()| PrivateKey::generate().expect("random numbers"));
        let sign = |key: &PrivateKey, text: &str| key.sign(&policy(text)).to_string();
        let file = folder.path().join("policies/first.wasm");
        std::fs::write(signature::signature_file(&file), sign(&keys[0], "first")).expect("write");
        let both = format!(
            "trusted_keys = [\"{}\", \"{}\"]\n",
            keys[0].public(),
            keys[1].public()
        );
        let before = start(folder.path(), &both).expect("it is signed");
        let two = push(&before, "two", Some(&sign(&keys[1], "two")));
        let three = push(&before, "three", Some(&sign(&keys[0], "three")));
        activate_and_begin(&before, &two, &three);
        drop(before);
        let one = format!("trusted_keys = [\"{}\"]\n", keys[0].public());
        let after = start(folder.path(), &one).expect("the file is signed");
        assert_eq!(after.canary_version(), Some(three));
        assert_ne!(after.active(), Some(two));
    }

    #[test]
    fn a_canary_is_over_when_another_policy_is_configured() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(with_canary(folder.path(), ""));
        edit(folder.path(), |remembered| {
            remembered["configured"] = "another".into();
        });
        let after = start(folder.path(), "").expect("a policy");
        assert!(reason_of_abort(&after).contains("policy.active"));
        drop(after);
        let later = start(folder.path(), "").expect("a policy");
        assert!(later.rollout.canary().is_none());
    }

    #[test]
    fn what_is_configured_as_active_is_no_matter_of_a_canary_of_a_route() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(with_canary(folder.path(), ROUTE));
        edit(folder.path(), |remembered| {
            remembered["configured"] = "another".into();
        });
        let after = start(folder.path(), ROUTE).expect("a policy");
        assert!(after.rollout.canary().is_some());
    }

    #[test]
    fn a_canary_goes_on_for_the_routes_that_are_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let routes = format!("{ROUTE}{}", ROUTE.replace("red", "blue"));
        let router = with_canary(folder.path(), &routes);
        router
            .take_routes(&config(folder.path(), ROUTE))
            .expect("routes");
        assert!(router.rollout.canary().is_some());
        drop(router);
        let after = start(folder.path(), ROUTE).expect("a policy");
        assert!(after.rollout.canary().is_some());
    }
}
