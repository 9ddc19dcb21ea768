//! The users in memory: a copy of the file that is replaced whole.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use patchbay_core::auth::Ha1Set;
use smallvec::SmallVec;

use super::file::{Entries, UserFile, UserFileError};

/// By realm, then by user: so that a lookup builds no key.
type Realms = HashMap<Box<str>, HashSet<User, RandomState>, RandomState>;

/// A user of a realm, found by name.
///
/// Most names stand beside their hashes, so that to compare one is no further look into memory. A user has two lines of a cache for
/// itself; without the alignment most would lie in three.
#[repr(C, align(128))]
struct User {
    name: SmallVec<[u8; 24]>,
    hashes: Ha1Set,
}

const _: () = assert!(size_of::<User>() == 128, "two lines");

/// The users as the running router knows them. Shared by all workers.
pub struct Users {
    file: UserFile,
    realms: ArcSwap<Realms>,
    /// Which file `realms` was read from.
    read: Mutex<Option<FileState>>,
}

/// Tells a file from the one that was there before.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileState {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Users {
    /// Reads the file.
    pub fn open(file: UserFile) -> Result<Users, UserFileError> {
        let users = Users {
            file,
            realms: ArcSwap::default(),
            read: Mutex::new(None),
        };
        users.reload()?;
        Ok(users)
    }

    /// No users, and no file: for tests and for a router that never asks.
    pub fn none() -> Users {
        Users {
            file: UserFile::in_directory("/nonexistent".as_ref()),
            realms: ArcSwap::default(),
            read: Mutex::new(None),
        }
    }

    /// Users that are in no file: user, realm and hashes of each.
    pub fn of(users: impl IntoIterator<Item = (String, String, Ha1Set)>) -> Users {
        let entries = users
            .into_iter()
            .map(|(user, realm, hashes)| ((realm, user), hashes));
        Users {
            realms: ArcSwap::from_pointee(realms(entries.collect())),
            ..Users::none()
        }
    }

    /// The hashes of a user. Takes no lock and allocates nothing.
    pub fn ha1(&self, user: &str, realm: &str) -> Option<Ha1Set> {
        let realms = self.realms.load();
        Some(realms.get(realm)?.get(user.as_bytes())?.hashes)
    }

    /// How many users there are.
    pub fn count(&self) -> usize {
        self.realms.load().values().map(HashSet::len).sum()
    }

    /// Where they are read from.
    pub fn file(&self) -> &UserFile {
        &self.file
    }

    /// Reads the file if it is another one than before, and says whether it was. After an error the users are as before.
    pub fn reload(&self) -> Result<bool, UserFileError> {
        // Held while reading, so that an older file never replaces a newer one.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let state = std::fs::metadata(self.file.path())
            .ok()
            .map(|metadata| FileState::of(&metadata));
        if *read == state {
            return Ok(false);
        }
        self.realms.store(realms(self.file.read()?).into());
        *read = state;
        Ok(true)
    }
}

impl Borrow<[u8]> for User {
    fn borrow(&self) -> &[u8] {
        &self.name
    }
}

impl Hash for User {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.name.as_slice().hash(hasher);
    }
}

impl PartialEq for User {
    fn eq(&self, other: &User) -> bool {
        self.name == other.name
    }
}

impl Eq for User {}

impl FileState {
    fn of(metadata: &Metadata) -> FileState {
        FileState {
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

fn realms(entries: Entries) -> Realms {
    let mut realms = Realms::default();
    for ((realm, user), hashes) in entries {
        realms.entry(realm.into()).or_default().insert(User {
            name: SmallVec::from_slice(user.as_bytes()),
            hashes,
        });
    }
    realms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> (tempfile::TempDir, Users) {
        let folder = tempfile::tempdir().unwrap();
        let users = Users::open(UserFile::in_directory(folder.path())).unwrap();
        (folder, users)
    }

    #[test]
    fn users_are_found_by_name_and_realm() {
        let (_folder, users) = users();
        users.file().add("alice", "example.com", "a").unwrap();
        assert!(users.reload().unwrap());
        assert_eq!(
            users.ha1("alice", "example.com"),
            Some(Ha1Set::from_password("alice", "example.com", "a"))
        );
        assert_eq!(users.ha1("alice", "other"), None);
        assert_eq!(users.ha1("Alice", "example.com"), None);
        assert_eq!(users.count(), 1);
    }

    #[test]
    fn each_of_many_users_has_hashes_of_its_own() {
        let name = |number: usize| "a".repeat(number % 40) + &number.to_string();
        let hashes = |number: usize| Ha1Set {
            md5: Some([number as u8; 16]),
            ..Ha1Set::default()
        };
        let users = Users::of((0..1000).flat_map(|number| {
            let of = |realm: &str, hashes| (name(number), realm.to_owned(), hashes);
            [of("one", hashes(number)), of("two", hashes(number + 1))]
        }));
        assert_eq!(users.count(), 2000);
        for number in 0..1000 {
            assert_eq!(users.ha1(&name(number), "one"), Some(hashes(number)));
            assert_eq!(users.ha1(&name(number), "two"), Some(hashes(number + 1)));
        }
        assert_eq!(users.ha1("a", "one"), None);
    }

    #[test]
    fn unchanged_file_is_not_read_again() {
        let (_folder, users) = users();
        assert!(!users.reload().unwrap());
        users.file().add("alice", "example.com", "a").unwrap();
        assert!(users.reload().unwrap());
        assert!(!users.reload().unwrap());
    }

    #[test]
    fn damaged_file_leaves_the_users_as_they_are() {
        let (_folder, users) = users();
        users.file().add("alice", "example.com", "a").unwrap();
        users.reload().unwrap();
        std::fs::write(users.file().path(), "alice,example.com,xx\n").unwrap();
        assert!(users.reload().is_err());
        assert!(users.ha1("alice", "example.com").is_some());
    }

    #[test]
    fn removed_file_means_no_users() {
        let (_folder, users) = users();
        users.file().add("alice", "example.com", "a").unwrap();
        users.reload().unwrap();
        std::fs::remove_file(users.file().path()).unwrap();
        assert!(users.reload().unwrap());
        assert_eq!(users.count(), 0);
    }
}
