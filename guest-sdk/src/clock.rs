//! The time.

use std::time::Duration;

use crate::host::clock as host;

/// The time since 1970-01-01 UTC.
pub fn unix() -> Duration {
    Duration::from_millis(host::unix_ms())
}

/// The time since a fixed point, for measuring: it does not jump.
pub fn monotonic() -> Duration {
    Duration::from_micros(host::monotonic_us())
}
