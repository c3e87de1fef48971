//! What both HTTP targets share: messages as a reader saw them, and writing them again.

use bytes::BytesMut;
use piko_core::http1::{BodyLength, Config, Fault, Fields, Part, is_name, write_field};

/// Names with their values, in order.
pub(crate) type Block = Vec<(Vec<u8>, Vec<u8>)>;

/// A message as its reader saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message<H> {
    pub(crate) head: H,
    pub(crate) fields: Block,
    pub(crate) body: BodyLength,
    pub(crate) payload: Vec<u8>,
    pub(crate) trailers: Block,
    pub(crate) end: End,
}

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It did not.
    Cut,
    /// In order.
    Complete,
    /// In another protocol.
    Switched,
}

/// A connection's messages, and the fault that ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen<H> {
    pub(crate) messages: Vec<Message<H>>,
    pub(crate) interim: Vec<u16>,
    pub(crate) fault: Option<Fault>,
    /// What was not done with.
    pub(crate) rest: Vec<u8>,
}

impl<H> Seen<H> {
    pub(crate) fn new() -> Self {
        Self { messages: Vec::new(), interim: Vec::new(), fault: None, rest: Vec::new() }
    }

    /// Takes what belongs behind a head; the machine may hand it out only there.
    pub(crate) fn take<X>(&mut self, part: Part<X, Fields<'_>>, input: &[u8]) {
        let message = self.messages.last_mut().expect("a head comes first");
        assert_eq!(message.end, End::Cut, "a part behind the end");
        match part {
            Part::Data(range) => {
                assert!(!range.is_empty() && message.trailers.is_empty());
                message.payload.extend_from_slice(&input[range]);
            }
            Part::End => {
                message.end = End::Complete;
                if let BodyLength::Known(n) = message.body {
                    assert_eq!(message.payload.len() as u64, n, "a body of another length is complete");
                }
            }
            Part::Switched => message.end = End::Switched,
            Part::Trailers(fields) => {
                assert!(message.trailers.is_empty() && message.body == BodyLength::Chunked);
                message.trailers = own(&fields);
            }
            Part::Head(_) | Part::Interim(_) => unreachable!("the caller takes heads"),
        }
    }
}

pub(crate) fn own(fields: &Fields<'_>) -> Block {
    fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// The lines of a block again, as the proxy writes them.
pub(crate) fn lines(fields: &Block) -> BytesMut {
    let mut block = BytesMut::new();
    for (name, value) in fields {
        write_field(&mut block, name, value).expect("a growing buffer has room");
    }
    block
}

/// Without the fields that belong to one connection: those are the machine's.
pub(crate) fn forwarded(fields: &Block, trailers: bool) -> Block {
    let ours =
        ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "content-length", "upgrade"];
    fields
        .iter()
        .filter(|(name, _)| !ours.iter().any(|ours| is_name(name, ours)))
        .filter(|(name, _)| !trailers || !is_name(name, "host"))
        .cloned()
        .collect()
}

/// Default limits, or ones that a short input can exceed.
pub(crate) fn config(tiny: bool) -> Config {
    let mut config = Config::default();
    if tiny {
        config.head_bytes_max = 120;
        config.fields_max = 5;
    }
    config
}
