//! nginx in front of the nodes, as operators have it.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use crate::process::{Process, find};

const CONFIG: &str = include_str!("../../nginx/piko.conf");
/// How long nginx may take to end its workers.
const GRACE: Duration = Duration::from_secs(3);
/// How long it may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);

/// nginx with kept connections to the nodes; dropping it ends it and removes its directory.
#[derive(Debug)]
pub struct Nginx {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What it says.
    pub process: Process,
    dir: PathBuf,
}

impl Nginx {
    /// `rest` is what stands behind the address of each node in its configuration.
    ///
    /// # Errors
    ///
    /// When it is not there, or does not come up within 10 s.
    pub fn start(addr: SocketAddr, nodes: &[SocketAddr], rest: &str) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let program = find("nginx").ok_or("nginx not found")?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!("piko-nginx-{}-{number}", process::id()));
        fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        let servers: String = nodes.iter().map(|node| format!("server {node}{rest}; ")).collect();
        let config = CONFIG.replace("{servers}", &servers).replace("{listen}", &addr.to_string());
        fs::write(dir.join("nginx.conf"), config).map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        command.arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf")).args(["-e", "stderr"]);
        // Killed, it would leave its workers behind.
        let process = Process::spawn("nginx", &mut command).map_err(|e| e.to_string())?.with_grace(GRACE);
        let nginx = Self { addr, process, dir };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(addr).is_err() {
            if Instant::now() > deadline {
                return Err(format!("nginx does not come up: {}", nginx.process.tail()));
            }
            // nginx tells nobody when it is up: asking is the only way to know.
            thread::sleep(Duration::from_millis(5));
        }
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
