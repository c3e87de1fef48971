//! Two `WsStream`s joined by two small buffers that give and take a few bytes at a time: what a byte stream inside a
//! WebSocket promises, however the connection below cuts it.

use futures::future::join;
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use futures_lite::future::block_on;
use piko_core::ws::Role;
use piko_driver::{Io, IoInfo, Probe, WsStream};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// One direction of a connection.
#[derive(Default)]
struct Way {
    bytes: VecDeque<u8>,
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One end of a connection that takes and gives at most `step` bytes at a time and holds `room` of them.
struct End {
    from: Arc<Mutex<Way>>,
    to: Arc<Mutex<Way>>,
    step: usize,
    room: usize,
    info: IoInfo,
}

impl End {
    fn pair(step: usize, room: usize) -> (Self, Self) {
        let (a, b) = (Arc::<Mutex<Way>>::default(), Arc::<Mutex<Way>>::default());
        let end = |from: &Arc<Mutex<Way>>, to: &Arc<Mutex<Way>>| Self {
            from: from.clone(),
            to: to.clone(),
            step,
            room,
            info: IoInfo::default(),
        };
        (end(&a, &b), end(&b, &a))
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut way = self.from.lock().expect("no panic under the lock");
        let n = way.bytes.len().min(buf.len()).min(self.step);
        if n == 0 && !way.ended {
            way.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        for (to, byte) in buf.iter_mut().zip(way.bytes.drain(..n)) {
            *to = byte;
        }
        way.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut way = self.to.lock().expect("no panic under the lock");
        if way.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let n = buf.len().min(self.step).min(self.room - way.bytes.len());
        if n == 0 {
            way.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        way.bytes.extend(&buf[..n]);
        way.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut way = self.to.lock().expect("no panic under the lock");
        way.ended = true;
        way.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        for way in [&self.to, &self.from] {
            let mut way = way.lock().expect("no panic under the lock");
            way.ended = true;
            way.reader.take().into_iter().chain(way.writer.take()).for_each(Waker::wake);
        }
    }
}

impl Io for End {
    fn info(&self) -> &IoInfo {
        &self.info
    }

    fn abort(&mut self) {}

    fn probe(&mut self) -> Probe {
        Probe::Quiet
    }
}

fn pair(step: usize, room: usize, half_close: bool) -> (WsStream<End>, WsStream<End>) {
    let (client, server) = End::pair(step, room);
    (
        WsStream::new(client, Role::Client, Vec::new(), half_close),
        WsStream::new(server, Role::Server, Vec::new(), half_close),
    )
}

const CUTS: [(usize, usize); 4] = [(1, 1), (3, 7), (1000, 4096), (usize::MAX, 1 << 20)];

fn body(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|n| ((n * 31 + salt) % 251) as u8).collect()
}

/// Sends all of it, ends its direction, and gives what came.
async fn say_and_hear(stream: WsStream<End>, say: Vec<u8>) -> Vec<u8> {
    let (mut reader, mut writer) = stream.split();
    let speak = async {
        for part in say.chunks(70_000) {
            writer.write_all(part).await.expect("sent");
        }
        writer.close().await.expect("ended");
    };
    let mut heard = Vec::new();
    join(speak, reader.read_to_end(&mut heard)).await.1.expect("a clean end");
    heard
}

#[test]
fn both_directions_end_by_themselves_however_the_wire_cuts() {
    for (step, room) in CUTS {
        let (client, server) = pair(step, room, true);
        let (up, down) = (body(100_000, 1), body(150_001, 2));
        let both = join(say_and_hear(client, up.clone()), say_and_hear(server, down.clone()));
        let (heard_down, heard_up) = block_on(both);
        assert!(heard_up == up && heard_down == down, "{step} {room}");
    }
}

#[test]
fn whoever_ends_first_hears_the_rest() {
    for (step, room) in CUTS {
        for client_first in [true, false] {
            let (client, server) = pair(step, room, true);
            let (mut first, mut second) = if client_first { (client, server) } else { (server, client) };
            block_on(async {
                let mut heard = Vec::new();
                let end = async { first.close().await.expect("ended") };
                join(end, second.read_to_end(&mut heard)).await.1.expect("a clean end");
                assert!(first.write_all(b"x").await.is_err(), "behind the end nothing is sent");
                let answer = body(50_000, 3);
                let speak = async {
                    second.write_all(&answer).await.expect("the other direction is open");
                    second.close().await.expect("ended");
                };
                join(speak, first.read_to_end(&mut heard)).await.1.expect("a clean end");
                assert!(heard == answer, "{step} {room} {client_first}");
            });
        }
    }
}

#[test]
fn what_breaks_off_is_no_clean_end() {
    for (step, room) in CUTS {
        let (mut client, server) = pair(step, room, true);
        drop(server);
        let error = block_on(client.read(&mut [0; 10])).expect_err("a cut");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{step} {room}");
    }
}

/// Towards Go a client ends its direction with that of the connection, behind which it is still answered.
#[test]
fn without_the_capability_the_ends_are_those_of_go() {
    for (step, room) in CUTS {
        let (client, server) = pair(step, room, false);
        let both = join(say_and_hear(client, body(1000, 1)), say_and_hear(server, body(2000, 2)));
        assert_eq!(block_on(both), (body(2000, 2), body(1000, 1)), "{step} {room}");
        // A server that is gone without a close frame is one that has ended.
        let (mut client, server) = pair(step, room, false);
        drop(server);
        assert_eq!(block_on(client.read(&mut [0; 10])).expect("an end"), 0);
    }
}
