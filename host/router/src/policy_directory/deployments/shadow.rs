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
        let started = traces.set_shadow(engine, version, self.copies_for(name));
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
        let report = traces.end_shadow()?;
        self.policies.end_shadow();
        let record = AuditRecord {
            before: Some(version_of(&report)),
            ..AuditRecord::new(Action::ShadowOff, origin, name)
        };
        let found = format!(
            "{} of {} hook runs were different",
            report.different, report.runs
        );
        self.audit.write(&record.because(found));
        Some(report)
    }
}

fn version_of(report: &ShadowReport) -> VersionName {
    VersionName::new(&report.policy, &report.version)
}
