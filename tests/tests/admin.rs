//! The admin API from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::net::TcpStream;

use patchbay_tests::agent::Agent;
use patchbay_tests::policies;
use patchbay_tests::router::{Router, Setup, wait_until};

fn raw(router: &Router, request: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(router.admin()).expect("connect");
    stream.write_all(request.as_bytes()).expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    answer
}

#[test]
fn health_readiness_and_metrics_answer() {
    let router = Router::start();
    assert!(router.get_text("/healthz").len() < 200);
    assert!(router.get_text("/readyz").len() < 200);
    let metrics = router.get_text("/metrics");
    assert!(metrics.contains("# TYPE patchbay_"), "{metrics}");
    assert!(
        metrics
            .lines()
            .filter(|l| !l.starts_with('#') && !l.is_empty())
            .all(|l| l.starts_with("patchbay_")),
        "{metrics}"
    );
}

#[test]
fn requests_are_counted_by_method() {
    let router = Router::start();
    let mut alice = Agent::udp(router.udp(), "alice");
    let mut bob = Agent::udp(router.udp(), "bob");
    bob.register();
    let of = |method: &str| {
        router.metric(
            "patchbay_sip_requests_total",
            &format!("method=\"{method}\""),
        )
    };
    let invite = alice.invite(&bob.aor());
    let received = bob.expect_request("INVITE");
    bob.respond(&received, 180, "", "");
    alice.expect(180);
    alice.cancel(&invite);
    let cancel = bob.expect_request("CANCEL");
    bob.respond(&cancel, 200, "", "");
    bob.respond(&received, 487, "", "");
    let terminated = loop {
        let response = alice.final_response();
        if response.method() == "INVITE" {
            break response;
        }
    };
    alice.acknowledge(&invite, &terminated);
    wait_until("the ACK is counted", || of("ACK") == 1.0);
    assert_eq!((of("INVITE"), of("CANCEL")), (1.0, 1.0));
}

#[test]
fn open_connections_are_counted() {
    let router = Router::start();
    let open = || router.metric("patchbay_sip_connections", "");
    assert_eq!(open(), 0.0);
    let connections: Vec<TcpStream> = (0..3)
        .map(|_| TcpStream::connect(router.tcp()).expect("connect"))
        .collect();
    wait_until("three connections are open", || open() == 3.0);
    drop(connections);
    wait_until("all are closed", || open() == 0.0);
}

#[test]
fn a_foreign_host_header_is_refused() {
    let router = Router::start();
    let answer = raw(
        &router,
        "GET /api/v1/status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(answer.contains("\"error\""), "{answer}");
}

#[test]
fn a_foreign_origin_is_refused() {
    let router = Router::start();
    let host = router.admin();
    let answer = raw(
        &router,
        &format!(
            "GET /api/v1/status HTTP/1.1\r\nHost: {host}\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n"
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[test]
fn a_write_without_the_content_type_is_refused() {
    let router = Router::start();
    let host = router.admin();
    let answer = raw(
        &router,
        &format!(
            "POST /api/v1/policies/rollback HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[test]
fn a_token_is_asked_for_when_one_is_configured() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("admin.token");
    std::fs::write(&file, "s3cret\n").expect("write");
    let router = Setup::new()
        .admin(&format!("token_file = {file:?}"))
        .start();
    let host = router.admin();
    let without = raw(
        &router,
        &format!("GET /api/v1/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
    );
    assert!(without.starts_with("HTTP/1.1 401"), "{without}");
    let with = raw(
        &router,
        &format!(
            "GET /api/v1/status HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer s3cret\r\nConnection: close\r\n\r\n"
        ),
    );
    assert!(with.starts_with("HTTP/1.1 200"), "{with}");
}

#[test]
fn status_names_version_uptime_listeners_and_the_active_policy() {
    let router = Router::start();
    let status = router.get("/api/v1/status");
    let text = status.to_string();
    assert!(status["version"].is_string(), "{status}");
    assert!(text.contains("uptime"), "{status}");
    assert!(
        text.contains(&router.udp().to_string()) && text.contains(&router.tcp().to_string()),
        "{status}"
    );
    assert!(text.contains("default"), "{status}");
}

#[test]
fn a_broken_upload_is_refused_and_the_active_policy_stays() {
    let router = Router::start();
    let before = router.get("/api/v1/status");
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let response = agent
        .put(format!("http://{}/api/v1/policies/default", router.admin()))
        .header("Content-Type", "application/wasm")
        .send(&b"\0asm nonsense"[..])
        .expect("PUT");
    assert!(
        (400..500).contains(&response.status().as_u16()),
        "{}",
        response.status()
    );
    assert_eq!(router.get("/api/v1/status")["policy"], before["policy"]);
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into()
}

#[test]
fn a_removed_registration_is_gone() {
    let router = Router::start();
    let mut bob = Agent::udp(router.udp(), "bob");
    bob.register();
    let list = router.get("/api/v1/registrations?aor=sip:bob@localhost");
    assert_eq!(
        list["registrations"][0]["aor"], "sip:bob@localhost",
        "{list}"
    );
    let url = format!(
        "http://{}/api/v1/registrations/sip:bob@localhost",
        router.admin()
    );
    let delete = || {
        agent()
            .delete(&url)
            .call()
            .expect("DELETE")
            .status()
            .as_u16()
    };
    assert_eq!(delete(), 200);
    assert_eq!(
        router.get("/api/v1/registrations")["registrations"],
        serde_json::json!([])
    );
    assert_eq!(delete(), 404);
    let mut alice = Agent::udp(router.udp(), "alice");
    let invite = alice.invite("sip:bob@localhost");
    let answer = alice.final_response();
    alice.acknowledge(&invite, &answer);
    assert!(matches!(answer.status(), 404 | 480), "{answer:?}");
}

#[test]
fn a_stored_version_is_listed_and_not_active() {
    let router = Router::start();
    let before = router.get("/api/v1/status");
    let bytes = std::fs::read(policies::guest("teapot")).expect("a component");
    let mut response = agent()
        .put(format!("http://{}/api/v1/policies/mine", router.admin()))
        .header("Content-Type", "application/wasm")
        .send(&bytes[..])
        .expect("PUT");
    assert_eq!(response.status().as_u16(), 200);
    let stored: serde_json::Value = response.body_mut().read_json().expect("JSON");
    assert_eq!(stored["policy"], "mine");
    let list = router.get("/api/v1/policies").to_string();
    assert!(
        list.contains(stored["version"].as_str().expect("a digest")),
        "{list}"
    );
    assert_eq!(router.get("/api/v1/status")["policy"], before["policy"]);
}

#[test]
fn what_is_not_there_is_404_and_the_wrong_method_405() {
    let router = Router::start();
    let (status, answer) = router.post("/api/v1/policies/nothing/activate", "{}");
    assert_eq!(status, 404, "{answer}");
    let host = router.admin();
    for (line, status) in [
        ("GET /api/v1/nothing", "404"),
        ("GET /api/v1/policies/rollback", "405"),
        ("DELETE /api/v1/status", "405"),
    ] {
        let answer = raw(
            &router,
            &format!(
                "{line} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
            ),
        );
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{line}: {answer}"
        );
        assert!(answer.contains("\"error\""), "{line}: {answer}");
    }
}

#[test]
fn going_back_without_a_version_to_go_back_to_is_a_conflict() {
    let router = Router::start();
    let (status, answer) = router.post("/api/v1/policies/rollback", "{}");
    assert_eq!(status, 409, "{answer}");
}

#[test]
fn a_query_or_a_path_that_can_not_be_read_is_told_in_the_shape_of_all_errors() {
    let router = Router::start();
    let host = router.admin();
    for path in [
        "/api/v1/calls?limit=x",
        "/api/v1/transactions?limit=-1",
        "/api/v1/audit?limit=",
        "/api/v1/registrations?aor=%ff",
        "/api/v1/calls/%ff",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw(&router, &request);
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 400"), "{path}: {answer}");
        assert!(head.contains("application/json"), "{path}: {answer}");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["error"], "bad_request", "{path}");
        assert!(body["detail"].as_str().is_some_and(|text| text.len() > 10));
    }
}
