//! A router killed in the middle of a storm of REGISTERs: what it acknowledged is there after the restart.
//!
//! `PATCHBAY_REGISTERS` (default 3000) makes the storm longer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::collections::BTreeSet;
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
