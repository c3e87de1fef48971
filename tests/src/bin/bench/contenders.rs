//! Who is measured, and how each is started.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::certs::Authority;
use piko_tests::http::Client;
use piko_tests::process::{Capture, Process, binaries_in, find, profile_dir};
use piko_tests::tls::{TlsClient, Trust};

use crate::bench_file;
use crate::crowd::Crowd;
use crate::load::pinned;

/// The endpoint that Piko serves under.
pub(crate) const ENDPOINT: &str = "bench";
/// The small body.
const SMALL: usize = 128;
/// How long a contender may take to answer its first request.
const START: Duration = Duration::from_secs(15);
/// How long nginx may take to end its worker.
const GRACE: Duration = Duration::from_secs(3);

/// All names, in the order of the report.
pub(crate) const NAMES: [&str; 16] = [
    "direct",
    "nginx",
    "haproxy",
    "nginx-chain",
    "rathole",
    "piko",
    "piko-far",
    "piko-many",
    "piko-log",
    "piko-old",
    "nginx-tls",
    "piko-tls",
    "nginx-tls-inner",
    "piko-tls-tunnel",
    "nginx-tls-both",
    "piko-tls-both",
];

/// Those that speak TLS; measured when they are named.
pub(crate) fn speaks_tls(name: &str) -> bool {
    name.contains("-tls")
}

/// Something that can be loaded: a port, and the processes behind it whose time counts.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) processes: Vec<Process>,
    /// The port of the tunnel, when there is one.
    pub(crate) tunnel: Option<u16>,
    /// Clients speak TLS with it.
    pub(crate) tls: bool,
    /// The gossip port of a Piko server.
    gossip: Option<u16>,
    /// Other endpoints of its server; gone before the server is.
    _crowd: Option<Crowd>,
}

impl Contender {
    /// Without a tunnel.
    fn rival(name: &'static str, port: u16, processes: Vec<Process>) -> Self {
        Self { name, port, processes, tunnel: None, tls: false, gossip: None, _crowd: None }
    }
}

/// Where Piko speaks TLS.
#[derive(Clone, Copy, Debug, Default)]
struct Tls {
    client: bool,
    tunnel: bool,
}

/// A directory for this run, removed at its end.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes the directory and the bodies in it.
    pub(crate) fn new() -> Result<Self, String> {
        let dir = std::env::temp_dir().join(format!("piko-bench-{}", std::process::id()));
        let bodies = dir.join("bodies");
        fs::create_dir_all(&bodies).map_err(|e| format!("{}: {e}", bodies.display()))?;
        for (name, size) in [("64k", 64 << 10), ("1m", 1 << 20)] {
            fs::write(bodies.join(name), vec![b'x'; size]).map_err(|e| format!("{name}: {e}"))?;
        }
        // The same key for all: ECDSA on P-256.
        let pair = Authority::new("bench").issue(&["localhost", "127.0.0.1"]);
        for (name, text) in [("tls.pem", pair.cert), ("tls.key", pair.key)] {
            fs::write(dir.join(name), text).map_err(|e| format!("{name}: {e}"))?;
        }
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Starts contenders, all on the same processor or on any.
#[derive(Debug)]
pub(crate) struct Starter<'s> {
    pub(crate) scratch: &'s Scratch,
    pub(crate) cpu: Option<u32>,
    pub(crate) backend: u16,
    pub(crate) old: Option<&'s Path>,
}

impl Starter<'_> {
    /// Starts one contender, or says why it cannot be measured.
    pub(crate) fn start(&self, name: &'static str) -> Result<Contender, String> {
        let contender = match name {
            "direct" => Contender {
                name,
                port: self.backend,
                processes: Vec::new(),
                tunnel: None,
                tls: false,
                gossip: None,
                _crowd: None,
            },
            "haproxy" => self.haproxy()?,
            "nginx" => {
                let (port, process) = self.nginx("nginx", self.backend)?;
                Contender {
                    name,
                    port,
                    processes: vec![process],
                    tunnel: None,
                    tls: false,
                    gossip: None,
                    _crowd: None,
                }
            }
            "nginx-chain" => {
                let (inner, second) = self.nginx("second", self.backend)?;
                let (port, first) = self.nginx("first", inner)?;
                Contender {
                    name,
                    port,
                    processes: vec![first, second],
                    tunnel: None,
                    tls: false,
                    gossip: None,
                    _crowd: None,
                }
            }
            "nginx-tls" => {
                let (port, process) = self.nginx_tls("tls", self.backend, true, false)?;
                Contender { tls: true, ..Contender::rival(name, port, vec![process]) }
            }
            "nginx-tls-inner" | "nginx-tls-both" => {
                let both = name == "nginx-tls-both";
                let (inner, second) = self.nginx_tls("second", self.backend, true, false)?;
                let (port, first) = self.nginx_tls("first", inner, both, true)?;
                Contender { tls: both, ..Contender::rival(name, port, vec![first, second]) }
            }
            "piko-tls" | "piko-tls-tunnel" | "piko-tls-both" => {
                let tls = Tls { client: name != "piko-tls-tunnel", tunnel: name != "piko-tls" };
                self.piko_with(name, &piko_dir()?, false, tls)?
            }
            "piko-far" => self.piko_far(name, &piko_dir()?)?,
            "piko-many" => {
                let alone = self.piko(name, &piko_dir()?, false)?;
                let upstream = alone.tunnel.ok_or("a server has an upstream port")?;
                let crowd = Crowd::register(&format!("http://127.0.0.1:{upstream}"))?;
                Contender { _crowd: Some(crowd), ..alone }
            }
            "piko" | "piko-log" => self.piko(name, &piko_dir()?, name == "piko-log")?,
            "piko-old" => {
                let dir = self.old.ok_or("no --old DIR was given")?;
                self.piko(name, dir, false)?
            }
            "rathole" => self.rathole()?,
            other => return Err(format!("no contender is called {other}")),
        };
        self.wait_ready(&contender)?;
        Ok(contender)
    }

    fn haproxy(&self) -> Result<Contender, String> {
        let program = find("haproxy").ok_or("haproxy not found")?;
        let port = free_port()?;
        let config = self.config("proxy.haproxy.conf", "haproxy", &self.ports(port))?;
        let config = config.to_string_lossy().into_owned();
        let process = self.spawn("haproxy", &program, &["-db", "-q", "-f", &config])?;
        Ok(Contender {
            name: "haproxy",
            port,
            processes: vec![process],
            tunnel: None,
            tls: false,
            gossip: None,
            _crowd: None,
        })
    }

    fn nginx(&self, name: &'static str, backend: u16) -> Result<(u16, Process), String> {
        let port = free_port()?;
        let values =
            [("NAME", name.to_owned()), ("PORT", port.to_string()), ("BACKEND", backend.to_string())];
        let config = self.config("proxy.nginx.conf", name, &values)?;
        Ok((port, start_nginx(self.scratch, self.cpu, name, &config)?))
    }

    fn rathole(&self) -> Result<Contender, String> {
        let named = std::env::var_os("RATHOLE_BIN").map(PathBuf::from);
        let program = named.or_else(|| find("rathole")).ok_or("rathole not found; see RATHOLE_BIN")?;
        let (port, control) = (free_port()?, free_port()?);
        let mut values = self.ports(port);
        values.push(("CONTROL", control.to_string()));
        let mut processes = Vec::new();
        for role in ["server", "client"] {
            // The name of the file decides nothing, the flag does; rathole wants a .toml.
            let config =
                self.config(&format!("{role}.rathole.conf"), &format!("rathole-{role}.toml"), &values)?;
            let config = config.to_string_lossy().into_owned();
            processes.push(self.spawn(role, &program, &[&format!("--{role}"), &config])?);
        }
        Ok(Contender {
            name: "rathole",
            port,
            processes,
            tunnel: Some(control),
            tls: false,
            gossip: None,
            _crowd: None,
        })
    }

    /// nginx with TLS towards its clients, its back end, or both.
    fn nginx_tls(
        &self,
        name: &'static str,
        backend: u16,
        listens: bool,
        dials: bool,
    ) -> Result<(u16, Process), String> {
        let port = free_port()?;
        let values = [
            ("NAME", name.to_owned()),
            ("PORT", port.to_string()),
            ("SSL", if listens { "ssl" } else { "" }.to_owned()),
            ("SCHEME", if dials { "https" } else { "http" }.to_owned()),
            ("BACKEND", backend.to_string()),
        ];
        let config = self.config("tls.nginx.conf", name, &values)?;
        Ok((port, start_nginx(self.scratch, self.cpu, name, &config)?))
    }

    fn piko(&self, name: &'static str, dir: &Path, log: bool) -> Result<Contender, String> {
        self.piko_with(name, dir, log, Tls::default())
    }

    fn piko_with(&self, name: &'static str, dir: &Path, log: bool, tls: Tls) -> Result<Contender, String> {
        let missing = format!("piko-server and piko-agent are not in {}", dir.display());
        let (server, agent) = binaries_in(dir).ok_or(missing)?;
        let at = |port: u16| format!("127.0.0.1:{port}");
        let (port, upstream) = (free_port()?, free_port()?);
        let (admin, gossip_port) = (free_port()?, free_port()?);
        let (proxy, up, admin, gossip) = (at(port), at(upstream), at(admin), at(gossip_port));
        let mut args = vec!["--proxy.bind-addr", &proxy, "--upstream.bind-addr", &up];
        args.extend(["--admin.bind-addr", &admin, "--cluster.gossip.bind-addr", &gossip]);
        if !log {
            args.push("--proxy.access-log.disable");
        }
        let [cert, key] =
            ["tls.pem", "tls.key"].map(|file| self.scratch.0.join(file).to_string_lossy().into_owned());
        if tls.client {
            args.extend(["--proxy.tls.cert", &cert, "--proxy.tls.key", &key]);
        }
        if tls.tunnel {
            args.extend(["--upstream.tls.cert", &cert, "--upstream.tls.key", &key]);
        }
        let server = self.spawn_as("server", name, &server, &args)?;
        let scheme = if tls.tunnel { "https" } else { "http" };
        let (url, backend) = (format!("{scheme}://{up}"), at(self.backend));
        let mut args = vec!["http", ENDPOINT, &backend, "--connect.url", &url];
        if tls.tunnel {
            // As nginx, which does not look at the certificates of back ends unless it is told to.
            args.push("--connect.tls.insecure-skip-verify");
        }
        if !log {
            args.push("--access-log.disable");
        }
        let agent = self.spawn_as("agent", name, &agent, &args)?;
        let processes = vec![server, agent];
        Ok(Contender {
            name,
            port,
            processes,
            tunnel: Some(upstream),
            tls: tls.client,
            gossip: Some(gossip_port),
            _crowd: None,
        })
    }

    /// Two nodes: the load comes in at one, the agent is connected to the other.
    fn piko_far(&self, name: &'static str, dir: &Path) -> Result<Contender, String> {
        let mut near = self.piko(name, dir, false)?;
        let (server, _) = binaries_in(dir).ok_or("piko-server has gone")?;
        let at = |port: u16| format!("127.0.0.1:{port}");
        let port = free_port()?;
        let (proxy, up, admin, gossip) = (at(port), at(free_port()?), at(free_port()?), at(free_port()?));
        let seed = at(near.gossip.ok_or("a server has a gossip port")?);
        let args = [
            "--proxy.access-log.disable",
            "--proxy.bind-addr",
            &proxy,
            "--upstream.bind-addr",
            &up,
            "--admin.bind-addr",
            &admin,
            "--cluster.gossip.bind-addr",
            &gossip,
            "--cluster.join",
            &seed,
        ];
        near.processes.push(self.spawn_as("far", name, &server, &args)?);
        Ok(Contender { port, ..near })
    }

    fn ports(&self, port: u16) -> Vec<(&'static str, String)> {
        vec![("PORT", port.to_string()), ("BACKEND", self.backend.to_string())]
    }

    fn config(&self, template: &str, name: &str, values: &[(&str, String)]) -> Result<PathBuf, String> {
        write_config(self.scratch, template, name, values)
    }

    fn spawn(&self, role: &str, program: &Path, args: &[&str]) -> Result<Process, String> {
        self.spawn_as(role, "rival", program, args)
    }

    /// Output goes to a file: reading an access log would cost the time that is measured.
    fn spawn_as(&self, role: &str, name: &str, program: &Path, args: &[&str]) -> Result<Process, String> {
        let log = self.scratch.0.join(format!("{name}-{role}.out"));
        let mut command = pinned(self.cpu, program);
        let spawned = Process::spawn_with(role, command.args(args), Capture::File(&log));
        Ok(spawned.map_err(|e| format!("{}: {e}", program.display()))?.with_grace(GRACE))
    }

    /// Asks for the small body until it comes.
    fn wait_ready(&self, contender: &Contender) -> Result<(), String> {
        let deadline = Instant::now() + START;
        loop {
            let last = match if contender.tls { ask_tls(contender.port) } else { ask(contender.port) } {
                Ok(()) => return Ok(()),
                Err(text) => text,
            };
            if Instant::now() >= deadline {
                return Err(format!("{} does not answer: {last}\n{}", contender.name, self.logs()));
            }
            // Rivals tell nobody when they are up: asking is the only way to know.
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last lines of all output, for the message of a failed start.
    fn logs(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(&self.scratch.0).into_iter().flatten().flatten() {
            let path = entry.path();
            let extension = path.extension().and_then(|e| e.to_str());
            if matches!(extension, Some("log" | "out")) {
                let content = fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<&str> = content.lines().collect();
                for line in &lines[lines.len().saturating_sub(5)..] {
                    text.push_str(&format!("  {}: {line}\n", entry.file_name().to_string_lossy()));
                }
            }
        }
        text
    }
}

/// Starts the back end and returns its port.
pub(crate) fn backend(scratch: &Scratch, cpu: Option<u32>) -> Result<(u16, Process), String> {
    let port = free_port()?;
    let values = [("PORT", port.to_string()), ("SMALL", "x".repeat(SMALL))];
    let config = write_config(scratch, "backend.nginx.conf", "backend", &values)?;
    Ok((port, start_nginx(scratch, cpu, "backend", &config)?))
}

fn start_nginx(scratch: &Scratch, cpu: Option<u32>, name: &str, config: &Path) -> Result<Process, String> {
    let program = find("nginx").ok_or("nginx not found")?;
    let mut command = pinned(cpu, &program);
    command.arg("-p").arg(&scratch.0).arg("-c").arg(config);
    let log = scratch.0.join(format!("{name}.out"));
    let process = Process::spawn_with(name, &mut command, Capture::File(&log));
    // The master ends its worker when it is asked, and could not when it is killed.
    Ok(process.map_err(|e| format!("nginx: {e}"))?.with_grace(GRACE))
}

fn write_config(
    scratch: &Scratch,
    template: &str,
    name: &str,
    values: &[(&str, String)],
) -> Result<PathBuf, String> {
    let source = bench_file(template);
    let mut text = fs::read_to_string(&source).map_err(|e| format!("{}: {e}", source.display()))?;
    text = text.replace("@DIR@", &scratch.0.to_string_lossy());
    for (key, value) in values {
        text = text.replace(&format!("@{key}@"), value);
    }
    let file = if name.contains('.') { name.to_owned() } else { format!("{name}.conf") };
    let path = scratch.0.join(file);
    fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}

/// Where finished programs of Piko are.
fn piko_dir() -> Result<PathBuf, String> {
    if let Some(dir) = std::env::var_os("PIKO_BIN_DIR") {
        return Ok(PathBuf::from(dir));
    }
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    profile_dir(&exe).ok_or_else(|| "PIKO_BIN_DIR is not set".to_owned())
}

/// One request for the small body.
fn ask(port: u16) -> Result<(), String> {
    let mut client = Client::connect(([127, 0, 0, 1], port).into()).map_err(|e| e.to_string())?;
    let response = client.get("/small", &[("x-piko-endpoint", ENDPOINT)]).map_err(|e| e.to_string())?;
    if response.status() == 200 && response.body.len == SMALL as u64 {
        return Ok(());
    }
    Err(format!("status {}, {} bytes, {:?}", response.status(), response.body.len, response.end))
}

/// Whether TLS is answered: wrk checks the rest.
fn ask_tls(port: u16) -> Result<(), String> {
    let trust = Trust::anybody();
    let client = TlsClient::connect(([127, 0, 0, 1], port).into(), "localhost", &trust);
    let mut client = client.map_err(|e| e.to_string())?;
    let asked = client.get("/small", &[("x-piko-endpoint", ENDPOINT)]).map_err(|e| e.to_string())?;
    if asked.0 == 200 && asked.1.len() == SMALL { Ok(()) } else { Err(format!("status {}", asked.0)) }
}

/// A port that was free a moment ago. Programs without a port 0 of their own need a number; when somebody
/// takes it in between, the start fails and says so.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    Ok(listener.local_addr().map_err(|e| e.to_string())?.port())
}
