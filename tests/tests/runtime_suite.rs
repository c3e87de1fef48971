//! What the driver may expect of a runtime: one suite, run on each.

use futures::channel::oneshot;
use futures::future::{Either, join, join_all, select};
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use piko_core::time::Instant;
use piko_driver::{Addr, Datagram, Io, ListenOptions, Listener, Probe, Runtime, Timer, Turn};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

/// Longer than any of these tests takes on a busy machine: a lost wake-up fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);
/// How late a timer may be when others use the processor too.
const LATENESS_MAX: Duration = Duration::from_secs(2);

macro_rules! suite {
    ($name:ident, $krate:ident, $runtime:ident, [$($test:ident),* $(,)?]) => {
        mod $name {
            $(
                #[test]
                fn $test() {
                    super::within_patience(|| $krate::block_on(super::$test::<$krate::$runtime>));
                }
            )*
        }
    };
}

macro_rules! on_every_runtime {
    ($tests:tt) => {
        suite!(tokio, piko_runtime_tokio, Tokio, $tests);
        suite!(smol, piko_runtime_smol, Smol, $tests);
    };
}

on_every_runtime!([
    an_echo_of_ten_mebibytes,
    a_vectored_write_is_one_write,
    short_reads_lose_no_wake_up,
    a_read_moves_to_another_task,
    a_stuck_writer_wakes_when_the_peer_reads,
    half_close,
    closing_after_a_reset_is_no_error,
    an_abort_is_a_reset,
    a_drop_is_a_clean_end,
    a_probe_sees_bytes_and_ends,
    addresses_are_known,
    a_tunnel_is_tuned,
    a_refused_connection_is_an_error,
    detached_and_adopted,
    a_timer_fires_in_time,
    a_timer_moves_earlier,
    a_timer_that_moves_away_is_not_armed_again,
    a_timer_without_a_deadline_waits_forever,
    a_timer_serves_many_deadlines,
    names_resolve,
    an_unknown_name_is_an_error,
    unix_sockets,
    a_stale_unix_socket_is_replaced,
    datagrams,
    datagrams_on_both_families,
    a_port_in_use_is_named,
    a_port_is_shared_when_asked,
    one_listener_for_both_families,
    two_thousand_connections,
    the_end_of_a_turn_comes_after_ready_tasks,
    the_end_of_a_turn_in_the_main_future,
    a_wake_from_another_thread,
    a_spawn_from_another_thread,
]);

/// Runs a test on a thread of its own and fails when it hangs.
fn within_patience(test: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let _done = done;
        test();
    });
    match finished.recv_timeout(PATIENCE) {
        Err(RecvTimeoutError::Timeout) => panic!("hangs"),
        _ => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

// Streams.

async fn an_echo_of_ten_mebibytes<R: Runtime>(rt: R) {
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

async fn a_vectored_write_is_one_write<R: Runtime>(rt: R) {
    let (mut client, mut server) = pair(&rt).await;
    let slices = [IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(b"and body")];
    assert_eq!(client.write_vectored(&slices).await.expect("writes"), 12);
    assert_eq!(read_exactly(&mut server, 12).await, b"headand body");
}

/// Messages that are shorter than the buffer, just fill it, or exceed it, answered one at a time: each
/// read must notice the next message whatever it believed about the socket.
async fn short_reads_lose_no_wake_up<R: Runtime>(rt: R) {
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

async fn a_read_moves_to_another_task<R: Runtime>(rt: R) {
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

async fn a_stuck_writer_wakes_when_the_peer_reads<R: Runtime>(rt: R) {
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

async fn half_close<R: Runtime>(rt: R) {
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

async fn closing_after_a_reset_is_no_error<R: Runtime>(rt: R) {
    let (mut client, mut server) = pair(&rt).await;
    server.abort();
    assert_eq!(client.read(&mut [0; 8]).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
    client.close().await.expect("nothing is left to close");
}

async fn an_abort_is_a_reset<R: Runtime>(rt: R) {
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

async fn a_drop_is_a_clean_end<R: Runtime>(rt: R) {
    let (mut client, mut server) = pair(&rt).await;
    server.write_all(b"all of it").await.expect("writes");
    drop(server);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("a clean end");
    assert_eq!(answer, b"all of it");
}

async fn a_probe_sees_bytes_and_ends<R: Runtime>(rt: R) {
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

async fn addresses_are_known<R: Runtime>(rt: R) {
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

async fn a_tunnel_is_tuned<R: Runtime>(rt: R) {
    let (client, server) = pair(&rt).await;
    client.tune_tunnel();
    let unsent_max = |io| {
        let socket = R::detach(io).expect("TCP");
        socket2::SockRef::from(&socket).tcp_notsent_lowat().expect("an option")
    };
    assert_eq!(unsent_max(client), 128 * 1024);
    assert_ne!(unsent_max(server), 128 * 1024, "only tunnels are tuned");
}

async fn a_refused_connection_is_an_error<R: Runtime>(rt: R) {
    // No test can be given port 1, so nobody listens there.
    let at = Addr::Ip((Ipv4Addr::LOCALHOST, 1).into());
    let cause = rt.connect(&at).await.map(drop).expect_err("nobody listens");
    assert_eq!(cause.kind(), ErrorKind::ConnectionRefused);
}

async fn detached_and_adopted<R: Runtime>(rt: R) {
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

// Time.

async fn a_timer_fires_in_time<R: Runtime>(rt: R) {
    let start = rt.now();
    sleep(&rt, Duration::from_millis(30)).await;
    let took = rt.now().since(start);
    assert!(took >= Duration::from_millis(30), "early: {took:?}");
    assert!(took < LATENESS_MAX, "late: {took:?}");
    // What has passed needs no waiting.
    let mut timer = rt.timer();
    poll_fn(|cx| timer.poll_until(cx, Some(start))).await;
}

async fn a_timer_moves_earlier<R: Runtime>(rt: R) {
    let start = rt.now();
    let mut timer = rt.timer();
    assert!(poll_once(poll_fn(|cx| timer.poll_until(cx, Some(start + 10 * PATIENCE)))).await.is_none());
    let soon = start + Duration::from_millis(30);
    poll_fn(|cx| timer.poll_until(cx, Some(soon))).await;
    let took = rt.now().since(start);
    assert!(took >= Duration::from_millis(30) && took < LATENESS_MAX, "{took:?}");
}

async fn a_timer_that_moves_away_is_not_armed_again<R: Runtime>(rt: R) {
    let start = rt.now();
    let (early, late) = (start + Duration::from_millis(40), start + Duration::from_millis(400));
    let mut timer = rt.timer();
    let mut polls: Vec<Instant> = Vec::new();
    poll_fn(|cx| {
        // The first poll arms the timer; every later one says that the deadline has moved away.
        let at = if polls.is_empty() { early } else { late };
        let polled = timer.poll_until(cx, Some(at));
        if polls.is_empty() {
            assert!(polled.is_pending());
            assert!(timer.poll_until(cx, Some(late)).is_pending());
        }
        polls.push(rt.now());
        polled
    })
    .await;
    let ended = rt.now();
    assert!(ended >= late, "the later deadline is the one that counts");
    assert!(ended < late + LATENESS_MAX);
    // The alarm that was set went off, harmlessly: nobody paid for moving it.
    assert!(polls.len() >= 3, "polled only {} times", polls.len());
    assert!(polls.iter().any(|at| (early..late).contains(at)), "never woken by the earlier alarm: {polls:?}");
}

async fn a_timer_without_a_deadline_waits_forever<R: Runtime>(rt: R) {
    let mut timer = rt.timer();
    for never in [None, Some(Instant::FAR)] {
        let (waits, alarm) =
            (pin!(poll_fn(|cx| timer.poll_until(cx, never))), pin!(sleep(&rt, Duration::from_millis(50))));
        assert!(matches!(select(waits, alarm).await, Either::Right(_)), "{never:?} came");
    }
    // Not even when it was armed before, and the time of that alarm has come.
    let soon = rt.now() + Duration::from_millis(10);
    assert!(poll_once(poll_fn(|cx| timer.poll_until(cx, Some(soon)))).await.is_none());
    let (waits, alarm) =
        (pin!(poll_fn(|cx| timer.poll_until(cx, None))), pin!(sleep(&rt, Duration::from_millis(50))));
    assert!(matches!(select(waits, alarm).await, Either::Right(_)));
}

async fn a_timer_serves_many_deadlines<R: Runtime>(rt: R) {
    let start = rt.now();
    let mut timer = rt.timer();
    for round in 1..=20 {
        let at = start + round * Duration::from_millis(2);
        poll_fn(|cx| timer.poll_until(cx, Some(at))).await;
        assert!(rt.now() >= at);
    }
    assert!(rt.now().since(start) < LATENESS_MAX);
}

// Names.

async fn names_resolve<R: Runtime>(rt: R) {
    let addresses = rt.resolve("localhost", 8000).await.expect("localhost has an address");
    assert!(!addresses.is_empty());
    assert!(addresses.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 8000), "{addresses:?}");
    assert_eq!(rt.resolve("127.0.0.1", 1).await.expect("IPv4"), [SocketAddr::from((Ipv4Addr::LOCALHOST, 1))]);
    assert_eq!(rt.resolve("::1", 2).await.expect("IPv6"), [SocketAddr::from((Ipv6Addr::LOCALHOST, 2))]);
}

async fn an_unknown_name_is_an_error<R: Runtime>(rt: R) {
    // Not a legal name, so no resolver is asked and the test needs no network.
    rt.resolve("no..such..name", 80).await.expect_err("no such name");
    rt.resolve("", 80).await.expect_err("no name");
}

// Unix sockets.

async fn unix_sockets<R: Runtime>(rt: R) {
    let place = Place::new();
    let at = Addr::Unix(place.0.join("socket"));
    let mut listener = rt.listen(&at, ListenOptions::default()).await.expect("listens");
    assert_eq!(listener.local_addr(), None);
    let (client, server) = join(rt.connect(&at), accept(&mut listener)).await;
    let (mut client, mut server) = (client.expect("connects"), server.expect("accepts"));
    assert_eq!((client.info().local, client.info().peer), (None, None));
    assert_eq!((client.probe(), server.probe()), (Probe::Quiet, Probe::Quiet));

    let slices = [IoSlice::new(b"one "), IoSlice::new(b"two")];
    assert_eq!(client.write_vectored(&slices).await.expect("writes"), 7);
    client.close().await.expect("closes");
    let mut question = Vec::new();
    server.read_to_end(&mut question).await.expect("reads");
    assert_eq!(question, b"one two");
    server.write_all(b"three").await.expect("writes");
    assert_eq!(read_exactly(&mut client, 5).await, b"three");
    server.abort();
    turns_spoilt(&rt, &mut client).await;
    assert_eq!(R::detach(client).expect_err("only TCP").kind(), ErrorKind::Unsupported);
}

async fn a_stale_unix_socket_is_replaced<R: Runtime>(rt: R) {
    let place = Place::new();
    let path = place.0.join("socket");
    let at = Addr::Unix(path.clone());
    let listener = rt.listen(&at, ListenOptions::default()).await.expect("listens");
    // Somebody answers on it.
    let cause = rt.listen(&at, ListenOptions::default()).await.map(drop).expect_err("in use");
    assert_eq!(cause.kind(), ErrorKind::AddrInUse);
    assert!(cause.to_string().contains(path.to_str().expect("text")), "{cause}");
    rt.connect(&at).await.expect("the first one is unharmed");
    // Its file outlives it.
    drop(listener);
    assert!(path.exists());
    let _listener = rt.listen(&at, ListenOptions::default()).await.expect("replaces it");
    rt.connect(&at).await.expect("connects");

    // A file of another kind is not ours to remove.
    let file = place.0.join("file");
    std::fs::write(&file, "precious").expect("writes");
    let cause = rt.listen(&Addr::Unix(file.clone()), ListenOptions::default()).await.map(drop);
    assert_eq!(cause.expect_err("in use").kind(), ErrorKind::AddrInUse);
    assert_eq!(std::fs::read_to_string(&file).expect("reads"), "precious");
}

// Datagrams.

async fn datagrams<R: Runtime>(rt: R) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (mut a, mut b) = (rt.bind_udp(any).await.expect("binds"), rt.bind_udp(any).await.expect("binds"));
    let (at_a, at_b) = (a.local_addr().expect("bound"), b.local_addr().expect("bound"));
    let mut buffer = [0; 16];
    // The receiver waits first, so that it must be woken.
    let (sent, got) = join(
        async {
            sleep(&rt, Duration::from_millis(10)).await;
            poll_fn(|cx| a.poll_send_to(cx, b"gossip", at_b)).await
        },
        poll_fn(|cx| b.poll_recv_from(cx, &mut buffer)),
    )
    .await;
    assert_eq!(sent.expect("sends"), 6);
    assert_eq!(got.expect("receives"), (6, at_a));
    assert_eq!(&buffer[..6], b"gossip");

    // What does not fit is cut, and the rest does not come as another datagram.
    for message in [&[7; 100][..], b"next"] {
        poll_fn(|cx| b.poll_send_to(cx, message, at_a)).await.expect("sends");
    }
    assert_eq!(poll_fn(|cx| a.poll_recv_from(cx, &mut buffer)).await.expect("receives"), (16, at_b));
    assert_eq!(buffer, [7; 16]);
    assert_eq!(poll_fn(|cx| a.poll_recv_from(cx, &mut buffer)).await.expect("receives"), (4, at_b));

    let cause = rt.bind_udp(at_a).await.map(drop).expect_err("in use");
    assert_eq!(cause.kind(), ErrorKind::AddrInUse);
    assert!(cause.to_string().contains(&at_a.to_string()), "{cause}");
}

async fn datagrams_on_both_families<R: Runtime>(rt: R) {
    let mut wide = rt.bind_udp((Ipv6Addr::UNSPECIFIED, 0).into()).await.expect("binds");
    let mut narrow = rt.bind_udp((Ipv4Addr::LOCALHOST, 0).into()).await.expect("binds");
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, wide.local_addr().expect("bound").port()));
    let mut buffer = [0; 16];
    poll_fn(|cx| narrow.poll_send_to(cx, b"there", to)).await.expect("sends");
    let (n, from) = poll_fn(|cx| wide.poll_recv_from(cx, &mut buffer)).await.expect("receives");
    assert_eq!((n, from), (5, narrow.local_addr().expect("bound")));
    poll_fn(|cx| wide.poll_send_to(cx, b"back", from)).await.expect("sends");
    assert_eq!(poll_fn(|cx| narrow.poll_recv_from(cx, &mut buffer)).await.expect("receives"), (4, to));
}

// Listening.

async fn a_port_in_use_is_named<R: Runtime>(rt: R) {
    let (_listener, at) = listen(&rt).await;
    let cause = rt.listen(&at, ListenOptions::default()).await.map(drop).expect_err("in use");
    assert_eq!(cause.kind(), ErrorKind::AddrInUse);
    assert!(cause.to_string().contains(&at.to_string()), "{cause}");
}

async fn a_port_is_shared_when_asked<R: Runtime>(rt: R) {
    let mut how = ListenOptions::default();
    how.reuse_port = true;
    let any = Addr::Ip((Ipv4Addr::LOCALHOST, 0).into());
    let first = rt.listen(&any, how).await.expect("listens");
    let at = Addr::Ip(first.local_addr().expect("TCP"));
    rt.listen(&at, how).await.map(drop).expect("shares the port");
}

async fn one_listener_for_both_families<R: Runtime>(rt: R) {
    let wildcard = Addr::Ip((Ipv6Addr::UNSPECIFIED, 0).into());
    let mut listener = rt.listen(&wildcard, ListenOptions::default()).await.expect("listens");
    let port = listener.local_addr().expect("TCP").port();
    let at = Addr::Ip((Ipv4Addr::LOCALHOST, port).into());
    let (client, server) = join(rt.connect(&at), accept(&mut listener)).await;
    let (client, server) = (client.expect("connects"), server.expect("accepts"));
    assert_eq!(server.info().peer, client.info().local, "an IPv4 client is shown as one");
    assert!(server.info().local.is_some_and(|local| local.is_ipv4()));

    if listener.local_addr().is_some_and(|bound| bound.is_ipv6()) {
        let mut how = ListenOptions::default();
        how.dual_stack = false;
        let narrow = rt.listen(&wildcard, how).await.expect("listens");
        let at = Addr::Ip((Ipv4Addr::LOCALHOST, narrow.local_addr().expect("TCP").port()).into());
        let cause = rt.connect(&at).await.map(drop).expect_err("IPv6 only");
        assert_eq!(cause.kind(), ErrorKind::ConnectionRefused);
    }
}

async fn two_thousand_connections<R: Runtime>(rt: R) {
    let connections = connections_allowed(2000);
    let (mut listener, at) = listen(&rt).await;
    // All of them are open at the same time: the server answers only when the last one is there.
    let server = async {
        let mut open = Vec::new();
        while open.len() < connections {
            open.push(accept(&mut listener).await.expect("accepts"));
        }
        for (number, io) in open.iter_mut().enumerate() {
            io.write_all(&number.to_be_bytes()).await.expect("writes");
        }
        open
    };
    let clients = async {
        let clients = (0..connections).map(|_| {
            let (rt, at) = (rt.clone(), at.clone());
            let (tell, told) = oneshot::channel();
            rt.clone().spawn(async move {
                let mut io = rt.connect(&at).await.expect("connects");
                let answer = read_exactly(&mut io, size_of::<usize>()).await;
                tell.send(answer).expect("somebody listens");
            });
            told
        });
        join_all(clients).await
    };
    let (_open, answers) = join(server, clients).await;
    let mut answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("an answer")).collect();
    answers.sort();
    answers.dedup();
    assert_eq!(answers.len(), connections);
}

// Tasks.

async fn the_end_of_a_turn_comes_after_ready_tasks<R: Runtime>(rt: R) {
    const OTHERS: usize = 300;
    let ran = Arc::new(AtomicUsize::new(0));
    let (tell, told) = oneshot::channel();
    let collector = {
        let (rt, ran) = (rt.clone(), ran.clone());
        async move {
            let mut turn = Turn::default();
            let before = ran.load(Ordering::SeqCst);
            poll_fn(|cx| rt.poll_end_of_turn(cx, &mut turn)).await;
            let after = ran.load(Ordering::SeqCst);
            // The same memory serves the next turn, where only one more task is ready.
            let again = ran.clone();
            rt.spawn(async move {
                again.fetch_add(1, Ordering::SeqCst);
            });
            poll_fn(|cx| rt.poll_end_of_turn(cx, &mut turn)).await;
            tell.send((before, after, ran.load(Ordering::SeqCst))).expect("somebody listens");
        }
    };
    rt.spawn(collector);
    for _ in 0..OTHERS {
        let ran = ran.clone();
        rt.spawn(async move {
            ran.fetch_add(1, Ordering::SeqCst);
        });
    }
    assert_eq!(told.await.expect("an answer"), (0, OTHERS, OTHERS + 1));
}

async fn the_end_of_a_turn_in_the_main_future<R: Runtime>(rt: R) {
    // Fewer than the tasks that a runtime runs before it looks at its main future again.
    const OTHERS: usize = 30;
    let order = Arc::new(Mutex::new(Vec::new()));
    for number in 0..OTHERS {
        let order = order.clone();
        rt.spawn(async move { order.lock().expect("no panic").push(number) });
    }
    let mut turn = Turn::default();
    poll_fn(|cx| rt.poll_end_of_turn(cx, &mut turn)).await;
    assert_eq!(*order.lock().expect("no panic"), (0..OTHERS).collect::<Vec<_>>(), "first in, first out");
}

async fn a_wake_from_another_thread<R: Runtime>(_: R) {
    // Each round lets the runtime fall asleep first.
    for round in 0..20 {
        let (tell, told) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(round % 5));
            tell.send(round).expect("somebody listens");
        });
        assert_eq!(told.await.expect("an answer"), round);
        thread.join().expect("no panic");
    }
}

async fn a_spawn_from_another_thread<R: Runtime>(rt: R) {
    let home = std::thread::current().id();
    let ran_here = Arc::new(AtomicBool::new(false));
    let (tell, told) = oneshot::channel();
    let thread = {
        let ran_here = ran_here.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            rt.spawn(async move {
                ran_here.store(std::thread::current().id() == home, Ordering::SeqCst);
                tell.send(()).expect("somebody listens");
            });
        })
    };
    told.await.expect("an answer");
    thread.join().expect("no panic");
    assert!(ran_here.load(Ordering::SeqCst), "a task ran on another thread than the runtime's");
}

#[test]
fn main_gives_back_its_value() {
    assert_eq!(piko_runtime_tokio::block_on(|_| async { 7 }), 7);
    assert_eq!(piko_runtime_smol::block_on(|_| async { 7 }), 7);
}

/// The agent is small because tokio is not in it.
#[test]
fn no_tokio_below_smol() {
    let tree = |package| {
        let output = std::process::Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--package", package])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let names_tokio =
        |tree: &str| tree.lines().any(|line| line.starts_with("tokio ") || line.starts_with("mio "));
    assert!(names_tokio(&tree("piko-runtime-tokio")), "the question is asked wrongly");
    let smol = tree("piko-runtime-smol");
    assert!(!names_tokio(&smol), "{smol}");
    assert!(!smol.lines().any(|line| line.starts_with("smol ")), "{smol}");
}

// Helpers.

async fn listen<R: Runtime>(rt: &R) -> (R::Listener, Addr) {
    let any = Addr::Ip((Ipv4Addr::LOCALHOST, 0).into());
    let listener = rt.listen(&any, ListenOptions::default()).await.expect("listens");
    let at = Addr::Ip(listener.local_addr().expect("TCP has an address"));
    (listener, at)
}

async fn accept<L: Listener>(listener: &mut L) -> io::Result<L::Io> {
    poll_fn(|cx| listener.poll_accept(cx)).await
}

/// A client and its server, connected.
async fn pair<R: Runtime>(rt: &R) -> (R::Tcp, R::Tcp) {
    let (mut listener, at) = listen(rt).await;
    let (client, server) = join(rt.connect(&at), accept(&mut listener)).await;
    (client.expect("connects"), server.expect("accepts"))
}

async fn sleep<R: Runtime>(rt: &R, span: Duration) {
    let (mut timer, at) = (rt.timer(), rt.now() + span);
    while rt.now() < at {
        poll_fn(|cx| timer.poll_until(cx, Some(at))).await;
    }
}

/// Waits until the other end's doing has arrived here.
async fn turns_spoilt<R: Runtime>(rt: &R, io: &mut R::Tcp) {
    for _ in 0..1000 {
        if io.probe() == Probe::Spoilt {
            return;
        }
        sleep(rt, Duration::from_millis(1)).await;
    }
    panic!("the connection stays quiet");
}

async fn read_exactly(io: &mut (impl AsyncRead + AsyncWrite + Unpin), len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    io.read_exact(&mut bytes).await.expect("reads");
    bytes
}

/// What the future says at once, `None` when it would wait.
async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        Poll::Ready(match Pin::as_mut(&mut future).poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// Bytes in which no two regions are alike (xorshift).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// FNV-1a: depends on the order of the bytes.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// How many connections, both ends in this process, the limit on descriptors lets two suites have at once.
fn connections_allowed(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    let Some(Ok(limit)) = limit.map(str::parse::<usize>) else { return wanted };
    wanted.min(limit.saturating_sub(128) / 4)
}

/// A directory of this test alone, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("piko-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
