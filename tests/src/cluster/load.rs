//! Clients that never send a request twice.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http::{Client, End, pattern};

/// The longest that a request may take: those of the ledger that take long take less than a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// One request of so many takes its time at the service.
const SLOW_OF: u64 = 40;

/// How a client treats its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One for each node, kept; each request goes to a node that is ready.
    Kept,
    /// A new one for each request, to a node that is ready.
    New,
    /// One, kept for as long as its node lets it, whatever `/ready` says: as behind a load balancer for TCP.
    Sticky,
}

/// What the clients do.
#[derive(Clone, Debug)]
pub struct Mix {
    /// Where requests go: nodes, or a load balancer.
    pub targets: Vec<SocketAddr>,
    /// Which of them are ready.
    pub ready: Arc<Vec<AtomicBool>>,
    /// The endpoints, each of which has the ledger behind it.
    pub endpoints: Vec<String>,
    /// Clients of each kind.
    pub clients: [(Kind, usize); 3],
    /// Requests per second, of all clients together.
    pub rate: f64,
    /// A connection that is refused is opened to another target, as load balancers do: nothing was sent yet.
    pub connect_elsewhere: bool,
}

/// A request that did not end with its own answer.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its number, which the ledger knows.
    pub id: u64,
    /// When it was begun and when it had failed, since the start of the load.
    pub at: [Duration; 2],
    /// Where it was sent.
    pub target: Option<SocketAddr>,
    /// What was wrong.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, to] = self.at.map(|at| at.as_secs_f64());
        let target = self.target.map(|addr| addr.to_string()).unwrap_or_default();
        write!(f, "#{} {from:.3}..{to:.3} s at {target}: {}", self.id, self.what)
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests that ended with their own answers.
    pub done: u64,
    /// Those that did not.
    pub failed: Vec<Failure>,
    /// Connections opened.
    pub connections: u64,
    /// Answers that said that their connection ends.
    pub closes: u64,
    /// The longest time between two successes of the same client.
    pub gap_max: Duration,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.failed.extend(other.failed);
        self.connections += other.connections;
        self.closes += other.closes;
        self.gap_max = self.gap_max.max(other.gap_max);
    }
}

struct Shared {
    mix: Mix,
    start: Instant,
    stop: AtomicBool,
    next: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    first: Mutex<Vec<String>>,
}

/// Running clients.
pub struct Load {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<Tally>>,
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load").field("done", &self.done()).finish_non_exhaustive()
    }
}

impl Load {
    /// Starts them.
    pub fn start(mix: Mix) -> Self {
        let kinds: Vec<Kind> =
            mix.clients.iter().flat_map(|(kind, n)| std::iter::repeat_n(*kind, *n)).collect();
        let every = Duration::from_secs_f64(kinds.len() as f64 / mix.rate);
        let shared = Arc::new(Shared {
            mix,
            start: Instant::now(),
            stop: AtomicBool::new(false),
            next: AtomicU64::new(1),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            first: Mutex::default(),
        });
        let n = kinds.len() as u32;
        let workers = kinds.into_iter().enumerate().map(|(i, kind)| {
            let shared = Arc::clone(&shared);
            // Spread over the interval, so that they do not speak in chorus.
            let begin = shared.start + every * i as u32 / n;
            thread::spawn(move || Worker::new(kind, i, shared).run(begin, every))
        });
        let workers = workers.collect();
        Self { shared, workers }
    }

    /// Since when times of failures count.
    pub fn start_time(&self) -> Instant {
        self.shared.start
    }

    /// Requests that ended with their own answers so far.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::SeqCst)
    }

    /// Requests that failed so far.
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::SeqCst)
    }

    /// The first few failures.
    pub fn first_failures(&self) -> Vec<String> {
        self.shared.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until this many requests have ended, or failed, since the start.
    pub fn wait(&self, requests: u64) {
        while self.done() + self.failed() < requests {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the load once what is under way has ended.
    ///
    /// # Panics
    ///
    /// When a client panicked.
    pub fn stop(self) -> Tally {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut tally = Tally::default();
        for worker in self.workers {
            tally.add(worker.join().expect("a client"));
        }
        tally
    }
}

struct Worker {
    kind: Kind,
    shared: Arc<Shared>,
    turn: usize,
    kept: Vec<Option<Client>>,
    tally: Tally,
}

impl Worker {
    fn new(kind: Kind, i: usize, shared: Arc<Shared>) -> Self {
        let kept = shared.mix.targets.iter().map(|_| None).collect();
        Self { kind, shared, turn: i, kept, tally: Tally::default() }
    }

    fn run(mut self, begin: Instant, every: Duration) -> Tally {
        let mut next = begin;
        let mut last = Instant::now();
        while !self.shared.stop.load(Ordering::SeqCst) {
            let now = Instant::now();
            if next > now {
                thread::sleep(next - now);
            }
            // Who is late does not catch up: a stalled service is not met by a flood.
            next = (next + every).max(now);
            let id = self.shared.next.fetch_add(1, Ordering::SeqCst);
            let from = self.shared.start.elapsed();
            let mut target = None;
            match self.request(id, &mut target) {
                Ok(()) => {
                    self.tally.done += 1;
                    self.shared.done.fetch_add(1, Ordering::SeqCst);
                    self.tally.gap_max = self.tally.gap_max.max(last.elapsed());
                    last = Instant::now();
                }
                Err(what) => {
                    let at = [from, self.shared.start.elapsed()];
                    let failure = Failure { id, at, target, what };
                    let mut first = self.shared.first.lock().unwrap_or_else(PoisonError::into_inner);
                    if first.len() < 8 {
                        first.push(failure.to_string());
                    }
                    drop(first);
                    self.tally.failed.push(failure);
                    self.shared.failed.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        self.tally
    }

    /// Sends one request, once, and looks at every byte of the answer.
    fn request(&mut self, id: u64, target: &mut Option<SocketAddr>) -> Result<(), String> {
        let (at, mut client) = self.connection()?;
        *target = Some(self.shared.mix.targets[at]);
        let endpoints = &self.shared.mix.endpoints;
        let endpoint = &endpoints[id as usize % endpoints.len()];
        let kind = if id.is_multiple_of(SLOW_OF) { "slow" } else { "id" };
        let path = format!("/{kind}/{id}");
        let method = if (id / 3).is_multiple_of(2) { "GET" } else { "POST" };
        // Most are small; some do not fit into one read.
        let size = if id.is_multiple_of(17) { 30_000 } else { 200 };
        let mut body = vec![0; if method == "POST" { size } else { 0 }];
        pattern(id, &mut body);
        let how = |what: &dyn fmt::Display| format!("{method} {path} to {endpoint}, {:?}: {what}", self.kind);
        let fields = [("x-piko-endpoint", endpoint.as_str())];
        let response = client.request(method, &path, &fields, &body).map_err(|e| how(&e))?;
        let mut expected = format!("{id}\n").into_bytes();
        expected.extend(body);
        let closes = response.value("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        self.tally.closes += u64::from(closes);
        if response.status() != 200 || response.end != End::Complete || response.body.bytes != expected {
            let (status, end) = (response.status(), &response.end);
            let error = response.value("x-piko-error").unwrap_or_default();
            return Err(how(&format!("{status} {end:?} {error} {:?}", response.body.text())));
        }
        if self.kind != Kind::New && !closes {
            self.kept[at] = Some(client);
        }
        Ok(())
    }

    fn connection(&mut self) -> Result<(usize, Client), String> {
        if self.kind == Kind::Sticky {
            for at in 0..self.kept.len() {
                if let Some(client) = self.kept[at].take().filter(is_quiet) {
                    return Ok((at, client));
                }
            }
        }
        let n = self.kept.len();
        let mut last = "no node is ready".to_owned();
        for _ in 0..n {
            self.turn += 1;
            let ready = |at: &usize| self.shared.mix.ready[*at].load(Ordering::SeqCst);
            let Some(at) = (0..n).map(|i| (self.turn + i) % n).find(ready) else { break };
            self.turn = at;
            if let Some(client) = self.kept[at].take().filter(is_quiet) {
                return Ok((at, client));
            }
            let addr = self.shared.mix.targets[at];
            match connect(addr) {
                Ok(client) => {
                    self.tally.connections += 1;
                    return Ok((at, client));
                }
                Err(error) => last = format!("connect to {addr}: {error}"),
            }
            if !self.shared.mix.connect_elsewhere {
                break;
            }
        }
        Err(last)
    }
}

fn connect(addr: SocketAddr) -> io::Result<Client> {
    let mut client = Client::over(TcpStream::connect_timeout(&addr, Duration::from_secs(1))?)?;
    client.set_patience(PATIENCE)?;
    Ok(client)
}

/// Whether a kept connection has neither ended nor anything to say, which is what every pool looks at.
fn is_quiet(client: &Client) -> bool {
    let stream = client.stream();
    let peek = || {
        stream.set_nonblocking(true)?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        peeked
    };
    peek().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
}
