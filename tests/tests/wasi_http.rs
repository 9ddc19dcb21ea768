//! Policies that bring a client for HTTP, through the real binary: `wstd` in Rust and `asyncio` in Python over `wasi:http`, `fetch` in
//! JavaScript, and `net/http` in Go.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use patchbay_tests::agent::Agent;
use patchbay_tests::http_server::{CERTIFICATE, HttpServer};
use patchbay_tests::outside::*;
use patchbay_tests::policies;
use patchbay_tests::router::{Router, Setup, binary, wait_until};

fn web() -> PathBuf {
    policies::guest("web")
}

/// A router with a policy that asks at this server.
fn setup(server: &HttpServer, name: &str, policy: &Path) -> Setup {
    setup_for(&[server], name, policy)
}

/// A router with a policy that asks at these servers: the setting `url` is the first, `late` the last.
fn setup_for(servers: &[&HttpServer], name: &str, policy: &Path) -> Setup {
    let last = servers.last().expect("a server");
    asking(servers, name, policy, "save_location = true\n")
        .setting("late", &last.url("/api/route"))
        // A busy machine makes no faults: the first hook of a router takes some milliseconds in a debug build.
        .policy_keys("hook_deadline = \"1s\"")
}

fn start(server: &HttpServer) -> Router {
    setup(server, "web", &web()).start()
}

#[test]
fn a_client_that_a_language_brings_asks_and_keeps_the_connection() {
    let server = HttpServer::start(201, "sip:gateway", Duration::ZERO);
    let router = start(&server);
    for _ in 0..3 {
        assert_eq!(result(&router, "ask"), "201 sip:gateway test");
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    let head = requests[0].to_ascii_lowercase();
    for part in [
        "post /api/route http/1.1\r\n",
        "x-a: 1\r\n",
        "content-length: 5\r\n",
    ] {
        assert!(head.contains(part), "{head}");
    }
    assert_eq!(server.bodies()[0], "hello");
    assert_eq!(server.connections(), 1);
    assert_eq!(
        router.metric("patchbay_policy_http_answered_total", ""),
        3.0
    );
}

#[test]
fn a_server_with_a_certificate_that_the_system_trusts_is_asked_over_https() {
    let server = HttpServer::start_tls(201, "sip:gateway");
    let router = start(&server);
    let refused = error(&router, "ask");
    assert!(refused.contains("certificate"), "{refused}");
    assert!(server.requests().is_empty());
    let trusting = format!("SSL_CERT_FILE={CERTIFICATE}");
    let router = setup(&server, "web", &web())
        .program(
            vec!["env".into(), trusting.into(), binary().into()],
            Duration::from_secs(60),
        )
        .start();
    assert_eq!(result(&router, "ask"), "201 sip:gateway test");
    assert_eq!(server.bodies(), ["hello"]);
}

#[test]
fn only_what_is_granted_is_reached() {
    let server = HttpServer::start(200, "", Duration::ZERO);
    let router = start(&server);
    let refused = error(&router, "forbidden");
    assert!(refused.contains("HttpRequestDenied"), "{refused}");
    assert_eq!(router.metric("patchbay_policy_http_refused_total", ""), 1.0);
    assert!(server.requests().is_empty());
}

#[test]
fn a_version_that_is_not_granted_http_is_refused() {
    let router = Setup::new().policy("web", &web()).start();
    let (status, answer) = router.post("/api/v1/policies/web/activate", "{}");
    assert_ne!(status, 200);
    for part in ["wasi:http/outgoing-handler@0.2.", "#handle", "http = ["] {
        assert!(answer.contains(part), "{answer}");
    }
    let checked = Command::new(binary())
        .args(["check", "--config"])
        .arg(router.path().join("patchbay.toml"))
        .output()
        .expect("run patchbay check");
    assert_eq!(checked.status.code(), Some(1));
    let text = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(text.contains("web.wasm: it imports `wasi:http/"), "{text}");
}

#[test]
fn inspect_shows_what_it_wants_by_its_whole_name() {
    let output = Command::new(binary())
        .args(["policy", "inspect"])
        .arg(web())
        .output()
        .expect("run patchbay policy inspect");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("grants  http = [\"https://HOST/\"] (wasi:http/outgoing-handler@0.2."),
        "{text}"
    );
}

#[test]
fn bodies_are_bounded_in_both_directions() {
    let server = HttpServer::start(200, &"x".repeat((1 << 20) + 1), Duration::ZERO);
    let router = start(&server);
    let refused = error(&router, "flood");
    assert!(refused.contains("HttpRequestBodySize"), "{refused}");
    assert!(server.requests().is_empty());
    let refused = error(&router, "ask");
    assert!(refused.contains("HttpResponseBodySize"), "{refused}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_policy_that_waits_is_told_when_the_time_is_over() {
    let server = HttpServer::start(200, "late", Duration::from_secs(60));
    let router = setup(&server, "web", &web())
        .policy_keys("hook_timeout = \"1500ms\"")
        .start();
    let began = Instant::now();
    let refused = error(&router, "ask");
    let took = began.elapsed();
    assert!(refused.contains("HttpResponseTimeout"), "{refused}");
    assert!(
        took >= Duration::from_millis(1480) && took < Duration::from_secs(10),
        "{took:?}"
    );
    for (user, expected) in [
        ("hurry", "HttpResponseTimeout"),
        ("timer", "the timer was first"),
    ] {
        let began = Instant::now();
        let refused = error(&router, user);
        assert!(refused.contains(expected), "{refused}");
        assert!(began.elapsed() < Duration::from_millis(1480), "{user}");
    }
    assert_eq!(router.metric("patchbay_hook_faults_total", ""), 0.0);
}

#[test]
fn two_requests_are_on_their_way_at_once() {
    let server = HttpServer::start(200, "", Duration::from_millis(700));
    let router = start(&server);
    let began = Instant::now();
    assert_eq!(result(&router, "two"), "200  test 200  test");
    assert!(
        began.elapsed() < Duration::from_millis(1400),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(server.connections(), 2);
}

#[test]
fn while_calls_wait_others_go_on() {
    let server = HttpServer::start(200, "", Duration::from_secs(3));
    let router = setup(&server, "web", &web()).workers(1).start();
    let mut callers: Vec<Agent> = (0..30)
        .map(|number| {
            let mut caller = Agent::udp(router.udp(), &format!("caller{number}"));
            caller.invite("sip:slow@localhost");
            caller
        })
        .collect();
    wait_until("all of them ask", || server.requests().len() == 30);
    let began = Instant::now();
    assert_eq!(called(&router, "plain").status(), 404);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(router.metric("patchbay_policy_http_waiting", ""), 30.0);
    for caller in &mut callers {
        assert_eq!(caller.final_response().status(), 404);
    }
    assert_eq!(router.metric("patchbay_hook_faults_total", ""), 0.0);
}

#[test]
fn cancel_ends_a_call_whose_policy_waits() {
    let server = HttpServer::start(200, "late", Duration::from_secs(1));
    let router = start(&server);
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
    assert_eq!(result(&router, "ask"), "200 late test");
}

/// What the hook in JavaScript makes of it: its answer is the reason phrase.
fn fetched(router: &Router, user: &str) -> String {
    let answer = called(router, user);
    assert_eq!(answer.status(), 486, "{answer:?}");
    answer.reason().to_owned()
}

#[test]
fn a_hook_in_javascript_awaits_fetch() {
    let server = HttpServer::start(200, "{\"to\": \"grüße\"}", Duration::ZERO);
    let late = HttpServer::start(200, "late", Duration::from_secs(60));
    let policy = policies::guest_in("fetching-js");
    let router = setup_for(&[&server, &late], "fetching-js", &policy).start();
    assert_eq!(fetched(&router, "ask"), "200 true test {\"to\": \"grüße\"}");
    assert_eq!(server.bodies()[0], "grüße");
    assert!(server.requests()[0].starts_with("POST /api/route HTTP/1.1\r\n"));
    assert_eq!(fetched(&router, "json"), "grüße");
    assert_eq!(
        fetched(&router, "several"),
        "200,200,nothing rejected,rejected 6 200 found"
    );
    let denied = fetched(&router, "forbidden");
    assert!(
        denied.starts_with("TypeError denied: policy.grants.http"),
        "{denied}"
    );
    let late = fetched(&router, "late");
    assert!(
        late.starts_with("TypeError unavailable: no whole response within 50 ms"),
        "{late}"
    );
    for (user, told) in [
        ("never", "waits for something that never comes"),
        ("uncaught", "nobody catches this"),
    ] {
        assert_eq!(called(&router, user).status(), 500);
        wait_until("the log tells why", || router.log().contains(told));
    }
    assert_eq!(fetched(&router, "json"), "grüße", "the next instance");
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_hook_in_python_awaits_with_asyncio() {
    let server = HttpServer::start(200, "hello", Duration::from_millis(500));
    let policy = policies::guest_in("awaiting-py");
    // Compiling CPython takes its time.
    let router = setup(&server, "awaiting-py", &policy)
        .patience(Duration::from_secs(120))
        .start();
    assert_eq!(fetched(&router, "ask"), "200 hello");
    assert_eq!(server.bodies(), ["grüße"]);
    let began = Instant::now();
    assert_eq!(fetched(&router, "several"), "200 hello and 200 hello");
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "both are on their way at once"
    );
    assert_eq!(fetched(&router, "forbidden"), "ErrorCode_HttpRequestDenied");
    assert_eq!(called(&router, "uncaught").status(), 500);
    for told in [
        "ValueError('nobody catches this') (awaiting.py:",
        " in uncaught, from awaiting.py:",
    ] {
        wait_until("the log tells what and where", || {
            router.log().contains(told)
        });
    }
}

#[test]
fn in_a_scenario_servers_and_timers_are_virtual() {
    let policy = web();
    for more in [&[][..], &["--random", "100"]] {
        let output = Command::new(binary())
            .args(["policy", "test", "tests/policy-scenarios/web.toml"])
            .arg("--policy")
            .arg(&policy)
            .args(more)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .output()
            .expect("run patchbay policy test");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
    }
}

#[test]
fn a_recording_has_the_answers_and_replays_without_asking() {
    let server = HttpServer::start(201, "sip:gateway", Duration::ZERO);
    let router = start(&server);
    let patchbay = |arguments: &[&str]| {
        let output = Command::new(binary())
            .args(arguments)
            .arg("--config")
            .arg(router.path().join("patchbay.toml"))
            .output()
            .expect("run patchbay");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")
    };
    patchbay(&["record", "start", "--json"]);
    for user in ["ask", "two", "timer"] {
        result(&router, user);
    }
    error(&router, "forbidden");
    let report = patchbay(&["record", "stop", "--json"]);
    let file = report["file"].as_str().expect("a file");
    assert_eq!(server.requests().len(), 4);
    let output = Command::new(binary())
        .args(["policy", "replay", "--json", file, "--policy"])
        .arg(web())
        .output()
        .expect("run patchbay policy replay");
    let replayed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{replayed}");
    assert!(replayed.contains("\"differences\": []"), "{replayed}");
    assert_eq!(server.requests().len(), 4, "a replay asks nobody");
}

#[test]
fn a_hook_in_go_asks_with_net_http() {
    let server = HttpServer::start(201, "hello", Duration::ZERO);
    let late = HttpServer::start(200, "late", Duration::from_secs(60));
    let policy = policies::guest_in("nethttp-go");
    // Compiling Go's network library takes its time.
    let router = setup_for(&[&server, &late], "nethttp-go", &policy)
        .patience(Duration::from_secs(120))
        .start();
    assert_eq!(fetched(&router, "ask"), "201 test hello");
    assert_eq!(server.bodies(), ["grüße"]);
    let head = server.requests()[0].to_ascii_lowercase();
    assert!(head.contains("x-a: 1\r\n"), "{head}");
    let refused = fetched(&router, "forbidden");
    assert!(refused.contains("policy.grants.http"), "{refused}");
    let refused = fetched(&router, "late");
    assert!(refused.contains("within 50 ms"), "{refused}");
}
