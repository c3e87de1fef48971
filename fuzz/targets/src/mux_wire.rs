//! What the session may send, whatever it is sent: whole frames of the protocol, within the peer's credit.

use crate::mux_model::{ACK, FIN, HEADER_BYTES, INITIAL_WINDOW_BYTES, Model, RST, SYN};
use crate::mux_plan::Plan;
use bytes::BytesMut;
use piko_core::mux::Session;
use piko_core::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// The outbox in all (`mux::Session::poll_transmit`).
const OUTBOX_BYTES_MAX: usize = 280 * 1024;
/// Transmissions without the application writing anything: owed frames of all streams, and then silence.
const TRANSMISSIONS_MAX: usize = 10_000;

/// Reads the session's output, frame by frame.
pub(crate) struct WireCheck<'m> {
    model: &'m Model,
    front_room: usize,
    parity: u32,
    /// Bytes sent per id.
    data: BTreeMap<u32, u64>,
    opened: BTreeSet<u32>,
    ended: BTreeSet<u32>,
}

impl<'m> WireCheck<'m> {
    pub(crate) fn new(plan: &Plan<'_>, model: &'m Model) -> Self {
        Self {
            model,
            front_room: plan.front_room(),
            parity: plan.first_id() % 2,
            data: BTreeMap::new(),
            opened: BTreeSet::new(),
            ended: BTreeSet::new(),
        }
    }

    /// Takes everything that the session has, until it says that nothing is left.
    pub(crate) fn drain(&mut self, session: &mut Session, now: Instant) -> Vec<u8> {
        let mut all = Vec::new();
        for _ in 0..TRANSMISSIONS_MAX {
            let mut out = BytesMut::new();
            let n = session.poll_transmit(now, &mut out);
            if n == 0 {
                assert!(out.is_empty(), "nothing is announced and {} bytes came", out.len());
                assert!(!session.wants_transmit(), "output is wanted and none comes");
                return all;
            }
            assert_eq!(out.len(), self.front_room + n);
            assert!(out.len() <= OUTBOX_BYTES_MAX, "{} bytes at once", out.len());
            self.frames(&out[self.front_room..]);
            all.extend_from_slice(&out[self.front_room..]);
            session.handle_sent(now, n, true);
        }
        panic!("output never ends");
    }

    fn frames(&mut self, mut wire: &[u8]) {
        while let Some((header, rest)) = wire.split_first_chunk::<HEADER_BYTES>() {
            let &[version, kind, 0, flags, i0, i1, i2, i3, l0, l1, l2, l3] = header else {
                panic!("unknown flags in {header:?}")
            };
            let id = u32::from_be_bytes([i0, i1, i2, i3]);
            let length = u32::from_be_bytes([l0, l1, l2, l3]);
            let body = if kind == 0 { length as usize } else { 0 };
            assert!(body <= rest.len(), "a frame is cut");
            wire = &rest[body..];
            assert_eq!(version, 0);
            match kind {
                0 | 1 => self.stream_frame(kind, flags, id, length),
                2 => assert!(id == 0 && matches!(flags, SYN | ACK), "ping {header:?}"),
                3 => assert!(id == 0 && flags == 0, "go-away {header:?}"),
                _ => panic!("frame type {kind}"),
            }
        }
        assert!(wire.is_empty(), "a header is cut");
    }

    fn stream_frame(&mut self, kind: u8, flags: u8, id: u32, length: u32) {
        let sent = self.model.get(id);
        let peers = sent.map_or(0, |sent| sent.begins);
        if flags & SYN != 0 {
            assert!(id % 2 == self.parity && self.opened.insert(id), "id {id} is opened wrongly");
        }
        let known = self.opened.contains(&id) || peers > 0;
        assert!(known, "a frame for stream {id}, which nobody opened");
        // Where an id had several streams, their frames cannot be told apart.
        let only_one = peers + u32::from(self.opened.contains(&id)) <= 1;
        if kind == 0 {
            assert!(length > 0 && flags == 0, "data frames carry data only");
            assert!(!only_one || !self.ended.contains(&id), "data behind the end of stream {id}");
            let total = self.data.entry(id).or_default();
            *total += u64::from(length);
            let credit = sent.map_or(0, |sent| sent.credit);
            let most = INITIAL_WINDOW_BYTES * u64::from(peers.max(1)) + credit;
            assert!(*total <= most, "{total} bytes on stream {id} with credit for {most}");
        }
        if flags & (FIN | RST) != 0 {
            let again = !self.ended.insert(id);
            assert!(!only_one || !again || flags & RST != 0, "stream {id} ends twice");
        }
    }
}
