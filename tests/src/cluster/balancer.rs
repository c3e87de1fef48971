//! A round robin over TCP, as a simple load balancer does it.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a target may take to accept.
const DIAL: Duration = Duration::from_secs(1);

/// Takes each connection to the next of its targets that does not refuse; dropping it ends the port, and leaves
/// connections to their ends.
#[derive(Debug)]
pub struct Balancer {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    /// The clients' ends of the open connections.
    open: Arc<Mutex<BTreeMap<usize, TcpStream>>>,
    acceptor: Option<JoinHandle<()>>,
}

impl Balancer {
    /// Starts on a port of the kernel's choice.
    ///
    /// # Panics
    ///
    /// When no port of 127.0.0.1 can be had.
    pub fn start(targets: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on 127.0.0.1");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let open: Arc<Mutex<BTreeMap<usize, TcpStream>>> = Arc::default();
        let lines = Arc::clone(&open);
        let turn = AtomicUsize::new(0);
        let acceptor = thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                let first = turn.fetch_add(1, Ordering::Relaxed);
                let (targets, lines) = (targets.clone(), Arc::clone(&lines));
                let Ok(copy) = client.try_clone() else { continue };
                lock(&lines).insert(first, copy);
                thread::spawn(move || {
                    serve(&client, &targets, first);
                    lock(&lines).remove(&first);
                });
            }
        });
        Self { addr, stop, open, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL that agents are given.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Ends every connection that is open.
    pub fn cut(&self) {
        for line in lock(&self.open).values() {
            let _ = line.shutdown(Shutdown::Both);
        }
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        lock(&self.open).len()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect_timeout(&self.addr, DIAL);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn lock(lines: &Mutex<BTreeMap<usize, TcpStream>>) -> MutexGuard<'_, BTreeMap<usize, TcpStream>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(client: &TcpStream, targets: &[SocketAddr], first: usize) {
    let next = |i: usize| targets[(first + i) % targets.len()];
    let dial = |i| TcpStream::connect_timeout(&next(i), DIAL).ok();
    let Some(target) = (0..targets.len()).find_map(dial) else { return };
    let _ = (client.set_nodelay(true), target.set_nodelay(true));
    thread::scope(|scope| {
        scope.spawn(|| copy(client, &target));
        copy(&target, client);
    });
}

/// One direction, up to its end, which is passed on; a cut ends both.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let how = if io::copy(&mut from, &mut to).is_ok() { Shutdown::Write } else { Shutdown::Both };
    let _ = to.shutdown(how);
    if how == Shutdown::Both {
        let _ = from.shutdown(how);
    }
}
