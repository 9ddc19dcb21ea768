//! `patchbay user`: the digest users in the data directory.
//!
//! A running router sees a change by itself. Passwords come from the terminal or from stdin, never from the arguments, which
//! other processes can read.

use std::io::{self, BufRead, IsTerminal};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{ConfigArguments, Failure, output};
use crate::users::{ImportError, UserFile, UserFileError};

/// Manages the digest users in the data directory, also while a router runs on it.
#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Adds a user; asks for the password, or reads it from stdin.
    Add(Add),
    /// Gives a user another password; asks for it, or reads it from stdin.
    Passwd(Passwd),
    /// Removes a user.
    Remove(Remove),
    /// Lists the users; there are no passwords to show.
    List(List),
    /// Adds or replaces the users of a CSV file, all or none.
    #[command(
        long_about = "Adds or replaces the users of a CSV file, all or none.\n\nEach line is user,realm,password or user,realm,,ha1-md5,ha1-sha256,ha1-sha512-256."
    )]
    Import(Import),
}

#[derive(Args, Debug)]
struct Place {
    /// The realm. Default: auth.realm of the configuration.
    #[arg(long)]
    realm: Option<String>,
    #[command(flatten)]
    config: ConfigArguments,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay user add alice\n  echo \"$PASSWORD\" | patchbay user add alice --realm example.com"
)]
pub(super) struct Add {
    /// The user name.
    user: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  patchbay user passwd alice")]
pub(super) struct Passwd {
    /// The user name.
    user: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  patchbay user remove alice --realm example.com")]
pub(super) struct Remove {
    /// The user name.
    user: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  patchbay user list --json")]
pub(super) struct List {
    #[command(flatten)]
    place: Place,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay user import users.csv\n  patchbay user import - < users.csv"
)]
pub(super) struct Import {
    /// The file; `-` reads stdin.
    file: PathBuf,
    #[command(flatten)]
    config: ConfigArguments,
}

impl User {
    pub(super) fn execute(self) -> Result<(), Failure> {
        match self {
            User::Add(add) => {
                let (users, realm) = add.place.open()?;
                users
                    .add(&add.user, &realm, &password(&add.user, &realm)?)
                    .map_err(said)?;
                output::line(&format!("added {}@{realm}", add.user));
            }
            User::Passwd(passwd) => {
                let (users, realm) = passwd.place.open()?;
                users
                    .set_password(&passwd.user, &realm, &password(&passwd.user, &realm)?)
                    .map_err(said)?;
                output::line(&format!("changed {}@{realm}", passwd.user));
            }
            User::Remove(remove) => {
                let (users, realm) = remove.place.open()?;
                users.remove(&remove.user, &realm).map_err(said)?;
                output::line(&format!("removed {}@{realm}", remove.user));
            }
            User::List(list) => list.execute()?,
            User::Import(import) => import.execute()?,
        }
        Ok(())
    }
}

impl Place {
    fn open(&self) -> Result<(UserFile, String), Failure> {
        let config = self.config.load()?;
        let users = user_file(&config.node.data_dir)?;
        let mut realms = vec![config.auth.realm];
        realms.extend(config.policy.routes.into_iter().map(|route| route.realm));
        let first = realms.first().cloned().unwrap_or_default();
        let realm = self.realm.clone().unwrap_or(first);
        if !realms.contains(&realm) {
            realms.dedup();
            eprintln!(
                "patchbay: nobody is asked for {realm:?} by this configuration, whose realm is {}",
                realms.join(" or ")
            );
        }
        Ok((users, realm))
    }
}

impl List {
    fn execute(self) -> Result<(), Failure> {
        let config = self.place.config.load()?;
        let entries = UserFile::in_directory(&config.node.data_dir)
            .list()
            .map_err(said)?;
        let entries = entries.into_iter().filter(|entry| {
            self.place
                .realm
                .as_ref()
                .is_none_or(|realm| *realm == entry.realm)
        });
        let rows: Vec<(String, String, Vec<&str>)> = entries
            .map(|entry| {
                let hashes = [
                    ("MD5", entry.hashes.md5.is_some()),
                    ("SHA-256", entry.hashes.sha256.is_some()),
                    ("SHA-512-256", entry.hashes.sha512_256.is_some()),
                ];
                (
                    entry.user,
                    entry.realm,
                    hashes
                        .into_iter()
                        .filter(|(_, there)| *there)
                        .map(|(name, _)| name)
                        .collect(),
                )
            })
            .collect();
        if self.json {
            let users: Vec<_> = rows.iter().map(|(user, realm, algorithms)| json!({ "user": user, "realm": realm, "algorithms": algorithms })).collect();
            output::json(&json!({ "users": users }));
        } else {
            let rows: Vec<Vec<String>> = rows
                .into_iter()
                .map(|(user, realm, algorithms)| vec![user, realm, algorithms.join(" ")])
                .collect();
            output::table(&["USER", "REALM", "ALGORITHMS"], &rows);
        }
        Ok(())
    }
}

impl Import {
    fn execute(self) -> Result<(), Failure> {
        let users = user_file(&self.config.load()?.node.data_dir)?;
        let report = if self.file.as_os_str() == "-" {
            users.import(io::stdin().lock())
        } else {
            let file = std::fs::File::open(&self.file).map_err(|source| Failure::File {
                path: self.file.clone(),
                source,
            })?;
            users.import(file)
        };
        match report {
            Ok(report) => output::line(&format!("imported {} users", report.users)),
            Err(ImportError::Lines(lines)) => {
                let lines: Vec<String> = lines
                    .iter()
                    .map(|error| {
                        format!("{}:{}: {}", self.file.display(), error.line, error.problem)
                    })
                    .collect();
                return Err(Failure::Said(format!(
                    "{}\nnothing was imported",
                    lines.join("\n")
                )));
            }
            Err(ImportError::File(error)) => return Err(said(error)),
            Err(ImportError::Read(source)) => {
                return Err(Failure::File {
                    path: self.file,
                    source,
                });
            }
        }
        Ok(())
    }
}

/// The file of the users; the data directory is made when it is not there yet.
fn user_file(data_dir: &std::path::Path) -> Result<UserFile, Failure> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(|source| Failure::File {
            path: data_dir.to_path_buf(),
            source,
        })?;
    Ok(UserFile::in_directory(data_dir))
}

fn said(error: UserFileError) -> Failure {
    Failure::Said(error.to_string())
}

/// Asks twice on a terminal; otherwise the first line of stdin is the password.
fn password(user: &str, realm: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::Said(format!("the password can't be read: {error}"));
    let password = if io::stdin().is_terminal() {
        let first =
            rpassword::prompt_password(format!("Password of {user}@{realm}: ")).map_err(failed)?;
        if rpassword::prompt_password("Again: ").map_err(failed)? != first {
            return Err(Failure::Said("the passwords differ".to_owned()));
        }
        first
    } else {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(failed)?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    if password.is_empty() {
        return Err(Failure::Said("the password is empty".to_owned()));
    }
    Ok(password)
}
