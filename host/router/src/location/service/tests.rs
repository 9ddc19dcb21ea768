use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, channel, sync_channel};

use patchbay_core::door::{Flow, ListenerId, Transport};
use patchbay_core::registrar::BindingParts;

use super::super::batch::Batch;
use super::super::record;
use super::super::sled_store::SledStore;
use super::super::store::{EachRecord, MemoryStore};
use super::*;

/// Later than any clock that runs these tests, so that nothing expires but by the time they say.
const NOW: UnixTime = UnixTime(10_000_000_000);

/// A binding of `uri` that ends at that second.
pub(in super::super) fn binding(uri: &str, expires: u64) -> ContactBinding {
    ContactBinding::new(&BindingParts {
        display: b"",
        uri: uri.as_bytes(),
        parameters: b"",
        instance: None,
        reg_id: None,
        q: 1000,
        expires: UnixTime(expires),
        updated: UnixTime(0),
        call_id: b"call",
        cseq: 1,
        user_agent: b"",
        path: &[],
        flow: None,
    })
    .unwrap()
}

fn aor(user: &str) -> AddressOfRecord {
    AddressOfRecord::from_canonical(&format!("sip:{user}@example.com"))
}

fn register(user: &str, contact: &str, expires_secs: u32) -> Registration {
    Registration::of_contact(aor(user), contact.as_bytes(), expires_secs, None).unwrap()
}

fn start(
    service: &LocationService,
    registration: &Registration,
    now: UnixTime,
) -> Receiver<Answer> {
    let (done, answer) = channel();
    let at_once = done.clone();
    // The test may have stopped listening.
    let result = service.update(registration, now, move || {
        Done::call(move |result| drop(done.send(result)))
    });
    if let Some(result) = result {
        at_once.send(result).unwrap();
    }
    answer
}

fn update(service: &LocationService, registration: &Registration, now: UnixTime) -> Answer {
    start(service, registration, now)
        .recv_timeout(Duration::from_secs(10))
        .unwrap()
}

fn update_of(
    service: &LocationService,
    namespace: Option<&Arc<Namespace>>,
    registration: &Registration,
) -> Answer {
    let (done, answer) = channel();
    let at_once = service.update_in(namespace, registration, NOW, || {
        Done::call(move |result| drop(done.send(result)))
    });
    at_once.unwrap_or_else(|| answer.recv_timeout(Duration::from_secs(10)).unwrap())
}

fn open(store: impl LocationStore) -> LocationService {
    LocationService::open(Some(Box::new(store)), LocationConfig::default()).unwrap()
}

/// Somebody listens.
fn wanted(sender: SyncSender<LocationEvent>) -> Events {
    Events {
        sender,
        wanted: Arc::new(|| true),
    }
}

fn uris(bindings: &[ContactBinding]) -> Vec<String> {
    bindings
        .iter()
        .map(|binding| String::from_utf8(binding.uri().to_vec()).unwrap())
        .collect()
}

/// Refuses commits while `fails`, and holds them up while `held` is locked.
#[derive(Clone, Default)]
struct FaultyStore {
    records: MemoryStore,
    fails: Arc<AtomicBool>,
    held: Arc<Mutex<()>>,
}

impl LocationStore for FaultyStore {
    fn load(&mut self, prefix: &[u8], each: &mut EachRecord<'_>) -> Result<(), StoreError> {
        self.records.load(prefix, each)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let _held = self.held.lock().unwrap();
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::Closed);
        }
        self.records.commit(batch)
    }
}

#[test]
fn limits_come_from_the_configuration() {
    let config = Registrar {
        default_expires: Duration::from_secs(1800),
        min_expires: Duration::from_secs(30),
        max_expires: Duration::from_secs(3600),
        max_contacts: 5,
        durability: Durability::Relaxed,
    };
    let config = LocationConfig::of(&config, Vec::new());
    let expected = RegistrarConfig {
        default_expires_secs: 1800,
        min_expires_secs: 30,
        max_expires_secs: 3600,
        max_contacts: 5,
    };
    assert_eq!(
        (config.registrar, config.durability),
        (expected, Durability::Relaxed)
    );
}

#[test]
fn registered_contact_is_found_and_counted() {
    let service = open(MemoryStore::default());
    let answer = update(&service, &register("alice", "sip:alice@192.0.2.1", 60), NOW).unwrap();
    assert_eq!(uris(&answer), ["sip:alice@192.0.2.1"]);
    assert_eq!(
        uris(&service.lookup(&aor("alice"), NOW)),
        ["sip:alice@192.0.2.1"]
    );
    assert!(service.lookup(&aor("bob"), NOW).is_empty());
    assert_eq!(
        service.counts(),
        Counts {
            aors: 1,
            contacts: 1
        }
    );
}

#[test]
fn removal_leaves_nothing_in_index_and_store() {
    let store = MemoryStore::default();
    let service = open(store.clone());
    update(&service, &register("alice", "sip:alice@192.0.2.1", 60), NOW).unwrap();
    assert_eq!(store.len(), 1);
    assert!(
        update(&service, &Registration::of_removal(aor("alice")), NOW)
            .unwrap()
            .is_empty()
    );
    assert!(store.is_empty());
    assert_eq!(service.counts(), Counts::default());
}

#[test]
fn bindings_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    {
        let service = open(SledStore::open(folder.path()).unwrap());
        update(
            &service,
            &register("alice b", "sip:alice@192.0.2.1;x=1", 60),
            NOW,
        )
        .unwrap();
        update(
            &service,
            &register("alice b", "<sip:alice@192.0.2.2>;q=0.5", 60),
            NOW,
        )
        .unwrap();
        update(&service, &register("bob", "sip:bob@192.0.2.3", 60), NOW).unwrap();
        update(&service, &Registration::of_removal(aor("bob")), NOW).unwrap();
    }
    let service = open(SledStore::open(folder.path()).unwrap());
    let bindings = service.lookup(&aor("alice b"), NOW);
    assert_eq!(
        uris(&bindings),
        ["sip:alice@192.0.2.1;x=1", "sip:alice@192.0.2.2"]
    );
    assert_eq!(bindings[1].q(), 500);
    assert_eq!(
        service.counts(),
        Counts {
            aors: 1,
            contacts: 2
        }
    );
}

#[test]
fn relaxed_updates_are_stored_by_the_end() {
    let store = MemoryStore::default();
    let config = LocationConfig {
        durability: Durability::Relaxed,
        ..LocationConfig::default()
    };
    let service = LocationService::open(Some(Box::new(store.clone())), config).unwrap();
    (0..100).for_each(|n| {
        drop(
            update(
                &service,
                &register(&format!("u{n}"), "sip:u@192.0.2.1", 60),
                NOW,
            )
            .unwrap(),
        )
    });
    drop(service);
    assert_eq!(store.len(), 100);
}

#[test]
fn memory_durability_stores_nothing() {
    let store = MemoryStore::default();
    let config = LocationConfig {
        durability: Durability::Memory,
        ..LocationConfig::default()
    };
    let service = LocationService::open(Some(Box::new(store.clone())), config).unwrap();
    update(&service, &register("alice", "sip:alice@192.0.2.1", 60), NOW).unwrap();
    assert_eq!(service.counts().contacts, 1);
    drop(service);
    assert!(store.is_empty());
}

#[test]
fn expired_records_are_removed_at_the_start() {
    let mut store = MemoryStore::default();
    let prefix = record::prefix(super::super::DEFAULT_NAMESPACE);
    let mut batch = Batch::default();
    batch.push(&[&prefix, b"sip:alice@example.com"], |value| {
        record::write(value, &[binding("sip:alice@192.0.2.1", 1)])
    });
    store.commit(&batch).unwrap();
    let service = open(store.clone());
    assert_eq!(service.counts(), Counts::default());
    assert!(store.is_empty());
}

#[test]
fn namespaces_do_not_see_each_other() {
    let store = MemoryStore::default();
    let service = open(store.clone());
    let tenant = service.namespace("tenant");
    let registration = register("alice", "sip:alice@192.0.2.1", 60);
    let done = || unreachable!("nothing waits");
    drop(update_of(&service, Some(&tenant), &registration));
    assert_eq!(service.lookup(&registration.aor, NOW).len(), 0);
    let found = |service: &LocationService, name: &str| {
        let namespace = service.namespace(name);
        service
            .lookup_in(Some(&namespace), &registration.aor, NOW)
            .len()
    };
    assert_eq!(
        (found(&service, "tenant"), found(&service, "other")),
        (1, 0)
    );
    assert!(service.list(None, 10, NOW).is_empty());
    assert_eq!(service.list_in(Some(&tenant), None, 10, NOW).len(), 1);
    assert_eq!(service.counts().contacts, 1);
    drop(service);
    assert_eq!(store.len(), 1);
    // They come back where they were.
    let service = open(store.clone());
    assert_eq!(
        (found(&service, "tenant"), found(&service, "other")),
        (1, 0)
    );
    let removal = Registration::of_removal(registration.aor.clone());
    assert!(
        service
            .update(&removal, NOW, done)
            .is_some_and(|answer| answer.is_ok())
    );
    assert_eq!(found(&service, "tenant"), 1, "another namespace's removal");
    service.expire(UnixTime(NOW.0 + 61));
    assert_eq!(service.counts().contacts, 0);
    drop(service);
    assert!(store.is_empty());
}

#[test]
fn a_tenant_may_have_fewer_contacts() {
    let service = LocationService::untimed(LocationConfig::default());
    let tenant = service.namespace("tenant");
    let mut registration = register("alice", "sip:alice@192.0.2.1", 60);
    registration.max_contacts = Some(1);
    assert!(update_of(&service, Some(&tenant), &registration).is_ok());
    let mut second = register("alice", "sip:alice@192.0.2.2", 60);
    second.max_contacts = Some(1);
    let refused = update_of(&service, Some(&tenant), &second);
    assert_eq!(refused.map_err(|reject| reject.status).err(), Some(403));
    second.max_contacts = None;
    assert!(update_of(&service, Some(&tenant), &second).is_ok());
}

#[test]
fn expiry_reports_the_namespace() {
    let (sender, events) = std::sync::mpsc::sync_channel(10);
    let service = LocationService::untimed(LocationConfig {
        events: Some(wanted(sender)),
        ..LocationConfig::default()
    });
    let tenant = service.namespace("tenant");
    let registration = register("alice", "sip:alice@192.0.2.1", 60);
    drop(update_of(&service, Some(&tenant), &registration));
    service.expire(UnixTime(NOW.0 + 61));
    let seen: Vec<_> = events
        .try_iter()
        .map(|event| (event.kind, event.namespace))
        .collect();
    assert_eq!(
        seen,
        [
            (ChangeKind::Added, "tenant".into()),
            (ChangeKind::Expired, "tenant".into())
        ]
    );
}

#[test]
fn damaged_records_are_counted_and_skipped() {
    let mut store = MemoryStore::default();
    let key = [
        &record::prefix(super::super::DEFAULT_NAMESPACE)[..],
        b"sip:alice@example.com",
    ];
    let mut batch = Batch::default();
    batch.push_change(&key.concat(), Some(&[9, 9, 9]));
    store.commit(&batch).unwrap();
    let service = open(store);
    assert_eq!(service.statistics().damaged_records, 1);
}

#[test]
fn only_udp_flows_outlive_a_restart() {
    let store = MemoryStore::default();
    let local = "192.0.2.9:5060".parse().unwrap();
    let flow = |transport| Flow {
        listener: ListenerId(7),
        transport,
        local,
        remote: "192.0.2.1:40000".parse().unwrap(),
        connection: None,
    };
    {
        let service = open(store.clone());
        for (user, transport) in [("udp", Transport::Udp), ("tcp", Transport::Tcp)] {
            let registration = Registration {
                flow: Some(flow(transport)),
                ..register(user, "sip:u@192.0.2.1", 60)
            };
            update(&service, &registration, NOW).unwrap();
            assert_eq!(
                service.lookup(&aor(user), NOW)[0].flow(),
                Some(flow(transport))
            );
        }
    }
    let listener = |transport, address: &str| Listener {
        transport,
        address: address.parse().unwrap(),
        advertise: None,
    };
    let listeners = vec![
        listener(Transport::Tcp, "0.0.0.0:5060"),
        listener(Transport::Udp, "0.0.0.0:5060"),
    ];
    let reopen = |listeners| {
        let config = LocationConfig {
            listeners,
            ..LocationConfig::default()
        };
        LocationService::open(Some(Box::new(store.clone())), config).unwrap()
    };
    let service = reopen(listeners);
    let udp = Flow {
        listener: ListenerId(1),
        ..flow(Transport::Udp)
    };
    assert_eq!(service.lookup(&aor("udp"), NOW)[0].flow(), Some(udp));
    assert_eq!(service.lookup(&aor("tcp"), NOW)[0].flow(), None);
    drop(service);
    let service = reopen(vec![listener(Transport::Udp, "192.0.2.9:5080")]);
    assert_eq!(
        service.lookup(&aor("udp"), NOW)[0].flow(),
        None,
        "no listener has that address any more"
    );
}

#[test]
fn failed_commit_takes_the_registration_back() {
    let store = FaultyStore::default();
    let service = open(store.clone());
    update(&service, &register("alice", "sip:alice@192.0.2.1", 60), NOW).unwrap();
    store.fails.store(true, Ordering::SeqCst);
    let reject = update(&service, &register("alice", "sip:alice@192.0.2.2", 60), NOW).unwrap_err();
    assert_eq!(reject.status, 500);
    assert_eq!(
        uris(&service.lookup(&aor("alice"), NOW)),
        ["sip:alice@192.0.2.1"]
    );
    assert_eq!(
        service.counts(),
        Counts {
            aors: 1,
            contacts: 1
        }
    );
    store.fails.store(false, Ordering::SeqCst);
    update(&service, &register("alice", "sip:alice@192.0.2.3", 60), NOW).unwrap();
    assert_eq!(
        uris(&service.lookup(&aor("alice"), NOW)),
        ["sip:alice@192.0.2.1", "sip:alice@192.0.2.3"]
    );
}

#[test]
fn what_was_built_on_a_failed_registration_fails_too() {
    let store = FaultyStore::default();
    let service = open(store.clone());
    update(&service, &register("alice", "sip:alice@192.0.2.1", 60), NOW).unwrap();
    store.fails.store(true, Ordering::SeqCst);
    let held = store.held.lock().unwrap();
    // More than one batch, all on top of the first.
    let answers: Vec<_> = (0..1200)
        .map(|n| {
            start(
                &service,
                &register("alice", "sip:alice@192.0.2.2", 60 + n),
                NOW,
            )
        })
        .collect();
    assert_eq!(
        service.lookup(&aor("alice"), NOW).len(),
        2,
        "applied, not yet stored"
    );
    drop(held);
    for answer in answers {
        assert_eq!(
            answer
                .recv_timeout(Duration::from_secs(10))
                .unwrap()
                .unwrap_err()
                .status,
            500
        );
    }
    assert_eq!(
        uris(&service.lookup(&aor("alice"), NOW)),
        ["sip:alice@192.0.2.1"]
    );
    store.fails.store(false, Ordering::SeqCst);
    update(&service, &register("alice", "sip:alice@192.0.2.3", 60), NOW).unwrap();
    drop(service);
    assert_eq!(open(store).lookup(&aor("alice"), NOW).len(), 2);
}

#[test]
fn full_queue_answers_503_and_changes_nothing() {
    let store = FaultyStore::default();
    let config = LocationConfig {
        queue: 4,
        ..LocationConfig::default()
    };
    let service = LocationService::open(Some(Box::new(store.clone())), config).unwrap();
    let held = store.held.lock().unwrap();
    let answers: Vec<_> = (0..2000)
        .map(|n| {
            start(
                &service,
                &register(&format!("u{n}"), "sip:u@192.0.2.1", 60),
                NOW,
            )
        })
        .collect();
    drop(held);
    let answers: Vec<_> = answers
        .iter()
        .map(|answer| answer.recv_timeout(Duration::from_secs(10)).unwrap())
        .collect();
    let refused: Vec<_> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().err())
        .collect();
    assert!(!refused.is_empty() && refused.iter().all(|reject| reject.status == 503));
    assert_eq!(refused[0].headers, [("Retry-After", "2".to_owned())]);
    assert_eq!(service.counts().aors, 2000 - refused.len());
    assert_eq!(service.statistics().refused, refused.len() as u64);
}

#[test]
fn refresh_that_fails_or_finds_no_room_changes_nothing() {
    let store = FaultyStore::default();
    let config = LocationConfig {
        queue: 1,
        ..LocationConfig::default()
    };
    let service = LocationService::open(Some(Box::new(store.clone())), config).unwrap();
    let alice = |secs| register("alice", "sip:alice@192.0.2.1", secs);
    let ends = || service.lookup(&aor("alice"), NOW)[0].expires().0 - NOW.0;
    update(&service, &alice(60), NOW).unwrap();
    update(&service, &alice(90), NOW).unwrap();
    assert_eq!(ends(), 90);
    store.fails.store(true, Ordering::SeqCst);
    let refused = update(&service, &alice(600), NOW).unwrap_err();
    assert_eq!((refused.status, ends()), (500, 90));
    store.fails.store(false, Ordering::SeqCst);
    let held = store.held.lock().unwrap();
    let others: Vec<_> = (0..3)
        .map(|n| {
            start(
                &service,
                &register(&format!("u{n}"), "sip:u@192.0.2.1", 60),
                NOW,
            )
        })
        .collect();
    let refused = update(&service, &alice(600), NOW).unwrap_err();
    assert_eq!((refused.status, ends()), (503, 90));
    drop((held, others));
    drop(service);
    assert_eq!(
        open(store).lookup(&aor("alice"), NOW)[0].expires().0 - NOW.0,
        90
    );
}

#[test]
fn expiry_removes_from_index_and_store() {
    let store = MemoryStore::default();
    let service = open(store.clone());
    update(&service, &register("alice", "sip:alice@192.0.2.1", 60), NOW).unwrap();
    update(&service, &register("alice", "sip:alice@192.0.2.2", 90), NOW).unwrap();
    let later = UnixTime(NOW.0 + 60);
    assert_eq!(
        service.lookup(&aor("alice"), later).len(),
        1,
        "not found even before the sweep"
    );
    service.expire(later);
    assert_eq!(
        service.counts(),
        Counts {
            aors: 1,
            contacts: 1
        }
    );
    service.expire(UnixTime(NOW.0 + 90));
    assert_eq!(service.counts(), Counts::default());
    drop(service);
    assert!(store.is_empty());
}

#[test]
fn refreshed_contact_does_not_expire_at_its_old_time() {
    let service = open(MemoryStore::default());
    update(&service, &register("alice", "sip:alice@192.0.2.1", 60), NOW).unwrap();
    update(
        &service,
        &register("alice", "sip:alice@192.0.2.1", 60),
        UnixTime(NOW.0 + 30),
    )
    .unwrap();
    service.expire(UnixTime(NOW.0 + 89));
    assert_eq!(service.counts().contacts, 1);
    service.expire(UnixTime(NOW.0 + 90));
    assert_eq!(service.counts().contacts, 0);
}

#[test]
fn every_change_is_reported_once() {
    let (events, reported) = sync_channel(100);
    let config = LocationConfig {
        events: Some(wanted(events)),
        ..LocationConfig::default()
    };
    let service = LocationService::open(Some(Box::new(MemoryStore::default())), config).unwrap();
    update(&service, &register("alice", "sip:alice@192.0.2.1", 60), NOW).unwrap();
    update(&service, &register("alice", "sip:alice@192.0.2.1", 60), NOW).unwrap();
    update(&service, &register("alice", "sip:alice@192.0.2.2", 60), NOW).unwrap();
    update(&service, &register("alice", "sip:alice@192.0.2.2", 0), NOW).unwrap();
    service.expire(UnixTime(NOW.0 + 60));
    drop(service);
    let kinds: Vec<_> = reported.iter().map(|event| event.kind).collect();
    use ChangeKind::{Added, Expired, Refreshed, Removed};
    assert_eq!(kinds, [Added, Refreshed, Added, Removed, Expired]);
}

#[test]
fn events_that_nobody_takes_are_counted() {
    let (events, _reported) = sync_channel(1);
    let config = LocationConfig {
        events: Some(wanted(events)),
        durability: Durability::Memory,
        ..LocationConfig::default()
    };
    let service = LocationService::open(None, config).unwrap();
    (0..3).for_each(|n| {
        drop(update(
            &service,
            &register(&format!("u{n}"), "sip:u@192.0.2.1", 60),
            NOW,
        ))
    });
    assert_eq!(service.statistics().lost_events, 2);
}

#[test]
fn events_that_nobody_wants_are_not_made() {
    let (sender, reported) = sync_channel(1);
    let config = LocationConfig {
        events: Some(Events {
            sender,
            wanted: Arc::new(|| false),
        }),
        ..LocationConfig::default()
    };
    let service = LocationService::open(Some(Box::new(MemoryStore::default())), config).unwrap();
    for user in ["alice", "bob"] {
        update(&service, &register(user, "sip:u@192.0.2.1", 60), NOW).unwrap();
    }
    assert_eq!(service.statistics().lost_events, 0);
    drop(service);
    assert_eq!(reported.iter().count(), 0);
}

#[test]
fn only_batched_updates_wait_for_the_store() {
    for (durability, waits) in [
        (Durability::Memory, false),
        (Durability::Relaxed, false),
        (Durability::Batched, true),
    ] {
        let store = FaultyStore::default();
        let config = LocationConfig {
            durability,
            ..LocationConfig::default()
        };
        let service = LocationService::open(Some(Box::new(store.clone())), config).unwrap();
        let held = store.held.lock().unwrap();
        let (done, later) = channel();
        let registration = register("alice", "sip:alice@192.0.2.1", 60);
        let at_once = service.update(&registration, NOW, move || {
            Done::call(move |answer| drop(done.send(answer)))
        });
        assert_eq!(at_once.is_none(), waits, "{durability:?}");
        drop(held);
        assert_eq!(later.recv().is_ok(), waits, "{durability:?}");
    }
}

#[test]
fn listing_is_sorted_filtered_and_bounded() {
    let service = open(MemoryStore::default());
    for user in ["carol", "alice", "bob", "alicia"] {
        update(&service, &register(user, "sip:u@192.0.2.1", 60), NOW).unwrap();
    }
    let names = |filter, limit| -> Vec<String> {
        service
            .list(filter, limit, NOW)
            .iter()
            .map(|registered| registered.aor.user().to_owned())
            .collect()
    };
    assert_eq!(names(None, 10), ["alice", "alicia", "bob", "carol"]);
    assert_eq!(names(Some("ali"), 10), ["alice", "alicia"]);
    assert_eq!(names(None, 2), ["alice", "alicia"]);
}

#[test]
fn ten_thousand_updates_of_four_threads_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let service = open(SledStore::open(folder.path()).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let service = &service;
            scope.spawn(move || {
                // Every address-of-record is shared by two threads, each with contacts of its own.
                let answers: Vec<_> = (0..2500)
                    .map(|n| {
                        let contact = format!("sip:t{thread}@192.0.2.{}", n % 2);
                        start(
                            service,
                            &register(
                                &format!("u{}", (n / 2) + 2000 * (thread % 2)),
                                &contact,
                                600,
                            ),
                            NOW,
                        )
                    })
                    .collect();
                answers.iter().for_each(|answer| {
                    drop(
                        answer
                            .recv_timeout(Duration::from_secs(30))
                            .unwrap()
                            .unwrap(),
                    )
                });
            });
        }
    });
    let expected = Counts {
        aors: 2 * 1250,
        contacts: 10_000,
    };
    assert_eq!(service.counts(), expected);
    drop(service);
    assert_eq!(
        open(SledStore::open(folder.path()).unwrap()).counts(),
        expected
    );
}

mod model {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Register { user: u8, contact: u8, secs: u32 },
        RemoveAll { user: u8 },
        Wait { secs: u64 },
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..4u8, 0..4u8, 0..200u32).prop_map(|(user, contact, secs)| Step::Register { user, contact, secs }),
            1 => (0..4u8).prop_map(|user| Step::RemoveAll { user }),
            3 => (0..100u64).prop_map(|secs| Step::Wait { secs }),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn service_behaves_like_a_map(steps in prop::collection::vec(step(), 1..60)) {
            let store = MemoryStore::default();
            let open = || {
                let config = LocationConfig { durability: Durability::Relaxed, ..LocationConfig::default() };
                LocationService::open(Some(Box::new(store.clone())), config).unwrap()
            };
            let mut service = Some(open());
            let mut model = BTreeMap::new();
            let mut now = NOW;
            for step in steps {
                let ours = service.as_ref().unwrap();
                match step {
                    Step::Register { user, contact, secs } => {
                        update(ours, &register(&user.to_string(), &format!("sip:{contact}@h"), secs), now).unwrap();
                        model.remove(&(user, contact));
                        if secs > 0 {
                            model.insert((user, contact), now.0 + u64::from(secs));
                        }
                    }
                    Step::RemoveAll { user } => {
                        update(ours, &Registration::of_removal(aor(&user.to_string())), now).unwrap();
                        model.retain(|key, _| key.0 != user);
                    }
                    Step::Wait { secs } => {
                        now = UnixTime(now.0 + secs);
                        ours.expire(now);
                        model.retain(|_, expires| *expires > now.0);
                        prop_assert_eq!(ours.counts().contacts, model.len());
                    }
                    Step::Restart => {
                        drop(service.take());
                        service = Some(open());
                    }
                }
                for user in 0..4u8 {
                    let mut found = uris(&service.as_ref().unwrap().lookup(&aor(&user.to_string()), now));
                    found.sort();
                    let expected: Vec<_> =
                        model.keys().filter(|key| key.0 == user).map(|key| format!("sip:{}@h", key.1)).collect();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
