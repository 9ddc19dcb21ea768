//! The location service: who is registered where.

use std::borrow::Cow;
use std::time::Duration;

use crate::bindings::imports::patchbay::policy::location::LookupResult;
use crate::bindings::imports::patchbay::policy::types;
use crate::error::Result;
use crate::host::location as host;
use crate::uri::Uri;

pub use crate::bindings::imports::patchbay::policy::types::Binding;

/// The live contacts of an address-of-record, good in this hook. Give it to [`relay`](crate::relay) as it is: the contacts then
/// never cross into the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    number: u32,
    count: u32,
}

impl Lookup {
    /// How many contacts there are.
    pub fn len(self) -> usize {
        self.count as usize
    }

    /// Whether the user is known but has no contact at the moment.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The contacts, highest q first, each fetched when it is asked for.
    pub fn bindings(self) -> impl Iterator<Item = Binding> {
        (0..self.count).filter_map(move |index| host::binding_at(self.number, index))
    }

    pub(crate) fn number(self) -> u32 {
        self.number
    }
}

/// What can be looked up: a URI as text or as [`Uri`]. The router knows the Request-URI already, so that looking up
/// [`Request::uri`](crate::Request::uri) hands no text over.
pub trait AddressOfRecord {
    #[doc(hidden)]
    fn look_up(&self) -> Result<LookupResult, types::Error>;
}

impl AddressOfRecord for str {
    fn look_up(&self) -> Result<LookupResult, types::Error> {
        host::lookup(self)
    }
}

impl AddressOfRecord for String {
    fn look_up(&self) -> Result<LookupResult, types::Error> {
        host::lookup(self)
    }
}

impl AddressOfRecord for Cow<'_, str> {
    fn look_up(&self) -> Result<LookupResult, types::Error> {
        host::lookup(self)
    }
}

impl AddressOfRecord for Uri {
    fn look_up(&self) -> Result<LookupResult, types::Error> {
        if self.is_requests() {
            host::lookup_request_uri()
        } else {
            host::lookup(self.as_str())
        }
    }
}

impl<T: AddressOfRecord + ?Sized> AddressOfRecord for &T {
    fn look_up(&self) -> Result<LookupResult, types::Error> {
        (**self).look_up()
    }
}

/// Looks up the address-of-record in a URI.
///
/// # Errors
/// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) (404) when nobody registered it and it is no known user. A known user
/// without a contact is no error: see [`Lookup::is_empty`].
pub fn lookup(uri: impl AddressOfRecord) -> Result<Lookup> {
    let result = uri.look_up()?;
    Ok(Lookup {
        number: result.lookup,
        count: result.count,
    })
}

/// Whether the current request came over the connection of a live contact of the address-of-record in this URI (for UDP: from
/// its address and port, when the operator trusts that).
pub fn is_registered_source(uri: impl AsRef<str>) -> bool {
    host::is_registered_source(uri.as_ref())
}

/// Adds or refreshes a contact, whatever the registrar's rules.
///
/// # Errors
/// When the operator did not grant `save_location`, or a URI is wrong.
pub fn save_contact(
    aor: impl AsRef<str>,
    contact: impl AsRef<str>,
    expires: Duration,
) -> Result<()> {
    let expires_secs = u32::try_from(expires.as_secs()).unwrap_or(u32::MAX);
    Ok(host::save_contact(
        aor.as_ref(),
        contact.as_ref(),
        expires_secs,
    )?)
}

/// Removes a contact, or every contact when `contact` is empty, and says how many there were.
///
/// # Errors
/// When the operator did not grant `save_location`, or a URI is wrong.
pub fn remove_contact(aor: impl AsRef<str>, contact: impl AsRef<str>) -> Result<u32> {
    Ok(host::remove_contact(aor.as_ref(), contact.as_ref())?)
}
