//! What is wrong with a command line, a variable or a set of values, in one line.

use std::fmt;

use crate::table::{Flag, Verb, flags};

/// A mistake of the user. Displays as one line without control characters that names the flag, variable or section and
/// the mistake; secrets never appear in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    line: String,
    exit_code: u8,
}

/// How much of a value a message repeats, in characters: enough to recognise it on one line.
const QUOTE_CHARS_MAX: usize = 64;

/// Names differ by at most this many edits from the one that was meant: two typing mistakes and a bit.
const SUGGESTION_DISTANCE_MAX: usize = 3;

/// Names longer than this get no suggestion: ours are far shorter, and the work grows with the length.
const SUGGESTION_BYTES_MAX: usize = 80;

impl UsageError {
    /// A mistake in an argument or a variable.
    pub(crate) fn usage(message: impl AsRef<str>) -> Self {
        Self::new(message.as_ref(), 2)
    }

    /// Values that are well-formed but do not make a configuration: `config: `, the message in Go's words (behaviour
    /// reference, CLI 3.4), and the flags, variables and keys that the values came from. What stands in a file has Go's exit
    /// status for every fault of a file.
    pub(crate) fn located(line: &str, stands_in_file: bool) -> Self {
        Self::new(line, if stands_in_file { 1 } else { 2 })
    }

    /// A file that cannot be read or understood.
    #[cfg(feature = "yaml")]
    pub(crate) fn file(message: impl AsRef<str>) -> Self {
        Self::new(message.as_ref(), 1)
    }

    /// No configuration fault, but nothing to do either: Go prints these without a prefix and exits with 1.
    pub(crate) fn nothing_to_do(message: &str) -> Self {
        Self::new(message, 1)
    }

    fn new(message: &str, exit_code: u8) -> Self {
        let mut line = String::with_capacity(message.len());
        for character in message.chars() {
            if character.is_control() {
                line.extend(character.escape_default());
            } else {
                line.push(character);
            }
        }
        Self { line, exit_code }
    }

    /// A text that is not of its flag's kind; `origin` is the flag with its dashes, or the variable.
    pub(crate) fn bad_value(origin: &str, flag: &Flag, text: &str) -> Self {
        let expected = flag.kind.expected(text);
        if flag.secret {
            Self::usage(format!("{origin}: the value {expected}"))
        } else {
            Self::usage(format!("{origin}: {} {expected}", quoted(text)))
        }
    }

    /// A flag that the command does not have; `given` is with its dashes, as it was written.
    #[cfg_attr(
        not(any(test, feature = "lexopt")),
        expect(dead_code, reason = "a build without the small front has nobody who asks")
    )]
    pub(crate) fn unknown_flag(verb: Verb, given: &str) -> Self {
        let known = flags(verb.program()).iter().filter(|flag| flag.shown() && flag.belongs_to(verb));
        let near = nearest(given.trim_start_matches('-'), known.map(|flag| flag.name));
        Self::unknown_flag_near(given, near.map(|name| format!("--{name}")).as_deref())
    }

    /// As above, with the name that was perhaps meant already found; empty is none.
    pub(crate) fn unknown_flag_near(given: &str, near: Option<&str>) -> Self {
        Self::usage(format!("unknown flag: {}{}", shortened(given), did_you_mean(near)))
    }

    /// A word in the place of a command.
    #[cfg(any(test, feature = "lexopt"))]
    pub(crate) fn unknown_command(given: &str, known: &[&'static str]) -> Self {
        Self::unknown_command_near(given, nearest(given, known.iter().copied()))
    }

    /// As above, with the name that was perhaps meant already found.
    #[cfg(any(test, feature = "clap", feature = "lexopt"))]
    pub(crate) fn unknown_command_near(given: &str, near: Option<&str>) -> Self {
        Self::usage(format!("unknown command: {}{}", quoted(given), did_you_mean(near)))
    }

    /// A flag at the end of the line that lacks its value.
    #[cfg(any(feature = "clap", feature = "lexopt"))]
    pub(crate) fn missing_value(flag: &str) -> Self {
        Self::usage(format!("{flag}: needs a value"))
    }

    /// A value for a flag that takes none, such as `--help=x`.
    #[cfg(any(feature = "clap", feature = "lexopt"))]
    pub(crate) fn unexpected_value(flag: &str) -> Self {
        Self::usage(format!("{flag}: takes no value"))
    }

    /// `http` or `tcp` without both of its arguments.
    #[cfg(any(feature = "clap", feature = "lexopt"))]
    pub(crate) fn missing_arguments(missing: &str) -> Self {
        Self::usage(format!("missing argument: {missing}"))
    }

    /// A word too many.
    #[cfg(any(feature = "clap", feature = "lexopt"))]
    pub(crate) fn unexpected_argument(word: &str) -> Self {
        Self::usage(format!("unexpected argument: {}", quoted(word)))
    }

    /// An argument that cannot be shown.
    #[cfg(any(feature = "clap", feature = "lexopt"))]
    pub(crate) fn no_text() -> Self {
        Self::usage("an argument is no UTF-8 text")
    }

    /// The exit status this mistake deserves: 2 for every argument or variable that cannot be meant, be it unreadable or
    /// refused for what it says; 1 for a file with a mistake in it, and for an agent that was given nothing to do, as
    /// in Go. (Go's other statuses, 0 and 1, are a decided deviation: behaviour reference, CLI 1.1 and "Decided
    /// where Go's way is not ours".)
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for UsageError {}

/// In quotes with escapes, otherwise as [`shortened`].
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

/// Cut when very long. Nothing of what may have a password in front of a host, in whatever place it was given.
pub(crate) fn shortened(text: &str) -> String {
    let text = if text.contains('@') { "[redacted]" } else { text };
    match text.char_indices().nth(QUOTE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

pub(crate) fn did_you_mean(near: Option<&str>) -> String {
    near.filter(|near| !near.is_empty()).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default()
}

pub(crate) fn nearest<'n>(given: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if given.len() > SUGGESTION_BYTES_MAX {
        return None;
    }
    let (distance, name) =
        known.map(|name| (distance(given, name), name)).min_by_key(|(distance, _)| *distance)?;
    // A distance of half the word is no resemblance.
    (distance <= SUGGESTION_DISTANCE_MAX && distance * 2 < name.len()).then_some(name)
}

/// Levenshtein's edit distance over bytes, row by row.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, byte) in one.bytes().enumerate() {
        let mut diagonal = at;
        let mut left = at + 1;
        for (cell, wanted) in row.iter_mut().skip(1).zip(other.bytes()) {
            let replaced = diagonal + usize::from(byte != wanted);
            diagonal = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        row[0] = at + 1;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (one, other, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
            ("timout", "timeout", 1),
        ] {
            assert_eq!(distance(one, other), edits, "{one} {other}");
            assert_eq!(distance(other, one), edits, "{other} {one}");
        }
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let line = |given| UsageError::unknown_flag(Verb::Server, given).to_string();
        assert_eq!(line("--proxy.timout"), "unknown flag: --proxy.timout (did you mean --proxy.timeout?)");
        assert_eq!(line("--bogus"), "unknown flag: --bogus");
        assert_eq!(line("-x"), "unknown flag: -x");
        // What only a file can say is not offered.
        assert_eq!(line("--upstream.tenant"), "unknown flag: --upstream.tenant");
        assert_eq!(
            UsageError::unknown_command("htp", &["start", "http", "tcp"]).to_string(),
            "unknown command: \"htp\" (did you mean http?)"
        );
    }

    #[test]
    fn one_line_whatever_was_given() {
        let long = format!("--{}", "ä\n".repeat(500));
        let line = UsageError::unknown_flag(Verb::Agent, &long).to_string();
        assert!(!line.contains('\n') && line.len() < 300, "{line}");
        let line = UsageError::located("listener: a\r\nb", false).to_string();
        assert_eq!(line, "listener: a\\r\\nb");
    }
}
