//! Values of options, checked before anything is asked of a router: a wrong one is wrong use.

use crate::config;
use crate::trace::RecordingBounds;

/// A share in percent, from 0 to 100.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=100.0).contains(&share) => Ok(share),
        _ => Err("write a number from 0 to 100".to_owned()),
    }
}

/// A share in percent, more than 0.
pub(super) fn some_share(text: &str) -> Result<f64, String> {
    match share(text) {
        Ok(share) if share > 0.0 => Ok(share),
        _ => Err("write a number that is more than 0 and at most 100".to_owned()),
    }
}

/// The name of a recording.
pub(super) fn recording_name(text: &str) -> Result<String, String> {
    match config::is_policy_name(text) {
        true => Ok(text.to_owned()),
        false => Err("it has 1 to 64 letters, digits, '-' and '_'".to_owned()),
    }
}

/// The size of a recording; the router reads the text once more.
pub(super) fn recording_size(text: &str) -> Result<String, String> {
    RecordingBounds::size(text).map(|_| text.to_owned())
}

/// The time of a recording; the router reads the text once more.
pub(super) fn recording_time(text: &str) -> Result<String, String> {
    RecordingBounds::time(text).map(|_| text.to_owned())
}
