//! The text exposition format 0.0.4, with numbers and escapes as the Go client writes them.

use super::number::Number;

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
pub fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: Number) {
    out.push_str(name);
    for (n, (label, text)) in labels.iter().enumerate() {
        out.push(if n == 0 { '{' } else { ',' });
        out.push_str(label);
        out.push_str("=\"");
        escape(out, text, true);
        out.push('"');
    }
    out.push_str(if labels.is_empty() { " " } else { "} " });
    value.write(out);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_where_it_would_end_the_line() {
        let mut out = String::new();
        family(&mut out, Kind::Counter, "a", "b\\c\n\"d\"");
        sample(&mut out, "a", &[("x", "1\"2\\3\n4"), ("y", "é")], Number::from(1_u64));
        let want = "# HELP a b\\\\c\\n\"d\"\n# TYPE a counter\na{x=\"1\\\"2\\\\3\\n4\",y=\"é\"} 1\n";
        assert_eq!(out, want);
    }
}
