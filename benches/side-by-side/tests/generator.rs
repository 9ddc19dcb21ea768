//! The load against its own callees, and against a callee that does something wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_patchbay-side-by-side");
const CALLS: u64 = 50;

/// The callees' process.
struct Callees {
    child: Child,
    output: BufReader<ChildStdout>,
    address: String,
}

impl Callees {
    fn start(transport: &str) -> Self {
        let plan = json!({"addresses": ["127.0.0.1:0"], "transport": transport, "ring_ms": 5});
        let mut child = Command::new(PROGRAM)
            .args(["answer", &plan.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the callees");
        let mut output = BufReader::new(child.stdout.take().expect("an output"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        let address = ready["addresses"][0].as_str().expect("an address");
        Self {
            child,
            output,
            address: address.to_owned(),
        }
    }

    fn stop(mut self) -> Value {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text).expect("a report");
        self.child.wait().expect("the end");
        serde_json::from_str(&text).expect("JSON")
    }
}

/// Calls without a proxy between.
fn plan(address: &str, transport: &str) -> Value {
    json!({
        "kind": "call",
        "server": address,
        "transport": transport,
        "local": "127.0.0.1",
        "sockets": 2,
        "domain": "bench.test",
        "prefix": "u",
        "users": 10,
        "step": 1,
        "contact": "127.0.0.1:6080",
        "password": "secret",
        "pace": {"window": 10},
        "seconds": 20.0,
        "count": CALLS,
        "hold_ms": 5,
        "through_proxy": false,
        "t1_ms": 100,
    })
}

fn generate(plan: &Value) -> Value {
    let output = Command::new(PROGRAM)
        .args(["generate", &plan.to_string()])
        .output()
        .expect("run the callers");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn all_calls_are_completed(transport: &str) {
    let callees = Callees::start(transport);
    let report = generate(&plan(&callees.address, transport));
    let answered = callees.stop();
    assert_eq!(report["completed"], CALLS, "{report}");
    assert_eq!(report["failed"], 0, "{report}");
    assert_eq!(report["ringing"]["count"], CALLS, "{report}");
    for count in ["answered", "acknowledged", "ended"] {
        assert!(
            answered[count].as_u64() >= Some(CALLS),
            "{count}: {answered}"
        );
    }
    assert_eq!(answered["faults"], json!({}), "{answered}");
}

#[test]
fn all_calls_over_udp_are_completed() {
    all_calls_are_completed("udp");
}

#[test]
fn all_calls_over_tcp_are_completed() {
    all_calls_are_completed("tcp");
}

#[test]
fn a_missing_record_route_fails_the_call() {
    let callees = Callees::start("udp");
    let mut plan = plan(&callees.address, "udp");
    plan["through_proxy"] = json!(true);
    let report = generate(&plan);
    callees.stop();
    assert_eq!(report["completed"], 0, "{report}");
    assert_eq!(report["faults"], json!({"record-route": CALLS}), "{report}");
}

#[test]
fn busy_calls_are_reported_with_their_status() {
    let callees = Callees::start("udp");
    let mut plan = plan(&callees.address, "udp");
    plan["prefix"] = json!("busy");
    let report = generate(&plan);
    let answered = callees.stop();
    assert_eq!(report["statuses"], json!({"486": CALLS}), "{report}");
    assert_eq!(answered["busy"], CALLS, "{answered}");
}

/// Answers requests with what `answer` makes of their header lines, for as long as requests come.
fn answers(
    answer: impl Fn(&str) -> String + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    let address = socket.local_addr().expect("an address");
    let server = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if request.starts_with("ACK ") {
                return;
            }
            socket
                .send_to(answer(&request).as_bytes(), from)
                .expect("send");
        }
    });
    (address, server)
}

/// The lines that a response repeats.
fn repeated(request: &str) -> String {
    let repeats = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    request
        .split_inclusive("\r\n")
        .filter(|line| repeats.iter().any(|name| line.starts_with(name)))
        .map(|line| match line.strip_prefix("To:") {
            Some(to) => format!("To:{};tag=1\r\n", to.trim_end()),
            None => line.to_owned(),
        })
        .collect()
}

fn options(address: SocketAddr) -> Value {
    let mut plan = plan(&address.to_string(), "udp");
    plan["kind"] = json!("options");
    plan["count"] = json!(5);
    generate(&plan)
}

#[test]
fn good_answers_to_options_are_completed() {
    let (address, _server) = answers(|request| {
        let lines = repeated(request);
        format!("SIP/2.0 200 OK\r\n{lines}Content-Length: 0\r\n\r\n")
    });
    let report = options(address);
    assert_eq!(report["completed"], 5, "{report}");
}

/// OPTIONS answered with damaged header lines: all of them have this fault.
fn is_noticed(fault: &str, damage: fn(&str) -> String) {
    let (address, _server) = answers(move |request| {
        let lines = damage(&repeated(request));
        format!("SIP/2.0 200 OK\r\n{lines}Content-Length: 0\r\n\r\n")
    });
    let report = options(address);
    assert_eq!(report["completed"], 0, "{fault}: {report}");
    assert_eq!(report["faults"], json!({ fault: 5 }), "{report}");
}

#[test]
fn broken_answers_are_noticed() {
    is_noticed("call-id", |lines| lines.replace("Call-ID: ", "Call-ID: x"));
    is_noticed("to-tag", |lines| lines.replace(";tag=1\r\n", "\r\n"));
    is_noticed("via", |lines| format!("{lines}Via: SIP/2.0/UDP more\r\n"));
}

#[test]
fn a_phone_answers_a_challenge_once_and_then_gives_up() {
    let (address, _server) = answers(|request| {
        let lines = repeated(request);
        let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"";
        format!("SIP/2.0 401 Unauthorized\r\n{lines}{challenge}\r\nContent-Length: 0\r\n\r\n")
    });
    let mut plan = plan(&address.to_string(), "udp");
    plan["kind"] = json!("register");
    plan["count"] = json!(5);
    let report = generate(&plan);
    assert_eq!(report["challenges"], 5, "{report}");
    assert_eq!(report["statuses"], json!({"401": 5}), "{report}");
}
