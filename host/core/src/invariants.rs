//! What must hold between any two inputs; tests ask after each step.

use crate::core::Core;
use crate::proxy::context::{BranchStage, Kind, ResponseContext, Stage};
use crate::proxy::spent::SpentContext;
use crate::table::Handle;

impl Core {
    /// Checks what must hold between any two inputs; for tests.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn check_invariants(&self) {
        for (handle, branch) in self.branches.iter() {
            let Some(context) = self.contexts.get(branch.context) else {
                unreachable!("branch {handle:?} has no context");
            };
            assert!(
                context.branches.contains(&handle.slot),
                "context does not know branch {handle:?}"
            );
            assert!(!branch.is_over(), "finished branch {handle:?} was kept");
            assert!(
                branch.deadline().is_none() || branch.alarm.is_set(),
                "branch {handle:?} has no alarm"
            );
        }
        for (handle, context) in self.contexts.iter() {
            self.check_context(handle, context);
        }
        for (key, handle) in &self.keys {
            let known = match self.contexts.get(*handle) {
                Some(context) => context.key,
                None => self.contexts.spent(*handle).and_then(SpentContext::key),
            };
            assert_eq!(known, Some(*key), "key without context");
        }
        self.check_spent();
        self.answered.check();
    }

    fn check_context(&self, handle: Handle, context: &ResponseContext) {
        let is_open = |slot: &&u32| {
            self.branches
                .at(**slot)
                .is_some_and(|branch| branch.stage != BranchStage::Finished)
        };
        let open = context.branches.iter().filter(is_open).count();
        assert_eq!(open, context.open, "open branches of {handle:?}");
        assert_eq!(
            context.kind == Kind::Ack,
            context.server.is_none(),
            "only an ACK has no server transaction"
        );
        let waits = context.hook.is_some() || context.open > 0 || context.stage == Stage::Saving;
        let machine_runs = context
            .server
            .as_ref()
            .is_some_and(|server| server.deadline().is_some());
        let absorbs = !context.branches.is_empty();
        assert!(
            waits || machine_runs || absorbs,
            "nothing will ever end context {handle:?}: {:?}",
            context.stage
        );
        let needs_alarm = context
            .server
            .as_ref()
            .is_some_and(|server| server.deadline().is_some());
        assert!(
            !needs_alarm || context.alarm.is_set(),
            "context {handle:?} has no alarm"
        );
    }
}
