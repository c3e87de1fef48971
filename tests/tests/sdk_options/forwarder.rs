//! `listen_and_forward`.

use crate::{SOON, beside, on_both};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use piko_client::{Dialer, ListenError, Runtime, Upstream};
use piko_driver::timeout_at;
use piko_tests::cluster::unused_addr;
use piko_tests::process::Server;
use piko_tests::service::Service;
use std::io::{Read, Write};
use std::time::Duration;

/// Sends back what it gets, at once, and ends when its client does.
fn echo() -> Service {
    Service::scripted(|mut stream| {
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut buf) {
            if stream.write_all(&buf[..n]).is_err() {
                return;
            }
        }
    })
}

async fn connections_reach_the_service<R: Runtime>(rt: R) {
    let (server, service) = (beside(|| Server::start(&[])).await, echo());
    let upstream = Upstream::new(rt.clone(), &server.connect_url()).expect("a URL");
    let dialer = Dialer::new(rt.clone(), &format!("http://{}", server.proxy)).expect("a URL");
    let forwarder = upstream.listen_and_forward("e", &service.addr().to_string()).await.expect("a forwarder");
    assert_eq!(forwarder.endpoint().to_string(), "e");
    let mut open = dialer.dial_raw("e").await.expect("a connection");
    let mut back = [0; 4];
    open.write_all(b"ping").await.expect("sent");
    open.read_exact(&mut back).await.expect("an echo");
    // Half closed, the rest still comes.
    let mut other = dialer.dial_raw("e").await.expect("a connection");
    other.write_all(&[7; 100_000]).await.expect("sent");
    other.close().await.expect("half closed");
    let mut all = Vec::new();
    other.read_to_end(&mut all).await.expect("a clean end");
    assert!(all == [7; 100_000], "{} bytes", all.len());

    // Closing waits for those that are open, which go on, and takes no new ones.
    let closing =
        timeout_at(&rt, Some(rt.now() + Duration::from_millis(200)), forwarder.close(Duration::MAX));
    assert!(closing.await.is_err(), "a connection is open");
    open.write_all(b"pong").await.expect("sent");
    open.read_exact(&mut back).await.expect("an echo");
    assert_eq!(&back, b"pong");
    let late = dialer.clone().timeout(Duration::from_millis(100)).dial_raw("e").await;
    assert!(late.is_err(), "closed");
    open.close().await.expect("closed");
    let ended = timeout_at(&rt, Some(rt.now() + SOON), forwarder.wait()).await;
    assert!(ended.is_ok(), "the last connection is over");
}

async fn a_service_that_is_down_is_a_reset<R: Runtime>(rt: R) {
    let server = beside(|| Server::start(&[])).await;
    let port = unused_addr();
    let upstream = Upstream::new(rt.clone(), &server.connect_url()).expect("a URL");
    let forwarder = upstream.listen_and_forward("e", &port.to_string()).await.expect("a forwarder");
    let dialer = Dialer::new(rt.clone(), &format!("http://{}", server.proxy)).expect("a URL");
    let mut connection = dialer.dial_raw("e").await.expect("a connection");
    assert!(connection.read(&mut [0; 1]).await.is_err(), "cut, not ended");
    // The service is back: the next connection finds it.
    let listener = std::net::TcpListener::bind(port).expect("the port");
    let _open = dialer.dial_raw("e").await.expect("a connection");
    beside(move || listener.accept().map(drop).expect("a connection")).await;
    forwarder.shutdown();
    let ended = timeout_at(&rt, Some(rt.now() + SOON), forwarder.wait()).await;
    assert!(ended.is_ok(), "shut down");
}

async fn a_dropped_forwarder_cuts_what_is_open<R: Runtime>(rt: R) {
    let (server, service) = (beside(|| Server::start(&[])).await, echo());
    let upstream = Upstream::new(rt.clone(), &server.connect_url()).expect("a URL");
    let forwarder = upstream.listen_and_forward("e", &service.addr().to_string()).await.expect("a forwarder");
    let dialer = Dialer::new(rt, &format!("http://{}", server.proxy)).expect("a URL");
    let mut open = dialer.dial_raw("e").await.expect("a connection");
    open.write_all(b"ping").await.expect("sent");
    open.read_exact(&mut [0; 4]).await.expect("an echo");
    drop(forwarder);
    assert!(open.read(&mut [0; 1]).await.is_err(), "cut");
}

async fn a_bad_address_is_told_before_anything_connects<R: Runtime>(rt: R) {
    let upstream = Upstream::new(rt, "http://127.0.0.1:1").expect("a URL");
    for addr in ["", "host", "http://h:1", "70000"] {
        let error = upstream.listen_and_forward("e", addr).await.expect_err("no address");
        assert!(matches!(&error, ListenError::Addr(text) if text == addr), "{error}");
    }
}

on_both! {
    a_bad_address_is_told_before_anything_connects
    a_dropped_forwarder_cuts_what_is_open
    a_service_that_is_down_is_a_reset
    connections_reach_the_service
}
