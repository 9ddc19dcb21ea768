//! Workers on real sockets with the real default policy: what leaves for what came.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests state their expectations by panicking"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use patchbay::config::{Config, Overrides, Transport};
use patchbay::data_dir::Secrets;
use patchbay::hooks::HookHost;
use patchbay::keyvalue::KeyValueStore;
use patchbay::location::{LocationConfig, LocationService};
use patchbay::metrics::{LimitLabel, Metrics, WorkerMetrics};
use patchbay::outside::HttpClient;
use patchbay::server::Shared;
use patchbay::trace::Traces;
use patchbay::transport::bind;
use patchbay::users::Users;
use patchbay::worker::{self, Workers};
use patchbay_core::auth::{AuthConfig, Authenticator};
use patchbay_core::door::{Listener, Originate, OriginateId};
use patchbay_policy::{Engine, EngineConfig, Policies};

const SOON: Duration = Duration::from_secs(5);
/// The ways of a worker to wait. The first one is io_uring where the system has it.
const WAYS: [&str; 2] = ["io = \"auto\"\nspin = \"50us\"", "io = \"epoll\""];

struct Router {
    workers: Option<Workers>,
    shared: Arc<Shared>,
}

impl Router {
    fn start(workers: usize) -> Router {
        Router::start_with(workers, WAYS[0], "")
    }

    fn start_with(workers: usize, way: &str, extra: &str) -> Router {
        let text = format!(
            "[node]\nname = \"test\"\ndomains = [\"example.com\"]\nworkers = {workers}\n{way}\n[auth]\nregistration = \"open\"\n\
             [[listen]]\naddress = \"udp:127.0.0.1:0\"\n[[listen]]\naddress = \"tcp:127.0.0.1:0\"\n[registrar]\ndurability = \"memory\"\n{extra}"
        );
        let config = Config::parse(&text, Path::new("."), &Overrides::default()).unwrap();
        let listeners = bind(&config.listen, workers).unwrap();
        let config = Arc::new(config);
        let init_config = Arc::clone(&config);
        let engine = Engine::new(EngineConfig {
            workers,
            ..EngineConfig::default()
        })
        .unwrap();
        let policies = Policies::new(engine, move || {
            HookHost::for_init(Arc::clone(&init_config), "default")
        });
        policies
            .store("default", &std::fs::read(policy()).unwrap())
            .unwrap();
        policies.activate("default", None).unwrap();
        let bound = listeners[0].iter().map(|listener| Listener {
            transport: listener.transport,
            address: listener.address,
            advertise: listener.advertise.clone(),
        });
        let bound: Vec<Listener> = bound.collect();
        let location = LocationConfig {
            durability: config.registrar.durability,
            listeners: bound.clone(),
            ..LocationConfig::default()
        };
        let shared = Arc::new(Shared {
            config: ArcSwap::new(config),
            listeners: bound,
            secrets: Secrets {
                token_key: [1; 32],
                nonce_key: [2; 32],
            },
            http: HttpClient::default(),
            keyvalue: KeyValueStore::default(),
            location: Arc::new(LocationService::open(None, location).unwrap()),
            users: Arc::new(Users::none()),
            authenticator: Arc::new(Authenticator::new([2; 32], AuthConfig::default())),
            policies: Arc::new(policies),
            rollout: Arc::default(),
            routes: Default::default(),
            metrics: Arc::new(Metrics::new(workers)),
            traces: Arc::new(Traces::new(workers, Vec::new(), 0)),
            draining: AtomicBool::new(false),
        });
        let workers = worker::start(&shared, listeners).unwrap();
        Router {
            workers: Some(workers),
            shared,
        }
    }

    fn address(&self, transport: Transport) -> SocketAddr {
        self.shared
            .listeners
            .iter()
            .find(|listener| listener.transport == transport)
            .unwrap()
            .address
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if let Some(workers) = self.workers.take() {
            workers.stop();
            workers.join().unwrap();
        }
    }
}

fn policy() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/policies/default.wasm");
    assert!(
        path.exists(),
        "cargo xtask policies builds {}",
        path.display()
    );
    path
}

/// A phone on UDP.
struct Phone {
    socket: UdpSocket,
    router: SocketAddr,
    user: &'static str,
}

impl Phone {
    fn new(router: &Router, user: &'static str) -> Phone {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        // A phone that sends a burst reads the answers only afterwards.
        let room = 4 << 20;
        socket2::SockRef::from(&socket)
            .set_recv_buffer_size(room)
            .unwrap();
        Phone {
            socket,
            router: router.address(Transport::Udp),
            user,
        }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.router).unwrap();
    }

    fn receive(&self) -> String {
        let mut buffer = [0; 65536];
        let (length, from) = self.socket.recv_from(&mut buffer).unwrap();
        assert_eq!(from, self.router);
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The next message that is no 100 Trying.
    fn receive_beyond_trying(&self) -> String {
        loop {
            let text = self.receive();
            if !text.starts_with("SIP/2.0 100 ") {
                return text;
            }
        }
    }

    fn request(&self, method: &str, uri: &str, call_id: &str, extra: &str) -> String {
        let (address, user) = (self.address(), self.user);
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{method}{call_id}\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@example.com>;tag={user}\r\nTo: <{uri}>\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:{user}@{address}>\r\n{extra}Content-Length: 0\r\n\r\n"
        )
    }

    fn register(&self) {
        let uri = format!("sip:{}@example.com", self.user);
        let text = self
            .request(
                "REGISTER",
                "sip:example.com",
                &format!("reg-{}", self.user),
                "",
            )
            .replace("To: <sip:example.com>", &format!("To: <{uri}>"));
        self.send(&text);
        let answer = self.receive();
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
        assert!(
            answer.contains(&format!("<sip:{}@{}>", self.user, self.address())),
            "{answer}"
        );
    }
}

fn header<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let values = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(found, _)| found.eq_ignore_ascii_case(name));
    values.map(|(_, value)| value.trim()).collect()
}

fn answer(request: &str, status: &str, extra: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
        for value in header(request, name) {
            text += &format!("{name}: {value}\r\n");
        }
    }
    format!(
        "{text}To: {};tag=callee\r\n{extra}Content-Length: 0\r\n\r\n",
        header(request, "To")[0]
    )
}

/// A whole call between two registered phones: INVITE, 180, 200, ACK, BYE.
fn call(caller: &Phone, callee: &Phone, call_id: &str) {
    let uri = format!("sip:{}@example.com", callee.user);
    caller.send(&caller.request("INVITE", &uri, call_id, ""));
    let invite = callee.receive();
    assert!(
        invite.starts_with(&format!(
            "INVITE sip:{}@{} SIP/2.0\r\n",
            callee.user,
            callee.address()
        )),
        "{invite}"
    );
    assert_eq!(header(&invite, "Via").len(), 2, "{invite}");
    assert_eq!(header(&invite, "Max-Forwards"), ["69"]);
    callee.send(&answer(&invite, "180 Ringing", ""));
    assert!(caller.receive_beyond_trying().starts_with("SIP/2.0 180 "));
    let contact = format!("Contact: <sip:{}@{}>\r\n", callee.user, callee.address());
    callee.send(&answer(&invite, "200 OK", &contact));
    let ok = caller.receive_beyond_trying();
    assert!(ok.starts_with("SIP/2.0 200 "), "{ok}");
    let route = format!("Route: {}\r\n", header(&ok, "Record-Route")[0]);
    let target = format!("sip:{}@{}", callee.user, callee.address());
    let in_dialog = |method: &str| {
        caller.request(method, &target, call_id, &route).replace(
            &format!("To: <{target}>"),
            &format!("To: <{uri}>;tag=callee"),
        )
    };
    caller.send(&in_dialog("ACK"));
    let ack = callee.receive();
    assert!(ack.starts_with("ACK "), "{ack}");
    caller.send(&in_dialog("BYE"));
    let bye = callee.receive();
    assert!(bye.starts_with("BYE "), "{bye}");
    callee.send(&answer(&bye, "200 OK", ""));
    let done = caller.receive();
    assert!(
        done.starts_with("SIP/2.0 200 ") && done.contains("BYE"),
        "{done}"
    );
}

#[test]
fn two_phones_register_and_one_calls_the_other() {
    for way in WAYS {
        let router = Router::start_with(1, way, "");
        let (alice, bob) = (Phone::new(&router, "alice"), Phone::new(&router, "bob"));
        alice.register();
        bob.register();
        call(&alice, &bob, "call-1");
    }
}

#[test]
fn calls_meet_in_their_worker_whatever_socket_receives_them() {
    for way in WAYS {
        let router = Router::start_with(3, way, "");
        let (alice, bob) = (Phone::new(&router, "alice"), Phone::new(&router, "bob"));
        alice.register();
        bob.register();
        for n in 0..20 {
            call(&alice, &bob, &format!("call-{n}"));
        }
        let handed_over: u64 = router
            .shared
            .metrics
            .workers
            .iter()
            .map(|worker| worker.handed_over.value())
            .sum();
        // At most what begins something: the two registrations and each INVITE. The kernel has brought everything else to its worker.
        assert!((1..=2 + 20).contains(&handed_over), "{handed_over}");
    }
}

#[test]
fn nobody_of_that_name_is_404() {
    let router = Router::start(1);
    let alice = Phone::new(&router, "alice");
    alice.send(&alice.request("INVITE", "sip:nobody@example.com", "call-1", ""));
    let answer = alice.receive_beyond_trying();
    assert!(answer.starts_with("SIP/2.0 404 "), "{answer}");
}

#[test]
fn a_phone_on_tcp_is_called_over_its_connection() {
    for way in WAYS {
        let router = Router::start_with(2, way, "");
        let alice = Phone::new(&router, "alice");
        let mut bob = TcpStream::connect(router.address(Transport::Tcp)).unwrap();
        bob.set_read_timeout(Some(SOON)).unwrap();
        // The port of its Contact is one that nobody listens on: only the connection reaches this phone.
        let register = "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
            From: <sip:bob@example.com>;tag=b\r\nTo: <sip:bob@example.com>\r\nCall-ID: reg\r\nCSeq: 1 REGISTER\r\n\
            Contact: <sip:bob@127.0.0.1:1;transport=tcp>\r\nContent-Length: 0\r\n\r\n";
        bob.write_all(register.as_bytes()).unwrap();
        assert!(read_message(&mut bob).starts_with("SIP/2.0 200 "));
        alice.send(&alice.request("INVITE", "sip:bob@example.com", "call-1", ""));
        let invite = read_message(&mut bob);
        assert!(
            invite.starts_with("INVITE sip:bob@127.0.0.1:1;transport=tcp SIP/2.0\r\n"),
            "{invite}"
        );
        bob.write_all(answer(&invite, "486 Busy Here", "").as_bytes())
            .unwrap();
        let busy = alice.receive_beyond_trying();
        assert!(busy.starts_with("SIP/2.0 486 "), "{busy}");
        assert!(read_message(&mut bob).starts_with("ACK "));
    }
}

fn read_message(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn garbage_is_dropped_and_the_worker_goes_on() {
    let router = Router::start(1);
    let alice = Phone::new(&router, "alice");
    for garbage in [
        "\r\n\r\n",
        "nonsense",
        "INVITE",
        "SIP/2.0 200 OK\r\n\r\n",
        "\0\0\0",
    ] {
        alice.send(garbage);
    }
    alice.register();
}

#[test]
fn a_source_beyond_its_limit_gets_no_answer() {
    let router = Router::start_with(2, WAYS[0], "[limits]\nrequests_per_source = \"3\"\n");
    for n in 0..20 {
        // Each from another port: the workers count them together.
        let phone = Phone::new(&router, "alice");
        phone.send(&phone.request("OPTIONS", "sip:example.com", &format!("call-{n}"), ""));
    }
    let workers = &router.shared.metrics.workers;
    let sum = |read: &dyn Fn(&WorkerMetrics) -> u64| workers.iter().map(read).sum::<u64>();
    let deadline = Instant::now() + SOON;
    while sum(&|worker| worker.messages_received.value(Transport::Udp)) < 20 {
        assert!(Instant::now() < deadline, "not all requests have come");
        std::thread::sleep(Duration::from_millis(5));
    }
    let dropped = sum(&|worker| worker.limits.value(LimitLabel::RequestsPerSource));
    // More than a burst passes when this takes long.
    assert!((1..=17).contains(&dropped), "{dropped}");
}

#[test]
fn a_draining_worker_refuses_new_calls() {
    let router = Router::start(1);
    let (alice, workers) = (
        Phone::new(&router, "alice"),
        router.workers.as_ref().unwrap(),
    );
    workers.drain();
    let deadline = Instant::now() + SOON;
    let refused = loop {
        alice.send(&alice.request(
            "OPTIONS",
            "sip:example.com",
            &format!("{:?}", Instant::now()).replace([' ', '{', '}', ':', ','], "-"),
            "",
        ));
        let answer = alice.receive();
        if answer.starts_with("SIP/2.0 503 ") || Instant::now() > deadline {
            break answer;
        }
    };
    assert!(refused.starts_with("SIP/2.0 503 "), "{refused}");
    assert_eq!(header(&refused, "Retry-After").len(), 1);
}

#[test]
fn a_request_of_our_own_gets_its_answer() {
    for way in WAYS {
        let router = Router::start_with(2, way, "");
        let bob = Phone::new(&router, "bob");
        let uri = format!("sip:bob@{}", bob.address()).into_bytes();
        let answered = router.workers.as_ref().unwrap().originate(Originate {
            id: OriginateId(0),
            method: b"OPTIONS".to_vec(),
            uri: uri.clone(),
            from: b"sip:prober@example.com".to_vec(),
            to: uri,
            headers: Vec::new(),
            body: None,
        });
        let options = bob.receive();
        assert!(options.starts_with("OPTIONS "), "{options}");
        bob.send(&answer(&options, "200 OK", ""));
        assert_eq!(
            answered.blocking_recv().unwrap().unwrap().status(),
            Some(200)
        );
    }
}

#[test]
fn a_sleeping_worker_is_woken_by_whoever_needs_it() {
    for way in WAYS {
        let router = Router::start_with(1, way, "");
        let workers = router.workers.as_ref().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let (phone, tcp) = (Phone::new(&router, "alice"), router.address(Transport::Tcp));
        let start = Instant::now();
        for n in 0..20 {
            // Long enough for the worker to fall asleep, whatever it does before.
            std::thread::sleep(Duration::from_millis(2));
            assert_eq!(runtime.block_on(workers.transactions(10)).len(), 0);
            let options = phone.request("OPTIONS", "sip:example.com", &format!("tcp-{n}"), "");
            let mut stream = TcpStream::connect(tcp).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream
                .write_all(options.replace("SIP/2.0/UDP", "SIP/2.0/TCP").as_bytes())
                .unwrap();
            assert!(read_message(&mut stream).starts_with("SIP/2.0 200 "));
        }
        // None of them has waited for a timer.
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    }
}

#[test]
fn a_burst_loses_nothing() {
    for way in WAYS {
        let router = Router::start_with(1, way, "");
        let alice = Phone::new(&router, "alice");
        // More than the ring has buffers, and no more answers than the phone's socket holds where the system grants little room.
        let count = 120;
        for n in 0..count {
            let uri = "sip:example.com";
            alice.send(&alice.request("OPTIONS", uri, &format!("burst-{n}"), ""));
        }
        let mut answered: Vec<String> = (0..count)
            .map(|_| header(&alice.receive(), "Call-ID")[0].to_owned())
            .collect();
        answered.sort();
        answered.dedup();
        assert_eq!(answered.len(), count);
    }
}

#[test]
fn with_a_ring_a_lone_datagram_costs_one_system_call() {
    let router = Router::start_with(1, "io = \"auto\"\nspin = \"0\"", "");
    let calls = || router.shared.metrics.workers[0].udp_calls.value();
    let alice = Phone::new(&router, "alice");
    let ask = |n: usize| {
        alice.send(&alice.request("OPTIONS", "sip:example.com", &format!("lone-{n}"), ""));
        alice.receive();
    };
    ask(0);
    let (before, start, count) = (calls(), Instant::now(), 200);
    (1..=count as usize).for_each(ask);
    // It also wakes up for timers, at multiples of ten milliseconds.
    let wake_ups = start.elapsed().as_millis() as u64 / 5;
    let calls = calls() - before;
    let limit = match patchbay::transport::has_io_uring() {
        true => count + count / 5 + wake_ups,
        false => 2 * count + wake_ups,
    };
    assert!(
        (count..=limit).contains(&calls),
        "{calls} calls, {wake_ups} wake-ups"
    );
}
