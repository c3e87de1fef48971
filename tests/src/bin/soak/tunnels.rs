//! Thousands of idle tunnels, all from one address: no default limit, and little memory for each.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::http::Client;
use piko_tests::process::Server;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{Outcome, check, memory, text};

/// What one idle tunnel may cost the server, in bytes of resident memory.
const TUNNEL_BYTES_MAX: u64 = 3 * 1024;
/// How long tunnels are idle before memory is read: two keep-alive pings.
pub(crate) const IDLE: Duration = Duration::from_secs(11);
/// A keep-alive ping waits at most this for its answer here; the server waits 5 s.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

pub(crate) fn run(quick: bool) -> Outcome {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(text)?;
    let goals: &[usize] = if quick { &[300] } else { &[5_000, 9_000] };
    for one_endpoint in [false, true] {
        fleet(one_endpoint, goals, quick)?;
    }
    Ok(())
}

fn fleet(one_endpoint: bool, goals: &[usize], quick: bool) -> Outcome {
    let server = Server::start(&[]);
    let dial = |endpoint: &str| dial(server.upstream, endpoint);
    let name = |n: usize| if one_endpoint { "shared".to_owned() } else { format!("endpoint-{n}") };
    let before = memory(&server.process)?.rss_bytes;
    let mut tunnels = Vec::new();
    for &goal in goals {
        while tunnels.len() < goal {
            let tunnel = dial(&name(tunnels.len()));
            tunnels.push(tunnel.map_err(|e| format!("tunnel {}: {e}", tunnels.len()))?);
            if tunnels.len() % 500 == 0 {
                answer_pings(&mut tunnels)?;
            }
        }
        let start = Instant::now();
        // A quick look sees one ping at least.
        while start.elapsed() < if quick { IDLE / 2 } else { IDLE } {
            answer_pings(&mut tunnels)?;
            thread::sleep(LOOK);
        }
        let grown = memory(&server.process)?.rss_bytes.saturating_sub(before);
        let each = grown / goal as u64;
        let kind = if one_endpoint { "one endpoint" } else { "an endpoint each" };
        println!("  {goal} tunnels, {kind}: {each} bytes of RSS each");
        // Few tunnels do not outweigh what the process allocates once.
        check(quick || each <= TUNNEL_BYTES_MAX, || format!("{each} bytes for each of {goal} tunnels"))?;
        let connected = connected(&server)?;
        check(connected == goal, || format!("{connected} of {goal} tunnels are connected"))?;
    }
    Ok(())
}

/// What the server says about its tunnels.
pub(crate) fn connected(server: &Server) -> Result<usize, String> {
    let mut admin = Client::connect(server.admin).map_err(text)?;
    let metrics = admin.get("/metrics", &[]).map_err(text)?.body.text();
    let line = metrics.lines().find_map(|l| l.strip_prefix("piko_upstreams_connected_upstreams "));
    let value = line.and_then(|v| v.trim().parse::<f64>().ok());
    value.map(|v| v as usize).ok_or_else(|| "no gauge of tunnels".to_owned())
}

/// A tunnel made of a socket: the upgrade, and then nothing but answers to pings.
fn dial(server: SocketAddr, endpoint: &str) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(server).map_err(text)?;
    stream.set_read_timeout(Some(crate::PATIENCE)).map_err(text)?;
    upgrade(&mut stream, endpoint)?;
    stream.set_nonblocking(true).map_err(text)?;
    Ok(stream)
}

/// Asks for a tunnel and reads the answer to its end.
pub(crate) fn upgrade(stream: &mut (impl Read + Write), endpoint: &str) -> Outcome {
    let head = format!(
        "GET /piko/v1/upstream/{endpoint} HTTP/1.1\r\nhost: test\r\nupgrade: websocket\r\n\
         connection: Upgrade\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).map_err(text)?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).map_err(text)?;
        answer.push(byte[0]);
    }
    check(answer.starts_with(b"HTTP/1.1 101 "), || String::from_utf8_lossy(&answer).into_owned())
}

/// Answers what came since the last look: pings of the mux, one in each message of fourteen bytes.
pub(crate) fn answer_pings<S: Read + Write>(tunnels: &mut [S]) -> Outcome {
    let mut message = [0; 14];
    for (n, tunnel) in tunnels.iter_mut().enumerate() {
        loop {
            match tunnel.read(&mut message) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(format!("tunnel {n}: {e}")),
                Ok(0) => return Err(format!("tunnel {n} was closed")),
                Ok(_) => {}
            }
            let [0x82, 12, 0, 2, 0, 1, _, _, _, _, value @ ..] = message else {
                return Err(format!("tunnel {n}: not a ping: {message:02x?}"));
            };
            let mut pong = vec![0x82, 0x80 | 12, 0, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0, 0];
            pong.extend(value);
            tunnel.write_all(&pong).map_err(|e| format!("tunnel {n}: {e}"))?;
        }
    }
    Ok(())
}
