//! `patchbay registrations`.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Failure;
use super::client::{AdminArguments, escape};
use super::output;

/// Shows and removes the registrations of a running router.
#[derive(Debug, Subcommand)]
pub(super) enum Registrations {
    /// Lists the addresses-of-record of one namespace with their contacts.
    List(List),
    /// Shows the contacts of one address-of-record.
    Show(Show),
    /// Removes the contacts of one address-of-record.
    Remove(Remove),
}

/// Whose registrations.
#[derive(Args, Debug)]
struct Namespace {
    /// The namespace of a tenant ([[policy.route]]). Default: the shared one.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
}

impl Namespace {
    /// A path with it, behind the parameters that it has.
    fn added_to(&self, path: &str) -> String {
        let Some(name) = &self.namespace else {
            return path.to_owned();
        };
        let mark = if path.contains('?') { '&' } else { '?' };
        format!("{path}{mark}namespace={}", escape(name))
    }
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay registrations list --json\n  patchbay registrations list --namespace tenant"
)]
pub(super) struct List {
    #[command(flatten)]
    namespace: Namespace,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  patchbay registrations show sip:alice@example.com")]
pub(super) struct Show {
    /// The address-of-record, such as sip:alice@example.com.
    aor: String,
    #[command(flatten)]
    namespace: Namespace,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  patchbay registrations remove sip:alice@example.com")]
pub(super) struct Remove {
    /// The address-of-record, such as sip:alice@example.com.
    aor: String,
    #[command(flatten)]
    namespace: Namespace,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Registrations {
    pub(super) fn execute(self) -> Result<(), Failure> {
        match self {
            Registrations::List(list) => {
                let path = list.namespace.added_to("/api/v1/registrations");
                let answer = list.admin.client()?.get(&path)?;
                show(&answer, list.json);
            }
            Registrations::Show(asked) => {
                let path = format!("/api/v1/registrations?aor={}", escape(&asked.aor));
                let path = asked.namespace.added_to(&path);
                let answer = asked.admin.client()?.get(&path)?;
                let empty = answer
                    .get("registrations")
                    .and_then(Value::as_array)
                    .is_none_or(Vec::is_empty);
                if empty {
                    return Err(Failure::Said(format!("{} is not registered", asked.aor)));
                }
                show(&answer, asked.json);
            }
            Registrations::Remove(asked) => {
                let path = format!("/api/v1/registrations/{}", escape(&asked.aor));
                let path = asked.namespace.added_to(&path);
                let answer = asked.admin.client()?.delete(&path)?;
                if asked.json {
                    output::json(&answer);
                } else {
                    let removed = answer
                        .get("removed")
                        .map_or_else(|| "0".to_owned(), output::cell);
                    output::line(&format!("removed {removed} contacts of {}", asked.aor));
                }
            }
        }
        Ok(())
    }
}

fn show(answer: &Value, json: bool) {
    if json {
        return output::json(answer);
    }
    let mut rows = Vec::new();
    for registration in answer
        .get("registrations")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        for contact in registration
            .get("contacts")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let part = |value: &Value, key: &str| {
                value.get(key).map_or_else(|| "-".to_owned(), output::cell)
            };
            rows.push(vec![
                part(registration, "aor"),
                part(contact, "uri"),
                part(contact, "q"),
                part(contact, "expires_secs"),
                part(contact, "received"),
            ]);
        }
    }
    output::table(
        &["ADDRESS-OF-RECORD", "CONTACT", "Q", "EXPIRES", "RECEIVED"],
        &rows,
    );
}
