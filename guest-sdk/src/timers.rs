//! Timers of the policy; they end in [`event_route`](crate::Policy::event_route) as [`Event::Timer`](crate::Event::Timer).

use std::time::Duration;

use crate::duration::as_milliseconds;
use crate::error::Result;
use crate::host::timers as host;

/// Sets (or sets anew) the timer of this name on this worker, at most a day ahead.
///
/// # Errors
/// When the delay is too long, or the policy has too many timers.
pub fn set(name: &str, delay: Duration) -> Result<()> {
    Ok(host::set(name, as_milliseconds(delay))?)
}

/// Cancels the timer of this name, and says whether there was one.
pub fn cancel(name: &str) -> bool {
    host::cancel(name)
}
