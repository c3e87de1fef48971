//! A hostile server towards the agent.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use piko_tests::http::Client;
use piko_tests::process::Server;
use piko_tests::rig::{Load, PATIENCE};
use piko_tests::service::Service;

use crate::hostile::{ACK, CONNECTIONS, DATA, FIN, Idle, PING, Peer, RST, SYN, WINDOW, many, mux};

type Case = Box<dyn FnOnce(TcpStream, &str) + Send>;

/// Stands before a real server. Connections for the endpoint `evil` get one case each, and go to the server
/// once there are no more; those for other endpoints always do.
fn front(
    upstream: SocketAddr,
    cases: VecDeque<(&'static str, Case)>,
) -> (SocketAddr, mpsc::Receiver<&'static str>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    let (done, seen) = mpsc::channel();
    let cases = Arc::new(Mutex::new(cases));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let (cases, done) = (Arc::clone(&cases), done.clone());
            thread::spawn(move || {
                let Ok(mut client) = Client::over(stream.try_clone().expect("a copy")) else { return };
                let Ok(head) = client.read_raw_head() else { return };
                let text = String::from_utf8_lossy(&head).into_owned();
                let case = if text.contains("/upstream/evil ") {
                    cases.lock().expect("no panic").pop_front()
                } else {
                    None
                };
                match case {
                    Some((name, case)) => {
                        case(stream, &text);
                        let _ = done.send(name);
                    }
                    None => splice(&stream, upstream, &head),
                }
            });
        }
    });
    (addr, seen)
}

/// Carries a connection to the real server. An agent sends nothing behind its head before the 101.
fn splice(stream: &TcpStream, upstream: SocketAddr, head: &[u8]) {
    let Ok(mut server) = TcpStream::connect(upstream) else { return };
    let _ = stream.set_read_timeout(None);
    if server.write_all(head).is_err() {
        return;
    }
    let (mut from, mut to) = (stream.try_clone().expect("a copy"), server.try_clone().expect("a copy"));
    let up = thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut back = stream.try_clone().expect("a copy");
    let _ = std::io::copy(&mut server, &mut back);
    let _ = back.shutdown(Shutdown::Both);
    let _ = up.join();
}

/// Runs the cases against one agent whose other endpoint carries a load meanwhile. At the end the endpoint
/// of the cases must work as well.
fn against_agent(cases: Vec<(&'static str, Case)>) {
    let service = Service::start();
    let server = Server::start(&[]);
    let count = cases.len();
    let (addr, seen) = front(server.upstream, cases.into());
    let service_addr = service.addr();
    // The load first: both endpoints live in one process.
    let list = [format!("good/{service_addr}"), format!("evil/{service_addr}")];
    let url = format!("http://{addr}");
    let agent = {
        let mut command = std::process::Command::new(piko_tests::process::binary("piko-agent"));
        command.args(["--endpoints", &list.join(","), "--connect.url", &url]);
        piko_tests::process::Process::spawn("piko-agent", &mut command).expect("the agent starts")
    };
    let idle = Idle::of(&agent);
    agent
        .wait_line(0, PATIENCE, |l| l.is_record("tunnel connected") && l.text.contains("good"))
        .unwrap_or_else(|e| panic!("the tunnel does not come up: {e}"));
    let load = Load::start(server.proxy, "good.test", CONNECTIONS);
    for n in 0..count {
        let name = seen.recv_timeout(Duration::from_secs(40));
        let name = name.unwrap_or_else(|_| panic!("case {n} does not begin or end\n{}", agent.tail()));
        idle.check(&agent);
        eprintln!("done: {name}");
    }
    load.round();
    load.stop();
    // The last connection of `evil` goes to the real server.
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let mut client = Client::connect(server.proxy).expect("a connection");
        let response = client.get("/hello", &[("host", "evil.test")]).expect("sent");
        if response.status() == 200 {
            break;
        }
        assert_eq!(response.status(), 502);
        assert!(std::time::Instant::now() < deadline, "the agent does not come back\n{}", agent.tail());
        thread::sleep(Duration::from_millis(20));
    }
    idle.check(&agent);
}

/// A case that floods with mux frames and then leaves.
fn flood(name: &'static str, times: usize, bytes: Vec<u8>) -> (&'static str, Case) {
    let case = move |stream: TcpStream, head: &str| {
        let mut peer = Peer::server(stream, head);
        let frame = peer.frame(2, &bytes);
        let how = peer.flood(&frame, times);
        eprintln!("{name}: {how:?}");
    };
    (name, Box::new(case))
}

#[test]
fn floods_of_a_hostile_server_disturb_nobody() {
    let head = b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Long: ";
    // A stream with a piece of a head on it.
    let unfinished = |size: usize| {
        (0..1000u32)
            .flat_map(|i| {
                let mut data = head.to_vec();
                data.resize(size, b'x');
                let mut frame = mux(DATA, SYN, i * 2 + 2, data.len() as u32).to_vec();
                frame.extend(data);
                frame
            })
            .collect::<Vec<u8>>()
    };
    let ws = |name: &'static str, opcode: u8, payload: usize| -> (&'static str, Case) {
        let case = move |stream: TcpStream, head: &str| {
            let mut peer = Peer::server(stream, head);
            let frames = peer.frame(opcode, &vec![b'x'; payload]).repeat(1000);
            let how = peer.flood(&frames, 200);
            eprintln!("{name}: {how:?}");
        };
        (name, Box::new(case))
    };
    against_agent(vec![
        flood("pings", 300, many(1000, |i| mux(PING, SYN, 0, i))),
        flood("pongs", 300, many(1000, |i| mux(PING, ACK, 0, i))),
        flood("resets", 300, many(1000, |i| mux(WINDOW, RST, i * 2 + 2, 0))),
        flood("SYNs", 1, many(100_000, |i| mux(WINDOW, SYN, i * 2 + 2, 0))),
        flood("SYNs with FIN", 1, many(100_000, |i| mux(DATA, SYN | FIN, i * 2 + 2, 0))),
        flood(
            "SYNs with RST behind",
            1,
            (0..50_000)
                .flat_map(|i| [mux(WINDOW, SYN, i * 2 + 2, 0), mux(WINDOW, RST, i * 2 + 2, 0)].concat())
                .collect(),
        ),
        flood("the same SYN", 10, many(1000, |_| mux(WINDOW, SYN, 2, 0))),
        flood("empty frames", 300, many(1000, |i| mux(DATA, 0, i * 2 + 2, 0))),
        flood("credit", 300, many(1000, |i| mux(WINDOW, 0, i * 2 + 2, u32::MAX))),
        flood("unfinished heads", 1, unfinished(15 * 1024)),
        ws("WebSocket pings", 9, 125),
        ws("empty messages", 2, 0),
    ]);
}

/// Streams that are opened slowly enough to be accepted, up to the limit, each with a piece of a head: the
/// agent holds them all at once.
#[test]
fn thousands_of_open_streams_stay_within_bounds() {
    let hold: (&'static str, Case) = (
        "4,000 unfinished heads",
        Box::new(|stream, head| {
            let mut peer = Peer::server(stream, head);
            for batch in 0..40u32 {
                for i in 0..100 {
                    let id = (batch * 100 + i) * 2 + 2;
                    let mut data = b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Long: ".to_vec();
                    data.resize(15 * 1024, b'x');
                    let mut frame = mux(DATA, SYN, id, data.len() as u32).to_vec();
                    frame.extend(data);
                    if peer.send_mux(&frame).is_err() {
                        return;
                    }
                }
                // The backlog is worked off before the next hundred come.
                if peer.send_mux(&mux(PING, SYN, 0, batch)).is_err() {
                    return;
                }
                while let Some((kind, flags, _, value)) = peer.next_header() {
                    if kind == PING && flags & ACK != 0 && value == batch {
                        break;
                    }
                }
            }
        }),
    );
    against_agent(vec![hold]);
}

/// Answers to the agent's upgrade that are none.
#[test]
fn an_agent_survives_every_answer_to_its_upgrade() {
    fn answer(name: &'static str, bytes: impl Fn() -> Vec<u8> + Send + 'static) -> (&'static str, Case) {
        let case = move |mut stream: TcpStream, _: &str| {
            stream.set_write_timeout(Some(PATIENCE)).expect("an option");
            let _ = stream.write_all(&bytes());
        };
        (name, Box::new(case))
    }
    let broken = |name: &'static str, bytes: &'static [u8]| -> (&'static str, Case) {
        let case = move |stream: TcpStream, head: &str| {
            let mut peer = Peer::server(stream, head);
            let _ = peer.send(bytes);
            assert!(peer.wait_end(Duration::from_secs(5)), "{name}: the tunnel stays");
        };
        (name, Box::new(case))
    };
    against_agent(vec![
        answer("nothing", Vec::new),
        answer("garbage", || vec![0xff; 100_000]),
        answer("a wrong accept value", || {
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n".to_vec()
        }),
        answer("a head of 10 MB", || {
            let mut head = b"HTTP/1.1 101 Switching Protocols\r\nX: ".to_vec();
            head.resize(10 << 20, b'x');
            head
        }),
        answer("a refusal of 10 MB", || {
            let mut head = b"HTTP/1.1 503 No\r\nContent-Type: application/json\r\nContent-Length: 10485760\r\n\r\n{\"error\":\"".to_vec();
            head.resize(10 << 20, b'x');
            head
        }),
        answer("interim answers without end", || b"HTTP/1.1 103 Hints\r\n\r\n".repeat(100_000)),
        broken("a mux version", &[0x82, 12, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        broken("a mux type", &[0x82, 12, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        broken("a masked frame", &[0x82, 0x81, 0, 0, 0, 0, 0]),
        broken("a length above 63 bits", &[0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0]),
        broken("text", &[0x81, 1, b'x']),
        broken("the server's close", &[0x88, 2, 3, 0xe8]),
    ]);
}

/// The server is there and says nothing any more: noticed within 12 s, and the agent is back at once.
#[test]
fn a_server_that_goes_silent_is_replaced() {
    let silent: (&'static str, Case) = (
        "silence",
        Box::new(|stream, head| {
            let mut peer = Peer::server(stream, head);
            let begin = std::time::Instant::now();
            assert!(peer.wait_end(PATIENCE), "a silent server is kept");
            assert!(begin.elapsed() < Duration::from_secs(12), "noticed after {:?}", begin.elapsed());
        }),
    );
    against_agent(vec![silent]);
}
