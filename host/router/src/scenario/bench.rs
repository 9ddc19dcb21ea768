//! Policies ready to be tested, and the router that one scenario gets of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;

use arc_swap::ArcSwap;
use patchbay_core::auth::{AuthConfig, Authenticator, Ha1Set};
use patchbay_core::door::Listener;
use patchbay_policy::{
    Engine, EngineConfig, EngineError, Hook, KeyValueRequest, LoadError, Policies,
};

use super::world::World;
use crate::config::scenario::Setting;
use crate::config::{Config, DEFAULT_SIP_PORT, Durability};
use crate::data_dir::Secrets;
use crate::hooks::HookHost;
use crate::keyvalue::KeyValueStore;
use crate::location::{DEFAULT_NAMESPACE, Events, LocationConfig, LocationService};
use crate::metrics::Metrics;
use crate::outside::{HttpClient, Script};
use crate::routes::Routes;
use crate::server::{Shared, auth_config};
use crate::trace::Traces;
use crate::users::Users;
use crate::worker::VirtualWorker;

/// Changes of bindings at one moment.
const MAX_CHANGES: usize = 1000;
/// Nonces that one scenario can use.
const REPLAY_NONCES: usize = 64;

/// A component under a name.
#[derive(Clone, Debug)]
pub(super) struct Component {
    pub(super) name: String,
    pub(super) bytes: Arc<Vec<u8>>,
}

/// A component that runs with the settings of a scenario.
pub(super) struct Tested {
    policies: Arc<Policies<HookHost>>,
    users: Arc<Users>,
}

/// Engines and what was loaded into them, so that nothing is compiled or loaded twice.
pub(super) struct Bench {
    jobs: usize,
    /// Where compiled components stay from run to run.
    cache: Option<PathBuf>,
    engines: Vec<(Limits, Engine<HookHost>)>,
    loaded: Vec<Loaded>,
}

/// The parts of the configuration that an engine is made with.
#[derive(Clone, PartialEq)]
struct Limits {
    memory_limit: usize,
    hook_deadline: std::time::Duration,
    hook_timeout: std::time::Duration,
    max_concurrent_hooks: usize,
}

struct Loaded {
    component: Arc<Vec<u8>>,
    config: Arc<Config>,
    result: Result<Arc<Policies<HookHost>>, LoadError>,
}

impl Bench {
    /// A bench for so many threads.
    pub(super) fn new(jobs: usize, cache: Option<PathBuf>) -> Bench {
        Bench {
            jobs,
            cache,
            engines: Vec::new(),
            loaded: Vec::new(),
        }
    }

    /// Loads a component with the configuration of a scenario, and runs `init`.
    pub(super) fn test(
        &mut self,
        component: &Component,
        setting: &Setting,
    ) -> Result<Result<Tested, LoadError>, EngineError> {
        let config = &setting.config;
        let known = self.loaded.iter().find(|loaded| {
            Arc::ptr_eq(&loaded.component, &component.bytes) && loaded.config == *config
        });
        let result = match known.map(|loaded| loaded.result.clone()) {
            Some(result) => result,
            None => {
                let result = load(self.engine(config)?, component, config);
                self.loaded.push(Loaded {
                    component: Arc::clone(&component.bytes),
                    config: Arc::clone(config),
                    result: result.clone(),
                });
                result
            }
        };
        Ok(result.map(|policies| Tested {
            policies,
            users: Arc::new(users(setting)),
        }))
    }

    fn engine(&mut self, config: &Config) -> Result<Engine<HookHost>, EngineError> {
        let policy = &config.policy;
        let limits = Limits {
            memory_limit: policy.memory_limit,
            hook_deadline: policy.hook_deadline,
            hook_timeout: policy.hook_timeout,
            max_concurrent_hooks: policy.max_concurrent_hooks,
        };
        if let Some((_, engine)) = self.engines.iter().find(|(known, _)| *known == limits) {
            return Ok(engine.clone());
        }
        let engine = Engine::new(EngineConfig {
            cache_dir: self.cache.clone(),
            memory_limit: limits.memory_limit,
            hook_deadline: limits.hook_deadline,
            hook_timeout: limits.hook_timeout,
            max_concurrent_hooks: limits.max_concurrent_hooks,
            workers: self.jobs,
            ..EngineConfig::default()
        })?;
        self.engines.push((limits, engine.clone()));
        Ok(engine)
    }
}

fn load(
    engine: Engine<HookHost>,
    component: &Component,
    config: &Arc<Config>,
) -> Result<Arc<Policies<HookHost>>, LoadError> {
    let (init_config, name) = (Arc::clone(config), component.name.clone());
    let policies = Policies::new(engine, move || {
        HookHost::for_init(Arc::clone(&init_config), &name)
    });
    policies.store(&component.name, &component.bytes)?;
    match policies.activate(&component.name, None) {
        Ok(_) => Ok(Arc::new(policies)),
        Err(patchbay_policy::ActivateError::Load(error)) => Err(error),
        Err(other) => unreachable!("it was stored: {other}"),
    }
}

fn users(setting: &Setting) -> Users {
    let realm = &setting.config.auth.realm;
    Users::of(setting.users.iter().map(|(user, password)| {
        let hashes = Ha1Set::from_password(user, realm, password);
        (user.clone(), realm.clone(), hashes)
    }))
}

impl Tested {
    /// A router that knows nothing yet but what the setting says.
    pub(super) fn world(&self, setting: &Setting) -> Result<World, String> {
        self.world_with(setting, 0, Script::new(setting.http.clone()))
    }

    /// The same, with random numbers and servers that are drawn from a seed.
    pub(super) fn random_world(&self, setting: &Setting, seed: u64) -> Result<World, String> {
        let script = Script::at_random(setting.http.clone(), seed);
        self.world_with(setting, seed, script)
    }

    fn world_with(&self, setting: &Setting, seed: u64, script: Script) -> Result<World, String> {
        let config = &setting.config;
        let listeners = listeners(config);
        let (sender, changes) = sync_channel(MAX_CHANGES);
        let policies = Arc::clone(&self.policies);
        let has_event_route = policies
            .active()
            .is_some_and(|version| version.exports(Hook::EventRoute));
        let location = LocationConfig {
            durability: Durability::Memory,
            events: has_event_route.then(|| Events {
                sender,
                wanted: Arc::new(|| true),
            }),
            ..LocationConfig::of(&config.registrar, listeners.clone())
        };
        let key = [7; 32];
        let auth = AuthConfig {
            replay_nonces: REPLAY_NONCES,
            ..auth_config(config)
        };
        let shared = Shared {
            config: ArcSwap::new(Arc::clone(config)),
            traces: Arc::new(Traces::new(1, Vec::new(), 0)),
            listeners,
            secrets: Secrets {
                token_key: key,
                nonce_key: key,
            },
            location: Arc::new(LocationService::untimed(location)),
            users: Arc::clone(&self.users),
            authenticator: Arc::new(Authenticator::new(key, auth)),
            policies,
            rollout: Arc::default(),
            // A scenario has one policy.
            routes: Routes::default(),
            // What a scenario tells happens in it alone.
            http: HttpClient::scripted(Arc::new(script)),
            keyvalue: store(setting)?,
            metrics: Arc::new(Metrics::new(1)),
            draining: AtomicBool::new(false),
        };
        let (start, hosts) = (setting.start, setting.hosts.clone());
        let worker = VirtualWorker::new(Arc::new(shared), changes, start, seed, hosts);
        World::new(worker, setting)
    }
}

/// The values that there are from the start.
fn store(setting: &Setting) -> Result<KeyValueStore, String> {
    let store = KeyValueStore::default();
    let now_ms = setting.start.0.saturating_mul(1000);
    for (key, value) in &setting.keyvalue {
        let ttl_secs = value.ttl.map(|ttl| ttl.as_secs());
        let request = KeyValueRequest::Set {
            key,
            value: value.text.as_bytes(),
            ttl_secs: ttl_secs.map(|secs| u32::try_from(secs).unwrap_or(u32::MAX)),
        };
        let set = store.carry_out(DEFAULT_NAMESPACE, request, now_ms);
        set.map_err(|error| format!("keyvalue {key:?}: {}", error.message))?;
    }
    Ok(store)
}

/// Nothing is bound: a port of 0 is the usual one.
fn listeners(config: &Config) -> Vec<Listener> {
    let listener = |listen: &crate::config::Listen| {
        let mut address = listen.address;
        if address.port() == 0 {
            address.set_port(DEFAULT_SIP_PORT);
        }
        Listener {
            transport: listen.transport,
            address,
            advertise: listen.advertise.clone(),
        }
    };
    config.listen.iter().map(listener).collect()
}
