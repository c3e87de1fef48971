//! A tunnel end to end in one process: every runtime, every transport, the same expectations.

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::protocol::Role as TungsteniteRole;
use bytes::BytesMut;
use futures::future::{join, join_all};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use piko_core::id::EndpointId;
use piko_core::mux::{CloseReason, Config, GoAway};
use piko_core::tunnel::{Grant, Tunnel};
use piko_core::ws::Role;
use piko_driver::{
    Addr, Io, IoInfo, ListenOptions, Listener, RawTransport, Received, Runtime, Stream, Transport,
    TungsteniteTransport, TunnelHandle, TunnelLoop, WsTransport, sleep_until, timeout_at,
};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Makes the transports of both ends over a connected pair.
trait Kind: 'static {
    type Of<I: Io>: Transport;
    fn make<I: Io>(io: I, server: bool) -> impl Future<Output = Self::Of<I>> + Send;
}

struct Ws;
impl Kind for Ws {
    type Of<I: Io> = WsTransport<I>;
    async fn make<I: Io>(io: I, server: bool) -> WsTransport<I> {
        WsTransport::new(io, if server { Role::Server } else { Role::Client }, Vec::new())
    }
}

struct Raw;
impl Kind for Raw {
    type Of<I: Io> = RawTransport<I>;
    async fn make<I: Io>(io: I, _: bool) -> RawTransport<I> {
        RawTransport::new(io)
    }
}

struct Tungstenite;
impl Kind for Tungstenite {
    type Of<I: Io> = TungsteniteTransport<I>;
    async fn make<I: Io>(io: I, server: bool) -> TungsteniteTransport<I> {
        let role = if server { TungsteniteRole::Server } else { TungsteniteRole::Client };
        let config = TungsteniteTransport::<I>::config();
        TungsteniteTransport::new(WebSocketStream::from_raw_socket(io, role, Some(config)).await)
    }
}

/// One end ours, the other tungstenite's: the bytes on the wire mean the same.
struct Mixed;
enum Either<A, B> {
    A(A),
    B(B),
}
impl<A: Transport, B: Transport> Transport for Either<A, B> {
    const FRONT_ROOM: usize = 14;
    fn poll_recv(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<Received>> {
        match self {
            Self::A(t) => t.poll_recv(cx, into),
            Self::B(t) => t.poll_recv(cx, into),
        }
    }
    fn poll_send(&mut self, cx: &mut Context<'_>, from: &mut BytesMut) -> Poll<io::Result<()>> {
        match self {
            Self::A(t) => t.poll_send(cx, from),
            Self::B(t) => {
                if !from.is_empty() {
                    bytes::Buf::advance(from, 14);
                }
                t.poll_send(cx, from)
            }
        }
    }
    fn wants_send(&self) -> bool {
        match self {
            Self::A(t) => t.wants_send(),
            Self::B(t) => t.wants_send(),
        }
    }
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::A(t) => t.poll_close(cx),
            Self::B(t) => t.poll_close(cx),
        }
    }
    fn abort(&mut self) {}
}
impl Kind for Mixed {
    type Of<I: Io> = Either<WsTransport<I>, TungsteniteTransport<I>>;
    async fn make<I: Io>(io: I, server: bool) -> Self::Of<I> {
        if server {
            Either::A(Ws::make(io, true).await)
        } else {
            Either::B(Tungstenite::make(io, false).await)
        }
    }
}

async fn pair<R: Runtime, K: Kind>(rt: &R) -> (TunnelHandle, TunnelHandle) {
    let (server, agent, _) = counted_pair::<R, K>(rt).await;
    (server, agent)
}

/// A pair, and how often the loop of its server's end has been polled.
async fn counted_pair<R: Runtime, K: Kind>(rt: &R) -> (TunnelHandle, TunnelHandle, Arc<AtomicUsize>) {
    let at = Addr::Ip("127.0.0.1:0".parse().unwrap());
    let mut listener = rt.listen(&at, ListenOptions::default()).await.unwrap();
    let to = Addr::Ip(listener.local_addr().unwrap());
    let (near, far) = join(rt.connect(&to), poll_fn(|cx| listener.poll_accept(cx))).await;
    let (near, far) = (near.unwrap(), far.unwrap());
    let mut config = Config::default();
    config.front_room = <K::Of<R::Tcp> as Transport>::FRONT_ROOM;
    let endpoint = EndpointId::new(b"e").unwrap();
    let server = Tunnel::accepted(endpoint.clone(), Grant::default(), config.clone(), rt.now());
    let agent = Tunnel::dialled(endpoint, config, rt.now());
    let (server, work) = TunnelLoop::new(rt.clone(), K::make(far, true).await, server, IoInfo::default());
    let polls = Arc::new(AtomicUsize::new(0));
    let counter = polls.clone();
    rt.spawn(async move {
        let mut work = pin!(work);
        poll_fn(|cx| {
            counter.fetch_add(1, Relaxed);
            work.as_mut().poll(cx).map(drop)
        })
        .await;
    });
    let (agent, work) = TunnelLoop::new(rt.clone(), K::make(near, false).await, agent, IoInfo::default());
    rt.spawn(async move {
        let _ = work.await;
    });
    (server, agent, polls)
}

async fn open(tunnel: &TunnelHandle) -> Stream {
    poll_fn(|cx| tunnel.poll_open(cx)).await.unwrap()
}

/// Accepts for ever and echoes each stream.
fn echo<R: Runtime>(rt: &R, agent: TunnelHandle) {
    let spawner = rt.clone();
    rt.spawn(async move {
        while let Some(mut stream) = poll_fn(|cx| agent.poll_accept(cx)).await {
            spawner.spawn(async move {
                let mut buf = vec![0; 20_000];
                loop {
                    match stream.read(&mut buf).await {
                        Ok(0) => break,
                        Ok(n) => stream.write_all(&buf[..n]).await.unwrap(),
                        Err(_) => return,
                    }
                }
                stream.close().await.unwrap();
            });
        }
    });
}

fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = piko_core::rng::Rng::new(seed);
    let mut data = Vec::with_capacity(len + 8);
    while data.len() < len {
        data.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    data.truncate(len);
    data
}

async fn one_stream_echoes_ten_mebibytes<R: Runtime, K: Kind>(rt: R) {
    let (server, agent) = pair::<R, K>(&rt).await;
    echo(&rt, agent);
    let data = pattern(1, 10 * 1024 * 1024);
    let (mut reader, mut writer) = open(&server).await.split();
    let write = async {
        writer.write_all(&data).await.unwrap();
        writer.close().await.unwrap();
    };
    let read = async {
        let mut back = Vec::new();
        reader.read_to_end(&mut back).await.unwrap();
        back
    };
    let (back, ()) = join(read, write).await;
    assert!(back == data);
}

async fn a_thousand_streams_at_once<R: Runtime, K: Kind>(rt: R) {
    let (server, agent) = pair::<R, K>(&rt).await;
    echo(&rt, agent);
    let all = (0..1000u64).map(|n| {
        let server = server.clone();
        async move {
            let data = pattern(n, 3000);
            let mut stream = open(&server).await;
            stream.write_all(&data).await.unwrap();
            stream.close().await.unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).await.unwrap();
            assert!(back == data);
        }
    });
    join_all(all).await;
    // Every stream leaves the tables, the last FIN and its answer included.
    while server.streams() > 0 {
        sleep_until(&rt, rt.now() + Duration::from_millis(5)).await;
    }
}

async fn a_stalled_reader_holds_up_nobody<R: Runtime, K: Kind>(rt: R) {
    let (server, agent) = pair::<R, K>(&rt).await;
    let stuck = open(&server).await;
    let stuck_far = poll_fn(|cx| agent.poll_accept(cx)).await.unwrap();
    let (_stuck_reader, mut stuck_writer) = stuck_far.split();
    rt.spawn(async move {
        // More than the window: waits for ever, since nobody reads.
        let _ = stuck_writer.write_all(&vec![7; 2 * 1024 * 1024]).await;
    });
    echo(&rt, agent);
    let data = pattern(3, 1024 * 1024);
    let (mut reader, mut writer) = open(&server).await.split();
    let write = async {
        writer.write_all(&data).await.unwrap();
        writer.close().await.unwrap();
    };
    let mut back = Vec::new();
    let (read, ()) = join(reader.read_to_end(&mut back), write).await;
    read.unwrap();
    assert!(back == data);
    drop(stuck);
}

async fn a_dropped_stream_is_a_reset<R: Runtime, K: Kind>(rt: R) {
    let (server, agent) = pair::<R, K>(&rt).await;
    let mut near = open(&server).await;
    near.write_all(b"half a message").await.unwrap();
    let mut far = poll_fn(|cx| agent.poll_accept(cx)).await.unwrap();
    let mut buf = [0; 14];
    far.read_exact(&mut buf).await.unwrap();
    drop(near);
    let error = far.read(&mut buf).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

async fn the_end_of_the_tunnel_wakes_everybody<R: Runtime, K: Kind>(rt: R) {
    let (server, agent) = pair::<R, K>(&rt).await;
    let mut near = open(&server).await;
    near.write_all(b"x").await.unwrap();
    let mut far = poll_fn(|cx| agent.poll_accept(cx)).await.unwrap();
    let mut buf = [0; 8];
    assert_eq!(far.read(&mut buf).await.unwrap(), 1);
    let waits = async {
        let (mut a, mut b) = ([0; 8], [0; 8]);
        let (near, far) = join(near.read(&mut a), far.read(&mut b)).await;
        assert!(near.is_err() && far.is_err(), "a lost tunnel is never a clean end: {near:?} {far:?}");
    };
    let ends = async {
        sleep_until(&rt, rt.now() + Duration::from_millis(20)).await;
        server.abort(GoAway::InternalError);
    };
    join(waits, ends).await;
    poll_fn(|cx| agent.poll_closed(cx)).await;
    assert_eq!(agent.close_reason(), Some(CloseReason::GoAway(GoAway::InternalError)));
    assert!(poll_fn(|cx| agent.poll_accept(cx)).await.is_none());
    assert!(poll_fn(|cx| server.poll_open(cx)).await.is_err());
}

async fn an_agent_drains_what_is_open<R: Runtime, K: Kind>(rt: R) {
    let (server, agent) = pair::<R, K>(&rt).await;
    echo(&rt, agent.clone());
    let mut near = open(&server).await;
    near.write_all(b"before").await.unwrap();
    let mut buf = [0; 6];
    near.read_exact(&mut buf).await.unwrap();
    agent.drain(Duration::from_secs(20));
    poll_fn(|cx| server.poll_going_away(cx)).await;
    assert!(poll_fn(|cx| server.poll_open(cx)).await.is_err(), "no new streams behind a go-away");
    near.write_all(b"behind").await.unwrap();
    near.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"behind");
    near.close().await.unwrap();
    drop(near);
    poll_fn(|cx| agent.poll_closed(cx)).await;
    assert_eq!(agent.close_reason(), Some(CloseReason::Local));
    poll_fn(|cx| server.poll_closed(cx)).await;
}

async fn small_frames_share_their_writes<R: Runtime, K: Kind>(rt: R) {
    let (server, agent) = pair::<R, K>(&rt).await;
    echo(&rt, agent);
    let before = server.traffic().2;
    let all = (0..64u64).map(|_| {
        let server = server.clone();
        async move {
            for _ in 0..50 {
                let mut stream = open(&server).await;
                stream.write_all(b"ping").await.unwrap();
                let mut buf = [0; 4];
                stream.read_exact(&mut buf).await.unwrap();
                stream.finish_lazily();
            }
        }
    });
    join_all(all).await;
    let writes = server.traffic().2 - before;
    // 3,200 exchanges: one write each would be the naive way (performance guide 2.1: 0.1 at most).
    assert!(writes < 3200 / 5, "{writes} writes for 3200 exchanges");
}

/// One exchange after the other: the loop is called once to send and once to receive. A slow machine sends what waits
/// for company by itself, so only a good quarter of the exchanges has to show it.
async fn an_exchange_calls_the_loop_twice<R: Runtime, K: Kind>(rt: R) {
    let (server, agent, polls) = counted_pair::<R, K>(&rt).await;
    echo(&rt, agent);
    let mut each = Vec::new();
    for _ in 0..300 {
        let before = polls.load(Relaxed);
        let mut stream = open(&server).await;
        stream.write_all(b"ping").await.unwrap();
        let mut buf = [0; 4];
        stream.read_exact(&mut buf).await.unwrap();
        stream.finish_lazily();
        each.push(polls.load(Relaxed) - before);
    }
    each.sort_unstable();
    assert!(each[each.len() / 4] <= 2, "polls of the loop for an exchange: {each:?}");
}

/// Hands in what it was made with, piece by piece, and never takes a byte.
struct Clogged(VecDeque<Vec<u8>>);
impl Transport for Clogged {
    const FRONT_ROOM: usize = 0;
    fn poll_recv(&mut self, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<Received>> {
        let Some(piece) = self.0.pop_front() else { return Poll::Pending };
        into[..piece.len()].copy_from_slice(&piece);
        Poll::Ready(Ok(Received::Payload(0..piece.len())))
    }
    fn poll_send(&mut self, _: &mut Context<'_>, _: &mut BytesMut) -> Poll<io::Result<()>> {
        Poll::Pending
    }
    fn wants_send(&self) -> bool {
        false
    }
    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn abort(&mut self) {}
}

/// A pause that ends where nothing else moves: the transport has to be asked again, or it would call nobody.
async fn a_paused_loop_reads_again_at_once<R: Runtime, K: Kind>(rt: R) {
    // More refusals than may wait while the transport is read, and fewer than leave at once; then a ping.
    let syns = (0..1000u32).flat_map(|n| [&[0, 1, 0, 1][..], &(2 * n + 1).to_be_bytes(), &[0; 4]].concat());
    let pieces = [syns.collect(), vec![0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]];
    let bytes = pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
    let endpoint = EndpointId::new(b"e").unwrap();
    let tunnel = Tunnel::accepted(endpoint, Grant::default(), Config::default(), rt.now());
    let (tunnel, work) = TunnelLoop::new(rt.clone(), Clogged(pieces.into()), tunnel, IoInfo::default());
    rt.spawn(async move {
        let _ = work.await;
    });
    // Well before the keep-alive looks.
    let until = rt.now() + Duration::from_secs(2);
    while tunnel.traffic().1 < bytes && rt.now() < until {
        sleep_until(&rt, rt.now() + Duration::from_millis(5)).await;
    }
    assert_eq!(tunnel.traffic().1, bytes, "bytes that were read");
    assert_eq!(tunnel.close_reason(), None);
}

macro_rules! suite {
    ($name:ident, $krate:ident, $runtime:ident, $kind:ident, [$($test:ident),* $(,)?]) => {
        mod $name {
            use super::*;
            $(
                #[test]
                fn $test() {
                    $krate::block_on(|rt: $krate::$runtime| async move {
                        let until = rt.now() + PATIENCE;
                        timeout_at(&rt.clone(), Some(until), super::$test::<_, $kind>(rt)).await.expect("in time");
                    });
                }
            )*
        }
    };
}

macro_rules! on_all {
    ($tests:tt) => {
        suite!(tokio_ws, piko_runtime_tokio, Tokio, Ws, $tests);
        suite!(tokio_raw, piko_runtime_tokio, Tokio, Raw, $tests);
        suite!(tokio_tungstenite, piko_runtime_tokio, Tokio, Tungstenite, $tests);
        suite!(tokio_mixed, piko_runtime_tokio, Tokio, Mixed, $tests);
        suite!(smol_ws, piko_runtime_smol, Smol, Ws, $tests);
        suite!(smol_raw, piko_runtime_smol, Smol, Raw, $tests);
        suite!(smol_tungstenite, piko_runtime_smol, Smol, Tungstenite, $tests);
        suite!(smol_mixed, piko_runtime_smol, Smol, Mixed, $tests);
    };
}

on_all!([
    one_stream_echoes_ten_mebibytes,
    a_thousand_streams_at_once,
    a_stalled_reader_holds_up_nobody,
    a_dropped_stream_is_a_reset,
    the_end_of_the_tunnel_wakes_everybody,
    an_agent_drains_what_is_open,
    small_frames_share_their_writes,
]);

// tungstenite takes a turn more for some messages.
suite!(tokio_ws_turns, piko_runtime_tokio, Tokio, Ws, [an_exchange_calls_the_loop_twice]);
suite!(tokio_raw_turns, piko_runtime_tokio, Tokio, Raw, [an_exchange_calls_the_loop_twice]);
suite!(smol_ws_turns, piko_runtime_smol, Smol, Ws, [an_exchange_calls_the_loop_twice]);
suite!(smol_raw_turns, piko_runtime_smol, Smol, Raw, [an_exchange_calls_the_loop_twice]);
// It brings a transport of its own.
suite!(tokio_paused, piko_runtime_tokio, Tokio, Raw, [a_paused_loop_reads_again_at_once]);
suite!(smol_paused, piko_runtime_smol, Smol, Raw, [a_paused_loop_reads_again_at_once]);
