//! An agent that is asked to end.

use std::time::Duration;

use piko_tests::http::{Client, End};
use piko_tests::process::{Agent, Process, Server};
use piko_tests::service::Service;

use super::common::{Held, PATIENCE, client, exit_code, get, is_hello, server, terminate, wait_until};

#[test]
fn a_drained_agent_answers_what_is_open_and_nothing_new() {
    let service = Service::start();
    let server = server(&[]);
    let mut agent = Agent::http(&server.connect_url(), "drained", &service.addr().to_string(), &[]);
    let mut slow = client(server.proxy);
    slow.send_head("GET", "/slow?head_ms=1500&body_ms=500", &[("x-piko-endpoint", "drained")]).expect("sent");
    let held = Held::start(&server, "drained", &service, 2);
    terminate(&mut agent.process);
    // The go-away takes the endpoint out of the routes while its stream goes on.
    wait_until(PATIENCE, "no more routes", || get(&server, "drained", "/hello").status() != 200);
    let refused = get(&server, "drained", "/hello");
    assert_eq!(refused.status(), 502);
    assert_eq!(refused.end, End::Complete);
    assert!(refused.body.text().contains("no available upstreams"), "{}", refused.body.text());
    assert_eq!(agent.process.try_wait().expect("a child"), None, "it has an answer to give");
    held.finish(&service);
    let answer = slow.read_response("GET");
    assert_eq!((answer.status(), &answer.end), (200, &End::Complete));
    assert_eq!(answer.body.bytes, b"slow\n");
    assert_eq!(exit_code(&mut agent.process, PATIENCE), Some(0), "{}", agent.process.tail());
}

#[test]
fn another_agent_takes_over_from_a_drained_one() {
    let service = Service::start();
    let server = server(&[]);
    let addr = service.addr().to_string();
    let mut leaving = Agent::http(&server.connect_url(), "two", &addr, &[]);
    let _staying = Agent::http(&server.connect_url(), "two", &addr, &[]);
    terminate(&mut leaving.process);
    for _ in 0..50 {
        let response = get(&server, "two", "/hello");
        assert!(is_hello(&response), "{response:?}");
    }
    assert_eq!(exit_code(&mut leaving.process, PATIENCE), Some(0));
    assert!(is_hello(&get(&server, "two", "/hello")));
}

#[test]
fn an_idle_agent_ends_at_once() {
    let service = Service::start();
    let server = server(&[]);
    // Whoever waits for the grace does not end within the patience.
    let args = ["--grace-period", "60s"];
    let mut agent = Agent::http(&server.connect_url(), "idle", &service.addr().to_string(), &args);
    assert!(is_hello(&get(&server, "idle", "/hello")));
    terminate(&mut agent.process);
    assert_eq!(exit_code(&mut agent.process, PATIENCE), Some(0));
    // Asked to end is not lost.
    assert!(agent.wait_lost(0, Duration::ZERO).is_err(), "{}", agent.process.tail());
}

#[test]
fn a_drain_lasts_no_longer_than_its_grace() {
    let service = Service::start();
    let server = server(&[]);
    let args = ["--grace-period", "1s"];
    let mut agent = Agent::http(&server.connect_url(), "grace", &service.addr().to_string(), &args);
    let mut slow = half_answered(&server, "grace");
    terminate(&mut agent.process);
    // The answer alone would take half a minute.
    exit_code(&mut agent.process, PATIENCE);
    assert_eq!(slow.read_some(16).expect("the first part"), b"slo");
    let rest = slow.read_some(16);
    assert!(rest.as_ref().map_or(true, Vec::is_empty), "a cut body, not {rest:?}");
}

#[test]
fn a_second_signal_ends_the_agent_at_once() {
    let service = Service::start();
    let server = server(&[]);
    let mut agent = Agent::http(&server.connect_url(), "forced", &service.addr().to_string(), &[]);
    let _slow = half_answered(&server, "forced");
    forced(&mut agent.process);
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let service = Service::start();
    let mut server = server(&[]);
    let _agent = Agent::http(&server.connect_url(), "forced", &service.addr().to_string(), &[]);
    let _slow = half_answered(&server, "forced");
    forced(&mut server.process);
}

/// A request whose answer takes half a minute and has begun.
fn half_answered(server: &Server, endpoint: &str) -> Client {
    let mut slow = client(server.proxy);
    slow.send_head("GET", "/slow?body_ms=30000", &[("x-piko-endpoint", endpoint)]).expect("sent");
    assert_eq!(slow.read_head().expect("a head").status, 200);
    slow
}

fn forced(process: &mut Process) {
    terminate(process);
    process.wait_record(0, PATIENCE, "received shutdown signal").expect("the first signal is heard");
    assert_eq!(process.try_wait().expect("a child"), None, "a request is open");
    terminate(process);
    // Not with 0, as behind an answer that is complete.
    assert_eq!(exit_code(process, PATIENCE), Some(1), "{}", process.tail());
    let another = "received another signal; not waiting any longer";
    process.wait_record(0, PATIENCE, another).expect("it says why");
}
