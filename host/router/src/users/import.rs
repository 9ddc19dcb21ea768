//! Users from a CSV file: `user,realm,password` or `user,realm,,ha1-md5,ha1-sha256,ha1-sha512-256`.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read};

use patchbay_core::auth::Ha1Set;

use super::file::{self, UserEntry, UserFile, UserFileError};
use super::line;

/// What an import did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportReport {
    /// Users added or replaced.
    pub users: usize,
}

/// Why an import did nothing.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Lines that can't be taken; all of them are told.
    #[error("{}", lines(.0))]
    Lines(Vec<LineError>),
    /// The text can't be read, or is not UTF-8.
    #[error("the import can't be read: {0}")]
    Read(io::Error),
    /// The file of the users can't be changed.
    #[error(transparent)]
    File(#[from] UserFileError),
}

/// A line that can't be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// From 1.
    pub line: u64,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for LineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.problem)
    }
}

fn lines(errors: &[LineError]) -> String {
    errors
        .iter()
        .map(LineError::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

impl UserFile {
    /// Adds or replaces every user of a CSV text, or none when a line is wrong. Empty lines, lines that start with `#` and a
    /// first line `user,realm,...` are skipped.
    pub fn import(&self, from: impl Read) -> Result<ImportReport, ImportError> {
        let users = read(from)?;
        let report = ImportReport { users: users.len() };
        self.put_all(users)?;
        Ok(report)
    }
}

fn read(mut from: impl Read) -> Result<Vec<UserEntry>, ImportError> {
    let mut text = String::new();
    from.read_to_string(&mut text).map_err(ImportError::Read)?;
    let (mut users, mut errors) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for (index, (line, record)) in line::records(&text).enumerate() {
        let entry = match record {
            Ok(record) if index == 0 && is_heading(&record) => continue,
            Ok(record) => entry(&record),
            Err(error) => Err(error.to_string()),
        };
        match entry {
            Ok(entry) if !seen.insert((entry.user.clone(), entry.realm.clone())) => {
                let problem = format!("{}@{} is there twice", entry.user, entry.realm);
                errors.push(LineError { line, problem });
            }
            Ok(entry) => users.push(entry),
            Err(problem) => errors.push(LineError { line, problem }),
        }
    }
    if errors.is_empty() {
        Ok(users)
    } else {
        Err(ImportError::Lines(errors))
    }
}

fn is_heading(record: &csv::StringRecord) -> bool {
    record.get(0) == Some("user") && record.get(1) == Some("realm")
}

fn entry(record: &csv::StringRecord) -> Result<UserEntry, String> {
    let fields: Vec<&str> = record.iter().collect();
    let (user, realm, hashes) = match fields.as_slice() {
        [user, realm, password] | [user, realm, password, "", "", ""] if !password.is_empty() => (
            user.trim(),
            realm.trim(),
            Ok(Ha1Set::from_password(user.trim(), realm.trim(), password)),
        ),
        [user, realm, ""] => (user.trim(), realm.trim(), line::read_hashes("", "", "")),
        [user, realm, "", md5, sha256, sha512_256] => (
            user.trim(),
            realm.trim(),
            line::read_hashes(md5, sha256, sha512_256),
        ),
        [_, _, _, _, _, _] => return Err("there is a password and a hash".to_owned()),
        fields => return Err(format!("{} fields where 3 or 6 are expected", fields.len())),
    };
    file::check_new(user, realm).map_err(|error| error.to_string())?;
    let hashes = hashes.map_err(|error| error.to_string())?;
    Ok(UserEntry {
        user: user.to_owned(),
        realm: realm.to_owned(),
        hashes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(text: &str) -> (Result<ImportReport, ImportError>, Vec<UserEntry>) {
        let folder = tempfile::tempdir().unwrap();
        let file = UserFile::in_directory(folder.path());
        (file.import(text.as_bytes()), file.list().unwrap())
    }

    #[test]
    fn both_forms_are_taken() {
        let hashes = Ha1Set {
            md5: Some([0xab; 16]),
            ..Ha1Set::default()
        };
        let text = format!(
            "# users\nalice,example.com,\"se,cret\"\n\nbob,example.com,,{},,\n",
            "AB".repeat(16)
        );
        let (report, users) = import(&text);
        assert_eq!(report.unwrap(), ImportReport { users: 2 });
        assert_eq!(
            users[0].hashes,
            Ha1Set::from_password("alice", "example.com", "se,cret")
        );
        assert_eq!((users[1].user.as_str(), users[1].hashes), ("bob", hashes));
    }

    #[test]
    fn heading_is_skipped() {
        let (report, users) = import("user,realm,password\nalice,example.com,x\n");
        assert_eq!((report.unwrap().users, users.len()), (1, 1));
    }

    #[test]
    fn every_wrong_line_is_told_and_nothing_is_imported() {
        let (report, users) = import(
            "alice,example.com,x\nbob,example.com\n\ncarol,,x\ndave,example.com,,zz,,\neve,r,\nf,r,p,aa,,\n",
        );
        let expected = "line 2: 2 fields where 3 or 6 are expected\n\
                        line 4: the realm is empty or contains a control character, a quote or a backslash\n\
                        line 5: ha1-md5 is not 32 hexadecimal digits\n\
                        line 6: there is neither a password nor a hash\n\
                        line 7: there is a password and a hash";
        assert_eq!(report.unwrap_err().to_string(), expected);
        assert!(users.is_empty());
    }

    #[test]
    fn a_user_that_is_there_twice_and_one_with_a_domain_are_told() {
        let (report, users) =
            import("alice,r,x\nalice,s,x\nalice,r,y\nbob@example.com,r,x\nsip:bob,r,x\n");
        let problem = |user: &str| {
            format!(
                "{user:?} is no user name: it has neither domain nor scheme; the domain is the realm"
            )
        };
        let expected = format!(
            "line 3: alice@r is there twice\nline 4: {}\nline 5: {}",
            problem("bob@example.com"),
            problem("sip:bob")
        );
        assert_eq!(report.unwrap_err().to_string(), expected);
        assert!(users.is_empty());
    }

    #[test]
    fn import_replaces_users_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = UserFile::in_directory(folder.path());
        file.add("alice", "r", "old").unwrap();
        file.import("alice,r,new\n".as_bytes()).unwrap();
        assert_eq!(
            file.list().unwrap()[0].hashes,
            Ha1Set::from_password("alice", "r", "new")
        );
    }
}
