//! The registrar of RFC 3261 §10.3 as a pure function, with Path (RFC 3327) and flows (RFC 5626).
//!
//! [`Registration`] is what a REGISTER asks for, [`ContactBinding`] one contact of an address-of-record, and [`apply`] the
//! rule that makes new bindings of the old ones, all or nothing. [`refresh`] does the same in place where hardly anything changes.

mod binding;
mod bindings;
mod refresh;
mod registration;
mod rule;

pub use binding::{BindingParts, ContactBinding, write_contact};
pub use bindings::Bindings;
pub use refresh::{Overwritten, refresh};
pub use registration::{ContactChange, Contacts, OutboundSupport, Registration};
pub(crate) use registration::{registered, registrant};
pub use rule::{Applied, Change, ChangeKind, Changes, apply};

/// The limits of the registrar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrarConfig {
    /// Seconds for a contact that asks for none, or for something that is no number (RFC 3261 §20.10).
    pub default_expires_secs: u32,
    /// Less, but not zero, is refused with 423.
    pub min_expires_secs: u32,
    /// More is granted as this.
    pub max_expires_secs: u32,
    /// Contacts per address-of-record; a registration that would leave more is refused with 403.
    pub max_contacts: usize,
}

impl Default for RegistrarConfig {
    fn default() -> RegistrarConfig {
        RegistrarConfig {
            default_expires_secs: 3600,
            min_expires_secs: 60,
            max_expires_secs: 7200,
            max_contacts: 10,
        }
    }
}

#[cfg(test)]
mod tests;
