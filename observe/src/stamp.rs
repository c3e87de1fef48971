//! Points in time and spans of time as Go prints them.

use crate::json::{decimal, padded};
use std::time::{Duration, SystemTime};

const SECONDS_PER_DAY: u64 = 86_400;
/// From the first of March of the year 0 to the first of January 1970.
const DAYS_TO_EPOCH: u64 = 719_468;
/// 400 years repeat in the calendar.
const DAYS_PER_ERA: u64 = 146_097;

/// Appends RFC 3339 in UTC with up to three fractional digits, cut and not rounded, without trailing zeros:
/// `2026-01-25T09:30:04.26Z`, `…:30Z`. A clock before 1970 counts as 1970.
pub(crate) fn timestamp(out: &mut Vec<u8>, at: SystemTime) {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / SECONDS_PER_DAY, since.as_secs() % SECONDS_PER_DAY);
    let (year, month, day) = civil(days);
    padded(out, year, 4);
    out.push(b'-');
    padded(out, month, 2);
    out.push(b'-');
    padded(out, day, 2);
    out.push(b'T');
    padded(out, second / 3600, 2);
    out.push(b':');
    padded(out, second / 60 % 60, 2);
    out.push(b':');
    padded(out, second % 60, 2);
    fraction(out, u64::from(since.subsec_millis()), 3);
    out.push(b'Z');
}

/// Year, month and day of the `days`th day since 1970-01-01. Years are counted from March, so that the leap
/// day is the last one and months follow one formula.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_EPOCH;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let leap_days = day_of_era / 1_460 + day_of_era / 146_096 - day_of_era / 36_524;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) =
        if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day)
}

/// Appends a span as Go's `time.Duration` prints it: `0s`, `15µs`, `304.658549ms`, `1.5s`, `2m3.5s`, `1h0m0s`.
pub(crate) fn go_duration(out: &mut Vec<u8>, span: Duration) {
    let seconds = span.as_secs();
    let nanos = u64::from(span.subsec_nanos());
    if seconds == 0 {
        match nanos {
            0 => out.extend_from_slice(b"0s"),
            1..1_000 => {
                decimal(out, nanos);
                out.extend_from_slice(b"ns");
            }
            1_000..1_000_000 => {
                decimal(out, nanos / 1_000);
                fraction(out, nanos % 1_000, 3);
                out.extend_from_slice("µs".as_bytes());
            }
            _ => {
                decimal(out, nanos / 1_000_000);
                fraction(out, nanos % 1_000_000, 6);
                out.extend_from_slice(b"ms");
            }
        }
        return;
    }
    if seconds >= 3_600 {
        decimal(out, seconds / 3_600);
        out.push(b'h');
    }
    if seconds >= 60 {
        decimal(out, seconds / 60 % 60);
        out.push(b'm');
    }
    decimal(out, seconds % 60);
    fraction(out, nanos, 9);
    out.push(b's');
}

/// Appends `.` and `n` as `digits` fractional digits without trailing zeros; nothing for zero.
fn fraction(out: &mut Vec<u8>, n: u64, digits: usize) {
    if n == 0 {
        return;
    }
    out.push(b'.');
    padded(out, n, digits);
    while out.last() == Some(&b'0') {
        out.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(secs: u64, millis: u64) -> String {
        let mut out = Vec::new();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(secs) + Duration::from_millis(millis);
        timestamp(&mut out, at);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn timestamps_trim_their_fraction() {
        assert_eq!(stamp(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(stamp(1_700_000_000, 260), "2023-11-14T22:13:20.26Z");
        assert_eq!(stamp(1_700_000_000, 7), "2023-11-14T22:13:20.007Z");
        assert_eq!(stamp(1_700_000_000, 100), "2023-11-14T22:13:20.1Z");
        assert_eq!(stamp(951_782_399, 999), "2000-02-28T23:59:59.999Z");
        assert_eq!(stamp(951_782_400, 0), "2000-02-29T00:00:00Z");
        assert_eq!(stamp(951_868_800, 0), "2000-03-01T00:00:00Z");
        assert_eq!(stamp(4_107_542_400, 0), "2100-03-01T00:00:00Z");
        assert_eq!(stamp(1_767_225_599, 0), "2025-12-31T23:59:59Z");
    }

    #[test]
    fn microseconds_are_cut_and_old_clocks_forgiven() {
        let mut out = Vec::new();
        timestamp(&mut out, SystemTime::UNIX_EPOCH + Duration::from_micros(1_999));
        assert_eq!(out, b"1970-01-01T00:00:00.001Z");
        out.clear();
        timestamp(&mut out, SystemTime::UNIX_EPOCH - Duration::from_secs(5));
        assert_eq!(out, b"1970-01-01T00:00:00Z");
    }

    #[test]
    fn the_calendar_has_no_gap_in_800_years() {
        let mut last = civil(0);
        for day in 1..292_200 {
            let next = civil(day);
            let follows = (next.0 == last.0 && next.1 == last.1 && next.2 == last.2 + 1)
                || (next.0 == last.0 && next.1 == last.1 + 1 && next.2 == 1)
                || (next.0 == last.0 + 1 && (last.1, last.2) == (12, 31) && (next.1, next.2) == (1, 1));
            assert!(follows, "{last:?} {next:?}");
            if next.2 == 1 && next.1 != 1 {
                let leap = next.0 % 4 == 0 && (next.0 % 100 != 0 || next.0 % 400 == 0);
                let days = [31, 28 + u64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
                assert_eq!(last.2, days[last.1 as usize - 1], "{last:?}");
            }
            last = next;
        }
    }

    #[test]
    fn spans_are_those_of_go() {
        let cases: [(u64, &str); 16] = [
            (0, "0s"),
            (1, "1ns"),
            (999, "999ns"),
            (1_000, "1µs"),
            (1_100, "1.1µs"),
            (15_030, "15.03µs"),
            (2_200_000, "2.2ms"),
            (304_658_549, "304.658549ms"),
            (999_999_999, "999.999999ms"),
            (1_000_000_000, "1s"),
            (3_300_000_000, "3.3s"),
            (60_000_000_000, "1m0s"),
            (123_500_000_000, "2m3.5s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_723_000_000_001, "1h2m3.000000001s"),
            (u64::MAX, "5124095h34m33.709551615s"),
        ];
        for (nanos, want) in cases {
            let mut out = Vec::new();
            go_duration(&mut out, Duration::from_nanos(nanos));
            assert_eq!(String::from_utf8(out).expect("UTF-8"), want);
        }
    }
}
