//! Counters of the policy, shown by the router as `patchbay_policy_counter_total{policy, name}`.

use crate::error::Result;
use crate::host::counters as host;

/// Adds to the counter of this name.
///
/// # Errors
/// When the name does not fit, or the policy has too many counters.
pub fn add(name: &str, value: u64) -> Result<()> {
    Ok(host::add(name, value)?)
}

/// Adds one to the counter of this name.
///
/// # Errors
/// As for [`add`].
pub fn increment(name: &str) -> Result<()> {
    add(name, 1)
}
