//! Numbers of samples. They are whole numbers of something (requests, bytes, nanoseconds), so that decimals are enough:
//! printing floats would cost the agent more bytes of code than all its metrics do.

/// A decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    negative: bool,
    digits: u64,
    decimals: u8,
}

impl Number {
    /// `count` of which 10^`decimals` make one: nanoseconds with 9 decimals are seconds.
    pub const fn scaled(count: u64, decimals: u8) -> Self {
        Self { negative: false, digits: count, decimals }
    }

    /// Appends all digits that count, as Go's format `g`: with an exponent of at least two digits below 1e-04 and
    /// from 1e+06 on. Labels `le` are compared as text by some readers, so this matters.
    pub(super) fn write(self, out: &mut String) {
        let digits = self.digits.to_string();
        let exponent = digits.len() as i32 - 1 - i32::from(self.decimals);
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() {
            out.push('0');
            return;
        }
        if self.negative {
            out.push('-');
        }
        if !(-4..6).contains(&exponent) {
            point(out, digits, 1);
            out.push_str(if exponent < 0 { "e-" } else { "e+" });
            if exponent.abs() < 10 {
                out.push('0');
            }
            out.push_str(&exponent.unsigned_abs().to_string());
        } else if exponent < 0 {
            out.push_str("0.");
            (1..exponent.unsigned_abs()).for_each(|_| out.push('0'));
            out.push_str(digits);
        } else {
            point(out, digits, exponent as usize + 1);
        }
    }
}

/// Appends `digits` with a point behind the first `whole` of them, or with the zeros that are missing there.
fn point(out: &mut String, digits: &str, whole: usize) {
    match digits.split_at_checked(whole) {
        Some((digits, "")) => out.push_str(digits),
        Some((before, behind)) => {
            for part in [before, ".", behind] {
                out.push_str(part);
            }
        }
        None => {
            out.push_str(digits);
            (digits.len()..whole).for_each(|_| out.push('0'));
        }
    }
}

impl From<u64> for Number {
    fn from(count: u64) -> Self {
        Self::scaled(count, 0)
    }
}

impl From<isize> for Number {
    fn from(level: isize) -> Self {
        Self { negative: level < 0, ..Self::scaled(level.unsigned_abs() as u64, 0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: Number) -> String {
        let mut out = String::new();
        number.write(&mut out);
        out
    }

    #[test]
    fn numbers_are_those_of_go() {
        for (count, decimals, want) in [
            (0, 0, "0"),
            (0, 9, "0"),
            (1, 0, "1"),
            (5, 3, "0.005"),
            (25, 1, "2.5"),
            (65_536, 0, "65536"),
            (262_144, 0, "262144"),
            (100_000, 0, "100000"),
            (999_999, 0, "999999"),
            (1_000_000, 0, "1e+06"),
            (1_048_576, 0, "1.048576e+06"),
            (4_194_304, 0, "4.194304e+06"),
            (123_456_789, 0, "1.23456789e+08"),
            (12_000_000_000_000, 0, "1.2e+13"),
            (1_000_000_000, 9, "1"),
            (10_000_000_000, 9, "10"),
            (100_000, 9, "0.0001"),
            (12_000, 9, "1.2e-05"),
            (1, 9, "1e-09"),
            (1, 200, "1e-200"),
            (304_658_549, 9, "0.304658549"),
            (12_345_678_900, 9, "12.3456789"),
            (u64::MAX, 0, "1.8446744073709551615e+19"),
        ] {
            assert_eq!(text(Number::scaled(count, decimals)), want);
        }
        assert_eq!(text(Number::from(-2_isize)), "-2");
        assert_eq!(text(Number::from(-1_500_000_isize)), "-1.5e+06");
        assert_eq!(text(Number::from(isize::MIN)), "-9.223372036854775808e+18");
        assert_eq!(text(Number::from(7_isize)), "7");
    }

    #[test]
    fn what_is_printed_is_the_number() {
        for shift in 0..64 {
            for decimals in [0, 1, 3, 6, 9] {
                let count = 0x9e37_79b9_7f4a_7c15_u64 >> shift;
                let want = count as f64 / 10_f64.powi(i32::from(decimals));
                let got: f64 = text(Number::scaled(count, decimals)).parse().expect("a number");
                assert!((got - want).abs() <= want * 1e-15, "{count} {decimals}: {got} {want}");
            }
        }
    }
}
