//! `--timeout` and `--http-client.*`: what the agent does with its service.

use std::net::SocketAddr;
#[cfg(target_os = "linux")]
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::cluster::unused_addr;
use piko_tests::flags::{WAYS, Way};
use piko_tests::http::Client;
#[cfg(target_os = "linux")]
use piko_tests::process::{TcpTimer, need, tcp_connections};
use piko_tests::service::Service;

use crate::{SOON, Setup, TO_E};

#[test]
fn a_service_is_waited_for_as_long_as_asked() {
    for way in WAYS {
        let setup = Setup::start(way, &[("timeout", "300ms")]);
        let began = Instant::now();
        let answer = setup.client().get("/slow?head_ms=20000", &[TO_E]).expect("an answer");
        assert_eq!(answer.status(), 504);
        assert!(answer.value("x-piko-error").is_some_and(|e| e.contains("hop=agent")), "{answer:?}");
        assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
        // The body may take longer.
        let answer = setup.client().get("/slow?body_ms=600", &[TO_E]).expect("an answer");
        assert_eq!(answer.body.text(), "slow\n");
    }
    let setup = Setup::start(Way::Flag, &[("timeout", "0")]);
    assert_eq!(setup.client().get("/slow?head_ms=600", &[TO_E]).expect("an answer").status(), 200);
}

/// A service that waits for the rest of a request is not late.
#[test]
fn a_client_that_pauses_is_not_held_against_the_service() {
    let setup = Setup::start(Way::Flag, &[("timeout", "300ms")]);
    let mut client = setup.client();
    client.send_head("POST", "/echo", &[TO_E, ("content-length", "4")]).expect("sent");
    client.send(b"ab").expect("sent");
    // Time is the subject: longer than the service may take for an answer.
    thread::sleep(Duration::from_millis(900));
    client.send(b"cd").expect("sent");
    let answer = client.read_response("POST");
    assert_eq!((answer.status(), answer.body.text().as_str()), (200, "abcd"), "{answer:?}");
    // From the end of the request on it may be.
    client.send_head("POST", "/slow?head_ms=20000", &[TO_E, ("content-length", "4")]).expect("sent");
    client.send(b"abcd").expect("sent");
    let answer = client.read_response("POST");
    let cause = answer.value("x-piko-error").unwrap_or_default();
    assert!(answer.status() == 504 && cause.contains("hop=agent; cause=response-timeout"), "{answer:?}");
}

/// A service whose queue of connections is full does not even let the agent connect.
#[test]
fn connecting_counts_as_waiting() {
    use piko_tests::flags::agent;
    use piko_tests::process::Server;
    let server = Server::start(&[]);
    let full = FullPort::start();
    let agent = agent(Way::Flag, &server.connect_url(), "e", &full.addr.to_string(), &[("timeout", "500ms")]);
    agent.wait_connected(0, SOON).expect("the tunnel");
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    let began = Instant::now();
    let answer = client.get("/", &[TO_E]).expect("an answer");
    let cause = answer.value("x-piko-error").unwrap_or_default();
    assert!(answer.status() == 504 && cause.contains("hop=agent; cause=connect-timeout"), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// A port that listens and whose queue is full, so that the kernel drops further SYNs.
struct FullPort {
    addr: SocketAddr,
    #[expect(dead_code, reason = "keeps the queue full")]
    held: (socket2::Socket, Vec<socket2::Socket>),
}

impl FullPort {
    fn start() -> Self {
        use socket2::{Domain, Socket, Type};
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        listener.listen(0).expect("a small queue");
        let addr = listener.local_addr().expect("an address").as_socket().expect("an IP address");
        let mut held = Vec::new();
        for _ in 0..4 {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_nonblocking(true).expect("non-blocking");
            // In progress: it either gets a place in the queue or waits for one.
            let _ = socket.connect(&addr.into());
            held.push(socket);
        }
        Self { addr, held: (listener, held) }
    }
}

#[test]
fn idle_connections_are_kept_as_long_as_asked() {
    for way in WAYS {
        let setup = Setup::start(way, &[("http-client.idle-conn-timeout", "400ms")]);
        let began = Instant::now();
        assert_eq!(setup.client().get("/hello", &[TO_E]).expect("an answer").status(), 200);
        assert_eq!(setup.service.open_connections(), 1, "kept");
        wait_for(|| setup.service.open_connections() == 0);
        assert!(began.elapsed() >= Duration::from_millis(350), "{:?}", began.elapsed());
    }
    let setup = Setup::start(Way::Flag, &[("http-client.idle-conn-timeout", "0")]);
    for _ in 0..3 {
        assert_eq!(setup.client().get("/hello", &[TO_E]).expect("an answer").status(), 200);
    }
    assert_eq!(setup.service.counts().connections, 1, "one connection serves them all");
}

#[test]
fn as_many_idle_connections_are_kept_as_asked() {
    const TOGETHER: u64 = 6;
    // Each request of a round waits for the others, so that a round needs as many connections.
    let round = |setup: &Setup, n: u64| {
        let target = format!("/wait?n={TOGETHER}&round={n}");
        let clients: Vec<_> = (0..TOGETHER)
            .map(|_| {
                let (mut client, target) = (setup.client(), target.clone());
                thread::spawn(move || client.get(&target, &[TO_E]).expect("an answer").status())
            })
            .collect();
        for client in clients {
            assert_eq!(client.join().expect("no panic"), 200);
        }
    };
    for way in WAYS {
        let setup = Setup::start(way, &[("http-client.max-idle-conns", "2")]);
        round(&setup, 1);
        wait_for(|| setup.service.open_connections() == 2);
        round(&setup, 2);
        assert_eq!(setup.service.counts().connections, 2 * TOGETHER - 2);
    }
    let setup = Setup::start(Way::Flag, &[("http-client.max-idle-conns", "-1")]);
    round(&setup, 1);
    round(&setup, 2);
    assert!(setup.service.counts().connections <= TOGETHER + 1, "{:?}", setup.service.counts());
}

/// Linux tells the timers of a socket: a kept connection has the keep-alive timer (2), due within the interval.
#[cfg(target_os = "linux")]
#[test]
fn tcp_probes_idle_connections_as_often_as_asked() {
    for (way, value, interval) in [
        (Way::Env, "7s", Some(Duration::from_secs(7))),
        (Way::Flag, "20s", Some(Duration::from_secs(20))),
        (Way::Flag, "0", None),
        (Way::Flag, "-1s", None),
    ] {
        let setup = Setup::start(way, &[("http-client.keep-alive-timeout", value)]);
        assert_eq!(setup.client().get("/hello", &[TO_E]).expect("an answer").status(), 200);
        // Until everything was acknowledged another timer may run.
        let mut timer = None;
        wait_for(|| {
            timer = keep_alive_timer(setup.service.addr());
            timer.is_some()
        });
        let timer = timer.expect("waited for");
        match interval {
            Some(interval) => {
                let due = timer.expect("probes");
                assert!(
                    due <= interval && due + Duration::from_secs(3) > interval,
                    "{due:?} of {interval:?}"
                );
            }
            None => assert_eq!(timer, None),
        }
    }
}

/// The keep-alive timer of the connection to `service`: `None` while it has another timer, `Some(None)` when
/// it has no timer at all.
#[cfg(target_os = "linux")]
fn keep_alive_timer(service: SocketAddr) -> Option<Option<Duration>> {
    let all = tcp_connections().expect("the sockets");
    match all.iter().find(|connection| connection.remote_port == service.port())?.timer {
        TcpTimer::Off => Some(None),
        TcpTimer::KeepAlive(due) => Some(Some(due)),
        TcpTimer::Other => None,
    }
}

/// Over loopback a service hands over a whole answer at once, to whoever is among the first, and tunnels are not paced.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_is_told_who_is_on_this_machine() {
    let Some(ss) = need("ss") else { return };
    let setup = Setup::start(Way::Flag, &[]);
    assert_eq!(setup.client().get("/hello", &[TO_E]).expect("an answer").status(), 200);
    let shown = |port: u16, end: &str| {
        let filter = ["-tmin", "state", "established", end, "="];
        let output = Command::new(&ss).args(filter).arg(port.to_string()).output();
        String::from_utf8(output.expect("ss starts").stdout).expect("text")
    };
    let text = shown(setup.service.addr().port(), "dport");
    // What Linux books for a buffer is twice what is asked for.
    let booked = text.split_once(",rb").and_then(|(_, rest)| rest.split_once(',')?.0.parse::<usize>().ok());
    let most = std::fs::read_to_string("/proc/sys/net/core/rmem_max").expect("a limit");
    let most: usize = most.trim().parse().expect("a number");
    assert_eq!(booked, Some(2 * most.min(384 * 1024)), "{text}");
    for end in ["sport", "dport"] {
        let text = shown(setup.server.upstream.port(), end);
        assert!(text.contains(" reno "), "{text}");
    }
}

fn wait_for(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < deadline, "it does not come about");
        // What is waited for shows in another process, which tells nobody: it is looked at.
        thread::sleep(Duration::from_millis(5));
    }
}

/// A name that leads nowhere and a port that nobody listens on are told apart from a slow service.
#[test]
fn a_service_that_is_not_there_is_told_at_once() {
    let dead = unused_addr();
    let setup = Setup::with_service(Way::Flag, &[], Service::start());
    let other = piko_tests::process::Agent::http(&setup.server.connect_url(), "dead", &dead.to_string(), &[]);
    let answer = setup.client().get("/", &[("x-piko-endpoint", "dead")]).expect("an answer");
    assert_eq!(answer.status(), 502);
    assert!(answer.value("x-piko-error").is_some_and(|e| e.contains("connect-refused")), "{answer:?}");
    drop(other);
}
