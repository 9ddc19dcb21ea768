//! Durations and sizes as text with a unit.

use std::time::Duration;

/// Reads `"50us"`, `"500ms"`, `"32s"`, `"5m"`, `"1h"` or `"1d"`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "{text:?} is no duration: write a whole number and one of us, ms, s, m, h, d, such as \"500ms\" or \"32s\""
        )
    };
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let named = DURATION_UNITS.iter().find(|(name, _)| *name == unit);
    let (_, microseconds) = named.ok_or_else(wrong)?;
    number
        .checked_mul(*microseconds)
        .map(Duration::from_micros)
        .ok_or_else(wrong)
}

/// Writes what [`duration`] reads, in the largest unit that makes a whole number: `"90m"`, `"48h"` as `"2d"`.
pub(crate) fn duration_text(duration: Duration) -> String {
    let whole = duration.as_micros();
    let fits = |(_, microseconds): &&(&str, u64)| whole.is_multiple_of(u128::from(*microseconds));
    let (name, microseconds) = DURATION_UNITS.iter().find(fits).unwrap_or(&("us", 1));
    if whole == 0 {
        return "0s".to_owned();
    }
    format!("{}{name}", whole / u128::from(*microseconds))
}

/// The units of durations in microseconds, the largest first.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1000),
    ("us", 1),
];

/// Reads `"64KiB"`, `"64MiB"`, `"1GiB"` or `"1500B"`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let wrong = || {
        format!(
            "{text:?} is no size: write a whole number and one of B, KiB, MiB, GiB, such as \"64KiB\""
        )
    };
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(bytes)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(wrong)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("50us"), Ok(Duration::from_micros(50)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("32s"), Ok(Duration::from_secs(32)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(172_800)));
    }

    #[test]
    fn a_duration_is_written_in_its_largest_unit() {
        for text in ["50us", "20ms", "32s", "90m", "1h", "2d", "0s"] {
            let read = duration(text).expect("a duration");
            assert_eq!(duration_text(read), text);
        }
        assert_eq!(duration_text(Duration::from_secs(48 * 3600)), "2d");
    }

    #[test]
    fn a_number_without_unit_is_no_duration() {
        for text in [
            "32",
            "",
            "s",
            "-1s",
            "1.5s",
            "32 parsecs",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("64KiB"), Ok(65536));
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1500B"), Ok(1500));
        for text in ["64", "64kib", "64KB", "64kB", "1MB", "1GB"] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }
}
