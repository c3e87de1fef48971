//! Deadlines in virtual time.

use super::*;
use core::time::Duration;

fn at(secs: u64) -> Instant {
    T0 + Duration::from_secs(secs)
}

const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: ep.x\r\nTransfer-Encoding: chunked\r\n";

/// Response 30 s, stall 20 s; read and write off.
fn config() -> Config {
    let mut config = Config::new(Place::Server);
    config.stall_timeout = Some(Duration::from_secs(20));
    config
}

fn start(config: &Config, text: &str) -> Exchange {
    let mut exchange = Exchange::new(config, PEER, T0);
    assert_eq!(exchange.poll_timeout(), None, "nothing is awaited before the request");
    assert_eq!(exchange.handle_request(T0, &request(text)), Step::Forward);
    exchange
}

fn due(exchange: &Exchange) -> Option<(u64, &'static str)> {
    exchange.poll_timeout().map(|deadline| (deadline.at.since(T0).as_secs(), deadline.why))
}

fn respond(exchange: &mut Exchange, now: Instant) {
    assert_eq!(exchange.handle_response(now, &response("200 OK\r\n")), Step::Forward);
}

#[test]
fn no_response_head_in_time_is_a_504() {
    let mut exchange = start(&config(), PLAIN);
    assert_eq!(due(&exchange), Some((30, "response head")));
    let early = T0 + Duration::from_nanos(29_999_999_999);
    assert_eq!(exchange.handle_timeout(early), Step::Nothing);
    assert_eq!(said(exchange.handle_timeout(at(30))), (504, "response-timeout".into()));
    assert_eq!((due(&exchange), exchange.handle_timeout(at(99))), (None, Step::Nothing));
    let record = exchange.finish(at(30));
    assert_eq!((record.how, record.status), (Ended::TimedOut, 504));
}

/// The service took nothing: an agent that has not reached it says so, and a server leaves that to whom it sends to.
#[test]
fn a_dial_that_takes_too_long_is_named() {
    let mut config = config();
    config.place = Place::Agent;
    let mut dialling = start(&config, PLAIN);
    assert_eq!(said(dialling.handle_timeout(at(30))), (504, "connect-timeout".into()));
    let mut waiting = start(&config, PLAIN);
    waiting.handle_progress(at(1), Leg::Upstream, 1);
    assert_eq!(said(waiting.handle_timeout(at(31))), (504, "response-timeout".into()));
    // Of two tries the last one counts.
    let mut again = start(&config, PLAIN);
    again.handle_progress(at(1), Leg::Upstream, 1);
    assert_eq!(again.handle_failed(at(2), Leg::Upstream, Failure::Stale), Step::Retry);
    assert_eq!(said(again.handle_timeout(at(31))), (504, "connect-timeout".into()));
}

#[test]
fn a_retry_does_not_start_the_clock_again() {
    let mut exchange = start(&config(), PLAIN);
    exchange.handle_progress(at(1), Leg::Upstream, 50);
    assert_eq!(due(&exchange), Some((31, "response head")));
    assert_eq!(exchange.handle_failed(at(10), Leg::Upstream, Failure::Broken), Step::Retry);
    exchange.handle_progress(at(11), Leg::Upstream, 50);
    assert_eq!(due(&exchange), Some((31, "response head")));
}

#[test]
fn an_interim_response_does_not_start_the_clock_again() {
    let mut exchange = start(&config(), PLAIN);
    assert_eq!(exchange.handle_response(at(29), &response("103 E\r\n")), Step::Forward);
    assert_eq!(due(&exchange), Some((30, "response head")));
}

#[test]
fn a_silent_response_may_take_for_ever() {
    let mut exchange = start(&config(), PLAIN);
    respond(&mut exchange, at(5));
    assert_eq!(due(&exchange), None);
    assert_eq!(exchange.handle_timeout(Instant::FAR), Step::Nothing);
    assert_eq!(exchange.finish(Instant::FAR).how, Ended::Complete);
}

#[test]
fn an_upload_that_moves_is_not_cut() {
    let mut exchange = start(&config(), UPLOAD);
    for second in 0..100 {
        exchange.handle_progress(at(second), Leg::Upstream, 1);
        assert_eq!(exchange.handle_timeout(at(second)), Step::Nothing);
    }
    exchange.handle_request_end(at(99));
    assert_eq!(due(&exchange), Some((129, "response head")));
}

#[test]
fn an_upload_that_stops_is_answered_and_closed() {
    let mut exchange = start(&config(), UPLOAD);
    exchange.handle_progress(at(2), Leg::Upstream, 1);
    assert_eq!(due(&exchange), Some((22, "request body missing")));
    let answer = answer(exchange.handle_timeout(at(22)));
    assert_eq!((answer.status, answer.close), (504, true));
    assert!(answer.body.ends_with(b"\"cause\":\"request-stalled\"}\n"));
}

/// The upstream waits for the client then, as whoever is in between does.
#[test]
fn a_pause_of_an_upload_is_not_the_upstreams() {
    let mut exchange = start(&config(), UPLOAD);
    assert_eq!(due(&exchange), Some((20, "request body missing")));
    let mut config = config();
    (config.place, config.stall_timeout) = (Place::Agent, Some(Duration::from_secs(20)));
    let mut agents = start(&config, UPLOAD);
    assert_eq!(due(&agents), Some((30, "response head")), "not reached yet");
    agents.handle_progress(at(1), Leg::Upstream, 1);
    assert_eq!(due(&agents), None, "the server looks after its client");
    agents.handle_blocked(at(2), Leg::Upstream, true);
    assert_eq!(due(&agents), Some((22, "write to the upstream blocked")));
    agents.handle_blocked(at(3), Leg::Upstream, false);
    agents.handle_request_end(at(50));
    assert_eq!(due(&agents), Some((80, "response head")));
    config = self::config();
    (config.read_timeout, config.stall_timeout) =
        (Some(Duration::from_secs(300)), Some(Duration::from_secs(20)));
    exchange = start(&config, UPLOAD);
    exchange.handle_progress(at(1), Leg::Upstream, 1);
    assert_eq!(due(&exchange), Some((301, "read timeout")), "what was asked for holds");
}

#[test]
fn an_upload_that_stops_behind_the_response_head_is_cut_unless_the_response_moves() {
    let mut exchange = start(&config(), UPLOAD);
    respond(&mut exchange, at(5));
    assert_eq!(due(&exchange), Some((25, "request body missing")));
    exchange.handle_progress(at(15), Leg::Client, 1);
    assert_eq!(due(&exchange), Some((35, "request body missing")));
    assert_eq!(exchange.handle_timeout(at(35)), Step::Abort);
    assert_eq!(exchange.finish(at(35)).how, Ended::TimedOut);
    let mut ended = start(&config(), UPLOAD);
    respond(&mut ended, at(5));
    ended.handle_request_end(at(6));
    assert_eq!(due(&ended), None);
}

#[test]
fn no_body_and_an_empty_body_are_never_missing() {
    for length in ["", "Content-Length: 0\r\n"] {
        let text = alloc::format!("POST / HTTP/1.1\r\nHost: ep.x\r\n{length}");
        assert_eq!(due(&start(&config(), &text)), Some((30, "response head")));
    }
    let mut early = Exchange::new(&config(), PEER, T0);
    early.handle_request_end(T0);
    assert_eq!(early.handle_request(T0, &request(UPLOAD)), Step::Forward);
    assert_eq!(due(&early), Some((30, "response head")), "told in another order");
}

#[test]
fn a_client_that_waits_for_a_100_is_not_late() {
    let text = "POST / HTTP/1.1\r\nHost: ep.x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n";
    let mut exchange = start(&config(), text);
    assert_eq!(due(&exchange), Some((30, "response head")));
    assert_eq!(exchange.handle_response(at(8), &response("100 C\r\n")), Step::Forward);
    assert_eq!(due(&exchange), Some((28, "request body missing")));
    let old = start(&config(), &text.replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!(due(&old), Some((20, "request body missing")), "HTTP/1.0 does not wait");
    let mut own = start(&config(), text);
    own.handle_continue(at(2));
    own.handle_continue(at(9));
    assert_eq!(due(&own), Some((22, "request body missing")), "a 100 of the driver's own");
    let mut refused = start(&config(), text);
    respond(&mut refused, at(1));
    assert_eq!(due(&refused), None, "the body will not come");
}

#[test]
fn a_blocked_write_has_a_limit_that_progress_moves() {
    let mut exchange = start(&config(), UPLOAD);
    exchange.handle_progress(at(1), Leg::Upstream, 9);
    exchange.handle_blocked(at(3), Leg::Upstream, true);
    assert_eq!(due(&exchange), Some((23, "write to the upstream blocked")));
    exchange.handle_blocked(at(9), Leg::Upstream, true);
    assert_eq!(due(&exchange).unwrap().0, 23, "said twice");
    exchange.handle_progress(at(10), Leg::Upstream, 1);
    assert_eq!(due(&exchange), Some((30, "write to the upstream blocked")));
    let step = exchange.handle_timeout(at(30));
    assert_eq!(said(step), (504, "upstream-stalled".into()));
    let mut freed = start(&config(), PLAIN);
    freed.handle_blocked(at(1), Leg::Upstream, true);
    freed.handle_blocked(at(2), Leg::Upstream, false);
    assert_eq!(due(&freed), Some((30, "response head")));
}

#[test]
fn a_try_that_was_blocked_leaves_no_mark_on_the_next() {
    let mut exchange = start(&config(), PLAIN);
    exchange.handle_blocked(at(1), Leg::Upstream, true);
    assert_eq!(exchange.handle_failed(at(2), Leg::Upstream, Failure::Connect("x")), Step::Retry);
    assert_eq!(due(&exchange), Some((30, "response head")));
}

#[test]
fn a_client_that_reads_nothing_is_cut() {
    let mut exchange = start(&config(), PLAIN);
    respond(&mut exchange, at(1));
    exchange.handle_blocked(at(2), Leg::Client, true);
    assert_eq!(due(&exchange), Some((22, "write to the client blocked")));
    exchange.handle_progress(at(21), Leg::Upstream, 1);
    assert_eq!(due(&exchange).unwrap().0, 22, "progress of the other leg does not help");
    exchange.handle_progress(at(21), Leg::Client, 1);
    assert_eq!(due(&exchange).unwrap().0, 41);
    assert_eq!(exchange.handle_timeout(at(41)), Step::Abort);
}

#[test]
fn read_and_write_timeouts_limit_pauses() {
    let mut config = config();
    config.stall_timeout = None;
    config.read_timeout = Some(Duration::from_secs(4));
    config.write_timeout = Some(Duration::from_secs(6));
    let mut exchange = start(&config, UPLOAD);
    exchange.handle_progress(at(1), Leg::Upstream, 1);
    assert_eq!(due(&exchange), Some((5, "read timeout")));
    exchange.handle_request_end(at(2));
    assert_eq!(due(&exchange), Some((32, "response head")), "the write timeout waits for the head");
    respond(&mut exchange, at(20));
    assert_eq!(due(&exchange), Some((26, "write timeout")));
    exchange.handle_progress(at(25), Leg::Client, 1);
    assert_eq!(due(&exchange), Some((31, "write timeout")));
    assert_eq!(exchange.handle_timeout(at(31)), Step::Abort);
    let mut late = start(&config, UPLOAD);
    assert_eq!(said(late.handle_timeout(at(4))), (504, "request-stalled".into()));
}

#[test]
fn all_limits_can_be_off() {
    let mut config = config();
    (config.response_timeout, config.stall_timeout) = (None, None);
    let mut exchange = start(&config, UPLOAD);
    exchange.handle_blocked(at(1), Leg::Upstream, true);
    exchange.handle_blocked(at(1), Leg::Client, true);
    assert_eq!(due(&exchange), None);
}

#[test]
fn a_clock_that_steps_back_moves_no_deadline_back() {
    let mut exchange = start(&config(), UPLOAD);
    exchange.handle_progress(at(9), Leg::Upstream, 1);
    exchange.handle_progress(at(3), Leg::Upstream, 1);
    assert_eq!(due(&exchange).unwrap().0, 29);
}
