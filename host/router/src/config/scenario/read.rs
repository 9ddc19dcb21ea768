//! From the text of a file to its scenarios.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use patchbay_core::time::UnixTime;

use super::{
    HttpServer, Scenario, ScenarioFile, Setting, StoredValue, outside, phones, steps, time,
};
use crate::config::problem::{Place, Problem, Problems};
use crate::config::read::{self as configuration, Overrides, SCENARIO};
use crate::config::section::{Findings, Section};
use crate::config::source::{self, Entry, Value};

/// When a scenario begins that does not say it: 2023-11-14 22:13:20 UTC.
const START: UnixTime = UnixTime(1_700_000_000);
/// The name of the router, where it is not written: that of the machine would make runs differ.
const NODE: &str = "router";

impl ScenarioFile {
    /// Reads a file; finds every problem at once.
    pub(crate) fn read(path: &Path) -> Result<ScenarioFile, Problems> {
        let mut problems = Vec::new();
        let tree = source::read_file(path, &mut problems);
        let folder = path.parent().unwrap_or(Path::new(""));
        let (file, list) = file(path, &tree, problems, folder);
        let file_name = Some(path.to_path_buf());
        if list.is_empty() {
            Ok(file)
        } else {
            Err(Problems {
                file: file_name,
                list,
            })
        }
    }

    /// Reads text that is in no file.
    pub(crate) fn of_text(text: &str) -> Result<ScenarioFile, Problems> {
        let mut problems = Vec::new();
        let tree = source::parse(text, &mut problems);
        let (file, list) = file(Path::new(""), &tree, problems, Path::new(""));
        if list.is_empty() {
            Ok(file)
        } else {
            Err(Problems { file: None, list })
        }
    }
}

/// What can be written for a file and for a scenario.
#[derive(Clone, Default)]
struct Common {
    start: Option<UnixTime>,
    settings: BTreeMap<String, String>,
    users: BTreeMap<String, String>,
    hosts: HashMap<String, Vec<IpAddr>>,
    phones: Vec<(String, phones::Written)>,
    /// Those of the scenario come first.
    http: Vec<Vec<HttpServer>>,
    keyvalue: BTreeMap<String, StoredValue>,
    router: BTreeMap<String, Entry>,
}

fn file(
    path: &Path,
    tree: &BTreeMap<String, Entry>,
    problems: Vec<Problem>,
    folder: &Path,
) -> (ScenarioFile, Vec<Problem>) {
    let findings = Findings::new(problems);
    let mut root = Section::root(tree, &findings, folder);
    let policy = root.path("policy");
    let policy = policy.map(|path| (path, line(root.place_of("policy"))));
    let common = Common::read(&mut root);
    let mut scenarios: Vec<Scenario> = Vec::new();
    for mut section in root.sections("scenario").unwrap_or_default() {
        let scenario = scenario(&mut section, &common, &findings, folder);
        if scenarios.iter().any(|other| other.name == scenario.name) {
            let message = format!("there is a scenario {:?} already", scenario.name);
            section.problem("name", message);
        }
        section.finish();
        scenarios.push(scenario);
    }
    root.finish();
    let file = ScenarioFile {
        path: path.to_path_buf(),
        policy,
        scenarios,
        setting: common.setting(&findings, folder),
    };
    let mut list = findings.into_problems();
    // What is written once for all scenarios is wrong once.
    list.dedup();
    (file, list)
}

fn scenario(
    section: &mut Section<'_>,
    common: &Common,
    findings: &Findings,
    folder: &Path,
) -> Scenario {
    if !section.has("name") {
        section.missing("name");
    }
    let name = section.text("name").unwrap_or_default();
    let setting = common.with(Common::read(section)).setting(findings, folder);
    let init_error = section.text("init_error");
    let allow_faults = section.boolean("allow_faults", false);
    let steps = steps::read(section, &setting.phones);
    if init_error.is_some() && !steps.is_empty() {
        section.problem(
            "init_error",
            "a policy whose init fails routes nothing: leave out the steps",
        );
    }
    if init_error.is_none() && steps.is_empty() {
        section.problem("step", "a scenario has steps, such as step = [{ from = \"alice\", send = \"INVITE\", to = \"bob\" }]");
    }
    Scenario {
        name,
        line: line(section.place()),
        setting,
        init_error,
        allow_faults,
        steps,
    }
}

/// The number of a line; 0 for what is written nowhere.
pub(super) fn line(place: Place) -> usize {
    match place {
        Place::Line(line) => line,
        Place::CommandLine | Place::Nowhere => 0,
    }
}

impl Common {
    fn read(section: &mut Section<'_>) -> Common {
        let router = match section.written("router").map(|entry| &entry.value) {
            Some(Value::Table(table)) => table.clone(),
            Some(other) => {
                section.wrong_type("router", "a section", other);
                BTreeMap::new()
            }
            None => BTreeMap::new(),
        };
        Common {
            start: section.parsed("time", time::moment),
            settings: section.free_texts("settings"),
            users: section.free_texts("users"),
            hosts: hosts(section),
            phones: phones::read(section),
            http: vec![outside::servers(section)],
            keyvalue: outside::values(section).into_iter().collect(),
            router,
        }
    }

    /// With what a scenario says for itself.
    fn with(&self, own: Common) -> Common {
        let mut all = self.clone();
        all.start = own.start.or(all.start);
        all.settings.extend(own.settings);
        all.users.extend(own.users);
        all.hosts.extend(own.hosts);
        for (name, phone) in own.phones {
            match all.phones.iter_mut().find(|(other, _)| *other == name) {
                Some((_, known)) => *known = phone,
                None => all.phones.push((name, phone)),
            }
        }
        all.http.splice(0..0, own.http);
        all.keyvalue.extend(own.keyvalue);
        overlay(&mut all.router, own.router);
        all
    }

    fn setting(&self, findings: &Findings, folder: &Path) -> Setting {
        let tree = self.router.clone();
        let overrides = Overrides::default();
        let (mut config, problems) =
            configuration::read(tree, Vec::new(), folder, &SCENARIO, &overrides);
        for problem in problems {
            let key = format!("router.{}", problem.key);
            findings.report(Problem { key, ..problem });
        }
        if !is_written(&self.router, "node", "name") {
            NODE.clone_into(&mut config.node.name);
        }
        config.node.workers = 1;
        if let Some(route) = config.policy.routes.first() {
            findings.report(Problem::new(
                route.place,
                "router.policy.route",
                "a scenario has one policy, and no routes: what a route gives it can be written as settings and as router.auth.realm",
            ));
        }
        config.policy.settings.extend(self.settings.clone());
        let domain = config.node.domains.first().cloned().unwrap_or_default();
        let phones = phones::complete(&self.phones, &domain);
        let mut users = phones::users(&phones);
        // Written last, so that a phone can have a password that is not the user's.
        users.extend(self.users.clone());
        Setting {
            config: Arc::new(config),
            start: self.start.unwrap_or(START),
            users,
            hosts: self.hosts.clone(),
            phones,
            http: self.http.clone(),
            keyvalue: self.keyvalue.clone(),
        }
    }
}

fn is_written(tree: &BTreeMap<String, Entry>, section: &str, key: &str) -> bool {
    match tree.get(section).map(|entry| &entry.value) {
        Some(Value::Table(table)) => table.contains_key(key),
        _ => false,
    }
}

/// Puts `over` on top of a tree, section by section.
fn overlay(tree: &mut BTreeMap<String, Entry>, over: BTreeMap<String, Entry>) {
    for (key, entry) in over {
        match (tree.get_mut(&key).map(|known| &mut known.value), entry) {
            (
                Some(Value::Table(known)),
                Entry {
                    value: Value::Table(inner),
                    ..
                },
            ) => {
                overlay(known, inner);
            }
            (_, entry) => {
                tree.insert(key, entry);
            }
        }
    }
}

/// `[hosts]`: the addresses of a name, separated by spaces.
fn hosts(section: &mut Section<'_>) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts = HashMap::new();
    for (name, text) in section.free_texts("hosts") {
        let addresses: Result<Vec<IpAddr>, _> = text.split_whitespace().map(str::parse).collect();
        match addresses {
            Ok(addresses) => {
                hosts.insert(name.to_ascii_lowercase(), addresses);
            }
            Err(_) => section.problem(
                "hosts",
                format!(
                    "{text:?} are no addresses of {name}: write them like \"192.0.2.7 2001:db8::7\""
                ),
            ),
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use patchbay_core::door::Transport;

    use super::*;
    use crate::config::Registration;
    use crate::config::scenario::{Act, HeaderIs, Pattern, What};

    fn problems(text: &str) -> Vec<String> {
        ScenarioFile::of_text(text)
            .expect_err("problems")
            .lines()
            .collect()
    }

    const CALL: &str = r#"
        [settings]
        voicemail = "sip:vm@192.0.2.9"
        [phone]
        alice = {}
        bob = { registered = true, password = "secret" }
        vm = { address = "tcp:192.0.2.9:5070" }
        [[scenario]]
        name = "busy"
        step = [
            { from = "alice", send = "INVITE", to = "bob" },
            { at = "bob", expect = "INVITE", header = { X-A = "1*", X-B = false }, answer = 486 },
            { at = "alice", expect = 200, after = "2s", within = "3s" },
        ]
        [[scenario]]
        name = "required"
        settings = { voicemail = "sip:other@192.0.2.9" }
        router.auth.registration = "required"
        [[scenario.step]]
        from = "bob"
        send = "REGISTER"
    "#;

    #[test]
    fn what_is_written_for_all_holds_for_each() {
        let file = ScenarioFile::of_text(CALL).unwrap();
        let [busy, required] = &file.scenarios[..] else {
            panic!("two scenarios")
        };
        assert_eq!((busy.line, busy.steps[1].line), (8, 12));
        let setting = |scenario: &Scenario| {
            let config = &scenario.setting.config;
            (
                config.policy.settings["voicemail"].clone(),
                config.auth.registration,
            )
        };
        assert_eq!(
            setting(busy),
            ("sip:vm@192.0.2.9".to_owned(), Registration::Open)
        );
        assert_eq!(
            setting(required),
            ("sip:other@192.0.2.9".to_owned(), Registration::Required)
        );
        let phones: Vec<_> = busy
            .setting
            .phones
            .iter()
            .map(|phone| (phone.name.as_str(), phone.contact.as_str(), phone.transport))
            .collect();
        assert_eq!(
            phones,
            [
                ("alice", "sip:alice@192.0.2.1:5060", Transport::Udp),
                ("bob", "sip:bob@192.0.2.2:5060", Transport::Udp),
                ("vm", "sip:vm@192.0.2.9:5070;transport=tcp", Transport::Tcp),
            ]
        );
        assert_eq!(busy.setting.users["bob"], "secret");
    }

    #[test]
    fn a_step_says_what_is_to_be_seen() {
        let file = ScenarioFile::of_text(CALL).unwrap();
        let Act::Expect(expect) = &file.scenarios[0].steps[1].act else {
            panic!("an expectation")
        };
        assert_eq!(expect.what, What::Request("INVITE".to_owned()));
        let headers = [
            ("X-A".to_owned(), HeaderIs::Like(Pattern("1*".to_owned()))),
            ("X-B".to_owned(), HeaderIs::Absent),
        ];
        assert_eq!(expect.headers, headers);
        assert_eq!(
            expect.answers.as_ref().map(|answers| answers[0].status),
            Some(486)
        );
    }

    #[test]
    fn a_wrong_key_is_named_with_the_nearest_one() {
        let text = CALL.replace("registered = true", "registred = true");
        assert_eq!(
            problems(&text),
            ["line 6: phone.registred: unknown key; did you mean phone.registered?"]
        );
        let text = CALL.replace("within =", "withn =");
        assert_eq!(
            problems(&text),
            ["line 13: scenario.step.withn: unknown key; did you mean scenario.step.within?"]
        );
        let text = CALL.replace("auth.registration", "auth.registratoin");
        assert_eq!(
            problems(&text),
            ["line 18: router.auth.registratoin: unknown key; did you mean auth.registration?"]
        );
    }

    #[test]
    fn a_known_key_in_the_wrong_place_is_not_called_unknown() {
        let text = CALL.replace("{ at = \"alice\"", "{ from = \"bob\", at = \"alice\"");
        assert_eq!(
            problems(&text),
            ["line 13: scenario.step.from: does not go with the other keys here: leave it out"]
        );
    }

    #[test]
    fn what_is_written_below_a_section_and_belongs_above_it_is_told() {
        let text = "[phone]\nalice = { password = \"s\" }\nrouter.auth.registration = \"required\"\n[[scenario]]\nname = \"a\"\nstep = [{ from = \"alice\", send = \"OPTIONS\" }]\n";
        let found = problems(text);
        assert!(
            found[0].starts_with("line 3: phone.router: below [phone]")
                && found[0].contains("above the first section"),
            "{found:?}"
        );
        assert!(
            !found.iter().any(|line| line.contains("unknown key")),
            "{found:?}"
        );
    }

    #[test]
    fn a_method_is_written_in_capitals() {
        let text = CALL.replace("send = \"INVITE\"", "send = \"invite\"");
        assert_eq!(
            problems(&text),
            ["line 11: scenario.step.send: \"invite\" is written \"INVITE\""]
        );
        let text = CALL.replace("expect = \"INVITE\"", "expect = \"Invite\"");
        assert_eq!(
            problems(&text),
            ["line 12: scenario.step.expect: \"Invite\" is written \"INVITE\""]
        );
    }

    #[test]
    fn a_key_that_is_misspelt_or_written_twice_is_told_once() {
        let text = CALL.replace("at = \"bob\"", "att = \"bob\"");
        assert_eq!(
            problems(&text),
            ["line 12: scenario.step.att: unknown key; did you mean scenario.step.at?"]
        );
        let text = CALL.replace("alice = {}", "alice = {}\nalice = {}");
        assert_eq!(problems(&text), ["line 6: alice is written twice"]);
    }

    #[test]
    fn a_scenario_has_no_routes() {
        let route = "[[router.policy.route]]\ndomain = \"a.example\"\npolicy = \"builtin\"\n";
        let found = problems(&format!("{CALL}\n{route}"));
        assert!(
            found.len() == 1 && found[0].contains("router.policy.route: a scenario has one policy"),
            "{found:?}"
        );
    }

    #[test]
    fn a_phone_that_there_is_not_is_named_with_the_nearest_one() {
        let text = CALL.replace("at = \"bob\"", "at = \"bub\"");
        assert_eq!(
            problems(&text),
            ["line 12: scenario.step.at: there is no phone \"bub\"; did you mean bob?"]
        );
    }

    #[test]
    fn every_problem_is_found_at_once() {
        let found = problems(
            "[[scenario]]\nstep = [{}, { at = \"192.0.2.1\", expect = \"nothing\" }]\n[hosts]\na = \"b\"\n",
        );
        assert_eq!(found.len(), 4, "{found:?}");
    }
}
