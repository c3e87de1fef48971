//! The `Date` field (RFC 9110 5.6.7), formatted once a second and thread.

use piko_core::time::Instant;
use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Seconds since 1970; a clock before that shows as 0.
pub(crate) fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |span| span.as_secs())
}

/// The wall clock is looked at so often: a date may be late by this much, as by any queue.
const LOOK: Duration = Duration::from_millis(20);

/// The current time as an IMF-fixdate; `now` is the same moment by the clock that never steps.
pub(crate) fn at(now: Instant) -> [u8; 29] {
    thread_local! {
        static LAST: Cell<(Instant, u64, [u8; 29])> = const { Cell::new((Instant::ZERO, u64::MAX, [0; 29])) };
    }
    let (looked, second, text) = LAST.get();
    if second != u64::MAX && looked <= now && now < looked + LOOK {
        return text;
    }
    let seconds = unix_secs();
    let text = if second == seconds { text } else { format(seconds) };
    LAST.set((now, seconds, text));
    text
}

fn format(seconds: u64) -> [u8; 29] {
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[..3].copy_from_slice(DAYS[(days % 7) as usize]);
    digits(&mut text[5..7], day);
    text[8..11].copy_from_slice(MONTHS[(month - 1) as usize]);
    digits(&mut text[12..16], year);
    digits(&mut text[17..19], seconds / 3600 % 24);
    digits(&mut text[20..22], seconds / 60 % 60);
    digits(&mut text[23..25], seconds % 60);
    text
}

/// A point in time as Go's JSON has it: RFC 3339 in UTC, with as many decimals of the second as say something.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if since.subsec_nanos() > 0 {
        let decimals = format!(".{:09}", since.subsec_nanos());
        text.push_str(decimals.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

fn digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01. Years are counted from
/// March, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::{format, rfc3339};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn times_have_the_decimals_that_say_something() {
        assert_eq!(rfc3339(UNIX_EPOCH), "1970-01-01T00:00:00Z");
        let at = UNIX_EPOCH + Duration::new(784_111_777, 120_300_000);
        assert_eq!(rfc3339(at), "1994-11-06T08:49:37.1203Z");
        assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_nanos(1)), "1970-01-01T00:00:00.000000001Z");
    }

    #[test]
    fn known_dates_are_formatted() {
        assert_eq!(&format(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        // The example of RFC 9110 5.6.7.
        assert_eq!(&format(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&format(951_782_400), b"Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(&format(1_795_219_199), b"Fri, 20 Nov 2026 23:59:59 GMT");
    }
}
