//! Signed policies: keys and signatures on the command line, and a router that takes nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use patchbay_tests::rollout::{policy, push, version, version_of};
use patchbay_tests::router::{Router, Setup, binary, wait_until};
use tempfile::TempDir;

fn offline(arguments: &[&str]) -> Output {
    Command::new(binary())
        .arg("policy")
        .args(arguments)
        .output()
        .expect("run patchbay")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// A key pair in this folder: the file of the private key, and the public key.
fn key_pair(folder: &Path, name: &str) -> (PathBuf, String) {
    let file = folder.join(name);
    let output = offline(&["sign", "--new-key", text(&file)]);
    assert!(output.status.success(), "{output:?}");
    let public = String::from_utf8(output.stdout).expect("text");
    (file, public.trim().to_owned())
}

/// A copy of a version in this folder, signed.
fn signed(folder: &Path, name: &str, key: &Path) -> PathBuf {
    let file = folder.join(format!("{name}.wasm"));
    std::fs::copy(version(name), &file).expect("copy");
    let output = offline(&["sign", text(&file), "--key", text(key)]);
    assert!(output.status.success(), "{output:?}");
    file
}

/// A router that trusts one key, with the signed version `one` in its directory.
fn start(component: &Path, public: &str, directory: TempDir) -> Router {
    let policies = directory.path().join("policies");
    std::fs::create_dir_all(&policies).expect("a folder");
    for end in ["wasm", "wasm.sig"] {
        std::fs::copy(
            component.with_extension(end),
            policies.join(format!("rolled.{end}")),
        )
        .expect("copy");
    }
    again(public, directory)
}

fn again(public: &str, directory: TempDir) -> Router {
    let policies = directory.path().join("policies");
    Setup::new()
        .active("rolled")
        .directory(directory)
        .section(&format!(
            "[policy]\ndirectory = {policies:?}\nactive = \"rolled\"\ntrusted_keys = [{public:?}]\n"
        ))
        .start()
}

#[test]
fn keys_and_signatures_are_made_and_checked() {
    let folder = TempDir::new().expect("a folder");
    let (key, public) = key_pair(folder.path(), "release.key");
    let mode = std::fs::metadata(&key).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        offline(&["sign", "--new-key", text(&key)]).status.code(),
        Some(1)
    );
    let file = signed(folder.path(), "one", &key);
    let verify = |key: &str| {
        offline(&["verify", text(&file), "--key", key])
            .status
            .code()
    };
    assert_eq!(verify(&public), Some(0));
    assert_eq!(verify(&format!("{}.pub", text(&key))), Some(0));
    let (other, other_public) = key_pair(folder.path(), "other.key");
    assert_eq!(verify(&other_public), Some(1));
    let mut bytes = std::fs::read(&file).expect("read");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(&file, bytes).expect("write");
    assert_eq!(verify(&public), Some(1), "another component");
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let exposed = offline(&["sign", text(&file), "--key", text(&other)]);
    assert_eq!(exposed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&exposed.stderr).contains("owner alone"));
}

#[test]
fn what_can_not_be_signed_or_verified_is_told_with_the_next_step() {
    let folder = TempDir::new().expect("a folder");
    let (key, public) = key_pair(folder.path(), "release.key");
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let again = offline(&["sign", "--new-key", text(&key)]);
    assert!(said(&again).contains("never overwritten"), "{again:?}");

    let notes = folder.path().join("notes.txt");
    std::fs::write(&notes, "no policy\n").expect("write");
    let refused = offline(&["sign", text(&notes), "--key", text(&key)]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("the file is text"), "{refused:?}");
    assert!(!folder.path().join("notes.txt.sig").exists());

    let unsigned = folder.path().join("one.wasm");
    std::fs::copy(version("one"), &unsigned).expect("copy");
    let missing = offline(&["verify", text(&unsigned), "--key", &public]);
    for part in ["there is no", "one.wasm.sig", "patchbay policy sign"] {
        assert!(said(&missing).contains(part), "{part}: {missing:?}");
    }
    let json = offline(&["verify", text(&unsigned), "--key", &public, "--json"]);
    assert_eq!(json.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(found["valid"], false, "{found:#}");
    assert!(found["problem"].is_string(), "{found:#}");
}

#[test]
fn a_router_with_trusted_keys_takes_signed_versions_only() {
    let folder = TempDir::new().expect("a folder");
    let (key, public) = key_pair(folder.path(), "release.key");
    let one = signed(folder.path(), "one", &key);
    let router = start(&one, &public, TempDir::new().expect("a folder"));

    // Over the API.
    let refused = policy(&router, &["push", "rolled", text(&version("two"))]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("not signed"), "{said}");
    let two = push(&router, &signed(folder.path(), "two", &key));
    let shown = version_of(&router, &two);
    assert_eq!(
        (&shown["state"], &shown["signed_by"]),
        (&"ready".into(), &public.as_str().into())
    );

    // In the directory: the signature may come after the component.
    let file = router.path().join("policies/rolled.wasm");
    let three = signed(folder.path(), "three", &key);
    std::fs::copy(&three, &file).expect("copy");
    router.wait_for_log("the policy's file is refused");
    std::fs::copy(
        three.with_extension("wasm.sig"),
        file.with_extension("wasm.sig"),
    )
    .expect("copy");
    router.wait_for_log("the changed policy is active");

    // At the next start the signatures are checked again.
    let before = router.get("/api/v1/status")["policy"].clone();
    let router = again(&public, router.stop());
    assert_eq!(router.get("/api/v1/status")["policy"], before);
    wait_until("the versions of earlier runs", || {
        router.get("/api/v1/policies").to_string().contains(&two)
    });
}

#[test]
fn a_router_whose_policy_nobody_trusted_has_signed_does_not_start() {
    let folder = TempDir::new().expect("a folder");
    let (_, public) = key_pair(folder.path(), "release.key");
    let config = folder.path().join("patchbay.toml");
    std::fs::copy(version("one"), folder.path().join("rolled.wasm")).expect("copy");
    let lines = format!(
        "[node]\ndata_dir = \"data\"\n[policy]\ndirectory = \".\"\nactive = \"rolled\"\ntrusted_keys = [{public:?}]\n[admin]\nlisten = \"127.0.0.1:0\"\n[[listen]]\naddress = \"udp:127.0.0.1:0\"\n"
    );
    std::fs::write(&config, lines).expect("write");
    for command in ["run", "check"] {
        let output = Command::new(binary())
            .arg(command)
            .arg("--config")
            .arg(&config)
            .current_dir(folder.path())
            .output()
            .expect("run patchbay");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("not signed"), "{command}: {said}");
    }
}

#[test]
fn the_builtin_policy_needs_no_signature() {
    let folder = TempDir::new().expect("a folder");
    let (_, public) = key_pair(folder.path(), "release.key");
    let router = Setup::new()
        .section(&format!(
            "[policy]\nactive = \"builtin\"\ntrusted_keys = [{public:?}]\n"
        ))
        .start();
    assert_eq!(router.get("/api/v1/status")["policy"]["name"], "builtin");
}
