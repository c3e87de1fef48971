//! What two sides can do beyond Go's protocol: the header `x-piko-caps`.

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
}

impl Caps {
    /// What this release can do.
    pub fn ours() -> Self {
        Self { drain_hint: true, half_close: true }
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
        }
    }

    /// The header value that states this.
    pub fn to_value(&self) -> String {
        let mut value = String::from("v=1");
        for (stated, name) in [(self.drain_hint, "drain-hint"), (self.half_close, "half-close")] {
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

    const NONE: Caps = Caps { drain_hint: false, half_close: false };

    #[test]
    fn what_is_written_is_read() {
        for drain_hint in [false, true] {
            for half_close in [false, true] {
                let caps = Caps { drain_hint, half_close };
                assert_eq!(Caps::parse(caps.to_value().as_bytes()), caps);
            }
        }
        assert_eq!(Caps::ours().to_value(), "v=1; drain-hint; half-close");
    }

    #[test]
    fn unknown_items_are_skipped_and_other_versions_state_nothing() {
        let hint = Caps { drain_hint: true, half_close: false };
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
        let hint = Caps { drain_hint: true, half_close: false };
        assert_eq!(Caps::ours().both(&hint), hint);
        assert_eq!(hint.both(&Caps::ours()), hint);
        assert_eq!(Caps::ours().both(&NONE), NONE);
    }
}
