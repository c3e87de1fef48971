//! async-tungstenite as a transport, for embedders who already hold such a socket.

use super::{Received, Transport};
use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::protocol::WebSocketConfig;
use async_tungstenite::tungstenite::{Error, Message};
use bytes::{Buf, Bytes, BytesMut};
use futures::io::{AsyncRead, AsyncWrite};
use futures::{Sink, Stream};
use piko_core::tunnel::TransportEnd;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Costs more memory and copies than [`super::WsTransport`] (dependencies guide); the bytes on the wire
/// mean the same.
pub struct TungsteniteTransport<I> {
    socket: WebSocketStream<I>,
    /// The message being handed out.
    message: Bytes,
    /// Output was given to the socket and not flushed yet.
    flushing: bool,
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send + 'static> TungsteniteTransport<I> {
    /// Over a socket whose handshake is done. Build it with [`Self::config`].
    pub fn new(socket: WebSocketStream<I>) -> Self {
        Self { socket, message: Bytes::new(), flushing: false }
    }

    /// Limits that suit a tunnel: small buffers, messages up to a little more than a full window.
    pub fn config() -> WebSocketConfig {
        WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .write_buffer_size(0)
            .max_write_buffer_size(1024 * 1024)
            .max_message_size(Some(2 * 1024 * 1024))
            .max_frame_size(Some(2 * 1024 * 1024))
    }
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send + 'static> Transport for TungsteniteTransport<I> {
    const FRONT_ROOM: usize = 0;

    fn poll_recv(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<Received>> {
        if self.message.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                None => return Poll::Ready(Ok(Received::End(TransportEnd::Closed))),
                Some(Ok(Message::Binary(message))) => self.message = message,
                Some(Ok(Message::Close(_))) => return Poll::Ready(Ok(Received::End(TransportEnd::Closed))),
                Some(Ok(Message::Text(_))) => return Poll::Ready(Ok(Received::End(TransportEnd::Failed))),
                Some(Ok(_)) => return Poll::Ready(Ok(Received::Nothing)),
                Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => {
                    return Poll::Ready(Ok(Received::End(TransportEnd::Closed)));
                }
                Some(Err(error)) => return Poll::Ready(Err(into_io(error))),
            }
        }
        let n = self.message.len().min(into.len());
        into[..n].copy_from_slice(&self.message[..n]);
        self.message.advance(n);
        Poll::Ready(Ok(if n == 0 { Received::Nothing } else { Received::Payload(0..n) }))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, from: &mut BytesMut) -> Poll<io::Result<()>> {
        if !from.is_empty() {
            ready!(Sink::poll_ready(Pin::new(&mut self.socket), cx)).map_err(into_io)?;
            let message = Message::Binary(from.split().freeze());
            Sink::start_send(Pin::new(&mut self.socket), message).map_err(into_io)?;
            self.flushing = true;
        }
        if self.flushing {
            ready!(Sink::poll_flush(Pin::new(&mut self.socket), cx)).map_err(into_io)?;
            self.flushing = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Pongs are queued by the socket itself and leave when it is polled.
    fn wants_send(&self) -> bool {
        self.flushing
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Sink::poll_close(Pin::new(&mut self.socket), cx).map_err(into_io)
    }

    fn abort(&mut self) {}
}
