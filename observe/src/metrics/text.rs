//! The text exposition format 0.0.4, with numbers and escapes as the Go client writes them.

use std::fmt::Write;

/// The `Content-Type` of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Appends the two lines in front of a family's samples.
pub fn family(out: &mut String, kind: Kind, name: &str, help: &str) {
    for part in ["# HELP ", name, " "] {
        out.push_str(part);
    }
    escape(out, help, false);
    for part in ["\n# TYPE ", name, " ", kind.as_str(), "\n"] {
        out.push_str(part);
    }
}

/// Appends one sample. The caller gives labels in the order of their names.
pub fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    out.push_str(name);
    for (n, (label, text)) in labels.iter().enumerate() {
        out.push(if n == 0 { '{' } else { ',' });
        out.push_str(label);
        out.push_str("=\"");
        escape(out, text, true);
        out.push('"');
    }
    out.push_str(if labels.is_empty() { " " } else { "} " });
    number(out, value);
    out.push('\n');
}

/// Backslash and newline are escaped everywhere, quotes in label values only.
fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

/// Appends the shortest digits that give the value back, as Go's format `g`: with an exponent of at least two
/// digits below 1e-04 and from 1e+06 on. Labels `le` are compared as text by some readers, so this matters.
pub(super) fn number(out: &mut String, value: f64) {
    if !value.is_finite() {
        out.push_str(if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        });
        return;
    }
    let start = out.len();
    // Writing to a string cannot fail.
    let _ = write!(out, "{value:e}");
    let Some(at) = out[start..].find('e').map(|at| start + at) else { return };
    let exponent: i32 = out[at + 1..].parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        out.truncate(start);
        let _ = write!(out, "{value}");
        return;
    }
    out.truncate(at);
    let sign = if exponent < 0 { '-' } else { '+' };
    let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_go() {
        for (value, want) in [
            (0.0, "0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (0.005, "0.005"),
            (2.5, "2.5"),
            (65_536.0, "65536"),
            (262_144.0, "262144"),
            (999_999.0, "999999"),
            (1_000_000.0, "1e+06"),
            (1_048_576.0, "1.048576e+06"),
            (4_194_304.0, "4.194304e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (1.5e300, "1.5e+300"),
            (0.000_1, "0.0001"),
            (0.000_012, "1.2e-05"),
            (-1e-7, "-1e-07"),
            (0.304_658_549, "0.304658549"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            let mut out = String::new();
            number(&mut out, value);
            assert_eq!(out, want);
        }
    }

    #[test]
    fn text_is_escaped_where_it_would_end_the_line() {
        let mut out = String::new();
        family(&mut out, Kind::Counter, "a", "b\\c\n\"d\"");
        sample(&mut out, "a", &[("x", "1\"2\\3\n4"), ("y", "é")], 1.0);
        let want = "# HELP a b\\\\c\\n\"d\"\n# TYPE a counter\na{x=\"1\\\"2\\\\3\\n4\",y=\"é\"} 1\n";
        assert_eq!(out, want);
    }
}
