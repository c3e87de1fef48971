//! Names are resolved at every attempt: a server that has moved is found, and an address that swallows connections costs little.

use crate::{Events, SOON, beside, take_all};
use piko_client::{Dialer, Runtime, Stream, Upstream};
use piko_core::time::Instant;
use piko_driver::{Addr, Io, ListenOptions, Turn};
use piko_tests::cluster::unused_addr;
use piko_tests::process::Server;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

/// A runtime with a resolver of its own: whatever the name, these addresses, with the port of the question unless
/// one says otherwise.
#[derive(Clone)]
struct Moving<R> {
    on: R,
    addrs: Arc<Mutex<Vec<SocketAddr>>>,
    /// Nothing comes of connections to this address.
    swallows: Option<SocketAddr>,
    /// Where connections went.
    asked: Arc<Mutex<Vec<SocketAddr>>>,
}

impl<R> Moving<R> {
    fn new(on: R, addrs: Vec<SocketAddr>) -> Self {
        Self { on, addrs: Arc::new(Mutex::new(addrs)), swallows: None, asked: Arc::default() }
    }
}

impl<R: Runtime> Runtime for Moving<R> {
    type Tcp = R::Tcp;
    type Listener = R::Listener;
    type Udp = R::Udp;
    type Timer = R::Timer;
    type Stream = R::Stream;
    type Wrapped<I: Io> = R::Wrapped<I>;

    fn now(&self) -> Instant {
        self.on.now()
    }

    fn timer(&self) -> R::Timer {
        self.on.timer()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.on.spawn(task);
    }

    fn poll_end_of_turn(&self, cx: &mut Context<'_>, turn: &mut Turn) -> Poll<()> {
        self.on.poll_end_of_turn(cx, turn)
    }

    async fn resolve(&self, host: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        assert_eq!(host, "moving.invalid");
        Ok(self.addrs.lock().expect("no panic").clone())
    }

    async fn connect(&self, to: &Addr) -> io::Result<R::Tcp> {
        if let Addr::Ip(addr) = to {
            self.asked.lock().expect("no panic").push(*addr);
            if self.swallows == Some(*addr) {
                std::future::pending::<()>().await;
            }
        }
        self.on.connect(to).await
    }

    fn listen(&self, at: &Addr, how: ListenOptions) -> impl Future<Output = io::Result<R::Listener>> + Send {
        self.on.listen(at, how)
    }

    fn bind_udp(&self, at: SocketAddr) -> impl Future<Output = io::Result<R::Udp>> + Send {
        self.on.bind_udp(at)
    }

    fn detach(io: R::Tcp) -> io::Result<TcpStream> {
        R::detach(io)
    }

    fn adopt(&self, tcp: TcpStream) -> io::Result<R::Tcp> {
        self.on.adopt(tcp)
    }
}

async fn a_server_that_moves_is_found<R: Runtime>(on: R) {
    let dead = unused_addr();
    let first = beside(|| Server::start(&[])).await;
    let second = beside(|| Server::start(&[])).await;
    let rt = Moving::new(on, vec![dead]);
    let move_to = |addr| *rt.addrs.lock().expect("no panic") = vec![dead, addr];
    let upstream = Upstream::new(rt.clone(), "http://moving.invalid:1").expect("a URL");
    let (upstream, mut events) = Events::of(&rt, upstream);
    let listener = upstream.listen_in_background("e").expect("a listener");
    events.until("failed").await;
    move_to(first.upstream);
    events.until("connected").await;
    move_to(second.upstream);
    let mut first = first;
    beside(move || first.terminate(SOON).map(drop).expect("the end")).await;
    events.until("connected").await;
    assert!(listener.is_connected());
    // A dialler asks for every connection.
    let dialer = Dialer::new(rt.clone(), "http://moving.invalid:1").expect("a URL").timeout(SOON);
    move_to(second.proxy);
    let accepted = std::future::poll_fn(|cx| listener.poll_accept(cx));
    let (connection, stream) = futures::future::join(dialer.dial_raw("e"), accepted).await;
    connection.expect("a connection");
    let dialled = |stream: Stream| drop(stream);
    dialled(stream.expect("a stream"));
}

async fn an_address_that_swallows_connections_costs_little_and_once<R: Runtime>(on: R) {
    let dead = unused_addr();
    let server = beside(|| Server::start(&[])).await;
    let mut rt = Moving::new(on, vec![dead, server.proxy]);
    rt.swallows = Some(dead);
    let url = format!("http://127.0.0.1:{}", server.upstream.port());
    let upstream = Upstream::new(rt.on.clone(), &url).expect("a URL");
    take_all(&rt.on, upstream.listen("e").await.expect("a listener"));
    let dialer = Dialer::new(rt.clone(), "http://moving.invalid:1").expect("a URL").timeout(SOON);
    let started = rt.now();
    dialer.dial_raw("e").await.expect("a connection");
    // An even share would be half a minute.
    let took = rt.now().since(started);
    assert!(took < Duration::from_secs(15), "{took:?}");
    dialer.clone().dial_raw("e").await.expect("a connection");
    let asked = rt.asked.lock().expect("no panic").clone();
    assert_eq!(asked, [dead, server.proxy, server.proxy], "what has answered comes first");
}

crate::on_both! {
    an_address_that_swallows_connections_costs_little_and_once
    a_server_that_moves_is_found
}
