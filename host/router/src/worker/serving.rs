//! Which version of the policy serves a hook that no route takes.

use std::sync::Arc;

use patchbay_core::door::PolicyVersion;
use patchbay_policy::{Reader, Version};

use super::hook_runs::HookJob;
use crate::hooks::{HookHost, Services};
use crate::rollout::Canary;

/// The canary that takes a new dialog, and what the core is told of it.
pub(super) fn canary_for(
    job: &HookJob,
    services: &Services,
) -> Option<(Arc<Version<HookHost>>, PolicyVersion)> {
    if job.version.number() != 0 || job.context.in_dialog {
        return None;
    }
    let rollout = &services.shared.rollout;
    let canary = rollout.choose_for(&job.context, services.worker, |canary| {
        is_shared(canary, services)
    })?;
    let number = PolicyVersion(canary.number()).keeping_dialog();
    Some((canary, number))
}

/// The version that a hook runs in, and what the core is told of it.
///
/// A version that the core has pinned is kept; only one named by a dialog whose time is over can be gone, and then the active one serves.
pub(super) fn pinned_or_active(
    pinned: PolicyVersion,
    policies: &mut Reader<HookHost>,
) -> Option<(&Arc<Version<HookHost>>, PolicyVersion)> {
    let number = pinned.number();
    if number != 0 && policies.by_number(number).is_some() {
        return Some((policies.by_number(number)?, pinned));
    }
    let active = policies.active()?;
    Some((active, PolicyVersion(active.number())))
}

/// Whether a canary may have requests that no route takes: it was begun for those, and its policy is the active one, or no route names it.
#[cold]
fn is_shared(canary: &Canary, services: &Services) -> bool {
    let name = &**canary.version().name();
    let is_active = services
        .shared
        .policies
        .active()
        .is_some_and(|active| **active.name() == *name);
    canary.reach().elsewhere && (is_active || !services.shared.routes.table().names_policy(name))
}
