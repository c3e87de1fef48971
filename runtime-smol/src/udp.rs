//! Datagram sockets.

use crate::reactor::{Reactor, Source};
use piko_driver::Datagram;
use piko_sockets::canonical;
use socket2::{Protocol, Type};
use std::io;
use std::net::{SocketAddr, SocketAddrV6, UdpSocket};
use std::task::{Context, Poll, ready};

/// A [`Datagram`]. On an IPv6 wildcard it speaks IPv4 too, and shows such addresses as IPv4.
#[derive(Debug)]
pub struct SmolUdp {
    socket: Source<UdpSocket>,
    /// The socket is an IPv6 one, which knows IPv4 addresses in their mapped form only.
    v6: bool,
}

impl SmolUdp {
    pub(crate) fn bind(reactor: &'static Reactor, at: SocketAddr) -> io::Result<Self> {
        let socket = piko_sockets::with_fallback(at, true, |addr, only_v6| {
            let socket = piko_sockets::socket(addr, Type::DGRAM, Protocol::UDP, only_v6)?;
            socket.bind(&addr.into())?;
            Ok(socket)
        });
        let socket = socket.map_err(|cause| piko_sockets::cannot("bind udp", &at, &cause))?;
        let socket = Source::new(reactor, UdpSocket::from(socket))?;
        let v6 = socket.get_ref().local_addr()?.is_ipv6();
        Ok(Self { socket, v6 })
    }
}

impl Datagram for SmolUdp {
    fn poll_recv_from(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        loop {
            match self.socket.get_ref().recv_from(buf) {
                Ok((n, from)) => return Poll::Ready(Ok((n, canonical(from)))),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_readable(cx));
                }
                Err(cause) => return Poll::Ready(Err(cause)),
            }
        }
    }

    fn poll_send_to(&mut self, cx: &mut Context<'_>, data: &[u8], to: SocketAddr) -> Poll<io::Result<usize>> {
        let to = match to {
            SocketAddr::V4(v4) if self.v6 => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            to => to,
        };
        loop {
            match self.socket.get_ref().send_to(data, to) {
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_writable(cx));
                }
                result => return Poll::Ready(result),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }
}
