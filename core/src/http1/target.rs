//! Request targets and host values: characters and forms (RFC 9112 3.2, RFC 3986).

use super::chars::{is_reg_name_byte, is_sub_delim, is_unreserved};
use super::error::Fault;
use core::net::Ipv6Addr;

/// Judges a request target by the method that it came with (RFC 9112 3.2.1 to 3.2.4).
pub(super) fn judge_target(method: &[u8], target: &[u8]) -> Result<(), Fault> {
    if method == b"CONNECT" {
        let is_authority = split_port(target)
            .is_some_and(|(host, port)| !host.is_empty() && !port.is_empty() && is_host(target));
        return if is_authority {
            Ok(())
        } else {
            Err(Fault::new(400, "CONNECT without host:port as target (RFC 9112 3.2.3)"))
        };
    }
    match target {
        [b'/', ..] => judge_path(target),
        b"*" if method == b"OPTIONS" => Ok(()),
        b"*" => Err(Fault::new(400, "the target * belongs to OPTIONS (RFC 9112 3.2.4)")),
        _ => judge_absolute(target),
    }
}

/// `scheme "://" host [":" port] path`. Userinfo is refused (RFC 9110 4.2.4).
fn judge_absolute(target: &[u8]) -> Result<(), Fault> {
    const FORM: Fault = Fault::new(400, "the target has none of the four forms (RFC 9112 3.2)");
    let colon = target.iter().position(|&b| b == b':').ok_or(FORM)?;
    let (scheme, rest) = target.split_at(colon);
    let Some((b"://", rest)) = rest.split_first_chunk::<3>().map(|(mark, rest)| (mark.as_slice(), rest))
    else {
        return Err(FORM);
    };
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !is_scheme
        || !is_host(authority)
        || split_port(authority).map_or(authority, |(host, _)| host).is_empty()
    {
        return Err(FORM);
    }
    judge_path(path)
}

/// Path and query pass unchanged when legal. In the path, escapes must be complete and what no browser sends
/// raw is refused; the query is anything printable. Bytes beyond ASCII pass in both.
fn judge_path(path: &[u8]) -> Result<(), Fault> {
    if path.iter().all(|&b| b == b'/' || is_reg_name_byte(b)) {
        return Ok(());
    }
    let mut rest = path;
    let mut in_query = false;
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        match b {
            b'%' if !in_query => match tail {
                [a, b, tail @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest = tail,
                _ => return Err(Fault::new(400, "a broken percent escape in the path (RFC 3986 2.1)")),
            },
            b'?' => in_query = true,
            b'#' => return Err(Fault::new(400, "a fragment in the target (RFC 9112 3.2)")),
            ..=b' ' | 0x7f => {
                return Err(Fault::new(400, "whitespace or a control character in the target (RFC 9112 3)"));
            }
            b'"' | b'<' | b'>' | b'\\' if !in_query => {
                return Err(Fault::new(400, "a character that no path has (RFC 3986 3.3)"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// `uri-host [ ":" port ]` (RFC 9110 7.2, RFC 3986 3.2.2). The empty value is legal: it says that the target
/// has no authority.
pub(super) fn is_host(value: &[u8]) -> bool {
    // A name, mostly with a port, which no closing bracket can hide in.
    let name_len = value.iter().position(|&b| !is_reg_name_byte(b)).unwrap_or(value.len());
    match value.get(name_len..) {
        Some([]) => return true,
        Some([b':', port @ ..]) => return port.iter().all(u8::is_ascii_digit),
        _ => {}
    }
    let (host, port) = split_port(value).unwrap_or((value, b""));
    if !port.iter().all(u8::is_ascii_digit) {
        return false;
    }
    match host {
        [b'[', literal @ .., b']'] => is_ip_literal(literal),
        _ => is_reg_name(host),
    }
}

/// Splits at the colon that is not inside a literal's brackets. `None`: there is no port.
fn split_port(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let from = value.iter().position(|&b| b == b']').unwrap_or(0);
    let colon = from + value.get(from..)?.iter().position(|&b| b == b':')?;
    Some((value.get(..colon)?, value.get(colon + 1..)?))
}

/// IPv6address, with a zone (RFC 6874), or IPvFuture.
fn is_ip_literal(literal: &[u8]) -> bool {
    if let [b'v' | b'V', future @ ..] = literal {
        let Some(dot) = future.iter().position(|&b| b == b'.') else { return false };
        let (version, address) = future.split_at(dot);
        let address = address.get(1..).unwrap_or_default();
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !address.is_empty()
            && address.iter().all(|&b| is_unreserved(b) || is_sub_delim(b) || b == b':');
    }
    let (address, zone) = match literal.iter().position(|&b| b == b'%') {
        Some(at) => (literal.get(..at).unwrap_or_default(), literal.get(at..)),
        None => (literal, None),
    };
    zone.is_none_or(|zone| zone.len() > 3 && zone.starts_with(b"%25") && is_reg_name(zone))
        && core::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_reg_name(host: &[u8]) -> bool {
    if host.iter().all(|&b| is_reg_name_byte(b)) {
        return true;
    }
    let mut rest = host;
    while let Some((&b, tail)) = rest.split_first() {
        rest = match (b, tail) {
            (b'%', [a, b, tail @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => tail,
            _ if is_reg_name_byte(b) => tail,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_a_uri_host_and_digits() {
        let good: [&str; 17] = [
            "",
            "ep",
            "ep.example.com",
            "ep.example.com:8000",
            "ep:",
            ":80",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8000",
            "[fe80::1%25eth0]:1",
            "[v1.a:b]",
            "[::ffff:1.2.3.4]",
            "a_b~c",
            "a%2Fb",
            "1.2.3",
            "999.1.1.1",
            ".ep",
        ];
        for host in good {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        let bad: [&str; 17] = [
            "ep.x:abc",
            "ep.x:1:2",
            "::1",
            "[ep.x]:80",
            "[::1",
            "::1]",
            "[::1]x",
            "[::1]x:1",
            "a b",
            "u@h",
            "é.x",
            "a/b",
            "a%2",
            "[]",
            "[fe80::1%eth0]",
            "[v.a]",
            "a\"b",
        ];
        for host in bad {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn targets_have_four_forms() {
        let good: [(&str, &str); 15] = [
            ("GET", "/"),
            ("GET", "//a/./../%2F%2f*+;?"),
            ("GET", "/?%zz&{\"a\":<1>}|\\"),
            ("GET", "/é"),
            ("GET", "/[a]|{b}^`"),
            ("GET", "http://h"),
            ("GET", "http://h/p?q"),
            ("GET", "http://h:80?q"),
            ("GET", "coap+tcp://[::1]:1/"),
            ("OPTIONS", "*"),
            ("OPTIONS", "/"),
            ("OPTIONS", "http://h"),
            ("CONNECT", "h:443"),
            ("CONNECT", "[::1]:443"),
            ("get", "/"),
        ];
        for (method, target) in good {
            assert_eq!(judge_target(method.as_bytes(), target.as_bytes()), Ok(()), "{method} {target}");
        }
        let bad: [(&str, &str); 27] = [
            ("GET", ""),
            ("GET", "*"),
            ("GET", "h"),
            ("GET", "h:80"),
            ("GET", "?q"),
            ("GET", "/a#b"),
            ("GET", "/?a#b"),
            ("GET", "/%"),
            ("GET", "/%2"),
            ("GET", "/%zz"),
            ("GET", "/a\u{1}"),
            ("GET", "/?\u{7f}"),
            ("GET", "/a\tb"),
            ("GET", "/<a"),
            ("GET", "/\""),
            ("GET", "/\\"),
            ("GET", "http://"),
            ("GET", "http:///p"),
            ("GET", "http://u@h/"),
            ("GET", "http://h#f"),
            ("GET", "http:/h"),
            ("GET", "1http://h"),
            ("GET", "://h"),
            ("CONNECT", "h"),
            ("CONNECT", "/"),
            ("CONNECT", "h:"),
            ("CONNECT", ":80"),
        ];
        for (method, target) in bad {
            let verdict = judge_target(method.as_bytes(), target.as_bytes());
            assert_eq!(verdict.map_err(|fault| fault.status), Err(400), "{method} {target}");
        }
    }
}
