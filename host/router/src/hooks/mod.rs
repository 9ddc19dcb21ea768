//! What a policy may ask of the router while a hook runs.
//!
//! [`HookHost`] is the router's side of one hook run. It owns the context of the core while the guest runs and gives it back with the
//! verdict; nothing in it blocks or waits.

mod host;
mod log_budget;
mod lookups;
mod services;
mod timers;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use patchbay_core::door::HookContext;
use patchbay_core::time::Now;
use patchbay_policy::{Digest, Verification, Version};

use crate::config::Config;
use lookups::Lookups;

pub(crate) use services::Services;
pub(crate) use verdict::{core_fault, policy_hook};

/// The router's side of one hook run.
pub struct HookHost {
    /// The configuration when the run began: one run never sees two.
    config: Arc<Config>,
    /// `None` while a version is checked, before there is any traffic.
    services: Option<Arc<Services>>,
    policy: PolicyName,
    now: Now,
    /// `None` in `init` and `event-route`.
    context: Option<Box<HookContext>>,
    lookups: Lookups,
    group: u16,
    no_answer: Option<Duration>,
    reply: ReplyParts,
    verification: Option<Verification>,
}

/// Which policy runs, for logs and counters.
#[derive(Clone, Debug)]
struct PolicyName {
    name: Arc<str>,
    /// `None` while the version is checked.
    version: Option<Digest>,
}

/// What a `reply` verdict carries besides its status.
#[derive(Clone, Debug, Default)]
struct ReplyParts {
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Option<(Vec<u8>, Vec<u8>)>,
}

impl HookHost {
    /// The host of `init`: there are settings, a clock and a log, and nothing else.
    pub fn for_init(config: Arc<Config>, policy: &str) -> HookHost {
        let policy = PolicyName {
            name: policy.into(),
            version: None,
        };
        HookHost::new(config, None, policy, Now::default(), None)
    }

    /// The host of a hook on a message.
    pub(crate) fn for_message(
        services: &Arc<Services>,
        version: &Version<HookHost>,
        now: Now,
        context: Box<HookContext>,
    ) -> HookHost {
        let policy = PolicyName {
            name: Arc::clone(version.name()),
            version: Some(version.digest().clone()),
        };
        HookHost::new(
            services.config(),
            Some(Arc::clone(services)),
            policy,
            now,
            Some(context),
        )
    }

    /// The host of `event-route`.
    pub(crate) fn for_event(
        services: &Arc<Services>,
        version: &Version<HookHost>,
        now: Now,
    ) -> HookHost {
        let policy = PolicyName {
            name: Arc::clone(version.name()),
            version: Some(version.digest().clone()),
        };
        HookHost::new(
            services.config(),
            Some(Arc::clone(services)),
            policy,
            now,
            None,
        )
    }

    fn new(
        config: Arc<Config>,
        services: Option<Arc<Services>>,
        policy: PolicyName,
        now: Now,
        context: Option<Box<HookContext>>,
    ) -> HookHost {
        HookHost {
            config,
            services,
            policy,
            now,
            context,
            lookups: Lookups::default(),
            group: 0,
            no_answer: None,
            reply: ReplyParts::default(),
            verification: None,
        }
    }
}
