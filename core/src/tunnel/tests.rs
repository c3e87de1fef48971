//! Two tunnels joined by their chunks and one clock.

use super::{Caps, Grant, TransportEnd, Tunnel, TunnelEvent};
use crate::id::{EndpointId, StreamId};
use crate::mux::{CloseReason, Config, Finish, GoAway, OpenError, ReadError};
use crate::rng::Rng;
use crate::time::Instant;
use alloc::vec;
use alloc::vec::Vec;
use bytes::BytesMut;
use core::time::Duration;

const GO_AWAY_0: [u8; 12] = [0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const GO_AWAY_2: [u8; 12] = [0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const GRACE: Duration = Duration::from_secs(30);

const fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn endpoint() -> EndpointId {
    EndpointId::new(b"e1").expect("short and without a slash")
}

/// One side, with what it said and what happened to it.
struct End {
    tunnel: Tunnel,
    sent: Vec<u8>,
    events: Vec<TunnelEvent>,
}

impl End {
    fn new(tunnel: Tunnel) -> Self {
        Self { tunnel, sent: vec![], events: vec![] }
    }

    fn transmit(&mut self, now: Instant) -> Vec<u8> {
        let mut all = vec![];
        loop {
            let mut out = BytesMut::new();
            let n = self.tunnel.poll_transmit(now, &mut out);
            assert_eq!(n, out.len());
            if n == 0 {
                break;
            }
            self.tunnel.handle_sent(now, n, true);
            all.extend(&out[..]);
        }
        self.sent.extend(&all);
        all
    }

    fn gather(&mut self) {
        while let Some(event) = self.tunnel.poll_event() {
            assert!(
                !matches!(self.events.last(), Some(TunnelEvent::Closed(_))),
                "nothing comes after the end"
            );
            self.events.push(event);
        }
    }

    fn closed(&self) -> Option<CloseReason> {
        match self.events.last() {
            Some(TunnelEvent::Closed(reason)) => {
                assert_eq!(self.tunnel.close_reason(), Some(reason));
                Some(reason.clone())
            }
            _ => None,
        }
    }
}

struct Pair {
    server: End,
    agent: End,
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        Self::with(Grant::default(), Caps::default())
    }

    fn with(grant: Grant, caps: Caps) -> Self {
        let now = at(1_000);
        let mut server = Tunnel::accepted(endpoint(), grant, Config::default(), now);
        let mut agent = Tunnel::dialled(endpoint(), Config::default(), now);
        server.set_caps(caps.clone());
        agent.set_caps(caps);
        Self { server: End::new(server), agent: End::new(agent), now }
    }

    /// Carries everything both ways until nobody says anything.
    fn pump(&mut self) {
        loop {
            let to_agent = self.server.transmit(self.now);
            let to_server = self.agent.transmit(self.now);
            for (end, bytes) in [(&mut self.agent, &to_agent), (&mut self.server, &to_server)] {
                if !bytes.is_empty() {
                    end.tunnel.handle_chunk(self.now, bytes).ok();
                }
            }
            self.server.gather();
            self.agent.gather();
            if to_agent.is_empty() && to_server.is_empty() {
                return;
            }
        }
    }

    /// Lets time pass, deadline by deadline.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        for _ in 0..10_000 {
            self.pump();
            let next = [&self.server, &self.agent].into_iter().filter_map(|end| end.tunnel.poll_timeout());
            match next.map(|deadline| deadline.at).min() {
                Some(at) if at <= end => {
                    self.now = self.now.max(at);
                    self.server.tunnel.handle_timeout(self.now);
                    self.agent.tunnel.handle_timeout(self.now);
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("a deadline that does not go away");
    }

    /// A stream from server to agent, accepted.
    fn stream(&mut self) -> StreamId {
        let id = self.server.tunnel.open(self.now).expect("a stream");
        self.pump();
        assert_eq!(self.agent.tunnel.accept(), Some(id));
        id
    }

    /// Both sides are done with the stream in order.
    fn finish(&mut self, id: StreamId) {
        for end in [&mut self.server, &mut self.agent] {
            end.tunnel.send(self.now, id).finish(Finish::Now).expect("open");
        }
        self.pump();
        for end in [&mut self.server, &mut self.agent] {
            assert_eq!(end.tunnel.recv(self.now, id).chunk(), Ok(None));
            end.tunnel.release(self.now, id);
        }
        self.pump();
    }
}

fn count(wire: &[u8], frame: [u8; 12]) -> usize {
    wire.windows(12).filter(|window| *window == frame).count()
}

#[test]
fn bytes_go_through_and_only_the_server_opens() {
    let mut pair = Pair::new();
    let id = pair.stream();
    assert!(pair.agent.events.contains(&TunnelEvent::Incoming));
    assert_eq!(pair.server.tunnel.send(pair.now, id).write(b"question"), Ok(8));
    pair.pump();
    assert!(pair.agent.events.contains(&TunnelEvent::Readable(id)));
    assert_eq!(pair.agent.tunnel.recv(pair.now, id).chunk(), Ok(Some(&b"question"[..])));
    pair.agent.tunnel.recv(pair.now, id).consume(8);
    pair.finish(id);
    assert_eq!((pair.server.tunnel.streams(), pair.agent.tunnel.streams()), (0, 0));

    // A peer that opens streams towards the server is refused each of them.
    let id = pair.agent.tunnel.open(pair.now).expect("the agent's session would");
    pair.pump();
    assert_eq!(pair.server.tunnel.accept(), None);
    assert_eq!(pair.agent.tunnel.recv(pair.now, id).chunk(), Err(ReadError::Reset));
    assert_eq!(pair.server.tunnel.endpoint(), &endpoint());
    assert!(pair.server.tunnel.wants_input());
}

#[test]
fn a_draining_server_waits_for_its_streams_and_then_says_go_away_2() {
    let mut pair = Pair::new();
    let id = pair.stream();
    pair.server.tunnel.drain(pair.now, GRACE);
    assert!(pair.server.tunnel.is_draining());
    assert_eq!(pair.server.tunnel.open(pair.now), Err(OpenError::GoingAway));
    pair.run(millis(10_000));
    assert_eq!((pair.server.closed(), pair.agent.closed()), (None, None));
    assert_eq!(count(&pair.server.sent, GO_AWAY_0), 0, "Go agents take go-away 0 for nothing");
    // The open stream still works in both directions.
    assert_eq!(pair.agent.tunnel.send(pair.now, id).write(b"answer"), Ok(6));
    pair.pump();
    assert_eq!(pair.server.tunnel.recv(pair.now, id).chunk(), Ok(Some(&b"answer"[..])));
    pair.server.tunnel.recv(pair.now, id).consume(6);
    pair.finish(id);
    pair.run(millis(0));
    assert!(pair.server.sent.ends_with(&GO_AWAY_2));
    assert_eq!(pair.server.closed(), Some(CloseReason::Local));
    assert_eq!(pair.agent.closed(), Some(CloseReason::GoAway(GoAway::InternalError)));
    assert_eq!(pair.server.tunnel.open(pair.now), Err(OpenError::Closed));
    assert_eq!(pair.server.tunnel.poll_timeout(), None);
}

#[test]
fn a_draining_server_without_streams_closes_at_once_and_with_a_stuck_one_when_the_grace_is_over() {
    let mut pair = Pair::new();
    pair.server.tunnel.drain(pair.now, GRACE);
    pair.pump();
    assert_eq!(pair.server.sent, GO_AWAY_2);
    assert_eq!(pair.server.closed(), Some(CloseReason::Local));

    let mut pair = Pair::new();
    let id = pair.stream();
    let start = pair.now;
    pair.server.tunnel.drain(start, GRACE);
    pair.run(GRACE - millis(1));
    assert_eq!(pair.server.closed(), None);
    pair.run(millis(1));
    assert_eq!(pair.server.closed(), Some(CloseReason::Local));
    assert_eq!(pair.agent.tunnel.recv(pair.now, id).chunk(), Err(ReadError::Reset));
}

#[test]
fn a_second_drain_only_shortens_the_grace() {
    let mut pair = Pair::new();
    let _ = pair.stream();
    pair.server.tunnel.drain(pair.now, millis(1_000));
    pair.server.tunnel.drain(pair.now, GRACE);
    pair.run(millis(900));
    assert_eq!(pair.server.closed(), None);
    pair.server.tunnel.drain(pair.now, Duration::ZERO);
    pair.pump();
    assert_eq!(pair.server.closed(), Some(CloseReason::Local));
    pair.server.tunnel.drain(pair.now, GRACE);
    pair.run(GRACE);
}

#[test]
fn an_agent_that_knows_the_hint_hears_of_a_drain_before_its_tunnel_ends() {
    let mut pair = Pair::with(Grant::default(), Caps::ours());
    pair.server.tunnel.drain(pair.now, GRACE);
    pair.run(millis(99));
    assert_eq!(pair.server.sent, GO_AWAY_0);
    assert_eq!(pair.agent.events, [TunnelEvent::GoingAway(GoAway::Normal)]);
    assert_eq!(pair.server.closed(), None);
    pair.run(millis(1));
    assert!(pair.server.sent.ends_with(&GO_AWAY_2));
    assert_eq!(pair.server.closed(), Some(CloseReason::Local));

    // The grace bounds that as well.
    let mut pair = Pair::with(Grant::default(), Caps::ours());
    pair.server.tunnel.drain(pair.now, millis(50));
    pair.run(millis(50));
    assert_eq!(pair.server.closed(), Some(CloseReason::Local));

    // One with a stream stays until that is over, and not longer.
    let mut pair = Pair::with(Grant::default(), Caps::ours());
    let id = pair.stream();
    pair.server.tunnel.drain(pair.now, GRACE);
    pair.run(millis(5_000));
    assert_eq!(pair.server.closed(), None);
    pair.finish(id);
    pair.run(millis(1));
    assert_eq!(pair.server.closed(), Some(CloseReason::Local));
}

#[test]
fn a_draining_agent_says_go_away_0_and_answers_what_is_open() {
    let mut pair = Pair::new();
    let id = pair.stream();
    let queued = pair.server.tunnel.open(pair.now).expect("a stream");
    pair.pump();
    pair.agent.tunnel.drain(pair.now, GRACE);
    // This one crosses the go-away on the wire.
    let late = pair.server.tunnel.open(pair.now).expect("a stream");
    pair.pump();
    assert_eq!(count(&pair.agent.sent, GO_AWAY_0), 1);
    assert!(pair.server.events.contains(&TunnelEvent::GoingAway(GoAway::Normal)));
    assert_eq!(pair.server.tunnel.open(pair.now), Err(OpenError::GoingAway));
    // What waited for accept when the drain began is still served, and what could not know of it, too: the
    // server cannot repeat every request.
    assert_eq!(pair.agent.tunnel.accept(), Some(queued));
    assert_eq!(pair.agent.tunnel.accept(), Some(late));
    pair.finish(late);
    pair.run(millis(5_000));
    pair.finish(id);
    pair.run(millis(5_000));
    assert_eq!(pair.agent.closed(), None);
    pair.finish(queued);
    pair.run(millis(199));
    assert_eq!(pair.agent.closed(), None);
    pair.run(millis(1));
    assert_eq!(pair.agent.closed(), Some(CloseReason::Local));
    assert_eq!(count(&pair.agent.sent, GO_AWAY_0), 1);
    assert_eq!(count(&pair.agent.sent, GO_AWAY_2), 0);
    assert_eq!(pair.server.closed(), None, "a go-away 0 and nothing else closes nothing");
}

#[test]
fn a_quiet_agent_takes_what_crossed_its_go_away_and_refuses_who_does_not_listen() {
    let mut pair = Pair::new();
    pair.agent.tunnel.drain(pair.now, GRACE);
    let late = pair.server.tunnel.open(pair.now).expect("a stream");
    let syn = pair.server.transmit(pair.now);
    pair.run(millis(150));
    pair.agent.tunnel.handle_chunk(pair.now, &syn).expect("no violation");
    pair.pump();
    assert_eq!(pair.agent.tunnel.accept(), Some(late));
    pair.run(millis(2_000));
    assert_eq!(pair.agent.closed(), None, "its answer is awaited");
    // A second after the go-away the patience with new ones is over.
    let deaf = [0, 1, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0];
    pair.agent.tunnel.handle_chunk(pair.now, &deaf).expect("no violation");
    assert_eq!(pair.agent.tunnel.accept(), None);
    pair.finish(late);
    pair.run(millis(200));
    assert_eq!(pair.agent.closed(), Some(CloseReason::Local));
    assert_eq!(count(&pair.agent.sent, GO_AWAY_0), 1);
    assert!(count(&pair.agent.sent, [0, 1, 0, 8, 0, 0, 0, 4, 0, 0, 0, 0]) == 1, "the refusal");
}

#[test]
fn an_agent_stays_for_a_syn_that_crosses_its_go_away() {
    let mut pair = Pair::new();
    pair.agent.tunnel.drain(pair.now, Duration::ZERO);
    let late = pair.server.tunnel.open(pair.now).expect("a stream");
    let syn = pair.server.transmit(pair.now);
    pair.pump();
    assert_eq!(pair.agent.sent, GO_AWAY_0);
    pair.run(millis(150));
    assert_eq!(pair.agent.closed(), None);
    pair.agent.tunnel.handle_chunk(pair.now, &syn).expect("no violation");
    pair.pump();
    assert_eq!(pair.server.tunnel.recv(pair.now, late).chunk(), Err(ReadError::Reset));
    pair.run(millis(50));
    assert_eq!(pair.agent.closed(), Some(CloseReason::Local));
}

#[test]
fn a_draining_agent_ends_with_its_grace_though_a_stream_is_open_or_the_transport_is_stuck() {
    let mut pair = Pair::new();
    let id = pair.stream();
    pair.agent.tunnel.drain(pair.now, GRACE);
    pair.run(GRACE);
    assert_eq!(pair.agent.closed(), Some(CloseReason::Local));
    assert_eq!(pair.agent.tunnel.recv(pair.now, id).chunk(), Err(ReadError::Reset));

    let mut stuck = End::new(Tunnel::dialled(endpoint(), Config::default(), at(0)));
    stuck.tunnel.drain(at(0), millis(1_000));
    let mut now = at(0);
    let mut steps = 0;
    while let Some(deadline) = stuck.tunnel.poll_timeout() {
        now = now.max(deadline.at);
        stuck.tunnel.handle_timeout(now);
        steps += 1;
        assert!(steps < 10, "a deadline that does not go away");
    }
    stuck.gather();
    assert_eq!(now, at(1_000));
    assert_eq!(stuck.closed(), Some(CloseReason::Local));
}

#[test]
fn a_grant_ends_the_tunnel_when_it_expires() {
    let mut pair = Pair::with(Grant { expires: Some(at(3_000)) }, Caps::ours());
    let id = pair.stream();
    assert_eq!(pair.server.tunnel.poll_timeout().expect("a deadline").at, at(3_000));
    pair.run(millis(1_999));
    assert_eq!(pair.server.closed(), None);
    pair.run(millis(1));
    assert!(pair.server.sent.ends_with(&GO_AWAY_2));
    assert_eq!(count(&pair.server.sent, GO_AWAY_0), 0);
    assert_eq!(pair.server.closed(), Some(CloseReason::Local));
    assert_eq!(pair.agent.closed(), Some(CloseReason::GoAway(GoAway::InternalError)));
    assert_eq!(pair.server.tunnel.recv(pair.now, id).chunk(), Err(ReadError::Reset));
}

#[test]
fn a_grant_expires_over_a_stuck_transport_too_and_its_deadline_goes_away() {
    let grant = Grant { expires: Some(at(3_000)) };
    let mut stuck = End::new(Tunnel::accepted(endpoint(), grant, Config::default(), at(2_900)));
    let mut now = at(2_900);
    let mut steps = 0;
    while let Some(deadline) = stuck.tunnel.poll_timeout() {
        assert!(deadline.at > now, "{} is due again", deadline.why);
        now = deadline.at;
        stuck.tunnel.handle_timeout(now);
        steps += 1;
    }
    stuck.gather();
    assert!((1..10).contains(&steps));
    assert!(now <= at(13_000));
    assert_eq!(stuck.closed(), Some(CloseReason::Local));
}

#[test]
fn the_end_of_the_transport_ends_every_stream_with_an_error() {
    for (how, reason) in
        [(TransportEnd::Closed, CloseReason::Eof), (TransportEnd::Failed, CloseReason::Transport)]
    {
        for drained in [false, true] {
            let mut pair = Pair::new();
            let id = pair.stream();
            if drained {
                pair.server.tunnel.drain(pair.now, GRACE);
            }
            pair.server.tunnel.handle_end(pair.now, how);
            pair.server.tunnel.handle_end(pair.now, TransportEnd::Failed);
            pair.server.gather();
            assert_eq!(pair.server.closed(), Some(reason.clone()));
            assert!(matches!(pair.server.tunnel.recv(pair.now, id).chunk(), Err(ReadError::Reset)));
            assert_eq!(pair.server.tunnel.open(pair.now), Err(OpenError::Closed));
            assert_eq!(pair.server.tunnel.poll_timeout(), None);
            pair.server.tunnel.drain(pair.now, GRACE);
            pair.server.tunnel.abort(pair.now, GoAway::InternalError);
            pair.server.tunnel.handle_timeout(pair.now + GRACE);
            pair.server.gather();
        }
    }
}

#[test]
fn abort_ends_at_once_and_says_the_code() {
    let mut pair = Pair::new();
    let id = pair.stream();
    pair.server.tunnel.abort(pair.now, GoAway::ProtocolError);
    assert_eq!(pair.server.tunnel.recv(pair.now, id).chunk(), Err(ReadError::Reset));
    pair.pump();
    assert_eq!(pair.agent.closed(), Some(CloseReason::GoAway(GoAway::ProtocolError)));
    assert_eq!(pair.server.closed(), Some(CloseReason::Local));

    // Go-away 0 says nothing of an end, so it comes by itself.
    let mut pair = Pair::new();
    let _ = pair.stream();
    pair.agent.tunnel.abort(pair.now, GoAway::Normal);
    pair.run(millis(200));
    assert_eq!(pair.agent.closed(), Some(CloseReason::Local));
    assert_eq!(count(&pair.agent.sent, GO_AWAY_0), 1);
    assert_eq!(count(&pair.agent.sent, GO_AWAY_2), 0);
}

#[test]
fn calls_in_any_order_end_in_time_and_tell_once() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let caps = if rng.below(2) == 0 { Caps::ours() } else { Caps::default() };
        let grant = Grant { expires: (rng.below(2) == 0).then_some(at(rng.below(60_000))) };
        let mut pair = Pair::with(grant, caps);
        let mut ids = vec![];
        for _ in 0..60 {
            let now = pair.now;
            let end = if rng.below(2) == 0 { &mut pair.server } else { &mut pair.agent };
            match rng.below(10) {
                0 | 1 => ids.extend(pair.server.tunnel.open(now).ok()),
                2 => ids.extend(pair.agent.tunnel.accept()),
                3 if !ids.is_empty() => {
                    let id = ids[rng.below(ids.len() as u64) as usize];
                    end.tunnel.send(now, id).write(b"x").ok();
                    end.tunnel.send(now, id).finish(Finish::Lazy).ok();
                }
                4 if !ids.is_empty() => end.tunnel.release(now, ids[rng.below(ids.len() as u64) as usize]),
                5 if rng.below(5) == 0 => end.tunnel.drain(now, millis(rng.below(20_000))),
                6 if rng.below(20) == 0 => end.tunnel.abort(now, GoAway::InternalError),
                7 if rng.below(20) == 0 => end.tunnel.handle_end(now, TransportEnd::Closed),
                8 => end.tunnel.handle_timeout(now),
                _ => pair.run(millis(rng.below(300))),
            }
        }
        pair.server.tunnel.drain(pair.now, millis(10_000));
        pair.agent.tunnel.drain(pair.now, millis(10_000));
        pair.run(millis(10_300));
        assert!(pair.server.closed().is_some(), "seed {seed}");
        assert!(pair.agent.closed().is_some(), "seed {seed}");
    }
}
