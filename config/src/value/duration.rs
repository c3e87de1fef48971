//! Durations in Go's notation (`time.ParseDuration`, `time.Duration.String`).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A signed length of time in nanoseconds, written as Go writes it: `1m30s`, `1.5h`, `300ms`.
///
/// The range is that of Go, about ±292 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(i64);

/// The text is no duration, or one outside of ±292 years. Nothing else can be said about it in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadDuration;

impl fmt::Display for BadDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no duration (examples: 300ms, 10s, 1m30s)")
    }
}

impl std::error::Error for BadDuration {}

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Digits of a fraction that can matter: an hour has fewer than 10^13 nanoseconds, so what follows the
/// eighteenth digit is below one nanosecond and Go drops it too.
const FRACTION_DIGITS_MAX: u32 = 18;

impl GoDuration {
    /// From nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// In nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Zero when negative.
    pub fn saturating(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// `None` when zero or negative: the notation for "no limit".
    pub fn positive(self) -> Option<Duration> {
        if self.0 > 0 { Some(self.saturating()) } else { None }
    }
}

impl FromStr for GoDuration {
    type Err = BadDuration;

    /// A sign, then one or more decimal numbers with a unit (`ns`, `us`, `µs`, `ms`, `s`, `m`, `h`), or a bare `0`.
    fn from_str(text: &str) -> Result<Self, BadDuration> {
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(BadDuration);
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let (nanos, after) = part(rest).ok_or(BadDuration)?;
            total = total.checked_add(nanos).ok_or(BadDuration)?;
            rest = after;
        }
        // The negative side reaches one further, as in Go, so that what is printed can be read back.
        let signed =
            if negative { 0_i64.checked_sub_unsigned(total) } else { 0_i64.checked_add_unsigned(total) };
        signed.map(Self).ok_or(BadDuration)
    }
}

/// One number with its unit at the start of `text`: nanoseconds, and what follows.
fn part(text: &str) -> Option<(u64, &str)> {
    let (whole, after_whole) = digits(text);
    let (fraction, after) = match after_whole.strip_prefix('.') {
        Some(behind) => digits(behind),
        None => ("", after_whole),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit_end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
    let (unit, rest) = after.split_at(unit_end);
    let unit = match unit {
        "ns" => 1,
        // Go takes both characters for micro: the sign (U+00B5) and the Greek letter (U+03BC).
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    };
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut numerator: u64 = 0;
    let mut denominator: u64 = 1;
    for digit in fraction.bytes().take(FRACTION_DIGITS_MAX as usize) {
        numerator = numerator * 10 + u64::from(digit - b'0');
        denominator *= 10;
    }
    let part = u128::from(numerator) * u128::from(unit) / u128::from(denominator);
    let nanos = whole.checked_mul(unit)?.checked_add(u64::try_from(part).ok()?)?;
    Some((nanos, rest))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

impl fmt::Display for GoDuration {
    /// Go's form: `1h0m0s`, `1m30s`, `1.5s`, `300ms`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match nanos {
            0 => f.write_str("0s"),
            1..MICROSECOND => write!(f, "{nanos}ns"),
            MICROSECOND..MILLISECOND => decimal(f, nanos, MICROSECOND, "\u{b5}s"),
            MILLISECOND..SECOND => decimal(f, nanos, MILLISECOND, "ms"),
            _ => {
                if nanos >= HOUR {
                    write!(f, "{}h", nanos / HOUR)?;
                }
                if nanos >= MINUTE {
                    write!(f, "{}m", nanos % HOUR / MINUTE)?;
                }
                decimal(f, nanos % MINUTE, SECOND, "s")
            }
        }
    }
}

/// `nanos / unit` with as many decimals as it takes and no more.
fn decimal(f: &mut fmt::Formatter<'_>, nanos: u64, unit: u64, name: &str) -> fmt::Result {
    write!(f, "{}", nanos / unit)?;
    let mut fraction = nanos % unit;
    if fraction > 0 {
        let mut width = unit.ilog10() as usize;
        while fraction % 10 == 0 {
            fraction /= 10;
            width -= 1;
        }
        write!(f, ".{fraction:0width$}")?;
    }
    f.write_str(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("30s", 30_000_000_000),
            ("+5s", 5_000_000_000),
            ("-5s", -5_000_000_000),
            ("5.0s", 5_000_000_000),
            ("5.6s", 5_600_000_000),
            ("5.s", 5_000_000_000),
            (".5s", 500_000_000),
            ("1.004s", 1_004_000_000),
            ("100.00100s", 100_001_000_000),
            ("10ns", 10),
            ("11us", 11_000),
            ("12\u{b5}s", 12_000),
            ("12\u{3bc}s", 12_000),
            ("13ms", 13_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("-1m3.5s", -63_500_000_000),
            ("10.5s4m", 250_500_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            ("39h9m14.425s", 140_954_425_000_000),
            ("0.3333333333333333333h", 1_200_000_000_000 - 1),
            ("0.100000000000000000000h", 360_000_000_000),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(text.parse::<GoDuration>(), Ok(GoDuration(nanos)), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "",
            "3",
            "-",
            "+",
            "s",
            ".",
            "-.",
            ".s",
            "+.s",
            "1d",
            "10x",
            " 1s",
            "1s ",
            "1 s",
            "--1s",
            "1s-1s",
            "1S",
            "00",
            "1..5s",
            "1e3s",
            "\u{661}s",
            "9223372036854775808ns",
            "-9223372036854775809ns",
            "9223372036854775.808us1ns",
            "3000000h",
            "99999999999999999999ns",
        ] {
            assert_eq!(text.parse::<GoDuration>(), Err(BadDuration), "{text}");
        }
    }

    #[test]
    fn prints_as_go_prints() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1\u{b5}s"),
            (2_200_000, "2.2ms"),
            (300_000_000, "300ms"),
            (3_300_000_000, "3.3s"),
            (90_000_000_000, "1m30s"),
            (300_000_000_000, "5m0s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (3_600_000_000_000, "1h0m0s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (480_000_000_001, "8m0.000000001s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(GoDuration(nanos).to_string(), text);
        }
    }

    #[test]
    fn zero_and_less_mean_no_limit() {
        assert_eq!(GoDuration(0).positive(), None);
        assert_eq!(GoDuration(-1).positive(), None);
        assert_eq!(GoDuration(-1).saturating(), Duration::ZERO);
        assert_eq!(GoDuration(1).positive(), Some(Duration::from_nanos(1)));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(nanos: i64) {
            prop_assert_eq!(GoDuration(nanos).to_string().parse(), Ok(GoDuration(nanos)));
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.a-zµμ]{0,24}|\\PC{0,12}") {
            let _ = text.parse::<GoDuration>();
        }
    }
}
