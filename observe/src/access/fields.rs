//! Header fields as Go prints them: canonical names, sorted, with an array of values each.

use crate::json;
use piko_core::http1::{Fields, is_name};
use std::cmp::Ordering;

/// Fields whose values are secrets (rough edge R8).
const SECRET: [&str; 5] =
    ["authorization", "cookie", "proxy-authorization", "set-cookie", "x-piko-authorization"];
const REDACTED: &[u8] = b"[redacted]";
/// Fields of usual messages: sorted in place. More of them take memory from the heap.
const INLINE_FIELDS: usize = 32;

/// Which headers are written. Names are matched whatever their case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderFilter {
    /// When not empty, only these; [`HeaderFilter::block`] counts for nothing then.
    pub allow: Vec<String>,
    /// All but these.
    pub block: Vec<String>,
}

impl HeaderFilter {
    fn passes(&self, name: &[u8]) -> bool {
        let listed = |list: &[String]| list.iter().any(|wanted| is_name(name, wanted));
        if self.allow.is_empty() { !listed(&self.block) } else { listed(&self.allow) }
    }
}

type Field<'i> = (&'i [u8], &'i [u8]);

/// Appends the object of all `fields` that pass `filter`, without the field `left_out`.
pub(super) fn write(out: &mut Vec<u8>, fields: &Fields<'_>, filter: &HeaderFilter, left_out: Option<&str>) {
    let mut passed = fields
        .iter()
        .filter(|(name, _)| !left_out.is_some_and(|left_out| is_name(name, left_out)) && filter.passes(name));
    let mut inline: [Field<'_>; INLINE_FIELDS] = [(b"", b""); INLINE_FIELDS];
    let mut len = 0;
    for (slot, field) in inline.iter_mut().zip(&mut passed) {
        *slot = field;
        len += 1;
    }
    match passed.next() {
        None => sorted(out, &mut inline[..len]),
        Some(next) => {
            // `zip` asks the slots first, so that it has lost no field when they ran out.
            let mut all = inline.to_vec();
            all.push(next);
            all.extend(passed);
            sorted(out, &mut all);
        }
    }
}

/// Sorts by name and writes each name once. The sort is stable: values of one field stay in order.
fn sorted(out: &mut Vec<u8>, fields: &mut [Field<'_>]) {
    fields.sort_by(|(a, _), (b, _)| by_name(a, b));
    out.push(b'{');
    let mut last: Option<&[u8]> = None;
    for (name, value) in fields.iter() {
        if last.is_some_and(|last| last.eq_ignore_ascii_case(name)) {
            out.push(b',');
        } else {
            if last.is_some() {
                out.extend_from_slice(b"],");
            }
            out.push(b'"');
            canonical(out, name);
            out.extend_from_slice(b"\":[");
        }
        last = Some(name);
        let secret = SECRET.iter().any(|secret| is_name(name, secret));
        json::string(out, if secret { REDACTED } else { value });
    }
    if last.is_some() {
        out.push(b']');
    }
    out.push(b'}');
}

fn by_name(a: &[u8], b: &[u8]) -> Ordering {
    a.iter().map(u8::to_ascii_lowercase).cmp(b.iter().map(u8::to_ascii_lowercase))
}

/// Appends a name as Go canonicalises it: the first letter and each one behind a dash upper case, the others
/// lower case.
fn canonical(out: &mut Vec<u8>, name: &[u8]) {
    let start = out.len();
    // Names are tokens, which hold nothing that JSON escapes, but nothing here depends on it.
    json::escaped(out, name);
    let mut upper = true;
    for b in out.iter_mut().skip(start) {
        if upper {
            b.make_ascii_uppercase();
        } else {
            b.make_ascii_lowercase();
        }
        upper = *b == b'-';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(block: &str, filter: &HeaderFilter) -> String {
        let mut out = Vec::new();
        write(&mut out, &Fields::from_block(block.as_bytes()), filter, Some("host"));
        String::from_utf8(out).expect("UTF-8")
    }

    fn filter(allow: &[&str], block: &[&str]) -> HeaderFilter {
        let owned = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
        HeaderFilter { allow: owned(allow), block: owned(block) }
    }

    #[test]
    fn names_are_canonical_sorted_and_joined() {
        let block =
            "x-piko-endpoint: ep\r\nHOST: h\r\naccept: a\r\nX-B: 1\r\nAccept: b\r\nx-b:\r\netag: \"q\"\r\n";
        let want = r#"{"Accept":["a","b"],"Etag":["\"q\""],"X-B":["1",""],"X-Piko-Endpoint":["ep"]}"#;
        assert_eq!(text(block, &HeaderFilter::default()), want);
        assert_eq!(text("", &HeaderFilter::default()), "{}");
    }

    #[test]
    fn secrets_never_get_through() {
        let block = "authorization: Bearer s3cret\r\nCOOKIE: s3cret\r\nSet-Cookie: s3cret\r\nset-cookie: s3cret\r\n\
                     proxy-authorization: s3cret\r\nX-Piko-Authorization: s3cret\r\n";
        for filter in [filter(&[], &[]), filter(&SECRET, &[])] {
            let got = text(block, &filter);
            assert!(!got.contains("s3cret"), "{got}");
            assert_eq!(got.matches("[redacted]").count(), 6, "{got}");
            assert!(got.contains(r#""Set-Cookie":["[redacted]","[redacted]"]"#), "{got}");
        }
    }

    #[test]
    fn filters_ignore_case() {
        let block = "A: 1\r\nb: 2\r\nC: 3\r\n";
        assert_eq!(text(block, &filter(&["B", "c", "z"], &[])), r#"{"B":["2"],"C":["3"]}"#);
        assert_eq!(text(block, &filter(&[], &["a", "C"])), r#"{"B":["2"]}"#);
        assert_eq!(text(block, &filter(&["a"], &["a"])), r#"{"A":["1"]}"#);
        assert_eq!(text(block, &filter(&["none"], &[])), "{}");
    }

    #[test]
    fn any_number_of_fields_is_written_whole() {
        for count in [0, 1, INLINE_FIELDS - 1, INLINE_FIELDS, INLINE_FIELDS + 1, INLINE_FIELDS + 2, 1000] {
            let block: String = (0..count).map(|n| format!("f-{n:04}: {n}\r\n")).collect();
            let want: Vec<_> = (0..count).map(|n| format!("\"F-{n:04}\":[\"{n}\"]")).collect();
            assert_eq!(text(&block, &HeaderFilter::default()), format!("{{{}}}", want.join(",")), "{count}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_escaped() {
        let mut out = Vec::new();
        write(
            &mut out,
            &Fields::from_block(b"a\"\n: x\xff\x01\r\nk: \xff\tv\r\n"),
            &HeaderFilter::default(),
            None,
        );
        let got = String::from_utf8(out).expect("UTF-8");
        assert!(!got.chars().any(char::is_control), "{got}");
        assert!(got.contains("\u{fffd}\\tv"), "{got}");
    }
}
