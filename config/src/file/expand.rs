//! Environment variables in the text of a file (behaviour reference, CLI 3.3).

use std::ops::Range;

use crate::env::Env;

/// A text with variables in the place of their names.
#[derive(Debug)]
pub(super) struct Expanded<'t> {
    pub(super) text: String,
    /// The variables, in their order.
    pub(super) variables: Vec<Variable<'t>>,
}

/// A variable that stood in a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Variable<'t> {
    /// What is there in its place in the expanded text, in bytes.
    pub(super) at: Range<usize>,
    /// Where its name stands in the text as it is in the file, in bytes.
    pub(super) from: usize,
    pub(super) name: &'t str,
}

impl Expanded<'_> {
    /// The text with words in the place of those variables that `has_word` holds for. A word means nothing to YAML.
    pub(super) fn with_words(&self, has_word: impl Fn(usize) -> bool) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut copied = 0;
        for (index, variable) in self.variables.iter().enumerate().filter(|(index, _)| has_word(*index)) {
            out.push_str(&self.text[copied..variable.at.start]);
            out.push_str(&word(index));
            copied = variable.at.end;
        }
        out.push_str(&self.text[copied..]);
        out
    }

    /// What the variable left.
    pub(super) fn value(&self, variable: &Variable<'_>) -> &str {
        &self.text[variable.at.clone()]
    }
}

/// The word for the variable of this index. None is part of another one.
pub(super) fn word(index: usize) -> String {
    format!("v{index}v")
}

/// Puts variables in the place of their names, in the whole text:
///
/// | form | becomes |
/// |---|---|
/// | `$NAME`, `${NAME}` | the value, nothing when unset |
/// | `${NAME:text}` | the value, `text` when unset or empty |
/// | `$$` | a dollar sign |
/// | `$1`, `$*`, `$?` and the like | nothing |
/// | `${}` | nothing |
/// | `${` without its brace | nothing; what follows stays |
/// | `$` before anything else | itself |
///
/// What comes out of a variable is not looked at again. The error is the name of a variable that is no UTF-8 text.
pub(super) fn expand<'t>(text: &'t str, env: Env<'_>) -> Result<Expanded<'t>, String> {
    let mut out = String::with_capacity(text.len());
    let mut variables = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let (reference, width) = name(after);
        let (start, from) = (out.len(), text.len() - after.len());
        match reference {
            Some(reference) => out.push_str(&value(reference, env)?),
            None if width == 0 => out.push('$'),
            None => {}
        }
        if width > 0 {
            let name = reference.map_or("${}", |name| name.split_once(':').map_or(name, |(name, _)| name));
            variables.push(Variable { at: start..out.len(), from, name });
        }
        rest = after.get(width..).unwrap_or_default();
    }
    out.push_str(rest);
    Ok(Expanded { text: out, variables })
}

/// What stands behind a dollar sign: a name, perhaps with its default, and how many bytes to skip.
fn name(after: &str) -> (Option<&str>, usize) {
    if let Some(inner) = after.strip_prefix('{') {
        return match inner.find('}') {
            None => (None, 1),
            Some(0) => (None, 2),
            Some(end) => (Some(&inner[..end]), end + 2),
        };
    }
    // One digit or sign is a name of its own in a shell.
    if after.starts_with(['*', '#', '@', '!', '?', '-']) || after.starts_with(|c: char| c.is_ascii_digit()) {
        return (Some(&after[..1]), 1);
    }
    let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
    (Some(&after[..end]).filter(|name| !name.is_empty()), end)
}

fn value(reference: &str, env: Env<'_>) -> Result<String, String> {
    let (name, default) = reference.split_once(':').unwrap_or((reference, ""));
    // The system knows no variables with these names, and asking for one may panic.
    if name.is_empty() || name.contains(['=', '\0']) {
        return Ok(default.to_owned());
    }
    match env(name).map(std::ffi::OsString::into_string) {
        None => Ok(default.to_owned()),
        Some(Ok(text)) if text.is_empty() => Ok(default.to_owned()),
        Some(Ok(text)) => Ok(text),
        Some(Err(_)) => Err(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expanded(text: &str) -> String {
        let env = |name: &str| match name {
            "V1" => Some("one".into()),
            "V_2" => Some("two $V1".into()),
            "EMPTY" => Some("".into()),
            _ => None,
        };
        expand(text, &env).expect("all values are text").text
    }

    #[test]
    fn variables_are_told_with_their_places() {
        let env = |name: &str| (name == "V1").then(|| "one".into());
        let expanded = expand("a: $V1 ${NO:} $$x\nb: ${V1}${NOT:-}${}", &env).expect("all values are text");
        let told = |variable: &Variable<'_>| {
            (variable.name.to_owned(), variable.from, expanded.value(variable).to_owned())
        };
        let found: Vec<_> = expanded.variables.iter().map(told).collect();
        let expected =
            [("V1", 4, "one"), ("NO", 8, ""), ("V1", 22, "one"), ("NOT", 27, "-"), ("${}", 35, "")];
        assert_eq!(found, expected.map(|(name, from, value)| (name.to_owned(), from, value.to_owned())));
        assert_eq!(expanded.with_words(|_| true), "a: v0v v1v $x\nb: v2vv3vv4v");
        assert_eq!(expanded.with_words(|index| index == 2), "a: one  $x\nb: v2v-");
    }

    #[test]
    fn every_form_of_go() {
        for (text, result) in [
            ("a $V1 b", "a one b"),
            ("$V1$V1", "oneone"),
            ("$V1-x", "one-x"),
            ("${V1}x", "onex"),
            ("$V1x", ""),
            ("${V_2}", "two $V1"),
            ("${V3:5}", "5"),
            ("${V1:5}", "one"),
            ("${EMPTY:5}", "5"),
            ("${EMPTY}", ""),
            ("${A:x:y}", "x:y"),
            ("${A:-dash}", "-dash"),
            ("${A:}", ""),
            ("$1$*$?$#$@$!$-", ""),
            ("$12", "2"),
            ("a${}b", "ab"),
            ("${A b", "A b"),
            ("${", ""),
            ("$", "$"),
            ("$ x", "$ x"),
            ("5$, $.", "5$, $."),
            ("$ä", "$ä"),
            ("# $V1", "# one"),
        ] {
            assert_eq!(expanded(text), result, "{text}");
        }
    }

    #[test]
    fn two_dollars_are_one() {
        for (text, result) in [
            ("$$", "$"),
            ("$$V1", "$V1"),
            ("$$$V1", "$one"),
            ("pa$$word", "pa$word"),
            ("$${V1}", "${V1}"),
            ("$$$$", "$$"),
        ] {
            assert_eq!(expanded(text), result, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[${}:A-C1*?= \\PC]{0,40}") {
            let _ = expanded(&text);
        }

        #[test]
        fn text_without_dollars_stays(text in "[^$]{0,40}") {
            prop_assert_eq!(expanded(&text), text);
        }
    }
}
