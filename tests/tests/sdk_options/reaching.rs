//! Several servers, tokens that are asked for, proxies.

use crate::{Events, SOON, beside, on_both, take_all};
use piko_client::{DialError, Dialer, ListenError, Runtime, Upstream};
use piko_tests::cluster::unused_addr;
use piko_tests::http::Client;
use piko_tests::process::Server;
use piko_tests::proxies::{KINDS, Manner, OutboundProxy};
use piko_tests::service::Service;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A port where nobody listens.
fn nobody() -> SocketAddr {
    unused_addr()
}

/// A server that answers every upgrade with `answer`, and tells the tokens that it is shown.
fn refusing(answer: &'static str) -> (Service, Receiver<String>) {
    let (send, tokens) = channel();
    let send = std::sync::Mutex::new(send);
    let service = Service::scripted(move |stream| {
        let mut token = String::new();
        let copy = stream.try_clone().expect("a copy");
        for line in BufReader::new(copy).lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
            if let Some(bearer) = line.strip_prefix("Authorization: Bearer ") {
                token = bearer.to_owned();
            }
        }
        let _ = send.lock().expect("no panic").send(token);
        let mut stream = stream;
        let _ = write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
    });
    (service, tokens)
}

async fn servers_are_tried_in_order<R: Runtime>(rt: R) {
    let mut server = beside(|| Server::start(&[])).await;
    let (busy, _) = refusing("503 Service Unavailable");
    let (dead, busy) = (format!("http://{}", nobody()), format!("http://{}", busy.addr()));
    let live = server.connect_url();
    let upstream = Upstream::new(rt.clone(), &dead).expect("a URL").fallback(&busy).expect("a URL");
    let upstream = upstream.fallback(&live).expect("a URL").backoff_bounds(Duration::ZERO, Duration::ZERO);
    let (upstream, mut events) = Events::of(&rt, upstream);
    let listener = upstream.listen("e").await.expect("a listener");
    let lines = events.until("connected ").await;
    let [first, refused, second, unavailable, third, connected] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(*first, format!("connecting {dead}"));
    assert!(
        refused.starts_with(&format!("failed {dead} connect ")) && refused.ends_with("; next"),
        "{refused}"
    );
    assert_eq!(*second, format!("connecting {busy}"));
    assert_eq!(*unavailable, format!("failed {busy} 503: bad handshake; next"));
    assert_eq!((third, connected), (&format!("connecting {live}"), &format!("connected {live}")));
    // Behind the loss everything begins anew, and ends when it is told to.
    let _server = beside(move || {
        server.terminate(SOON).expect("the end");
        server
    })
    .await;
    assert_eq!(events.next().await, "lost");
    assert_eq!(events.next().await, format!("connecting {dead}"));
    listener.shutdown();
    assert_eq!(events.until("ended").await.last().map(String::as_str), Some("ended"));
}

async fn a_refusal_by_all_ends_the_listener<R: Runtime>(rt: R) {
    let (one, _) = refusing("401 Unauthorized");
    let (other, _) = refusing("404 Not Found");
    let upstream = Upstream::new(rt.clone(), &format!("http://{}", one.addr())).expect("a URL");
    let upstream = upstream.fallback(&format!("http://{}", other.addr())).expect("a URL");
    let (upstream, mut events) = Events::of(&rt, upstream);
    let error = upstream.listen("e").await.expect_err("refused");
    assert!(matches!(error, ListenError::Refused(DialError::Refused(404, _))), "{error}");
    let lines = events.until("ended").await;
    assert!(lines[3].ends_with("404: bad handshake; no further"), "{lines:?}");
    assert_eq!(lines[4], "ended 404: bad handshake");
}

async fn a_token_is_asked_for_at_every_attempt<R: Runtime>(rt: R) {
    let (busy, tokens) = refusing("503 Service Unavailable");
    let url = format!("http://{}", busy.addr());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let provider = move || {
        let n = count.fetch_add(1, Ordering::Relaxed);
        async move {
            match n {
                0 => Err("the vault is sealed"),
                1 => Ok("line\n".to_owned()),
                n => Ok(format!("token-{n}")),
            }
        }
    };
    let upstream = Upstream::new(rt.clone(), &url).expect("a URL").token_provider(provider.clone());
    assert!(!format!("{upstream:?}").contains("token-"));
    let (upstream, mut events) = Events::of(&rt, upstream.backoff_bounds(Duration::ZERO, Duration::ZERO));
    let listener = upstream.listen_in_background("e").expect("a listener");
    let line = events.until("failed").await.pop();
    assert_eq!(line, Some(format!("failed {url} token: the vault is sealed; waits")));
    let line = events.until("failed").await.pop().expect("a line");
    assert!(line.contains("token: a control character"), "{line}");
    for n in 2..4 {
        events.until("failed").await;
        assert_eq!(tokens.recv_timeout(SOON).expect("a head"), format!("token-{n}"));
    }
    listener.shutdown();
    // A dialler asks the same way; what goes wrong once is tried again.
    let before = asked.swap(1, Ordering::Relaxed);
    assert!(before >= 4);
    let dialer = Dialer::new(rt, &url).expect("a URL").token_provider(provider);
    // Time for two attempts on a busy machine; it asks until then.
    let error = dialer.timeout(Duration::from_secs(3)).dial_raw("e").await.err();
    assert!(matches!(error, Some(DialError::Refused(503, _))), "{error:?}");
    assert!(tokens.try_iter().any(|token| token == "token-2"));
}

async fn listeners_and_diallers_go_through_proxies<R: Runtime>(rt: R) {
    use futures::io::{AsyncReadExt, AsyncWriteExt};
    let server = beside(|| Server::start(&[])).await;
    for kind in KINDS {
        let proxy = OutboundProxy::start(kind, Manner::Login("me:hunter2"));
        let url = |port: u16| format!("http://piko.invalid:{port}");
        let upstream = Upstream::new(rt.clone(), &url(server.upstream.port())).expect("a URL");
        let upstream = upstream.proxy_url(&proxy.url("me:hunter2@")).expect("a proxy");
        let dialer = Dialer::new(rt.clone(), &url(server.proxy.port())).expect("a URL");
        let dialer = dialer.proxy_url(&proxy.url("me:hunter2@")).expect("a proxy");
        let shown = format!("{upstream:?} {dialer:?}");
        assert!(shown.contains(&proxy.addr.to_string()) && !shown.contains("hunter2"), "{shown}");
        // One of its own for each: the server may not have seen yet that the listener before is gone.
        let endpoint = kind.scheme();
        let listener = upstream.listen(endpoint).await.expect("a listener");
        let accepted = std::future::poll_fn(|cx| listener.poll_accept(cx));
        let (connection, stream) = futures::future::join(dialer.dial_raw(endpoint), accepted).await;
        let (mut connection, mut stream) = (connection.expect("a connection"), stream.expect("a stream"));
        connection.write_all(b"ping").await.expect("sent");
        let mut got = [0; 4];
        stream.read_exact(&mut got).await.expect("bytes");
        assert_eq!(&got, b"ping");
        for port in [server.upstream.port(), server.proxy.port()] {
            assert_eq!(proxy.asked(SOON).expect("one who asks").to, format!("piko.invalid:{port}"));
        }
    }
    let upstream = Upstream::new(rt, "http://h").expect("a URL");
    let error = upstream.proxy_url("http://me:hunter2@h:x").expect_err("no port").to_string();
    assert!(error.contains("port") && !error.contains("hunter2"), "{error}");
}

async fn what_a_proxy_says_is_told_apart<R: Runtime>(rt: R) {
    for kind in KINDS {
        let proxy = OutboundProxy::start(kind, Manner::Hangs);
        let dialer = Dialer::new(rt.clone(), "http://piko.invalid:1").expect("a URL");
        // So much that a busy machine has at least asked the proxy by then.
        let dialer = dialer.proxy_url(&proxy.url("")).expect("a proxy").timeout(Duration::from_secs(2));
        let error = dialer.dial_raw("e").await.err().expect("no connection");
        assert!(matches!(error, DialError::Proxy(piko_client::ProxyError::Timeout)), "{error}");
        let proxy = OutboundProxy::start(kind, Manner::Refuses);
        let dialer = dialer.proxy_url(&proxy.url("")).expect("a proxy");
        let error = dialer.dial_raw("e").await.err().expect("no connection");
        assert!(matches!(error, DialError::Proxy(piko_client::ProxyError::Refused(_))), "{error}");
    }
}

async fn a_dialler_finds_the_server_that_lives<R: Runtime>(rt: R) {
    let server = beside(|| Server::start(&[])).await;
    let upstream = Upstream::new(rt.clone(), &server.connect_url()).expect("a URL");
    let listener = upstream.listen("e").await.expect("a listener");
    let dialer = Dialer::new(rt, &format!("http://{}", nobody())).expect("a URL");
    let dialer = dialer.fallback(&format!("http://{}", server.proxy)).expect("a URL");
    let accepted = std::future::poll_fn(|cx| listener.poll_accept(cx));
    let (connection, stream) = futures::future::join(dialer.dial_raw("e"), accepted).await;
    assert!(connection.is_ok() && stream.is_ok());
    drop((stream, listener));
    // The path of a URL stays in front, for a dialler too.
    let elsewhere = dialer.fallback(&format!("http://{}/elsewhere", server.proxy)).expect("a URL");
    assert!(elsewhere.timeout(Duration::from_millis(100)).dial_raw("e").await.is_err());
    let proxy = server.proxy;
    beside(move || Client::connect(proxy).map(drop).expect("the server lives")).await;
}

async fn a_dialler_remembers_which_server_answered<R: Runtime>(rt: R) {
    let server = beside(|| Server::start(&[])).await;
    let upstream = Upstream::new(rt.clone(), &server.connect_url()).expect("a URL");
    take_all(&rt, upstream.listen("e").await.expect("a listener"));
    // The kernel takes the connections, and nobody answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    silent.set_nonblocking(true).expect("an option");
    let asked = || std::iter::from_fn(|| silent.accept().ok()).count();
    let first = format!("http://{}", silent.local_addr().expect("its address"));
    // The silent one has half of it, and the rest is enough for the other one on a busy machine.
    let dialer = Dialer::new(rt, &first).expect("a URL").timeout(Duration::from_secs(6));
    let dialer = dialer.fallback(&format!("http://{}", server.proxy)).expect("a URL");
    dialer.dial_raw("e").await.expect("a connection");
    assert_eq!(asked(), 1, "they are tried in order");
    for _ in 0..3 {
        dialer.clone().dial_raw("e").await.expect("a connection");
    }
    assert_eq!(asked(), 0, "the one that answered comes first");
}

on_both! {
    a_dialler_remembers_which_server_answered
    a_dialler_finds_the_server_that_lives
    a_refusal_by_all_ends_the_listener
    a_token_is_asked_for_at_every_attempt
    listeners_and_diallers_go_through_proxies
    servers_are_tried_in_order
    what_a_proxy_says_is_told_apart
}
