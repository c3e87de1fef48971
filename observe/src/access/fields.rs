//! Header fields as Go prints them: canonical names, sorted, with an array of values each.

use crate::json;
use piko_core::http1::{Fields, is_name};
use std::cmp::Ordering;

/// Fields whose values are secrets (rough edge R8). The last one is what nodes show each other, which is good for minutes.
const SECRET: [&str; 6] =
    ["authorization", "cookie", "proxy-authorization", "set-cookie", "x-piko-authorization", "x-piko-node"];
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

/// The fields of a message that will be written, gathered in one pass.
pub(super) struct Gathered<'i> {
    inline: [Field<'i>; INLINE_FIELDS],
    /// How many of `inline` are fields.
    len: usize,
    /// All of them, when `inline` is too small.
    heap: Vec<Field<'i>>,
    /// The first value of the field that was asked for, whatever the filter says.
    pub(super) asked: Option<&'i [u8]>,
}

impl<'i> Gathered<'i> {
    /// All `fields` that pass `filter`, without `Host`, which lines show elsewhere. `asked` is looked up on
    /// the way.
    pub(super) fn new(fields: &Fields<'i>, filter: &HeaderFilter, asked: &str) -> Self {
        let mut gathered =
            Self { inline: [(b"", b""); INLINE_FIELDS], len: 0, heap: Vec::new(), asked: None };
        for (name, value) in fields.iter() {
            if gathered.asked.is_none() && is_name(name, asked) {
                gathered.asked = Some(value);
            }
            if !is_name(name, "host") && filter.passes(name) {
                gathered.push((name, value));
            }
        }
        gathered
    }

    /// One more field, if it passes `filter` and was not among the others.
    pub(super) fn add(&mut self, field: Field<'i>, filter: &HeaderFilter) {
        let taken = if self.heap.is_empty() { &self.inline[..self.len] } else { &self.heap[..] };
        let known = taken.iter().any(|(name, _)| name.eq_ignore_ascii_case(field.0));
        if !known && filter.passes(field.0) {
            self.push(field);
        }
    }

    fn push(&mut self, field: Field<'i>) {
        match self.inline.get_mut(self.len) {
            Some(slot) => {
                *slot = field;
                self.len += 1;
            }
            None => {
                if self.heap.is_empty() {
                    self.heap.extend_from_slice(&self.inline);
                }
                self.heap.push(field);
            }
        }
    }

    /// Appends them as an object.
    pub(super) fn write(mut self, out: &mut Vec<u8>) {
        if self.heap.is_empty() {
            sorted(out, self.inline.get_mut(..self.len).unwrap_or_default());
        } else {
            sorted(out, &mut self.heap);
        }
    }
}

/// Sorts in place (Shell's method, gaps of Knuth, volume 3, 5.2.1): heads have few fields, for which it is as quick as any,
/// and the standard library's sort would be 2 KB of the small agent, which sorts nothing else.
fn sort<T>(items: &mut [T], is_before: impl Fn(&T, &T) -> bool) {
    let mut gap = 1;
    while gap < items.len() / 3 {
        gap = 3 * gap + 1;
    }
    while gap > 0 {
        for end in gap..items.len() {
            let mut at = end;
            while at >= gap && is_before(&items[at], &items[at - gap]) {
                items.swap(at, at - gap);
                at -= gap;
            }
        }
        gap /= 3;
    }
}

/// Sorts by name and writes each name once. Values of one field stay in order: fields are slices of one block, so that
/// their addresses tell the order in which they came, and the sort need not be a stable one.
fn sorted(out: &mut Vec<u8>, fields: &mut [Field<'_>]) {
    sort(fields, |(a, _), (b, _)| by_name(a, b).then_with(|| a.as_ptr().cmp(&b.as_ptr())).is_lt());
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
        out.push(b'"');
        without_logins(out, if secret { REDACTED } else { value });
        out.push(b'"');
    }
    if last.is_some() {
        out.push(b']');
    }
    out.push(b'}');
}

/// Appends a value without the user info of the URLs in it (RFC 3986 3.2.1), as `Referer` and `Location` may have it.
fn without_logins(out: &mut Vec<u8>, mut value: &[u8]) {
    const AUTHORITY: &[u8] = b"//";
    // Hardly any value goes further than this one look.
    while value.contains(&b'@') {
        let Some(at) = value.windows(AUTHORITY.len()).position(|part| part == AUTHORITY) else { break };
        let (before, behind) = value.split_at(at + AUTHORITY.len());
        json::escaped(out, before);
        let is_end = |byte: &u8| matches!(byte, b'/' | b'?' | b'#' | ..=b' ');
        let end = behind.iter().position(is_end).unwrap_or(behind.len());
        value = behind;
        // The last one: a password that should have been escaped has others in it.
        if let Some(at) = behind[..end].iter().rposition(|&byte| byte == b'@') {
            json::escaped(out, REDACTED);
            value = &behind[at..];
        }
    }
    json::escaped(out, value);
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
        Gathered::new(&Fields::from_block(block.as_bytes()), filter, "").write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    fn filter(allow: &[&str], block: &[&str]) -> HeaderFilter {
        let owned = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
        HeaderFilter { allow: owned(allow), block: owned(block) }
    }

    #[test]
    fn the_sort_sorts() {
        for len in [0, 1, 2, 3, 5, 40, 1000] {
            // Neither sorted nor random: every remainder, some of them twice.
            let mut items: Vec<usize> = (0..len).map(|n| n * 389 % 701).collect();
            let mut want = items.clone();
            want.sort_unstable();
            sort(&mut items, |a, b| a < b);
            assert_eq!(items, want);
        }
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
    fn the_field_that_is_asked_for_is_found_behind_any_filter() {
        let fields = Fields::from_block(b"a: 1\r\nHost: h\r\nB: 2\r\nb: 3\r\n");
        let asked = |name| Gathered::new(&fields, &filter(&["none"], &[]), name).asked;
        assert_eq!(asked("b"), Some(&b"2"[..]));
        assert_eq!(asked("host"), Some(&b"h"[..]));
        assert_eq!(asked("c"), None);
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
    fn urls_are_without_their_logins() {
        for (value, want) in [
            ("http://u:s3cret@h/x", "http://[redacted]@h/x"),
            ("//u@h", "//[redacted]@h"),
            ("https://u:s3@cret@h:1/a@b?c=d@e", "https://[redacted]@h:1/a@b?c=d@e"),
            (
                "<http://u:s3cret@a/>, <http://u:s3cret@b>; rel=next",
                "<http://[redacted]@a/>, <http://[redacted]@b>; rel=next",
            ),
            ("https://h/cache/http://u:s3cret@h/", "https://h/cache/http://[redacted]@h/"),
            ("http://@h", "http://[redacted]@h"),
            // No user info.
            ("https://h/@me?to=a@b", "https://h/@me?to=a@b"),
            ("http://h?a@b", "http://h?a@b"),
            ("me@h", "me@h"),
            ("//", "//"),
            ("@//", "@//"),
        ] {
            let got = text(&format!("location: {value}\r\n"), &HeaderFilter::default());
            assert_eq!(got, format!(r#"{{"Location":["{want}"]}}"#));
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
        let block = Fields::from_block(b"a\"\n: x\xff\x01\r\nk: \xff\tv\r\n");
        Gathered::new(&block, &HeaderFilter::default(), "").write(&mut out);
        let got = String::from_utf8(out).expect("UTF-8");
        assert!(!got.chars().any(char::is_control), "{got}");
        assert!(got.contains("\u{fffd}\\tv"), "{got}");
    }
}
