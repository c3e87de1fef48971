//! Services at Unix sockets: for TCP endpoints, and for HTTP.

use crate::common::{ENDPOINT, PATIENCE, connect};
use piko_tests::certs::Folder;
use piko_tests::http::Client;
use piko_tests::process::{Agent, Forward, Process, Server, binary};
use piko_tests::service::Service;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Serves `connections` of them, one after the other.
fn serve(listener: UnixListener, connections: usize, answer: fn(UnixStream)) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for _ in 0..connections {
            answer(listener.accept().expect("a connection").0);
        }
    })
}

#[test]
fn a_tcp_service_may_be_a_unix_socket() {
    let folder = Folder::new("unix-tcp");
    let path = folder.path().join("db.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let service = serve(listener, 1, |mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("a clean end");
        stream.write_all(&all).expect("the answer is taken");
    });
    let server = Server::start(&[]);
    let agent = Agent::tcp(&server.connect_url(), ENDPOINT, &format!("unix:{}", path.display()), &[]);
    let forward = Forward::tcp(server.proxy, ENDPOINT, &[]);
    let mut client = connect(forward.addr);
    client.write_all(b"to the socket").expect("sent");
    client.shutdown(std::net::Shutdown::Write).expect("half closed");
    let mut back = Vec::new();
    client.read_to_end(&mut back).expect("a clean end");
    assert_eq!(back, b"to the socket");
    service.join().expect("no panic");
    // Nobody accepts any more, though the file is there.
    assert!(connect(forward.addr).read(&mut [0; 1]).is_err(), "a reset");
    let (_, record) = agent.process.wait_record(0, PATIENCE, "failed to dial upstream").expect("a line");
    assert_eq!(record["cause"], "connect-refused", "{record}");
}

#[test]
fn an_http_service_may_be_a_unix_socket() {
    let folder = Folder::new("unix-http");
    let path = folder.path().join("web.sock");
    let service = serve(UnixListener::bind(&path).expect("a socket"), 1, |stream| {
        let copy = stream.try_clone().expect("a copy");
        let mut lines = BufReader::new(copy).lines().map_while(Result::ok);
        let request = lines.next().unwrap_or_default();
        assert!(lines.any(|line| line.is_empty()), "the end of a head");
        let mut stream = stream;
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{request}",
            request.len()
        )
        .expect("the answer is taken");
    });
    let server = Server::start(&[]);
    let _agent = Agent::http(&server.connect_url(), ENDPOINT, &format!("unix:{}", path.display()), &[]);
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    let answer = client.get("/over/a/socket", &[("x-piko-endpoint", ENDPOINT)]).expect("an answer");
    assert_eq!((answer.status(), answer.body.text().as_str()), (200, "GET /over/a/socket HTTP/1.1"));
    service.join().expect("no panic");
}

/// A start that finds the socket of a living forwarder is refused, and the service behind that one hears nothing of it.
#[test]
fn a_second_forwarder_at_the_same_socket_is_refused_silently() {
    let folder = Folder::new("unix-twice");
    let at = format!("unix:{}", folder.path().join("local.sock").display());
    let came = Arc::new(AtomicUsize::new(0));
    let count = came.clone();
    let service = Service::scripted(move |mut stream| {
        count.fetch_add(1, Ordering::SeqCst);
        let _ = stream.write_all(b"!");
    });
    let server = Server::start(&[]);
    let _agent = Agent::tcp(&server.connect_url(), ENDPOINT, &service.addr().to_string(), &[]);
    let url = format!("http://{}", server.proxy);
    let mut command = Command::new(binary("piko"));
    command.args(["forward", &at, ENDPOINT, "--connect.url", &url]);
    let first = Process::spawn("piko forward", &mut command).expect("it starts");
    first.wait_record(0, PATIENCE, "starting forwarder").expect("a line");
    let second = piko_tests::flags::run("piko", &["forward", &at, ENDPOINT, "--connect.url", &url], &[]);
    assert!(!second.status.success(), "{second:?}");
    // Behind whatever the second one may have sent.
    let mut client = UnixStream::connect(folder.path().join("local.sock")).expect("it listens");
    client.read_exact(&mut [0]).expect("a greeting");
    assert_eq!(came.load(Ordering::SeqCst), 1);
    let opened = first.lines(0).iter().filter(|line| line.text.contains("connection opened")).count();
    assert_eq!(opened, 1, "{}", first.tail());
}
