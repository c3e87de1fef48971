//! The transitions of one exchange on one connection: both directions, no role, no bytes.
//!
//! Nothing here knows which side it plays or what a socket is. [`Cycle::step`] is the one table; whatever is
//! not in it is illegal and changes nothing.

/// One direction of an exchange.
///
/// ```text
///            head              end
///   Idle ───────────► Body ───────────► Done ───► (both Done, persistent) Idle
///    │ switch          │ fail             │ the answer switches
///    └───────┐         ▼                  ▼
///            │       Failed           Switched
///            └───────────────────────────▲
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// No final head was seen.
    Idle,
    /// Behind the head, before the end.
    Body,
    /// The message is complete.
    Done,
    /// The bytes belong to another protocol.
    Switched,
    /// Broken or cut: never complete.
    Failed,
}

/// What the request asks the connection to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// A tunnel, by a 2xx answer to CONNECT (RFC 9110 9.3.6).
    Connect,
    /// It stays HTTP.
    Nothing,
    /// Another protocol, by a 101 (RFC 9110 7.8).
    Upgrade,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    RequestEnd,
    RequestFail,
    RequestHead(Offer),
    ResponseEnd,
    ResponseFail,
    ResponseHead,
    ResponseInterim,
    ResponseSwitch,
}

/// The event has no place in this state. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Illegal;

/// The state of both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cycle {
    request: Half,
    response: Half,
    offer: Offer,
    persist: bool,
}

impl Cycle {
    pub(super) fn new() -> Self {
        Self { request: Half::Idle, response: Half::Idle, offer: Offer::Nothing, persist: true }
    }

    pub(super) fn request(&self) -> Half {
        self.request
    }

    pub(super) fn response(&self) -> Half {
        self.response
    }

    pub(super) fn offer(&self) -> Offer {
        self.offer
    }

    /// The connection may carry another exchange, as far as is known.
    pub(super) fn persists(&self) -> bool {
        self.persist
    }

    /// This exchange is the connection's last. There is no way back.
    pub(super) fn close(&mut self) {
        self.persist = false;
    }

    /// The same request goes to another connection: whatever came back on this one is disregarded.
    pub(super) fn start_again(&mut self, offer: Offer, persist: bool) {
        *self = Self { request: self.request, response: Half::Idle, offer, persist };
    }

    /// Both messages are complete and nobody asked for the end.
    pub(super) fn is_reusable(&self) -> bool {
        self.request == Half::Done && self.response == Half::Done && self.persist
    }

    /// Starts the next exchange when the connection is reusable, and says whether it did.
    pub(super) fn renew(&mut self) -> bool {
        let reusable = self.is_reusable();
        if reusable {
            *self = Self::new();
        }
        reusable
    }

    /// The table.
    pub(super) fn step(&mut self, event: Event) -> Result<(), Illegal> {
        use Half::{Body, Done, Failed, Idle, Switched};
        let (request, response) = match (event, self.request, self.response) {
            (Event::RequestHead(offer), Idle, Idle) => {
                self.offer = offer;
                (Body, Idle)
            }
            // The protocol changes behind the request, never inside it.
            (Event::RequestEnd, Body, Switched) => (Switched, Switched),
            (Event::RequestEnd, Body, response) => (Done, response),
            (Event::RequestFail, Idle | Body, response) => (Failed, response),
            (Event::ResponseInterim, Body | Done, Idle) => (self.request, Idle),
            // An answer to a request that failed says why.
            (Event::ResponseHead, Body | Done | Failed, Idle) => {
                self.offer = Offer::Nothing;
                (self.request, Body)
            }
            (Event::ResponseSwitch, Body, Idle) if self.offer != Offer::Nothing => (Body, Switched),
            (Event::ResponseSwitch, Done, Idle) if self.offer != Offer::Nothing => (Switched, Switched),
            (Event::ResponseEnd, request, Body) => (request, Done),
            (Event::ResponseFail, request, Idle | Body) => (request, Failed),
            _ => return Err(Illegal),
        };
        (self.request, self.response) = (request, response);
        if [request, response].iter().any(|half| matches!(half, Failed | Switched)) {
            self.persist = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Half::{Body, Done, Failed, Idle, Switched};
    use super::*;

    const HALVES: [Half; 5] = [Idle, Body, Done, Switched, Failed];
    const OFFERS: [Offer; 3] = [Offer::Connect, Offer::Nothing, Offer::Upgrade];
    const EVENTS: [Event; 10] = [
        Event::RequestEnd,
        Event::RequestFail,
        Event::RequestHead(Offer::Connect),
        Event::RequestHead(Offer::Nothing),
        Event::RequestHead(Offer::Upgrade),
        Event::ResponseEnd,
        Event::ResponseFail,
        Event::ResponseHead,
        Event::ResponseInterim,
        Event::ResponseSwitch,
    ];

    /// What every legal pair leads to, written out state by state. A pair that is absent is illegal.
    const LEGAL: [(Half, Half, &str, Half, Half); 31] = [
        (Idle, Idle, "RequestHead", Body, Idle),
        (Idle, Idle, "RequestFail", Failed, Idle),
        (Idle, Idle, "ResponseFail", Idle, Failed),
        (Idle, Body, "RequestFail", Failed, Body),
        (Idle, Body, "ResponseEnd", Idle, Done),
        (Idle, Body, "ResponseFail", Idle, Failed),
        (Idle, Done, "RequestFail", Failed, Done),
        (Idle, Switched, "RequestFail", Failed, Switched),
        (Idle, Failed, "RequestFail", Failed, Failed),
        (Body, Idle, "RequestEnd", Done, Idle),
        (Body, Idle, "RequestFail", Failed, Idle),
        (Body, Idle, "ResponseInterim", Body, Idle),
        (Body, Idle, "ResponseHead", Body, Body),
        (Body, Idle, "ResponseFail", Body, Failed),
        (Body, Body, "RequestEnd", Done, Body),
        (Body, Body, "RequestFail", Failed, Body),
        (Body, Body, "ResponseEnd", Body, Done),
        (Body, Body, "ResponseFail", Body, Failed),
        (Body, Done, "RequestEnd", Done, Done),
        (Body, Done, "RequestFail", Failed, Done),
        (Body, Switched, "RequestEnd", Switched, Switched),
        (Body, Switched, "RequestFail", Failed, Switched),
        (Body, Failed, "RequestEnd", Done, Failed),
        (Body, Failed, "RequestFail", Failed, Failed),
        (Done, Idle, "ResponseInterim", Done, Idle),
        (Done, Idle, "ResponseHead", Done, Body),
        (Done, Idle, "ResponseFail", Done, Failed),
        (Done, Body, "ResponseEnd", Done, Done),
        (Done, Body, "ResponseFail", Done, Failed),
        (Failed, Idle, "ResponseHead", Failed, Body),
        (Failed, Idle, "ResponseFail", Failed, Failed),
    ];

    fn expected(state: Cycle, event: Event) -> Option<(Half, Half)> {
        let name = std::format!("{event:?}");
        let name = name.split('(').next().unwrap();
        match (state.request, state.response, name, state.offer) {
            (_, _, "ResponseSwitch", Offer::Nothing) => None,
            (Body, Idle, "ResponseSwitch", _) => Some((Body, Switched)),
            (Done, Idle, "ResponseSwitch", _) => Some((Switched, Switched)),
            (Switched | Failed, Body, "ResponseEnd", _) => Some((state.request, Done)),
            (Switched | Failed, Body, "ResponseFail", _) => Some((state.request, Failed)),
            (Switched, Idle, "ResponseFail", _) => Some((Switched, Failed)),
            (request, response, name, _) => LEGAL
                .iter()
                .find(|row| (row.0, row.1, row.2) == (request, response, name))
                .map(|row| (row.3, row.4)),
        }
    }

    #[test]
    fn every_state_and_event() {
        let mut legal = 0;
        for (request, response) in HALVES.into_iter().flat_map(|a| HALVES.map(|b| (a, b))) {
            for (offer, persist) in OFFERS.into_iter().flat_map(|o| [(o, true), (o, false)]) {
                for event in EVENTS {
                    let before = Cycle { request, response, offer, persist };
                    let mut after = before;
                    let verdict = after.step(event);
                    match expected(before, event) {
                        None => assert_eq!((verdict, after), (Err(Illegal), before), "{before:?} {event:?}"),
                        Some(halves) => {
                            legal += 1;
                            assert_eq!(verdict, Ok(()), "{before:?} {event:?}");
                            assert_eq!((after.request, after.response), halves, "{before:?} {event:?}");
                            assert!(persist || !after.persist, "a connection never becomes persistent again");
                        }
                    }
                }
            }
        }
        assert!(legal > 31 * 6);
    }

    #[test]
    fn only_two_complete_messages_are_followed_by_another() {
        for (request, response) in HALVES.into_iter().flat_map(|a| HALVES.map(|b| (a, b))) {
            for persist in [true, false] {
                let mut cycle = Cycle { request, response, offer: Offer::Nothing, persist };
                let want = request == Done && response == Done && persist;
                assert_eq!(cycle.renew(), want);
                assert_eq!(cycle == Cycle::new(), want || (request == Idle && response == Idle && persist));
            }
        }
    }
}
