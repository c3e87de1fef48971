//! What the peer's bytes mean, read by a model that is small enough to be obviously right.

use std::collections::BTreeMap;

pub(crate) const HEADER_BYTES: usize = 12;
pub(crate) const INITIAL_WINDOW_BYTES: u64 = 256 * 1024;
pub(crate) const SYN: u8 = 1;
pub(crate) const ACK: u8 = 2;
pub(crate) const FIN: u8 = 4;
pub(crate) const RST: u8 = 8;

/// What the peer sent on one id, over all streams that had it.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Bodies after the stream began, up to its end.
    pub(crate) payload: Vec<u8>,
    /// SYN frames, and one for a stream that this side had opened first.
    pub(crate) begins: u32,
    pub(crate) credit: u64,
    pub(crate) fin: bool,
    over: bool,
}

/// What the peer sent, by id. Frames behind the first malformed one are not there.
#[derive(Debug, Default)]
pub(crate) struct Model(BTreeMap<u32, Sent>);

impl Model {
    /// Reads all of `wire`; the streams `opened` exist before it.
    pub(crate) fn read(mut wire: &[u8], opened: &[u32]) -> Self {
        let mut model = Self::default();
        for &id in opened {
            model.0.entry(id).or_default().begins = 1;
        }
        while let Some((header, rest)) = wire.split_first_chunk::<HEADER_BYTES>() {
            let &[version, kind, _, flags, i0, i1, i2, i3, l0, l1, l2, l3] = header;
            if version != 0 || kind > 3 {
                break;
            }
            let length = u32::from_be_bytes([l0, l1, l2, l3]);
            let body = if kind == 0 { length as usize } else { 0 };
            let (body, rest) = rest.split_at(body.min(rest.len()));
            wire = rest;
            if kind > 1 {
                continue;
            }
            let sent = model.0.entry(u32::from_be_bytes([i0, i1, i2, i3])).or_default();
            sent.begins += u32::from(flags & SYN != 0);
            sent.over |= sent.begins > 0 && flags & RST != 0;
            if kind == 1 {
                sent.credit += u64::from(length);
            }
            if sent.begins > 0 && !sent.over {
                sent.payload.extend_from_slice(body);
                sent.fin |= flags & FIN != 0;
                sent.over |= sent.fin;
            }
        }
        model
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Sent> {
        self.0.get(&id)
    }
}
