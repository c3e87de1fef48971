//! What two sides can do beyond Go's protocol: the header `x-piko-caps`.

use crate::preface::HeaderVersion;
use alloc::string::String;

/// How much of a header value is looked at, in bytes: many times what any release states.
const VALUE_BYTES_MAX: usize = 512;

/// What a side stated in `x-piko-caps`, in the upgrade request and in its answer.
///
/// ```text
/// value = item *( ";" item )      blanks around items do not count
/// item  = "v=1"                   the version of this list; without it nothing is stated
///       / "drain-hint"            knows a go-away 0 from the server as a hint to dial elsewhere
///       / "half-close"            keeps one direction of a TCP stream open when the other has ended
///       / "proxy-header=" ("1" / "2")   each stream from the server begins with a PROXY header of that version
///       / name [ "=" value ]      of a later release, skipped
/// ```
///
/// For example `v=1; drain-hint; half-close`. Go peers ignore the header and send none, so they state nothing.
/// What not both sides stated is not used: see [`both`](Self::both).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// A draining server sends go-away 0 first, and the agent takes it as a hint to open its next tunnel
    /// before this one ends.
    pub drain_hint: bool,
    /// Half-close on TCP streams.
    pub half_close: bool,
    /// Each stream that the server opens begins with a PROXY protocol header of this version, which names the client: the
    /// agent asks for it, and passes it to its service as it comes.
    pub proxy_header: Option<HeaderVersion>,
}

impl Caps {
    /// What this release does unasked.
    pub fn ours() -> Self {
        Self { drain_hint: true, half_close: true, proxy_header: None }
    }

    /// What a server of this release answers to an agent that stated `theirs`: whatever it asks for.
    pub fn answer_to(theirs: &Self) -> Self {
        Self { proxy_header: theirs.proxy_header, ..Self::ours() }.both(theirs)
    }

    /// Reads a header value. Lenient: unknown items are skipped, and another version states nothing.
    /// Only the first 512 bytes count; an item that is cut there is unknown.
    pub fn parse(value: &[u8]) -> Self {
        let mut caps = Self::default();
        let mut version = None;
        for item in value[..value.len().min(VALUE_BYTES_MAX)].split(|byte| *byte == b';') {
            match item.trim_ascii() {
                b"drain-hint" => caps.drain_hint = true,
                b"half-close" => caps.half_close = true,
                b"proxy-header=1" => caps.proxy_header = Some(HeaderVersion::V1),
                b"proxy-header=2" => caps.proxy_header = Some(HeaderVersion::V2),
                item => version = version.or(item.strip_prefix(b"v=")),
            }
        }
        if version == Some(b"1") { caps } else { Self::default() }
    }

    /// What both sides stated.
    #[must_use]
    pub fn both(&self, other: &Self) -> Self {
        Self {
            drain_hint: self.drain_hint && other.drain_hint,
            half_close: self.half_close && other.half_close,
            proxy_header: self.proxy_header.filter(|_| self.proxy_header == other.proxy_header),
        }
    }

    /// The header value that states this.
    pub fn to_value(&self) -> String {
        let mut value = String::from("v=1");
        for (stated, name) in [
            (self.drain_hint, "drain-hint"),
            (self.half_close, "half-close"),
            (self.proxy_header == Some(HeaderVersion::V1), "proxy-header=1"),
            (self.proxy_header == Some(HeaderVersion::V2), "proxy-header=2"),
        ] {
            if stated {
                value.push_str("; ");
                value.push_str(name);
            }
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const NONE: Caps = Caps { drain_hint: false, half_close: false, proxy_header: None };

    #[test]
    fn what_is_written_is_read() {
        for drain_hint in [false, true] {
            for half_close in [false, true] {
                for proxy_header in [None, Some(HeaderVersion::V1), Some(HeaderVersion::V2)] {
                    let caps = Caps { drain_hint, half_close, proxy_header };
                    assert_eq!(Caps::parse(caps.to_value().as_bytes()), caps);
                    assert_eq!(Caps::answer_to(&caps), caps);
                }
            }
        }
        assert_eq!(Caps::ours().to_value(), "v=1; drain-hint; half-close");
    }

    #[test]
    fn unknown_items_are_skipped_and_other_versions_state_nothing() {
        let hint = Caps { drain_hint: true, ..NONE };
        assert_eq!(Caps::parse(b"window=262144;drain-hint ;; x;v=1"), hint);
        assert_eq!(Caps::parse(b"v=1; drain-hint; half-close=no; v=2"), hint);
        for nothing in
            [&b""[..], b"drain-hint", b"v=2; drain-hint", b"v=; drain-hint", b"v=1 drain-hint", b"\xff"]
        {
            assert_eq!(Caps::parse(nothing), NONE, "{}", nothing.escape_ascii());
        }
        let mut long = b"v=1; drain-hint;".to_vec();
        long.extend(vec![b';'; VALUE_BYTES_MAX]);
        long.extend(b"half-close");
        assert_eq!(Caps::parse(&long), hint);
    }

    #[test]
    fn only_what_both_stated_is_used() {
        let hint = Caps { drain_hint: true, ..NONE };
        assert_eq!(Caps::ours().both(&hint), hint);
        assert_eq!(hint.both(&Caps::ours()), hint);
        assert_eq!(Caps::ours().both(&NONE), NONE);
        let [one, two] = [HeaderVersion::V1, HeaderVersion::V2];
        let asking = |version| Caps { proxy_header: Some(version), ..Caps::ours() };
        assert_eq!(asking(one).both(&asking(two)), Caps::ours());
        assert_eq!(asking(one).both(&Caps::ours()), Caps::ours());
        assert_eq!(Caps::answer_to(&asking(two)), asking(two));
    }
}
