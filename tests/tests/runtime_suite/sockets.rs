//! Names, and sockets other than a plain pair: listeners, Unix sockets, datagrams.

use crate::helpers::*;
use futures::channel::oneshot;
use futures::future::{join, join_all};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use piko_driver::{Addr, Datagram, Io, ListenOptions, Listener, Probe, Runtime};
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

pub(crate) async fn names_resolve<R: Runtime>(rt: R) {
    let addresses = rt.resolve("localhost", 8000).await.expect("localhost has an address");
    assert!(!addresses.is_empty());
    assert!(addresses.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 8000), "{addresses:?}");
    assert_eq!(rt.resolve("127.0.0.1", 1).await.expect("IPv4"), [SocketAddr::from((Ipv4Addr::LOCALHOST, 1))]);
    assert_eq!(rt.resolve("::1", 2).await.expect("IPv6"), [SocketAddr::from((Ipv6Addr::LOCALHOST, 2))]);
}

pub(crate) async fn an_unknown_name_is_an_error<R: Runtime>(rt: R) {
    // Not a legal name, so no resolver is asked and the test needs no network.
    rt.resolve("no..such..name", 80).await.expect_err("no such name");
    rt.resolve("", 80).await.expect_err("no name");
}

pub(crate) async fn a_port_in_use_is_named<R: Runtime>(rt: R) {
    let (_listener, at) = listen(&rt).await;
    let cause = rt.listen(&at, ListenOptions::default()).await.map(drop).expect_err("in use");
    assert_eq!(cause.kind(), ErrorKind::AddrInUse);
    assert!(cause.to_string().contains(&at.to_string()), "{cause}");
}

pub(crate) async fn a_restart_does_not_wait<R: Runtime>(rt: R) {
    let (mut listener, at) = listen(&rt).await;
    let (client, server) = join(rt.connect(&at), accept(&mut listener)).await;
    let (mut client, mut server) = (client.expect("connects"), server.expect("accepts"));
    // Who closes first keeps the port in TIME_WAIT.
    server.close().await.expect("closes");
    assert_eq!(client.read(&mut [0; 8]).await.expect("reads"), 0);
    client.close().await.expect("closes");
    assert_eq!(server.read(&mut [0; 8]).await.expect("reads"), 0);
    drop((client, server, listener));
    rt.listen(&at, ListenOptions::default()).await.map(drop).expect("listens at once");
}

pub(crate) async fn what_waits_in_a_listener_is_found<R: Runtime>(rt: R) {
    let (mut listener, at) = listen(&rt).await;
    assert!(listener.accept_waiting().is_none(), "nobody has come");
    let Addr::Ip(addr) = at else { panic!("not a TCP address: {at:?}") };
    // Of the standard library: the runtime gets no turn in which it could hear of the connections.
    let clients: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(addr).expect("connects")).collect();
    let mut waiting = Vec::new();
    while let Some(io) = listener.accept_waiting() {
        waiting.push(io);
    }
    assert_eq!(waiting.len(), clients.len());
    let peers: Vec<_> = clients.iter().map(|client| client.local_addr().ok()).collect();
    assert!(waiting.iter().all(|io| peers.contains(&io.info().peer)));
    drop(listener);
    for (mut client, io) in clients.into_iter().zip(&mut waiting) {
        io.write_all(b"here").await.expect("the connection lives on");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        let mut text = [0; 4];
        std::io::Read::read_exact(&mut client, &mut text).expect("reads");
        assert_eq!(&text, b"here");
    }
}

pub(crate) async fn a_listener_hears_no_new_handshake_when_asked<R: Runtime>(rt: R) {
    let (mut listener, at) = listen(&rt).await;
    let Addr::Ip(addr) = at else { panic!("not a TCP address: {at:?}") };
    let before = std::net::TcpStream::connect(addr).expect("connects");
    if !listener.stop_handshakes() {
        return;
    }
    let late = std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(50)).expect_err("not heard");
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    let waiting = listener.accept_waiting().expect("the one that came before");
    assert_eq!(waiting.info().peer, before.local_addr().ok());
    assert!(listener.accept_waiting().is_none());
    drop(listener);
    let refused = std::net::TcpStream::connect_timeout(&addr, Duration::from_secs(5)).expect_err("closed");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

pub(crate) async fn a_port_is_shared_when_asked<R: Runtime>(rt: R) {
    let mut how = ListenOptions::default();
    how.reuse_port = true;
    let any = Addr::Ip((Ipv4Addr::LOCALHOST, 0).into());
    let first = rt.listen(&any, how).await.expect("listens");
    let at = Addr::Ip(first.local_addr().expect("TCP"));
    rt.listen(&at, how).await.map(drop).expect("shares the port");
}

pub(crate) async fn one_listener_for_both_families<R: Runtime>(rt: R) {
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

pub(crate) async fn two_thousand_connections<R: Runtime>(rt: R) {
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

pub(crate) async fn unix_sockets<R: Runtime>(rt: R) {
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

pub(crate) async fn a_stale_unix_socket_is_replaced<R: Runtime>(rt: R) {
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

pub(crate) async fn datagrams<R: Runtime>(rt: R) {
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

pub(crate) async fn datagrams_on_both_families<R: Runtime>(rt: R) {
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
