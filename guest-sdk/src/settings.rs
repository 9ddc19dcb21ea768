//! The operator's `[policy.settings]`.

use std::time::Duration;

use crate::duration;
use crate::error::{Error, Result};
use crate::host::settings as host;

/// The setting of this name.
pub fn get(name: &str) -> Option<String> {
    host::get(name)
}

/// The setting of this name as a duration with a unit: `500ms`, `30s`, `5m`, `2h`, `1d`.
///
/// # Errors
/// When it is something else.
pub fn duration(name: &str) -> Result<Option<Duration>> {
    let Some(text) = get(name) else {
        return Ok(None);
    };
    let wrong = || {
        Error::new(format!(
            "setting {name} = {text:?} is no duration such as \"30s\""
        ))
    };
    duration::parse(&text).map(Some).ok_or_else(wrong)
}

/// Every setting: names and values.
pub fn all() -> Vec<(String, String)> {
    host::all()
}
