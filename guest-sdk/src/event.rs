//! What happens outside of transactions.

use std::time::Duration;

use crate::bindings::event_route::exports::patchbay::policy::event_route as wit;

/// What `event_route` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A contact was registered.
    RegistrationAdded(Registration),
    /// A contact was registered again.
    RegistrationRefreshed(Registration),
    /// A contact was taken back.
    RegistrationRemoved(Registration),
    /// A contact was not refreshed in time.
    RegistrationExpired(Registration),
    /// A timer of [`crate::timers`] has run down; its name.
    Timer(String),
}

/// A change of one contact of an address-of-record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The address-of-record.
    pub aor: String,
    /// The contact.
    pub contact: String,
    /// How long it is valid.
    pub expires: Duration,
}

impl From<wit::Event> for Event {
    fn from(event: wit::Event) -> Event {
        match event {
            wit::Event::RegistrationAdded(change) => Event::RegistrationAdded(change.into()),
            wit::Event::RegistrationRefreshed(change) => {
                Event::RegistrationRefreshed(change.into())
            }
            wit::Event::RegistrationRemoved(change) => Event::RegistrationRemoved(change.into()),
            wit::Event::RegistrationExpired(change) => Event::RegistrationExpired(change.into()),
            wit::Event::Timer(name) => Event::Timer(name),
        }
    }
}

impl From<wit::Registration> for Registration {
    fn from(change: wit::Registration) -> Registration {
        let expires = Duration::from_secs(u64::from(change.expires_secs));
        Registration {
            aor: change.aor,
            contact: change.contact,
            expires,
        }
    }
}
