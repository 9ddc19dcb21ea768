//! Policies that routes name: each has an active version of its own. Instances of different scopes are not shared.

#![allow(clippy::unwrap_used, reason = "tests state expectations by panicking")]

mod support;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use patchbay_policy::*;
use support::*;

fn policies() -> Policies<TestHost> {
    Policies::new(engine(), || TestHost::new(0))
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn active(policies: &Policies<TestHost>, name: &str) -> Option<String> {
    let active = policies.active_of(name)?.load()?;
    Some(active.digest().to_string())
}

#[test]
fn a_routed_policy_is_activated_and_rolled_back_alone() {
    let policies = policies();
    let shared = policies.store("shared", &many_ways(9)).unwrap();
    policies.activate("shared", None).unwrap();
    policies.set_routed(&names(&["a", "b"]));
    let [one, two] = [0, 1].map(many_ways);
    for name in ["a", "b"] {
        policies.store(name, &one).unwrap();
        policies.activate(name, None).unwrap();
    }
    let before = active(&policies, "b");
    policies.store("a", &two).unwrap();
    policies.activate("a", None).unwrap();
    assert_ne!(active(&policies, "a"), before);
    assert_eq!(active(&policies, "b"), before);
    assert_eq!(*policies.active().unwrap().digest(), shared);
    policies.rollback_of("a").unwrap();
    assert_eq!(active(&policies, "a"), before);
    assert_eq!(
        policies.rollback_of("b").unwrap_err(),
        RollbackError::NothingBefore
    );
    let unknown = policies.rollback_of("c").unwrap_err();
    assert_eq!(unknown, RollbackError::NotActive("c".to_owned()));
    assert_eq!(
        policies.rollback().unwrap_err(),
        RollbackError::NothingBefore
    );
}

#[test]
fn a_policy_that_is_active_and_routed_has_one_version() {
    let policies = policies();
    let [one, two] = [0, 1].map(many_ways);
    policies.store("both", &one).unwrap();
    policies.activate("both", None).unwrap();
    policies.set_routed(&names(&["both"]));
    let of_both = |policies: &Policies<TestHost>| {
        let shared = policies.active().unwrap().digest().to_string();
        (active(policies, "both").unwrap(), shared)
    };
    let (routed, shared) = of_both(&policies);
    assert_eq!(routed, shared);
    policies.store("both", &two).unwrap();
    policies.activate("both", None).unwrap();
    let (new, shared) = of_both(&policies);
    assert!(new == shared && new != routed);
    policies.rollback().unwrap();
    assert_eq!(of_both(&policies), (routed.clone(), routed));
}

#[test]
fn a_routed_version_that_keeps_failing_is_rolled_back_and_no_other() {
    let policies = policies();
    policies.store("shared", &many_ways(9)).unwrap();
    policies.activate("shared", None).unwrap();
    policies.set_routed(&names(&["a"]));
    for variant in [0, 1] {
        policies.store("a", &many_ways(variant)).unwrap();
        policies.activate("a", None).unwrap();
    }
    let failing = policies.active_of("a").unwrap().load().unwrap();
    let shared = policies.active().unwrap();
    let rollbacks = (1..=5u8).filter_map(|last| {
        let source = IpAddr::from([192, 0, 2, last]);
        policies.report_fault(failing.number(), source, Instant::now())
    });
    let rollbacks: Vec<_> = rollbacks.collect();
    assert_eq!(rollbacks.len(), 1);
    assert_eq!(rollbacks[0].version, *failing.digest());
    assert_eq!(
        active(&policies, "a"),
        Some(rollbacks[0].restored_version.to_string())
    );
    assert_eq!(policies.active().unwrap().number(), shared.number());
}

#[test]
fn versions_of_routes_that_are_gone_are_freed() {
    let policies = policies();
    policies.set_routed(&names(&["a"]));
    policies.store("a", &many_ways(0)).unwrap();
    let version = policies.activate("a", None).unwrap();
    policies.pin_version(&version);
    policies.set_routed(&names(&[]));
    assert!(policies.active_of("a").is_none());
    assert!(
        policies.by_number(version.number()).is_some(),
        "it is pinned"
    );
    policies.unpin_version(&version);
    assert!(policies.by_number(version.number()).is_none());
}

#[test]
fn a_version_has_to_start_for_each_route() {
    let policies = Policies::with_uses(engine(), |_| {
        let of = |route: &str, setting: &str| Use {
            route: Some(route.to_owned()),
            host: TestHost {
                settings: vec![(setting.to_owned(), "hello".to_owned())],
                ..TestHost::new(0)
            },
        };
        vec![of("good", "greeting"), of("bad", "other")]
    });
    let policy = component(PREPARED, PREPARED_WORLD);
    let error = policies.store("p", &policy).unwrap_err();
    assert!(
        matches!(&error, LoadError::Route { route, .. } if route == "bad"),
        "{error}"
    );
    let again = policies.activate("p", None).unwrap_err();
    assert!(matches!(again, ActivateError::Rejected { .. }), "{again}");
}

/// Policies of which `PREPARED` starts as long as the setting that it reads is there.
fn with_a_setting(is_there: &Arc<AtomicBool>) -> Policies<TestHost> {
    let is_there = Arc::clone(is_there);
    Policies::with_uses(engine(), move |_| {
        let name = match is_there.load(Ordering::Relaxed) {
            true => "greeting",
            false => "other",
        };
        vec![Use {
            route: Some("r".to_owned()),
            host: TestHost {
                settings: vec![(name.to_owned(), "hello".to_owned())],
                ..TestHost::new(0)
            },
        }]
    })
}

fn is_refused_for_the_route<T: std::fmt::Debug>(result: Result<T, LoadError>) -> bool {
    matches!(&result, Err(LoadError::Route { route, .. }) if route == "r")
}

#[test]
fn a_version_in_memory_has_to_start_with_settings_that_have_changed() {
    let is_there = Arc::new(AtomicBool::new(true));
    let policies = with_a_setting(&is_there);
    policies
        .store("p", &component(PREPARED, PREPARED_WORLD))
        .unwrap();
    is_there.store(false, Ordering::Relaxed);
    let refused = policies.activate("p", None).map_err(|error| match error {
        ActivateError::Load(error) => error,
        other => panic!("{other}"),
    });
    assert!(is_refused_for_the_route(refused));
    assert!(policies.active().is_none());
    is_there.store(true, Ordering::Relaxed);
    policies.activate("p", None).unwrap();
}

#[test]
fn a_rollback_that_fails_can_be_tried_again() {
    let is_there = Arc::new(AtomicBool::new(true));
    let policies = with_a_setting(&is_there);
    policies.set_routed(&names(&["p"]));
    let good = policies
        .store("p", &component(PREPARED, PREPARED_WORLD))
        .unwrap();
    policies.activate("p", None).unwrap();
    let bad = policies.store("p", &many_ways(0)).unwrap();
    policies.activate("p", None).unwrap();
    is_there.store(false, Ordering::Relaxed);
    for _ in 0..2 {
        let refused = policies.rollback_of("p").map_err(|error| match error {
            RollbackError::Load(error) => error,
            other => panic!("{other}"),
        });
        assert!(is_refused_for_the_route(refused));
        assert_eq!(active(&policies, "p"), Some(bad.to_string()));
    }
    is_there.store(true, Ordering::Relaxed);
    policies.rollback_of("p").unwrap();
    assert_eq!(active(&policies, "p"), Some(good.to_string()));
}

/// The routed version `p` fails for several sources; whether it was rolled back.
fn fails(policies: &Policies<TestHost>) -> bool {
    let failing = policies.active_of("p").unwrap().load().unwrap();
    (1..=5u8)
        .filter_map(|last| {
            let source = IpAddr::from([192, 0, 2, last]);
            policies.report_fault(failing.number(), source, Instant::now())
        })
        .count()
        > 0
}

#[test]
fn a_version_that_does_not_start_any_more_is_not_gone_back_to_by_itself() {
    // The settings change before the activation, or after it.
    for later in [false, true] {
        let is_there = Arc::new(AtomicBool::new(true));
        let policies = with_a_setting(&is_there);
        policies.set_routed(&names(&["p"]));
        policies
            .store("p", &component(PREPARED, PREPARED_WORLD))
            .unwrap();
        policies.activate("p", None).unwrap();
        let new = policies.store("p", &many_ways(0)).unwrap();
        is_there.store(later, Ordering::Relaxed);
        policies.activate("p", None).unwrap();
        is_there.store(false, Ordering::Relaxed);
        if later {
            policies.check_previous();
        }
        assert!(!fails(&policies));
        assert_eq!(active(&policies, "p"), Some(new.to_string()));
        assert_eq!(policies.list()[0].versions[0].alarms, 1);
    }
}

#[test]
fn a_version_that_starts_again_is_gone_back_to() {
    let is_there = Arc::new(AtomicBool::new(true));
    let policies = with_a_setting(&is_there);
    policies.set_routed(&names(&["p"]));
    let good = policies
        .store("p", &component(PREPARED, PREPARED_WORLD))
        .unwrap();
    policies.activate("p", None).unwrap();
    policies.store("p", &many_ways(0)).unwrap();
    is_there.store(false, Ordering::Relaxed);
    policies.activate("p", None).unwrap();
    is_there.store(true, Ordering::Relaxed);
    policies.check_previous();
    assert!(fails(&policies));
    assert_eq!(active(&policies, "p"), Some(good.to_string()));
}

#[test]
fn instances_of_two_scopes_are_not_shared() {
    let policies = policies();
    policies.store("p", &many_ways(0)).unwrap();
    let version = policies.activate("p", None).unwrap();
    let instances = Instances::new(policies.engine().clone(), 0);
    let [first, second] = [Scope::new(), Scope::new()];
    let run = |scope| {
        let hook = Hook::RequestRoute;
        let run = instances.run_in(scope, &version, hook, TestHost::new(0), None);
        assert!(block_on(run).result.is_ok());
        instances.idle()
    };
    assert_eq!(run(None), 1);
    assert_eq!(run(Some(&first)), 2);
    assert_eq!(run(Some(&second)), 3);
    assert_eq!(run(Some(&first)), 3, "it is used again");
    drop(second);
    instances.sweep();
    assert_eq!(instances.idle(), 2);
}

#[test]
fn renewed_instances_are_made_anew_also_where_one_was_running() {
    let policies = policies();
    policies.store("p", &many_ways(0)).unwrap();
    let version = policies.activate("p", None).unwrap();
    let instances = Instances::new(policies.engine().clone(), 0);
    let scope = Scope::new();
    let begin =
        |scope| instances.run_in(scope, &version, Hook::RequestRoute, TestHost::new(0), None);
    for scope in [None, Some(&scope)] {
        assert!(block_on(begin(scope)).result.is_ok());
    }
    let running = begin(None);
    assert!(block_on(begin(None)).result.is_ok());
    assert_eq!(instances.idle(), 2, "one of them in the scope");
    instances.renew(&[]);
    assert_eq!(instances.idle(), 1, "that of the scope");
    assert!(block_on(running).result.is_ok());
    assert_eq!(instances.idle(), 1, "it had begun before");
    assert!(block_on(begin(None)).result.is_ok());
    assert_eq!(instances.idle(), 2);
}

#[test]
fn a_version_in_which_calls_go_on_keeps_the_instances_that_it_would_not_get_anew() {
    let is_there = Arc::new(AtomicBool::new(true));
    let policies = with_a_setting(&is_there);
    let digest = policies.store("p", &component(PREPARED, PREPARED_WORLD));
    let old = policies.activate("p", None).unwrap();
    let refusing = || {
        let refusing = policies.refusing().into_iter();
        let versions = refusing.map(|refusing| refusing.version.digest().clone());
        versions.collect::<Vec<_>>()
    };
    let instances = Instances::new(policies.engine().clone(), 0);
    let begin = || {
        let host = TestHost {
            settings: vec![("greeting".to_owned(), "hello".to_owned())],
            ..TestHost::new(0)
        };
        instances.run(&old, Hook::RequestRoute, host, None)
    };
    assert!(block_on(begin()).result.is_ok());
    let running = begin();
    assert!(block_on(begin()).result.is_ok());
    assert_eq!(instances.idle(), 1);
    policies.pin_version(&old);
    policies.store("p", &many_ways(0)).unwrap();
    policies.activate("p", None).unwrap();
    assert_eq!(refusing(), []);
    is_there.store(false, Ordering::Relaxed);
    assert_eq!(refusing(), [digest.unwrap()]);
    instances.renew(&[old.number()]);
    assert_eq!(instances.idle(), 1);
    assert!(block_on(running).result.is_ok());
    assert_eq!(
        instances.idle(),
        2,
        "that of the hook that was running, too"
    );
    policies.unpin_version(&old);
    assert_eq!(refusing(), [], "no call goes on in it");
    instances.renew(&[]);
    assert_eq!(instances.idle(), 0);
}

#[test]
fn beside_scopes_hooks_without_one_run_at_the_same_time() {
    let policies = policies();
    policies.store("p", &many_ways(0)).unwrap();
    let version = policies.activate("p", None).unwrap();
    let instances = Instances::new(policies.engine().clone(), 0);
    let hook = Hook::RequestRoute;
    let scope = Scope::new();
    // One is idle in a scope, and one without a scope is taken: the next one finds an empty shelf.
    let scoped = instances.run_in(Some(&scope), &version, hook, TestHost::new(0), None);
    assert!(block_on(scoped).result.is_ok());
    let first = instances.run(&version, hook, TestHost::new(0), None);
    let second = instances.run(&version, hook, TestHost::new(0), None);
    for run in [first, second] {
        assert!(block_on(run).result.is_ok());
    }
}
