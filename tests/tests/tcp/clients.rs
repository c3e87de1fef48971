//! Programs of other people through `piko forward`: databases and a shell, against real servers of this test alone. Where
//! a program is missing its test says so and is skipped.

use crate::common::{PATIENCE, connect};
use piko_tests::cluster::unused_addr;
use piko_tests::process::{Agent, Forward, Process, Server, Signal, find, need};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

/// A folder below `/tmp`, whose path is short enough for sockets, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(format!("/tmp/piko-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A way from a port of this machine to `service`.
struct Road {
    _server: Server,
    _agent: Agent,
    forward: Forward,
}

fn road(service: &str) -> Road {
    let server = Server::start(&[]);
    let agent = Agent::tcp(&server.connect_url(), "service", service, &[]);
    let forward = Forward::tcp(server.proxy, "service", &[]);
    Road { _server: server, _agent: agent, forward }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        // Other people's programs tell nobody when they are up.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn check(output: &Output) -> String {
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {err}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// User and group of that name, for root, who may not run every server.
fn ids(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// `initdb` and `postgres`, which Debian keeps out of the search path.
fn postgres() -> Option<(PathBuf, PathBuf)> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let dirs = versions.map(|entry| entry.path().join("bin"));
    let found =
        dirs.map(|dir| (dir.join("initdb"), dir.join("postgres"))).find(|(a, b)| a.exists() && b.exists());
    found.or_else(|| Some((find("initdb")?, need("postgres")?)))
}

/// The service is a Unix socket.
#[test]
fn psql_works_through_the_forwarder() {
    let (Some(psql), Some((initdb, postgres))) = (need("psql"), postgres()) else { return };
    let folder = Folder::new("pg");
    let data = folder.0.join("data");
    let is_root = rustix::process::getuid().is_root();
    let user = if is_root { ids("postgres") } else { None };
    if let Some((uid, gid)) = user {
        chown(&folder.0, Some(uid), Some(gid)).expect("root may do that");
    }
    let as_user = |program: &Path| {
        let mut command = Command::new(program);
        command.current_dir(&folder.0).env("LC_ALL", "C");
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        command
    };
    let made = as_user(&initdb).args(["-A", "trust", "-U", "piko", "--no-sync", "-D"]).arg(&data).output();
    check(&made.expect("initdb starts"));
    let mut command = as_user(&postgres);
    command.arg("-D").arg(&data).arg("-k").arg(&folder.0).args([
        "-c",
        "listen_addresses=",
        "-F",
        "-p",
        "5432",
    ]);
    let mut process = Process::spawn("postgres", &mut command).expect("starts");
    let socket = folder.0.join(".s.PGSQL.5432");
    wait_for("postgres does not come up", || socket.exists());
    let road = road(&format!("unix:{}", socket.display()));
    let port = road.forward.addr.port().to_string();
    let ask = |sql: &str| {
        let mut command = Command::new(&psql);
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "piko",
            "-d",
            "postgres",
            "-X",
            "-At",
            "-c",
            sql,
        ]);
        command.env("PGCONNECT_TIMEOUT", "60").output().expect("psql starts")
    };
    // The socket is there before the server takes connections.
    wait_for("postgres takes no connections", || ask("select 1").status.success());
    assert_eq!(check(&ask("select 6 * 7")), "42\n");
    let rows = check(&ask("select i, repeat('x', 1000) from generate_series(1, 2000) i"));
    assert_eq!(rows.lines().count(), 2000);
    assert!(rows.len() > 2_000_000);
    let copied = check(&ask(
        "create table t(a int); insert into t select generate_series(1, 9); select count(*) from t",
    ));
    assert!(copied.ends_with("9\n"), "{copied}");
    process.signal(Signal::Int).expect("it runs");
    process.wait_exit(PATIENCE).expect("the end");
}

#[test]
fn redis_cli_works_through_the_forwarder() {
    let (Some(server), Some(cli)) = (need("redis-server"), need("redis-cli")) else { return };
    let folder = Folder::new("redis");
    let addr = unused_addr();
    let mut command = Command::new(server);
    command.current_dir(&folder.0).args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    let _process =
        Process::spawn("redis", command.args(["--port", &addr.port().to_string()])).expect("starts");
    wait_for("redis does not come up", || std::net::TcpStream::connect(addr).is_ok());
    let road = road(&addr.to_string());
    let port = road.forward.addr.port().to_string();
    let ask = |words: &[&str]| {
        let output = Command::new(&cli).args(["-h", "127.0.0.1", "-p", &port]).args(words).output();
        check(&output.expect("redis-cli starts"))
    };
    assert_eq!(ask(&["ping"]), "PONG\n");
    let value = "v".repeat(100_000);
    assert_eq!(ask(&["set", "key", &value]), "OK\n");
    assert_eq!(ask(&["get", "key"]).trim_end(), value);
}

#[test]
fn ssh_works_through_the_forwarder() {
    let (Some(ssh), Some(sshd), Some(keygen)) = (need("ssh"), need("sshd"), need("ssh-keygen")) else {
        return;
    };
    let folder = Folder::new("ssh");
    let path = |name: &str| folder.0.join(name).display().to_string();
    for key in ["host", "user"] {
        let made = Command::new(&keygen).args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]).output();
        check(&made.expect("ssh-keygen starts"));
    }
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o700)).expect("its owner may");
    let addr = unused_addr();
    let config = format!(
        "ListenAddress {addr}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
         PermitRootLogin yes\nPasswordAuthentication no\n",
        path("host"),
        path("user.pub")
    );
    fs::write(folder.0.join("config"), config).expect("written");
    if rustix::process::getuid().is_root() {
        // What sshd gives its unprivileged half for a root.
        fs::create_dir_all("/run/sshd").expect("root may do that");
    }
    let mut command = Command::new(sshd);
    let _process = Process::spawn("sshd", command.args(["-D", "-e", "-f", &path("config")])).expect("starts");
    wait_for("sshd does not come up", || std::net::TcpStream::connect(addr).is_ok());
    let road = road(&addr.to_string());
    // It is ssh that speaks first on some connections and sshd on others; both pass.
    drop(connect(road.forward.addr));
    let mut command = Command::new(ssh);
    command.args(["-F", "none", "-i", &path("user"), "-p", &road.forward.addr.port().to_string()]);
    for option in
        ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=60"]
    {
        command.args(["-o", option]);
    }
    command.args(["127.0.0.1", "cat; echo done"]).stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("ssh starts");
    let sent = crate::common::body(1 << 20);
    let mut input = child.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, &sent));
    let output = child.wait_with_output().expect("the end");
    writer.join().expect("no panic").expect("all is taken");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        output.stdout.ends_with(b"done\n") && output.stdout.len() == (1 << 20) + 5,
        "{}",
        output.stdout.len()
    );
}
