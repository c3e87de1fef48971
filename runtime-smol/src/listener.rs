//! Listening sockets, TCP and Unix.

use crate::SmolIo;
use crate::reactor::{Reactor, Source};
use piko_driver::{Addr, ListenOptions, Listener};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::task::{Context, Poll, Waker, ready};

/// A [`Listener`]. An error of `poll_accept` concerns one connection or a lack of resources: the socket
/// still listens, and the caller goes on after a pause.
#[derive(Debug)]
pub struct SmolListener {
    socket: Accepts,
}

#[derive(Debug)]
enum Accepts {
    Tcp(Source<TcpListener>),
    Unix(Source<UnixListener>),
}

impl SmolListener {
    /// Errors name the address.
    pub(crate) fn open(reactor: &'static Reactor, at: &Addr, how: ListenOptions) -> io::Result<Self> {
        let socket = piko_sockets::listen(
            at,
            how,
            |socket| Source::new(reactor, socket.into()).map(Accepts::Tcp),
            |socket| Source::new(reactor, socket.into()).map(Accepts::Unix),
        )?;
        Ok(Self { socket })
    }
}

impl Listener for SmolListener {
    type Io = SmolIo;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<SmolIo>> {
        Poll::Ready(Ok(match &self.socket {
            Accepts::Tcp(listener) => {
                let (stream, peer) = ready!(poll_accept(listener, cx, TcpListener::accept))?;
                stream.set_nonblocking(true)?;
                SmolIo::accepted(Source::new(listener.reactor(), stream)?, peer)
            }
            Accepts::Unix(listener) => {
                let (stream, _) = ready!(poll_accept(listener, cx, UnixListener::accept))?;
                stream.set_nonblocking(true)?;
                SmolIo::unix(Source::new(listener.reactor(), stream)?)
            }
        }))
    }

    fn stop_handshakes(&mut self) -> bool {
        match &self.socket {
            Accepts::Tcp(listener) => piko_sockets::drop_syns(&socket2::SockRef::from(listener.get_ref())),
            // Its connections are there at once.
            Accepts::Unix(_) => false,
        }
    }

    fn accept_waiting(&mut self) -> Option<SmolIo> {
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            // Accepting asks the kernel before it asks the reactor.
            match self.poll_accept(&mut cx) {
                Poll::Ready(Ok(io)) => return Some(io),
                Poll::Ready(Err(cause)) if cause.kind() == io::ErrorKind::ConnectionAborted => {}
                _ => return None,
            }
        }
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Accepts::Tcp(listener) => listener.get_ref().local_addr().ok(),
            Accepts::Unix(_) => None,
        }
    }
}

/// Tries first and waits only when nobody is there.
fn poll_accept<L: AsRawFd, S>(
    listener: &Source<L>,
    cx: &mut Context<'_>,
    accept: impl Fn(&L) -> io::Result<S>,
) -> Poll<io::Result<S>> {
    loop {
        match accept(listener.get_ref()) {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                ready!(listener.poll_readable(cx));
            }
            result => return Poll::Ready(result),
        }
    }
}
