//! Lists: one line of CSV (RFC 4180), as Go's flags read it.

/// Splits one line of CSV. Empty text is the empty list; blanks belong to the entries; a quote may stand only around a whole
/// entry, and doubled inside of one. A line break outside of quotes is allowed at the very end only, for values that
/// come out of files.
pub fn parse_list(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_suffix('\n').unwrap_or(text);
    rest = rest.strip_suffix('\r').unwrap_or(rest);
    let mut entries = Vec::new();
    if rest.is_empty() {
        return Some(entries);
    }
    loop {
        let (entry, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_entry(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (plain, after) = rest.split_at(end);
                if plain.contains(['"', '\n', '\r']) {
                    return None;
                }
                (plain.to_owned(), after)
            }
        };
        entries.push(entry);
        if after.is_empty() {
            return Some(entries);
        }
        rest = after.strip_prefix(',')?;
    }
}

/// What stands before the closing quote, and what follows it.
fn quoted_entry(mut text: &str) -> Option<(String, &str)> {
    let mut entry = String::new();
    loop {
        let (before, after) = text.split_once('"')?;
        entry.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                entry.push('"');
                text = more;
            }
            None => return Some((entry, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_csv() {
        for (text, entries) in [
            ("", &[][..]),
            ("a", &["a"]),
            ("a,b", &["a", "b"]),
            ("a, b", &["a", " b"]),
            ("a,", &["a", ""]),
            (",", &["", ""]),
            ("\"\"", &[""]),
            ("\"a,b\",c", &["a,b", "c"]),
            ("\"say \"\"hi\"\"\"", &["say \"hi\""]),
            ("\"a\nb\"", &["a\nb"]),
            ("a,b\n", &["a", "b"]),
            ("a\r\n", &["a"]),
        ] {
            assert_eq!(
                parse_list(text).as_deref(),
                Some(entries.iter().map(|e| String::from(*e)).collect::<Vec<_>>().as_slice()),
                "{text:?}"
            );
        }
    }

    #[test]
    fn refuses_stray_quotes_and_line_breaks() {
        for text in ["\"", "\"a", "a\"", "a\"b", "\"a\"b", "\"a\" ,b", "a\nb", "a\n\n"] {
            assert_eq!(parse_list(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn quoted_entries_read_back(entries in prop::collection::vec("\\PC{0,8}|[a,\"\n\r]{0,6}", 1..5)) {
            let line: Vec<_> = entries.iter().map(|entry| format!("\"{}\"", entry.replace('"', "\"\""))).collect();
            prop_assert_eq!(parse_list(&line.join(",")), Some(entries));
        }

        #[test]
        fn plain_entries_are_what_split_gives(entries in prop::collection::vec("[a-z ]{1,4}", 1..5)) {
            prop_assert_eq!(parse_list(&entries.join(",")), Some(entries));
        }
    }
}
