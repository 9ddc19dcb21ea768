//! Whether the policies that routes of a configuration name can run, offline.

use std::collections::BTreeSet;
use std::sync::Arc;

use patchbay_policy::{Engine, EngineConfig, LoadError};

use super::BUILTIN_POLICY;
use super::configured::file_of;
use super::versions::VersionFiles;
use crate::config::{BUILTIN, Config, Place, PolicyRoute, Problem};
use crate::data_dir::policy_versions;
use crate::routes::uses_of;

/// The key that names them.
const KEY: &str = "policy.route.policy";

/// Every problem of the policies that routes name: that there is none, or that it does not take the settings and grants of a route.
pub fn check_routes(config: &Config) -> Vec<Problem> {
    if config.policy.routes.is_empty() {
        return Vec::new();
    }
    let engine = match Engine::new(EngineConfig::default()) {
        Ok(engine) => engine,
        Err(error) => return vec![Problem::new(Place::Nowhere, KEY, error.to_string())],
    };
    let config = Arc::new(config.clone());
    let mut problems = Vec::new();
    for name in config.routed_policies() {
        let Some(bytes) = component(&config, &name) else {
            let routes = routes_of(&config, &name);
            problems.extend(routes.map(|route| missing(route, &name)));
            continue;
        };
        let refused = match bytes {
            Ok(bytes) => engine
                .load_for(&name, &bytes, uses_of(&config, &name))
                .err(),
            Err(error) => {
                let place = place_of(&config, &name, None);
                problems.push(Problem::new(place, KEY, format!("{name}: {error}")));
                continue;
            }
        };
        problems.extend(refused.map(|error| {
            let route = match &error {
                LoadError::Route { route, .. } => Some(route.as_str()),
                _ => None,
            };
            let place = place_of(&config, &name, route);
            Problem::new(place, KEY, format!("{name}: {error}"))
        }));
    }
    problems.sort_by_key(|problem| problem.place);
    problems
}

/// The component that a policy would start with: its file, else the newest version that is kept of it.
fn component(config: &Config, name: &str) -> Option<std::io::Result<Vec<u8>>> {
    if name == BUILTIN {
        return (!BUILTIN_POLICY.is_empty()).then(|| Ok(BUILTIN_POLICY.to_vec()));
    }
    if let Some(path) = file_of(&config.policy, name).filter(|path| path.is_file()) {
        return Some(std::fs::read(path));
    }
    let versions = VersionFiles(policy_versions(&config.node.data_dir));
    let kept = versions.list().unwrap_or_default();
    let newest = kept.iter().rev().find(|file| file.policy == name)?;
    Some(versions.get(name, &newest.digest))
}

fn missing(route: &PolicyRoute, name: &str) -> Problem {
    let message = format!(
        "there is no policy {name:?}: no {name}.wasm in policy.directory, and no version of it was pushed to this router"
    );
    Problem::new(route.place, KEY, message)
}

fn routes_of<'c>(config: &'c Config, name: &'c str) -> impl Iterator<Item = &'c PolicyRoute> {
    let routes = config.policy.routes.iter();
    let mut seen = BTreeSet::new();
    routes.filter(move |route| {
        route.policies.iter().any(|policy| policy == name) && seen.insert(route.number())
    })
}

fn place_of(config: &Config, name: &str, route: Option<&str>) -> Place {
    let is_meant = |found: &&PolicyRoute| route.is_none_or(|route| found.name == route);
    let found = routes_of(config, name).find(is_meant);
    found.map_or(Place::Nowhere, |route| route.place)
}
