//! Durations as the configuration writes them.

use std::time::Duration;

/// Reads a duration with a unit, as in the router's configuration: `500ms`, `30s`, `5m`, `2h`, `1d`.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit_start = text.find(|each: char| !each.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit_start)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3_600).map(Duration::from_secs),
        "d" => number.checked_mul(86_400).map(Duration::from_secs),
        _ => None,
    }
}

/// Whole milliseconds, at most what the host's interface takes.
pub(crate) fn as_milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse(" 2h "), Some(Duration::from_secs(7200)));
        for wrong in ["", "30", "s", "-1s", "1 s", "1w", "99999999999999999999s"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
