//! Rows of the table of the Go SDK that have no test elsewhere (behaviour reference, agent and SDK, 5).

use crate::{Events, SOON, beside, on_both};
use futures::future;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use piko_client::{Closed, Dialer, Runtime, Upstream};
use piko_driver::timeout_at;
use piko_tests::cluster::unused_addr;
use piko_tests::process::Server;
use piko_tests::service::Service;
use std::future::poll_fn;
use std::io::{BufRead, BufReader, Write};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::task::Poll;
use std::time::Duration;

/// "Zero value usable": ports 8001 and 8000 of this machine.
async fn the_defaults_are_those_of_go<R: Runtime>(rt: R) {
    let shown = format!("{:?} {:?}", Upstream::local(rt.clone()), Dialer::local(rt.clone()));
    assert!(shown.contains("localhost") && shown.contains("8001") && shown.contains("8000"), "{shown}");
    let written = Upstream::new(rt, "http://localhost:8001").expect("a URL");
    assert!(shown.starts_with(&format!("{written:?} ")), "{shown}");
    assert_eq!(Closed.to_string(), "closed");
}

/// "A URL path is kept as prefix."
async fn a_path_is_kept_as_prefix<R: Runtime>(rt: R) {
    let (send, heads) = channel();
    let send = Mutex::new(send);
    let service = Service::scripted(move |stream| {
        let line = BufReader::new(&stream).lines().next().and_then(Result::ok).unwrap_or_default();
        let _ = send.lock().expect("no panic").send(line);
        let _ = (&stream).write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let url = format!("http://{}/base/", service.addr());
    let upstream = Upstream::new(rt.clone(), &url).expect("a URL");
    let error = upstream.listen("e").await.expect_err("refused");
    assert_eq!(error.to_string(), "connect: 400: bad handshake");
    assert!(Dialer::new(rt, &url).expect("a URL").dial_raw("e").await.is_err());
    let heads: Vec<String> = heads.try_iter().collect();
    assert_eq!(heads, ["GET /base/piko/v1/upstream/e HTTP/1.1", "GET /base/_piko/v1/tcp/e HTTP/1.1"]);
}

/// "ctx does not bound the listener's later life", and before the tunnel is up it ends the attempts.
async fn a_limit_on_the_first_connection_is_none_on_the_listener<R: Runtime>(rt: R) {
    let port = unused_addr();
    let (upstream, mut events) =
        Events::of(&rt, Upstream::new(rt.clone(), &format!("http://{port}")).expect("a URL"));
    let limit = |after| Some(rt.now() + after);
    assert!(
        timeout_at(&rt, limit(Duration::from_millis(100)), upstream.listen("e")).await.is_err(),
        "nobody is there"
    );
    assert_eq!(events.until("ended").await.last().map(String::as_str), Some("ended"));
    let mut server = beside(move || Server::start(&[&format!("--upstream.bind-addr={port}")])).await;
    let listener = timeout_at(&rt, limit(SOON), upstream.listen("e")).await.expect("in time").expect("up");
    events.until("connected").await;
    // A server that closes is no end either: Go's `Accept` gives up there.
    let again = beside(move || {
        server.terminate(SOON).expect("the end");
        Server::start(&[&format!("--upstream.bind-addr={port}")])
    })
    .await;
    events.until("connected").await;
    drop((listener, again));
}

/// "Several `Listen` calls for the same id = several load-balanced upstreams."
async fn listeners_of_one_endpoint_share_it<R: Runtime>(rt: R) {
    let server = beside(|| Server::start(&[])).await;
    let upstream = Upstream::new(rt.clone(), &server.connect_url()).expect("a URL");
    let one = upstream.listen("e").await.expect("a listener");
    let other = upstream.listen("e").await.expect("a listener");
    let dialer = Dialer::new(rt.clone(), &format!("http://{}", server.proxy)).expect("a URL");
    let mut open = Vec::new();
    let mut came = [0; 2];
    for _ in 0..2 {
        let accepted = poll_fn(|cx| {
            for (listener, came) in [&one, &other].into_iter().zip(&mut came) {
                if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                    *came += 1;
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        });
        let both = future::join(dialer.dial_raw("e"), accepted);
        let (connection, stream) = timeout_at(&rt, Some(rt.now() + SOON), both).await.expect("one each");
        open.push((connection.expect("a connection"), stream.expect("a stream")));
    }
    assert_eq!(came, [1, 1]);
}

/// "Established connections live on" behind `Close`, and none behind `Shutdown`.
async fn what_is_open_lives_on_behind_close<R: Runtime>(rt: R) {
    let server = beside(|| Server::start(&[])).await;
    let upstream = Upstream::new(rt.clone(), &server.connect_url()).expect("a URL");
    let listener = upstream.listen("e").await.expect("a listener");
    let dialer = Dialer::new(rt.clone(), &format!("http://{}", server.proxy)).expect("a URL");
    let accepted = poll_fn(|cx| listener.poll_accept(cx));
    let (connection, stream) = future::join(dialer.dial_raw("e"), accepted).await;
    let (mut connection, mut stream) = (connection.expect("a connection"), stream.expect("a stream"));
    connection.write_all(b"ping").await.expect("sent");
    let closing = timeout_at(&rt, Some(rt.now() + Duration::from_millis(100)), listener.close(Duration::MAX));
    assert!(closing.await.is_err(), "it waits for the stream");
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.expect("bytes");
    stream.write_all(&back).await.expect("sent");
    connection.read_exact(&mut back).await.expect("an answer");
    assert_eq!(&back, b"ping");
    listener.shutdown();
    assert!(connection.read(&mut back).await.is_err(), "cut");
}

on_both! {
    a_limit_on_the_first_connection_is_none_on_the_listener
    a_path_is_kept_as_prefix
    listeners_of_one_endpoint_share_it
    the_defaults_are_those_of_go
    what_is_open_lives_on_behind_close
}
