//! What hooks see of the configuration: everything that an answer of the host may depend on and that is no question of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use patchbay_core::door::{CoreConfig, Listener};
use patchbay_core::local::LocalNames;
use serde::{Deserialize, Serialize};

use super::conversions::transport_named;
use crate::config::{Config, Grants, Listen, Overrides, Registration, transport_name};

/// The part of a configuration that hooks can see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The name of the node.
    pub node: String,
    /// The domains that are ours.
    pub domains: Vec<String>,
    /// The listeners, by their numbers.
    pub listeners: Vec<ListenerTrace>,
    /// `auth.realm`.
    pub realm: String,
    /// Whether REGISTER needs verified credentials.
    pub registration_required: bool,
    /// `policy.settings`.
    pub settings: BTreeMap<String, String>,
    /// `policy.grants.http`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<String>,
    /// `policy.grants.keyvalue`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keyvalue: Vec<String>,
    /// `policy.grants.write_headers`.
    pub write_headers: Option<Vec<String>>,
    /// `policy.grants.save_location`.
    pub save_location: bool,
    /// `policy.memory_limit`, in bytes.
    pub memory_limit: usize,
    /// `policy.hook_deadline`, in microseconds; 0: not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hook_deadline_us: u64,
    /// Whether users and addresses are hidden in it and in its runs; the head of a recording says so.
    #[serde(skip)]
    pub redacted: bool,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerTrace {
    /// `udp`, `tcp`, `tls`, `ws` or `wss`.
    pub transport: String,
    /// The bound address.
    pub address: SocketAddr,
    /// The address as it is configured.
    pub configured: SocketAddr,
    /// What goes into Via and Record-Route.
    pub advertise: Option<String>,
}

/// What hooks need of an environment to run in it again.
pub(crate) struct World {
    /// The configuration with what hooks can see of it.
    pub(crate) config: Arc<Config>,
    /// Which hosts are ours.
    pub(crate) names: LocalNames,
    /// The listeners, by their numbers.
    pub(crate) listeners: Vec<Listener>,
    /// Whether users and addresses are hidden in the runs.
    pub(crate) redacted: bool,
}

impl Environment {
    /// The environment of a configuration with these listeners.
    pub(crate) fn of(config: &Config, listeners: &[Listener]) -> Environment {
        let configured = config.listen.iter().map(|listen| Some(listen.address));
        Environment {
            node: config.node.name.clone(),
            domains: config.shared_domains(),
            listeners: listeners
                .iter()
                .zip(configured.chain(std::iter::repeat(None)))
                .map(|(listener, configured)| ListenerTrace {
                    transport: transport_name(listener.transport).to_owned(),
                    address: listener.address,
                    configured: configured.unwrap_or(listener.address),
                    advertise: listener.advertise.clone(),
                })
                .collect(),
            realm: config.auth.realm.clone(),
            registration_required: config.auth.registration == Registration::Required,
            settings: config.policy.settings.clone(),
            http: config.policy.grants.http.clone(),
            keyvalue: config.policy.grants.keyvalue.clone(),
            write_headers: config.policy.grants.write_headers.clone(),
            save_location: config.policy.grants.save_location,
            memory_limit: config.policy.memory_limit,
            hook_deadline_us: u64::try_from(config.policy.hook_deadline.as_micros())
                .unwrap_or(u64::MAX),
            redacted: false,
        }
    }

    /// `policy.hook_deadline`, when it is known.
    pub(super) fn hook_deadline(&self) -> Option<Duration> {
        (self.hook_deadline_us > 0).then(|| Duration::from_micros(self.hook_deadline_us))
    }

    /// The world of this environment.
    pub(crate) fn world(&self) -> World {
        let listeners = self.listeners();
        World {
            config: Arc::new(self.config()),
            names: LocalNames::new(&self.core_config(&listeners)),
            listeners,
            redacted: self.redacted,
        }
    }

    fn listeners(&self) -> Vec<Listener> {
        let listener = |listener: &ListenerTrace| Listener {
            transport: transport_named(&listener.transport),
            address: listener.address,
            advertise: listener.advertise.clone(),
        };
        self.listeners.iter().map(listener).collect()
    }

    /// The configuration, as far as hooks see it.
    pub(crate) fn config(&self) -> Config {
        let (mut config, _) = Config::examine(None::<&Path>, &Overrides::default());
        config.node.name.clone_from(&self.node);
        config.node.domains.clone_from(&self.domains);
        config.listen = self
            .listeners
            .iter()
            .map(|listener| Listen {
                transport: transport_named(&listener.transport),
                address: listener.configured,
                advertise: listener.advertise.clone(),
            })
            .collect();
        config.auth.realm.clone_from(&self.realm);
        config.auth.registration = match self.registration_required {
            true => Registration::Required,
            false => Registration::Open,
        };
        config.policy.settings.clone_from(&self.settings);
        config.policy.memory_limit = self.memory_limit;
        if let Some(hook_deadline) = self.hook_deadline() {
            config.policy.hook_deadline = hook_deadline;
        }
        config.policy.grants = Grants {
            http: self.http.clone(),
            keyvalue: self.keyvalue.clone(),
            write_headers: self.write_headers.clone(),
            save_location: self.save_location,
        };
        config
    }

    /// Only names and listeners of it are looked at.
    fn core_config(&self, listeners: &[Listener]) -> CoreConfig {
        CoreConfig {
            node: self.node.clone(),
            worker: 0,
            domains: self.domains.clone(),
            listeners: listeners.to_vec(),
            tenant_domains: Default::default(),
            token_key: [0; 32],
            registration_required: self.registration_required,
            realm: self.realm.clone(),
            pin_dialog: false,
            t1: Duration::ZERO,
            t2: Duration::ZERO,
            t4: Duration::ZERO,
            timer_c: Duration::ZERO,
            max_transactions: 0,
            max_branches: 0,
            max_failure_rounds: 0,
            max_breadth: 0,
            retry_after_secs: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use patchbay_core::door::Transport;
    use patchbay_message::Uri;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, "".as_ref(), &Overrides::default()).expect("valid")
    }

    #[test]
    fn an_environment_makes_a_configuration_that_hooks_can_not_tell_apart() {
        let config = config(
            "[node]\nname = \"n\"\ndomains = [\"example.com\"]\n[[listen]]\naddress = \"udp:127.0.0.1:0\"\n[auth]\nrealm = \"r\"\nregistration = \"required\"\n[policy.settings]\na = \"b\"\n[policy.grants]\nwrite_headers = [\"X-*\"]\nsave_location = true\n",
        );
        let listeners = [Listener {
            transport: Transport::Udp,
            address: "127.0.0.1:5060".parse().expect("valid"),
            advertise: None,
        }];
        let environment = Environment::of(&config, &listeners);
        let world = environment.world();
        assert_eq!(
            Environment::of(&world.config, &world.listeners),
            environment
        );
        let json = serde_json::to_string(&environment).expect("JSON");
        assert_eq!(
            serde_json::from_str::<Environment>(&json).expect("the same"),
            environment
        );
        let local = "127.0.0.1".parse().expect("valid");
        for (uri, ours) in [
            ("sip:a@example.com", true),
            ("sip:a@127.0.0.1:5060", true),
            ("sip:a@127.0.0.1:5070", false),
            ("sip:a@other.example", false),
        ] {
            let uri = Uri::parse(uri.as_bytes()).expect("valid");
            assert_eq!(world.names.is_local(&uri, local), ours);
        }
    }
}
