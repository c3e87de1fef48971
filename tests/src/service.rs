//! A small HTTP/1.1 service for tests, on `std::net` with one thread per connection.
//!
//! It writes its answers byte by byte itself, so that it can also be wrong on demand. The routes:
//!
//! | route | answer |
//! | --- | --- |
//! | `/hello` | `hello\n` with a length |
//! | `/echo` | the request's body, framed as it came; `?stream=1` answers piece by piece while it arrives |
//! | `/bytes?n=&framing=length\|chunked\|close` | `n` bytes of [`crate::http::pattern`] |
//! | `/sse?n=&ms=&gate=` | `n` server-sent events, `ms` apart, chunked; with a gate each but the first waits for one `/pass` |
//! | `/pass?gate=` | `hello\n`, and lets the next event of `/sse` with this gate pass |
//! | `/slow?head_ms=&body_ms=` | `slow\n` after a wait before the head, and one in the middle of the body |
//! | `/cut?framing=&n=&sent=&how=fin\|rst` | announces `n` bytes and breaks off after `sent`; `framing=head` breaks off in the head |
//! | `/100` | `100 Continue`, then the body as `/echo`; `?refuse=1` answers 417 and reads nothing |
//! | `/103` | `103 Early Hints` with a link, then `hello\n` |
//! | `/sum` | length and checksum of the request's body, which is not kept |
//! | `/trailers?n=` | chunked pattern with the trailer `x-checksum` |
//! | `/upgrade` | 101 to whatever was asked for, then echoes until the client's FIN, then its own |
//! | `/headers` | the head of the request, byte for byte, as body |
//! | `/wait?n=` | `hello\n`, once `n` requests for the same target are there; 503 after 20 s |
//! | `/status?code=` | this status with an empty body |
//! | `/close` | `hello\n` with `connection: close`, and closes |
//! | anything else | 404 |

mod conn;
mod routes;

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long `/wait` waits for its company.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// What can be set about a service.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Closes a connection that was idle this long behind an answer, as services do that hang up on pooled connections.
    pub close_idle_after: Option<Duration>,
}

impl Options {
    /// Sets [`Self::close_idle_after`].
    #[must_use]
    pub fn close_idle_after(mut self, after: Duration) -> Self {
        self.close_idle_after = Some(after);
        self
    }
}

/// What a service has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted.
    pub connections: u64,
    /// Request heads read.
    pub requests: u64,
    /// Payload bytes of requests.
    pub body_in: u64,
    /// Payload bytes of answers that the socket took.
    pub body_out: u64,
}

/// A running service; dropping it closes its port and all its connections.
#[derive(Debug)]
pub struct Service {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    options: Options,
    stopping: AtomicBool,
    connections: AtomicU64,
    requests: AtomicU64,
    body_in: AtomicU64,
    body_out: AtomicU64,
    /// Open connections, to be shut down at the end.
    open: Mutex<BTreeMap<u64, TcpStream>>,
    /// Requests that have arrived per `/wait` target and per gate.
    waiting: Mutex<BTreeMap<String, u64>>,
    arrived: Condvar,
}

type Handler = dyn Fn(TcpStream) + Send + Sync;

impl Service {
    /// Starts the service of the table above on a port of the kernel's choice.
    ///
    /// # Panics
    ///
    /// When no port of 127.0.0.1 can be had.
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// The same with options.
    ///
    /// # Panics
    ///
    /// As [`Self::start`].
    pub fn start_with(options: Options) -> Self {
        let shared = Arc::new(Shared { options, ..Shared::default() });
        let own = Arc::clone(&shared);
        Self::run(shared, Arc::new(move |stream| conn::serve(stream, &own)))
    }

    /// A service whose connections are handled by the caller, for answers that no route gives.
    ///
    /// # Panics
    ///
    /// As [`Self::start`].
    pub fn scripted(handler: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::run(Arc::default(), Arc::new(handler))
    }

    fn run(shared: Arc<Shared>, handler: Arc<Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on 127.0.0.1");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let own = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&listener, &own, &handler));
        Self { addr, shared, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it has seen so far.
    pub fn counts(&self) -> Counts {
        let load = |n: &AtomicU64| n.load(Ordering::SeqCst);
        Counts {
            connections: load(&self.shared.connections),
            requests: load(&self.shared.requests),
            body_in: load(&self.shared.body_in),
            body_out: load(&self.shared.body_out),
        }
    }

    /// Connections that are open at this moment.
    pub fn open_connections(&self) -> usize {
        self.shared.open().len()
    }

    /// Waits until `wanted` likes the counts and returns them; `None` after `within`.
    pub fn wait_counts(&self, within: Duration, wanted: impl Fn(&Counts) -> bool) -> Option<Counts> {
        let deadline = Instant::now() + within;
        loop {
            let counts = self.counts();
            if wanted(&counts) {
                return Some(counts);
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.arrived.notify_all();
        // Wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect_timeout(&self.addr, Duration::from_secs(1));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for stream in self.shared.open().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Counts a request for `target`.
    fn count(&self, target: &str) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting.entry(target.to_owned()).or_default() += 1;
        drop(waiting);
        self.arrived.notify_all();
    }

    /// Waits until `n` requests for `target` have arrived, this one included.
    fn wait_for(&self, target: &str, n: u64) -> bool {
        self.count(target);
        self.wait_until(target, n)
    }

    /// Waits until `n` requests for `target` have arrived.
    fn wait_until(&self, target: &str, n: u64) -> bool {
        let deadline = Instant::now() + WAIT_MAX;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if waiting.get(target).is_some_and(|&count| count >= n) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stopping() {
                return false;
            }
            let waited = self.arrived.wait_timeout(waiting, left.min(Duration::from_millis(100)));
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, handler: &Arc<Handler>) {
    for stream in listener.incoming() {
        if shared.stopping() {
            return;
        }
        let Ok(stream) = stream else { continue };
        let id = shared.connections.fetch_add(1, Ordering::SeqCst);
        let Ok(copy) = stream.try_clone() else { continue };
        shared.open().insert(id, copy);
        let (shared, handler) = (Arc::clone(shared), Arc::clone(handler));
        thread::spawn(move || {
            handler(stream);
            shared.open().remove(&id);
        });
    }
}

/// Is this the peer's going away, rather than a fault of the service?
fn gone(e: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        e.kind(),
        Kind::BrokenPipe | Kind::ConnectionReset | Kind::ConnectionAborted | Kind::NotConnected
    )
}

#[cfg(test)]
#[path = "service/service_tests.rs"]
mod tests;
