//! The same through nginx, as operators have it.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use piko_tests::cluster::{Load, Mix, free_ports};
use piko_tests::process::{Process, find};

use crate::lines::Way;
use crate::{Outcome, Setup, Size, restart, text};

const CONFIG: &str = include_str!("../../../nginx/piko.conf");

/// nginx on a port of its own; dropping it ends it and removes its directory.
struct Nginx {
    addr: SocketAddr,
    dir: PathBuf,
    _process: Process,
}

impl Nginx {
    fn start(nodes: &[SocketAddr]) -> Result<Self, String> {
        let program = find("nginx").ok_or("nginx not found")?;
        let addr = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
        let dir = env::temp_dir().join(format!("piko-nginx-{}", process::id()));
        fs::create_dir_all(&dir).map_err(text)?;
        let servers: String = nodes.iter().map(|node| format!("server {node}; ")).collect();
        let config = CONFIG.replace("{servers}", &servers).replace("{listen}", &addr.to_string());
        fs::write(dir.join("nginx.conf"), config).map_err(text)?;
        let mut command = Command::new(program);
        command.arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf")).args(["-e", "stderr"]);
        let process = Process::spawn("nginx", &mut command).map_err(text)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(addr).is_err() {
            if Instant::now() > deadline {
                return Err(format!("nginx does not come up: {}", process.tail()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { addr, dir, _process: process })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub(crate) fn run(size: &Size) -> Outcome {
    if find("nginx").is_none() && env::var("CI").is_err() {
        println!("  skipped: nginx not found");
        return Ok(());
    }
    let mut setup = Setup::start(size);
    let nginx = Nginx::start(&setup.cluster.proxies())?;
    let way = Way {
        targets: vec![nginx.addr],
        ready: Arc::new(vec![AtomicBool::new(true)]),
        endpoints: setup.endpoints.clone(),
    };
    let mix = Mix {
        targets: way.targets.clone(),
        ready: way.ready.clone(),
        endpoints: way.endpoints.clone(),
        clients: [
            (piko_tests::cluster::Kind::Kept, 12),
            (piko_tests::cluster::Kind::New, 8),
            (piko_tests::cluster::Kind::Sticky, 0),
        ],
        rate: size.rate,
        connect_elsewhere: false,
    };
    restart::under_load(size, &mut setup, Load::start(mix), &way)
}
