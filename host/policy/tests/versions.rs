//! Versions are checked, cached, activated, pinned and rolled back.

#![allow(clippy::unwrap_used, reason = "tests state expectations by panicking")]

mod support;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use patchbay_policy::*;
use support::*;

fn policies() -> Policies<TestHost> {
    Policies::new(engine(), || TestHost::new(0))
}

/// A registry in which version 0 and then version 1 of `p` were activated.
fn swapped() -> (
    Policies<TestHost>,
    Arc<Version<TestHost>>,
    Arc<Version<TestHost>>,
) {
    let policies = policies();
    policies.store("p", &many_ways(0)).unwrap();
    let old = policies.activate("p", None).unwrap();
    policies.store("p", &many_ways(1)).unwrap();
    let new = policies.activate("p", None).unwrap();
    (policies, old, new)
}

#[test]
fn a_policy_is_described() {
    let report = engine().check(&many_ways(0)).unwrap();
    assert_eq!(report.hooks, [Hook::RequestRoute]);
    assert!(!report.exports_init);
    assert!(
        report
            .imports
            .contains(&"patchbay:policy/message@0.1.0".to_owned())
    );
}

#[test]
fn a_file_cut_off_is_refused() {
    let bytes = many_ways(0);
    assert!(matches!(
        engine().check(&bytes[..bytes.len() / 2]),
        Err(CheckError::Invalid(_))
    ));
    assert!(matches!(engine().check(b""), Err(CheckError::Invalid(_))));
}

#[test]
fn a_core_module_is_refused_by_name() {
    assert_eq!(
        engine().check(&wat::parse_str("(module)").unwrap()),
        Err(CheckError::CoreModule)
    );
}

#[test]
fn a_wrong_world_is_refused_with_what_it_exports() {
    let module = r#"(module (func (export "hello")))"#;
    let error = engine()
        .check(&component(module, "export hello: func();"))
        .unwrap_err();
    assert_eq!(
        error,
        CheckError::NoHooks {
            exports: vec!["hello".into()]
        }
    );
    assert!(error.to_string().contains("wrong world"));
}

#[test]
fn a_hook_of_another_type_is_refused() {
    let packages =
        "package patchbay:policy@0.1.0 { interface branch-route { branch-route: func() -> u32; } }";
    let text = format!(
        "package test:guest;\nworld guest {{ export patchbay:policy/branch-route@0.1.0; }}\n{packages}"
    );
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("guest.wit", &text).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    let mut module = wat::parse_str(r#"(module (func (export "patchbay:policy/branch-route@0.1.0#branch-route") (result i32) (i32.const 0)))"#).unwrap();
    wit_component::embed_component_metadata(
        &mut module,
        &resolve,
        world,
        wit_component::StringEncoding::UTF8,
    )
    .unwrap();
    let bytes = wit_component::ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .encode()
        .unwrap();
    assert!(matches!(
        engine().check(&bytes),
        Err(CheckError::Export { .. })
    ));
}

#[test]
fn an_import_that_is_not_provided_is_named() {
    let module = r#"(module (import "wasi:clocks/wall@0.2.0" "now" (func))
        (func (export "patchbay:policy/branch-route@0.1.0#branch-route") (result i32) (i32.const 0)))"#;
    let packages = "package wasi:clocks@0.2.0 { interface wall { now: func(); } }";
    let world = "import wasi:clocks/wall@0.2.0; export patchbay:policy/branch-route@0.1.0;";
    let error = engine()
        .check(&component_of(packages, module, world))
        .unwrap_err();
    assert_eq!(
        error,
        CheckError::UnknownImport {
            import: "wasi:clocks/wall@0.2.0".into()
        }
    );
}

#[test]
fn a_refusing_init_is_a_load_error() {
    let error = engine()
        .load("p", &component(REFUSES, REFUSES_WORLD), || TestHost::new(0))
        .unwrap_err();
    assert_eq!(error, LoadError::Init("no".into()));
}

#[test]
fn a_bad_version_leaves_the_old_one_active() {
    let policies = policies();
    let digest = policies.store("p", &many_ways(0)).unwrap();
    policies.activate("p", None).unwrap();
    let bad = component(REFUSES, REFUSES_WORLD);
    assert!(policies.store("p", &bad).is_err());
    assert!(matches!(
        policies.activate("p", Some(Digest::of(&bad).short())),
        Err(ActivateError::Rejected { .. })
    ));
    assert_eq!(policies.active().unwrap().digest(), &digest);
    let states: Vec<_> = policies.list()[0]
        .versions
        .iter()
        .map(|version| version.state)
        .collect();
    assert_eq!(states, [VersionState::Rejected, VersionState::Active]);
}

#[test]
fn a_pin_keeps_a_replaced_version_and_unpin_frees_it() {
    let policies = policies();
    policies.store("p", &many_ways(0)).unwrap();
    policies.activate("p", None).unwrap();
    let number = policies.pin_active().unwrap().number();
    let weak = Arc::downgrade(&policies.active().unwrap());
    for variant in [1, 2] {
        policies.store("p", &many_ways(variant)).unwrap();
        policies.activate("p", None).unwrap();
    }
    assert!(policies.by_number(number).is_some());
    assert_eq!(policies.list()[0].versions[2].state, VersionState::Draining);
    policies.unpin(number);
    assert!(weak.upgrade().is_none());
    assert!(policies.by_number(number).is_none());
    assert!(!policies.pin(number));
    assert_eq!(policies.list()[0].versions[2].state, VersionState::Stored);
}

#[test]
fn a_freed_version_can_be_activated_again() {
    let policies = policies();
    let first = policies.store("p", &many_ways(0)).unwrap();
    policies.activate("p", None).unwrap();
    for variant in [1, 2] {
        policies.store("p", &many_ways(variant)).unwrap();
        policies.activate("p", None).unwrap();
    }
    assert_eq!(
        policies
            .activate("p", Some(first.short()))
            .unwrap()
            .digest(),
        &first
    );
}

#[test]
fn rollbacks_go_back_step_by_step() {
    let (policies, old, new) = swapped();
    policies.store("p", &many_ways(2)).unwrap();
    policies.activate("p", None).unwrap();
    assert_eq!(policies.rollback().unwrap().digest(), new.digest());
    assert_eq!(policies.rollback().unwrap().digest(), old.digest());
    assert_eq!(
        policies.rollback().unwrap_err(),
        RollbackError::NothingBefore
    );
    assert_eq!(policies.active().unwrap().digest(), old.digest());
}

fn fail(policies: &Policies<TestHost>, number: u64) -> Option<AutomaticRollback> {
    let instances = Instances::new(policies.engine().clone(), 0);
    let version = policies.by_number(number).unwrap();
    let mut rollback = None;
    for last in 1..=5 {
        let done = block_on(instances.run(&version, Hook::RequestRoute, TestHost::new(1), None));
        assert!(done.result.is_err());
        rollback = rollback.or(policies.report_fault(
            number,
            IpAddr::from([192, 0, 2, last]),
            Instant::now(),
        ));
    }
    rollback
}

#[test]
fn a_version_that_was_rolled_back_is_not_gone_back_to() {
    let (policies, good, bad) = swapped();
    fail(&policies, bad.number()).unwrap();
    let bad = policies.activate("p", Some(bad.digest().as_str())).unwrap();
    policies.store("p", &many_ways(2)).unwrap();
    let worse = policies.activate("p", None).unwrap();
    let rollback = fail(&policies, worse.number()).unwrap();
    assert_ne!(&rollback.restored_version, bad.digest());
    assert_eq!(&rollback.restored_version, good.digest());
}

#[test]
fn a_version_that_keeps_failing_is_rolled_back_once() {
    let (policies, old, new) = swapped();
    let rollback = fail(&policies, new.number()).unwrap();
    assert_eq!(&rollback.restored_version, old.digest());
    assert_eq!(policies.active().unwrap().number(), old.number());
    let again = policies.activate("p", Some(new.digest().as_str())).unwrap();
    assert_eq!(fail(&policies, again.number()), None);
    assert_eq!(policies.active().unwrap().digest(), new.digest());
    assert_eq!(policies.list()[0].versions[0].alarms, 2);
}

fn cached(folder: &std::path::Path) -> Engine<TestHost> {
    Engine::new(EngineConfig {
        cache_dir: Some(folder.to_owned()),
        ..config()
    })
    .unwrap()
}

fn file(folder: &std::path::Path, extension: &str) -> std::path::PathBuf {
    let mut entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .find(|path| path.extension().is_some_and(|found| found == extension))
        .unwrap()
}

#[test]
fn compiled_code_is_taken_from_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let first = cached(folder.path());
    first.check(&many_ways(0)).unwrap();
    first.check(&many_ways(0)).unwrap();
    let stats = first.stats();
    assert_eq!((stats.compiled, stats.cached, stats.damaged), (1, 1, 0));
    let second = cached(folder.path());
    let version = second
        .load("p", &many_ways(0), || TestHost::new(0))
        .unwrap();
    let stats = second.stats();
    assert_eq!((stats.compiled, stats.cached, stats.damaged), (0, 1, 0));
    let instances = Instances::new(second, 0);
    let run = instances.run(&version, Hook::RequestRoute, TestHost::new(0), None);
    assert_eq!(
        block_on(run).result,
        Ok(Verdict::Relay),
        "what was cached runs"
    );
}

#[test]
fn damaged_code_is_not_loaded_but_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    cached(folder.path()).check(&many_ways(0)).unwrap();
    let code = file(folder.path(), "cwasm");
    let whole = std::fs::read(&code).unwrap();
    for at in [0, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x01;
        std::fs::write(&code, &damaged).unwrap();
        let engine = cached(folder.path());
        engine.check(&many_ways(0)).unwrap();
        let stats = engine.stats();
        assert_eq!((stats.compiled, stats.cached, stats.damaged), (1, 0, 1));
        assert_ne!(std::fs::read(&code).unwrap(), damaged, "it is replaced");
    }
}

#[test]
fn code_without_its_seal_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    cached(folder.path()).check(&many_ways(0)).unwrap();
    std::fs::remove_file(file(folder.path(), "blake3")).unwrap();
    let engine = cached(folder.path());
    engine.check(&many_ways(0)).unwrap();
    let stats = engine.stats();
    assert_eq!((stats.compiled, stats.cached), (1, 0));
}

#[test]
fn refused_versions_push_no_good_one_out() {
    let policies = policies();
    for number in 0..8 {
        policies.store("p", &many_ways(number)).unwrap();
    }
    let first = Digest::of(&many_ways(0));
    for garbage in ["one", "two", "three", "four"] {
        assert!(policies.store("p", garbage.as_bytes()).is_err());
    }
    let count = |state| {
        let listed = policies.list();
        let versions = listed[0].versions.iter();
        versions.filter(|version| version.state == state).count()
    };
    assert_eq!(count(VersionState::Rejected), 3);
    assert_eq!(policies.list()[0].versions.len(), 8 + 3);
    policies.activate("p", Some(first.as_str())).unwrap();
    policies.store("p", &many_ways(8)).unwrap();
    policies.store("p", &many_ways(9)).unwrap();
    assert_eq!(policies.list()[0].versions.len(), 8 + 3);
    assert_eq!(policies.active().unwrap().digest(), &first);
}

#[test]
fn a_version_of_an_earlier_run_is_older_than_one_of_this_run() {
    use std::time::{Duration, SystemTime};
    let policies = policies();
    let new = policies.store("p", &many_ways(1)).unwrap();
    let earlier = SystemTime::now() - Duration::from_secs(60);
    policies.store_of("p", &many_ways(0), earlier).unwrap();
    assert_eq!(policies.choose("p", None), Ok(new.clone()));
    policies.store_of("p", &many_ways(0), earlier).unwrap();
    assert_eq!(policies.choose("p", None), Ok(new));
    let again = policies.store("p", &many_ways(0)).unwrap();
    assert_eq!(policies.choose("p", None), Ok(again));
}

#[test]
fn what_names_no_version_is_answered_with_what_would() {
    let policies = policies();
    let digest = policies.store("p", &many_ways(0)).unwrap();
    let error = |name, version| policies.choose(name, version).unwrap_err().to_string();
    assert!(error("q", None).contains("`patchbay policy list`"));
    let short = error("p", Some(&digest.as_str()[..5]));
    assert!(short.contains("six digits or more"), "{short}");
    let other = error("p", Some("00000000"));
    assert!(other.contains("no version `00000000`: "), "{other}");
    let upper = digest.as_str()[..6].to_uppercase();
    assert_eq!(policies.choose("p", Some(&upper)), Ok(digest));
}

#[test]
fn what_was_compiled_twice_at_once_is_kept_once() {
    let policies = policies();
    let bytes = many_ways(0);
    let (first, second) = (policies.compile("p", &bytes), policies.compile("p", &bytes));
    assert!(policies.list().is_empty(), "nothing is kept yet");
    let kept = policies.keep(first).unwrap();
    let active = policies.activate("p", None).unwrap();
    assert_eq!(policies.keep(second).unwrap(), kept);
    assert_eq!(policies.list()[0].versions.len(), 1);
    let again = policies.activate("p", None).unwrap();
    assert!(Arc::ptr_eq(&active, &again));
}

#[test]
fn what_was_stored_when_it_was_looked_at_and_is_forgotten_then_is_kept_all_the_same() {
    let policies = policies();
    let bytes = many_ways(0);
    policies.store("p", &bytes).unwrap();
    let compiled = policies.compile("p", &bytes);
    for number in 1..=8 {
        policies.store("p", &many_ways(number)).unwrap();
    }
    let digest = compiled.digest().clone();
    assert!(!policies.is_stored("p", &digest));
    assert_eq!(policies.keep(compiled).unwrap(), digest);
    assert_eq!(policies.activate("p", None).unwrap().digest(), &digest);
}

#[test]
fn a_loaded_version_takes_no_compiling_to_become_active() {
    let policies = policies();
    for number in 0..3 {
        policies.store("p", &many_ways(number)).unwrap();
    }
    let version = Digest::of(&many_ways(0));
    let loaded = policies.load("p", Some(version.as_str())).unwrap();
    let compiled = policies.engine().stats().compiled;
    for number in 3..20 {
        policies.store("q", &many_ways(number)).unwrap();
        policies.store("p", &many_ways(number)).unwrap();
    }
    let before = policies.engine().stats().compiled;
    assert!(before > compiled);
    let active = policies.activate("p", Some(version.as_str())).unwrap();
    assert!(Arc::ptr_eq(&active, loaded.version()));
    assert_eq!(policies.engine().stats().compiled, before);
    drop(loaded);
    assert_eq!(active.pinned(), 0);
}

/// One that takes long to compile.
fn large() -> Vec<u8> {
    let step = "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 31)) (local.get 1)))";
    let function = format!(
        "(func (param i32 i32) (result i32) {} (local.get 0))",
        step.repeat(40)
    );
    let module = format!(
        "(module (func (export \"hello\")) {})",
        function.repeat(3000)
    );
    component(&module, "export hello: func();")
}

#[test]
fn a_small_version_is_compiled_while_a_large_one_is() {
    /// Ends the test also when the large one is not compiled.
    struct Ended<'e>(&'e AtomicBool);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let (engine, large) = (engine(), large());
    let is_done = AtomicBool::new(false);
    let meanwhile = std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ended = Ended(&is_done);
            // It has no hooks, which is found when it is compiled.
            engine.check(&large).unwrap_err();
        });
        let small = (0..).map(|number| engine.check(&many_ways(number)).unwrap());
        let small = small.take_while(|_| !is_done.load(Ordering::SeqCst));
        small.count()
    });
    // Two or three come before the functions of the large one: so many there are also on threads that all compilations share.
    assert!(meanwhile >= 5, "{meanwhile}");
}

#[test]
fn a_reader_sees_what_is_active_at_once_and_lets_go_when_told() {
    let (policies, old, new) = swapped();
    let policies = Arc::new(policies);
    let mut reader = Reader::new(&policies);
    let active = |reader: &mut Reader<TestHost>| reader.active().map(|version| version.number());
    assert_eq!(active(&mut reader), Some(new.number()));
    policies.rollback().unwrap();
    assert_eq!(active(&mut reader), Some(old.number()));
    let number = new.number();
    assert!(reader.by_number(number).is_none(), "nobody needs it");
    let gone = Arc::downgrade(&new);
    drop(new);
    assert_eq!(gone.strong_count(), 0);

    // What is replaced without being asked for again stays in memory until the reader is told.
    let old_number = old.number();
    let gone = Arc::downgrade(&old);
    drop(old);
    for way in [1, 2, 3] {
        policies.store("p", &many_ways(way)).unwrap();
        policies.activate("p", None).unwrap();
    }
    assert!(policies.by_number(old_number).is_none());
    assert!(gone.strong_count() > 0);
    reader.let_go();
    assert_eq!(gone.strong_count(), 0);
}

#[test]
fn the_last_pin_that_a_reader_ends_frees_a_replaced_version() {
    let (policies, old, new) = swapped();
    let policies = Arc::new(policies);
    let mut reader = Reader::new(&policies);
    policies.pin_version(&old);
    policies.pin_version(&old);
    policies.pin_version(&new);
    policies.store("p", &many_ways(2)).unwrap();
    let last = policies.activate("p", None).unwrap();
    let listed = |reader: &mut Reader<TestHost>, version: &Version<TestHost>| {
        reader.by_number(version.number()).is_some()
    };
    reader.unpin(old.number());
    assert!(listed(&mut reader, &old), "one is left");
    reader.unpin(old.number());
    assert!(!listed(&mut reader, &old));
    // The version before stays to go back to, and the active one in any case.
    policies.pin_version(&last);
    reader.unpin(new.number());
    reader.unpin(last.number());
    assert!(listed(&mut reader, &new) && listed(&mut reader, &last));
    assert_eq!((new.pinned(), last.pinned()), (0, 0));
    // One too many is no harm.
    reader.unpin(last.number());
    reader.unpin(old.number());
    assert_eq!(last.pinned(), 0);
}
