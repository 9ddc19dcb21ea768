//! Values that last: shared by the router's workers, kept over a restart. The operator grants how keys may begin
//! (`policy.grants.keyvalue`).
//!
//! ```
//! # use patchbay_sdk::prelude::*;
//! /// At most ten calls a minute for each caller.
//! fn may_call(caller: &str) -> Result<bool> {
//!     let calls = keyvalue::increment_for(&format!("calls/{caller}"), 1, Duration::from_secs(60))?;
//!     Ok(calls <= 10)
//! }
//! ```
//!
//! Nothing here waits. Keys have at most 512 bytes, values 64 KiB. Every function fails with
//! [`Denied`](crate::ErrorKind::Denied) for a key that is not granted.

use std::time::Duration;

use crate::error::Result;
use crate::host::keyvalue as host;

/// The value of a key.
///
/// # Errors
/// When the key is not granted, empty or too long, as everywhere here.
pub fn get(key: &str) -> Result<Option<Vec<u8>>> {
    Ok(host::get(key)?)
}

/// The value of a key as text; what is not UTF-8 becomes U+FFFD.
///
/// # Errors
/// As for [`get`].
pub fn get_text(key: &str) -> Result<Option<String>> {
    let value = get(key)?;
    Ok(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Whether the key has a value.
///
/// # Errors
/// As for [`get`].
pub fn exists(key: &str) -> Result<bool> {
    Ok(host::exists(key)?)
}

/// Sets the value of a key, for ever.
///
/// # Errors
/// As for [`get`], and when the value is too long or the store is full.
pub fn set(key: &str, value: impl AsRef<[u8]>) -> Result<()> {
    Ok(host::set(key, value.as_ref())?)
}

/// Sets the value of a key for this time, at least a second.
///
/// # Errors
/// As for [`set`].
pub fn set_for(key: &str, value: impl AsRef<[u8]>, time: Duration) -> Result<()> {
    Ok(host::set_with_ttl(key, value.as_ref(), seconds(time))?)
}

/// Removes the value of a key, if it has one.
///
/// # Errors
/// As for [`get`].
pub fn delete(key: &str) -> Result<()> {
    Ok(host::delete(key)?)
}

/// Adds to the number that is the value of a key, in one step for all workers, and says what it is now. It begins at 0.
///
/// # Errors
/// As for [`set`], and when the value is no number.
pub fn increment(key: &str, delta: i64) -> Result<i64> {
    Ok(host::increment(key, delta)?)
}

/// The same; when the number begins here it lasts for this time, whatever is added meanwhile.
///
/// # Errors
/// As for [`increment`].
pub fn increment_for(key: &str, delta: i64, time: Duration) -> Result<i64> {
    Ok(host::increment_with_ttl(key, delta, seconds(time))?)
}

/// At most 1000 of the keys that begin so, in order: those behind the key `after`, which may be empty.
///
/// # Errors
/// When the prefix is not granted.
pub fn list_keys(prefix: &str, after: &str) -> Result<Vec<String>> {
    Ok(host::list_keys(prefix, after)?)
}

/// Whole seconds, begun ones count.
fn seconds(time: Duration) -> u32 {
    let begun = u64::from(time.subsec_nanos() > 0);
    u32::try_from(time.as_secs().saturating_add(begun)).unwrap_or(u32::MAX)
}
