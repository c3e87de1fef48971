//! Listening sockets, TCP and Unix.

use crate::{TokioIo, UnixListener, UnixStream};
use piko_driver::{Addr, ListenOptions, Listener};
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use tokio::net::{TcpListener, TcpStream};

/// A [`Listener`]. An error of `poll_accept` concerns one connection or a lack of resources: the socket
/// still listens, and the caller goes on after a pause.
#[derive(Debug)]
pub struct TokioListener {
    socket: Accepts,
}

#[derive(Debug)]
enum Accepts {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl TokioListener {
    /// Must run within the runtime's context. Errors name the address.
    pub(crate) fn open(at: &Addr, how: ListenOptions) -> io::Result<Self> {
        let socket = piko_sockets::listen(
            at,
            how,
            |socket| TcpListener::from_std(socket.into()).map(Accepts::Tcp),
            |socket| UnixListener::from_std(socket.into()).map(Accepts::Unix),
        )?;
        Ok(Self { socket })
    }
}

impl Listener for TokioListener {
    type Io = TokioIo;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TokioIo>> {
        Poll::Ready(Ok(match &self.socket {
            Accepts::Tcp(listener) => {
                let (stream, peer) = ready!(listener.poll_accept(cx))?;
                TokioIo::accepted(stream, peer)
            }
            Accepts::Unix(listener) => TokioIo::unix(ready!(listener.poll_accept(cx))?.0),
        }))
    }

    fn stop_handshakes(&mut self) -> bool {
        match &self.socket {
            Accepts::Tcp(listener) => piko_sockets::drop_syns(&SockRef::from(listener)),
            // Its connections are there at once.
            Accepts::Unix(_) => false,
        }
    }

    fn accept_waiting(&mut self) -> Option<TokioIo> {
        match &self.socket {
            Accepts::Tcp(listener) => {
                let (socket, peer) = piko_sockets::accept_now(&SockRef::from(listener))?;
                let stream = TcpStream::from_std(socket.into()).ok()?;
                Some(TokioIo::accepted(stream, piko_sockets::canonical(peer.as_socket()?)))
            }
            Accepts::Unix(listener) => {
                let (socket, _) = piko_sockets::accept_now(&SockRef::from(listener))?;
                UnixStream::from_std(socket.into()).ok().map(TokioIo::unix)
            }
        }
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Accepts::Tcp(listener) => listener.local_addr().ok(),
            Accepts::Unix(_) => None,
        }
    }
}
