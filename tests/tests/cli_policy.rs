//! Policies on the command line: made and built away from the repository, checked, and active over a restart.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use patchbay_tests::agent::Agent;
use patchbay_tests::policies;
use patchbay_tests::router::{Router, Setup, binary, wait_until};
use tempfile::TempDir;

fn run(command: &mut Command) -> Output {
    command.output().expect("run a program")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The final response to a call that nobody takes.
fn status_of_a_call(router: &Router) -> u16 {
    let mut alice = Agent::udp(router.udp(), "alice");
    let invite = alice.invite("sip:nobody@localhost");
    let answer = alice.final_response();
    alice.acknowledge(&invite, &answer);
    answer.status()
}

fn activate(router: &Router, policy: &str) {
    let (status, answer) = router.post(&format!("/api/v1/policies/{policy}/activate"), "{}");
    assert_eq!(status, 200, "{answer}");
}

/// A cache without a copy of the SDK, but with the toolchain that the usual one may have: making that takes minutes.
fn cache_without_sdk(folder: &Path) -> PathBuf {
    let cache = folder.join("cache");
    std::fs::create_dir_all(cache.join("patchbay")).expect("a cache");
    let usual = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache"),
        PathBuf::from,
    );
    let toolchain = usual.join("patchbay/debian-rust");
    if toolchain.is_dir() {
        std::os::unix::fs::symlink(toolchain, cache.join("patchbay/debian-rust")).expect("a link");
    }
    cache
}

#[test]
fn an_installed_binary_makes_a_policy_that_builds_also_inside_another_workspace() {
    let folder = TempDir::new().expect("a folder");
    let installed = folder.path().join("patchbay");
    std::fs::copy(binary(), &installed).expect("copy the binary");
    let project = folder.path().join("project");
    std::fs::create_dir(&project).expect("a folder");
    std::fs::write(project.join("Cargo.toml"), "[workspace]\nmembers = []\n").expect("write");
    let cache = cache_without_sdk(folder.path());
    let patchbay = |folder: &Path, arguments: &[&str]| {
        let output = run(Command::new(&installed)
            .args(arguments)
            .current_dir(folder)
            .env("XDG_CACHE_HOME", &cache)
            .env_remove("CARGO_TARGET_DIR"));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        output
    };
    patchbay(&project, &["policy", "new", "mine"]);
    let output = patchbay(&project.join("mine"), &["policy", "build"]);
    let component = project.join("target/policies/mine.wasm");
    assert!(component.is_file(), "{}", text(&output));
    let output = patchbay(&project.join("mine"), &["policy", "test"]);
    assert!(
        text(&output).contains("2 passed, 0 failed"),
        "{}",
        text(&output)
    );
    let output = patchbay(
        folder.path(),
        &[
            "policy",
            "inspect",
            component.to_str().expect("a path"),
            "--json",
        ],
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        report["hooks"],
        serde_json::json!(["request-route", "failure-route"])
    );
    let file = project.join("mine/Cargo.toml");
    let manifest = std::fs::read_to_string(&file).expect("a manifest");
    let cache = cache.to_str().expect("a path");
    assert!(manifest.contains(cache), "{manifest}");
    // As if another user had made it.
    std::fs::write(&file, manifest.replace(cache, "/home/somebody/.cache")).expect("write");
    let output = patchbay(&project.join("mine"), &["policy", "build"]);
    assert!(
        text(&output).contains("which is not here"),
        "{}",
        text(&output)
    );
    assert_eq!(
        std::fs::read_to_string(&file).expect("a manifest"),
        manifest
    );
}

#[test]
fn check_tells_the_problems_of_configuration_and_policies_together() {
    let folder = TempDir::new().expect("a folder");
    let policies = folder.path().join("policies");
    std::fs::create_dir(&policies).expect("a folder");
    std::fs::copy(policies::built("default"), policies.join("default.wasm")).expect("copy");
    std::fs::write(policies.join("half.wasm"), b"\0asm\x0d\0\x01\0 and nothing").expect("write");
    let config = "[node]\nnmae = \"x\"\n[policy]\ndirectory = \"policies\"\nactive = \"default\"\n[policy.settings]\nno_answer_timeout = \"soon\"\n";
    std::fs::write(folder.path().join("patchbay.toml"), config).expect("write");
    let output = run(Command::new(binary())
        .arg("check")
        .current_dir(folder.path()));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    for part in [
        "patchbay.toml:2: node.nmae",
        "half.wasm",
        "patchbay.toml:7: policy.settings.no_answer_timeout: policy default: init refused: ",
    ] {
        assert!(
            text(&output).contains(part),
            "{part} is missing in:\n{}",
            text(&output)
        );
    }
    let config = config.replace("nmae", "name");
    std::fs::write(folder.path().join("patchbay.toml"), config).expect("write");
    let output = run(Command::new(binary()).arg("run").current_dir(folder.path()));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let wanted =
        "patchbay.toml:7: policy.settings.no_answer_timeout: policy default: init refused: ";
    assert!(text(&output).contains(wanted), "{}", text(&output));
}

#[test]
fn an_active_policy_that_is_not_there_is_told_with_its_line() {
    let folder = TempDir::new().expect("a folder");
    std::fs::create_dir(folder.path().join("policies")).expect("a folder");
    let config = "[policy]\ndirectory = \"policies\"\nactive = \"nothere\"\n[[listen]]\naddress = \"udp:127.0.0.1:0\"\n";
    std::fs::write(folder.path().join("patchbay.toml"), config).expect("write");
    for arguments in [&["check"][..], &["run", "--config", "patchbay.toml"][..]] {
        let output = run(Command::new(binary())
            .args(arguments)
            .current_dir(folder.path()));
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        let wanted = "patchbay.toml:3: policy.active: there is no nothere.wasm in";
        assert!(text(&output).contains(wanted), "{}", text(&output));
    }
}

#[test]
fn inspect_tells_init_among_the_hooks_as_the_text_does() {
    let default = policies::built("default");
    let inspect = |more: &[&str]| {
        run(Command::new(binary())
            .args(["policy", "inspect"])
            .arg(&default)
            .args(more))
        .stdout
    };
    let report: serde_json::Value = serde_json::from_slice(&inspect(&["--json"])).expect("JSON");
    let listed = report["hooks"].as_array().expect("hooks").iter();
    let listed: Vec<&str> = listed.map(|hook| hook.as_str().expect("a name")).collect();
    assert_eq!(listed[0], "init");
    let said = String::from_utf8(inspect(&[])).expect("text");
    assert!(
        said.contains(&format!("hooks   {}\n", listed.join(" "))),
        "{said}"
    );
}

#[test]
fn run_takes_the_policy_of_the_command_line() {
    let folder = TempDir::new().expect("a folder");
    let teapot = policies::guest("teapot");
    let mut command = Command::new(binary());
    command
        .current_dir(folder.path())
        .arg("run")
        .arg("--policy")
        .arg(&teapot)
        .args([
            "--listen",
            "udp:127.0.0.1:0",
            "--set",
            "admin.listen=127.0.0.1:0",
        ]);
    let router = Router::launch(&mut command, None);
    assert_eq!(status_of_a_call(&router), 418);
    assert_eq!(router.get("/api/v1/status")["policy"]["name"], "teapot");
}

#[test]
fn a_rollback_is_remembered_over_a_restart() {
    let router = Setup::new()
        .policy("teapot", &policies::guest("teapot"))
        .start();
    activate(&router, "teapot");
    let (status, answer) = router.post("/api/v1/policies/rollback", "{}");
    assert_eq!(status, 200, "{answer}");
    let router = Setup::new().directory(router.stop()).start();
    assert_eq!(status_of_a_call(&router), 404);
}

#[test]
fn a_file_that_changed_while_the_router_was_down_wins_over_what_was_remembered() {
    let teapot = policies::guest("teapot");
    let router = Setup::new()
        .policy("other", &policies::built("default"))
        .start();
    activate(&router, "other");
    assert_eq!(status_of_a_call(&router), 404);
    let directory = router.stop();
    std::fs::copy(teapot, directory.path().join("policies/other.wasm")).expect("copy");
    let router = Setup::new().directory(directory).start();
    assert_eq!(router.get("/api/v1/status")["policy"]["name"], "other");
    assert_eq!(status_of_a_call(&router), 418);
}

#[test]
fn a_pushed_version_wins_over_the_unchanged_file_at_the_next_start() {
    let teapot = std::fs::read(policies::guest("teapot")).expect("a component");
    let router = Setup::new().start();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let mut response = agent
        .put(format!("http://{}/api/v1/policies/default", router.admin()))
        .header("Content-Type", "application/wasm")
        .send(&teapot[..])
        .expect("PUT");
    let answer = response.body_mut().read_to_string().expect("an answer");
    assert_eq!(response.status().as_u16(), 200, "{answer}");
    assert_eq!(status_of_a_call(&router), 404, "stored, not active");
    activate(&router, "default");
    assert_eq!(status_of_a_call(&router), 418);
    let router = Setup::new().directory(router.stop()).start();
    assert_eq!(status_of_a_call(&router), 418);
}

#[test]
fn a_changed_file_of_the_active_policy_becomes_active_and_others_are_only_stored() {
    let teapot = policies::guest("teapot");
    let router = Setup::new().start();
    let directory = router.path().join("policies");
    std::fs::copy(&teapot, directory.join("other.wasm")).expect("copy");
    wait_until("the other policy in the list", || {
        router
            .get("/api/v1/policies")
            .to_string()
            .contains("\"other\"")
    });
    assert_eq!(status_of_a_call(&router), 404);
    std::fs::copy(&teapot, directory.join("default.wasm")).expect("copy");
    wait_until("the changed file to route", || {
        status_of_a_call(&router) == 418
    });
}
