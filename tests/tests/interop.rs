//! Our programs against other people's code: gorilla/websocket and hashicorp/yamux, in the Go peer of
//! `interop/go`. As an agent it stands against our server, as a server against our agent.

#[path = "../interop/peer.rs"]
mod peer;

use peer::{FIVE_MIB, Outcome, Peer, SHA_5_MIB, SHA_100_KB, pattern};
use piko_tests::cluster::unused_addr;
use piko_tests::http::{Client, End, Response};
use piko_tests::process::{Agent, Server};
use piko_tests::service::Service;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

/// For the requests of one test, sent through our server.
const ENDPOINT: &str = "peer";
const PATIENCE: Duration = Duration::from_secs(30);

fn ask(proxy: SocketAddr, method: &str, target: &str, body: &[u8]) -> Response {
    let mut client = Client::connect(proxy).expect("the proxy port");
    client.set_patience(PATIENCE).expect("a socket");
    client.keep(FIVE_MIB + 1);
    client.request(method, target, &[("x-piko-endpoint", ENDPOINT)], body).expect("a request")
}

fn check(response: &Response, body: &[u8]) {
    assert_eq!(response.status(), 200, "{:?}", response.head);
    assert_eq!(response.end, End::Complete);
    assert!(
        response.body.bytes == body,
        "{} bytes came back, not the {} sent",
        response.body.len,
        body.len()
    );
}

#[test]
fn small_requests_reach_a_go_agent() {
    let server = Server::start(&[]);
    let Some(_peer) = Peer::listen(&server.connect_url(), ENDPOINT, &[]) else { return };
    check(&ask(server.proxy, "GET", "/hello", b""), b"hello\n");
    assert_eq!(ask(server.proxy, "GET", "/status?code=418", b"").status(), 418);
    assert_eq!(ask(server.proxy, "GET", "/nothing", b"").status(), 404);

    let seen = ask(server.proxy, "PUT", "/headers?a=b%20c", b"x");
    let seen: serde_json::Value = serde_json::from_slice(&seen.body.bytes).expect("what the agent saw");
    assert_eq!(seen["method"], "PUT");
    assert_eq!(seen["target"], "/headers?a=b%20c");
    assert_eq!(seen["header"]["X-Forwarded-For"][0], "127.0.0.1");
}

#[test]
fn large_bodies_pass_through_a_go_agent() {
    let server = Server::start(&[]);
    let Some(_peer) = Peer::listen(&server.connect_url(), ENDPOINT, &[]) else { return };
    let body = pattern(FIVE_MIB);
    check(&ask(server.proxy, "GET", &format!("/bytes?n={FIVE_MIB}"), b""), &body);
    check(&ask(server.proxy, "POST", "/echo", &body), &body);

    let mut client = Client::connect(server.proxy).expect("the proxy port");
    client.set_patience(PATIENCE).expect("a socket");
    client.keep(FIVE_MIB + 1);
    let fields = [("x-piko-endpoint", ENDPOINT), ("transfer-encoding", "chunked")];
    client.send_head("POST", "/echo", &fields).expect("a head");
    for chunk in body.chunks(100_000) {
        client.send_chunk(chunk).expect("a chunk");
    }
    client.send_last_chunk(&[]).expect("the last chunk");
    check(&client.read_response("POST"), &body);
}

#[test]
fn fifty_requests_at_once_reach_a_go_agent() {
    let server = Server::start(&[]);
    let Some(_peer) = Peer::listen(&server.connect_url(), ENDPOINT, &[]) else { return };
    let body = pattern(200_000);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                check(&ask(server.proxy, "GET", "/slow?ms=500", b""), b"slow\n");
                check(&ask(server.proxy, "POST", "/echo", &body), &body);
            });
        }
    });
    // One after the other, the slow ones alone would take 25 s.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_go_agent_that_goes_away_answers_what_is_open() {
    let server = Server::start(&[]);
    let Some(mut peer) = Peer::listen(&server.connect_url(), ENDPOINT, &[]) else { return };
    let proxy = server.proxy;
    let open = thread::spawn(move || ask(proxy, "GET", "/slow?ms=3000", b""));
    peer.event(0, "request");
    peer.terminate(); // Go-away 0, and the end once nothing is open.
    check(&open.join().expect("a thread"), b"slow\n");
    peer.event(0, "closed");
    assert!(peer.wait().success());
    assert_eq!(ask(proxy, "GET", "/hello", b"").status(), 502);
}

#[test]
fn no_request_fails_while_one_of_two_go_agents_goes_away() {
    let server = Server::start(&[]);
    let url = server.connect_url();
    let Some(mut first) = Peer::listen(&url, ENDPOINT, &[]) else { return };
    let Some(_second) = Peer::listen(&url, ENDPOINT, &[]) else { return };
    for i in 0..100 {
        if i == 30 {
            first.terminate();
        }
        check(&ask(server.proxy, "GET", "/hello", b""), b"hello\n");
    }
    assert!(first.wait().success());
}

#[test]
fn a_server_that_ends_says_so_to_a_go_agent() {
    let mut server = Server::start(&[]);
    let Some(mut peer) = Peer::listen(&server.connect_url(), ENDPOINT, &[]) else { return };
    check(&ask(server.proxy, "GET", "/hello", b""), b"hello\n");
    let exit = server.terminate(PATIENCE).expect("the end of the server");
    assert!(exit.success(), "{exit}");
    peer.event(0, "lost");
    assert!(!peer.wait().success());
}

#[test]
fn a_go_server_reaches_a_service_through_our_agent() {
    let service = Service::start();
    let Some(outcomes) = through_agent(&service, &["-requests", "20", "-concurrency", "4"]) else { return };
    assert_eq!(outcomes.len(), 20);
    assert!(outcomes.iter().all(|outcome| outcome.status == 200 && outcome.bytes == 6), "{outcomes:?}");
    assert_eq!(service.counts().requests, 20);
}

#[test]
fn large_bodies_pass_through_our_agent() {
    let service = Service::start();
    for framing in [&[][..], &["-chunked"]] {
        let mut args = vec!["-requests", "2", "-method", "POST", "-target", "/echo", "-size", "5242880"];
        args.extend(framing);
        let Some(outcomes) = through_agent(&service, &args) else { return };
        assert_eq!(outcomes.len(), 2);
        for outcome in outcomes {
            assert_eq!((outcome.status, outcome.sha256.as_str()), (200, SHA_5_MIB), "{}", outcome.error);
        }
    }
}

#[test]
fn fifty_streams_at_once_through_our_agent() {
    let service = Service::start();
    let args =
        ["-requests", "200", "-concurrency", "50", "-method", "POST", "-target", "/echo", "-size", "100000"];
    let Some(outcomes) = through_agent(&service, &args) else { return };
    assert_eq!(outcomes.len(), 200);
    for outcome in outcomes {
        assert_eq!((outcome.status, outcome.sha256.as_str()), (200, SHA_100_KB), "{}", outcome.error);
    }
}

/// Runs the peer as a server against our agent in front of `service`, to the end.
fn through_agent(service: &Service, args: &[&str]) -> Option<Vec<Outcome>> {
    let (peer, url) = Peer::serve(args)?;
    let _agent = Agent::http(&url, ENDPOINT, &service.addr().to_string(), &[]);
    Some(peer.outcomes())
}

#[test]
fn raw_bytes_pass_through_our_agent_and_half_closes_stay_half() {
    // Answers only when everything has come, so that the end of the input has to arrive while output flows.
    let service = Service::scripted(|mut stream| {
        let mut all = Vec::new();
        if stream.read_to_end(&mut all).is_ok() && stream.write_all(&all).is_ok() {
            let _ = stream.shutdown(Shutdown::Write);
        }
    });
    let args = ["-raw", "-requests", "4", "-concurrency", "2", "-size", "5242880"];
    let Some((peer, url)) = Peer::serve(&args) else { return };
    let _agent = Agent::tcp(&url, ENDPOINT, &service.addr().to_string(), &[]);
    let outcomes = peer.outcomes();
    assert_eq!(outcomes.len(), 4);
    for outcome in outcomes {
        assert_eq!(
            (outcome.bytes, outcome.sha256.as_str()),
            (FIVE_MIB as u64, SHA_5_MIB),
            "{}",
            outcome.error
        );
    }
}

#[test]
fn our_agent_comes_back_after_every_go_away_of_a_go_server() {
    let service = Service::start();
    let addr = unused_addr().to_string();
    let Some((peer, url)) = Peer::serve(&["-addr", &addr, "-requests", "3", "-goaway", "2"]) else { return };
    let agent = Agent::http(&url, ENDPOINT, &service.addr().to_string(), &[]);
    assert_eq!(peer.outcomes().len(), 3);
    let up = agent.wait_connected(0, PATIENCE).expect("it was up");
    // Code 0 asks for no new streams, and the bare close behind it must not be taken for the end of all things.
    let Some((peer, _)) = Peer::serve(&["-addr", &addr, "-goaway", "0"]) else { return };
    let back = agent.wait_connected(up, PATIENCE).expect("the agent comes back");
    assert_eq!(peer.outcomes().len(), 1);
    let Some((peer, _)) = Peer::serve(&["-addr", &addr]) else { return };
    agent.wait_connected(back, PATIENCE).expect("the agent comes back once more");
    assert_eq!(peer.outcomes().len(), 1);
}
