//! TLS: thousands of idle tunnels, and certificates that change under load.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::certs::{Authority, Folder, Pair};
use piko_tests::flags::{Way, server};
use piko_tests::process::{Agent, Server};
use piko_tests::service::Service;
use piko_tests::tls::{TlsClient, Trust};
use rustls::{ClientConnection, StreamOwned};

use crate::tunnels::{IDLE, LOOK, answer_pings, connected, upgrade};
use crate::{ENDPOINT, FIELDS, Outcome, check, memory, text};

/// What one idle tunnel under TLS may cost the server, in bytes of resident memory.
const TUNNEL_BYTES_MAX: u64 = 12 * 1024;
/// From a new file to the first handshake with it.
const ROTATED_MAX: Duration = Duration::from_secs(1);
/// Connections that ask at once while certificates change.
const THREADS: usize = 4;

/// Idle tunnels under TLS.
pub(crate) fn tunnels(quick: bool) -> Outcome {
    let setup = Setup::new();
    let server = server(Way::Flag, &setup.settings("upstream"));
    let trust = Trust::new(&setup.authority, None, &[]).without_resumption();
    let before = memory(&server.process)?.rss_bytes;
    let goal = if quick { 100 } else { 3_000 };
    let mut tunnels: Vec<StreamOwned<ClientConnection, TcpStream>> = Vec::new();
    while tunnels.len() < goal {
        let mut client = TlsClient::connect(server.upstream, "localhost", &trust).map_err(text)?;
        upgrade(client.stream(), &format!("endpoint-{}", tunnels.len()))?;
        let stream = client.into_stream();
        stream.sock.set_nonblocking(true).map_err(text)?;
        tunnels.push(stream);
        if tunnels.len().is_multiple_of(500) {
            answer_pings(&mut tunnels)?;
        }
    }
    let start = Instant::now();
    // A quick look sees one ping at least.
    while start.elapsed() < if quick { IDLE / 2 } else { IDLE } {
        answer_pings(&mut tunnels)?;
        thread::sleep(LOOK);
    }
    let each = memory(&server.process)?.rss_bytes.saturating_sub(before) / goal as u64;
    println!("  {goal} tunnels under TLS: {each} bytes of RSS each");
    // Few tunnels do not outweigh what the process allocates once.
    check(quick || each <= TUNNEL_BYTES_MAX, || format!("{each} bytes for each of {goal} tunnels"))?;
    let connected = connected(&server)?;
    check(connected == goal, || format!("{connected} of {goal} tunnels are connected"))
}

/// New connections without a pause while the certificate changes again and again: none fails, each new one is served
/// within a second, and connections from before go on.
pub(crate) fn rotate(quick: bool) -> Outcome {
    let setup = Setup::new();
    let server =
        server(Way::Flag, &[&setup.settings("proxy")[..], &[("proxy.access-log.disable", "true")]].concat());
    let service = Service::start();
    let addr = service.addr().to_string();
    let _agent = Agent::http(&server.connect_url(), ENDPOINT, &addr, &["--access-log.disable"]);
    let trust = Trust::new(&setup.authority, None, &[]).without_resumption();
    let mut old = TlsClient::connect(server.proxy, "localhost", &trust).map_err(text)?;
    // A connection without a request is closed after --proxy.http.read-header-timeout.
    check(old.get("/hello", &FIELDS).map_err(text)?.0 == 200, || "no answer".to_owned())?;
    let (wanted, rotations) = if quick { (400, 2) } else { (20_000, 20) };
    let load = Load::default();
    let slowest = thread::scope(|scope| {
        let loads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| load.run(&server, &trust))).collect();
        let outcome = rotations_under(&setup, &server, &trust, rotations, &load, wanted);
        load.stop.store(true, Ordering::Relaxed);
        for load in loads {
            load.join().map_err(|_| "a thread of the load panicked".to_owned())?;
        }
        outcome
    })?;
    let made = load.made.load(Ordering::Relaxed);
    println!("  {made} new connections, {rotations} rotations, the slowest in effect after {slowest:?}");
    let failures = load.failures.lock().unwrap_or_else(PoisonError::into_inner);
    check(failures.is_empty(), || format!("{} failures, such as {:?}", failures.len(), failures.first()))?;
    check(slowest <= ROTATED_MAX || quick, || format!("a new certificate was served after {slowest:?}"))?;
    let (status, _) = old.get("/hello", &FIELDS).map_err(text)?;
    check(status == 200, || format!("{status} on the connection from before"))
}

/// Changes the certificate so often, and goes on until so many connections were made. Gives how long the slowest change
/// took to be seen.
fn rotations_under(
    setup: &Setup,
    server: &Server,
    trust: &Trust,
    rotations: u64,
    load: &Load,
    wanted: u64,
) -> Result<Duration, String> {
    let mut slowest = Duration::ZERO;
    for n in 1..=rotations {
        let fresh = setup.authority.issue(&["localhost"]);
        let began = Instant::now();
        fresh.write(&setup.folder, "server");
        while TlsClient::connect(server.proxy, "localhost", trust).map_err(text)?.shown() != fresh.der {
            check(began.elapsed() < crate::PATIENCE, || "the new certificate is never served".to_owned())?;
        }
        slowest = slowest.max(began.elapsed());
        let share = wanted * n / rotations;
        while load.made.load(Ordering::Relaxed) < share {
            check(began.elapsed() < crate::PATIENCE, || "the load does not come on".to_owned())?;
            // The load counts for itself; there is nothing to wait on.
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(slowest)
}

/// Connections, each new and with one request.
#[derive(Default)]
struct Load {
    made: AtomicU64,
    failures: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Load {
    fn run(&self, server: &Server, trust: &Trust) {
        while !self.stop.load(Ordering::Relaxed) {
            let asked = TlsClient::connect(server.proxy, "localhost", trust)
                .and_then(|mut client| client.get("/hello", &FIELDS));
            match asked {
                Ok((200, _)) => {}
                other => {
                    self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{other:?}"));
                }
            }
            self.made.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Setup {
    folder: Folder,
    authority: Authority,
    files: [String; 2],
}

impl Setup {
    fn new() -> Self {
        let (folder, authority) = (Folder::new("soak-tls"), Authority::new("soak"));
        let pair: Pair = authority.issue(&["localhost"]);
        let files = pair.write(&folder, "server");
        Self { folder, authority, files }
    }

    fn settings(&self, port: &str) -> [(&'static str, &str); 2] {
        let names = match port {
            "upstream" => ["upstream.tls.cert", "upstream.tls.key"],
            _ => ["proxy.tls.cert", "proxy.tls.key"],
        };
        [(names[0], &self.files[0]), (names[1], &self.files[1])]
    }
}
