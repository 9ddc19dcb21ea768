//! Who changes something about the policies, and which way they come.

use serde::{Deserialize, Serialize};

/// The longest name of a client that is kept.
const MAX_NAME_CHARS: usize = 64;

/// Who changes something, and which way they come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The way.
    pub via: Via,
    /// The name that the client gives, or of the file's owner. Nobody has checked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The address of the client, or the path of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What the client has shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// Which way a change comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// The embedded policy.
    Builtin,
    /// A file of the policy directory, or of `--policy`.
    File,
    /// The admin API.
    Api,
    /// The command line, over the admin API.
    Cli,
    /// The router itself: an automatic rollback, a guard of a canary.
    Router,
}

/// What a client of the admin API has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// The token of `admin.token_file`.
    Token,
    /// The token in the data directory: it can read what the router's own user can.
    DataDirectory,
    /// Nothing: the API asks for no token and listens on loopback only.
    Loopback,
}

impl Via {
    /// The word for it in the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Via::Builtin => "builtin",
            Via::File => "file",
            Via::Api => "api",
            Via::Cli => "cli",
            Via::Router => "router",
        }
    }
}

impl Origin {
    /// The router itself.
    pub fn router() -> Origin {
        Origin::of(Via::Router)
    }

    /// The embedded policy.
    pub fn builtin() -> Origin {
        Origin::of(Via::Builtin)
    }

    /// A file of this path.
    pub fn file(path: &std::path::Path) -> Origin {
        use std::os::unix::fs::MetadataExt;
        let owner = std::fs::metadata(path)
            .ok()
            .map(|metadata| user_name(metadata.uid()));
        Origin {
            by: owner,
            from: Some(path.display().to_string()),
            ..Origin::of(Via::File)
        }
    }

    fn of(via: Via) -> Origin {
        Origin {
            via,
            by: None,
            from: None,
            proof: None,
        }
    }
}

/// The name that a client gives, cut and without control characters; `None` when nothing is left of it.
pub fn client_name(text: &str) -> Option<String> {
    let name: String = text
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_NAME_CHARS)
        .collect();
    Some(name).filter(|name| !name.is_empty())
}

/// The name of a user of this system, else `uid N`.
pub fn user_name(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let found: u32 = fields.nth(1)?.parse().ok()?;
        (found == uid).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("uid {uid}"))
}

/// The name of the user who runs this process.
pub fn own_user_name() -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata("/proc/self").ok()?;
    Some(user_name(metadata.uid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_to_one_short_line() {
        assert_eq!(client_name(" alice\r\n").as_deref(), Some("alice"));
        assert_eq!(client_name("\u{1b}[2J"), Some("[2J".to_owned()));
        assert_eq!(
            client_name(&"x".repeat(100)).map(|name| name.len()),
            Some(64)
        );
        assert_eq!(client_name(" \t "), None);
    }

    #[test]
    fn users_have_their_names() {
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(3_999_999_999), "uid 3999999999");
    }
}
