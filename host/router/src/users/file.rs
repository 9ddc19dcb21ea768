//! The file of the users. Writers take turns by a lock file; readers see the old or the new file, never a half one.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use patchbay_core::auth::Ha1Set;

use super::line::{self, FieldError};

const HEADING: &str = "# patchbay users 1: user,realm,ha1-md5,ha1-sha256,ha1-sha512-256\n";

/// What is wrong with the file, or with a change of it.
#[derive(Debug, thiserror::Error)]
pub enum UserFileError {
    /// The file can't be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line can't be read.
    #[error("{path}:{line}: {problem}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// A name or a hash is not possible.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// To be added, but there already.
    #[error("{user}@{realm} exists already")]
    Exists {
        /// The user.
        user: String,
        /// The realm.
        realm: String,
    },
    /// To be changed, but not there.
    #[error("there is no {user}@{realm}")]
    Missing {
        /// The user.
        user: String,
        /// The realm.
        realm: String,
    },
}

/// One user of one realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEntry {
    /// The user name.
    pub user: String,
    /// The realm.
    pub realm: String,
    /// The hashes there are.
    pub hashes: Ha1Set,
}

/// By realm and user: the order of the file.
pub(super) type Entries = BTreeMap<(String, String), Ha1Set>;

/// The file of the users, to be changed.
#[derive(Clone, Debug)]
pub struct UserFile {
    path: PathBuf,
}

impl UserFile {
    /// The file in a data directory, which has to exist; the file need not.
    pub fn in_directory(directory: &Path) -> UserFile {
        UserFile {
            path: directory.join(super::FILE_NAME),
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a user.
    pub fn add(&self, user: &str, realm: &str, password: &str) -> Result<(), UserFileError> {
        check_new(user, realm)?;
        self.change(|entries| {
            let key = (realm.to_owned(), user.to_owned());
            if entries.contains_key(&key) {
                return Err(UserFileError::Exists {
                    user: user.to_owned(),
                    realm: realm.to_owned(),
                });
            }
            entries.insert(key, Ha1Set::from_password(user, realm, password));
            Ok(())
        })
    }

    /// Gives a user another password.
    pub fn set_password(
        &self,
        user: &str,
        realm: &str,
        password: &str,
    ) -> Result<(), UserFileError> {
        self.change(|entries| {
            let hashes = entries
                .get_mut(&(realm.to_owned(), user.to_owned()))
                .ok_or_else(|| missing(user, realm))?;
            *hashes = Ha1Set::from_password(user, realm, password);
            Ok(())
        })
    }

    /// Removes a user.
    pub fn remove(&self, user: &str, realm: &str) -> Result<(), UserFileError> {
        self.change(|entries| {
            entries
                .remove(&(realm.to_owned(), user.to_owned()))
                .map(drop)
                .ok_or_else(|| missing(user, realm))
        })
    }

    /// Adds or replaces many users in one step.
    pub fn put_all(&self, users: Vec<UserEntry>) -> Result<(), UserFileError> {
        users
            .iter()
            .try_for_each(|entry| check_names(&entry.user, &entry.realm))?;
        self.change(|entries| {
            entries.extend(
                users
                    .into_iter()
                    .map(|entry| ((entry.realm, entry.user), entry.hashes)),
            );
            Ok(())
        })
    }

    /// All users, by realm and name.
    pub fn list(&self) -> Result<Vec<UserEntry>, UserFileError> {
        let entries = self.read()?;
        Ok(entries
            .into_iter()
            .map(|((realm, user), hashes)| UserEntry {
                user,
                realm,
                hashes,
            })
            .collect())
    }

    /// What the file says; nothing when there is none.
    pub(super) fn read(&self) -> Result<Entries, UserFileError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entries::new()),
            Err(source) => return Err(self.error(source)),
        };
        let mut entries = Entries::new();
        for (line, record) in line::records(&text) {
            let entry = record
                .map_err(|error| error.to_string())
                .and_then(|record| read_record(&record));
            let (key, hashes) = entry.map_err(|problem| UserFileError::Line {
                path: self.path.clone(),
                line,
                problem,
            })?;
            entries.insert(key, hashes);
        }
        Ok(entries)
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Entries) -> Result<(), UserFileError>,
    ) -> Result<(), UserFileError> {
        let _lock = self.lock()?;
        let mut entries = self.read()?;
        change(&mut entries)?;
        self.replace(&entries).map_err(|source| self.error(source))
    }

    /// Held while the file is read, changed and replaced. Ends with the process at the latest.
    fn lock(&self) -> Result<File, UserFileError> {
        let path = self.path.with_extension("lock");
        let lock = || -> io::Result<File> {
            let file = private_file().create(true).truncate(false).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|source| UserFileError::File {
            path: path.clone(),
            source,
        })
    }

    fn replace(&self, entries: &Entries) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = private_file().create(true).truncate(true).open(&new)?;
        file.write_all(text_of(entries)?.as_slice())?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)
    }

    fn error(&self, source: io::Error) -> UserFileError {
        UserFileError::File {
            path: self.path.clone(),
            source,
        }
    }
}

/// Readable by the owner alone.
fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn text_of(entries: &Entries) -> io::Result<Vec<u8>> {
    // With `comment` a user called `#x` is quoted.
    let mut writer = csv::WriterBuilder::new()
        .comment(Some(b'#'))
        .from_writer(HEADING.as_bytes().to_vec());
    for ((realm, user), hashes) in entries {
        let [md5, sha256, sha512_256] = line::write_hashes(hashes);
        writer
            .write_record([user, realm, &md5, &sha256, &sha512_256])
            .map_err(io::Error::other)?;
    }
    writer
        .into_inner()
        .map_err(|error| io::Error::other(error.to_string()))
}

fn read_record(record: &csv::StringRecord) -> Result<((String, String), Ha1Set), String> {
    let fields: Vec<&str> = record.iter().collect();
    let [user, realm, md5, sha256, sha512_256] = fields.as_slice() else {
        return Err(format!("{} fields where 5 are expected", fields.len()));
    };
    let hashes = line::read_hashes(md5, sha256, sha512_256).map_err(|error| error.to_string())?;
    Ok((((*realm).to_owned(), (*user).to_owned()), hashes))
}

pub(super) fn check_names(user: &str, realm: &str) -> Result<(), FieldError> {
    line::check_name("the user", user)?;
    line::check_name("the realm", realm)
}

/// The same for a user that is new: RFC 7616 §4 lets no colon be in the name, and a registrar compares it with that of the
/// address-of-record, which has no domain.
pub(super) fn check_new(user: &str, realm: &str) -> Result<(), FieldError> {
    check_names(user, realm)?;
    if user.contains(['@', ':']) {
        let user = user.to_owned();
        return Err(FieldError::Address { user });
    }
    Ok(())
}

fn missing(user: &str, realm: &str) -> UserFileError {
    UserFileError::Missing {
        user: user.to_owned(),
        realm: realm.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file() -> (tempfile::TempDir, UserFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = UserFile::in_directory(folder.path());
        (folder, file)
    }

    #[test]
    fn users_come_back_in_order() {
        let (_folder, file) = file();
        file.add("bob", "example.com", "b").unwrap();
        file.add("alice", "example.com", "a").unwrap();
        file.add("#zo\u{e9}", "a.example", "z").unwrap();
        let names: Vec<_> = file
            .list()
            .unwrap()
            .into_iter()
            .map(|entry| entry.user)
            .collect();
        assert_eq!(names, ["#zo\u{e9}", "alice", "bob"]);
        assert_eq!(
            file.list().unwrap()[1].hashes,
            Ha1Set::from_password("alice", "example.com", "a")
        );
    }

    #[test]
    fn password_is_nowhere_in_the_file() {
        let (_folder, file) = file();
        file.add("bob", "example.com", "verysecret").unwrap();
        assert!(
            !std::fs::read_to_string(file.path())
                .unwrap()
                .contains("verysecret")
        );
    }

    #[test]
    fn file_is_readable_by_the_owner_alone() {
        let (_folder, file) = file();
        file.add("bob", "example.com", "b").unwrap();
        assert_eq!(
            std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn adding_twice_and_changing_nobody_fail() {
        let (_folder, file) = file();
        file.add("bob", "example.com", "b").unwrap();
        assert_eq!(
            file.add("bob", "example.com", "c").unwrap_err().to_string(),
            "bob@example.com exists already"
        );
        assert_eq!(
            file.set_password("eve", "example.com", "c")
                .unwrap_err()
                .to_string(),
            "there is no eve@example.com"
        );
        assert_eq!(
            file.remove("bob", "other").unwrap_err().to_string(),
            "there is no bob@other"
        );
    }

    #[test]
    fn password_changes_and_users_go() {
        let (_folder, file) = file();
        file.add("bob", "example.com", "b").unwrap();
        file.set_password("bob", "example.com", "c").unwrap();
        assert_eq!(
            file.list().unwrap()[0].hashes,
            Ha1Set::from_password("bob", "example.com", "c")
        );
        file.remove("bob", "example.com").unwrap();
        assert!(file.list().unwrap().is_empty());
    }

    #[test]
    fn names_that_break_a_header_are_refused() {
        let (_folder, file) = file();
        for name in ["", "a\"b", "a\\b", "a\r\nb"] {
            assert!(
                matches!(
                    file.add(name, "example.com", "x"),
                    Err(UserFileError::Field(_))
                ),
                "{name:?}"
            );
            assert!(
                matches!(file.add("bob", name, "x"), Err(UserFileError::Field(_))),
                "{name:?}"
            );
        }
    }

    #[test]
    fn damaged_line_is_named() {
        let (_folder, file) = file();
        std::fs::write(file.path(), "# heading\nbob,example.com,xx,,\n").unwrap();
        let error = file.list().unwrap_err().to_string();
        assert!(
            error.ends_with("users.csv:2: ha1-md5 is not 32 hexadecimal digits"),
            "{error}"
        );
    }

    #[test]
    fn writers_take_turns() {
        let (_folder, file) = file();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let file = &file;
                scope.spawn(move || {
                    (0..10).for_each(|n| file.add(&format!("u{writer}-{n}"), "r", "p").unwrap())
                });
            }
        });
        assert_eq!(file.list().unwrap().len(), 40);
    }
}
