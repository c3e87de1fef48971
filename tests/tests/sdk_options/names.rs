//! Names are resolved at every attempt: a server that has moved is found.

use crate::{Events, SOON, beside};
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

/// A runtime with a resolver of its own: whatever the name, these addresses, with the port of the question unless
/// one says otherwise.
#[derive(Clone)]
struct Moving<R> {
    on: R,
    addrs: Arc<Mutex<Vec<SocketAddr>>>,
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

    fn connect(&self, to: &Addr) -> impl Future<Output = io::Result<R::Tcp>> + Send {
        self.on.connect(to)
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
    let rt = Moving { on, addrs: Arc::new(Mutex::new(vec![dead])) };
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
    dialer.dial_raw("e").await.expect("a connection");
    let dialled = |stream: Stream| drop(stream);
    dialled(std::future::poll_fn(|cx| listener.poll_accept(cx)).await.expect("a stream"));
}

crate::on_both! {
    a_server_that_moves_is_found
}
