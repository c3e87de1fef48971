//! The Rust SDK through a real server, on both runtimes.

use futures::io::{AsyncReadExt, AsyncWriteExt};
use futures_lite::future::block_on;
use piko_client::smol::Smol;
use piko_client::tokio::Tokio;
use piko_client::{Closed, DialError, Dialer, Event, ListenError, Listener, Runtime, Stream, Upstream};
use piko_driver::Shutdown;
use piko_tests::cluster::unused_addr;
use piko_tests::http::{Client, End};
use piko_tests::process::Server;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything that happens at once may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// The field that names the endpoint of these tests.
const TO_E: (&str, &str) = ("x-piko-endpoint", "e");

/// Runs `test` beside a thread that runs a runtime, which is told to end afterwards.
fn with_tokio(test: impl FnOnce(Tokio)) {
    let (send, get) = channel();
    let stop = Shutdown::new();
    let stopped = stop.clone();
    let runner = thread::spawn(move || {
        piko_client::tokio::block_on(|rt: Tokio| async move {
            send.send(rt).expect("the test waits");
            stopped.wait().await;
        });
    });
    test(get.recv().expect("a runtime"));
    stop.trigger();
    runner.join().expect("no panic on the runtime");
}

/// As [`with_tokio`].
fn with_smol(test: impl FnOnce(Smol)) {
    let (send, get) = channel();
    let stop = Shutdown::new();
    let stopped = stop.clone();
    let runner = thread::spawn(move || {
        piko_client::smol::block_on(|rt: Smol| async move {
            send.send(rt).expect("the test waits");
            stopped.wait().await;
        });
    });
    test(get.recv().expect("a runtime"));
    stop.trigger();
    runner.join().expect("no panic on the runtime");
}

/// A listener with a small application: `/gate` stops in the middle of its body until the gate is opened.
struct App<R: Runtime> {
    listener: Arc<Listener<R>>,
    gate: Shutdown,
}

impl<R: Runtime> App<R> {
    fn start(rt: &R, url: &str) -> Self {
        let upstream = Upstream::new(rt.clone(), url).expect("a URL");
        Self::on(rt, block_on(upstream.listen("e")).expect("a listener"))
    }

    fn on(rt: &R, listener: Listener<R>) -> Self {
        let app = Self { listener: Arc::new(listener), gate: Shutdown::new() };
        // Two tasks accept, so that a waker that is lost would show.
        for _ in 0..2 {
            let (spawner, listener, gate) = (rt.clone(), app.listener.clone(), app.gate.clone());
            rt.spawn(async move {
                while let Ok(stream) = poll_fn(|cx| listener.poll_accept(cx)).await {
                    let gate = gate.clone();
                    spawner.spawn(async move {
                        // A stream that breaks off is what some of the tests are about.
                        let _ = answer(stream, &gate).await;
                    });
                }
            });
        }
        app
    }
}

async fn answer(mut stream: Stream, gate: &Shutdown) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut buf = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        let n = stream.read(&mut buf).await?;
        if n == 0 {
            return Ok(());
        }
        head.extend_from_slice(&buf[..n]);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhel").await?;
    if head.starts_with(b"GET /gate ") {
        gate.wait().await;
    }
    stream.write_all(b"lo\n").await?;
    stream.close().await
}

fn hello(server: &Server) -> String {
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    client.get("/", &[TO_E]).expect("an answer").body.text()
}

/// A request that is under way: its head has come, its body has not.
fn under_way(server: &Server) -> Client {
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    client.send_head("GET", "/gate", &[TO_E]).expect("sent");
    client.read_head().expect("the head");
    assert_eq!(client.read_exact(3).expect("the first half"), b"hel");
    client
}

fn wait_for(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < deadline, "it does not come about");
        thread::sleep(Duration::from_millis(5));
    }
}

fn requests_are_served<R: Runtime>(rt: R) {
    let server = Server::start(&[]);
    let app = App::start(&rt, &server.connect_url());
    assert_eq!(app.listener.endpoint().to_string(), "e");
    assert!(app.listener.is_connected());
    let clients: Vec<_> = (0..32)
        .map(|_| {
            let proxy = server.proxy;
            thread::spawn(move || {
                let mut client = Client::connect(proxy).expect("the proxy port");
                for _ in 0..8 {
                    let answer = client.get("/", &[TO_E]).expect("an answer");
                    assert_eq!((answer.body.text().as_str(), answer.end), ("hello\n", End::Complete));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("every body is right");
    }
}

fn a_listener_waits_for_its_server_and_finds_it_again<R: Runtime>(rt: R) {
    let port = unused_addr();
    let (send, events) = channel();
    let upstream =
        Upstream::new(rt.clone(), &format!("http://{port}")).expect("a URL").on_event(move |event| {
            // The test may be over.
            let _ = send.send(match event {
                Event::Connected { .. } => "connected",
                Event::Failed { .. } => "failed",
                Event::Lost { .. } => "lost",
                _ => "other",
            });
        });
    let app = App::on(&rt, upstream.listen_in_background("e").expect("a listener"));
    let next = |wanted: &str| {
        while events.recv_timeout(SOON).expect("an event") != wanted {}
    };
    next("failed");
    assert!(!app.listener.is_connected());
    let bind = format!("--upstream.bind-addr={port}");
    for round in 0..3 {
        let mut server = Server::start(&[&bind]);
        next("connected");
        assert_eq!(hello(&server), "hello\n");
        if round == 1 {
            // A server that says goodbye is as good a reason to come back as one that is killed.
            server.terminate(SOON).expect("the end");
        }
        drop(server);
        next("lost");
    }
    block_on(app.listener.connected()).expect("it has been up");
}

fn close_drains<R: Runtime>(rt: R) {
    let server = Server::start(&[]);
    let app = App::start(&rt, &server.connect_url());
    let mut client = under_way(&server);
    let (listener, closed) = (app.listener.clone(), Shutdown::new());
    let done = closed.clone();
    rt.spawn(async move {
        listener.close(10 * SOON).await;
        done.trigger();
    });
    // The server knows that no new request may come here.
    wait_for(|| {
        let mut admin = Client::connect(server.admin).expect("the admin port");
        admin.get("/status/upstream/endpoints", &[]).expect("an answer").body.text() == "{}"
    });
    assert!(!closed.is_triggered(), "a request is still open");
    app.gate.trigger();
    assert_eq!(client.read_exact(3).expect("the other half"), b"lo\n");
    wait_for(|| closed.is_triggered());
    assert_eq!(block_on(app.listener.accept()).map(drop), Err(Closed));
}

fn close_waits_no_longer_than_asked<R: Runtime>(rt: R) {
    let server = Server::start(&[]);
    let app = App::start(&rt, &server.connect_url());
    let mut client = under_way(&server);
    let began = Instant::now();
    block_on(app.listener.close(Duration::from_millis(300)));
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(client.read_exact(3).is_err(), "a cut body is never a complete one");
}

fn shutdown_ends_at_once<R: Runtime>(rt: R) {
    let server = Server::start(&[]);
    let app = App::start(&rt, &server.connect_url());
    let mut client = under_way(&server);
    app.listener.shutdown();
    assert_eq!(block_on(app.listener.accept()).map(drop), Err(Closed));
    assert!(client.read_exact(3).is_err(), "a cut body is never a complete one");
    // It does not come back.
    let mut other = Client::connect(server.proxy).expect("the proxy port");
    assert_eq!(other.get("/", &[TO_E]).expect("an answer").status(), 502);
    assert!(!app.listener.is_connected());
}

fn a_dropped_listener_is_gone<R: Runtime>(rt: R) {
    let server = Server::start(&[]);
    let upstream = Upstream::new(rt, &server.connect_url()).expect("a URL");
    let listener = block_on(upstream.listen("e")).expect("a listener");
    drop(listener);
    wait_for(|| {
        let mut client = Client::connect(server.proxy).expect("the proxy port");
        client.get("/", &[TO_E]).expect("an answer").status() == 502
    });
}

fn a_closed_listener_is_no_listener<R: Runtime>(rt: R) {
    // Nobody is there, so the listener is closed while it dials.
    let port = unused_addr();
    let upstream = Upstream::new(rt, &format!("http://{port}")).expect("a URL");
    let listener = upstream.listen_in_background("e").expect("a listener");
    block_on(listener.close(SOON));
    assert!(matches!(block_on(listener.connected()), Err(DialError::Closed)));
    assert_eq!(block_on(listener.accept()).map(drop), Err(Closed));
}

fn a_refusal_is_an_error_that_names_it<R: Runtime>(rt: R) {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", port.local_addr().expect("its address"));
    let server = thread::spawn(move || {
        let (mut stream, _) = port.accept().expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a head");
            head.extend_from_slice(&byte);
        }
        let body = r#"{"error":"invalid token"}"#;
        let length = body.len();
        write!(stream, "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
            .expect("written");
        String::from_utf8_lossy(&head).into_owned()
    });
    let upstream = Upstream::new(rt, &url).expect("a URL").token("t0ken").tenant("me");
    let error = block_on(upstream.listen("a b")).expect_err("refused");
    assert_eq!(error.to_string(), "connect: 401: invalid token");
    assert!(matches!(error, ListenError::Refused(DialError::Refused(401, _))));
    let head = server.join().expect("no panic").to_ascii_lowercase();
    assert!(head.starts_with("get /piko/v1/upstream/a%20b http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: bearer t0ken\r\n"), "{head}");
    assert!(head.contains("\r\nx-piko-tenant-id: me\r\n"), "{head}");
}

fn mistakes_are_told_before_anything_connects<R: Runtime>(rt: R) {
    let upstream = Upstream::new(rt.clone(), "http://127.0.0.1:1").expect("a URL");
    for endpoint in ["", "a/b", &"e".repeat(1025)] {
        let error = block_on(upstream.listen(endpoint)).expect_err("no endpoint id");
        assert!(matches!(error, ListenError::Endpoint(_)), "{error}");
    }
    // A line break would begin a field of the sender's own making.
    for upstream in [upstream.clone().token("secret\n"), upstream.clone().tenant("secret\r\nx: y")] {
        let error = block_on(upstream.listen("e")).expect_err("no header");
        assert!(matches!(error, ListenError::ControlCharacter(_)), "{error}");
        assert!(!format!("{error} {upstream:?}").contains("secret\n"), "{error}");
    }
    assert!(Upstream::new(rt, "localhost:8001").is_err());
}

/// Whoever waits for a stream hears of it, also when somebody who began to wait later gave up.
fn a_later_waiter_takes_nobodys_place<R: Runtime>(rt: R) {
    struct Flag(AtomicBool);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let server = Server::start(&[]);
    let upstream = Upstream::new(rt, &server.connect_url()).expect("a URL");
    let listener = block_on(upstream.listen("e")).expect("a listener");
    let first = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(first.clone());
    assert!(listener.poll_accept(&mut Context::from_waker(&waker)).is_pending());
    assert!(listener.poll_accept(&mut Context::from_waker(Waker::noop())).is_pending());
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    client.send_head("GET", "/", &[TO_E]).expect("sent");
    wait_for(|| first.0.load(Ordering::SeqCst));
    assert!(listener.poll_accept(&mut Context::from_waker(&waker)).is_ready());
}

/// Each case once per runtime.
macro_rules! on_both {
    ($($case:ident)*) => {
        mod tokio {
            $(#[test] fn $case() { super::with_tokio(super::$case); })*
        }
        mod smol {
            $(#[test] fn $case() { super::with_smol(super::$case); })*
        }
    };
}

on_both! {
    a_closed_listener_is_no_listener
    a_dropped_listener_is_gone
    a_later_waiter_takes_nobodys_place
    a_listener_waits_for_its_server_and_finds_it_again
    a_refusal_is_an_error_that_names_it
    close_drains
    close_waits_no_longer_than_asked
    mistakes_are_told_before_anything_connects
    requests_are_served
    shutdown_ends_at_once
}

/// `accept` gives what tokio's own traits read and write.
#[test]
fn a_stream_on_tokio_is_one_of_tokios() {
    use ::tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
    with_tokio(|rt| {
        let server = Server::start(&[]);
        let upstream = Upstream::new(rt.clone(), &server.connect_url()).expect("a URL");
        let listener = block_on(upstream.listen("e")).expect("a listener");
        rt.spawn(async move {
            let mut stream = listener.accept().await.expect("a stream");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut head).await.expect("bytes") > 0);
            }
            assert!(stream.is_write_vectored());
            let (_, mut half) = ::tokio::io::split(stream);
            half.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello\n").await.expect("written");
            half.shutdown().await.expect("a clean end");
        });
        assert_eq!(hello(&server), "hello\n");
    });
}

/// `accept` gives what smol's traits (those of futures-io) read and write.
#[test]
fn a_stream_on_smol_is_one_of_smols() {
    with_smol(|rt| {
        let server = Server::start(&[]);
        let upstream = Upstream::new(rt, &server.connect_url()).expect("a URL");
        let listener = block_on(upstream.listen("e")).expect("a listener");
        rt.spawn(async move {
            let mut stream: Stream = listener.accept().await.expect("a stream");
            let mut head = vec![0; 16];
            stream.read_exact(&mut head).await.expect("the begin of a head");
            assert_eq!(head, b"GET / HTTP/1.1\r\n");
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello\n").await.expect("written");
            stream.close().await.expect("a clean end");
            // The rest of the head is still there, until the test has its answer and ends the server.
            assert!(stream.read(&mut head).await.expect("bytes") > 0);
            while stream.read(&mut head).await.is_ok_and(|bytes| bytes > 0) {}
        });
        assert_eq!(hello(&server), "hello\n");
    });
}

/// A tokio program of the usual flavour, with several threads.
#[test]
fn a_multi_threaded_tokio_will_do() {
    let threads = ::tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let threads = threads.expect("a runtime");
    let rt = threads.block_on(async { Tokio::current() });
    requests_are_served(rt);
}

/// `Dialer` against a service behind `Upstream`, both on the same runtime.
async fn dialled<R: Runtime>(rt: R, proxy_url: String, upstream_url: String) {
    let upstream = Upstream::new(rt.clone(), &upstream_url).expect("a URL");
    let listener = upstream.listen("tcp").await.expect("a listener");
    let accepting = rt.clone();
    rt.spawn(async move {
        while let Ok(mut stream) = poll_fn(|cx| listener.poll_accept(cx)).await {
            accepting.spawn(async move {
                let mut all = Vec::new();
                // What broke off gets no answer.
                if stream.read_to_end(&mut all).await.is_ok() {
                    let _ = stream.write_all(&all).await;
                    let _ = stream.close().await;
                }
            });
        }
    });
    let dialer = Dialer::new(rt, &proxy_url).expect("a URL").timeout(SOON);
    for size in [0, 1, 300_000] {
        let mut connection = dialer.dial_raw("tcp").await.expect("a connection");
        let sent = vec![7; size];
        connection.write_all(&sent).await.expect("sent");
        connection.close().await.expect("ended");
        let mut back = Vec::new();
        connection.read_to_end(&mut back).await.expect("a clean end");
        assert!(back == sent, "{size}: {} bytes came back", back.len());
        assert!(connection.write_all(b"more").await.is_err(), "behind the end nothing is sent");
    }
    // The way back begins before the way there has ended, also through one task.
    let mut connection = dialer.dial_raw("tcp").await.expect("a connection");
    connection.write_all(&vec![1; 3_000_000]).await.expect("sent");
    drop(connection);
    let refused = dialer.dial_raw("nobody").await;
    assert!(matches!(refused, Err(DialError::Refused(502, _))), "{:?}", refused.err());
    assert!(matches!(dialer.dial_raw("").await, Err(DialError::Endpoint(_))));
    let bad = dialer.token("line\n").dial_raw("tcp").await;
    assert!(matches!(bad, Err(DialError::ControlCharacter("token"))), "{:?}", bad.err());
}

/// On the runtime itself: its sockets are made there.
fn dialled_on<R: Runtime>(rt: &R, server: &Server) {
    let (done, end) = channel();
    let work = dialled(rt.clone(), format!("http://{}", server.proxy), server.connect_url());
    rt.spawn(async move {
        work.await;
        let _ = done.send(());
    });
    // A panic of the task drops the sender.
    end.recv_timeout(3 * SOON).expect("no panic on the runtime");
}

#[test]
fn endpoints_are_dialled_on_both_runtimes() {
    let server = Server::start(&[]);
    with_tokio(|rt| dialled_on(&rt, &server));
    with_smol(|rt| dialled_on(&rt, &server));
}
