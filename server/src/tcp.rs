//! The proxy port's TCP path: a WebSocket whose payload is that of a tunnel's stream (wire protocol 5).

use crate::answers;
use piko_core::http1::RequestHead;
use piko_core::proxy::Answer;
use piko_core::tunnel::Caps;
use piko_core::ws::handshake;
use piko_driver::Opaque;

/// A request for a TCP connection that was found good.
#[derive(Debug)]
pub(crate) struct Upgrade {
    accept: [u8; 28],
    /// What both sides know; nothing where the client stated nothing.
    caps: Option<Caps>,
}

impl Upgrade {
    /// Judges the upgrade, before anything is opened for it; or its answer.
    pub(crate) fn judge(head: &RequestHead<'_>) -> Result<Self, Answer> {
        let accept = handshake::judge_request(head).map_err(answers::no_upgrade)?;
        let ours = Caps { half_close: true, ..Caps::default() };
        let caps = head.fields.first("x-piko-caps").map(|theirs| ours.both(&Caps::parse(theirs)));
        Ok(Self { accept, caps })
    }

    /// The 101, and what is known of both ends.
    pub(crate) fn opaque(&self, target_half_close: bool) -> Opaque {
        let mut answer = answers::empty(101);
        answer.fields = answers::switch_fields(&self.accept, self.caps.as_ref());
        let client_half_close = self.caps.as_ref().is_some_and(|caps| caps.half_close);
        Opaque { answer, client_half_close, target_half_close }
    }
}
