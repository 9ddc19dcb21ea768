//! The command line as an operator and an author use it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use patchbay_tests::agent::Agent;
use patchbay_tests::policies;
use patchbay_tests::router::{Router, Setup, binary};
use tempfile::TempDir;

fn patchbay(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("run patchbay")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn every_command_has_help_with_an_example() {
    let folder = TempDir::new().expect("a folder");
    for command in [
        &["run"][..],
        &["check"],
        &["user", "add"],
        &["user", "passwd"],
        &["user", "remove"],
        &["user", "list"],
        &["user", "import"],
        &["policy", "new"],
        &["policy", "build"],
        &["policy", "check"],
        &["policy", "inspect"],
        &["policy", "list"],
        &["policy", "push"],
        &["policy", "activate"],
        &["policy", "rollback"],
        &["policy", "audit"],
        &["policy", "canary"],
        &["policy", "promote"],
        &["policy", "abort"],
        &["policy", "sign"],
        &["policy", "verify"],
        &["registrations", "list"],
        &["status"],
    ] {
        let output = patchbay(folder.path(), &[command, &["--help"]].concat());
        assert_eq!(
            output.status.code(),
            Some(0),
            "{command:?}: {}",
            text(&output)
        );
        assert!(
            text(&output).to_lowercase().contains("example"),
            "{command:?} has no example:\n{}",
            text(&output)
        );
    }
}

#[test]
fn wrong_use_ends_with_2() {
    let folder = TempDir::new().expect("a folder");
    assert_eq!(patchbay(folder.path(), &["dance"]).status.code(), Some(2));
    assert_eq!(
        patchbay(folder.path(), &["run", "--no-such-flag"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn check_names_every_wrong_key_with_its_line() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("patchbay.toml");
    std::fs::write(&file, "[node]\nname = \"edge\"\ndomain = [\"example.com\"]\n\n[timers]\nt1 = 500\n\n[registrar]\nmax_contacts = \"many\"\n").expect("write");
    let output = patchbay(folder.path(), &["check", "--config", "patchbay.toml"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let said = text(&output);
    for part in [
        "domain",
        "domains",
        "line 3",
        "t1",
        "line 6",
        "max_contacts",
        "line 9",
    ] {
        assert!(
            said.contains(part) || said.contains(&part.replace("line ", ":")),
            "{part:?} is missing in:\n{said}"
        );
    }
}

#[test]
fn run_with_a_wrong_configuration_starts_nothing() {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("patchbay.toml"), "[nod]\nname = \"x\"\n").expect("write");
    let output = patchbay(folder.path(), &["run", "--config", "patchbay.toml"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("node"),
        "the nearest known key: {}",
        text(&output)
    );
    assert!(!folder.path().join("patchbay-data").exists());
}

#[test]
fn check_accepts_a_good_configuration() {
    let folder = TempDir::new().expect("a folder");
    let config = "[node]\ndomains = [\"example.com\"]\ndata_dir = \"data\"\n[[listen]]\naddress = \"udp:127.0.0.1:0\"\n";
    std::fs::write(folder.path().join("patchbay.toml"), config).expect("write");
    let output = patchbay(folder.path(), &["check", "--config", "patchbay.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn the_development_defaults_run_without_a_configuration() {
    let folder = TempDir::new().expect("a folder");
    let mut command = Command::new(binary());
    command.current_dir(folder.path()).args([
        "run",
        "--listen",
        "udp:127.0.0.1:0",
        "--set",
        "admin.listen=127.0.0.1:0",
    ]);
    let router = Router::launch(&mut command, None);
    let mut bob = Agent::udp(router.udp(), "bob");
    bob.register();
    assert!(folder.path().join("patchbay-data").is_dir());
    assert!(
        router.log().to_lowercase().contains("warn"),
        "open registration is said in a warning:\n{}",
        router.log()
    );
    let status = router.get("/api/v1/status");
    assert!(
        status.to_string().contains(&router.udp().to_string()),
        "{status}"
    );
}

#[test]
fn a_second_router_on_the_same_data_fails_with_a_clear_error() {
    let router = Router::start();
    let config = router.path().join("patchbay.toml");
    let output = patchbay(
        router.path(),
        &["run", "--config", config.to_str().expect("a path")],
    );
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let said = text(&output).to_lowercase();
    assert!(
        said.contains("lock") || said.contains("in use") || said.contains("another"),
        "{said}"
    );
}

#[test]
fn a_user_added_while_the_router_runs_can_register() {
    let router = Setup::new().user("alice", "hers").start();
    let config = router.path().join("patchbay.toml");
    let config = config.to_str().expect("a path");
    let csv = router.path().join("more.csv");
    std::fs::write(
        &csv,
        "bob,localhost,his\ncarol,localhost,,00000000000000000000000000000000,,\n",
    )
    .expect("write");
    let output = patchbay(
        router.path(),
        &[
            "user",
            "import",
            csv.to_str().expect("a path"),
            "--config",
            config,
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let list = patchbay(
        router.path(),
        &["user", "list", "--config", config, "--json"],
    );
    let users: serde_json::Value = serde_json::from_slice(&list.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&list)));
    assert!(users.to_string().contains("carol"), "{users}");
    assert!(!text(&list).contains("his\""), "no password is kept");
    router.signal("HUP");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let mut bob = Agent::udp(router.udp(), "bob");
    bob.register_with("his");
}

#[test]
fn a_new_policy_builds_is_inspected_pushed_activated_and_rolled_back() {
    let wasm = policies::guest_from(
        "version-one",
        &std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/teapot.rs"))
            .expect("the guest's source"),
    );
    let wasm = wasm.to_str().expect("a path");
    let router = Router::start();
    let admin = format!("http://{}", router.admin());
    let folder = router.path();
    for command in ["check", "inspect"] {
        let output = patchbay(folder, &["policy", command, wasm]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{command}: {}",
            text(&output)
        );
    }
    assert!(text(&patchbay(folder, &["policy", "inspect", wasm])).contains("request-route"));
    let mut alice = Agent::udp(router.udp(), "alice");
    let mut status_of_a_call = || {
        let invite = alice.invite("sip:nobody@localhost");
        let answer = alice.final_response();
        alice.acknowledge(&invite, &answer);
        answer.status()
    };
    assert_eq!(status_of_a_call(), 404);
    let output = patchbay(
        folder,
        &["policy", "push", "teapot", wasm, "--admin", &admin],
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(status_of_a_call(), 404, "push does not activate");
    let output = patchbay(folder, &["policy", "activate", "teapot", "--admin", &admin]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(status_of_a_call(), 418);
    let list = patchbay(folder, &["policy", "list", "--admin", &admin, "--json"]);
    assert!(text(&list).contains("teapot"), "{}", text(&list));
    let output = patchbay(folder, &["policy", "rollback", "--admin", &admin]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(status_of_a_call(), 404);
}

#[test]
fn the_last_activation_is_remembered_over_a_restart() {
    let wasm = policies::guest("teapot");
    let router = Setup::new().policy("teapot", &wasm).start();
    let (status, answer) = router.post("/api/v1/policies/teapot/activate", "{}");
    assert_eq!(status, 200, "{answer}");
    let router = Setup::new().directory(router.stop()).start();
    let mut alice = Agent::udp(router.udp(), "alice");
    alice.invite("sip:nobody@localhost");
    assert_eq!(alice.final_response().status(), 418);
}

#[test]
fn a_file_that_is_no_policy_is_refused_with_a_reason() {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(
        folder.path().join("half.wasm"),
        b"\0asm\x0d\0\x01\0 and then nothing",
    )
    .expect("write");
    let output = patchbay(folder.path(), &["policy", "check", "half.wasm"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("half.wasm"), "{}", text(&output));
}

#[test]
fn sigterm_drains_and_an_idle_router_is_gone_at_once() {
    let mut router = Router::start();
    let start = std::time::Instant::now();
    router.signal("TERM");
    assert!(router.wait().success());
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn a_draining_router_ends_the_call_and_refuses_new_ones() {
    let mut router = Router::start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    let invite = alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 180, "", "");
    alice.expect(180);
    router.signal("TERM");
    router.wait_for_log("drain");
    let mut late = Agent::udp(router.udp(), "late");
    late.invite(&bob.aor());
    let refused = late.expect(503);
    assert_ne!(refused.header("Retry-After"), "", "{refused:?}");
    bob.respond(&received, 486, "", "");
    bob.expect_request("ACK");
    let busy = alice.expect(486);
    alice.acknowledge(&invite, &busy);
    // A second signal ends what is left of the wait.
    router.signal("TERM");
    router.wait();
}

#[test]
fn an_idle_router_uses_no_processor() {
    let router = Setup::new().user("bob", "secret").start();
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", router.pid())).expect("stat");
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .expect("fields")
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
    };
    std::thread::sleep(std::time::Duration::from_millis(500));
    let before = used();
    std::thread::sleep(std::time::Duration::from_secs(2));
    // In hundredths of a second; a thread that spins would use a good part of 200.
    let ticks = used() - before;
    assert!(ticks < 20, "{ticks} ticks in two idle seconds");
}

fn patchbay_with_stdin(folder: &Path, arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run patchbay");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(stdin.as_bytes()).expect("write");
    drop(pipe);
    child.wait_with_output().expect("patchbay ends")
}

#[test]
fn a_user_that_could_never_register_is_told() {
    let folder = TempDir::new().expect("a folder");
    for name in ["alice@example.com", "sip:alice"] {
        let add = patchbay_with_stdin(folder.path(), &["user", "add", name], "secret\n");
        assert_eq!(add.status.code(), Some(1), "{}", text(&add));
        assert!(
            text(&add).contains("the domain is the realm"),
            "{}",
            text(&add)
        );
    }
    let add = ["user", "add", "alice", "--realm", "exmaple.com"];
    let add = patchbay_with_stdin(folder.path(), &add, "secret\n");
    assert_eq!(add.status.code(), Some(0), "{}", text(&add));
    assert!(
        text(&add).contains("whose realm is localhost"),
        "{}",
        text(&add)
    );
}

#[test]
fn check_tells_what_keeps_a_router_from_the_data_directory() {
    let folder = TempDir::new().expect("a folder");
    std::fs::create_dir(folder.path().join("data")).expect("a folder");
    std::fs::write(folder.path().join("data/users.csv"), "alice,example.com\n").expect("write");
    let said = |directory: &str| {
        let output = patchbay(folder.path(), &["check", "--data-dir", directory]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        text(&output)
    };
    assert!(said("data").contains("users.csv:1: "), "{}", said("data"));
    let file = said("data/users.csv");
    assert!(file.contains("data/users.csv can't be made"), "{file}");
}

#[test]
fn users_are_added_changed_and_removed_with_passwords_from_stdin() {
    let folder = TempDir::new().expect("a folder");
    let users = || {
        let output = patchbay(folder.path(), &["user", "list", "--json"]);
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        list["users"].as_array().expect("a list").clone()
    };
    let file = || std::fs::read_to_string(folder.path().join("patchbay-data/users.csv"));
    let add = patchbay_with_stdin(folder.path(), &["user", "add", "alice"], "first\n");
    assert_eq!(add.status.code(), Some(0), "{}", text(&add));
    assert_eq!(users()[0]["user"], "alice");
    let first = file().expect("the users");
    assert!(!first.contains("first"), "the password is kept: {first}");
    let again = patchbay_with_stdin(folder.path(), &["user", "add", "alice"], "other\n");
    assert_eq!(again.status.code(), Some(1), "{}", text(&again));
    let passwd = patchbay_with_stdin(folder.path(), &["user", "passwd", "alice"], "second\n");
    assert_eq!(passwd.status.code(), Some(0), "{}", text(&passwd));
    assert_ne!(file().expect("the users"), first);
    let remove = patchbay(folder.path(), &["user", "remove", "alice"]);
    assert_eq!(remove.status.code(), Some(0), "{}", text(&remove));
    assert!(users().is_empty());
    let nobody = patchbay(folder.path(), &["user", "remove", "alice"]);
    assert_eq!(nobody.status.code(), Some(1), "{}", text(&nobody));
}

#[test]
fn a_second_signal_ends_a_router_with_a_call_in_progress_at_once() {
    let mut router = Setup::new().node("drain_timeout = \"300s\"").start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 180, "", "");
    alice.expect(180);
    router.signal("INT");
    router.wait_for_log("draining");
    let status = ureq::get(format!("http://{}/readyz", router.admin()))
        .call()
        .expect_err("not ready")
        .to_string();
    assert!(status.contains("503"), "{status}");
    router.signal("INT");
    assert!(router.wait().success());
}

#[test]
fn an_address_in_use_is_named() {
    let folder = TempDir::new().expect("a folder");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let (udp, tcp) = (
        udp.local_addr().expect("bound"),
        tcp.local_addr().expect("bound"),
    );
    for (listen, admin, named) in [
        (
            format!("udp:{udp}"),
            "127.0.0.1:0".to_owned(),
            format!("udp:{udp}"),
        ),
        (
            format!("tcp:{tcp}"),
            "127.0.0.1:0".to_owned(),
            format!("tcp:{tcp}"),
        ),
        (
            "udp:127.0.0.1:0".to_owned(),
            tcp.to_string(),
            format!("admin.listen: can't listen on {tcp}"),
        ),
    ] {
        let admin = format!("admin.listen={admin}");
        let output = patchbay(
            folder.path(),
            &["run", "--listen", &listen, "--set", &admin],
        );
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains(&named), "{}", text(&output));
    }
}

#[test]
fn what_this_version_can_not_do_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let config = "[[listen]]\naddress = \"wss:127.0.0.1:0\"\n[policy]\ntrusted_keys = [\"key\"]\n[[policy.route]]\ndomain = \"a.example\"\npolicy = \"a\"\n";
    std::fs::write(folder.path().join("patchbay.toml"), config).expect("write");
    let output = patchbay(folder.path(), &["run"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let output = patchbay(folder.path(), &["check"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    for part in [
        ":2: listen.address",
        ":4: policy.trusted_keys",
        ":7: policy.route.policy",
    ] {
        assert!(text(&output).contains(part), "{part}: {}", text(&output));
    }
}

#[test]
fn set_overrides_any_key_and_names_a_wrong_one() {
    let folder = TempDir::new().expect("a folder");
    let good = patchbay(
        folder.path(),
        &[
            "check",
            "--set",
            "registrar.durability=memory",
            "--set",
            "timers.t1=250ms",
        ],
    );
    assert_eq!(good.status.code(), Some(0), "{}", text(&good));
    let wrong = patchbay(
        folder.path(),
        &[
            "check",
            "--set",
            "registrar.durabilty=memory",
            "--set",
            "timers.t1=fast",
        ],
    );
    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong));
    for part in ["durabilty", "timers.t1"] {
        assert!(text(&wrong).contains(part), "{part}: {}", text(&wrong));
    }
}

#[test]
fn commands_that_show_data_print_json_when_asked() {
    let router = Router::start();
    let mut bob = Agent::udp(router.udp(), "bob");
    bob.register();
    let admin = router.admin().to_string();
    for command in [
        &["status"][..],
        &["policy", "list"],
        &["registrations", "list"],
        &["registrations", "show", "sip:bob@localhost"],
    ] {
        let arguments = [command, &["--json", "--admin", &admin]].concat();
        let output = patchbay(router.path(), &arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&output.stdout);
        assert!(parsed.is_ok(), "{command:?}: {}", text(&output));
    }
}

#[test]
fn commands_say_where_no_router_answers() {
    let folder = TempDir::new().expect("a folder");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = free.local_addr().expect("bound").to_string();
    drop(free);
    for command in [&["status"][..], &["policy", "list"]] {
        let output = patchbay(folder.path(), &[command, &["--admin", &address]].concat());
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains(&address), "{}", text(&output));
    }
}
