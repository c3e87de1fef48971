//! The request target (RFC 9112 3.2): its forms, and what of it goes on.

use super::config::Config;
use bytes::BytesMut;

/// A target taken apart. Slices of the request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'i> {
    /// `http://host/path?query`, to a proxy. The rest is path and query, of which the path may be empty.
    Absolute { authority: &'i [u8], rest: &'i [u8] },
    /// `*`, for OPTIONS.
    Asterisk,
    /// `host:port`, for CONNECT.
    Authority(&'i [u8]),
    /// `/path?query`.
    Origin(&'i [u8]),
    /// None of these.
    Unknown,
}

impl<'i> Target<'i> {
    pub(super) fn parse(method: &[u8], target: &'i [u8]) -> Self {
        if target.starts_with(b"/") {
            return Self::Origin(target);
        }
        if method == b"CONNECT" {
            return if target.is_empty() { Self::Unknown } else { Self::Authority(target) };
        }
        if target == b"*" {
            return Self::Asterisk;
        }
        let Some(colon) = target.iter().position(|&b| b == b':') else { return Self::Unknown };
        let (scheme, rest) = target.split_at(colon);
        let Some(rest) = rest.strip_prefix(b"://").filter(|_| is_scheme(scheme)) else {
            return Self::Unknown;
        };
        let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if authority.is_empty() {
            return Self::Unknown; // RFC 9110 4.2.1: an http URI has a host.
        }
        Self::Absolute { authority, rest }
    }

    /// The authority that takes the place of the Host field (RFC 9112 3.2.2; Go does so for CONNECT too).
    pub(super) fn authority(&self) -> Option<&'i [u8]> {
        match *self {
            Self::Absolute { authority, .. } | Self::Authority(authority) => Some(authority),
            _ => None,
        }
    }

    /// Appends the target for the next hop to `out`. False, and nothing is written, when it goes on exactly
    /// as received.
    pub(super) fn write(&self, method: &[u8], config: &Config, out: &mut BytesMut) -> bool {
        let base_path = config.base_path.as_deref().unwrap_or_default();
        let base_query = config.base_query.as_deref().unwrap_or_default();
        let rest = match *self {
            Self::Absolute { rest: b"", .. } if method == b"OPTIONS" => {
                // RFC 9112 3.2.4: the last proxy turns an empty path into the asterisk.
                out.extend_from_slice(b"*");
                return true;
            }
            Self::Absolute { rest, .. } => rest,
            Self::Origin(rest) if has_base(base_path) || !base_query.is_empty() => rest,
            _ => return false,
        };
        let (path, query) = split_query(rest);
        join_paths(base_path, path, out);
        if !base_query.is_empty() {
            out.extend_from_slice(b"?");
            out.extend_from_slice(base_query);
        }
        if let Some(query) = query {
            if base_query.is_empty() {
                out.extend_from_slice(b"?");
            } else if !query.is_empty() {
                out.extend_from_slice(b"&");
            }
            out.extend_from_slice(query);
        }
        true
    }
}

/// Path and query; the query is there, if empty, behind a trailing `?`.
pub(super) fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match target.iter().position(|&b| b == b'?') {
        Some(at) => (target.get(..at).unwrap_or_default(), target.get(at + 1..)),
        None => (target, None),
    }
}

fn is_scheme(scheme: &[u8]) -> bool {
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn has_base(path: &[u8]) -> bool {
    !matches!(path, b"" | b"/")
}

/// `base` and `path` with exactly one slash between them and one in front.
fn join_paths(base: &[u8], path: &[u8], out: &mut BytesMut) {
    if has_base(base) {
        if !base.starts_with(b"/") {
            out.extend_from_slice(b"/");
        }
        out.extend_from_slice(base.strip_suffix(b"/").unwrap_or(base));
    }
    out.extend_from_slice(b"/");
    out.extend_from_slice(path.strip_prefix(b"/").unwrap_or(path));
}
