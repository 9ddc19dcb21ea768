use std::time::Duration;

use patchbay_policy::{Engine, EngineConfig, VersionState};

use super::*;
use crate::config::{Config, Overrides};
use crate::data_dir::DataDir;
use crate::rollout::Rule;
use crate::signature::{self, PrivateKey};
use crate::trace::Traces;

/// A policy that lets every branch pass. What else is in it makes it another version.
pub(crate) fn policy(comment: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $code
                (func (export "hook") (result i32) i32.const 0)
                (@custom "comment" "{comment}"))
            (core instance $code (instantiate $code))
            (type $verdict (enum "pass" "drop"))
            (component $hooks
                (type $verdict (enum "pass" "drop"))
                (import "verdict" (type $imported (eq $verdict)))
                (import "hook" (func $hook (result $imported)))
                (export $exported "branch-verdict" (type $verdict))
                (export "branch-route" (func $hook) (func (result $exported))))
            (func $hook (result $verdict) (canon lift (core func $code "hook")))
            (instance $hooks (instantiate $hooks
                (with "verdict" (type $verdict))
                (with "hook" (func $hook))))
            (export "patchbay:policy/branch-route@0.1.0" (instance $hooks)))"#
    );
    wat::parse_str(text).expect("a component")
}

/// A directory with two policies, and the router's policies on it.
pub(super) fn deployments(folder: &Path) -> Deployments {
    let directory = folder.join("policies");
    std::fs::create_dir(&directory).expect("a directory of policies");
    for name in ["first", "second"] {
        std::fs::write(directory.join(format!("{name}.wasm")), policy(name)).expect("a policy");
    }
    start(folder, "").expect("a policy")
}

/// The policies of a router that starts on this folder, with these further lines of `[policy]`.
pub(super) fn start(folder: &Path, lines: &str) -> Result<Deployments, StartPolicyError> {
    start_with(folder, lines, |_| {})
}

/// The same, where `begins` is called with the name of a policy before a version of it is compiled or checked.
pub(super) fn start_with(
    folder: &Path,
    lines: &str,
    begins: impl Fn(&str) + Send + Sync + 'static,
) -> Result<Deployments, StartPolicyError> {
    start_on(folder, config(folder, lines), begins)
}

/// The policies of a router that starts on this folder, with this section `[policy]`, and this file on the command line.
pub(super) fn start_as(
    folder: &Path,
    lines: &str,
    file: Option<&Path>,
) -> Result<Deployments, StartPolicyError> {
    let text = format!("[policy]\n{lines}[[listen]]\naddress = \"udp:127.0.0.1:0\"\n");
    let overrides = Overrides {
        policy: file.map(Path::to_path_buf),
        ..Overrides::default()
    };
    let config = Config::parse(&text, folder, &overrides).expect("a configuration");
    start_on(folder, config, |_| {})
}

fn start_on(
    folder: &Path,
    config: Config,
    begins: impl Fn(&str) + Send + Sync + 'static,
) -> Result<Deployments, StartPolicyError> {
    let data_dir = DataDir::open(&folder.join("data")).expect("a data directory");
    let init_config = Arc::new(config.clone());
    let engine = Engine::new(EngineConfig::default()).expect("an engine");
    let policies = Policies::with_uses(engine, move |name| {
        begins(name);
        let host = HookHost::for_init(Arc::clone(&init_config), "init");
        vec![patchbay_policy::Use::anywhere(host)]
    });
    let metrics = Arc::new(Metrics::new(1));
    Deployments::start(
        Arc::new(policies),
        metrics,
        Arc::default(),
        &config,
        &data_dir,
    )
}

/// The configuration of `start`.
pub(super) fn config(folder: &Path, lines: &str) -> Config {
    let text = format!(
        "[policy]\ndirectory = \"policies\"\nactive = \"first\"\n{lines}[[listen]]\naddress = \"udp:127.0.0.1:0\"\n"
    );
    Config::parse(&text, folder, &Default::default()).expect("a configuration")
}

pub(super) fn plain(bytes: &[u8]) -> Component<'_> {
    Component {
        bytes,
        signature: None,
    }
}

pub(super) fn operator() -> Origin {
    Origin {
        by: Some("alice".to_owned()),
        ..Origin::router()
    }
}

/// The actions of the audit log, the first one first.
pub(super) fn audited(deployments: &Deployments) -> Vec<(Action, bool)> {
    let records = deployments.audit().latest(100).expect("readable");
    let actions = records.iter().map(|record| (record.action, record.done));
    actions.rev().collect()
}

/// Changes what is remembered of the active versions.
pub(super) fn edit(folder: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let file = folder.join("data/policies/active");
    let text = std::fs::read(&file).expect("what is remembered");
    let mut remembered = serde_json::from_slice(&text).expect("JSON");
    change(&mut remembered);
    std::fs::write(&file, remembered.to_string()).expect("write");
}

pub(super) fn active(deployments: &Deployments) -> String {
    deployments.active().expect("an active policy").policy
}

#[test]
fn a_look_at_the_directory_does_not_undo_an_activation_under_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let deployments = deployments(folder.path());
    assert_eq!(active(&deployments), "first");
    let file = folder.path().join("policies/first.wasm");
    std::fs::write(&file, policy("changed")).expect("write");
    std::thread::scope(|scope| {
        let (held, mut state) = deployments.hold("second", None);
        let look = scope.spawn(|| deployments.file_changed("first", &file));
        // The look has come as far as it can while an activation holds the lock.
        std::thread::sleep(Duration::from_millis(200));
        deployments
            .activate_locked("second", None, held, &operator(), &mut state)
            .expect("activate");
        drop(state);
        look.join().expect("the look ends");
    });
    assert_eq!(active(&deployments), "second");
}

#[test]
fn what_is_stored_is_newer_than_what_earlier_runs_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let deployments = deployments(folder.path());
    let earlier = policy("of an earlier run");
    let digest = Digest::of(&earlier);
    let record = VersionRecord {
        stored_at: 1,
        origin: operator(),
        signature: None,
        signed_by: None,
    };
    deployments
        .versions
        .put("first", &digest, &earlier, &record, &[])
        .expect("a version");
    let pushed = deployments
        .store("first", plain(&policy("pushed")), &operator())
        .expect("a policy");
    deployments.load_stored(|| false);
    assert_eq!(deployments.record("first", digest.as_str()), Some(record));
    let activate = |version| deployments.activate("first", version, &operator());
    assert_eq!(activate(None).expect("activate").active, pushed);
    let named = activate(Some(digest.as_str()));
    assert_eq!(named.expect("it is loaded").active.version, digest);
}

#[test]
fn the_newest_version_is_the_one_that_was_stored_last_also_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = deployments(folder.path());
    let push = |text: &str| {
        let stored = before.store("first", plain(&policy(text)), &operator());
        stored.expect("a policy")
    };
    let activate = |router: &Deployments| {
        let activated = router.activate("first", None, &operator());
        activated.expect("activated")
    };
    let two = push("two");
    assert_eq!(activate(&before).active, two);
    push("three");
    push("two");
    let four = push("four");
    let three = push("three");
    drop(before);
    let after = start(folder.path(), "").expect("a policy");
    after.load_stored(|| false);
    let file = folder.path().join("policies/first.wasm");
    after.file_found("first", &file);
    assert_eq!(after.active(), Some(two.clone()));
    let listed = after.policies.list();
    let first = listed.iter().find(|listed| listed.name == "first");
    let order: Vec<_> = first.expect("listed").versions[..3]
        .iter()
        .map(|version| &version.digest)
        .collect();
    assert_eq!(order, [&three.version, &four.version, &two.version]);
    let activated = activate(&after);
    assert_eq!((activated.active, activated.was_active), (three, false));
    assert!(activate(&after).was_active);
}

#[test]
fn what_is_asked_for_is_there_before_the_start_has_come_to_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = deployments(folder.path());
    let push = |text: &str| {
        let stored = before.store("first", plain(&policy(text)), &operator());
        stored.expect("a policy")
    };
    let (two, three) = (push("two"), push("three"));
    drop(before);
    let after = start(folder.path(), "").expect("a policy");
    let activate = |version| {
        let activated = after.activate("first", version, &operator());
        activated.expect("activated").active
    };
    assert_eq!(activate(None), three);
    assert_eq!(activate(Some(&two.version.as_str()[..8])), two);
    after.load_stored(|| false);
    assert_eq!(activate(None), three);
}

#[test]
fn a_file_that_was_there_before_is_no_newer_than_what_was_pushed() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = deployments(folder.path());
    let file = folder.path().join("policies/second.wasm");
    before.file_found("second", &file);
    let pushed = before
        .store("second", plain(&policy("pushed")), &operator())
        .expect("a policy");
    drop(before);
    let after = start(folder.path(), "").expect("a policy");
    after.load_stored(|| false);
    after.file_found("second", &file);
    let activated = after.activate("second", None, &operator());
    assert_eq!(activated.expect("activated").active, pushed);
}

#[test]
fn a_file_that_was_there_before_is_no_newer_than_what_is_pushed_before_it_is_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = deployments(folder.path());
    let file = folder.path().join("policies/second.wasm");
    let pushed = before
        .store("second", plain(&policy("pushed")), &operator())
        .expect("a policy");
    before.file_found("second", &file);
    let newest = |router: &Deployments| router.policies.choose("second", None);
    assert_eq!(newest(&before), Ok(pushed.version.clone()));
    drop(before);
    let after = start(folder.path(), "").expect("a policy");
    after.load_stored(|| false);
    after.file_found("second", &file);
    assert_eq!(newest(&after), Ok(pushed.version));
}

#[test]
fn a_changed_file_of_the_active_policy_becomes_active() {
    let folder = tempfile::tempdir().expect("a folder");
    let deployments = deployments(folder.path());
    let file = folder.path().join("policies/first.wasm");
    let before = deployments.active();
    deployments.file_changed("first", &file);
    assert_eq!(deployments.active(), before, "it has not changed");
    std::fs::write(&file, policy("changed")).expect("a policy");
    deployments.file_changed("first", &file);
    assert_eq!(active(&deployments), "first");
    assert_ne!(deployments.active(), before);
}

#[test]
fn every_change_is_written_down_with_who_and_what() {
    let folder = tempfile::tempdir().expect("a folder");
    let deployments = deployments(folder.path());
    let first = deployments.active().expect("active");
    let pushed = deployments
        .store("first", plain(&policy("pushed")), &operator())
        .expect("a policy");
    deployments
        .activate("first", None, &operator())
        .expect("activate");
    deployments.rollback(None, &operator()).expect("back");
    assert!(
        deployments
            .store("first", plain(b"no wasm"), &operator())
            .is_err()
    );
    assert!(deployments.activate("nothing", None, &operator()).is_err());
    assert_eq!(
        audited(&deployments),
        [
            (Action::Store, true),
            (Action::Activate, true),
            (Action::Store, true),
            (Action::Activate, true),
            (Action::Rollback, true),
            (Action::Store, false),
            (Action::Activate, false),
        ]
    );
    let records = deployments.audit().latest(3).expect("readable");
    let rollback = &records[2];
    assert_eq!(rollback.before, Some(pushed.name()));
    assert_eq!(rollback.after, Some(first.name()));
    assert_eq!(rollback.origin, operator());
    let refused = records[1].detail.as_deref().unwrap_or_default();
    assert!(!refused.is_empty(), "the log says why");
}

#[test]
fn who_brought_a_rejected_version_is_known_while_it_is_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let deployments = deployments(folder.path());
    let refuse = |text: &str| {
        let refused = deployments.store("first", plain(text.as_bytes()), &operator());
        assert!(refused.is_err());
    };
    let origin = || {
        let record = deployments.record("first", Digest::of(b"garbage").as_str());
        record.map(|record| record.origin)
    };
    refuse("garbage");
    assert_eq!(origin(), Some(operator()));
    ["one", "two", "three"].iter().for_each(|text| refuse(text));
    assert_eq!(origin(), None);
}

#[test]
fn who_stored_a_version_is_known_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = deployments(folder.path());
    let pushed = before
        .store("first", plain(&policy("pushed")), &operator())
        .expect("a policy");
    before
        .activate("first", None, &operator())
        .expect("activate");
    drop(before);
    let after = start(folder.path(), "").expect("a policy");
    assert_eq!(after.active(), Some(pushed.clone()));
    let record = after.record("first", pushed.version.as_str());
    assert_eq!(record.map(|record| record.origin), Some(operator()));
}

#[test]
fn with_trusted_keys_only_signed_versions_are_taken_also_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(deployments(folder.path()));
    let key = PrivateKey::generate().expect("random numbers");
    let lines = format!("trusted_keys = [\"{}\"]\n", key.public());
    let refused = start(folder.path(), &lines).map(drop);
    assert!(refused.is_err(), "the active policy is not signed");
    let file = folder.path().join("policies/first.wasm");
    let signature = key.sign(&policy("first")).to_string();
    std::fs::write(signature::signature_file(&file), &signature).expect("a signature");
    let signed = start(folder.path(), &lines).expect("it is signed");
    let store = |bytes: &[u8], signature: Option<&str>| {
        signed.store("first", Component { bytes, signature }, &operator())
    };
    let pushed = policy("pushed");
    for wrong in [None, Some("ed25519:00"), Some(&*signature)] {
        let refused = store(&pushed, wrong);
        assert!(
            matches!(refused, Err(DeployError::Signature(_))),
            "{wrong:?}"
        );
    }
    let listed = signed.policies.list();
    assert_eq!(listed[0].versions[0].state, VersionState::Rejected);
    let good = key.sign(&pushed).to_string();
    let stored = store(&pushed, Some(&good)).expect("it is signed");
    signed
        .activate("first", None, &operator())
        .expect("activate");
    drop(signed);
    let again = start(folder.path(), &lines).expect("it is signed");
    assert_eq!(again.active(), Some(stored.clone()));
    let record = again.record("first", stored.version.as_str());
    let signer = record.and_then(|record| record.signed_by);
    assert_eq!(signer, Some(key.public().to_string()));
    drop(again);
    let other = PrivateKey::generate().expect("random numbers");
    let lines = format!("trusted_keys = [\"{}\"]\n", other.public());
    let untrusted = start(folder.path(), &lines).map(drop);
    assert!(untrusted.is_err(), "nobody trusts the signatures any more");
}

pub(super) fn rule(percent: f64) -> Rule {
    Rule {
        percent,
        ..serde_json::from_str("{\"percent\": 1}").expect("a rule")
    }
}

#[test]
fn a_canary_goes_on_after_a_restart_until_it_is_promoted() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = deployments(folder.path());
    let first = before.active();
    let pushed = before
        .store("first", plain(&policy("pushed")), &operator())
        .expect("a policy");
    let begun = before
        .begin_canary("first", None, rule(5.0), &operator())
        .expect("a canary");
    assert_eq!(begun, pushed);
    assert_eq!(before.active(), first);
    assert_eq!(
        before.policies.list()[0].versions[0].state,
        VersionState::Canary
    );
    let other = before.begin_canary("second", None, rule(5.0), &operator());
    assert!(matches!(other, Err(DeployError::OtherCanary(_))));
    drop(before);
    let after = start(folder.path(), "").expect("a policy");
    assert_eq!(after.active(), first);
    let canary = after.rollout.canary().expect("it goes on");
    assert_eq!(canary.version().digest(), &pushed.version);
    assert_eq!(canary.rule().percent, 5.0);
    assert!(after.promote(Some("second"), &operator()).is_err());
    after.promote(None, &operator()).expect("promoted");
    assert_eq!(after.active(), Some(pushed.clone()));
    assert!(after.rollout.canary().is_none());
    drop(after);
    let last = start(folder.path(), "").expect("a policy");
    assert_eq!(last.active(), Some(pushed));
    assert!(last.rollout.canary().is_none());
}

#[test]
fn an_aborted_canary_is_kept_for_its_dialogs() {
    let folder = tempfile::tempdir().expect("a folder");
    let deployments = deployments(folder.path());
    deployments
        .store("first", plain(&policy("pushed")), &operator())
        .expect("a policy");
    deployments
        .begin_canary("first", None, rule(5.0), &operator())
        .expect("a canary");
    let number = deployments.policies.canary().expect("a canary").number();
    deployments.abort(None, &operator()).expect("aborted");
    assert!(deployments.abort(None, &operator()).is_err());
    assert!(deployments.policies.by_number(number).is_some());
    let states: Vec<_> = deployments.policies.list()[0]
        .versions
        .iter()
        .map(|version| version.state)
        .collect();
    assert_eq!(states, [VersionState::Draining, VersionState::Active]);
    let long_after = std::time::Instant::now() + Duration::from_secs(3 * 3600);
    deployments.policies.drop_idle(long_after);
    assert!(deployments.policies.by_number(number).is_none());
    let actions = audited(&deployments);
    assert_eq!(
        actions[actions.len() - 2..],
        [(Action::Canary, true), (Action::Abort, true)]
    );
}

#[test]
fn an_active_version_is_no_canary() {
    let folder = tempfile::tempdir().expect("a folder");
    let deployments = deployments(folder.path());
    let refused = deployments.begin_canary("first", None, rule(5.0), &operator());
    assert!(matches!(
        refused,
        Err(DeployError::Activate(ActivateError::AlreadyActive { .. }))
    ));
    deployments
        .store("first", plain(&policy("pushed")), &operator())
        .expect("a policy");
    deployments
        .begin_canary("first", None, rule(5.0), &operator())
        .expect("a canary");
    deployments
        .activate("first", None, &operator())
        .expect("it becomes active");
    assert!(deployments.rollout.canary().is_none());
    assert!(deployments.policies.canary().is_none());
}

#[test]
fn a_shadow_is_in_the_audit_log_with_what_it_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let deployments = deployments(folder.path());
    let traces = Traces::new(1, Vec::new(), 0);
    let begin = |name| deployments.begin_shadow(&traces, name, None, &operator());
    begin("none").expect_err("there is no such policy");
    let itself = begin("first").expect_err("that is active");
    assert!(itself.to_string().contains("is active already"), "{itself}");
    deployments
        .store("first", plain(&policy("pushed")), &operator())
        .expect("a policy");
    let digest = begin("second").expect("a shadow").version;
    assert!(
        deployments
            .end_shadow(&traces, "first", &operator())
            .is_none()
    );
    begin("first").expect("another one instead");
    let ended = deployments.end_shadow(&traces, "first", &operator());
    assert_eq!(ended.expect("it ended").policy, "first");
    assert!(traces.shadow().is_none());
    let records = deployments.audit().latest(7).expect("readable");
    let shown: Vec<_> = records
        .iter()
        .rev()
        .map(|record| (record.action, record.policy.as_str(), record.done))
        .collect();
    assert_eq!(
        shown,
        [
            (Action::Shadow, "none", false),
            (Action::Shadow, "first", false),
            (Action::Store, "first", true),
            (Action::Store, "second", true),
            (Action::Shadow, "second", true),
            (Action::Shadow, "first", true),
            (Action::ShadowOff, "first", true),
        ]
    );
    let second = Some(VersionName::new("second", &digest));
    assert_eq!((&records[1].before, &records[2].after), (&second, &second));
    assert_eq!(
        records[0].detail.as_deref(),
        Some("0 of 0 hook runs were different")
    );
}

#[test]
fn a_damaged_version_is_listed_and_the_log_says_why_another_one_is_active() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = deployments(folder.path());
    let pushed = before
        .store("first", plain(&policy("pushed")), &operator())
        .expect("a policy");
    before
        .activate("first", None, &operator())
        .expect("activated");
    drop(before);
    let file = format!("data/policies/versions/first/{}.wasm", pushed.version);
    std::fs::write(folder.path().join(file), b"damaged").expect("write");
    let after = start(folder.path(), "").expect("the file's version");
    assert_ne!(after.active(), Some(pushed.clone()));
    let line = after.audit().latest(1).expect("readable").remove(0);
    assert_eq!(line.before, Some(pushed.name()));
    let why = line.detail.expect("why");
    assert!(why.contains("damaged"), "{why}");
    let listed = after.policies.list();
    let shown = listed[0]
        .versions
        .iter()
        .find(|version| version.digest == pushed.version)
        .expect("it is listed");
    assert_eq!(shown.state, VersionState::Rejected);
    let record = after.record("first", pushed.version.as_str());
    assert_eq!(record.map(|record| record.origin), Some(operator()));
    assert!(
        shown
            .last_error
            .as_deref()
            .unwrap_or_default()
            .contains("damaged")
    );
    let again = after.store("first", plain(&policy("pushed")), &operator());
    assert_eq!(again.expect("it is whole again"), pushed);
    drop(after);
    let later = start(folder.path(), "").expect("a policy");
    let kept = later.load_kept(&pushed.name());
    kept.expect("it is whole after a restart, too");
}
