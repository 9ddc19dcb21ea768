//! Digest authentication of the current request.

use crate::host::auth as host;

pub use crate::bindings::imports::patchbay::policy::auth::Verification;

/// Checks the credentials of the request: Authorization of a REGISTER, Proxy-Authorization of others. The result holds for the
/// rest of the transaction.
pub fn verify() -> Verification {
    host::verify()
}

/// Whether the request carries right credentials for the realm of this router.
pub fn is_verified() -> bool {
    verify() == Verification::Verified
}

/// The user whose credentials were verified, `user@realm`.
pub fn verified_user() -> Option<String> {
    host::verified_user()
}

/// Whether the operator asks for authentication (`[auth] registration = "required"`).
pub fn is_required() -> bool {
    host::required()
}

/// The realm of the challenges.
pub fn realm() -> String {
    host::realm()
}
