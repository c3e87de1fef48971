//! TLS over memory: both sides of the driver's own, with the wire cut into pieces as it pleases.

use futures::future::join;
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use piko_driver::tls::{Acceptor, ClientFiles, Connector, Crypto, PairFiles, ServerFiles};
use piko_driver::{Io, IoInfo, MaybeTls, Probe};
use piko_runtime_smol::{Smol, SmolIo};
use piko_runtime_tokio::TokioIo;
use piko_tests::certs::{Authority, Folder};
use piko_tests::http::pattern;
use rustls::crypto::ring;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// A plain connection is no larger for the possibility of TLS.
#[test]
fn what_is_plain_pays_nothing() {
    assert_eq!(size_of::<MaybeTls<TokioIo>>(), size_of::<TokioIo>());
    assert_eq!(size_of::<MaybeTls<SmolIo>>(), size_of::<SmolIo>());
}

/// One direction.
#[derive(Default)]
struct Lane {
    bytes: VecDeque<u8>,
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One end of a connection in memory: reads and writes take at most `piece` bytes, and at most `room` are on the way.
struct Pipe {
    incoming: Arc<Mutex<Lane>>,
    outgoing: Arc<Mutex<Lane>>,
    piece: usize,
    room: usize,
    info: IoInfo,
}

fn pipe(piece: usize, room: usize) -> [Pipe; 2] {
    let (a, b) = (Arc::<Mutex<Lane>>::default(), Arc::<Mutex<Lane>>::default());
    let end = |incoming: &Arc<Mutex<Lane>>, outgoing: &Arc<Mutex<Lane>>| Pipe {
        incoming: incoming.clone(),
        outgoing: outgoing.clone(),
        piece,
        room,
        info: IoInfo::default(),
    };
    [end(&a, &b), end(&b, &a)]
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut lane = self.incoming.lock().unwrap();
        if lane.bytes.is_empty() && !lane.ended {
            lane.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = lane.bytes.len().min(buf.len()).min(self.piece);
        buf.iter_mut().zip(lane.bytes.drain(..n)).for_each(|(place, byte)| *place = byte);
        lane.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut lane = self.outgoing.lock().unwrap();
        let n = buf.len().min(self.piece).min(self.room - lane.bytes.len());
        if n == 0 {
            lane.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        lane.bytes.extend(&buf[..n]);
        lane.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut lane = self.outgoing.lock().unwrap();
        lane.ended = true;
        lane.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl Io for Pipe {
    fn info(&self) -> &IoInfo {
        &self.info
    }

    fn abort(&mut self) {
        self.outgoing.lock().unwrap().ended = true;
    }

    fn probe(&mut self) -> Probe {
        let lane = self.incoming.lock().unwrap();
        if lane.bytes.is_empty() && !lane.ended { Probe::Quiet } else { Probe::Spoilt }
    }
}

/// Both sides, with a certificate for `localhost`.
struct Sides {
    acceptor: Acceptor,
    connector: Connector,
    _folder: Folder,
}

impl Sides {
    fn new() -> Self {
        let (folder, authority) = (Folder::new("pair"), Authority::new("pair"));
        let [cert, key] = authority.issue(&["localhost"]).write(&folder, "server");
        let ca = folder.put("ca.pem", &authority.pem());
        let crypto =
            Crypto { provider: Arc::new(ring::default_provider()), tickets: Some(ring::Ticketer::new) };
        let certs = vec![PairFiles { cert: cert.into(), key: key.into() }];
        let files = ServerFiles { certs, client_cas: None, only_tls13: false };
        let acceptor = Acceptor::new(files, crypto.clone()).expect("good files");
        let files = ClientFiles { root_cas: Some(ca.into()), ..ClientFiles::default() };
        Self { acceptor, connector: Connector::new(files, crypto).expect("good files"), _folder: folder }
    }

    /// A connection whose handshake is done: the client's end and the server's.
    async fn connect(&self, rt: &Smol, [client, server]: [Pipe; 2]) -> [MaybeTls<Pipe>; 2] {
        let (client, server) =
            join(self.connector.connect(client, "localhost"), self.acceptor.accept(rt, server, None)).await;
        [client.expect("a handshake"), server.expect("a handshake")]
    }
}

/// What one writes the other reads, whatever the wire makes of it, both ways at once, to a clean end.
#[test]
fn bytes_arrive_in_order_through_every_wire() {
    let sides = Sides::new();
    for (piece, room, len) in [
        (1, 1, 5_000),
        (1, 4096, 20_000),
        (7, 64, 50_000),
        (1500, 9000, 700_000),
        (1 << 20, 1 << 20, 3_000_000),
    ] {
        piko_runtime_smol::block_on(|rt| {
            let sides = &sides;
            async move {
                let [client, server] = sides.connect(&rt, pipe(piece, room)).await;
                assert!(client.info().tls && server.info().tls);
                let mut data = vec![0; len];
                pattern(0, &mut data);
                let both = |io: MaybeTls<Pipe>| {
                    let data = &data;
                    async move {
                        let (mut read, mut write) = io.split();
                        let writing = async {
                            // A head and a body as the driver writes them: together.
                            let (head, body) = data.split_at(data.len().min(100));
                            let slices = [IoSlice::new(head), IoSlice::new(body)];
                            let n = write.write_vectored(&slices).await.expect("it is taken");
                            write.write_all(&data[n..]).await.expect("it is taken");
                            write.close().await.expect("an end");
                        };
                        let mut got = Vec::new();
                        let (_, read) = join(writing, read.read_to_end(&mut got)).await;
                        read.expect("a clean end");
                        assert!(got == *data, "{piece}, {room}: {} of {} bytes", got.len(), data.len());
                    }
                };
                join(both(client), both(server)).await;
            }
        });
    }
}

/// A connection that stops without `close_notify` has not ended cleanly (RFC 8446 6.1).
#[test]
fn a_cut_is_no_end() {
    let sides = Sides::new();
    piko_runtime_smol::block_on(|rt| async move {
        let [mut client, mut server] = sides.connect(&rt, pipe(1 << 20, 1 << 20)).await;
        client.write_all(b"half of i").await.expect("it is taken");
        client.abort();
        let mut got = [0; 9];
        server.read_exact(&mut got).await.expect("what came before");
        let cut = server.read(&mut got).await.expect_err("no clean end");
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    });
}

/// Tickets that nobody has read yet do not spoil a kept connection; data and an end do.
#[test]
fn a_look_at_a_quiet_connection_takes_what_is_no_data() {
    let sides = Sides::new();
    piko_runtime_smol::block_on(|rt| async move {
        let [mut client, mut server] = sides.connect(&rt, pipe(1 << 20, 1 << 20)).await;
        assert_eq!(client.probe(), Probe::Quiet);
        server.write_all(b"nobody asked").await.expect("it is taken");
        assert_eq!(client.probe(), Probe::Spoilt);
        let [mut client, mut server] = sides.connect(&rt, pipe(1 << 20, 1 << 20)).await;
        server.close().await.expect("an end");
        assert_eq!(client.probe(), Probe::Spoilt);
    });
}

/// Bytes that are no TLS behind a good handshake: an error, once and for ever, and no panic when the rest is tried.
#[test]
fn noise_behind_the_handshake_ends_it() {
    let sides = Sides::new();
    // Noise, a record that cannot be decrypted, and one that is too large.
    for noise in [
        &b"what is this"[..],
        &[23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20],
        &[23, 3, 3, 255, 255, 0],
    ] {
        piko_runtime_smol::block_on(|rt| {
            let sides = &sides;
            async move {
                let [client, mut server] = sides.connect(&rt, pipe(1 << 20, 1 << 20)).await;
                let MaybeTls::Tls(client) = client else { panic!("it is TLS") };
                let lane = wire_of(&server);
                lane.lock().unwrap().bytes.extend(noise);
                let mut got = [0; 16];
                server.read(&mut got).await.expect_err("no data");
                server.read(&mut got).await.expect_err("still none");
                server.write_all(b"more").await.expect_err("it is over");
                let _ = server.close().await;
                drop(client);
            }
        });
    }
}

/// A host that TLS cannot ask for is a failure of TLS, which no other attempt cures, and not one of the connection.
#[test]
fn a_host_that_is_no_name_fails_as_a_handshake_does() {
    let sides = Sides::new();
    piko_runtime_smol::block_on(|_| async move {
        let [client, _server] = pipe(1 << 20, 1 << 20);
        let error = sides.connector.connect(client, "a b").await.err().expect("no name");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(error.to_string(), "tls: \"a b\" is no server name");
    });
}

/// The bytes on their way to this end.
fn wire_of(io: &MaybeTls<Pipe>) -> Arc<Mutex<Lane>> {
    match io {
        MaybeTls::Plain(pipe) => pipe.incoming.clone(),
        MaybeTls::Tls(tls) => tls.get_ref().incoming.clone(),
    }
}
