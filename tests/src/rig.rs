//! A server, an agent and a service as one test setup, and a load that watches whether anything is disturbed.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http::{Client, End, Response, pattern};
use crate::process::{Agent, Process, Server, binary};
use crate::service::Service;

/// The endpoint of the agent.
pub const ENDPOINT: &str = "e2e";
/// A host that names it.
pub const HOST: &str = "e2e.test";
/// How long an event may take that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Requests per second that a [`Load`] aims at, all its connections together. It must not starve what it
/// watches, so more connections ask less often each.
const REQUESTS_PER_SECOND: usize = 1_600;
/// The longest body of the load, in bytes.
const LOAD_BODY_MAX: u64 = 40_000;
/// How often [`Load::round`] looks.
const LOOK: Duration = Duration::from_millis(2);

/// Server, agent and service, joined by [`ENDPOINT`].
#[derive(Debug)]
pub struct Rig {
    /// Carries [`ENDPOINT`] to the service.
    pub agent: Agent,
    /// Where clients go.
    pub server: Server,
    /// What answers.
    pub service: Service,
}

impl Rig {
    /// With the service of the table in [`crate::service`].
    ///
    /// # Panics
    ///
    /// As [`Server::start`] and [`Agent::http`].
    pub fn start() -> Self {
        Self::with(Service::start(), &[], &[])
    }

    /// With a service of the caller's and further arguments for the two programs.
    ///
    /// # Panics
    ///
    /// As [`Server::start`] and [`Agent::http`].
    pub fn with(service: Service, server: &[&str], agent: &[&str]) -> Self {
        let server = Server::start(server);
        let agent = Agent::http(&server.connect_url(), ENDPOINT, &service.addr().to_string(), agent);
        Self { agent, server, service }
    }

    /// A new connection to the proxy port.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub fn client(&self) -> Client {
        Client::connect(self.server.proxy).expect("the proxy port takes connections")
    }

    /// One `GET` on a connection of its own.
    ///
    /// # Panics
    ///
    /// When the connection is refused or the request cannot be sent.
    pub fn get(&self, target: &str) -> Response {
        self.client().get(target, &[("host", HOST)]).expect("a request is sent")
    }

    /// Sends these bytes on a connection of its own and reads the answer to a `GET`.
    ///
    /// # Panics
    ///
    /// As [`Self::get`].
    pub fn raw(&self, request: &str) -> Response {
        let mut client = self.client();
        client.send(request.as_bytes()).expect("a request is sent");
        client.read_response("GET")
    }
}

/// A service that lets `answer` do all the writing: it is called with each request head, and with the
/// connection for the rest. An error ends the connection.
pub fn scripted(answer: impl Fn(&mut Client, &str) -> io::Result<()> + Send + Sync + 'static) -> Service {
    Service::scripted(move |stream| {
        let Ok(mut peer) = Client::over(stream) else { return };
        while let Ok(head) = peer.read_raw_head() {
            if head.is_empty() || answer(&mut peer, &String::from_utf8_lossy(&head)).is_err() {
                return;
            }
        }
    })
}

/// One agent process with several endpoints, given as `<endpoint>/<addr>`; waits until all tunnels are up.
///
/// # Panics
///
/// When they are not up in time.
pub fn agent_of(connect_url: &str, endpoints: &[String]) -> Process {
    let mut command = Command::new(binary("piko-agent"));
    command.args(["--endpoints", &endpoints.join(","), "--connect.url", connect_url]);
    let agent = Process::spawn("piko-agent", &mut command).expect("the agent starts");
    let mut from = 0;
    for _ in endpoints {
        let line = agent.wait_line(from, PATIENCE, |line| line.is_record("tunnel connected"));
        from = line.unwrap_or_else(|e| panic!("the tunnels do not come up: {e}")).index + 1;
    }
    agent
}

/// Connections that send requests in a loop and look at every byte of every answer. The first failure of
/// a connection ends it; nothing is tried again.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Vec<Arc<AtomicU64>>,
    failures: Arc<Mutex<Vec<String>>>,
    workers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `connections` connections to an endpoint whose service is that of [`crate::service`].
    pub fn start(proxy: SocketAddr, host: &str, connections: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        // Made once: the load has to be cheaper than what it watches.
        let mut content = vec![0; LOAD_BODY_MAX as usize];
        pattern(0, &mut content);
        let content: Arc<[u8]> = content.into();
        let rest = Duration::from_secs(1) / REQUESTS_PER_SECOND as u32 * connections as u32;
        let done: Vec<_> = (0..connections).map(|_| Arc::new(AtomicU64::new(0))).collect();
        let failures: Arc<Mutex<Vec<String>>> = Arc::default();
        let workers = done
            .iter()
            .enumerate()
            .map(|(id, done)| {
                let worker = Worker {
                    proxy,
                    host: host.to_owned(),
                    id: id as u64,
                    content: Arc::clone(&content),
                    rest,
                    stop: Arc::clone(&stop),
                    done: Arc::clone(done),
                };
                let failures = Arc::clone(&failures);
                thread::spawn(move || {
                    if let Err(text) = worker.run() {
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                    }
                })
            })
            .collect();
        Self { stop, done, failures, workers }
    }

    /// Waits until every connection has finished two more requests: one that began after this call, at least.
    ///
    /// # Panics
    ///
    /// When one of them has failed or stands still.
    pub fn round(&self) {
        let before: Vec<_> = self.done.iter().map(|done| done.load(Ordering::SeqCst)).collect();
        let deadline = Instant::now() + PATIENCE;
        for ((done, before), worker) in self.done.iter().zip(before).zip(&self.workers) {
            while done.load(Ordering::SeqCst) < before + 2 {
                assert!(!worker.is_finished(), "the load is disturbed: {:?}", self.failures());
                assert!(Instant::now() < deadline, "the load stands still");
                thread::sleep(LOOK);
            }
        }
    }

    fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the load and gives the number of requests that were answered.
    ///
    /// # Panics
    ///
    /// When a single request failed, with what was wrong.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        let mut crashed = 0;
        for worker in self.workers {
            crashed += u32::from(worker.join().is_err());
        }
        assert_eq!(crashed, 0, "workers of the load panicked");
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let total = self.done.iter().map(|done| done.load(Ordering::SeqCst)).sum();
        assert!(failures.is_empty(), "{} of {total} requests failed: {failures:?}", failures.len());
        total
    }
}

/// One connection of a [`Load`].
struct Worker {
    proxy: SocketAddr,
    host: String,
    id: u64,
    /// What `/bytes` answers, from its start.
    content: Arc<[u8]>,
    /// How long it waits between two requests.
    rest: Duration,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

impl Worker {
    fn run(&self) -> Result<(), String> {
        let mut client = Client::connect(self.proxy).map_err(|e| format!("connect: {e}"))?;
        let fields = [("host", self.host.as_str())];
        let mut turn = 0;
        while !self.stop.load(Ordering::SeqCst) {
            let n = 1 + (self.id * 7919 + turn * 104_729) % LOAD_BODY_MAX;
            let body = &self.content[..n as usize];
            let response = if turn % 2 == 0 {
                client.get(&format!("/bytes?n={n}"), &fields)
            } else {
                client.request("POST", "/echo", &fields, body)
            };
            let response = response.map_err(|e| format!("request {turn}: {e}"))?;
            let right = response.status() == 200
                && response.end == End::Complete
                && response.body.len == n
                && response.body.bytes == body;
            if !right {
                let (head, end, len) = (&response.head, &response.end, response.body.len);
                return Err(format!(
                    "request {turn} for {n} bytes: {end:?} after {len} bytes, head {head:?}"
                ));
            }
            self.done.fetch_add(1, Ordering::SeqCst);
            turn += 1;
            thread::sleep(self.rest);
        }
        Ok(())
    }
}
