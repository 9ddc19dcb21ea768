//! The location service among many registrations.

use std::hint::black_box;

use patchbay::config::Durability;
use patchbay::location::{Done, LocationConfig, LocationService};
use patchbay_core::registrar::Registration;
use patchbay_core::time::UnixTime;
use patchbay_message::AddressOfRecord;

use crate::suite::{Steps, Suite};

const OPERATIONS: u64 = 2000;
/// Coprime to every size, so that addresses-of-record come in no order that a cache would like.
const STRIDE: u64 = 7_919;

struct Located {
    service: LocationService,
    registered: u64,
    next: u64,
    /// What the next step asks for.
    asked: Vec<Registration>,
    now: UnixTime,
}

/// A lookup and a refresh among a million registrations.
pub(crate) fn million() -> Box<dyn Suite> {
    among(1_000_000)
}

/// The same among so many, held in memory.
pub(crate) fn among(registered: u64) -> Box<dyn Suite> {
    let config = LocationConfig {
        durability: Durability::Memory,
        ..LocationConfig::default()
    };
    let located = Located {
        service: LocationService::open(None, config).expect("a location service"),
        registered,
        next: 0,
        asked: Vec::new(),
        // Far ahead of the clock, so that nothing expires meanwhile.
        now: UnixTime(4_000_000_000),
    };
    for user in 0..registered {
        let answer = located
            .service
            .update(&registration(user, 1), located.now, || Done::call(drop));
        assert!(answer.is_some_and(|answer| answer.is_ok()));
    }
    assert_eq!(located.service.counts().contacts as u64, registered);
    let steps = Steps::new(OPERATIONS, located)
        .prepare(Located::choose)
        .step("lookup", |located, _| {
            for registration in &located.asked {
                let bindings = located.service.lookup(&registration.aor, located.now);
                assert_eq!(black_box(bindings).len(), 1);
            }
        })
        .prepare(Located::choose)
        .step("refresh", |located, _| {
            for registration in &located.asked {
                let answer = located
                    .service
                    .update(registration, located.now, || Done::call(drop));
                assert!(black_box(answer).is_some_and(|answer| answer.is_ok()));
            }
        });
    Box::new(steps)
}

impl Located {
    fn choose(&mut self, times: u64) {
        // A second later the same REGISTER is a refresh.
        self.now = UnixTime(self.now.0 + 1);
        self.asked.clear();
        for _ in 0..times {
            self.next = (self.next + STRIDE) % self.registered;
            self.asked.push(registration(self.next, self.now.0 as u32));
        }
    }
}

fn registration(user: u64, cseq: u32) -> Registration {
    let aor = AddressOfRecord::from_canonical(&format!("sip:u{user}@bench.test"));
    let contact = format!("<sip:u{user}@127.0.0.3:6080>");
    let made = Registration::of_contact(aor, contact.as_bytes(), 3600, None);
    Registration {
        call_id: format!("{user}@127.0.0.3").into_bytes(),
        cseq,
        ..made.expect("a registration")
    }
}
