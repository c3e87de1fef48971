//! Links that go silent are noticed by both sides and replaced within twelve seconds.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::process::{Agent, Signal};
use piko_tests::service::Service;

use super::common::{PATIENCE, client, get, is_hello, own_ip, quiet, server};

/// A link that is silent for longer is noticed.
const NOTICED: Duration = Duration::from_secs(12);

/// Both at once, as each of them waits most of the time.
#[test]
fn silence_is_noticed_on_both_sides() {
    thread::scope(|scope| {
        scope.spawn(a_frozen_agent_is_noticed_and_comes_back);
        scope.spawn(a_link_that_forwards_nothing_is_replaced);
    });
}

fn a_frozen_agent_is_noticed_and_comes_back() {
    let service = Service::start();
    let server = server(&[]);
    let mut agent = Agent::http(&server.connect_url(), "frozen", &service.addr().to_string(), &[]);
    assert!(is_hello(&get(&server, "frozen", "/hello")));
    let _quiet = quiet();
    let (log, own_log) = (server.process.mark(), agent.process.mark());
    agent.process.signal(Signal::Stop).expect("the agent runs");
    server.process.wait_record(log, NOTICED, "upstream disconnected").expect("the server notices");
    assert_eq!(get(&server, "frozen", "/hello").status(), 502);
    agent.process.signal(Signal::Cont).expect("the agent is there");
    let lost = agent.wait_lost(own_log, NOTICED).expect("the agent notices");
    agent.wait_connected(lost, Duration::from_secs(2)).expect("the agent comes back");
    assert!(is_hello(&get(&server, "frozen", "/hello")));
}

fn a_link_that_forwards_nothing_is_replaced() {
    let service = Service::start();
    let server = server(&[]);
    let link = Link::start(server.upstream);
    let url = format!("http://{}", link.addr);
    let agent = Agent::http(&url, "silent", &service.addr().to_string(), &[]);
    assert!(is_hello(&get(&server, "silent", "/hello")));
    let _quiet = quiet();
    let (log, own_log) = (server.process.mark(), agent.process.mark());
    let start = Instant::now();
    link.freeze();
    // Requests go on, and the kernel takes them: that is no sign of life.
    let load = Knocking::start(server.proxy);
    let lost = agent.wait_lost(own_log, NOTICED).expect("the agent notices");
    agent.wait_connected(lost, NOTICED.saturating_sub(start.elapsed())).expect("a new tunnel");
    let left = NOTICED.saturating_sub(start.elapsed());
    server.process.wait_record(log, left, "upstream disconnected").expect("the server notices");
    drop(load);
    assert!(is_hello(&get(&server, "silent", "/hello")));
    assert!(start.elapsed() <= NOTICED, "{:?}", start.elapsed());
    assert_eq!(link.accepted.load(Ordering::SeqCst), 2);
}

/// Requests that nobody waits for, ten in a second.
struct Knocking {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Knocking {
    fn start(proxy: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let over = stop.clone();
        let thread = thread::spawn(move || {
            let mut open = Vec::new();
            while !over.load(Ordering::SeqCst) {
                let mut one = client(proxy);
                one.send_head("GET", "/hello", &[("x-piko-endpoint", "silent")]).expect("sent");
                open.push(one);
                thread::sleep(Duration::from_millis(100));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Knocking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Forwards TCP; connections from before a freeze stay open and carry nothing any more.
struct Link {
    addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
    frozen: Arc<Mutex<Arc<AtomicBool>>>,
    stop: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Link {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((own_ip(), 0)).expect("a free port");
        let link = Self {
            addr: listener.local_addr().expect("its address"),
            accepted: Arc::default(),
            frozen: Arc::default(),
            stop: Arc::default(),
            open: Arc::default(),
        };
        let (accepted, frozen, stop, open) =
            (link.accepted.clone(), link.frozen.clone(), link.stop.clone(), link.open.clone());
        thread::spawn(move || {
            for inner in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let inner = inner.expect("a connection");
                let outer = TcpStream::connect(to).expect("the server is there");
                accepted.fetch_add(1, Ordering::SeqCst);
                // Of this connection's time: a later freeze leaves those that come after it alone.
                let flag = frozen.lock().expect("no panic").clone();
                open.lock().expect("no panic").extend([copy(&inner), copy(&outer)]);
                for (from, to) in [(copy(&inner), copy(&outer)), (copy(&outer), copy(&inner))] {
                    let flag = flag.clone();
                    thread::spawn(move || pump(from, to, &flag));
                }
            }
        });
        link
    }

    fn freeze(&self) {
        let old = std::mem::take(&mut *self.frozen.lock().expect("no panic"));
        old.store(true, Ordering::SeqCst);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.addr, PATIENCE);
        for stream in self.open.lock().expect("no panic").iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn copy(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a descriptor")
}

/// Copies one direction. Frozen it goes on reading, as a network does that loses packets behind a middlebox,
/// and tells nobody of an end.
fn pump(mut from: TcpStream, mut to: TcpStream, frozen: &AtomicBool) {
    let mut block = [0; 4096];
    loop {
        let n = from.read(&mut block).unwrap_or(0);
        if frozen.load(Ordering::SeqCst) {
            if n == 0 {
                return;
            }
        } else if n == 0 || to.write_all(&block[..n]).is_err() {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}
