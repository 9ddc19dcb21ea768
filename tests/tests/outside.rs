//! What policies reach beyond the router, through the real binary: grants, the key-value store, requests over HTTP that take their time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::process::Command;
use std::time::{Duration, Instant};

use patchbay_tests::agent::Agent;
use patchbay_tests::http_server::HttpServer;
use patchbay_tests::load::{Call, Load};
use patchbay_tests::outside::*;
use patchbay_tests::policies;
use patchbay_tests::router::{Router, Setup, binary, wait_until};
use patchbay_tests::tenants::reload;

const QUIET: Duration = Duration::from_millis(300);

/// A policy that waits as long as the router lets it, in its limits.
fn slow(limits: &str) -> (HttpServer, Router) {
    let server = HttpServer::start(200, "late", Duration::from_secs(60));
    let folder = tempfile::TempDir::new().expect("a folder");
    let directory = folder.path().join("policies");
    std::fs::create_dir(&directory).expect("a folder");
    std::fs::copy(policies::guest("outside"), directory.join("outside.wasm")).expect("copy");
    let section = format!(
        "[policy]\ndirectory = {directory:?}\nactive = \"outside\"\n{limits}\n[policy.grants]\nhttp = [{:?}]\nkeyvalue = [\"calls/\"]\n[policy.settings]\nurl = {:?}\n",
        server.url("/"),
        server.url("/")
    );
    let config = folder.path().join("patchbay.toml");
    std::fs::write(
        &config,
        format!(
            "[node]\nname = \"test\"\ndomains = [\"localhost\"]\ndata_dir = {:?}\nworkers = 1\n[[listen]]\naddress = \"udp:127.0.0.1:0\"\n[auth]\nregistration = \"open\"\n[admin]\nlisten = \"127.0.0.1:0\"\n{section}",
            folder.path().join("data")
        ),
    )
    .expect("write");
    let mut command = Command::new(binary());
    command.arg("run").arg("--config").arg(&config);
    (server, Router::launch(&mut command, Some(folder)))
}

#[test]
fn a_policy_asks_over_http_and_keeps_the_connection() {
    let server = HttpServer::start(201, "sip:gateway", Duration::ZERO);
    let router = outside(&server, "").start();
    for _ in 0..3 {
        assert_eq!(result(&router, "ask"), "201 sip:gateway test");
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(
        requests[0].starts_with("GET /api/route HTTP/1.1\r\n"),
        "{requests:?}"
    );
    assert_eq!(server.connections(), 1);
    assert_eq!(
        router.metric("patchbay_policy_http_answered_total", ""),
        3.0
    );
}

#[test]
fn a_reload_that_takes_a_needed_grant_away_is_warned_of() {
    let server = HttpServer::start(200, "", Duration::ZERO);
    let router = outside(&server, "").start();
    reload(&router, |text| text + "# nothing else\n");
    let warning = "the active policy does not start with the new configuration";
    assert!(!router.log().contains(warning), "{}", router.log());
    reload(&router, |text| text.replacen("\nhttp = ", "\n# http = ", 1));
    router.wait_for_log(warning);
    assert!(router.log().contains("which is not granted: add `http ="));
    let refused = error(&router, "ask");
    assert!(refused.contains("policy.grants.http"), "{refused}");
}

#[test]
fn a_request_without_time_is_late_and_not_the_hook() {
    let server = HttpServer::start(200, "", Duration::ZERO);
    let router = outside(&server, "").start();
    let late = error(&router, "at-once");
    assert!(
        late.contains("0 ms") && !late.contains("hook_timeout"),
        "{late}"
    );
    assert!(server.requests().is_empty());
}

#[test]
fn only_what_is_granted_is_reached() {
    let server = HttpServer::start(200, "", Duration::ZERO);
    let router = outside(&server, "").start();
    let refused = error(&router, "forbidden");
    assert!(refused.contains("policy.grants.http"), "{refused}");
    let refused = error(&router, "wrong-key");
    assert!(refused.contains("policy.grants.keyvalue"), "{refused}");
    assert_eq!(router.metric("patchbay_policy_http_refused_total", ""), 1.0);
    assert!(server.requests().is_empty());
}

#[test]
fn a_version_that_is_not_granted_its_imports_is_refused() {
    let router = Setup::new()
        .policy("outside", &policies::guest("outside"))
        .section("[policy.grants]\nhttp = [\"http://127.0.0.1/\"]\n")
        .start();
    let (status, answer) = router.post("/api/v1/policies/outside/activate", "{}");
    assert_ne!(status, 200);
    for part in ["patchbay:policy/keyvalue@0.1.0#", "keyvalue = ["] {
        assert!(answer.contains(part), "{answer}");
    }
    let checked = Command::new(binary())
        .args(["check", "--config"])
        .arg(router.path().join("patchbay.toml"))
        .output()
        .expect("run patchbay check");
    assert_eq!(checked.status.code(), Some(1));
    let text = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(text.contains("outside.wasm: it imports"), "{text}");
    assert_eq!(
        called(&router, "nobody").status(),
        404,
        "the default policy goes on"
    );
}

#[test]
fn inspect_shows_what_a_policy_wants() {
    let output = Command::new(binary())
        .args(["policy", "inspect", "--json"])
        .arg(policies::guest("outside"))
        .output()
        .expect("run patchbay policy inspect");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let wanted: Vec<&str> = report["capabilities"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|want| want["capability"].as_str().expect("a name"))
        .collect();
    assert_eq!(wanted[..2], ["http", "keyvalue"]);
    assert_eq!(
        report["capabilities"][0]["imports"],
        serde_json::json!(["patchbay:policy/http@0.1.0#fetch"])
    );
    assert!(report["memory_bytes"].as_u64().expect("a number") >= 65_536);
}

#[test]
fn a_policy_that_waits_is_told_when_the_time_is_over() {
    let (_server, router) = slow("hook_timeout = \"1500ms\"");
    let began = Instant::now();
    let answer = called(&router, "ask");
    let took = began.elapsed();
    assert_eq!(answer.status(), 480);
    assert!(
        answer.header("X-Error").contains("no whole response"),
        "{answer:?}"
    );
    assert!(
        took >= Duration::from_millis(1480) && took < Duration::from_secs(10),
        "{took:?}"
    );
    let began = Instant::now();
    assert_eq!(called(&router, "hurry").status(), 480);
    assert!(
        began.elapsed() < Duration::from_millis(1480),
        "its own timeout is shorter"
    );
    assert_eq!(router.metric("patchbay_hook_faults_total", ""), 0.0);
}

#[test]
fn beyond_max_concurrent_hooks_calls_get_503() {
    let (server, router) = slow("max_concurrent_hooks = 2");
    let mut callers: Vec<Agent> = (0..2)
        .map(|number| {
            let mut caller = Agent::udp(router.udp(), &format!("caller{number}"));
            caller.invite("sip:ask@localhost");
            caller.expect(100);
            caller
        })
        .collect();
    wait_until("both ask", || server.requests().len() == 2);
    let refused = called(&router, "ask");
    assert_eq!(refused.status(), 503);
    assert!(!refused.header("Retry-After").is_empty());
    let limit = router.metric("patchbay_sip_limits_total", "max_concurrent_hooks");
    assert_eq!(limit, 1.0);
    assert_eq!(router.metric("patchbay_hooks", ""), 2.0);
    callers[0].expect_silence(QUIET);
}

#[test]
fn cancel_ends_a_call_whose_policy_waits() {
    let server = HttpServer::start(200, "late", Duration::from_secs(1));
    let router = outside(&server, "").start();
    let mut alice = Agent::udp(router.udp(), "alice");
    let invite = alice.invite("sip:ask@localhost");
    alice.expect(100);
    alice.cancel(&invite);
    let (first, second) = (alice.final_response(), alice.final_response());
    let mut statuses = [first.status(), second.status()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 487], "200 to the CANCEL, 487 to the INVITE");
    let ended = if first.status() == 487 { first } else { second };
    alice.acknowledge(&invite, &ended);
    wait_until("the hook ends", || {
        router.metric("patchbay_hooks", "") == 0.0
    });
    assert_eq!(
        router.metric("patchbay_policy_http_answered_total", ""),
        1.0
    );
    alice.expect_silence(QUIET);
    assert_eq!(result(&router, "ask"), "200 late test");
}

#[test]
fn values_are_shared_by_workers_and_outlive_the_router() {
    let server = HttpServer::start(200, "", Duration::ZERO);
    let router = outside(&server, "").workers(2).start();
    for expected in 1..=20 {
        assert_eq!(result(&router, "count"), expected.to_string());
    }
    assert_eq!(result(&router, "keep"), "set");
    assert_eq!(result(&router, "keys"), "calls/kept calls/total");
    let directory = router.stop();
    let router = outside(&server, "").directory(directory).start();
    assert_eq!(result(&router, "kept"), "kept");
    assert_eq!(result(&router, "count"), "21");
    wait_until("it is on the disk", || {
        router.metric("patchbay_policy_keyvalue_unwritten", "") == 0.0
            && router.metric("patchbay_policy_keyvalue_keys", "") == 2.0
    });
    let directory = router.kill();
    let router = outside(&server, "").directory(directory).start();
    assert_eq!(result(&router, "count"), "22");
}

/// The time of the call that is slower than 99 of 100.
fn p99(calls: &[Call]) -> Duration {
    let mut times: Vec<Duration> = calls
        .iter()
        .map(|call| call.answered_after.expect("an answer"))
        .collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Two hundred calls to a user whose policy asks nobody.
fn plain_calls(router: &Router, name: &str) -> Vec<Call> {
    let mut load = Load::new(router.udp(), name);
    load.register(name);
    load.run(200, 100.0, |_| name.to_owned(), |_| {})
}

#[test]
fn while_calls_wait_two_seconds_others_take_as_long_as_ever() {
    let server = HttpServer::start(200, "", Duration::from_secs(2));
    let router = outside(&server, "").start();
    let alone = plain_calls(&router, "plain1");
    let mut load = Load::new(router.udp(), "slow");
    load.register("slow");
    let slow = std::thread::spawn(move || load.run(400, 100.0, |_| "slow".to_owned(), |_| {}));
    wait_until("a hundred wait", || {
        router.metric("patchbay_policy_http_waiting", "") > 100.0
    });
    let beside = plain_calls(&router, "plain2");
    let slow = slow.join().expect("the slow calls");
    eprintln!(
        "p99 alone {:?}, beside waiting calls {:?}",
        p99(&alone),
        p99(&beside)
    );
    assert!(beside.iter().all(|call| call.status == 200));
    assert!(p99(&beside) < Duration::from_secs(1), "{:?}", p99(&beside));
    for call in &slow {
        assert_eq!(call.status, 200);
        assert!(call.answered_after.expect("an answer") >= Duration::from_secs(2));
    }
    assert_eq!(router.metric("patchbay_hook_faults_total", ""), 0.0);
}
