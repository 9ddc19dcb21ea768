//! `[[policy.route]]`: requests that other policies than the active one route, on terms of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::Place;
use super::read;
use super::section::Section;
use super::source::Value;
use super::{Config, Grants, Listen, check};
use crate::rollout::Network;

/// Policies of one chain. Their versions stand together in one number, which can't tell more of them apart.
pub(crate) const MAX_CHAIN: usize = 4;
/// The namespace of those that name none.
const SHARED_NAMESPACE: &str = crate::location::DEFAULT_NAMESPACE;

/// Requests that one or more policies of their own route.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyRoute {
    /// Names it in logs, in the API and in the token of its dialogs; unique.
    pub name: String,
    /// The domains of its requests, lower case; empty: all.
    pub domains: Vec<String>,
    /// The listeners that its requests come in by; empty: all.
    pub listeners: Vec<Listen>,
    /// Where its requests come from; empty: from everywhere.
    pub sources: Vec<Network>,
    /// The policies, in the order of the chain.
    pub policies: Vec<String>,
    /// Whose registrations and values it sees.
    pub namespace: String,
    /// The realm of its challenges.
    pub realm: String,
    /// What its policies read as their settings: those of the route over those of all.
    pub settings: BTreeMap<String, String>,
    /// What its policies may do.
    pub grants: Grants,
    /// Its limits.
    pub limits: RouteLimits,
    /// Where its policies are written.
    pub place: Place,
}

/// The limits of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteLimits {
    /// Branches of a transaction, over all rounds.
    pub max_branches: usize,
    /// Rounds of `failure-route`.
    pub max_failure_rounds: u32,
    /// Contacts per address-of-record.
    pub max_contacts: usize,
    /// Live transactions that it began; 0: no limit but the router's.
    pub max_transactions: usize,
    /// New requests outside of dialogs, per second; 0: no limit.
    pub requests_per_second: u32,
    /// Hooks that wait for answers from outside, over all workers; 0: no limit but the router's.
    pub max_concurrent_hooks: usize,
}

impl PolicyRoute {
    /// Its number in tokens, the same as long as it has this name; never 0.
    pub fn number(&self) -> u32 {
        let hash = blake3::hash(self.name.as_bytes());
        let first = hash.as_bytes().first_chunk().copied();
        u32::from_be_bytes(first.unwrap_or_default()).max(1)
    }

    /// Whether it sees the registrations that all do who have no namespace of their own.
    pub fn is_shared(&self) -> bool {
        self.namespace == SHARED_NAMESPACE
    }

    /// What it is known by when it has no name.
    fn default_name(&self) -> String {
        let listener = || self.listeners.first().map(Listen::to_string);
        let source = || self.sources.first().map(Network::to_string);
        let domain = self.domains.first().cloned();
        domain.or_else(listener).or_else(source).unwrap_or_default()
    }

    fn conditions(&self) -> (&[String], &[Listen], &[Network]) {
        (&self.domains, &self.listeners, &self.sources)
    }
}

impl Config {
    /// The configuration as the policies of a route see it.
    pub fn of_route(&self, route: &PolicyRoute) -> Config {
        let mut config = self.clone();
        config.policy.settings.clone_from(&route.settings);
        config.policy.grants.clone_from(&route.grants);
        config.policy.routes = Vec::new();
        config.auth.realm.clone_from(&route.realm);
        config.limits.max_branches = route.limits.max_branches;
        config.limits.max_failure_rounds = route.limits.max_failure_rounds;
        config.registrar.max_contacts = route.limits.max_contacts;
        if !route.domains.is_empty() {
            config.node.domains.clone_from(&route.domains);
        }
        config
    }

    /// Every domain that this router is responsible for: its own, and those of routes.
    pub fn all_domains(&self) -> Vec<String> {
        let routes = self.policy.routes.iter();
        let own = self.node.domains.iter();
        let all: BTreeSet<String> = own
            .chain(routes.flat_map(|route| &route.domains))
            .map(|domain| domain.to_ascii_lowercase())
            .collect();
        all.into_iter().collect()
    }

    /// The domains that belong to routes: those that are not written as the node's own, and those of which a route takes every request.
    pub fn tenant_domains(&self) -> BTreeSet<String> {
        let is_own = |domain: &String| {
            let mut own = self.node.domains.iter();
            own.any(|own| own.eq_ignore_ascii_case(domain))
        };
        let of = |route: &PolicyRoute| {
            let takes_all = route.listeners.is_empty() && route.sources.is_empty();
            let domains = route.domains.iter();
            let owned = domains.filter(|domain| takes_all || !is_own(domain));
            owned.cloned().collect::<Vec<_>>()
        };
        self.policy.routes.iter().flat_map(of).collect()
    }

    /// The node's domains without those that belong to routes: where the active policy is at home.
    pub fn shared_domains(&self) -> Vec<String> {
        let owned = self.tenant_domains();
        let own = self.node.domains.iter();
        own.map(|domain| domain.to_ascii_lowercase())
            .filter(|domain| !owned.contains(domain))
            .collect()
    }

    /// The policies that routes name.
    pub fn routed_policies(&self) -> BTreeSet<String> {
        let routes = self.policy.routes.iter();
        routes.flat_map(|route| &route.policies).cloned().collect()
    }

    /// Whether some policy may use the key-value store.
    pub fn grants_keyvalue(&self) -> bool {
        let routes = self.policy.routes.iter().map(|route| &route.grants);
        let mut grants = std::iter::once(&self.policy.grants).chain(routes);
        grants.any(|grants| !grants.keyvalue.is_empty())
    }
}

/// Reads the routes into a configuration that is complete but for them.
pub(super) fn read(sections: Vec<Section<'_>>, config: &Config) -> Vec<PolicyRoute> {
    let mut routes: Vec<PolicyRoute> = Vec::new();
    for mut section in sections {
        let route = route(&mut section, config);
        if let Some(route) = &route {
            compare(&section, route, &routes);
        }
        section.finish();
        routes.extend(route);
    }
    routes
}

fn route(section: &mut Section<'_>, config: &Config) -> Option<PolicyRoute> {
    let place = section.place_of("policy");
    let domains = list(section, "domain", check::domain);
    let listeners = list(section, "listener", |text| listener(text, config));
    let sources = list(section, "source", |text| text.parse());
    let policies = policies(section);
    let default_realm = || domains.first().unwrap_or(&config.auth.realm).clone();
    let realm = section.parsed("realm", check::realm);
    let namespace = section.parsed("namespace", check::namespace);
    let name = section.parsed("name", check::route_name);
    let mut route = PolicyRoute {
        realm: realm.unwrap_or_else(default_realm),
        namespace: namespace.unwrap_or_else(|| SHARED_NAMESPACE.to_owned()),
        settings: settings(section, config),
        grants: grants(section, config),
        limits: limits(section.section("limits"), config),
        name: name.unwrap_or_default(),
        domains,
        listeners,
        sources,
        policies,
        place,
    };
    if !["domain", "listener", "source"]
        .map(|key| section.has(key))
        .contains(&true)
    {
        section.missing("domain, listener or source");
        return None;
    }
    if route.name.is_empty() {
        route.name = route.default_name();
    }
    (!route.policies.is_empty() && !route.name.is_empty()).then_some(route)
}

/// Two routes that can't be told apart.
fn compare(section: &Section<'_>, route: &PolicyRoute, before: &[PolicyRoute]) {
    if before
        .iter()
        .any(|other| other.conditions() == route.conditions())
    {
        section.problem(
            "policy",
            "another route before takes the same requests: this one would never have any",
        );
    } else if before.iter().any(|other| other.number() == route.number()) {
        section.problem(
            "name",
            format!(
                "another route is known as {:?}: give one of them a name",
                route.name
            ),
        );
    }
}

/// One text, or a list of them, each of which `read` turns into a value.
fn list<T: PartialEq>(
    section: &mut Section<'_>,
    key: &'static str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let texts = match section.written(key).map(|entry| &entry.value) {
        None => return Vec::new(),
        Some(Value::Array(_)) => section.texts(key),
        Some(_) => section.text(key).map(|text| vec![text]),
    };
    let Some(texts) = texts else {
        return Vec::new();
    };
    if texts.is_empty() {
        section.problem(
            key,
            match key {
                "policy" => {
                    "is empty: name the policy that gets the requests, or several in a list"
                }
                _ => "is empty: leave it out where it does not matter",
            },
        );
    }
    let mut values = Vec::new();
    for text in texts {
        match read(&text) {
            Ok(value) if values.contains(&value) => {
                section.problem(key, format!("{text:?} is there twice"));
            }
            Ok(value) => values.push(value),
            Err(message) => section.problem(key, message),
        }
    }
    values
}

fn listener(text: &str, config: &Config) -> Result<Listen, String> {
    let listener: Listen = text.parse()?;
    let is_it = |known: &&Listen| {
        (known.transport, known.address) == (listener.transport, listener.address)
    };
    match config.listen.iter().find(is_it) {
        Some(known) => Ok(known.clone()),
        None => Err(format!("there is no [[listen]] with address = {text:?}")),
    }
}

fn policies(section: &mut Section<'_>) -> Vec<String> {
    if !section.has("policy") {
        section.missing("policy");
    }
    let names = list(section, "policy", check::policy_name);
    if names.len() > MAX_CHAIN {
        section.problem(
            "policy",
            format!("a chain has {MAX_CHAIN} policies at most"),
        );
    }
    names
}

/// Those of `[policy.settings]`, with those of the route over them, key by key.
fn settings(section: &mut Section<'_>, config: &Config) -> BTreeMap<String, String> {
    let mut settings = config.policy.settings.clone();
    settings.extend(section.free_texts("settings"));
    settings
}

/// Those of `[policy.grants]`, or what the route says instead: then nothing is granted that it does not name, and headers stay bound to
/// what all policies may write, unless it names some.
fn grants(section: &mut Section<'_>, config: &Config) -> Grants {
    let shared = &config.policy.grants;
    let written = section.section("grants");
    if !written.is_present() {
        return shared.clone();
    }
    let own = read::grants(written);
    Grants {
        write_headers: own.write_headers.or_else(|| shared.write_headers.clone()),
        ..own
    }
}

fn limits(mut section: Section<'_>, config: &Config) -> RouteLimits {
    let shared = &config.limits;
    let rounds = section.number(
        "max_failure_rounds",
        shared.max_failure_rounds as usize,
        0..=shared.max_failure_rounds as usize,
    );
    let limits = RouteLimits {
        max_branches: section.number("max_branches", shared.max_branches, 1..=shared.max_branches),
        max_failure_rounds: u32::try_from(rounds).unwrap_or(u32::MAX),
        max_contacts: section.number("max_contacts", config.registrar.max_contacts, 1..=1000),
        max_transactions: section.number("max_transactions", 0, 0..=100_000_000),
        requests_per_second: section
            .parsed("requests_per_second", check::rate)
            .unwrap_or(0),
        max_concurrent_hooks: section.number("max_concurrent_hooks", 0, 0..=1_000_000),
    };
    section.finish();
    limits
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_route_without_policy_is_told_once() {
        let problems = |policy: &str| -> Vec<String> {
            let text = format!("[[policy.route]]\ndomain = \"a.example\"\n{policy}\n");
            let read = Config::parse(&text, Path::new(""), &Default::default());
            read.expect_err("problems").lines().collect()
        };
        assert_eq!(
            problems("polcy = \"builtin\""),
            ["line 3: policy.route.polcy: unknown key; did you mean policy.route.policy?"]
        );
        assert_eq!(
            problems("policy = []"),
            [
                "line 3: policy.route.policy: is empty: name the policy that gets the requests, or several in a list"
            ]
        );
        assert_eq!(problems(""), ["line 1: policy.route.policy: is missing"]);
    }
    use crate::config::Overrides;

    const BEGIN: &str = "[node]\ndomains = [\"example.com\"]\n[[listen]]\naddress = \"udp:127.0.0.1:5070\"\n[policy]\ndirectory = \".\"\n[policy.settings]\na = \"1\"\nb = \"2\"\n[policy.grants]\nhttp = [\"https://a.example/\"]\nkeyvalue = [\"k/\"]\nwrite_headers = [\"X-*\"]\n";

    fn parse(text: &str) -> Result<Config, Vec<String>> {
        let text = format!("{BEGIN}{text}");
        Config::parse(&text, Path::new("."), &Overrides::default())
            .map_err(|problems| problems.lines().collect())
    }

    fn problem(text: &str) -> String {
        let mut problems = parse(text).expect_err("a problem");
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.remove(0)
    }

    #[test]
    fn a_route_has_what_it_names_and_the_rest_of_all() {
        let config = parse("[[policy.route]]\ndomain = \"Tenant.Example\"\npolicy = \"tenant\"\n[policy.route.settings]\nb = \"3\"\n[policy.route.limits]\nmax_branches = 2\n[[policy.route]]\nlistener = [\"udp:127.0.0.1:5070\"]\nsource = \"10.0.0.0/8\"\npolicy = [\"a\", \"b\"]\nnamespace = \"x\"\n").expect("valid");
        let [first, second] = config.policy.routes.as_slice() else {
            panic!("two routes");
        };
        assert_eq!(
            (first.name.as_str(), first.realm.as_str()),
            ("tenant.example", "tenant.example")
        );
        assert!(first.is_shared() && !second.is_shared());
        assert_eq!(first.settings["a"], "1");
        assert_eq!(first.settings["b"], "3");
        assert_eq!(first.grants, config.policy.grants);
        assert_eq!(
            (first.limits.max_branches, first.limits.max_failure_rounds),
            (2, 8)
        );
        assert_eq!(
            (second.name.as_str(), second.realm.as_str()),
            ("udp:127.0.0.1:5070", "example.com")
        );
        assert_eq!(second.policies, ["a", "b"]);
        assert_ne!(first.number(), second.number());
        let effective = config.of_route(first);
        assert_eq!(effective.node.domains, ["tenant.example"]);
        assert_eq!(effective.auth.realm, "tenant.example");
        assert_eq!(config.all_domains(), ["example.com", "tenant.example"]);
        assert!(config.tenant_domains().contains("tenant.example"));
        assert_eq!(config.shared_domains(), ["example.com"]);
    }

    #[test]
    fn a_domain_of_the_node_is_a_tenants_when_its_route_takes_all_of_it() {
        let route = |more: &str| {
            let text =
                format!("[[policy.route]]\ndomain = \"example.com\"\npolicy = \"t\"\n{more}");
            parse(&text).expect("valid")
        };
        assert_eq!(route("").shared_domains(), [""; 0]);
        let some = route("listener = \"udp:127.0.0.1:5070\"\n");
        assert_eq!(some.shared_domains(), ["example.com"]);
        assert!(some.tenant_domains().is_empty());
    }

    #[test]
    fn grants_of_a_route_stand_alone() {
        let config = parse("[[policy.route]]\ndomain = \"t.example\"\npolicy = \"t\"\n[policy.route.grants]\nsave_location = true\n").expect("valid");
        let grants = &config.policy.routes[0].grants;
        assert!(grants.save_location && grants.http.is_empty() && grants.keyvalue.is_empty());
        assert_eq!(grants.write_headers, config.policy.grants.write_headers);
    }

    #[test]
    fn what_is_wrong_names_the_line() {
        let wrong = problem("[[policy.route]]\npolicy = \"t\"\n");
        assert!(
            wrong.starts_with("line 14: policy.route.domain, listener or source: is missing"),
            "{wrong}"
        );
        let wrong = problem("[[policy.route]]\ndomain = \"t.example\"\n");
        assert!(
            wrong.starts_with("line 14: policy.route.policy: is missing"),
            "{wrong}"
        );
        let wrong =
            problem("[[policy.route]]\ndomain = \"t.example\"\npolicy = \"t\"\nnamespac = \"t\"\n");
        assert!(
            wrong.contains(
                "line 17: policy.route.namespac: unknown key; did you mean policy.route.namespace?"
            ),
            "{wrong}"
        );
        let wrong = problem(
            "[[policy.route]]\nlistener = \"tcp:127.0.0.1:5070\"\npolicy = \"t\"\nname = \"t\"\n",
        );
        assert!(
            wrong.contains("line 15: policy.route.listener: there is no [[listen]]"),
            "{wrong}"
        );
        let wrong =
            problem("[[policy.route]]\nsource = [\"10.0.0.0/33\"]\npolicy = \"t\"\nname = \"t\"\n");
        assert!(wrong.contains("line 15: policy.route.source"), "{wrong}");
        let wrong = problem("[[policy.route]]\ndomain = \"t.example\"\npolicy = [\"a\", \"a\"]\n");
        assert!(wrong.contains("twice"), "{wrong}");
        let wrong = problem(
            "[[policy.route]]\ndomain = \"t.example\"\npolicy = [\"a\", \"b\", \"c\", \"d\", \"e\"]\n",
        );
        assert!(wrong.contains("4 policies at most"), "{wrong}");
    }

    #[test]
    fn a_limit_of_a_route_is_within_that_of_the_router() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("patchbay.toml");
        let load = |shared: &str, own: &str| {
            let text = format!(
                "{BEGIN}[[policy.route]]\ndomain = \"t.example\"\npolicy = \"t\"\n[policy.route.limits]\n{own}\n[limits]\n{shared}\n"
            );
            std::fs::write(&file, text).expect("write");
            Config::load(Some(&file), &Overrides::default()).map_err(|problems| {
                let lines: Vec<String> = problems.lines().collect();
                assert_eq!(lines.len(), 1, "{lines:?}");
                lines.concat()
            })
        };
        for (key, default) in [("max_branches", 32), ("max_failure_rounds", 8)] {
            let refused = load("", &format!("{key} = {}", default + 1)).expect_err("too many");
            let place = format!("{}:18: policy.route.limits.{key}: ", file.display());
            assert!(refused.starts_with(&place), "{refused}");
            assert!(refused.contains(&default.to_string()), "{refused}");
            let (shared, own) = (format!("{key} = 100"), format!("{key} = 99"));
            let limits = load(&shared, &own).expect("valid").policy.routes[0].limits;
            let numbers = [limits.max_branches, limits.max_failure_rounds as usize];
            assert!(numbers.contains(&99), "{numbers:?}");
            let inherited = load(&shared, "").expect("valid").policy.routes[0].limits;
            let numbers = [
                inherited.max_branches,
                inherited.max_failure_rounds as usize,
            ];
            assert!(numbers.contains(&100), "{numbers:?}");
        }
    }

    #[test]
    fn routes_that_can_not_be_told_apart_are_refused() {
        let one = "[[policy.route]]\ndomain = \"t.example\"\npolicy = \"t\"\n";
        assert!(
            problem(&format!("{one}{one}"))
                .contains("line 19: policy.route.policy: another route before")
        );
        let other = "[[policy.route]]\ndomain = [\"t.example\", \"u.example\"]\npolicy = \"t\"\n";
        assert!(problem(&format!("{one}{other}")).contains("another route is known as"));
        let named = format!("{one}{other}name = \"both\"\n");
        assert_eq!(parse(&named).expect("valid").policy.routes.len(), 2);
    }
}
