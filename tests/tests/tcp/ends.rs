//! Who ends first, on which way, and what the other one still hears.

use crate::common::{
    ENDPOINT, PATIENCE, Way, WebSocket, body, connect, echo, echo_at_end, ends_first, reset,
};
use piko_tests::process::Process;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};

const MIB: usize = 1 << 20;

/// Both ways through the cluster.
fn on_each_way(service: SocketAddr, test: impl Fn(&Way)) {
    test(&Way::local(service));
    test(&Way::across_nodes(service));
}

#[test]
fn a_client_that_ends_first_hears_the_answer() {
    let service = echo_at_end();
    on_each_way(service.addr(), |way| {
        let forward = way.forward();
        for size in [0, 1, 100_000, 4 * MIB] {
            let mut client = connect(forward.addr);
            let mut writer = client.try_clone().expect("a copy");
            let sent = body(size);
            let mut back = Vec::new();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    writer.write_all(&sent).expect("sent");
                    writer.shutdown(Shutdown::Write).expect("half closed");
                });
                client.read_to_end(&mut back).expect("the answer, and a clean end");
            });
            assert!(back == sent, "{size}: {} bytes came back", back.len());
        }
    });
}

#[test]
fn a_service_that_ends_first_hears_the_rest() {
    let (service, told) = ends_first(b"and now you");
    on_each_way(service.addr(), |way| {
        let forward = way.forward();
        let mut client = connect(forward.addr);
        let mut greeting = Vec::new();
        client.read_to_end(&mut greeting).expect("a clean end");
        assert_eq!(greeting, b"and now you");
        client.write_all(&body(2 * MIB)).expect("the other direction is open");
        client.shutdown(Shutdown::Write).expect("half closed");
        let (bytes, ended) = told.recv_timeout(PATIENCE).expect("the service hears all");
        assert_eq!(bytes, 2 * MIB);
        ended.expect("a clean end");
    });
}

/// Reads the end of a connection that was cut, which no clean end may look like.
fn assert_cut(read: std::io::Result<usize>) {
    let error = read.expect_err("a cut");
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
}

#[test]
fn a_client_that_resets_cuts_the_service() {
    let (tell, told) = std::sync::mpsc::channel();
    let service = piko_tests::service::Service::scripted(move |mut stream| {
        let mut buf = [0; 4];
        let _ = stream.read_exact(&mut buf).and_then(|()| stream.write_all(&buf));
        let _ = tell.send(stream.read(&mut buf));
    });
    on_each_way(service.addr(), |way| {
        let forward = way.forward();
        let mut client = connect(forward.addr);
        client.write_all(b"ping").expect("sent");
        client.read_exact(&mut [0; 4]).expect("an echo");
        reset(client);
        assert_cut(told.recv_timeout(PATIENCE).expect("the service hears"));
    });
}

#[test]
fn a_service_that_resets_cuts_the_client() {
    let service = piko_tests::service::Service::scripted(|mut stream| {
        let _ = stream.read_exact(&mut [0; 4]);
        reset(stream);
    });
    on_each_way(service.addr(), |way| {
        let forward = way.forward();
        let mut client = connect(forward.addr);
        client.write_all(b"ping").expect("sent");
        assert_cut(client.read(&mut [0; 4]));
    });
}

#[test]
fn a_forwarder_that_is_killed_cuts_the_service() {
    let (tell, told) = std::sync::mpsc::channel();
    let service = piko_tests::service::Service::scripted(move |mut stream| {
        let mut buf = [0; 4];
        let _ = stream.read_exact(&mut buf).and_then(|()| stream.write_all(&buf));
        let _ = tell.send(stream.read(&mut buf));
    });
    on_each_way(service.addr(), |way| {
        let mut forward = way.forward();
        let mut client = connect(forward.addr);
        client.write_all(b"ping").expect("sent");
        client.read_exact(&mut [0; 4]).expect("an echo");
        kill(&mut forward.process);
        assert_cut(told.recv_timeout(PATIENCE).expect("the service hears"));
    });
}

fn kill(process: &mut Process) {
    process.signal(piko_tests::process::Signal::Kill).expect("it runs");
}

/// As Go's forwarder and other people's programs: a close frame is the end of both directions.
#[test]
fn a_client_without_capability_that_closes_is_answered_and_gone() {
    let (service, told) = ends_first(b"");
    let silent = echo();
    on_each_way(service.addr(), |way| {
        let mut client = WebSocket::open(way.proxy, ENDPOINT, &[]).expect("a connection");
        client.send(b"last words").expect("sent");
        client.close().expect("sent");
        assert_eq!(client.read_to_end(), (Vec::new(), true), "a close frame comes back");
        let (bytes, ended) = told.recv_timeout(PATIENCE).expect("the service hears the end");
        assert_eq!(bytes, b"last words".len());
        ended.expect("a clean end");
    });
    on_each_way(silent.addr(), |way| {
        let mut client = WebSocket::open(way.proxy, ENDPOINT, &[]).expect("a connection");
        client.send(b"ping").expect("sent");
        client.close().expect("sent");
        let (_, closed) = client.read_to_end();
        assert!(closed);
        assert_eq!(client.stream.read(&mut [0; 1]).expect("the end below"), 0);
    });
}

/// Wire protocol 5: a FIN without a close frame ends one direction only, also for Go.
#[test]
fn a_client_without_capability_may_half_close_its_socket() {
    let service = echo_at_end();
    on_each_way(service.addr(), |way| {
        let mut client = WebSocket::open(way.proxy, ENDPOINT, &[]).expect("a connection");
        client.send(&body(100_000)).expect("sent");
        client.stream.shutdown(Shutdown::Write).expect("half closed");
        let (bytes, closed) = client.read_to_end();
        assert!(bytes == body(100_000) && closed, "{} bytes, {closed}", bytes.len());
    });
}

#[test]
fn a_client_without_capability_hears_all_of_a_service_that_ends_first() {
    let (service, _told) = ends_first(b"all of it");
    on_each_way(service.addr(), |way| {
        let mut client = WebSocket::open(way.proxy, ENDPOINT, &[]).expect("a connection");
        assert_eq!(client.read_to_end(), (b"all of it".to_vec(), true));
        client.close().expect("the echo");
        assert_eq!(client.stream.read(&mut [0; 1]).expect("the end below"), 0);
    });
}
