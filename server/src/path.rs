//! Paths of requests that a port answers itself.

/// The path of a request target, in origin or absolute form, without its query.
pub(crate) fn of(target: &[u8]) -> &[u8] {
    let path = if target.starts_with(b"/") {
        target
    } else {
        // RFC 9112 3.2.2: scheme, authority, then the path.
        let after = target.windows(3).position(|w| w == b"://").map_or(0, |at| at + 3);
        let slash = target[after..].iter().position(|&b| b == b'/').map(|at| after + at);
        slash.map_or(&b"/"[..], |at| &target[at..])
    };
    path.iter().position(|&b| b == b'?').map_or(path, |at| &path[..at])
}

/// What stands behind the first `?` of a request target.
pub(crate) fn query(target: &[u8]) -> Option<&[u8]> {
    target.iter().position(|&b| b == b'?').map(|at| &target[at + 1..])
}

/// The first value of a query parameter, decoded as in a form: `+` is a blank, and a broken escape stays as it is.
/// A parameter without `=` is empty.
pub(crate) fn parameter(target: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    query(target)?.split(|&b| b == b'&').find_map(|pair| {
        let mut parts = pair.splitn(2, |&b| b == b'=');
        let key = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        let value: Vec<u8> = value.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
        (decode(key).as_deref() == Some(name)).then(|| decode(&value).unwrap_or(value))
    })
}

/// Percent-decodes one segment; `None` for a broken escape (RFC 3986 2.1).
pub(crate) fn decode(segment: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment.iter();
    while let Some(&b) = rest.next() {
        if b == b'%' {
            let hex = |b: Option<&u8>| b.and_then(|&b| char::from(b).to_digit(16));
            let (high, low) = (hex(rest.next())?, hex(rest.next())?);
            out.push((high * 16 + low) as u8);
        } else {
            out.push(b);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_found_in_every_form_of_target() {
        assert_eq!(of(b"/a/b?x=/c"), b"/a/b");
        assert_eq!(of(b"http://h:1/a?x"), b"/a");
        assert_eq!(of(b"http://h"), b"/");
        assert_eq!(of(b"*"), b"/");
    }

    #[test]
    fn parameters_are_found_and_decoded() {
        assert_eq!(parameter(b"/a?forward=n1", b"forward").as_deref(), Some(&b"n1"[..]));
        assert_eq!(
            parameter(b"/a?x=1&forward=a%2Fb+c&forward=d", b"forward").as_deref(),
            Some(&b"a/b c"[..])
        );
        assert_eq!(parameter(b"/a?forward", b"forward").as_deref(), Some(&b""[..]));
        assert_eq!(parameter(b"/a?forward=%zz", b"forward").as_deref(), Some(&b"%zz"[..]));
        assert_eq!(parameter(b"/a?forwards=1", b"forward"), None);
        assert_eq!(parameter(b"/a", b"forward"), None);
        assert_eq!(query(b"/a?"), Some(&b""[..]));
    }

    #[test]
    fn segments_are_decoded_or_refused() {
        assert_eq!(decode(b"a%20b").as_deref(), Some(&b"a b"[..]));
        assert_eq!(decode(b"%2F").as_deref(), Some(&b"/"[..]));
        assert_eq!(decode(b"%"), None);
        assert_eq!(decode(b"%4"), None);
        assert_eq!(decode(b"%zz"), None);
    }
}
