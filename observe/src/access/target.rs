//! Authority and path of a request target (RFC 9112 3.2) as Go's access log shows them.

use std::borrow::Cow;

/// Paths that begin so are Piko's own and not logged.
const INTERNAL: &[u8] = b"/_piko";

/// The parts of a target that are logged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'i> {
    /// Of an absolute-form or authority-form target. It goes before the `Host` field (RFC 9112 3.2.2).
    pub(super) authority: Option<&'i [u8]>,
    /// Still percent-encoded, without the query.
    pub(super) path: &'i [u8],
}

/// Splits any form of target. What has no path (authority-form) gets an empty one.
pub(super) fn split(target: &[u8]) -> Target<'_> {
    let end = target.iter().position(|&b| b == b'?').unwrap_or(target.len());
    let target = target.get(..end).unwrap_or_default();
    if target.starts_with(b"/") || target == b"*" {
        return Target { authority: None, path: target };
    }
    let rest = match target.windows(3).position(|three| three == b"://") {
        Some(at) => target.get(at + 3..).unwrap_or_default(),
        None => target,
    };
    let slash = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(slash);
    // User information would be a password in the log.
    let authority = authority.rsplit(|&b| b == b'@').next().unwrap_or_default();
    Target { authority: Some(authority), path }
}

/// Undoes percent-encoding. A `%` without two hex digits stays.
pub(super) fn decode(path: &[u8]) -> Cow<'_, [u8]> {
    if path.contains(&b'%') { Cow::Owned(decoded(path).collect()) } else { Cow::Borrowed(path) }
}

/// True for a path of Piko's own, however it is encoded.
pub(super) fn is_internal(target: &[u8]) -> bool {
    decoded(split(target).path).take(INTERNAL.len()).eq(INTERNAL.iter().copied())
}

fn decoded(path: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = path;
    std::iter::from_fn(move || {
        if let [b'%', high, low, tail @ ..] = rest {
            if let (Some(high), Some(low)) = (hex(*high), hex(*low)) {
                rest = tail;
                return Some(high << 4 | low);
            }
        }
        let (&first, tail) = rest.split_first()?;
        rest = tail;
        Some(first)
    })
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_target_is_split() {
        let cases: [(&str, Option<&str>, &str); 12] = [
            ("/", None, "/"),
            ("/a/b?c=/d?e", None, "/a/b"),
            ("/?", None, "/"),
            ("*", None, "*"),
            ("http://h:1/x?y", Some("h:1"), "/x"),
            ("http://h", Some("h"), ""),
            ("http://h?q=://z/", Some("h"), ""),
            ("http://u:p@h/x@y", Some("h"), "/x@y"),
            ("h:443", Some("h:443"), ""),
            ("/x://y", None, "/x://y"),
            ("", Some(""), ""),
            ("?", Some(""), ""),
        ];
        for (target, authority, path) in cases {
            let want = Target { authority: authority.map(str::as_bytes), path: path.as_bytes() };
            assert_eq!(split(target.as_bytes()), want, "{target}");
        }
    }

    #[test]
    fn paths_are_decoded_where_the_encoding_is_whole() {
        for (path, want) in [
            ("/a%20b", &b"/a b"[..]),
            ("/%C3%a9", b"/\xc3\xa9"),
            ("/%", b"/%"),
            ("/%4", b"/%4"),
            ("/%zz%41", b"/%zzA"),
        ] {
            assert_eq!(decode(path.as_bytes()), want, "{path}");
        }
        assert!(matches!(decode(b"/plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn internal_paths_are_known_in_any_spelling() {
        for target in ["/_piko", "/_piko/v1/tcp/a", "/_pikox", "/%5fpiko/x", "/_pik%6F", "http://h/_piko/v1"]
        {
            assert!(is_internal(target.as_bytes()), "{target}");
        }
        for target in ["/", "/_pik", "/x/_piko", "/_Piko", "/a?b=/_piko", "_piko", ""] {
            assert!(!is_internal(target.as_bytes()), "{target}");
        }
    }
}
