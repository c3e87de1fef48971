//! One stream as fast as it goes, beside rathole's.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::cluster::free_ports;
use piko_tests::process::{Capture, Process, find};
use piko_tests::runs::Outcome;
use piko_tests::service::Service;

use crate::road::{Road, connect};
use crate::service::{self, BLOCK, DOWN, UP};
use crate::{PATIENCE, mbit_per_s, spread, text};

pub(crate) fn run(quick: bool) -> Outcome {
    let (rounds, time) =
        if quick { (1, Duration::from_millis(300)) } else { (7, Duration::from_millis(1_500)) };
    let road = Road::start(None)?;
    let rathole = match Rathole::start() {
        Ok(rathole) => Some(rathole),
        Err(why) => {
            println!("  rathole: not measured: {why}");
            None
        }
    };
    for (what, way) in [(DOWN, "down"), (UP, "up")] {
        let (mut piko, mut other) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            piko.push(rate(&mut road.connect()?, what, time)?);
            if let Some(rathole) = &rathole {
                other.push(rate(&mut connect(rathole.addr)?, what, time)?);
            }
        }
        let ratios: Vec<f64> = piko.iter().zip(&other).map(|(piko, other)| piko / other).collect();
        println!("  {way}: {:.0} Mbit/s", spread(piko).0);
        if rathole.is_some() {
            let (median, min, max) = spread(ratios);
            println!(
                "  {way}, rathole: {:.0} Mbit/s; ratio {median:.2} ({min:.2}..{max:.2})",
                spread(other).0
            );
        }
    }
    Ok(())
}

/// What goes through in `time`, in Mbit/s.
fn rate(stream: &mut TcpStream, what: u8, time: Duration) -> Result<f64, String> {
    service::ask(stream, what, 1 << 40).map_err(text)?;
    let mut buf = vec![7; BLOCK];
    let (start, mut moved) = (Instant::now(), 0);
    while start.elapsed() < time {
        let n = if what == DOWN { stream.read(&mut buf) } else { stream.write(&buf) }.map_err(text)?;
        moved += n as u64;
    }
    Ok(mbit_per_s(moved, start.elapsed()))
}

/// Both programs of rathole, with the same configuration as in the bench.
struct Rathole {
    addr: SocketAddr,
    _processes: [Process; 2],
    _service: Service,
    _dir: Dir,
}

/// Removed at the end.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Rathole {
    fn start() -> Result<Self, String> {
        let named = std::env::var_os("RATHOLE_BIN").map(PathBuf::from);
        let program = named.or_else(|| find("rathole")).ok_or("rathole not found; see RATHOLE_BIN")?;
        let service = service::start();
        let dir = Dir(std::env::temp_dir().join(format!("piko-streams-{}", std::process::id())));
        fs::create_dir_all(&dir.0).map_err(text)?;
        let ports = free_ports(2);
        let [port, control] = ports[..] else { return Err("no free ports".to_owned()) };
        let start = |role: &str| {
            let template = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benches/{role}.rathole.conf"));
            let config = fs::read_to_string(template).map_err(text)?;
            let config = config
                .replace("@CONTROL@", &control.to_string())
                .replace("@PORT@", &port.to_string())
                .replace("@BACKEND@", &service.addr().port().to_string());
            let path = dir.0.join(format!("{role}.toml"));
            fs::write(&path, config).map_err(text)?;
            let mut command = Command::new(&program);
            command.arg(format!("--{role}")).arg(&path);
            let log = dir.0.join(format!("{role}.out"));
            Process::spawn_with(role, &mut command, Capture::File(&log)).map_err(text)
        };
        let processes = [start("server")?, start("client")?];
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let begun = Instant::now();
        while ask_once(addr).is_err() {
            if begun.elapsed() > PATIENCE {
                return Err("it does not answer".to_owned());
            }
            // It tells nobody when it is up: asking is the only way to know.
            thread::sleep(Duration::from_millis(50));
        }
        Ok(Self { addr, _processes: processes, _service: service, _dir: dir })
    }
}

fn ask_once(addr: SocketAddr) -> Outcome {
    let mut stream = connect(addr)?;
    service::ask(&mut stream, DOWN, 8).map_err(text)?;
    service::receive(&mut stream, 8).map_err(text)?;
    Ok(())
}
