//! What the location service costs with many contacts.
//!
//! ```text
//! cargo run --profile quick --example location_cost -- 1000000             in memory
//! cargo run --profile quick --example location_cost -- 1000000 FOLDER      stored in FOLDER, which must be new; then reopened
//! ```
//!
//! Prints the resident memory per contact and, per registration, refresh and lookup in a scattered order, the CPU of all
//! threads. For counts that don't depend on the machine run it under `valgrind --tool=callgrind` with two numbers of contacts.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "an example reports by printing and panicking"
)]

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use patchbay::config::Durability;
use patchbay::location::{
    Answer, Done, LocationConfig, LocationService, LocationStore, LogConfig, LoggedStore, SledStore,
};
use patchbay_core::door::{Flow, ListenerId, Transport};
use patchbay_core::registrar::{Contacts, Registration};
use patchbay_core::time::UnixTime;
use patchbay_message::AddressOfRecord;

/// Later than the clock, so that nothing expires.
const NOW: UnixTime = UnixTime(10_000_000_000);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .expect("the number of contacts");
    let folder = arguments.next();
    let open = || LocationService::open(store(folder.as_deref()), config(folder.is_some()));
    let before = resident_bytes();
    let service = open().expect("a location service");
    measure("registration", count, |number| {
        register(&service, number, 1)
    });
    println!(
        "{} bytes resident per contact",
        (resident_bytes() - before) / count
    );
    measure("refresh", count, |number| register(&service, number, 2));
    measure("lookup", count, |number| {
        assert_eq!(service.lookup(&aor(number), NOW).len(), 1);
    });
    println!("{:?}", service.statistics());
    if folder.is_some() {
        let start = Instant::now();
        drop(service);
        println!("closed in {:.2?}", start.elapsed());
        let (start, before) = (Instant::now(), cpu());
        let service = open().expect("the same location service");
        println!(
            "opened with {} contacts in {:.2?}, {:.2?} of CPU",
            service.counts().contacts,
            start.elapsed(),
            cpu() - before
        );
        assert_eq!(service.counts().contacts, count);
    }
}

fn store(folder: Option<&str>) -> Option<Box<dyn LocationStore>> {
    let folder = Path::new(folder?);
    let sled = SledStore::open(&folder.join("store")).expect("a store");
    let log = folder.join("registrations");
    let logged = LoggedStore::open(&log, sled, LogConfig::default()).expect("a log");
    Some(Box::new(logged))
}

fn config(is_stored: bool) -> LocationConfig {
    LocationConfig {
        durability: if is_stored {
            Durability::Batched
        } else {
            Durability::Memory
        },
        ..LocationConfig::default()
    }
}

/// Runs for every number in a scattered order.
fn measure(what: &str, count: usize, mut run: impl FnMut(usize)) {
    let before = cpu();
    // Odd and no divisor of a power of ten.
    (0..count).for_each(|turn| run(turn.wrapping_mul(7_919_317) % count));
    let nanos = (cpu() - before).as_nanos() / count as u128;
    println!("{what}: {nanos} ns of CPU");
}

/// Waits for the store now and then, like phones do.
fn register(service: &LocationService, number: usize, cseq: u32) {
    let registration = Registration {
        call_id: format!("{number:08x}@192.0.2.7").into_bytes(),
        cseq,
        user_agent: b"phone/1.0".to_vec(),
        ..registration(number)
    };
    let (done, answer) = sync_channel::<Answer>(1);
    let at_once = service.update(&registration, NOW, move || {
        Done::call(move |answer| drop(done.send(answer)))
    });
    match at_once {
        Some(answer) => drop(answer.expect("a registration")),
        None if number.is_multiple_of(1000) => {
            drop(answer.recv().expect("an answer").expect("a registration"));
        }
        None => {}
    }
}

fn registration(number: usize) -> Registration {
    let contact = format!("sip:user{number}@192.0.2.7:{}", 1024 + number % 50_000);
    let flow = Flow {
        listener: ListenerId(0),
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().expect("an address"),
        remote: "192.0.2.7:5060".parse().expect("an address"),
        connection: None,
    };
    let registration = Registration::of_contact(aor(number), contact.as_bytes(), 3600, Some(flow))
        .expect("a contact");
    assert!(matches!(registration.contacts, Contacts::Change(_)));
    registration
}

fn aor(number: usize) -> AddressOfRecord {
    AddressOfRecord::from_canonical(&format!("sip:user{number}@example.com"))
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("pages");
    pages * 4096
}

/// Of all threads of the process.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("tasks");
    let nanos = tasks.filter_map(|task| {
        let schedstat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}
