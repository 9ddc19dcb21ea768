//! From the tree of written values to a [`Config`], section by section, with every default.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::node;
use super::problem::{Place, Problem, Problems};
use super::section::{Findings, Section, choice_of};
use super::source::{self, Entry};
use super::{
    ActivePolicy, Admin, Auth, BUILTIN, Config, DEFAULT_ADMIN, DEFAULT_SIP_PORT, DigestAlgorithm,
    Durability, Grants, Limits, Listen, Log, LogFormat, Node, Pin, Policy, Registrar, Registration,
    Timers, Tls, TlsDomain, Transport, check, route,
};
use crate::outside::UrlPrefix;
use crate::signature::PublicKey;

/// What the command line changes.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`: replaces `[[listen]]` when it is not empty.
    pub listen: Vec<Listen>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--policy`.
    pub policy: Option<PathBuf>,
    /// `--set key=value`.
    pub set: Vec<String>,
}

/// What holds when a key is not written. It depends on whether there is a file.
pub(super) struct Defaults {
    pub(super) domains: &'static [&'static str],
    address: IpAddr,
    registration: Registration,
}

const WITH_FILE: Defaults = Defaults {
    domains: &[],
    address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    registration: Registration::Required,
};
const DEVELOPMENT: Defaults = Defaults {
    domains: &["localhost", "127.0.0.1"],
    address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    registration: Registration::Open,
};

/// No calls are kept unless somebody wants to look at them.
const DEFAULT_CALL_RING: usize = 0;

/// Of the router in a scenario: its addresses and domains are those of examples (RFC 5737, RFC 2606).
pub(super) const SCENARIO: Defaults = Defaults {
    domains: &["example.com"],
    address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    registration: Registration::Open,
};

const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);

impl Config {
    /// Reads the file (without one: the development defaults) and applies the overrides; finds every problem at once.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Config, Problems> {
        let (config, problems) = Config::examine(file, overrides);
        if problems.list.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    /// The same for who wants to look further: with the problems, and a configuration that has defaults where they are.
    pub fn examine(file: Option<&Path>, overrides: &Overrides) -> (Config, Problems) {
        let mut problems = Vec::new();
        let tree = file.map_or_else(BTreeMap::new, |path| source::read_file(path, &mut problems));
        let folder = file
            .and_then(Path::parent)
            .unwrap_or(Path::new(""))
            .to_path_buf();
        let defaults = if file.is_some() {
            &WITH_FILE
        } else {
            &DEVELOPMENT
        };
        let (config, list) = read(tree, problems, &folder, defaults, overrides);
        let file = file.map(Path::to_path_buf);
        (config, Problems { file, list })
    }

    /// Reads the text of a file, as if it were in `folder`.
    pub fn parse(text: &str, folder: &Path, overrides: &Overrides) -> Result<Config, Problems> {
        let mut problems = Vec::new();
        let tree = source::parse(text, &mut problems);
        let (config, list) = read(tree, problems, folder, &WITH_FILE, overrides);
        if list.is_empty() {
            Ok(config)
        } else {
            Err(Problems { file: None, list })
        }
    }
}

pub(super) fn read(
    mut tree: BTreeMap<String, Entry>,
    mut problems: Vec<Problem>,
    folder: &Path,
    defaults: &Defaults,
    overrides: &Overrides,
) -> (Config, Vec<Problem>) {
    problems.extend(
        overrides
            .set
            .iter()
            .filter_map(|assignment| source::set(&mut tree, assignment).err()),
    );
    if let Some(file) = overrides.policy.as_deref()
        && let Err(message) = check::policy_file(file)
    {
        problems.push(Problem::new(Place::CommandLine, "--policy", message));
    }
    let findings = Findings::new(problems);
    let mut root = Section::root(&tree, &findings, folder);
    let node = node::read(root.section("node"), defaults, overrides);
    let auth = auth(root.section("auth"), defaults, &node);
    let (policy, routes) = policy(root.section("policy"), overrides);
    let mut config = Config {
        listen: listen(&mut root, defaults, overrides),
        tls: tls(root.section("tls")),
        policy,
        registrar: registrar(root.section("registrar")),
        auth,
        limits: limits(root.section("limits")),
        timers: timers(root.section("timers")),
        admin: admin(root.section("admin")),
        log: log(root.section("log")),
        node,
    };
    config.policy.routes = route::read(routes, &config);
    root.finish();
    (config, findings.into_problems())
}

fn listen(root: &mut Section<'_>, defaults: &Defaults, overrides: &Overrides) -> Vec<Listen> {
    let written = root.sections("listen");
    let mut listeners: Vec<Listen> = Vec::new();
    for mut section in written.into_iter().flatten() {
        if !section.has("address") {
            section.missing("address");
        }
        let advertise = section.parsed("advertise", check::advertise);
        if let Some(listener) =
            section.parsed("address", |text| text.parse().and_then(check::supported))
        {
            if listener.address.port() != 0
                && listeners.iter().any(|other| {
                    other.transport == listener.transport && other.address == listener.address
                })
            {
                section.problem("address", format!("{listener} is listened to already"));
            }
            listeners.push(Listen {
                advertise,
                ..listener
            });
        }
        section.finish();
    }
    if !overrides.listen.is_empty() {
        for listener in &overrides.listen {
            if let Err(message) = check::supported(listener.clone()) {
                root.problem("--listen", message);
            }
        }
        return overrides.listen.clone();
    }
    if listeners.is_empty() {
        let address = SocketAddr::new(defaults.address, DEFAULT_SIP_PORT);
        return [Transport::Udp, Transport::Tcp]
            .map(|transport| Listen {
                transport,
                address,
                advertise: None,
            })
            .into();
    }
    listeners
}

fn tls(mut section: Section<'_>) -> Option<Tls> {
    let certificate = section.existing_file("certificate");
    let private_key = section.existing_file("private_key");
    let client_ca = section.existing_file("client_ca");
    let mut domains = Vec::new();
    for domain in section.sections("domain").unwrap_or_default() {
        domains.extend(tls_domain(domain));
    }
    if section.is_present() {
        for (key, value) in [("certificate", &certificate), ("private_key", &private_key)] {
            if value.is_none() && !section.has(key) {
                section.missing(key);
            }
        }
    }
    section.finish();
    Some(Tls {
        certificate: certificate?,
        private_key: private_key?,
        client_ca,
        domains,
    })
}

fn tls_domain(mut section: Section<'_>) -> Option<TlsDomain> {
    for key in ["name", "certificate", "private_key"] {
        if !section.has(key) {
            section.missing(key);
        }
    }
    let name = section.parsed("name", check::domain);
    let certificate = section.existing_file("certificate");
    let private_key = section.existing_file("private_key");
    section.finish();
    Some(TlsDomain {
        name: name?,
        certificate: certificate?,
        private_key: private_key?,
    })
}

/// `[policy]`, and what it has of routes.
fn policy<'a>(mut section: Section<'a>, overrides: &Overrides) -> (Policy, Vec<Section<'a>>) {
    let directory = section.path("directory");
    if let Some(directory) = directory.as_deref().filter(|directory| !directory.is_dir()) {
        section.problem(
            "directory",
            format!("there is no directory {}", directory.display()),
        );
    }
    let active = match section.parsed("active", check::policy_name) {
        None => ActivePolicy::Unset,
        Some(name) if name == BUILTIN => ActivePolicy::Builtin,
        Some(name) => ActivePolicy::Named(name),
    };
    let hook_deadline = section.duration("hook_deadline", Duration::from_millis(50), MILLISECOND);
    let hook_timeout = section.duration("hook_timeout", 5 * SECOND, MILLISECOND);
    if hook_timeout < hook_deadline {
        section.problem(
            "hook_timeout",
            "must not be shorter than hook_deadline, which it includes",
        );
    }
    let trusted_keys = trusted_keys(&mut section);
    let routes = section.sections("route").unwrap_or_default();
    let policy = Policy {
        directory,
        active: overrides.policy.clone().map_or(active, ActivePolicy::File),
        active_place: section.place_of("active"),
        hook_deadline,
        hook_timeout,
        max_concurrent_hooks: section.number("max_concurrent_hooks", 1000, 1..=1_000_000),
        memory_limit: section.size("memory_limit", 64 << 20, (1 << 20)..=(4 << 30)),
        pin: section.choice(
            "pin",
            Pin::Transaction,
            &[("transaction", Pin::Transaction), ("dialog", Pin::Dialog)],
        ),
        trusted_keys,
        call_ring: section.number("call_ring", DEFAULT_CALL_RING, 0..=1_000_000),
        setting_places: section.places("settings"),
        settings: section.free_texts("settings"),
        grants: grants(section.section("grants")),
        routes: Vec::new(),
    };
    section.finish();
    (policy, routes)
}

fn trusted_keys(section: &mut Section<'_>) -> Vec<PublicKey> {
    let mut keys = Vec::new();
    for text in section.texts("trusted_keys").unwrap_or_default() {
        match text.parse() {
            Ok(key) => keys.push(key),
            Err(message) => section.problem("trusted_keys", message),
        }
    }
    keys
}

pub(super) fn grants(mut section: Section<'_>) -> Grants {
    let grants = Grants {
        http: section.texts("http").unwrap_or_default(),
        keyvalue: section.texts("keyvalue").unwrap_or_default(),
        write_headers: section.texts("write_headers"),
        save_location: section.boolean("save_location", false),
    };
    for url in &grants.http {
        if let Err(problem) = UrlPrefix::parse(url) {
            section.problem("http", problem.to_string());
        }
    }
    for pattern in grants.write_headers.iter().flatten() {
        if let Err(message) = check::header_pattern(pattern) {
            section.problem("write_headers", message);
        }
    }
    section.finish();
    grants
}

fn registrar(mut section: Section<'_>) -> Registrar {
    let registrar = Registrar {
        default_expires: section.duration("default_expires", 3600 * SECOND, SECOND),
        min_expires: section.duration("min_expires", 60 * SECOND, SECOND),
        max_expires: section.duration("max_expires", 7200 * SECOND, SECOND),
        max_contacts: section.number("max_contacts", 10, 1..=1000),
        durability: section.choice(
            "durability",
            Durability::Batched,
            &[
                ("batched", Durability::Batched),
                ("relaxed", Durability::Relaxed),
                ("memory", Durability::Memory),
            ],
        ),
    };
    if registrar.min_expires > registrar.max_expires {
        section.problem("min_expires", "must not be longer than max_expires");
    } else if !(registrar.min_expires..=registrar.max_expires).contains(&registrar.default_expires)
    {
        section.problem(
            "default_expires",
            "must be between min_expires and max_expires",
        );
    }
    section.finish();
    registrar
}

const ALGORITHMS: &[(&str, DigestAlgorithm)] = &[
    ("MD5", DigestAlgorithm::Md5),
    ("SHA-256", DigestAlgorithm::Sha256),
    ("SHA-512-256", DigestAlgorithm::Sha512_256),
];

fn auth(mut section: Section<'_>, defaults: &Defaults, node: &Node) -> Auth {
    let default_realm = || node.domains.first().unwrap_or(&node.name).clone();
    let auth = Auth {
        realm: section
            .parsed("realm", check::realm)
            .unwrap_or_else(default_realm),
        algorithms: algorithms(&mut section),
        registration: section.choice(
            "registration",
            defaults.registration,
            &[
                ("required", Registration::Required),
                ("open", Registration::Open),
            ],
        ),
        nonce_lifetime: section.duration("nonce_lifetime", 300 * SECOND, SECOND),
        trust_udp_source: section.boolean("trust_udp_source", false),
    };
    section.finish();
    auth
}

fn algorithms(section: &mut Section<'_>) -> Vec<DigestAlgorithm> {
    let Some(names) = section.texts("algorithms") else {
        return vec![DigestAlgorithm::Sha256, DigestAlgorithm::Md5];
    };
    if names.is_empty() {
        section.problem("algorithms", "at least one algorithm is needed");
    }
    let mut algorithms = Vec::new();
    for name in names {
        match choice_of(&name, ALGORITHMS) {
            Ok(algorithm) if algorithms.contains(&algorithm) => {
                section.problem("algorithms", format!("{name:?} is there twice"))
            }
            Ok(algorithm) => algorithms.push(algorithm),
            Err(message) => section.problem("algorithms", message),
        }
    }
    algorithms
}

fn limits(mut section: Section<'_>) -> Limits {
    let limits = Limits {
        max_message_bytes: section.size("max_message_bytes", 64 << 10, 1024..=(16 << 20)),
        max_connections: section.number("max_connections", 100_000, 1..=10_000_000),
        max_transactions: section.number("max_transactions", 1_000_000, 1..=100_000_000),
        max_branches: section.number("max_branches", 32, 1..=1000),
        max_failure_rounds: u32::try_from(section.number("max_failure_rounds", 8, 0..=1000))
            .unwrap_or(u32::MAX),
        requests_per_source: section
            .parsed("requests_per_source", check::rate)
            .unwrap_or(0),
    };
    section.finish();
    limits
}

fn timers(mut section: Section<'_>) -> Timers {
    let timers = Timers {
        t1: section.duration("t1", Duration::from_millis(500), MILLISECOND),
        t2: section.duration("t2", 4 * SECOND, MILLISECOND),
        t4: section.duration("t4", 5 * SECOND, MILLISECOND),
        timer_c: section.duration("timer_c", 181 * SECOND, SECOND),
    };
    if timers.t2 < timers.t1 {
        section.problem("t2", "must not be shorter than t1");
    }
    section.finish();
    timers
}

fn admin(mut section: Section<'_>) -> Admin {
    let admin = Admin {
        listen: section
            .parsed("listen", check::address)
            .unwrap_or(DEFAULT_ADMIN),
        token_file: section.existing_file("token_file"),
    };
    if admin.token_file.is_none() && !admin.listen.ip().is_loopback() {
        section.problem(
            "listen",
            format!(
                "{} is no loopback address: without token_file only loopback is allowed",
                admin.listen
            ),
        );
    }
    let token_file = admin.token_file.as_deref().filter(|path| path.is_file());
    if let Some(Err(message)) = token_file.map(check::token) {
        section.problem("token_file", message);
    }
    section.finish();
    admin
}

fn log(mut section: Section<'_>) -> Log {
    let log = Log {
        format: section.choice(
            "format",
            LogFormat::Text,
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        ),
        filter: section
            .parsed("filter", check::log_filter)
            .unwrap_or_else(|| "info".to_owned()),
        redact: section.boolean("redact", false),
    };
    section.finish();
    log
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Io;

    fn problems(text: &str) -> Vec<String> {
        match Config::parse(text, Path::new(""), &Overrides::default()) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.lines().collect(),
        }
    }

    fn set(assignments: &[&str]) -> Result<Config, Problems> {
        let overrides = Overrides {
            set: assignments.iter().map(|&text| text.to_owned()).collect(),
            ..Overrides::default()
        };
        Config::load(None, &overrides)
    }

    #[test]
    fn unknown_key_names_line_and_nearest_key() {
        assert_eq!(
            problems("[limits]\nmax_branch = 3\n"),
            ["line 2: limits.max_branch: unknown key; did you mean limits.max_branches?"]
        );
        assert_eq!(
            problems("[auth]\n\nmax_contacts = 3\n"),
            ["line 3: auth.max_contacts: unknown key; did you mean registrar.max_contacts?"]
        );
    }

    #[test]
    fn unknown_section_names_nearest_section() {
        assert_eq!(
            problems("[node]\n[registar]\n"),
            ["line 2: registar: unknown key; did you mean registrar?"]
        );
    }

    #[test]
    fn wrong_types_name_both_types() {
        assert_eq!(
            problems("[node]\nname = 5\n"),
            ["line 2: node.name: wrong type: text in quotes is expected, this is a number"]
        );
        assert_eq!(
            problems("[node]\nworkers = \"2\"\n"),
            ["line 2: node.workers: wrong type: a whole number is expected, this is text"]
        );
        assert_eq!(
            problems("node = 1\n"),
            ["line 1: node: wrong type: a section is expected, this is a number"]
        );
        assert_eq!(
            problems("[log]\nredact = \"yes\"\n"),
            ["line 2: log.redact: wrong type: true or false is expected, this is text"]
        );
        assert_eq!(
            problems("[timers]\nt1 = 500\n"),
            ["line 2: timers.t1: wrong type: text in quotes is expected, this is a number"]
        );
    }

    #[test]
    fn every_problem_is_found_at_once() {
        let text = "[node]\nworkers = 0\n[timers]\nt1 = \"fast\"\n[log]\nfromat = \"json\"\n";
        let found = problems(text);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("line 2: node.workers: 0 is not between"),
            "{found:?}"
        );
        assert!(
            found[1].starts_with("line 4: timers.t1: \"fast\" is no duration"),
            "{found:?}"
        );
        assert!(
            found[2].starts_with("line 6: log.fromat: unknown key; did you mean log.format?"),
            "{found:?}"
        );
    }

    #[test]
    fn syntax_errors_name_the_line() {
        let found = problems("[node]\nname = \"a\ndomains = []\n");
        assert!(
            found
                .first()
                .is_some_and(|line| line.starts_with("line 2: ")),
            "{found:?}"
        );
    }

    #[test]
    fn trusted_keys_are_public_keys() {
        let found = problems("[policy]\ntrusted_keys = [\"abc\"]\n");
        assert!(
            found.len() == 1 && found[0].contains("policy.trusted_keys: \"abc\" is no public key"),
            "{found:?}"
        );
    }

    #[test]
    fn what_this_version_lacks_is_refused() {
        for (text, expected) in [
            ("[[listen]]\naddress = \"tls:127.0.0.1:5061\"\n", "tls"),
            ("[[listen]]\naddress = \"ws:127.0.0.1:5066\"\n", "ws"),
        ] {
            let found = problems(text);
            assert!(
                found.len() == 1
                    && found[0].contains("not supported by this version")
                    && found[0].contains(expected),
                "{found:?}"
            );
        }
    }

    #[test]
    fn without_a_token_only_loopback_is_allowed() {
        let found = problems("[admin]\nlisten = \"0.0.0.0:8060\"\n");
        assert_eq!(
            found,
            [
                "line 2: admin.listen: 0.0.0.0:8060 is no loopback address: without token_file only loopback is allowed"
            ]
        );
        assert!(problems("[admin]\nlisten = \"[::1]:8060\"\n").is_empty());
    }

    #[test]
    fn missing_files_are_problems() {
        let found = problems(
            "[admin]\ntoken_file = \"/nonexistent/token\"\n[policy]\ndirectory = \"/nonexistent/policies\"\n",
        );
        assert!(
            found[0].starts_with("line 2: admin.token_file: /nonexistent/token: "),
            "{found:?}"
        );
        assert_eq!(
            found[1],
            "line 4: policy.directory: there is no directory /nonexistent/policies"
        );
    }

    #[test]
    fn a_missing_configuration_file_is_a_problem() {
        let problems = Config::load(
            Some(Path::new("/nonexistent/patchbay.toml")),
            &Overrides::default(),
        )
        .expect_err("no such file");
        assert!(
            problems
                .to_string()
                .starts_with("/nonexistent/patchbay.toml: can't be read: "),
            "{problems}"
        );
    }

    #[test]
    fn development_defaults_are_loopback_and_open() {
        let config = set(&[]).expect("the defaults");
        assert!(
            config
                .listen
                .iter()
                .all(|listener| listener.address.ip().is_loopback())
        );
        assert_eq!(config.node.domains, ["localhost", "127.0.0.1"]);
        assert_eq!(config.auth.registration, Registration::Open);
        assert_eq!(config.auth.realm, "localhost");
        assert_eq!(config.node.data_dir, Path::new("patchbay-data"));
        assert_eq!(config.policy.active, ActivePolicy::Unset);
        assert_eq!(config.admin.listen, DEFAULT_ADMIN);
    }

    #[test]
    fn a_file_asks_for_registration_by_default() {
        let config = Config::parse(
            "[node]\nname = \"edge\"\n",
            Path::new(""),
            &Overrides::default(),
        )
        .expect("valid");
        assert_eq!(config.auth.registration, Registration::Required);
        assert_eq!(config.auth.realm, "edge");
    }

    #[test]
    fn set_changes_keys_of_every_type() {
        let config = set(&[
            "node.workers=3",
            "node.domains=a.example, b.example",
            "timers.t1=250ms",
            "log.redact=true",
            "policy.settings.voicemail=sip:vm@127.0.0.1:5090",
            "policy.settings.\"a.b\"=\"quoted\"",
            "listen=[{address = \"udp:127.0.0.1:0\"}]",
            "auth.algorithms=[\"MD5\"]",
        ])
        .expect("valid");
        assert_eq!(config.node.workers, 3);
        assert_eq!(config.node.domains, ["a.example", "b.example"]);
        assert_eq!(config.timers.t1, Duration::from_millis(250));
        assert!(config.log.redact);
        assert_eq!(config.policy.settings["voicemail"], "sip:vm@127.0.0.1:5090");
        assert_eq!(config.policy.settings["a.b"], "quoted");
        assert_eq!(config.listen.len(), 1);
        assert_eq!(config.auth.algorithms, [DigestAlgorithm::Md5]);
    }

    #[test]
    fn set_of_an_unknown_key_is_a_problem_of_the_command_line() {
        let problems = set(&["node.worker=3", "nonsense"]).expect_err("unknown");
        let lines: Vec<String> = problems.lines().collect();
        assert!(
            lines.contains(
                &"command line: node.worker: unknown key; did you mean node.workers?".to_owned()
            ),
            "{lines:?}"
        );
        assert!(
            lines
                .iter()
                .any(|line| line.contains("\"nonsense\" is not of the form key=value")),
            "{lines:?}"
        );
    }

    #[test]
    fn listen_of_the_command_line_replaces_the_file() {
        let overrides = Overrides {
            listen: vec!["udp:[::1]:0".parse().expect("valid")],
            ..Overrides::default()
        };
        let config = Config::parse(
            "[[listen]]\naddress = \"udp:127.0.0.1:5060\"\n",
            Path::new(""),
            &overrides,
        )
        .expect("valid");
        assert_eq!(config.listen, overrides.listen);
    }

    #[test]
    fn relative_paths_are_relative_to_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("policies")).expect("a folder");
        let config = Config::parse(
            "[policy]\ndirectory = \"policies\"\n[node]\ndata_dir = \"data\"\n",
            folder.path(),
            &Overrides::default(),
        )
        .expect("valid");
        assert_eq!(
            config.policy.directory,
            Some(folder.path().join("policies"))
        );
        assert_eq!(config.node.data_dir, folder.path().join("data"));
    }

    #[test]
    fn a_whole_file_is_read() {
        let text = r#"
            [node]
            name = "edge-1"
            domains = ["Example.COM"]
            drain_timeout = "10s"
            workers = 2
            io = "epoll"
            spin = "20us"
            [[listen]]
            address = "udp:0.0.0.0:5060"
            advertise = "sip.example.com:5060"
            [policy]
            active = "builtin"
            hook_deadline = "20ms"
            pin = "dialog"
            memory_limit = "32MiB"
            trusted_keys = []
            [policy.settings]
            voicemail = "sip:voicemail@127.0.0.1:5090"
            [policy.grants]
            write_headers = ["X-*"]
            save_location = true
            [registrar]
            durability = "relaxed"
            [auth]
            algorithms = ["SHA-512-256", "MD5"]
            [limits]
            max_message_bytes = "32KiB"
            requests_per_source = "50"
            [timers]
            timer_c = "200s"
            [log]
            format = "json"
            filter = "info,patchbay=debug"
        "#;
        let config = Config::parse(text, Path::new(""), &Overrides::default()).expect("valid");
        assert_eq!(config.node.domains, ["example.com"]);
        assert_eq!(
            (config.node.io, config.node.spin),
            (Io::Epoll, Duration::from_micros(20))
        );
        assert_eq!(
            config.listen[0].advertise.as_deref(),
            Some("sip.example.com:5060")
        );
        assert_eq!(config.policy.pin, Pin::Dialog);
        assert_eq!(
            config.policy.grants.write_headers.as_deref(),
            Some(["X-*".to_owned()].as_slice())
        );
        assert_eq!(
            config.auth.algorithms,
            [DigestAlgorithm::Sha512_256, DigestAlgorithm::Md5]
        );
        assert_eq!(config.limits.requests_per_source, 50);
        assert_eq!(config.limits.max_message_bytes, 32768);
        assert_eq!(config.registrar.durability, Durability::Relaxed);
    }
}
