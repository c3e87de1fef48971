//! Two agents on one endpoint, one of which leaves under load: the clients notice nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLockWriteGuard};
use std::thread;

use piko_tests::http::{Client, End, Response};
use piko_tests::process::{Agent, Server, Signal};
use piko_tests::service::Service;

use super::common::{PATIENCE, client, exit_code, is_hello, loud, server, wait_until};

/// Clients that ask one request after the other.
const CLIENTS: usize = 8;
/// Requests before the agent leaves, and after it.
const REQUESTS: u64 = 400;

/// A load until it is told to stop; every answer is judged.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<thread::JoinHandle<Vec<String>>>,
    _loud: RwLockWriteGuard<'static, ()>,
}

type Ask = fn(&mut Client, u64) -> Result<Response, std::io::Error>;

impl Load {
    fn start(server: &Server, asks: &'static [Ask]) -> Self {
        let loud = loud();
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..CLIENTS)
            .map(|_| {
                let (stop, done, proxy) = (stop.clone(), done.clone(), server.proxy);
                thread::spawn(move || {
                    let mut failed = Vec::new();
                    let mut connection = client(proxy);
                    for (n, ask) in (0..).zip(asks.iter().cycle()) {
                        if stop.load(Ordering::SeqCst) {
                            break;
                        }
                        let outcome = ask(&mut connection, n);
                        done.fetch_add(1, Ordering::SeqCst);
                        let wrong = match outcome {
                            Ok(response) if is_hello(&response) => None,
                            Ok(response) => Some(format!("{response:?}")),
                            Err(error) => Some(error.to_string()),
                        };
                        if let Some(wrong) = wrong {
                            failed.push(wrong);
                            connection = client(proxy);
                        }
                    }
                    failed
                })
            })
            .collect();
        Self { stop, done, clients, _loud: loud }
    }

    /// Waits until `n` more requests are done.
    fn wait_more(&self, n: u64) {
        let goal = self.done.load(Ordering::SeqCst) + n;
        wait_until(PATIENCE, "the load goes on", || self.done.load(Ordering::SeqCst) >= goal);
    }

    /// What failed, of how many.
    fn finish(self) -> (Vec<String>, u64) {
        self.stop.store(true, Ordering::SeqCst);
        let failed = self.clients.into_iter().flat_map(|c| c.join().expect("a client")).collect();
        (failed, self.done.load(Ordering::SeqCst))
    }
}

fn get(connection: &mut Client, _: u64) -> Result<Response, std::io::Error> {
    connection.get("/hello", &[("x-piko-endpoint", "pair")])
}

fn post(connection: &mut Client, n: u64) -> Result<Response, std::io::Error> {
    let body = vec![b'x'; 1 + (n % 5000) as usize];
    connection.request("POST", "/hello", &[("x-piko-endpoint", "pair")], &body)
}

#[test]
fn no_get_fails_when_an_agent_is_killed() {
    let service = Service::start();
    let server = server(&[]);
    let addr = service.addr().to_string();
    let mut dying = Agent::http(&server.connect_url(), "pair", &addr, &[]);
    let _staying = Agent::http(&server.connect_url(), "pair", &addr, &[]);
    let load = Load::start(&server, &[get]);
    load.wait_more(REQUESTS);
    dying.process.signal(Signal::Kill).expect("the agent runs");
    load.wait_more(REQUESTS);
    let (mut failed, requests) = load.finish();
    // A body that was under way cannot be repeated: it is visibly cut.
    failed.retain(|f| !f.contains("status: 200") || f.contains("end: Complete"));
    assert!(failed.is_empty(), "{} of {requests} failed: {failed:#?}", failed.len());
}

#[test]
fn nothing_fails_when_an_agent_is_asked_to_leave() {
    let service = Service::start();
    let server = server(&[]);
    let addr = service.addr().to_string();
    let _staying = Agent::http(&server.connect_url(), "pair", &addr, &[]);
    let load = Load::start(&server, &[get, post]);
    // Several times, for each leaves at another point of the others' requests.
    for _ in 0..4 {
        let mut leaving = Agent::http(&server.connect_url(), "pair", &addr, &[]);
        load.wait_more(REQUESTS);
        leaving.process.signal(Signal::Term).expect("the agent runs");
        assert_eq!(exit_code(&mut leaving.process, PATIENCE), Some(0), "{}", leaving.process.tail());
    }
    load.wait_more(REQUESTS);
    let (failed, requests) = load.finish();
    assert!(failed.is_empty(), "{} of {requests} failed: {failed:#?}", failed.len());
}

#[test]
fn nothing_fails_when_a_second_agent_comes_and_goes_while_bodies_stream() {
    let service = Service::start();
    let server = server(&[]);
    let addr = service.addr().to_string();
    let mut leaving = Agent::http(&server.connect_url(), "pair", &addr, &[]);
    let _staying = Agent::http(&server.connect_url(), "pair", &addr, &[]);
    let mut streams: Vec<Client> = (0..6).map(|_| client(server.proxy)).collect();
    for stream in &mut streams {
        stream.send_head("GET", "/sse?n=20&ms=50", &[("x-piko-endpoint", "pair")]).expect("sent");
    }
    service.wait_counts(PATIENCE, |c| c.requests == 6).expect("all are under way");
    leaving.process.signal(Signal::Term).expect("the agent runs");
    for stream in &mut streams {
        let response = stream.read_response("GET");
        assert_eq!((response.status(), &response.end), (200, &End::Complete));
        assert_eq!(response.body.chunks, 20);
    }
    assert_eq!(exit_code(&mut leaving.process, PATIENCE), Some(0));
}
