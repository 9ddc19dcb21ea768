//! Trying a version on some new dialogs: begun and ended by an operator, or ended by its guards.

mod restart;

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};

use super::{DeployError, Deployed, Deployments};
use crate::policy_directory::audit::{Action, AuditRecord, unix_secs};
use crate::policy_directory::memory::{Activation, RememberedCanary, VersionName};
use crate::policy_directory::origin::Origin;
use crate::rollout::{Canary, Judgement, Reach, Rule};

/// How often a canary is judged.
const JUDGE_EVERY: Duration = Duration::from_millis(50);
/// Why a canary is not ended.
const FASTER: &str = "it had become active before";

impl Deployments {
    /// Gives some new dialogs to a stored version: the named one (a digest or its beginning), else the newest. The same version again
    /// gets the new rule and is judged anew.
    pub fn begin_canary(
        &self,
        name: &str,
        version: Option<&str>,
        rule: Rule,
        origin: &Origin,
    ) -> Result<Deployed, DeployError> {
        let (held, mut state) = self.hold(name, version);
        let told = rule.clone().in_full().to_string();
        let reach = self.reach_of(name);
        let result = held.and_then(|held| {
            let version = Some(held.version().digest().as_str());
            self.begin_canary_locked(name, version, rule.clone(), reach, Duration::ZERO)
        });
        let record = AuditRecord {
            before: self.active_before(name).as_ref().map(Deployed::name),
            after: version.map(|version| VersionName::new(name, version)),
            ..AuditRecord::new(Action::Canary, origin, name)
        };
        self.write_down(record.because(told), &result);
        let begun = result?;
        if let Some(state) = &mut *state {
            state.canary = Some(RememberedCanary {
                name: begun.name(),
                rule,
                reach: Some(reach),
                origin: origin.clone(),
                began_at: unix_secs(),
            });
            self.save(state);
        }
        Ok(begun)
    }

    fn begin_canary_locked(
        &self,
        name: &str,
        version: Option<&str>,
        rule: Rule,
        reach: Reach,
        ran_before: Duration,
    ) -> Result<Deployed, DeployError> {
        let current = self.canary_version();
        let version = self.policies.choose(name, version)?;
        let begun = Deployed {
            policy: name.to_owned(),
            version,
        };
        if let Some(current) = current.filter(|current| *current != begun) {
            return Err(DeployError::OtherCanary(current));
        }
        let version = self
            .policies
            .begin_canary(name, Some(begun.version.as_str()))?;
        let beside = self.active_before(name);
        let beside = beside.map_or_else(|| name.to_owned(), |active| active.policy);
        self.rollout.begin(Arc::new(Canary::new(
            version,
            beside,
            reach,
            rule,
            ran_before,
            &self.secret,
            self.workers,
        )));
        Ok(begun)
    }

    /// Makes the canary active. `policy`: only when the canary is of this one.
    pub fn promote(&self, policy: Option<&str>, origin: &Origin) -> Result<Deployed, DeployError> {
        let mut state = self.lock();
        let canary = self.canary_of(policy)?;
        self.promote_locked(&canary, Action::Promote, origin, &mut state)
    }

    fn promote_locked(
        &self,
        canary: &Arc<Canary>,
        action: Action,
        origin: &Origin,
        state: &mut Option<Activation>,
    ) -> Result<Deployed, DeployError> {
        // A reload may just be changing whose it is, and ends it then.
        if let Some(reason) = self.why_lost(canary) {
            return Err(DeployError::LostCanary(reason));
        }
        let promoted = deployed(canary);
        let before = self.active_before(&promoted.policy);
        let record = AuditRecord {
            before: before.as_ref().map(Deployed::name),
            after: Some(promoted.name()),
            ..AuditRecord::new(action, origin, &promoted.policy)
        };
        let activated = self
            .policies
            .activate(&promoted.policy, Some(promoted.version.as_str()));
        let result = self.counted(activated.map(|_| promoted).map_err(DeployError::from));
        self.write_down(record, &result);
        let promoted = result?;
        // It is the active version already: who asks for a new dialog's version meanwhile gets the same.
        self.rollout.end(canary);
        self.forget_canary(state);
        self.remember(state, &promoted);
        Ok(promoted)
    }

    /// Ends the canary; its dialogs go on in it. `policy`: only when the canary is of this one.
    pub fn abort(&self, policy: Option<&str>, origin: &Origin) -> Result<Deployed, DeployError> {
        let canary = self.canary_of(policy)?;
        self.end_canary(&canary, Action::Abort, origin, None)
            .ok_or_else(|| DeployError::NoCanary(policy.map(str::to_owned)))
    }

    /// Takes new dialogs away at once, whatever else is going on, and then writes it down; `None` when somebody was faster: ended it, or made
    /// it active before the state was free.
    fn end_canary(
        &self,
        canary: &Arc<Canary>,
        action: Action,
        origin: &Origin,
        reason: Option<&str>,
    ) -> Option<Deployed> {
        if !self.rollout.end(canary) {
            return None;
        }
        let mut state = self.lock();
        let ended = deployed(canary);
        // An operator may have begun it, or another one, anew before the state was free.
        if self.canary_version().as_ref() != Some(&ended) {
            self.policies.end_canary(canary.version().number());
            if state.as_ref().and_then(Activation::canary_name) == Some(&ended.name()) {
                self.forget_canary(&mut state);
            }
        }
        // A route that is new may have made the same version active for itself: that is not whom the canary was for.
        let active = match canary.reach().elsewhere {
            true => self.active(),
            false => self.active_before(&ended.policy),
        };
        let done = active.as_ref() != Some(&ended);
        let record = AuditRecord {
            before: Some(ended.name()),
            after: active.as_ref().map(Deployed::name),
            done,
            ..AuditRecord::new(action, origin, &ended.policy)
        };
        let reason = if done { reason } else { Some(FASTER) };
        self.audit.write(&match reason {
            Some(reason) => record.because(reason),
            None => record,
        });
        done.then_some(ended)
    }

    /// A version has become active otherwise: it is no canary any more. To be called while the state is held; what is remembered next
    /// has to be without the canary.
    pub(super) fn end_canary_of(&self, active: &Deployed) {
        if let Some(canary) = self.rollout.canary()
            && deployed(&canary) == *active
        {
            self.rollout.end(&canary);
        }
    }

    /// The canary, when there is one, of this policy.
    fn canary_of(&self, policy: Option<&str>) -> Result<Arc<Canary>, DeployError> {
        self.rollout
            .canary()
            .filter(|canary| policy.is_none_or(|policy| **canary.version().name() == *policy))
            .ok_or_else(|| DeployError::NoCanary(policy.map(str::to_owned)))
    }

    fn canary_version(&self) -> Option<Deployed> {
        self.rollout.canary().as_ref().map(deployed)
    }

    fn forget_canary(&self, state: &mut Option<Activation>) {
        if let Some(state) = state
            && state.canary.take().is_some()
        {
            self.save(state);
        }
    }

    /// Who began the canary, and when.
    pub fn canary_origin(&self) -> Option<(Origin, u64)> {
        let state = self.lock();
        let canary = state.as_ref()?.canary.as_ref()?;
        Some((canary.origin.clone(), canary.began_at))
    }

    fn abort_by_itself(&self, canary: &Arc<Canary>, reason: &str) {
        let origin = Origin::router();
        let ended = self.end_canary(canary, Action::AutomaticAbort, &origin, Some(reason));
        if let Some(ended) = ended {
            self.metrics.automatic_aborts.add_shared(1);
            tracing::error!(
                policy = ended.policy,
                policy_version = ended.version.short(),
                reason,
                "the canary is aborted"
            );
        }
    }

    /// Ends a canary whose guards do not hold, and makes one active that has done well for its time.
    pub fn judge_canary(&self) {
        let Some(canary) = self.rollout.canary() else {
            return;
        };
        let (policy, policy_version) = (
            &**canary.version().name(),
            canary.version().digest().short(),
        );
        match canary.judge() {
            Judgement::GoesOn => {}
            Judgement::Silent => canary.tell_silent(),
            Judgement::Abort(reason) => self.abort_by_itself(&canary, &reason),
            Judgement::Promote => {
                let mut state = self.lock();
                // It may have been aborted before the state was free.
                if !self
                    .canary_of(None)
                    .is_ok_and(|other| Arc::ptr_eq(&other, &canary))
                {
                    return;
                }
                let promoted = self.promote_locked(
                    &canary,
                    Action::AutomaticPromote,
                    &Origin::router(),
                    &mut state,
                );
                drop(state);
                match promoted {
                    Ok(_) => tracing::warn!(
                        policy,
                        policy_version,
                        "the canary has done well for its time and is active"
                    ),
                    Err(error) => {
                        tracing::error!(policy, policy_version, %error, "the canary can't become active and is over");
                        self.end_canary(
                            &canary,
                            Action::AutomaticAbort,
                            &Origin::router(),
                            Some(&error.to_string()),
                        );
                    }
                }
            }
        }
    }
}

fn deployed(canary: &Arc<Canary>) -> Deployed {
    Deployed {
        policy: canary.version().name().to_string(),
        version: canary.version().digest().clone(),
    }
}

/// The thread that judges the canary. Dropping it ends it.
pub struct CanaryWatch {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl CanaryWatch {
    /// Judges whatever canary there is, a few times a second: a version that is being compiled does not hold it up.
    pub fn start(deployments: Weak<Deployments>) -> std::io::Result<CanaryWatch> {
        let (stop, stopped) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("canary-watch".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(JUDGE_EVERY) == Err(RecvTimeoutError::Timeout) {
                    let Some(deployments) = deployments.upgrade() else {
                        return;
                    };
                    deployments.judge_canary();
                }
            })?;
        Ok(CanaryWatch {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for CanaryWatch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches the canary panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{deployments, edit, operator, plain, policy, rule, start};
    use super::*;

    #[test]
    fn a_canary_that_does_not_load_any_more_is_over_and_what_is_active_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        let first = before.active().expect("active");
        let pushed = before
            .store("first", plain(&policy("pushed")), &operator())
            .expect("a policy");
        before
            .begin_canary("first", None, rule(5.0), &operator())
            .expect("a canary");
        drop(before);
        let file = format!("data/policies/versions/first/{}.wasm", pushed.version);
        std::fs::remove_file(folder.path().join(file)).expect("it was there");
        let after = start(folder.path(), "").expect("a policy");
        let line = after.audit().latest(1).expect("readable").remove(0);
        assert_eq!(line.action, Action::AutomaticAbort);
        assert_eq!(
            (line.before, line.after),
            (Some(pushed.name()), Some(first.name()))
        );
    }

    #[test]
    fn of_an_abort_and_a_promotion_at_the_same_time_one_is_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let router = deployments(folder.path());
        let pushed = router
            .store("first", plain(&policy("pushed")), &operator())
            .expect("a policy");
        router
            .begin_canary("first", None, rule(5.0), &operator())
            .expect("a canary");
        let canary = router.rollout.canary().expect("a canary");
        let aborted = std::thread::scope(|scope| {
            let mut state = router.lock();
            let abort = scope.spawn(|| router.abort(None, &operator()));
            while router.rollout.canary().is_some() {
                std::thread::yield_now();
            }
            router
                .promote_locked(&canary, Action::Promote, &operator(), &mut state)
                .expect("promoted");
            drop(state);
            abort.join().expect("it ends")
        });
        assert!(matches!(aborted, Err(DeployError::NoCanary(_))));
        assert_eq!(router.active(), Some(pushed));
        let lines = router.audit().latest(2).expect("readable");
        let done: Vec<_> = lines.iter().map(|line| (line.action, line.done)).collect();
        assert_eq!(done, [(Action::Abort, false), (Action::Promote, true)]);
    }

    #[test]
    fn a_canary_is_promoted_after_its_time_over_restarts() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = deployments(folder.path());
        let pushed = before
            .store("first", plain(&policy("pushed")), &operator())
            .expect("a policy");
        let mut rule = rule(5.0);
        rule.guards.min_calls = 0;
        rule.guards.duration = Some(Duration::from_secs(48 * 3600));
        before
            .begin_canary("first", None, rule, &operator())
            .expect("a canary");
        before.judge_canary();
        assert_ne!(before.active(), Some(pushed.clone()));
        drop(before);
        edit(folder.path(), |remembered| {
            remembered["canary"]["began_at"] = (unix_secs() - 48 * 3600).into();
        });
        let after = start(folder.path(), "").expect("a policy");
        after.judge_canary();
        assert_eq!(after.active(), Some(pushed));
    }
}
