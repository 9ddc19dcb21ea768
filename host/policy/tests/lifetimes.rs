//! Versions live as long as they are needed, and no longer.

#![allow(clippy::unwrap_used, reason = "tests state expectations by panicking")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use patchbay_policy::*;
use support::*;

fn policies(engine: Engine<TestHost>) -> Policies<TestHost> {
    Policies::new(engine, || TestHost::new(0))
}

fn activate(policies: &Policies<TestHost>, bytes: &[u8]) -> Arc<Version<TestHost>> {
    let digest = policies.store("p", bytes).unwrap();
    policies.activate("p", Some(digest.as_str())).unwrap()
}

#[test]
fn two_hundred_swaps_keep_a_bounded_number_of_versions() {
    let policies = policies(engine());
    let instances = Instances::new(policies.engine().clone(), 0);
    let mut seen: Vec<Weak<Version<TestHost>>> = Vec::new();
    for variant in 0..200 {
        let version = activate(&policies, &many_ways(variant));
        let run = instances.run(&version, Hook::RequestRoute, TestHost::new(0), None);
        assert_eq!(block_on(run).result, Ok(Verdict::Relay));
        seen.push(Arc::downgrade(&version));
    }
    let alive = seen.iter().filter(|version| version.strong_count() > 0);
    assert_eq!(alive.count(), 2, "the active one and the one before");
    assert!(policies.list()[0].versions.len() <= 8);
    assert!(
        instances.idle() <= 2,
        "instances of versions that are gone are gone: {}",
        instances.idle()
    );
}

#[test]
fn instances_of_a_version_that_ended_late_are_thrown_away() {
    let policies = policies(engine());
    let instances = Instances::new(policies.engine().clone(), 0);
    let run = |version: &Arc<Version<TestHost>>| {
        block_on(instances.run(version, Hook::RequestRoute, TestHost::new(0), None)).result
    };
    let old = activate(&policies, &many_ways(0));
    policies.pin_version(&old);
    assert_eq!(run(&old), Ok(Verdict::Relay));
    activate(&policies, &many_ways(1));
    let new = activate(&policies, &many_ways(2));
    assert_eq!(run(&new), Ok(Verdict::Relay));
    assert_eq!(instances.idle(), 2);
    policies.unpin(old.number());
    drop(old);
    for _ in 0..300 {
        assert_eq!(run(&new), Ok(Verdict::Relay));
    }
    assert_eq!(instances.idle(), 1);
}

#[test]
fn a_pinned_version_outlives_many_swaps() {
    let policies = policies(engine());
    let pinned = activate(&policies, &many_ways(0));
    policies.pin_version(&pinned);
    for variant in 1..30 {
        activate(&policies, &many_ways(variant));
    }
    let number = pinned.number();
    let weak = Arc::downgrade(&pinned);
    drop(pinned);
    assert!(policies.by_number(number).is_some());
    let draining = policies.list()[0]
        .versions
        .iter()
        .filter(|version| version.state == VersionState::Draining)
        .count();
    assert_eq!(draining, 1);
    policies.unpin(number);
    assert_eq!(weak.strong_count(), 0);
}

#[test]
fn an_unpin_too_many_does_no_harm() {
    let policies = policies(engine());
    let version = activate(&policies, &many_ways(0));
    policies.pin_version(&version);
    policies.unpin(version.number());
    policies.unpin(version.number());
    assert_eq!(version.pinned(), 0);
    assert!(policies.by_number(version.number()).is_some());
}

/// Holds a pin for a moment, as a transaction does: what it pinned can be found until it lets go.
fn transaction(policies: &Policies<TestHost>) -> Weak<Version<TestHost>> {
    let version = policies.pin_active().unwrap();
    let (number, weak) = (version.number(), Arc::downgrade(&version));
    drop(version);
    for _ in 0..20 {
        assert!(policies.by_number(number).is_some(), "pinned and gone");
        assert!(policies.pin(number));
        policies.unpin(number);
    }
    policies.unpin(number);
    weak
}

#[test]
fn pins_of_many_threads_hold_while_versions_are_swapped() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::new(EngineConfig {
        cache_dir: Some(folder.path().to_owned()),
        ..config()
    })
    .unwrap();
    let policies = policies(engine);
    let variants: Vec<_> = (0..4).map(many_ways).collect();
    activate(&policies, &variants[0]);
    let done = AtomicBool::new(false);
    let seen: Vec<Weak<Version<TestHost>>> = thread::scope(|scope| {
        let worker = || {
            let mut seen = Vec::new();
            while !done.load(Ordering::Relaxed) {
                seen.push(transaction(&policies));
                seen.dedup_by(|a, b| a.ptr_eq(b));
            }
            seen
        };
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        for swap in 1..200 {
            activate(&policies, &variants[swap % variants.len()]);
        }
        done.store(true, Ordering::Relaxed);
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    for version in seen.iter().filter_map(Weak::upgrade) {
        assert_eq!(version.pinned(), 0, "no pin is lost");
    }
    // Two more swaps of ones that are not in memory push out what the last swaps left.
    let last = [
        activate(&policies, &many_ways(10)),
        activate(&policies, &many_ways(11)),
    ];
    let alive: Vec<_> = seen
        .iter()
        .filter_map(Weak::upgrade)
        .filter(|version| last.iter().all(|other| other.number() != version.number()))
        .map(|version| version.number())
        .collect();
    assert!(alive.is_empty(), "freed with the last pin: {alive:?}");
}

#[test]
fn a_canary_and_a_shadow_stay_while_others_are_swapped() {
    let policies = policies(engine());
    activate(&policies, &many_ways(0));
    policies.store("p", &many_ways(1)).unwrap();
    let canary = policies.begin_canary("p", None).unwrap().number();
    policies.store("p", &many_ways(2)).unwrap();
    let shadow = policies.begin_shadow("p", None).unwrap().number();
    for variant in 3..10 {
        activate(&policies, &many_ways(variant));
    }
    let state_of = |number| {
        let listed = policies.list().remove(0).versions.into_iter();
        let mut found = listed.filter(|version| version.number == Some(number));
        found.next().map(|version| version.state)
    };
    assert_eq!(state_of(canary), Some(VersionState::Canary));
    assert_eq!(state_of(shadow), Some(VersionState::Shadow));
    policies.end_shadow().unwrap();
    assert!(policies.by_number(shadow).is_none(), "nobody needs it");
    policies.end_canary(canary).unwrap();
    assert_eq!(state_of(canary), Some(VersionState::Draining));
    let later = std::time::Instant::now() + std::time::Duration::from_secs(3 * 3600);
    policies.drop_idle(later);
    assert!(policies.by_number(canary).is_none());
}

#[test]
fn dialogs_keep_a_few_replaced_versions_and_no_more() {
    let policies = policies(engine());
    policies.set_keeps_dialogs(true);
    let numbers: Vec<u64> = (0..20)
        .map(|variant| activate(&policies, &many_ways(variant)).number())
        .collect();
    let alive = |number: &&u64| policies.by_number(**number).is_some();
    assert_eq!(numbers.iter().filter(alive).count(), 1 + 8);
    policies.set_keeps_dialogs(false);
    let later = std::time::Instant::now() + std::time::Duration::from_secs(3 * 3600);
    policies.drop_idle(later);
    // The active one and the one before.
    assert_eq!(numbers.iter().filter(alive).count(), 2);
}

/// Replaces the version of a policy so often that the first ones have to go; the numbers of all, the active one last.
fn roll_out(policies: &Policies<TestHost>, name: &str, variants: std::ops::Range<u32>) -> Vec<u64> {
    let activated = variants.map(|variant| {
        let digest = policies.store(name, &many_ways(variant)).unwrap();
        let version = policies.activate(name, Some(digest.as_str())).unwrap();
        version.number()
    });
    activated.collect()
}

#[test]
fn dialogs_of_one_policy_keep_their_versions_while_others_are_rolled_out() {
    let policies = policies(engine());
    policies.set_keeps_dialogs(true);
    let names: Vec<String> = (0..12).map(|number| format!("p{number}")).collect();
    policies.set_routed(&names.iter().cloned().collect());
    let quiet = roll_out(&policies, &names[0], 0..4);
    let busy = roll_out(&policies, &names[1], 100..120);
    let alive = |numbers: &[u64]| {
        let mut alive = numbers.to_vec();
        alive.retain(|number| policies.by_number(*number).is_some());
        alive.len()
    };
    assert_eq!(alive(&busy), 1 + 8);
    assert_eq!(alive(&quiet), quiet.len());
    let mut all = [quiet.clone(), busy].concat();
    for (name, first) in names[2..].iter().zip((200..).step_by(20)) {
        all.extend(roll_out(&policies, name, first..first + 9));
    }
    assert_eq!(
        alive(&all),
        names.len() + 64,
        "they are bounded over all, too"
    );
    assert_eq!(alive(&quiet), quiet.len(), "those with the most lose some");
}

#[test]
fn what_is_freed_is_counted() {
    let policies = policies(engine());
    for variant in 0..2 {
        activate(&policies, &many_ways(variant));
    }
    assert_eq!(policies.freed(), 0, "the one before is kept");
    activate(&policies, &many_ways(2));
    assert_eq!(policies.freed(), 1);
}

#[test]
fn a_version_has_its_number_again_when_it_is_loaded_again() {
    let first = activate(&policies(engine()), &many_ways(0)).number();
    let again = activate(&policies(engine()), &many_ways(0)).number();
    assert_eq!(first, again);
    let other = activate(&policies(engine()), &many_ways(1)).number();
    assert_ne!(first, other);
    assert_eq!(first >> 63, 0, "the core has a use for the top bit");
}
