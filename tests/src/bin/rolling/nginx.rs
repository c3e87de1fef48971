//! The same through nginx, as operators have it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use piko_tests::cluster::{Kind, Load, Mix, free_ports};
use piko_tests::process::{Process, find};

use crate::lines::Way;
use crate::{Outcome, Setup, Size, restart, text};

/// How long nginx leaves a node alone that has refused (`fail_timeout`), and some more.
const FAIL_TIMEOUT: Duration = Duration::from_secs(11);

const CONFIG: &str = include_str!("../../../nginx/piko.conf");

/// nginx on a port of its own; dropping it ends it and removes its directory.
struct Nginx {
    addr: SocketAddr,
    dir: PathBuf,
    process: Process,
}

/// How long nginx may take to end its workers.
const GRACE: Duration = Duration::from_secs(3);

impl Nginx {
    /// `rest` is what stands behind the address of each node.
    fn start(nodes: &[SocketAddr], rest: &str) -> Result<Self, String> {
        let program = find("nginx").ok_or("nginx not found")?;
        let addr = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
        let dir = env::temp_dir().join(format!("piko-nginx-{}", process::id()));
        fs::create_dir_all(&dir).map_err(text)?;
        let servers: String = nodes.iter().map(|node| format!("server {node}{rest}; ")).collect();
        let config = CONFIG.replace("{servers}", &servers).replace("{listen}", &addr.to_string());
        fs::write(dir.join("nginx.conf"), config).map_err(text)?;
        let mut command = Command::new(program);
        command.arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf")).args(["-e", "stderr"]);
        // Killed, it would leave its workers behind.
        let process = Process::spawn("nginx", &mut command).map_err(text)?.with_grace(GRACE);
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(addr).is_err() {
            if Instant::now() > deadline {
                return Err(format!("nginx does not come up: {}", process.tail()));
            }
            // nginx tells nobody when it is up: asking is the only way to know.
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { addr, dir, process })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// As docs/cluster.md recommends it: a node that has refused is asked again soon, before the next one goes.
pub(crate) fn recommended(size: &Size) -> Outcome {
    run(size, " max_fails=1 fail_timeout=1s", Duration::ZERO)
}

/// With nothing but its defaults: a node that has refused once is left alone for 10 s, so that the next node may go
/// only when nginx believes in this one again.
pub(crate) fn defaults(size: &Size) -> Outcome {
    run(size, "", FAIL_TIMEOUT)
}

fn run(size: &Size, rest: &str, pause: Duration) -> Outcome {
    if find("nginx").is_none() && env::var("CI").is_err() {
        println!("  skipped: nginx not found");
        return Ok(());
    }
    let mut setup = Setup::start(size);
    let nginx = Nginx::start(&setup.cluster.proxies(), rest)?;
    let way = Way {
        targets: vec![nginx.addr],
        ready: Arc::new(vec![AtomicBool::new(true)]),
        endpoints: setup.endpoints.clone(),
    };
    let mix = Mix {
        targets: way.targets.clone(),
        ready: way.ready.clone(),
        endpoints: way.endpoints.clone(),
        clients: [(Kind::Kept, 12), (Kind::New, 8), (Kind::Sticky, 0)],
        rate: size.rate,
        connect_elsewhere: false,
    };
    let outcome = restart::under_load(size, &mut setup, Load::start(mix), &way, pause);
    // What nginx met on the way, once each: the reason is what an operator would look for.
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for line in nginx.process.lines(0) {
        let reason = line.text.split(", client:").next().and_then(|text| text.split_once('*'));
        let reason =
            reason.and_then(|(_, text)| text.split_once(' ')).map_or(line.text.as_str(), |(_, text)| text);
        // A number of its own for each large body says nothing.
        let reason = reason.split(" /").next().unwrap_or(reason);
        *reasons.entry(reason.to_owned()).or_default() += 1;
    }
    for (reason, times) in reasons {
        println!("  nginx, {times} times: {reason}");
    }
    outcome
}
