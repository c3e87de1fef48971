//! Names of things: newtypes, so that no number or string is taken for another.

use alloc::sync::Arc;
use core::cmp::Ordering;
use core::fmt::{self, Write};
use core::hash::{Hash, Hasher};

/// The longest endpoint id, in bytes: one that gossip can still carry in a datagram (wire protocol 9.1 G3, 10).
pub const ENDPOINT_ID_BYTES_MAX: usize = 1024;

/// A stream of one mux session. Odd from the yamux client, even from the yamux server, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// One tunnel of this process: given once, never again, so a late answer cannot hit a new owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId(pub u64);

/// The name of a server node: an opaque string, unique per process start.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Takes any text as it is.
    pub fn new(id: &str) -> Self {
        Self(Arc::from(id))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longer ids than this go to the heap; most are shorter, and each request has one.
const INLINE_BYTES: usize = 22;

/// The name that upstreams listen on: 1 to 1,024 bytes without `/`, case-sensitive, otherwise opaque. Cheap to clone.
#[derive(Clone)]
pub struct EndpointId(Kept);

#[derive(Clone)]
enum Kept {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Long(Arc<[u8]>),
}

impl EndpointId {
    /// Checks the length and the absence of `/`.
    pub fn new(id: &[u8]) -> Result<Self, BadEndpointId> {
        if id.is_empty() {
            Err(BadEndpointId::Empty)
        } else if id.len() > ENDPOINT_ID_BYTES_MAX {
            Err(BadEndpointId::TooLong)
        } else if id.contains(&b'/') {
            Err(BadEndpointId::Slash)
        } else {
            let mut bytes = [0; INLINE_BYTES];
            Ok(Self(match (bytes.get_mut(..id.len()), u8::try_from(id.len())) {
                (Some(room), Ok(len)) => {
                    room.copy_from_slice(id);
                    Kept::Inline { len, bytes }
                }
                _ => Kept::Long(Arc::from(id)),
            }))
        }
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Kept::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Kept::Long(id) => id,
        }
    }
}

impl PartialEq for EndpointId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for EndpointId {}

impl PartialOrd for EndpointId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EndpointId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

/// As the bytes, which it may be looked up by.
impl Hash for EndpointId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl core::borrow::Borrow<[u8]> for EndpointId {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Text as it is, so that it reads the same in a log as on a command line; control characters and bytes that are
/// no UTF-8 are escaped.
impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

/// Why bytes are no endpoint id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadEndpointId {
    /// No byte at all.
    #[error("endpoint id is empty")]
    Empty,
    /// A `/` would change the meaning of a path.
    #[error("endpoint id contains a slash")]
    Slash,
    /// More than [`ENDPOINT_ID_BYTES_MAX`].
    #[error("endpoint id is longer than 1024 bytes")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn endpoint_ids_are_judged_by_length_and_slash() {
        assert_eq!(EndpointId::new(b""), Err(BadEndpointId::Empty));
        assert_eq!(EndpointId::new(b"a/b"), Err(BadEndpointId::Slash));
        assert_eq!(EndpointId::new(&vec![b'a'; 1025]), Err(BadEndpointId::TooLong));
        assert_eq!(EndpointId::new(&vec![b'a'; 1024]).unwrap().as_bytes().len(), 1024);
        assert_eq!(EndpointId::new("é \"b\\".as_bytes()).unwrap().to_string(), "é \"b\\");
        assert_eq!(EndpointId::new(b"a\n\x1b\xff").unwrap().to_string(), "a\\n\\u{1b}\\xff");
    }

    #[test]
    fn short_and_long_ids_are_their_bytes() {
        for len in 1..40 {
            let bytes = vec![b'a'; len];
            let id = EndpointId::new(&bytes).unwrap();
            assert_eq!(id.as_bytes(), bytes);
            assert_eq!(id.clone(), id);
            let longer = EndpointId::new(&vec![b'a'; len + 1]).unwrap();
            assert!(id < longer && id != longer, "{len}");
        }
    }

    use alloc::string::ToString;
}
