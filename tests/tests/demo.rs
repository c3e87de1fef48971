//! `piko demo` as users meet it: the real program, the commands that it prints, Ctrl-C.

use piko_tests::http::{Client, End};
use piko_tests::process::{Agent, Process, Signal, binary, need};
use piko_tests::service::Service;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

const START: Duration = Duration::from_secs(20);
/// What the demo promises.
const END: Duration = Duration::from_secs(15);

struct Demo {
    process: Process,
    lines: Vec<String>,
}

impl Demo {
    /// Starts it and waits for its last line.
    fn start() -> Self {
        let mut command = Command::new(binary("piko"));
        let process = Process::spawn("piko demo", command.arg("demo")).expect("piko starts");
        let last = process.wait_line(0, START, |line| line.text == "Ctrl-C ends it.");
        let last = last.unwrap_or_else(|error| panic!("the demo does not come up: {error}"));
        let lines = process.lines(0).into_iter().filter(|line| line.index <= last.index);
        let lines = lines.map(|line| line.text.trim().to_owned()).collect();
        Self { process, lines }
    }

    /// The commands that it prints, as they stand there.
    fn commands(&self) -> Vec<String> {
        let is_command = |line: &&String| line.starts_with("curl ") && line.contains("http://");
        self.lines.iter().filter(is_command).cloned().collect()
    }

    /// What stands behind `label`.
    fn labelled(&self, label: &str) -> &str {
        let found = self.lines.iter().find_map(|line| line.strip_prefix(label));
        found.unwrap_or_else(|| panic!("no {label} in {:?}", self.lines)).trim()
    }

    /// The address in a URL that stands behind `label`.
    fn addr(&self, label: &str) -> SocketAddr {
        let text = self.labelled(label);
        let (_, rest) = text.split_once("http://").unwrap_or_else(|| panic!("no URL in {text}"));
        rest.split('/').next().unwrap_or_default().parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn front(&self) -> SocketAddr {
        let port = self.labelled("In a browser").rsplit(':').next().unwrap_or_default().trim_end_matches('/');
        SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap_or_else(|e| panic!("{port}: {e}"))))
    }

    /// Ctrl-C; gives the exit status.
    fn interrupt(&mut self) -> Option<i32> {
        self.process.signal(Signal::Int).expect("the demo runs");
        self.process.wait_exit(END).expect("the demo ends").code()
    }
}

/// The ports of the documentation.
const WANTED: [u16; 3] = [8000, 8001, 8002];

/// Keeps the demo of one test off the ports that a demo of another test takes next.
fn hold_wanted() -> Vec<Option<TcpListener>> {
    WANTED.iter().map(|port| TcpListener::bind(("127.0.0.1", *port)).ok()).collect()
}

const HOST: (&str, &str) = ("x-piko-endpoint", "demo");

#[test]
fn every_printed_command_works() {
    if need("curl").is_none() {
        return;
    }
    let mut demo = Demo::start();
    let mut answers = BTreeMap::new();
    for command in demo.commands() {
        let output = Command::new("sh").args(["-c", &command]).output().expect("a shell");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{command}: {output:?}");
        let path = command.split_once("http://").and_then(|(_, rest)| rest.split_once('/'));
        let path = path.map(|(_, path)| path.split(' ').next().unwrap_or_default().to_owned());
        answers.insert(path.unwrap_or_default(), text);
    }
    assert_eq!(
        answers.keys().collect::<Vec<_>>(),
        ["", "echo", "kill/2", "sse", "status/cluster/nodes", "status/upstream/endpoints"],
        "{:?}",
        demo.lines
    );
    assert!(answers[""].contains("came through a tunnel"), "{}", answers[""]);
    assert_eq!(answers["echo"], "hello through the tunnel");
    assert_eq!(answers["sse"].matches("data: event ").count(), 5, "{}", answers["sse"]);
    assert_eq!(answers["status/upstream/endpoints"], "{\"demo\":1}");
    assert_eq!(answers["status/cluster/nodes"].matches("\"status\":\"active\"").count(), 3);
    assert_eq!(answers["kill/2"], "killed\n");

    let mut browser = Client::connect(demo.front()).expect("the front");
    let page = browser.get("/", &[("host", "demo.localhost")]).expect("a request");
    assert_eq!(page.head.as_ref().map(|head| head.status), Some(200), "{page:?}");
    let mut admin = Client::connect(demo.addr("Metrics")).expect("the admin port");
    let metrics = admin.get("/metrics", &[]).expect("a request");
    assert_eq!(metrics.head.as_ref().map(|head| head.status), Some(200));

    assert_eq!(demo.interrupt(), Some(0), "{}", demo.process.tail());
    assert!(!demo.process.lines(0).iter().any(|line| line.json().is_some()), "{}", demo.process.tail());
}

/// Connection by connection, as curl asks, and on one that is kept, whose own server may be the one that dies.
#[test]
fn a_killed_server_is_not_missed() {
    let demo = Demo::start();
    let ask = |client: &mut Client| {
        let page = client.get("/", &[HOST]).expect("a request");
        page.head.map(|head| head.status)
    };
    let mut kept: Vec<Client> = (0..3).map(|_| Client::connect(demo.front()).expect("the front")).collect();
    assert!(kept.iter_mut().all(|client| ask(client) == Some(200)));
    let line = demo.lines.iter().find(|line| line.contains("/kill/")).expect("it says how");
    let (_, addr) = line.split_once("http://").expect("a URL");
    let (addr, path) = addr.split_once('/').expect("a path");
    let mut service = Client::connect(addr.parse().expect("an address")).expect("the service");
    let path = format!("/{path}");
    assert_eq!(service.request("POST", "/kill/9", &[], b"").expect("a request").status(), 404);
    let page = [("origin", "http://evil.example")];
    assert_eq!(service.request("POST", &path, &page, b"").expect("a request").status(), 404);
    assert_eq!(service.request("POST", &path, &[], b"").expect("a request").status(), 200);
    for n in 0..30 {
        let mut client = Client::connect(demo.front()).expect("the front");
        assert_eq!(ask(&mut client), Some(200), "request {n}");
    }
    // Two of three kept connections led to other servers.
    let alive = kept.iter_mut().filter_map(ask_of).count();
    assert_eq!(alive, 2);
}

/// The status of one more request, where the connection still stands.
fn ask_of(client: &mut Client) -> Option<u16> {
    client.get("/", &[HOST]).ok()?.head.map(|head| head.status)
}

#[test]
fn an_agent_of_the_users_own_joins() {
    let demo = Demo::start();
    let service = Service::start();
    let line = demo.labelled("For your own agents");
    assert_eq!(line.split(" --connect.url ").next(), Some("piko agent http my-endpoint 4000"));
    let url = line.rsplit(' ').next().unwrap_or_default();
    let port = service.addr().port().to_string();
    let mut command = Command::new(binary("piko"));
    command.args(["agent", "http", "my-endpoint", &port, "--connect.url", url]);
    let process = Process::spawn("piko agent", &mut command).expect("piko starts");
    let mut agent = Agent { process, endpoint: "my-endpoint".to_owned() };
    agent.wait_connected(0, START).expect("the tunnel comes up");

    let mut client = Client::connect(demo.front()).expect("the front");
    let hello = client.get("/hello", &[("x-piko-endpoint", "my-endpoint")]).expect("a request");
    assert_eq!(hello.body.bytes, b"hello\n");
    agent.process.signal(Signal::Term).expect("the agent runs");
    let code = agent.process.wait_exit(END).expect("the agent ends").code();
    assert_eq!(code, Some(0), "{}", agent.process.tail());
}

#[test]
fn ctrl_c_cuts_streams_visibly_and_closes_the_ports() {
    let _held = hold_wanted();
    let mut demo = Demo::start();
    let ports = [demo.front(), demo.addr("Metrics"), demo.addr("For your own agents")];
    let mut kept = Client::connect(demo.front()).expect("the front");
    kept.get("/", &[HOST]).expect("a request");
    let mut events = Client::connect(demo.front()).expect("the front");
    events.send_head("GET", "/sse?n=1000000", &[HOST]).expect("a request");
    assert_eq!(events.read_head().expect("a head").status, 200);
    let begun = Instant::now();
    demo.process.signal(Signal::Int).expect("the demo runs");
    let code = demo.process.wait_exit(END).expect("the demo ends").code();
    assert_eq!(code, Some(0), "{}", demo.process.tail());
    // The grace period of the demo, which a connection that is waited for would use up.
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody was worth waiting for: {:?}", begun.elapsed());
    // Fewer events than were asked for: a client must not take them for all.
    let mut rest = Vec::new();
    let _ = events.stream().read_to_end(&mut rest);
    assert!(!rest.ends_with(b"\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(kept.read_end(), End::Closed);
    for port in ports.iter().filter(|addr| !WANTED.contains(&addr.port())) {
        assert!(TcpStream::connect(port).is_err(), "{port} is still open");
    }
    assert!(!demo.process.lines(0).iter().any(|line| line.json().is_some()), "{}", demo.process.tail());
}

#[test]
fn a_client_that_never_ends_does_not_hold_up_the_end() {
    let mut demo = Demo::start();
    let mut stuck = Client::connect(demo.front()).expect("the front");
    stuck.send_head("POST", "/echo", &[HOST, ("content-length", "1000")]).expect("a request");
    assert_eq!(stuck.read_head().expect("a head").status, 200);
    assert_eq!(demo.interrupt(), Some(0), "{}", demo.process.tail());
    let answer = stuck.read_end();
    assert_ne!(answer, End::Complete);
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let mut demo = Demo::start();
    let mut stuck = Client::connect(demo.front()).expect("the front");
    stuck.send_head("POST", "/echo", &[HOST, ("content-length", "1000")]).expect("a request");
    assert_eq!(stuck.read_head().expect("a head").status, 200);
    let mark = demo.process.mark();
    demo.process.signal(Signal::Int).expect("the demo runs");
    demo.process.wait_line(mark, START, |line| line.text.starts_with("stopping")).expect("a word");
    assert_eq!(demo.interrupt(), Some(1), "{}", demo.process.tail());
}

#[test]
fn taken_ports_are_named_and_replaced() {
    // Whoever has them, they are taken while the demo starts.
    let held = hold_wanted();
    let demo = Demo::start();
    for (port, held) in WANTED.iter().zip(&held) {
        let said = demo.lines.iter().any(|line| line.starts_with(&format!("Port {port} is taken")));
        // A port that another test had, and gave back meanwhile, may have been free for the demo.
        assert!(said || held.is_none(), "{port}: {:?}", demo.lines);
    }
    let mut client = Client::connect(demo.front()).expect("the front");
    let page = client.get("/", &[HOST]).expect("a request");
    assert_eq!(page.head.as_ref().map(|head| head.status), Some(200), "{page:?}");
}

#[test]
fn websocket_messages_come_back() {
    let demo = Demo::start();
    let mut tcp = TcpStream::connect(demo.front()).expect("the front");
    tcp.set_read_timeout(Some(START)).expect("a timeout");
    let head = format!(
        "GET /echo HTTP/1.1\r\nhost: demo.localhost:{}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        demo.front().port()
    );
    // The message stands right behind the request: early bytes must not be lost. "hi", masked with 1, 2, 3, 4.
    let mut request = head.into_bytes();
    request.extend_from_slice(&[0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2]);
    tcp.write_all(&request).expect("a request");
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\x81\x02hi") {
        assert_eq!(tcp.read(&mut byte).expect("an answer"), 1, "{}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&seen).to_lowercase();
    assert!(text.starts_with("http/1.1 101 "), "{text}");
    // The accept value of RFC 6455 1.3.
    assert!(text.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{text}");
}
