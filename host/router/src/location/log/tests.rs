use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use proptest::prelude::*;

use super::super::store::MemoryStore;
use super::*;

fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 200,
        min_bytes: 600,
        max_bytes: 1200,
        full_bytes: 1 << 20,
        sync_interval: Duration::ZERO,
    }
}

fn open(folder: &Path, base: &MemoryStore, config: LogConfig) -> LoggedStore {
    LoggedStore::open(folder, base.clone(), config).unwrap()
}

fn batch(changes: &[(&str, Option<&str>)]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in changes {
        batch.push_change(key.as_bytes(), value.map(str::as_bytes));
    }
    batch
}

fn put(store: &mut LoggedStore, key: &str, value: &str) {
    store.commit(&batch(&[(key, Some(value))])).unwrap();
}

type Content = BTreeMap<String, String>;

fn content(store: &mut LoggedStore) -> Content {
    let mut content = Content::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    store
        .load(b"", &mut |key, value| {
            match value {
                Some(value) => content.insert(text(key), text(value)),
                None => content.remove(&text(key)),
            };
        })
        .unwrap();
    content
}

fn of(entries: &[(&str, &str)]) -> Content {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    entries.iter().map(owned).collect()
}

/// What a process leaves that is killed now.
fn killed(store: &LoggedStore) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    // Nothing is deleted meanwhile.
    let _base = store.shared.base.lock().unwrap();
    for SealedFile { number, .. } in segment::list(&store.folder).unwrap() {
        let to = segment::path(copy.path(), number);
        fs::copy(segment::path(&store.folder, number), to).unwrap();
    }
    copy
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_committed_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let base = MemoryStore::default();
    let mut store = open(folder.path(), &base, LogConfig::default());
    store
        .commit(&batch(&[("a", Some("1")), ("b", Some("2"))]))
        .unwrap();
    store
        .commit(&batch(&[("a", Some("3")), ("b", None)]))
        .unwrap();
    let copy = killed(&store);
    let mut reopened = open(copy.path(), &base, LogConfig::default());
    assert_eq!(content(&mut reopened), of(&[("a", "3")]));
    assert_eq!(content(&mut store), of(&[("a", "3")]));
    assert!(base.is_empty(), "the store gets it later");
}

#[test]
fn half_a_frame_at_the_end_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let base = MemoryStore::default();
    let mut store = open(folder.path(), &base, LogConfig::default());
    put(&mut store, "a", "1");
    let path = segment::path(folder.path(), 1);
    let whole = fs::metadata(&path).unwrap().len() as usize;
    store
        .commit(&batch(&[("a", Some("2")), ("b", Some("2"))]))
        .unwrap();
    let bytes = fs::read(&path).unwrap();
    for length in whole..bytes.len() {
        let copy = tempfile::tempdir().unwrap();
        fs::write(segment::path(copy.path(), 1), &bytes[..length]).unwrap();
        let mut reopened = open(copy.path(), &base, LogConfig::default());
        assert_eq!(content(&mut reopened), of(&[("a", "1")]), "cut at {length}");
        put(&mut reopened, "c", "3");
        drop(reopened);
        let mut again = open(copy.path(), &base, LogConfig::default());
        assert_eq!(content(&mut again), of(&[("a", "1"), ("c", "3")]));
    }
}

#[test]
fn changed_bytes_are_not_taken_for_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let base = MemoryStore::default();
    put(
        &mut open(folder.path(), &base, LogConfig::default()),
        "key",
        "value",
    );
    let path = segment::path(folder.path(), 1);
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let mut store = open(folder.path(), &base, LogConfig::default());
        assert_eq!(content(&mut store), Content::new(), "byte {at}");
    }
}

#[test]
fn older_half_goes_to_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let base = MemoryStore::default();
    let mut store = open(folder.path(), &base, small());
    put(&mut store, "seldom", "x");
    put(&mut store, "gone", "x");
    store.commit(&batch(&[("gone", None)])).unwrap();
    for turn in 0..2000 {
        put(&mut store, "often", &turn.to_string());
    }
    until("the log stays small", || {
        store.shared.files().sealed_bytes() < 2000 && base.len() == 1
    });
    let copy = killed(&store);
    let expected = of(&[("often", "1999"), ("seldom", "x")]);
    assert_eq!(content(&mut store), expected);
    assert_eq!(content(&mut open(copy.path(), &base, small())), expected);
}

#[test]
fn a_log_that_the_store_does_not_take_up_is_bounded() {
    /// Refuses everything while the flag is set.
    struct Faulty(MemoryStore, Arc<AtomicBool>);
    impl LocationStore for Faulty {
        fn load(&mut self, prefix: &[u8], each: &mut EachRecord<'_>) -> Result<(), StoreError> {
            self.0.load(prefix, each)
        }
        fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
            if self.1.load(Ordering::SeqCst) {
                return Err(StoreError::Closed);
            }
            self.0.commit(batch)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig {
        full_bytes: 3000,
        ..small()
    };
    let is_faulty = Arc::new(AtomicBool::new(true));
    let base = Faulty(MemoryStore::default(), Arc::clone(&is_faulty));
    let mut store = LoggedStore::open(folder.path(), base, config).unwrap();
    let mut number = 0;
    let mut next = |store: &mut LoggedStore| {
        number += 1;
        store.commit(&batch(&[(&number.to_string(), Some("value"))]))
    };
    let refused = (0..1000).find_map(|_| next(&mut store).err());
    assert!(matches!(refused, Some(StoreError::LogFull { bytes }) if bytes < 3500));
    is_faulty.store(false, Ordering::SeqCst);
    let deadline = Instant::now() + Duration::from_secs(20);
    while next(&mut store).is_err() {
        assert!(Instant::now() < deadline, "the store takes it up again");
        std::thread::yield_now();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Remove(u8),
    Restart,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0..30u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        5 => (0..30u8).prop_map(Step::Remove),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_log_and_its_store_behave_like_a_map(steps in prop::collection::vec(step(), 1..300)) {
        let mut folder = tempfile::tempdir().unwrap();
        let base = MemoryStore::default();
        let mut store = Some(open(folder.path(), &base, small()));
        let mut model = Content::new();
        for step in steps {
            match step {
                Step::Put(key, value) => {
                    put(store.as_mut().unwrap(), &key.to_string(), &value.to_string());
                    model.insert(key.to_string(), value.to_string());
                }
                Step::Remove(key) => {
                    store.as_mut().unwrap().commit(&batch(&[(&key.to_string(), None)])).unwrap();
                    model.remove(&key.to_string());
                }
                Step::Restart => {
                    drop(store.take());
                    store = Some(open(folder.path(), &base, small()));
                }
                Step::Kill => {
                    // The thread of the one that is killed may still copy to the store: only what the copy of the log says as well.
                    let copy = killed(store.as_ref().unwrap());
                    drop(store.take());
                    folder = copy;
                    store = Some(open(folder.path(), &base, small()));
                }
            }
            prop_assert_eq!(content(store.as_mut().unwrap()), model.clone());
        }
    }
}
