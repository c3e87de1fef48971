//! Distance between two programs of one machine: what is sent to a node arrives a while later, and so do its answers.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::ports::free_ports;

/// How often threads that wait for datagrams look whether it is over.
const LOOK: Duration = Duration::from_millis(100);

/// A relay in front of a node that hands on, for UDP and TCP on one port, what comes to it: each datagram and each piece of
/// a connection takes `one_way` and a random part of `jitter`, in both directions. Datagrams overtake each other; bytes of
/// a connection do not. It ends TCP on both sides: what is measured through it is how often something crosses the
/// distance, not what TCP makes of it.
///
/// Dropping it ends the datagrams; connections end with their peers.
#[derive(Debug)]
pub struct Far {
    addr: SocketAddr,
    road: Arc<Road>,
}

impl Far {
    /// Starts on a port of 127.0.0.1 that nobody else gets.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn to(target: SocketAddr, one_way: Duration, jitter: Duration) -> Self {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_ports(1)[0]));
        let listener = TcpListener::bind(addr).expect("the port is free");
        let near = Arc::new(UdpSocket::bind(addr).expect("the port is free"));
        ENDS.lock().unwrap_or_else(PoisonError::into_inner).insert(target, Arc::clone(&near));
        let road = Arc::new(Road { one_way, jitter, ..Road::default() });
        let (own, tcp) = (Arc::clone(&road), Arc::clone(&road));
        thread::spawn(move || datagrams(&near, target, &own));
        let own = Arc::clone(&road);
        thread::spawn(move || own.deliver());
        thread::spawn(move || {
            for near in listener.incoming() {
                let (Ok(near), Ok(there)) = (near, TcpStream::connect(target)) else { continue };
                for socket in [&near, &there] {
                    let _ = socket.set_nodelay(true);
                }
                let (Ok(near_again), Ok(there_again)) = (near.try_clone(), there.try_clone()) else {
                    continue;
                };
                carry(near_again, there_again, &tcp);
                carry(there, near, &tcp);
            }
        });
        Self { addr, road }
    }

    /// Where it is reached.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many datagrams it has handed on, in both directions.
    pub fn datagrams(&self) -> u64 {
        self.road.datagrams.load(Ordering::Relaxed)
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.road.over.store(true, Ordering::SeqCst);
        self.road.changed.notify_all();
    }
}

/// The far ends of this process, by whom they lead to: what such a node sends arrives from there, as it says of itself.
static ENDS: Mutex<BTreeMap<SocketAddr, Arc<UdpSocket>>> = Mutex::new(BTreeMap::new());

/// A datagram on its way: who sends it, to whom (`None`: whom the socket is connected to), and what.
type Packet = (Arc<UdpSocket>, Option<SocketAddr>, Vec<u8>);

/// What is under way.
#[derive(Debug, Default)]
struct Road {
    one_way: Duration,
    jitter: Duration,
    over: AtomicBool,
    drawn: AtomicU64,
    datagrams: AtomicU64,
    /// By arrival, and by number for those that arrive together.
    packets: Mutex<BTreeMap<(Instant, u64), Packet>>,
    sent: AtomicU64,
    changed: Condvar,
}

impl Road {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Instant, u64), Packet>> {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// When something that leaves now arrives.
    fn arrival(&self) -> Instant {
        // Weyl's sequence: spread evenly, and the same in every run.
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let part = (drawn >> 40) as f64 / (1 << 24) as f64;
        Instant::now() + self.one_way + self.jitter.mul_f64(part)
    }

    fn send(&self, from: &Arc<UdpSocket>, to: Option<SocketAddr>, bytes: &[u8]) {
        let key = (self.arrival(), self.sent.fetch_add(1, Ordering::Relaxed));
        self.lock().insert(key, (Arc::clone(from), to, bytes.to_vec()));
        self.changed.notify_all();
    }

    fn deliver(&self) {
        let mut packets = self.lock();
        while !self.is_over() {
            let now = Instant::now();
            let left = match packets.first_entry() {
                Some(first) if first.key().0 <= now => {
                    let (from, to, bytes) = first.remove();
                    self.datagrams.fetch_add(1, Ordering::Relaxed);
                    // What nobody takes is lost, as on any road.
                    let _ = to.map_or_else(|| from.send(&bytes), |to| from.send_to(&bytes, to));
                    continue;
                }
                Some(first) => first.key().0.saturating_duration_since(now),
                None => LOOK,
            };
            let waited = self.changed.wait_timeout(packets, left.min(LOOK));
            packets = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Takes what comes to `near`; each sender gets a socket of its own towards the target, so that answers find back.
fn datagrams(near: &Arc<UdpSocket>, target: SocketAddr, road: &Arc<Road>) {
    let mut senders: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut buf = vec![0; 65_536];
    let _ = near.set_read_timeout(Some(LOOK));
    while !road.is_over() {
        let Ok((n, sender)) = near.recv_from(&mut buf) else { continue };
        let end = ENDS.lock().unwrap_or_else(PoisonError::into_inner).get(&sender).cloned();
        if let Some(end) = end {
            road.send(&end, Some(target), &buf[..n]);
            continue;
        }
        let towards = senders.entry(sender).or_insert_with(|| {
            let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
            socket.connect(target).expect("an address of this machine");
            let (back, near, road) = (Arc::clone(&socket), Arc::clone(near), Arc::clone(road));
            thread::spawn(move || answers(&back, &near, sender, &road));
            socket
        });
        road.send(towards, None, &buf[..n]);
    }
}

fn answers(back: &UdpSocket, near: &Arc<UdpSocket>, sender: SocketAddr, road: &Road) {
    let mut buf = vec![0; 65_536];
    let _ = back.set_read_timeout(Some(LOOK));
    while !road.is_over() {
        // An error is a timeout, or what a target says that does not listen now.
        if let Ok(n) = back.recv(&mut buf) {
            road.send(near, Some(sender), &buf[..n]);
        }
    }
}

/// One direction of a connection: what is read waits in a queue, so that more can be on its way at once.
fn carry(mut from: TcpStream, to: TcpStream, road: &Arc<Road>) {
    let (sender, queue) = mpsc::channel();
    thread::spawn(move || hand_on(&queue, to));
    let road = Arc::clone(road);
    thread::spawn(move || {
        let mut buf = [0; 16 * 1024];
        while let Ok(n @ 1..) = from.read(&mut buf) {
            if sender.send((road.arrival(), buf[..n].to_vec())).is_err() {
                return;
            }
        }
    });
}

fn hand_on(queue: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (at, bytes) in queue {
        // The distance.
        thread::sleep(at.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    // An end crosses the distance as bytes do, behind them, and is that of this direction alone.
    let _ = to.shutdown(Shutdown::Write);
}
