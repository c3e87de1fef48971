//! What these tests share: addresses that stay free, requests, lines that were counted.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::http::{Client, End, Response};
use piko_tests::process::{Agent, Process, Server, Signal};
use piko_tests::service::Service;

/// How long a program may take for what has no bound of its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Between a server's return and the first answer through a tunnel.
pub(crate) const BACK_WITHIN: Duration = Duration::from_secs(1);

/// Tests of this program that make load do not run beside those that judge how long something takes.
static NOISE: RwLock<()> = RwLock::new(());

/// Held while a time is judged.
pub(crate) fn quiet() -> RwLockReadGuard<'static, ()> {
    NOISE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held while there is load.
pub(crate) fn loud() -> RwLockWriteGuard<'static, ()> {
    NOISE.write().unwrap_or_else(PoisonError::into_inner)
}

/// A request that is open until the test has looked at everything that needs it open.
pub(crate) struct Held(Client);

impl Held {
    /// The service has it when it counts `requests`.
    pub(crate) fn start(server: &Server, endpoint: &str, service: &Service, requests: u64) -> Self {
        let mut held = client(server.proxy);
        held.send_head("GET", "/wait?n=2", &[("x-piko-endpoint", endpoint)]).expect("sent");
        service.wait_counts(PATIENCE, |c| c.requests == requests).expect("the request arrives");
        Self(held)
    }

    /// Has it answered.
    pub(crate) fn finish(mut self, service: &Service) {
        assert!(is_hello(&client(service.addr()).get("/wait?n=2", &[]).expect("sent")));
        let answer = self.0.read_response("GET");
        assert!(is_hello(&answer), "{answer:?}");
    }
}

/// A loopback address of this test alone, so that a port that is free for a while stays free: nobody else
/// binds there, and outgoing connections leave from 127.0.0.1.
pub(crate) fn own_ip() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = std::process::id().wrapping_mul(32).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed) % 32);
    let [_, b, c, d] = n.to_be_bytes();
    Ipv4Addr::new(127, b | 1, c, d.clamp(1, 254))
}

/// An address that nobody listens on.
pub(crate) fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind((own_ip(), 0)).expect("a free port");
    listener.local_addr().expect("its address")
}

/// A server on an address of its own.
pub(crate) fn server(args: &[&str]) -> Server {
    let any = format!("{}:0", own_ip());
    let mut all = vec!["--proxy.bind-addr", &any, "--upstream.bind-addr", &any, "--admin.bind-addr", &any];
    all.extend_from_slice(args);
    Server::start(&all)
}

/// A server on the ports of one that is gone.
pub(crate) fn server_like(old: &Server) -> Server {
    let [proxy, upstream, admin] = [old.proxy, old.upstream, old.admin].map(|addr| addr.to_string());
    Server::start(&[
        "--proxy.bind-addr",
        &proxy,
        "--upstream.bind-addr",
        &upstream,
        "--admin.bind-addr",
        &admin,
    ])
}

/// An agent that is not waited for.
pub(crate) fn launch_agent(connect_url: &str, endpoint: &str, addr: SocketAddr, args: &[&str]) -> Agent {
    let program = piko_tests::process::binary("piko-agent");
    Agent::launch(program, "http", connect_url, endpoint, &addr.to_string(), args)
}

/// Connects, with patience for a loaded machine.
pub(crate) fn client(addr: SocketAddr) -> Client {
    let mut client = Client::connect(addr).expect("the port is open");
    client.set_patience(PATIENCE).expect("a socket option");
    client
}

/// One `GET` on a connection of its own.
pub(crate) fn get(server: &Server, endpoint: &str, target: &str) -> Response {
    let mut client = client(server.proxy);
    client.get(target, &[("x-piko-endpoint", endpoint)]).expect("the request leaves")
}

/// Is this the whole answer of `/hello`?
pub(crate) fn is_hello(response: &Response) -> bool {
    response.status() == 200 && response.end == End::Complete && response.body.bytes == b"hello\n"
}

/// Asks again and again, and says how long it took until the first answer of the service.
pub(crate) fn time_to_answer(server: &Server, endpoint: &str, within: Duration) -> Duration {
    let start = Instant::now();
    loop {
        let response = get(server, endpoint, "/hello");
        if is_hello(&response) {
            return start.elapsed();
        }
        assert!(start.elapsed() < within, "no answer in {within:?}, the last was {response:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// How many lines of the agent say `msg`.
pub(crate) fn count_records(process: &Process, msg: &str) -> usize {
    process.lines(0).iter().filter(|line| line.is_record(msg)).count()
}

/// Sends SIGTERM.
pub(crate) fn terminate(process: &mut Process) {
    process.signal(Signal::Term).expect("the process runs");
}

/// The code with which a process ended, within `limit`.
pub(crate) fn exit_code(process: &mut Process, limit: Duration) -> Option<i32> {
    process.wait_exit(limit).expect("the process ends").code()
}

/// The status of a request to the admin port.
pub(crate) fn admin_status(server: &Server, target: &str) -> u16 {
    client(server.admin).get(target, &[]).expect("the request leaves").status()
}

/// Looks every few milliseconds until `done` is content.
pub(crate) fn wait_until(within: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < within, "{what}: not within {within:?}");
        thread::sleep(Duration::from_millis(5));
    }
}
