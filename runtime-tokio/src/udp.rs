//! Datagram sockets.

use piko_driver::Datagram;
use piko_sockets::canonical;
use socket2::{Protocol, Type};
use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

/// A [`Datagram`]. On an IPv6 wildcard it speaks IPv4 too, and shows such addresses as IPv4.
#[derive(Debug)]
pub struct TokioUdp {
    socket: UdpSocket,
    /// The socket is an IPv6 one, which knows IPv4 addresses in their mapped form only.
    v6: bool,
}

impl TokioUdp {
    /// Must run within the runtime's context.
    pub(crate) fn bind(at: SocketAddr) -> io::Result<Self> {
        let socket = piko_sockets::with_fallback(at, true, |addr, only_v6| {
            let socket = piko_sockets::socket(addr, Type::DGRAM, Protocol::UDP, only_v6)?;
            socket.bind(&addr.into())?;
            Ok(socket)
        });
        let socket = socket.map_err(|cause| piko_sockets::cannot("bind udp", &at, &cause))?;
        let socket = UdpSocket::from_std(socket.into())?;
        let v6 = socket.local_addr()?.is_ipv6();
        Ok(Self { socket, v6 })
    }
}

impl Datagram for TokioUdp {
    fn poll_recv_from(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buf = ReadBuf::new(buf);
        let from = ready!(self.socket.poll_recv_from(cx, &mut buf))?;
        Poll::Ready(Ok((buf.filled().len(), canonical(from))))
    }

    fn poll_send_to(&mut self, cx: &mut Context<'_>, data: &[u8], to: SocketAddr) -> Poll<io::Result<usize>> {
        let to = match to {
            SocketAddr::V4(v4) if self.v6 => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            to => to,
        };
        self.socket.poll_send_to(cx, data, to)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}
