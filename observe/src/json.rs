//! JSON text by hand (RFC 8259): strings with escapes, numbers without the formatting machinery.

use std::fmt;

/// What [`escaped`] copies as it is: printable ASCII other than the quote and the backslash.
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut b = 0x20;
    while b < 0x7f {
        plain[b] = b != b'"' as usize && b != b'\\' as usize;
        b += 1;
    }
    plain
};

/// Appends `bytes` as a JSON string with its quotes. What is not UTF-8 becomes U+FFFD, as in Go.
pub(crate) fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    escaped(out, bytes);
    out.push(b'"');
}

/// Appends `,"key":` for a key that needs no escapes.
pub(crate) fn key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends `bytes` with escapes and without quotes.
pub(crate) fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.iter().all(|&b| PLAIN[usize::from(b)]) {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        escaped_text(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Control characters are escaped, the C1 set too: a terminal that shows the log would obey them.
fn escaped_text(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|b| !PLAIN[usize::from(b)]) {
        // A byte that is not plain ASCII starts a character, because everything before it was ASCII.
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        let mut chars = tail.chars();
        if let Some(c) = chars.next() {
            escaped_char(out, c);
        }
        rest = chars.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
}

fn escaped_char(out: &mut Vec<u8>, c: char) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let code = u32::from(c) as usize;
            out.extend_from_slice(b"\\u00");
            out.push(HEX[code >> 4 & 15]);
            out.push(HEX[code & 15]);
        }
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Appends `n` in decimal.
pub(crate) fn decimal(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(digits(&mut [0; DIGITS], n));
}

/// The longest number of 64 bits has 20 digits.
pub(crate) const DIGITS: usize = 20;

/// `n` in decimal, at the end of the caller's memory.
pub(crate) fn digits(digits: &mut [u8; DIGITS], mut n: u64) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    &digits[at..]
}

/// Appends `n` with at least `width` digits, zeros in front.
pub(crate) fn padded(out: &mut Vec<u8>, n: u64, width: usize) {
    let mut reach = 10_u64;
    for _ in 1..width {
        if n < reach {
            out.push(b'0');
        }
        reach = reach.saturating_mul(10);
    }
    // The loop above pushes one zero per missing digit, so that the digits of `n` fill the rest.
    decimal(out, n);
}

/// Appends `value` rounded to nine decimals, or to nine behind the first digit where an exponent says the rest: what a
/// log needs, without the tables that the shortest exact form takes. JSON has no name for what is no number, so those
/// are strings.
pub(crate) fn float(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        let name: &[u8] = match (value.is_nan(), value > 0.0) {
            (true, _) => b"\"NaN\"",
            (_, true) => b"\"inf\"",
            (_, false) => b"\"-inf\"",
        };
        out.extend_from_slice(name);
        return;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let (mut size, mut exponent) = (value.abs(), 0_i32);
    if size != 0.0 && !(1e-3..1e9).contains(&size) {
        while size >= 10.0 {
            (size, exponent) = (size / 10.0, exponent + 1);
        }
        while size < 1.0 {
            (size, exponent) = (size * 10.0, exponent - 1);
        }
    }
    // Below 1e18, so that it fits.
    let nanos = (size * 1e9 + 0.5) as u64;
    decimal(out, nanos / 1_000_000_000);
    let (mut fraction, mut width) = (nanos % 1_000_000_000, 9);
    if fraction > 0 {
        while fraction % 10 == 0 {
            (fraction, width) = (fraction / 10, width - 1);
        }
        out.push(b'.');
        padded(out, fraction, width);
    }
    if exponent != 0 {
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e" });
        decimal(out, u64::from(exponent.unsigned_abs()));
    }
}

/// Writes formatted text as it is.
pub(crate) struct Raw<'a>(pub(crate) &'a mut Vec<u8>);

impl fmt::Write for Raw<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Writes formatted text with escapes; the quotes are the caller's.
pub(crate) struct Escaped<'a>(pub(crate) &'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escaped(self.0, text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        string(&mut out, bytes);
        String::from_utf8(out).expect("the output is always UTF-8")
    }

    #[test]
    fn every_byte_alone_gives_valid_text_without_control_characters() {
        for b in 0..=255_u8 {
            let text = quoted(&[b'a', b, b'z']);
            assert!(text.starts_with("\"a") && text.ends_with("z\""), "{b}: {text}");
            assert!(!text.chars().any(char::is_control), "{b}: {text}");
            let inner = &text[2..text.len() - 2];
            let plain = (0x20..0x7f).contains(&b) && b != b'"' && b != b'\\';
            assert_eq!(inner == char::from(b).to_string(), plain, "{b}: {inner}");
        }
    }

    #[test]
    fn escapes_are_those_of_the_grammar() {
        assert_eq!(quoted(b"a\"b\\c\n\r\t\x00\x1f\x7f"), r#""a\"b\\c\n\r\t\u0000\u001f\u007f""#);
        assert_eq!(quoted("é€😀\u{9b}".as_bytes()), "\"é€😀\\u009b\"");
        assert_eq!(quoted(b"\xff\xe2\x82x"), "\"\u{fffd}\u{fffd}x\"");
        assert_eq!(quoted(b""), "\"\"");
    }

    #[test]
    fn floats_are_rounded() {
        for (value, want) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.5, "0.5"),
            (-12.25, "-12.25"),
            (1.0 / 3.0, "0.333333333"),
            (0.001, "0.001"),
            (2.0 / 3000.0, "6.666666667e-4"),
            (123_456_789.0, "123456789"),
            (1e9, "1e9"),
            (1.5e300, "1.5e300"),
            (f64::INFINITY, "\"inf\""),
            (f64::NEG_INFINITY, "\"-inf\""),
            (f64::NAN, "\"NaN\""),
        ] {
            let mut out = Vec::new();
            float(&mut out, value);
            assert_eq!(String::from_utf8_lossy(&out), want);
        }
        for value in
            [f64::MAX, f64::MIN_POSITIVE, f64::from_bits(1), 999_999_999.999_999_9, 9.999_999_999_9e-4]
        {
            let mut out = Vec::new();
            float(&mut out, value);
            let read: f64 = String::from_utf8_lossy(&out).parse().expect("a number");
            assert!((read / value - 1.0).abs() < 1e-6, "{value}: {read}");
        }
    }

    #[test]
    fn numbers_are_decimal() {
        for n in [0, 7, 10, 99, 100, 12_345, u64::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, n);
            assert_eq!(out, n.to_string().as_bytes());
            for width in 1..6 {
                out.clear();
                padded(&mut out, n, width);
                assert_eq!(out, format!("{n:0width$}").as_bytes());
            }
        }
    }
}
