//! A version in the shadow: begun and ended by an operator.

use super::prepared::Held;
use super::{DeployError, Deployments};
use crate::policy_directory::audit::{Action, AuditRecord};
use crate::policy_directory::memory::VersionName;
use crate::policy_directory::origin::Origin;
use crate::trace::{Copies, ShadowReport, Traces};

impl Deployments {
    /// Runs a stored version on copies of what the workers run, in place of one before: the named one (a digest or its beginning), else
    /// the newest.
    pub fn begin_shadow(
        &self,
        traces: &Traces,
        name: &str,
        version: Option<&str>,
        origin: &Origin,
    ) -> Result<ShadowReport, DeployError> {
        let (held, _state) = self.hold(name, version);
        let record = AuditRecord {
            before: traces.shadow().as_ref().map(version_of),
            after: version.map(|version| VersionName::new(name, version)),
            ..AuditRecord::new(Action::Shadow, origin, name)
        };
        let begun = held.and_then(|held| self.begin_shadow_locked(traces, name, &held));
        self.audit.write(&match &begun {
            Ok(report) => AuditRecord {
                after: Some(version_of(report)),
                ..record
            },
            Err(error) => AuditRecord {
                done: false,
                ..record
            }
            .because(error),
        });
        begun
    }

    fn begin_shadow_locked(
        &self,
        traces: &Traces,
        name: &str,
        held: &Held<'_>,
    ) -> Result<ShadowReport, DeployError> {
        let version = held.version().digest();
        let version = self.policies.begin_shadow(name, Some(version.as_str()))?;
        let engine = self.policies.engine().clone();
        let (reach, copies) = (self.reach_of(name), self.copies_for(name));
        let started = traces.set_shadow(engine, version, reach, copies);
        if started.is_err() {
            self.policies.end_shadow();
        }
        Ok(started?)
    }

    /// A policy that routes name is compared with itself; another one with what runs for requests that no route takes.
    fn copies_for(&self, name: &str) -> Copies {
        let mut routed = self.policies.routed();
        if routed.contains(name) {
            return Copies::OfItsPolicy;
        }
        if let Some(active) = self.policies.active() {
            routed.remove(&**active.name());
        }
        Copies::OfOthersThan(routed)
    }

    /// Ends the shadow when it is of this policy, and tells what it has found.
    pub fn end_shadow(&self, traces: &Traces, name: &str, origin: &Origin) -> Option<ShadowReport> {
        // One change after the other, so that the audit log is in their order.
        let _state = self.lock();
        traces.shadow().filter(|report| report.policy == name)?;
        self.end_shadow_locked(traces, origin, "")
    }

    fn end_shadow_locked(
        &self,
        traces: &Traces,
        origin: &Origin,
        reason: &str,
    ) -> Option<ShadowReport> {
        let report = traces.end_shadow()?;
        self.policies.end_shadow();
        let record = AuditRecord {
            before: Some(version_of(&report)),
            ..AuditRecord::new(Action::ShadowOff, origin, &report.policy)
        };
        let found = format!(
            "{reason}{} of {} hook runs were different",
            report.different, report.runs
        );
        self.audit.write(&record.because(found));
        Some(report)
    }

    /// After routes were taken over: ends a shadow that would be compared with the runs of others than it was begun for. Another one is
    /// compared with what its policy, or the active one, runs now.
    pub fn check_shadow(&self, traces: &Traces) {
        let _state = self.lock();
        let (Some(shadow), Some(reach)) = (traces.shadow(), traces.shadow_reach()) else {
            return;
        };
        let Some(reason) = reach.lost_in(self.reach_of(&shadow.policy)) else {
            return traces.set_shadow_copies(self.copies_for(&shadow.policy));
        };
        self.end_shadow_locked(traces, &Origin::router(), &format!("{reason}: "));
        tracing::warn!(
            policy = shadow.policy,
            policy_version = shadow.version,
            reason,
            "the shadow is over"
        );
    }
}

fn version_of(report: &ShadowReport) -> VersionName {
    VersionName::new(&report.policy, &report.version)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, deployments, operator, plain, policy, start};
    use super::*;

    /// A route that names `second`, which is not active elsewhere.
    const ROUTE: &str = "[[policy.route]]\ndomain = \"red.example\"\npolicy = \"second\"\n";

    /// Whether a shadow of this policy goes on when a router with the first routes gets the other ones.
    fn goes_on(policy_name: &str, before: &str, after: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().expect("a folder");
        drop(deployments(folder.path()));
        let router = start(folder.path(), before).expect("a policy");
        router
            .store(policy_name, plain(&policy("pushed")), &operator())
            .expect("a policy");
        let traces = Traces::new(1, Vec::new(), 0);
        router
            .begin_shadow(&traces, policy_name, None, &operator())
            .expect("a shadow");
        router
            .take_routes(&config(folder.path(), after))
            .expect("routes");
        router.check_shadow(&traces);
        if traces.shadow().is_some() {
            return Ok(());
        }
        assert!(router.policies.end_shadow().is_none());
        let line = router.audit().latest(1).expect("readable").remove(0);
        assert_eq!(line.action, Action::ShadowOff);
        assert_eq!(line.origin, Origin::router());
        Err(line.detail.expect("a reason"))
    }

    #[test]
    fn a_shadow_is_over_when_a_reload_takes_its_route_away() {
        let reason = goes_on("second", ROUTE, "").expect_err("it is over");
        assert!(reason.contains("no route names"), "{reason}");
    }

    #[test]
    fn a_shadow_of_what_no_route_takes_does_not_become_that_of_a_new_route() {
        let reason = goes_on("second", "", ROUTE).expect_err("it is over");
        assert!(reason.contains("a route names"), "{reason}");
    }

    #[test]
    fn a_shadow_goes_on_where_its_policy_keeps_what_it_runs_for() {
        let both = ROUTE.replace("second", "first");
        for (name, before, after) in [
            ("first", "", ROUTE),
            ("first", "", &*both),
            ("first", &*both, ""),
            ("second", ROUTE, ROUTE),
        ] {
            assert_eq!(goes_on(name, before, after), Ok(()), "{before} {after}");
        }
    }
}
