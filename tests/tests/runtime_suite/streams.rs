//! Byte streams: what arrives, how they end, what is known of them.

use crate::helpers::*;
use futures::channel::oneshot;
use futures::future::join;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use piko_driver::{Addr, Io, Listener, Probe, Runtime};
use std::io::{ErrorKind, IoSlice};
use std::net::Ipv4Addr;
use std::time::Duration;

pub(crate) async fn an_echo_of_ten_mebibytes<R: Runtime>(rt: R) {
    const BYTES: usize = 10 * 1024 * 1024;
    let (mut listener, at) = listen(&rt).await;
    rt.spawn(async move {
        let mut io = accept(&mut listener).await.expect("a client");
        let mut block = vec![0; 16 * 1024];
        loop {
            let n = io.read(&mut block).await.expect("reads");
            if n == 0 {
                break;
            }
            io.write_all(&block[..n]).await.expect("writes");
        }
        io.close().await.expect("closes");
    });

    let (mut from, mut to) = rt.connect(&at).await.expect("connects").split();
    let sent: Vec<u8> = noise(BYTES);
    let write = async {
        let mut rest = &sent[..];
        while !rest.is_empty() {
            // Three slices of odd lengths, so that a partial write may end in any of them.
            let (head, more) = rest.split_at(rest.len().min(13));
            let (body, more) = more.split_at(more.len().min(20_001));
            let (tail, _) = more.split_at(more.len().min(70_003));
            let slices = [IoSlice::new(head), IoSlice::new(body), IoSlice::new(tail)];
            let n = to.write_vectored(&slices).await.expect("writes");
            assert_ne!(n, 0);
            rest = &rest[n..];
        }
        to.close().await.expect("closes");
    };
    let read = async {
        let mut back = Vec::new();
        from.read_to_end(&mut back).await.expect("reads");
        back
    };
    let ((), back) = join(write, read).await;
    assert_eq!(back.len(), sent.len());
    assert_eq!(checksum(&back), checksum(&sent));
}

pub(crate) async fn a_vectored_write_is_one_write<R: Runtime>(rt: R) {
    let (mut client, mut server) = pair(&rt).await;
    let slices = [IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(b"and body")];
    assert_eq!(client.write_vectored(&slices).await.expect("writes"), 12);
    assert_eq!(read_exactly(&mut server, 12).await, b"headand body");
}

/// Messages that are shorter than the buffer, just fill it, or exceed it, answered one at a time: each
/// read must notice the next message whatever it believed about the socket.
pub(crate) async fn short_reads_lose_no_wake_up<R: Runtime>(rt: R) {
    const BUFFER: usize = 64;
    let (mut client, mut server) = pair(&rt).await;
    rt.spawn(async move {
        let mut buffer = [0; BUFFER];
        while let Ok(n @ 1..) = server.read(&mut buffer).await {
            server.write_all(&buffer[..n]).await.expect("echoes");
        }
    });
    let message = noise(3 * BUFFER + 2);
    for round in 0..3000 {
        let len = 1 + round % message.len();
        client.write_all(&message[..len]).await.expect("writes");
        assert_eq!(read_exactly(&mut client, len).await, &message[..len]);
    }
}

pub(crate) async fn a_read_moves_to_another_task<R: Runtime>(rt: R) {
    let (mut client, mut server) = pair(&rt).await;
    // A first short read, so that the second one finds the socket drained.
    server.write_all(b"x").await.expect("writes");
    let mut buffer = [0; 8];
    assert_eq!(client.read(&mut buffer).await.expect("reads"), 1);
    // This task waits, and then hands its place to another one.
    assert!(poll_once(client.read(&mut buffer)).await.is_none());
    let (tell, told) = oneshot::channel();
    rt.spawn(async move {
        let mut buffer = [0; 8];
        let n = client.read(&mut buffer).await.expect("reads");
        tell.send(buffer[..n].to_vec()).expect("somebody listens");
    });
    sleep(&rt, Duration::from_millis(20)).await;
    server.write_all(b"late").await.expect("writes");
    assert_eq!(told.await.expect("an answer"), b"late");
}

pub(crate) async fn a_stuck_writer_wakes_when_the_peer_reads<R: Runtime>(rt: R) {
    let (mut client, mut server) = pair(&rt).await;
    let block = noise(64 * 1024);
    let mut queued = 0;
    while let Some(written) = poll_once(client.write(&block)).await {
        queued += written.expect("writes");
        assert!(queued < 256 * 1024 * 1024, "the kernel takes it all");
    }
    let write = async {
        client.write_all(&block).await.expect("writes");
        client.close().await.expect("closes");
    };
    let read = async {
        let mut sink = Vec::new();
        server.read_to_end(&mut sink).await.expect("reads");
        sink.len()
    };
    let ((), read) = join(write, read).await;
    assert_eq!(read, queued + block.len());
}

pub(crate) async fn half_close<R: Runtime>(rt: R) {
    let (mut client, mut server) = pair(&rt).await;
    rt.spawn(async move {
        let mut question = Vec::new();
        server.read_to_end(&mut question).await.expect("reads");
        question.reverse();
        server.write_all(&question).await.expect("the other direction is open");
        server.close().await.expect("closes");
    });
    client.write_all(b"piko").await.expect("writes");
    client.close().await.expect("closes");
    assert_eq!(client.write(b"more").await.expect_err("closed").kind(), ErrorKind::BrokenPipe);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("reads");
    assert_eq!(answer, b"okip");
    assert_eq!(client.read(&mut [0; 8]).await.expect("still at the end"), 0);
}

pub(crate) async fn closing_after_a_reset_is_no_error<R: Runtime>(rt: R) {
    let (mut client, mut server) = pair(&rt).await;
    server.abort();
    assert_eq!(client.read(&mut [0; 8]).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
    client.close().await.expect("nothing is left to close");
}

pub(crate) async fn an_abort_is_a_reset<R: Runtime>(rt: R) {
    let (mut client, mut server) = pair(&rt).await;
    server.write_all(b"half an ans").await.expect("writes");
    assert_eq!(read_exactly(&mut client, 11).await, b"half an ans");
    server.abort();
    assert_eq!(client.read(&mut [0; 8]).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);

    // The aborted end stays usable in the sense that it fails without harm.
    assert_eq!(server.read(&mut [0; 8]).await.expect_err("gone").kind(), ErrorKind::ConnectionAborted);
    assert_eq!(server.write(b"x").await.expect_err("gone").kind(), ErrorKind::ConnectionAborted);
    let slices = [IoSlice::new(b"x")];
    assert_eq!(server.write_vectored(&slices).await.expect_err("gone").kind(), ErrorKind::ConnectionAborted);
    assert_eq!(server.flush().await.expect_err("gone").kind(), ErrorKind::ConnectionAborted);
    assert_eq!(server.close().await.expect_err("gone").kind(), ErrorKind::ConnectionAborted);
    assert_eq!(server.probe(), Probe::Spoilt);
    assert!(server.info().peer.is_some(), "the log still wants to know who it was");
    server.abort();
    assert_eq!(R::detach(server).expect_err("gone").kind(), ErrorKind::ConnectionAborted);
}

pub(crate) async fn a_drop_is_a_clean_end<R: Runtime>(rt: R) {
    let (mut client, mut server) = pair(&rt).await;
    server.write_all(b"all of it").await.expect("writes");
    drop(server);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("a clean end");
    assert_eq!(answer, b"all of it");
}

pub(crate) async fn a_probe_sees_bytes_and_ends<R: Runtime>(rt: R) {
    let (mut client, mut server) = pair(&rt).await;
    assert_eq!(client.probe(), Probe::Quiet);
    server.write_all(b"ab").await.expect("writes");
    turns_spoilt(&rt, &mut client).await;
    // Nothing was consumed.
    let mut buffer = [0; 8];
    assert_eq!(client.read(&mut buffer).await.expect("reads"), 2);
    assert_eq!(&buffer[..2], b"ab");
    assert_eq!(client.probe(), Probe::Quiet);
    // After a short read the runtime may believe the socket to be drained; the probe must not.
    server.close().await.expect("closes");
    turns_spoilt(&rt, &mut client).await;
    assert_eq!(client.read(&mut buffer).await.expect("reads"), 0);
    // An end is not used up by reading it.
    assert_eq!(client.probe(), Probe::Spoilt);

    let (mut client, mut server) = pair(&rt).await;
    server.abort();
    turns_spoilt(&rt, &mut client).await;
}

pub(crate) async fn addresses_are_known<R: Runtime>(rt: R) {
    let (mut listener, at) = listen(&rt).await;
    let (client, server) = join(rt.connect(&at), accept(&mut listener)).await;
    let (client, server) = (client.expect("connects"), server.expect("accepts"));
    assert_eq!(client.info().peer, listener.local_addr());
    assert_eq!(client.info().local, server.info().peer);
    assert_eq!(client.info().peer, server.info().local);
    assert!(client.info().local.is_some_and(|local| local.port() != 0));
    assert!(!client.info().tls && !server.info().tls);
    assert!(R::detach(client).expect("TCP").nodelay().expect("an option"));
    assert!(R::detach(server).expect("TCP").nodelay().expect("an option"));
}

pub(crate) async fn a_tunnel_is_tuned<R: Runtime>(rt: R) {
    let (client, server) = pair(&rt).await;
    client.limit_unsent(123_456);
    let unsent_max = |io| {
        let socket = R::detach(io).expect("TCP");
        socket2::SockRef::from(&socket).tcp_notsent_lowat().expect("an option")
    };
    assert_eq!(unsent_max(client), 123_456);
    assert_ne!(unsent_max(server), 123_456, "only tunnels are tuned");
}

pub(crate) async fn a_refused_connection_is_an_error<R: Runtime>(rt: R) {
    // No test can be given port 1, so nobody listens there.
    let at = Addr::Ip((Ipv4Addr::LOCALHOST, 1).into());
    let cause = rt.connect(&at).await.map(drop).expect_err("nobody listens");
    assert_eq!(cause.kind(), ErrorKind::ConnectionRefused);
}

/// The kernel gives connections source ports one after the other, and one day the very port that they are
/// addressed to: then a socket would meet itself, and a dialler believe that its server is back.
pub(crate) async fn a_socket_never_meets_itself<R: Runtime>(rt: R) {
    /// The usual range holds 14,000 even source ports, which Linux prefers; others use some meanwhile.
    const TRIES: usize = 30_000;
    let (listener, _) = listen(&rt).await;
    let Some(mut at) = listener.local_addr() else { panic!("TCP") };
    drop(listener);
    // Even, because listeners that ask for any port get odd ones: no other test listens there.
    at.set_port(at.port() & !1);
    for _ in 0..TRIES {
        let cause = rt.connect(&Addr::Ip(at)).await.map(drop).expect_err("nobody listens");
        assert_eq!(cause.kind(), ErrorKind::ConnectionRefused);
    }
}

pub(crate) async fn detached_and_adopted<R: Runtime>(rt: R) {
    let (client, mut server) = pair(&rt).await;
    let peer = client.info().peer;
    let mut client = rt.adopt(R::detach(client).expect("TCP")).expect("comes back");
    assert_eq!(client.info().peer, peer);
    server.write_all(b"still here").await.expect("writes");
    assert_eq!(read_exactly(&mut client, 10).await, b"still here");

    // A socket that blocks (fresh from std) must not block the runtime.
    let Addr::Ip(at) = listen(&rt).await.1 else { panic!("TCP") };
    let plain = std::net::TcpListener::bind((at.ip(), 0)).expect("binds");
    let mut io = rt
        .adopt(std::net::TcpStream::connect(plain.local_addr().expect("bound")).expect("connects"))
        .expect("adopts");
    assert!(poll_once(io.read(&mut [0; 8])).await.is_none());
}
