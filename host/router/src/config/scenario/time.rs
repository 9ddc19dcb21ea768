//! A moment as text.

use patchbay_core::time::UnixTime;

/// Reads `2026-01-05T08:00:00Z` (RFC 3339, UTC only).
pub(super) fn moment(text: &str) -> Result<UnixTime, String> {
    read(text).ok_or_else(|| {
        format!("{text:?} is no moment after 1970 in UTC: write it like \"2026-01-05T08:00:00Z\"")
    })
}

fn read(text: &str) -> Option<UnixTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let fits = year >= 1970 && (1..=12).contains(&month) && (1..=days).contains(&day);
    if !fits || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = hour * 3600 + minute * 60 + second;
    Some(UnixTime(days_before(year, month, day) * 86_400 + seconds))
}

/// Days from 1970-01-01. Years are counted from March, so that a leap day is the last of its year.
fn days_before(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    // To 0000-03-01 it is 719,468 days from 1970.
    (year * 365 + leap_days + (153 * month + 2) / 5 + day - 1).saturating_sub(719_468)
}

fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; 3];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width)?;
        if !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_seconds_since_1970() {
        assert_eq!(moment("1970-01-01T00:00:00Z"), Ok(UnixTime(0)));
        assert_eq!(moment("2023-11-14T22:13:20Z"), Ok(UnixTime(1_700_000_000)));
        assert_eq!(moment("2024-02-29T12:00:00Z"), Ok(UnixTime(1_709_208_000)));
        assert_eq!(moment("2026-03-01T00:00:00Z"), Ok(UnixTime(1_772_323_200)));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01",
            "2026-01-01T00:00:00+01:00",
            "1969-12-31T00:00:00Z",
        ] {
            moment(text).unwrap_err();
        }
    }
}
