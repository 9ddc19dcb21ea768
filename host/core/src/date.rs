//! The Date header.

use crate::local::write_number;
use crate::time::UnixTime;

const DAYS: [&[u8]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// The text of the second that was asked for last.
#[derive(Default)]
pub(crate) struct DateText {
    time: Option<UnixTime>,
    text: Vec<u8>,
}

impl DateText {
    /// A date as RFC 3261 §20.17 writes it: `Sat, 13 Nov 2010 23:29:00 GMT`.
    pub(crate) fn of(&mut self, time: UnixTime) -> &[u8] {
        if self.time != Some(time) {
            self.text.clear();
            write(&mut self.text, time);
            self.time = Some(time);
        }
        &self.text
    }
}

/// Writes a date.
pub(crate) fn write(out: &mut Vec<u8>, time: UnixTime) {
    let days = time.0 / 86_400;
    let (year, month, day) = civil(days);
    out.extend_from_slice(DAYS.get((days % 7) as usize).copied().unwrap_or_default());
    out.extend_from_slice(b", ");
    two_digits(out, day);
    out.push(b' ');
    out.extend_from_slice(MONTHS.get(month as usize).copied().unwrap_or_default());
    out.push(b' ');
    write_number(out, year);
    out.push(b' ');
    two_digits(out, time.0 / 3600 % 24);
    out.push(b':');
    two_digits(out, time.0 / 60 % 60);
    out.push(b':');
    two_digits(out, time.0 % 60);
    out.extend_from_slice(b" GMT");
}

fn two_digits(out: &mut Vec<u8>, number: u64) {
    out.push(b'0' + (number / 10 % 10) as u8);
    out.push(b'0' + (number % 10) as u8);
}

/// Year, month from 0, and day from 1 of a day since 1970-01-01, by eras of 400 years that begin on 1 March.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    (era * 400 + year_of_era + u64::from(month < 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_the_calendar() {
        let mut date = DateText::default();
        for (time, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (1_289_690_940, "Sat, 13 Nov 2010 23:29:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
        ] {
            for _ in 0..2 {
                assert_eq!(date.of(UnixTime(time)), text.as_bytes());
            }
        }
    }
}
