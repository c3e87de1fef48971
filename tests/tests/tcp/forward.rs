//! `piko forward`: its spellings, its listeners, its flags.

use crate::common::{ENDPOINT, PATIENCE, Way, connect, echo};
use piko_tests::cluster::unused_addr;
use piko_tests::process::{Forward, Process, Signal, binary};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

fn ping(stream: &mut (impl Read + Write)) {
    stream.write_all(b"ping").expect("sent");
    let mut back = [0; 4];
    stream.read_exact(&mut back).expect("an echo");
    assert_eq!(&back, b"ping");
}

fn piko(args: &[&str]) -> Process {
    Process::spawn("piko", Command::new(binary("piko")).args(args)).expect("started")
}

fn addr_of(process: &Process, endpoint: &str) -> String {
    let line = process.wait_line(0, PATIENCE, |line| {
        line.is_record("starting forwarder") && line.json().is_some_and(|v| v["endpoint-id"] == endpoint)
    });
    line.expect("a port").json().expect("a record")["addr"].as_str().expect("an address").to_owned()
}

#[test]
fn every_spelling_forwards() {
    let service = echo();
    let way = Way::local(service.addr());
    let url = format!("http://{}", way.proxy);
    for words in [&["forward", "tcp"][..], &["forward"]] {
        let args = [words, &["127.0.0.1:0", ENDPOINT, "--connect.url", &url]].concat();
        let process = piko(&args);
        ping(&mut connect(addr_of(&process, ENDPOINT).parse().expect("an address")));
    }
}

/// A folder of this test alone, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("piko-tcp-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_has_many_ports_and_sockets_too() {
    let folder = Folder::new("ports");
    let service = echo();
    let way = Way::local(service.addr());
    let (socket, file) = (folder.path("db.sock"), folder.path("forward.yaml"));
    let text = format!(
        "ports:\n  - addr: 127.0.0.1:0\n    endpoint_id: {ENDPOINT}\n  - addr: unix:${{SOCKET}}\n    endpoint_id: {ENDPOINT}\n\
         connect:\n  url: http://{}\n",
        way.proxy
    );
    std::fs::write(&file, text).expect("written");
    // A socket that a killed forwarder left behind is no obstacle.
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("bound"));
    let mut command = Command::new(binary("piko"));
    command.args(["forward", "start", "--config.path", &file, "--config.expand-env"]).env("SOCKET", &socket);
    let mut process = Process::spawn("piko", &mut command).expect("started");
    ping(&mut connect(addr_of(&process, ENDPOINT).parse().expect("an address")));
    process.wait_line(0, PATIENCE, |line| line.text.contains("db.sock")).expect("the socket");
    ping(&mut UnixStream::connect(&socket).expect("the socket"));
    process.signal(Signal::Term).expect("it runs");
    assert!(process.wait_exit(PATIENCE).expect("the end").success());
    assert!(!std::path::Path::new(&socket).exists(), "the socket is removed at the end");
}

#[test]
fn lines_say_what_became_of_a_connection() {
    let service = echo();
    let way = Way::local(service.addr());
    let forward = way.forward();
    let mut client = connect(forward.addr);
    ping(&mut client);
    drop(client);
    let (_, record) = forward.process.wait_record(0, PATIENCE, "connection closed").expect("a line");
    assert_eq!((&record["bytes-in"], &record["bytes-out"]), (&4.into(), &4.into()), "{record}");
    assert_eq!(record["endpoint-id"], ENDPOINT);
    assert!(record.get("cut").is_none(), "{record}");
    let (_, record) = way.agent.process.wait_record(0, PATIENCE, "connection closed").expect("a line");
    assert_eq!((&record["bytes-in"], &record["bytes-out"]), (&4.into(), &4.into()), "{record}");
    assert!(record.get("cut").is_none(), "{record}");
}

#[test]
fn the_timeout_bounds_a_server_that_is_silent() {
    // Accepts in the kernel and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = silent.local_addr().expect("its address");
    let forward = Forward::tcp(addr, ENDPOINT, &["--connect.timeout", "500ms"]);
    let start = Instant::now();
    let read = connect(forward.addr).read(&mut [0; 1]);
    assert!(!matches!(read, Ok(1..)), "{read:?}");
    let took = start.elapsed();
    // Without the flag it would be 30 s.
    assert!((Duration::from_millis(400)..Duration::from_secs(25)).contains(&took), "{took:?}");
    let (_, record) = forward.process.wait_record(0, PATIENCE, "failed to dial endpoint").expect("a line");
    let error = format!("http://{addr}: no answer: timed out");
    assert_eq!((&record["error"], &record["endpoint-id"]), (&error.into(), &ENDPOINT.into()));
}

#[test]
fn a_refusal_is_told_and_the_client_is_cut() {
    let server = piko_tests::process::Server::start(&[]);
    let forward = Forward::tcp(server.proxy, "nobody", &[]);
    let read = connect(forward.addr).read(&mut [0; 1]);
    assert!(read.is_err(), "{read:?}");
    let (_, record) = forward.process.wait_record(0, PATIENCE, "failed to dial endpoint").expect("a line");
    assert_eq!(record["error"], "502: no available upstreams");
}

/// What the forwarder asks the server on `port` for when a client comes. It is refused, so that it does not ask again.
fn asked_by(forward: &Forward, port: &TcpListener) -> String {
    let _client = connect(forward.addr);
    let (mut asked, _) = port.accept().expect("a connection");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        asked.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    asked.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").expect("it waits");
    String::from_utf8(head).expect("text")
}

/// A token out of a file is read again when the file changes; one that cannot be sent is refused, and the old one stays.
#[test]
fn the_token_of_a_file_may_change() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = port.local_addr().expect("its address");
    let folder = piko_tests::certs::Folder::new("token");
    let file = folder.put("token", "first\n");
    let forward = Forward::tcp(addr, ENDPOINT, &["--connect.token-file", &file]);
    let bearer = |token: &str| format!("\r\nAuthorization: Bearer {token}\r\n");
    assert!(asked_by(&forward, &port).contains(&bearer("first")));

    let from = forward.process.mark();
    folder.put("token", "second\n");
    forward.process.wait_record(from, PATIENCE, "reloaded").expect("is seen");
    let head = asked_by(&forward, &port);
    assert!(head.contains(&bearer("second")), "{head}");

    let from = forward.process.mark();
    folder.put("token", "two\nlines\n");
    let refused = "what is new was refused; the old stays";
    let (_, record) = forward.process.wait_record(from, PATIENCE, refused).expect("is told");
    assert!(record["error"].as_str().expect("a reason").contains("control character"), "{record}");
    let head = asked_by(&forward, &port);
    assert!(head.contains(&bearer("second")), "{head}");
}

#[test]
fn the_token_is_sent() {
    let (port, addr) = {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = port.local_addr().expect("its address");
        (port, addr)
    };
    let forward = Forward::tcp(addr, "a b", &["--connect.token", "secret"]);
    let head = asked_by(&forward, &port);
    assert!(head.starts_with("GET /_piko/v1/tcp/a%20b HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nAuthorization: Bearer secret\r\n"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("tenant"), "{head}");
}

#[test]
fn a_port_that_is_taken_ends_the_program() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("its address").to_string();
    let mut process = piko(&["forward", "tcp", &addr, ENDPOINT]);
    assert_eq!(process.wait_exit(PATIENCE).expect("the end").code(), Some(1));
    let (_, record) = process.wait_record(0, PATIENCE, "failed to run forward").expect("a line");
    assert!(record["error"].as_str().is_some_and(|error| error.starts_with(&format!("listen: {addr}: "))));
}

#[test]
fn the_log_says_as_much_as_is_asked_for() {
    let service = echo();
    let way = Way::local(service.addr());
    let url = format!("http://{}", way.proxy);
    let port = unused_addr();
    let forward = |args: &[&str]| {
        let addr = port.to_string();
        let all = [&["forward", "tcp", &addr, ENDPOINT, "--connect.url", &url], args].concat();
        let process = piko(&all);
        let deadline = Instant::now() + PATIENCE;
        let mut client = loop {
            // At level error nothing is logged, so that only the port tells that it is open.
            match std::net::TcpStream::connect(port) {
                Ok(client) => break client,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        ping(&mut client);
        drop(client);
        process
    };
    let mut quiet = forward(&["--log.level", "error"]);
    quiet.signal(Signal::Int).expect("it runs");
    assert!(quiet.wait_exit(PATIENCE).expect("the end").success());
    assert!(quiet.lines(0).is_empty(), "{}", quiet.tail());
    let told = forward(&["--log.level", "error", "--log.subsystems", "forwarder"]);
    told.wait_record(0, PATIENCE, "connection closed").expect("a line of that subsystem");
    assert!(told.lines(0).iter().all(|line| !line.is_record("starting piko forward")), "{}", told.tail());
}

/// The log of a forwarder follows its file; what waits for a restart is named.
#[test]
fn a_forwarder_takes_over_its_log() {
    let folder = Folder::new("reload");
    let file = folder.path("forward.yaml");
    let write = |port: &str, rest: &str| {
        let text = format!("ports:\n  - {{addr: {port}, endpoint_id: {ENDPOINT}}}\n{rest}\n");
        // In place at once, so that no look finds half of it.
        std::fs::write(format!("{file}.new"), text).expect("written");
        std::fs::rename(format!("{file}.new"), &file).expect("in place");
    };
    write("127.0.0.1:0", "log: {level: error}");
    let mut process = piko(&["forward", "start", "--config.path", &file, "--log.subsystems", "forwarder"]);
    process.wait_record(0, PATIENCE, "starting forwarder").expect("a port");
    // Nothing of `main` is written at this level, so that its line on the hangup would not be.
    write("127.0.0.1:0", "log: {level: info}");
    process.signal(Signal::Hup).expect("it runs");
    process.wait_record(0, PATIENCE, "reloaded").expect("the new file is seen");
    let from = process.mark();
    write("127.0.0.1:1", "log: {level: warn}");
    let told = "new values that count after a restart only";
    let (_, record) = process.wait_record(from, PATIENCE, told).expect("the new file is seen");
    assert_eq!(record["flags"], "ports", "{record}");
    let from = process.mark();
    write("127.0.0.1:0", "log: {level: loud}");
    let (_, record) =
        process.wait_record(from, PATIENCE, "what is new was refused; the old stays").expect("a line");
    assert!(record["error"].as_str().is_some_and(|error| error.contains("loud")), "{record}");
}
