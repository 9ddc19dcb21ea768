//! What the versions of a policy have to be fit for.

use std::sync::Arc;

use patchbay_policy::Use;

use crate::config::{Config, PolicyRoute};
use crate::hooks::HookHost;
use crate::policy_directory::configured_name;

/// What a version of this policy has to start for: every route that names it, and the requests that no route takes unless another
/// policy is configured for them.
pub fn uses_of(config: &Arc<Config>, name: &str) -> Vec<Use<HookHost>> {
    let routes = config.policy.routes.iter();
    let named = routes.filter(|route| route.policies.iter().any(|policy| policy == name));
    let mut uses: Vec<Use<HookHost>> = named.map(|route| of_route(config, route, name)).collect();
    if uses.is_empty() || configured_name(&config.policy) == name {
        uses.push(Use::anywhere(HookHost::for_init(Arc::clone(config), name)));
    }
    uses
}

fn of_route(config: &Config, route: &PolicyRoute, name: &str) -> Use<HookHost> {
    Use {
        route: Some(route.name.clone()),
        host: HookHost::for_init(Arc::new(config.of_route(route)), name),
    }
}
