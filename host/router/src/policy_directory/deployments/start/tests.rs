use std::path::Path;

use super::*;
use crate::policy_directory::deployments::tests::{active, operator, plain, policy, start_as};

/// A folder with a directory of policies that has these files.
fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("policies")).expect("a directory");
    for name in files {
        write(folder.path(), name, name);
    }
    folder
}

fn write(folder: &Path, name: &str, comment: &str) {
    std::fs::write(
        folder.join(format!("policies/{name}.wasm")),
        policy(comment),
    )
    .expect("write");
}

fn remove(folder: &Path, name: &str) {
    std::fs::remove_file(folder.join(format!("policies/{name}.wasm"))).expect("remove");
}

fn started(folder: &Path, lines: &str) -> Deployments {
    start_as(folder, lines, None).expect("a policy")
}

/// The version of it that says this.
fn version(comment: &str) -> patchbay_policy::Digest {
    patchbay_policy::Digest::of(&policy(comment))
}

fn push(deployments: &Deployments, name: &str, comment: &str) {
    deployments
        .store(name, plain(&policy(comment)), &operator())
        .expect("stored");
}

fn activate(deployments: &Deployments, name: &str) {
    deployments
        .activate(name, None, &operator())
        .expect("active");
}

const DIRECTORY: &str = "directory = \"policies\"\n";

#[test]
fn a_version_that_was_pushed_can_be_named_as_the_active_one() {
    for directory in [DIRECTORY, ""] {
        let folder = folder(&["default"]);
        let named = format!("{directory}active = \"mine\"\n");
        let before = started(folder.path(), DIRECTORY);
        push(&before, "mine", "one");
        activate(&before, "mine");
        push(&before, "mine", "two");
        drop(before);
        let after = started(folder.path(), &named);
        let running = after.active().expect("an active policy");
        assert_eq!(running.version, version("one"), "the one that was active");
        drop(after);
        // `active` has changed since then.
        let unset = started(folder.path(), DIRECTORY);
        assert_eq!(active(&unset), "default");
        drop(unset);
        let named = started(folder.path(), &named);
        let running = named.active().expect("an active policy");
        assert_eq!(running.version, version("two"), "the newest");
    }
}

#[test]
fn a_policy_that_is_neither_a_file_nor_was_pushed_is_told() {
    let folder = folder(&[]);
    for (lines, expected) in [
        ("active = \"mine\"\n", "needs policy.directory"),
        (
            "directory = \"policies\"\nactive = \"mine\"\n",
            "and no version of it was pushed",
        ),
    ] {
        let Err(error) = start_as(folder.path(), lines, None) else {
            panic!("there is no such policy");
        };
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn the_last_activation_goes_on_when_the_file_of_the_default_has_gone() {
    let folder = folder(&["default"]);
    drop(started(folder.path(), DIRECTORY));
    remove(folder.path(), "default");
    for lines in [
        DIRECTORY,
        "directory = \"policies\"\nactive = \"default\"\n",
    ] {
        let after = started(folder.path(), lines);
        let running = after.active().expect("an active policy");
        assert_eq!(running.policy, "default");
        assert_eq!(running.version, version("default"));
    }
    // An activation meanwhile is the last one, also when the file is there again.
    let without = started(folder.path(), DIRECTORY);
    push(&without, "mine", "mine");
    activate(&without, "mine");
    drop(without);
    write(folder.path(), "default", "default");
    assert_eq!(active(&started(folder.path(), DIRECTORY)), "mine");
}

#[test]
fn a_changed_file_of_the_command_line_wins_over_what_was_activated() {
    let folder = folder(&["mine"]);
    let file = folder.path().join("policies/mine.wasm");
    let start = || start_as(folder.path(), "", Some(&file)).expect("a policy");
    let first = start();
    push(&first, "other", "other");
    activate(&first, "other");
    drop(first);
    assert_eq!(active(&start()), "other", "the file is the same");
    write(folder.path(), "mine", "changed");
    let changed = start();
    let running = changed.active().expect("an active policy");
    assert_eq!(running.version, version("changed"));
    drop(changed);
    assert_eq!(active(&start()), "mine");
}

#[test]
fn a_changed_file_of_the_command_line_that_is_refused_replaces_nothing() {
    let folder = folder(&["mine"]);
    let file = folder.path().join("policies/mine.wasm");
    let start = || start_as(folder.path(), "", Some(&file)).expect("a policy");
    let first = start();
    push(&first, "other", "other");
    activate(&first, "other");
    drop(first);
    std::fs::write(&file, b"no policy").expect("write");
    assert_eq!(active(&start()), "other");
}
