//! The admin API from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use patchbay_tests::router::{Router, Setup};

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
