//! What a file may be like before a parser sees it: the time of ours grows with the square of the nesting.

/// Sections and lists within each other, in brackets. The table has six; whoever has more is mistaken, and ten times as
/// many again cost the parser no time to speak of.
const NESTING_MAX: usize = 500;

/// A word without a space, a line end or a mark of YAML in it, in bytes: keys are some hundred, certificates have lines.
const WORD_BYTES_MAX: usize = 1024 * 1024;

/// The line that goes too far, counted from 1, and how. Lines of comments are no matter of the parser's.
///
/// Brackets in quotes count like others: a text that has so many more that open than close is no configuration either.
pub(super) fn exceeded(text: &str) -> Option<(usize, &'static str)> {
    let (mut depth, mut word) = (0_usize, 0_usize);
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with('#') {
            continue;
        }
        for byte in line.bytes() {
            word += 1;
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                b' ' | b',' | b'\t' => {}
                _ if word > WORD_BYTES_MAX => return Some((at + 1, "a word of more than 1 MiB")),
                _ => continue,
            }
            word = 0;
            if depth > NESTING_MAX {
                return Some((at + 1, "more than 500 sections or lists within each other"));
            }
        }
        word = 0;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_and_words_have_a_limit() {
        let brackets = |n| format!("a:\n b: {}", "[".repeat(n));
        assert_eq!(exceeded(&brackets(NESTING_MAX)), None);
        let told = Some((2, "more than 500 sections or lists within each other"));
        assert_eq!(exceeded(&brackets(NESTING_MAX + 1)), told);
        assert_eq!(exceeded(&format!("\n{}", "{a: [b, ".repeat(NESTING_MAX))), told);
        assert_eq!(exceeded(&"{a: []}\n[{}]\n".repeat(NESTING_MAX)), None);
        assert_eq!(exceeded(&"]".repeat(NESTING_MAX)), None);
        let word = |n| format!("{}: 1\n", "x".repeat(n));
        assert_eq!(exceeded(&word(WORD_BYTES_MAX - 1)), None);
        assert_eq!(exceeded(&word(WORD_BYTES_MAX)), Some((1, "a word of more than 1 MiB")));
        assert_eq!(exceeded(&word(WORD_BYTES_MAX / 2).repeat(4)), None);
        assert_eq!(exceeded(&format!("  #{}{}", word(WORD_BYTES_MAX), brackets(5))), None);
    }
}
