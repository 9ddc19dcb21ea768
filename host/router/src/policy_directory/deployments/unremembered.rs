//! Activations that were written down and are not remembered: the router was killed between the two.

use super::Deployments;
use crate::policy_directory::audit::{Action, AuditRecord};
use crate::policy_directory::memory::{Activation, VersionName};
use crate::policy_directory::origin::Origin;

/// How far back the audit log is read for the last activation.
const MAX_RECORDS: usize = 100;

impl Deployments {
    /// Writes down that what was written down last as active is not, so that the log says what was active when. To be called before
    /// anything else is written.
    pub(super) fn correct_audit(&self, remembered: &Activation) {
        let Some(lost) = self.last_written_down() else {
            return;
        };
        let routed = remembered.routed.get(&lost.policy);
        if remembered.lane.active == lost || routed.is_some_and(|lane| lane.active == lost) {
            return;
        }
        let active = &routed.unwrap_or(&remembered.lane).active;
        tracing::warn!(
            policy = lost.policy,
            policy_version = lost.version,
            "the last activation was not remembered when the router ended"
        );
        let record = AuditRecord {
            before: Some(lost.clone()),
            after: Some(active.clone()),
            ..AuditRecord::new(Action::Activate, &Origin::router(), &active.policy)
        };
        self.audit
            .write(&record.because("the router ended before the activation was remembered"));
    }

    /// What became active last, as the audit log has it.
    fn last_written_down(&self) -> Option<VersionName> {
        let records = self.audit.latest(MAX_RECORDS).ok()?;
        let last = records
            .into_iter()
            .find(|record| record.done && makes_active(record.action))?;
        last.after
    }
}

fn makes_active(action: Action) -> bool {
    matches!(
        action,
        Action::Activate
            | Action::Rollback
            | Action::AutomaticRollback
            | Action::Promote
            | Action::AutomaticPromote
    )
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::tests::{deployments, edit, operator, plain, policy, start};
    use super::*;

    #[test]
    fn an_activation_that_a_kill_has_lost_is_corrected_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        let first = before.active().expect("active");
        let pushed = before
            .store("first", plain(&policy("pushed")), &operator())
            .expect("a policy");
        before
            .activate("first", None, &operator())
            .expect("activated");
        drop(before);
        edit(folder.path(), |remembered| {
            remembered["active"]["version"] = first.version.as_str().into();
        });
        let corrected = |lines: usize| {
            let after = start(folder.path(), "").expect("a policy");
            assert_eq!(after.active(), Some(first.clone()));
            let records = after.audit().latest(100).expect("readable");
            assert_eq!(records.len(), lines);
            let line = &records[0];
            assert_eq!((line.action, line.done), (Action::Activate, true));
            assert_eq!(line.origin, Origin::router());
            assert_eq!(
                (&line.before, &line.after),
                (&Some(pushed.name()), &Some(first.name()))
            );
        };
        // Stored and activated twice, and the correction.
        corrected(5);
        corrected(5);
    }

    #[test]
    fn a_rollback_that_an_operator_has_overtaken_needs_no_correction() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        let push = |text: &str| {
            let stored = before.store("first", plain(&policy(text)), &operator());
            stored.expect("a policy");
            let activated = before.activate("first", None, &operator());
            activated.expect("activated").active
        };
        push("failing");
        let number = before.policies.active().expect("active").number();
        let rollbacks = (1..=6).filter_map(|last| {
            let source = [192, 0, 2, last].into();
            before.policies.report_fault(number, source, Instant::now())
        });
        assert_eq!(rollbacks.count(), 1);
        let good = push("good");
        before.follow();
        let line = before.audit().latest(1).expect("readable").remove(0);
        assert_eq!((line.action, line.done), (Action::AutomaticRollback, false));
        assert_eq!(line.detail.as_deref(), Some(super::super::OVERTAKEN));
        drop(before);
        let after = start(folder.path(), "").expect("a policy");
        assert_eq!(after.active(), Some(good));
        let last = after.audit().latest(1).expect("readable").remove(0);
        assert_eq!(last, line, "there is nothing to correct");
    }
}
