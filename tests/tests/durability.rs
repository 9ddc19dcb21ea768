//! A router killed in the middle of a storm of REGISTERs: what it acknowledged is there after the restart.
//!
//! `PATCHBAY_REGISTERS` (default 3000) makes the storm longer, `PATCHBAY_ROUNDS` (default 20) the log.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use patchbay_tests::router::Setup;
use patchbay_tests::text::Text;

fn register(user: usize, local: &std::net::SocketAddr) -> String {
    format!(
        "REGISTER sip:localhost SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKstorm{user};rport\r\nMax-Forwards: 70\r\nFrom: <sip:user{user}@localhost>;tag=s{user}\r\nTo: <sip:user{user}@localhost>\r\nCall-ID: storm-{user}\r\nCSeq: 1 REGISTER\r\nContact: <sip:user{user}@{local}>\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n"
    )
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let total: usize = std::env::var("PATCHBAY_REGISTERS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3000);
    let router = Setup::new().workers(2).start();
    let address = router.udp();
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let over = Arc::new(AtomicBool::new(false));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("set a timeout");
    let reader = std::thread::spawn({
        let (socket, acknowledged, over) = (
            socket.try_clone().expect("clone the socket"),
            Arc::clone(&acknowledged),
            Arc::clone(&over),
        );
        move || {
            let mut buffer = [0; 4096];
            while !over.load(Ordering::Relaxed) {
                let Ok((length, _)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let answer = Text::parse(&buffer[..length]);
                if answer.status() == 200 {
                    let user = answer
                        .header("Call-ID")
                        .trim_start_matches("storm-")
                        .parse::<usize>()
                        .expect("a number");
                    acknowledged.lock().expect("the set").insert(user);
                }
            }
        }
    });
    let local = socket.local_addr().expect("an address");
    let mut router = Some(router);
    let mut directory = None;
    let answered = || acknowledged.lock().expect("the set").len();
    for user in 0..total {
        if directory.is_none() && answered() >= total / 2 {
            // The storm goes on while the process dies.
            directory = router.take().map(patchbay_tests::router::Router::kill);
        }
        // Once the process is gone the kernel may refuse to send.
        let _ = socket.send_to(register(user, &local).as_bytes(), address);
        // A storm, but not one that the socket's buffer can't hold; what is lost all the same is not waited for.
        let patience = Instant::now() + Duration::from_millis(100);
        while directory.is_none() && user > answered() + 400 && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    over.store(true, Ordering::Relaxed);
    reader.join().expect("the reader");
    let acknowledged = acknowledged.lock().expect("the set").clone();
    assert!(
        acknowledged.len() >= total / 2,
        "only {} of {total} were acknowledged before the kill",
        acknowledged.len()
    );

    let router = Setup::new().directory(directory.expect("killed")).start();
    let list = router.get("/api/v1/registrations");
    let stored: BTreeSet<usize> = list["registrations"]
        .as_array()
        .expect("registrations")
        .iter()
        .filter_map(|row| {
            row["aor"]
                .as_str()?
                .trim_start_matches("sip:")
                .strip_prefix("user")?
                .split('@')
                .next()?
                .parse()
                .ok()
        })
        .collect();
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged registrations are lost: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
}

/// Users who register again and again, and how many requests of theirs are under way.
const PHONES: usize = 700;
const UNDER_WAY: usize = 8;

/// A phone that sends one request after the other.
struct Phones {
    socket: UdpSocket,
    local: std::net::SocketAddr,
    /// By user: the round of the last registration that was acknowledged, and of the last that was sent.
    acknowledged: BTreeMap<String, usize>,
    sent: BTreeMap<String, usize>,
}

impl Phones {
    fn new() -> Phones {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket
            .set_read_timeout(Some(Duration::from_secs(1)))
            .expect("set a timeout");
        let local = socket.local_addr().expect("an address");
        Phones {
            socket,
            local,
            acknowledged: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }

    /// The name of the phone is long, so that the log grows fast.
    fn send(&mut self, router: std::net::SocketAddr, user: &str, round: usize, expires: u32) {
        let (local, name) = (self.local, "x".repeat(8_000));
        let text = format!(
            "REGISTER sip:localhost SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{user}.{round};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@localhost>;tag=s\r\nTo: <sip:{user}@localhost>\r\nCall-ID: {user}\r\nCSeq: {round} REGISTER\r\n\
             Contact: <sip:{user}@{local}>\r\nExpires: {expires}\r\nUser-Agent: {name}\r\nContent-Length: 0\r\n\r\n"
        );
        // Once the process is gone the kernel may refuse to send.
        let _ = self.socket.send_to(text.as_bytes(), router);
        self.sent.insert(user.to_owned(), round);
    }

    /// Takes an answer, if one comes.
    fn take_answer(&mut self) -> bool {
        let mut buffer = [0; 65_536];
        let Ok((length, _)) = self.socket.recv_from(&mut buffer) else {
            return false;
        };
        let answer = Text::parse(&buffer[..length]);
        if answer.status() != 200 {
            // On a busy machine a hook may be too late. What was refused is not acknowledged.
            return true;
        }
        let round = answer.header("CSeq");
        let round = round.split(' ').next().and_then(|round| round.parse().ok());
        self.acknowledged
            .insert(answer.header("Call-ID").to_owned(), round.expect("a CSeq"));
        true
    }
}

#[test]
fn nothing_acknowledged_is_lost_over_many_files_of_the_log() {
    let rounds: usize = std::env::var("PATCHBAY_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20);
    let router = Setup::new().start();
    let address = router.udp();
    let mut phones = Phones::new();
    let log = router.path().join("data/registrations");
    for round in 1..=rounds {
        if round == rounds {
            patchbay_tests::router::wait_until("the oldest file to be copied to the store", || {
                !log.join("0000000000000001.log").exists()
            });
        }
        // Some register once, in one of the rounds, and never again; of those some are removed in the next.
        let quiet = (0..20).map(|number| (format!("quiet{round}-{number}"), 7200));
        let gone = (0..20)
            .filter(|_| round > 1)
            .map(|number| (format!("quiet{}-{number}", round - 1), 0))
            .step_by(2);
        let busy = (0..PHONES).map(|number| (format!("busy{number}"), 7200));
        let mut under_way = 0;
        for (user, expires) in quiet.chain(gone).chain(busy) {
            phones.send(address, &user, round, expires);
            under_way += 1;
            while under_way >= UNDER_WAY {
                assert!(phones.take_answer(), "no answer in round {round}");
                under_way -= 1;
            }
        }
        // The last ones of the last round are killed with the process.
        while round < rounds && under_way > 0 {
            assert!(phones.take_answer(), "no answer in round {round}");
            under_way -= 1;
        }
    }
    let directory = router.kill();
    while phones.take_answer() {}

    let router = Setup::new().directory(directory).start();
    let list = router.get("/api/v1/registrations");
    let mut stored: BTreeMap<String, usize> = BTreeMap::new();
    for row in list["registrations"].as_array().expect("registrations") {
        let aor = row["aor"].as_str().expect("an address-of-record");
        let user = aor.trim_start_matches("sip:").split('@').next();
        let round = row["contacts"][0]["cseq"].as_u64().expect("a CSeq");
        stored.insert(user.expect("a user").to_owned(), round as usize);
    }
    for (user, round) in &phones.acknowledged {
        let (sent, found) = (phones.sent[user], stored.get(user));
        // The second that a quiet one sends is its removal.
        let is_quiet = user.starts_with("quiet");
        let was_removed = is_quiet && !user.starts_with(&format!("quiet{round}-"));
        let may_be_gone = is_quiet && sent > *round;
        let is_right = match found {
            None => was_removed || may_be_gone,
            Some(found) => !was_removed && (*round..=sent).contains(found),
        };
        assert!(
            is_right,
            "{user}: round {round} was acknowledged, {sent} sent, {found:?} is stored"
        );
    }
    assert!(phones.acknowledged.len() > PHONES);
}
