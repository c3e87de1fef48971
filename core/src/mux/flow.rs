//! Credit arithmetic for one direction of a stream (wire protocol 4.5).

use super::config::INITIAL_WINDOW_BYTES;

/// What this side may still send, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SendCredit(u32);

impl SendCredit {
    pub(super) const INITIAL: Self = Self(INITIAL_WINDOW_BYTES);

    pub(super) const fn bytes(self) -> usize {
        self.0 as usize
    }

    /// Adds what the peer granted. Saturates: four gigabytes of credit say "never blocked", wrapping would block.
    pub(super) fn add(&mut self, bytes: u32) {
        self.0 = self.0.saturating_add(bytes);
    }

    /// Uses up `bytes`, which the caller has checked against [`Self::bytes`].
    pub(super) fn take(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.bytes(), "sent more than the peer granted");
        self.0 = self.0.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
    }
}

/// What the peer may still send, and the window behind it, in bytes.
///
/// `credit + buffered <= window` always; the rest of the window is owed to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecvWindow {
    window: u32,
    credit: u32,
}

impl RecvWindow {
    pub(super) const INITIAL: Self = Self { window: INITIAL_WINDOW_BYTES, credit: INITIAL_WINDOW_BYTES };

    pub(super) const fn window(self) -> u32 {
        self.window
    }

    /// Whether `bytes` more may arrive.
    pub(super) const fn covers(self, bytes: u32) -> bool {
        bytes <= self.credit
    }

    /// Counts `bytes` that arrived; false when the peer had no credit for them.
    #[must_use]
    pub(super) fn receive(&mut self, bytes: u32) -> bool {
        match self.credit.checked_sub(bytes) {
            Some(rest) => {
                self.credit = rest;
                true
            }
            None => false,
        }
    }

    /// The credit to send while `buffered` bytes are unread: none below half a window, as Go does.
    pub(super) const fn due(self, buffered: u32) -> Option<u32> {
        let owed = self.window.saturating_sub(buffered).saturating_sub(self.credit);
        if owed >= self.window / 2 { Some(owed) } else { None }
    }

    /// Whether the peer is likely to stand still for want of credit.
    pub(super) const fn is_low(self) -> bool {
        self.credit <= self.window / 4
    }

    /// Gives `bytes` of credit, which [`Self::due`] has said.
    pub(super) fn grant(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(bytes);
        debug_assert!(self.credit <= self.window, "promised more than the window");
    }

    /// Enlarges the window to `window`; the difference is owed from then on.
    pub(super) fn grow(&mut self, window: u32) {
        self.window = self.window.max(window);
    }

    /// Bytes of the window beyond what the protocol implies.
    pub(super) const fn extra(self) -> usize {
        (self.window - INITIAL_WINDOW_BYTES) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_goes_back_from_half_a_window_on() {
        let mut w = RecvWindow::INITIAL;
        assert!(w.receive(262_144));
        assert!(!w.covers(1));
        assert_eq!(w.due(131_073), None);
        assert_eq!(w.due(131_072), Some(131_072));
        assert_eq!(w.due(0), Some(262_144));
        w.grant(131_072);
        assert!(w.covers(131_072) && !w.covers(131_073));
    }

    #[test]
    fn an_overrun_changes_nothing() {
        let mut w = RecvWindow::INITIAL;
        assert!(!w.receive(262_145));
        assert_eq!(w, RecvWindow::INITIAL);
    }

    #[test]
    fn send_credit_saturates() {
        let mut c = SendCredit::INITIAL;
        c.add(u32::MAX);
        c.add(u32::MAX);
        assert_eq!(c.bytes(), u32::MAX as usize);
        c.take(5);
        assert_eq!(c.bytes(), u32::MAX as usize - 5);
    }

    #[test]
    fn a_grown_window_owes_the_difference() {
        let mut w = RecvWindow::INITIAL;
        w.grow(524_288);
        assert_eq!(w.due(0), Some(262_144));
        assert_eq!(w.extra(), 262_144);
    }
}
