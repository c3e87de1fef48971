//! Switches, whole numbers, decimal numbers and sizes.

/// The words that Go takes for a switch (`strconv.ParseBool`).
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// A finite decimal number. There is one zero.
#[cfg(feature = "server")]
pub fn parse_float(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(|number| number + 0.0)
}

/// A whole number in Go's notation (`strconv.ParseInt` with base 0): decimal, `0x`, `0o` or a leading `0`, `0b`,
/// with `_` between digits.
pub fn parse_int(text: &str) -> Option<i64> {
    let (negative, magnitude) = parse_parts(text)?;
    if negative { 0_i64.checked_sub_unsigned(magnitude) } else { 0_i64.checked_add_unsigned(magnitude) }
}

/// As [`parse_int`], for what Go keeps in an unsigned number of 64 bits: what is too large for a signed one is as much as
/// that can be.
#[cfg(feature = "server")]
pub(crate) fn parse_count(text: &str) -> Option<i64> {
    let (negative, magnitude) = parse_parts(text)?;
    if negative {
        0_i64.checked_sub_unsigned(magnitude)
    } else {
        Some(0_i64.saturating_add_unsigned(magnitude))
    }
}

/// Whether a number is negative, and how far it is from zero.
fn parse_parts(text: &str) -> Option<(bool, u64)> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = body.to_ascii_lowercase();
    let (radix, prefixed, digits) = if let Some(hex) = lower.strip_prefix("0x") {
        (16, true, hex)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (8, true, octal)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (2, true, binary)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, true, &lower[1..])
    } else {
        (10, false, lower.as_str())
    };
    // An underscore stands between two digits, or between the prefix and a digit.
    let digits = if prefixed { digits.strip_prefix('_').unwrap_or(digits) } else { digits };
    if digits.split('_').any(str::is_empty) {
        return None;
    }
    let digits = digits.replace('_', "");
    // `from_str_radix` would take a second sign.
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    Some((negative, u64::from_str_radix(&digits, radix).ok()?))
}

/// A whole number that is written with a point or an exponent, such as `1e+06` and `1.048576e+06`: a float of YAML 1.2
/// (10.2.1.4), which Go's parser takes where a whole number is wanted. One with a fraction is none.
#[cfg(feature = "yaml")]
pub(crate) fn parse_whole(text: &str) -> Option<i64> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (body, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Without zeros at its end the number is whole when what is left needs no digit behind the point.
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let places = i64::try_from(digits.len() - significant.len()).ok()?;
    let places = places.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(exponent)?;
    let factor = 10_u64.checked_pow(u32::try_from(places).ok()?)?;
    let magnitude = significant.parse::<u64>().ok()?.checked_mul(factor)?;
    if negative { 0_i64.checked_sub_unsigned(magnitude) } else { 0_i64.checked_add_unsigned(magnitude) }
}

/// A number of bytes: a whole number as in [`parse_int`], or a decimal one with a unit: `B`; `k`, `KiB`, `M`, `MiB`, `G`,
/// `GiB` (1,024 each); `KB`, `MB`, `GB` (1,000 each). Letter case does not matter.
///
/// Go knows the plain number only, and takes one of zero or less for "the default", so the sign is kept.
pub fn parse_size(text: &str) -> Option<i64> {
    if let Some(bytes) = parse_int(text) {
        return Some(bytes);
    }
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: i64 = number.parse().ok()?;
    let unit: i64 = match unit.trim_start_matches(' ').to_ascii_lowercase().as_str() {
        "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn switches() {
        for word in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(parse_bool(word), Some(true), "{word}");
        }
        for word in ["0", "f", "F", "false", "FALSE", "False"] {
            assert_eq!(parse_bool(word), Some(false), "{word}");
        }
        for word in ["", "yes", "no", "on", "tRUE", " true", "2"] {
            assert_eq!(parse_bool(word), None, "{word}");
        }
    }

    #[test]
    fn whole_numbers() {
        for (text, number) in [
            ("0", 0),
            ("-1", -1),
            ("+7", 7),
            ("1048576", 1 << 20),
            ("1_000", 1000),
            ("0x1F", 31),
            ("0X_1f", 31),
            ("0b101", 5),
            ("0o17", 15),
            ("017", 15),
            ("0_7", 7),
            ("-0x10", -16),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(parse_int(text), Some(number), "{text}");
        }
        for text in [
            "",
            "-",
            "+",
            "--1",
            "+-1",
            "-+1",
            "0x",
            "0x-1",
            "0x+1",
            "08",
            "1__0",
            "_1",
            "1_",
            "0x_",
            "0__7",
            "1.0",
            "1e3",
            " 1",
            "1 ",
            "ten",
            "9223372036854775808",
            "-9223372036854775809",
            "\u{661}",
        ] {
            assert_eq!(parse_int(text), None, "{text}");
        }
    }

    #[cfg(feature = "yaml")]
    #[test]
    fn whole_numbers_as_decimal_ones() {
        for (text, number) in [
            ("1e+06", 1_000_000),
            ("1E6", 1_000_000),
            ("1.048576e+06", 1 << 20),
            ("-1e3", -1000),
            ("+2.50e1", 25),
            ("65536.0", 65_536),
            ("3.", 3),
            (".5e1", 5),
            ("100e-2", 1),
            ("0.0", 0),
            ("0e99999", 0),
            ("9.223372036854775807e18", i64::MAX),
            ("-9.223372036854775808e+18", i64::MIN),
        ] {
            assert_eq!(parse_whole(text), Some(number), "{text}");
        }
        for text in [
            "",
            ".",
            "e3",
            "-",
            "1.5",
            "1e-1",
            "1.5e0",
            "1e19",
            "1e",
            "1e+",
            "1e+-1",
            "--1e3",
            "1 e3",
            "0x1e3.0",
            "1.0.0",
            "1e9223372036854775807",
            "1e99999999999999999999",
            "inf",
            "nan",
            "ten",
            "1.0k",
        ] {
            assert_eq!(parse_whole(text), None, "{text}");
        }
    }

    #[cfg(feature = "server")]
    #[test]
    fn decimal_numbers() {
        assert_eq!(parse_float("0.005"), Some(0.005));
        assert_eq!(parse_float("-2"), Some(-2.0));
        assert_eq!(parse_float("-0.0").map(|zero| zero.to_string()).as_deref(), Some("0"));
        for text in ["", "x", "NaN", "inf", "1,5", " 1"] {
            assert_eq!(parse_float(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("-1", -1),
            ("65536", 65536),
            ("64B", 64),
            ("64k", 65536),
            ("64KiB", 65536),
            ("64 KiB", 65536),
            ("64KB", 64_000),
            ("1MiB", 1 << 20),
            ("1mb", 1_000_000),
            ("2G", 2 << 30),
            ("3GB", 3_000_000_000),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "k", "-1k", "1.5M", "1T", "1 2", "KiB1", "9223372036854775807k", "1kk"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-+0-9_xXobkKmMiIgGB. ]{0,24}|\\PC{0,12}") {
            #[cfg(feature = "server")]
            let _ = parse_float(&text);
            #[cfg(feature = "yaml")]
            let _ = parse_whole(&text);
            let _ = (parse_int(&text), parse_size(&text), parse_bool(&text));
        }

        #[test]
        fn decimal_reads_back(number: i64) {
            prop_assert_eq!(parse_int(&number.to_string()), Some(number));
        }
    }
}
