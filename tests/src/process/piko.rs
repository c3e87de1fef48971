//! The server and the agent as processes, found by what they log.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::binaries::binary;
use super::guard::{Process, Signal, WaitError};

/// How long a program may take to say that it is up.
const START: Duration = Duration::from_secs(60);
/// Ports that the kernel chooses, so that tests run side by side.
const ANY: &str = "127.0.0.1:0";

/// A running `piko-server`.
#[derive(Debug)]
pub struct Server {
    /// The process; dropping it kills the server.
    pub process: Process,
    /// Where users' requests go.
    pub proxy: SocketAddr,
    /// Where agents connect.
    pub upstream: SocketAddr,
    /// Health, metrics and status.
    pub admin: SocketAddr,
}

impl Server {
    /// Starts a server on ports of the kernel's choice, with further arguments.
    ///
    /// # Panics
    ///
    /// When it is not up within a minute; the message holds its last lines.
    pub fn start(args: &[&str]) -> Self {
        Self::start_from(binary("piko-server"), args)
    }

    /// The same with a program of the caller's choice.
    ///
    /// # Panics
    ///
    /// As [`Self::start`].
    pub fn start_from(program: PathBuf, args: &[&str]) -> Self {
        Self::start_with(program, args, &[])
    }

    /// The same with variables for its environment; a port that a variable sets gets no flag.
    ///
    /// # Panics
    ///
    /// As [`Self::start`].
    pub fn start_with(program: PathBuf, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(&program);
        command.envs(env.iter().copied());
        let ports =
            ["--proxy.bind-addr", "--upstream.bind-addr", "--admin.bind-addr", "--cluster.gossip.bind-addr"];
        let defaults = ports.map(|flag| (flag, ANY));
        // Nobody stands in front of a test's server and has to notice that it ends.
        for (flag, value) in defaults.iter().chain(&[("--drain-delay", "0s")]) {
            // A caller that wants a fixed port says so, and flags may be given only once.
            let variable = variable(flag.trim_start_matches('-'));
            let given = args.iter().any(|a| a.split('=').next() == Some(*flag))
                || env.iter().any(|(name, _)| *name == variable);
            if !given {
                command.args([flag, value]);
            }
        }
        command.args(args);
        let process = Process::spawn("piko-server", &mut command)
            .unwrap_or_else(|e| panic!("{} does not start: {e}", program.display()));
        let addr = |what: &str| {
            let (_, record) =
                process.wait_record(0, START, what).unwrap_or_else(|e| panic!("waiting for \"{what}\": {e}"));
            let text = record["addr"].as_str().unwrap_or_else(|| panic!("no addr in {record}"));
            text.parse::<SocketAddr>().unwrap_or_else(|e| panic!("{text}: {e}"))
        };
        let (proxy, upstream, admin) =
            (addr("starting proxy server"), addr("starting upstream server"), addr("starting admin server"));
        Self { process, proxy, upstream, admin }
    }

    /// The address of the gossip port, for the `--cluster.join` of another server.
    ///
    /// # Panics
    ///
    /// When the server does not log it within a minute.
    pub fn gossip(&self) -> SocketAddr {
        let (_, record) = self
            .process
            .wait_record(0, START, "starting gossip")
            .unwrap_or_else(|e| panic!("waiting for gossip: {e}"));
        let text = record["bind-addr"].as_str().unwrap_or_else(|| panic!("no bind-addr in {record}"));
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    /// The URL that agents are given.
    pub fn connect_url(&self) -> String {
        format!("http://{}", self.upstream)
    }

    /// Asks the server to end and waits for it.
    ///
    /// # Errors
    ///
    /// `TimedOut` when it still runs after `within`.
    pub fn terminate(&mut self, within: Duration) -> io::Result<std::process::ExitStatus> {
        self.process.signal(Signal::Term)?;
        self.process.wait_exit(within)
    }
}

/// A running `piko-agent`.
#[derive(Debug)]
pub struct Agent {
    /// The process; dropping it kills the agent.
    pub process: Process,
    /// The endpoint it listens on.
    pub endpoint: String,
}

impl Agent {
    /// Starts `piko-agent http <endpoint> <addr>` and waits until its tunnel is up.
    ///
    /// # Panics
    ///
    /// When it is not up within a minute; the message holds its last lines.
    pub fn http(connect_url: &str, endpoint: &str, addr: &str, args: &[&str]) -> Self {
        let agent = Self::launch(binary("piko-agent"), "http", connect_url, endpoint, addr, args);
        agent.wait_connected(0, START).unwrap_or_else(|e| panic!("the tunnel does not come up: {e}"));
        agent
    }

    /// Starts `piko-agent tcp <endpoint> <addr>` and waits until its tunnel is up.
    ///
    /// # Panics
    ///
    /// As [`Self::http`].
    pub fn tcp(connect_url: &str, endpoint: &str, addr: &str, args: &[&str]) -> Self {
        let agent = Self::launch(binary("piko-agent"), "tcp", connect_url, endpoint, addr, args);
        agent.wait_connected(0, START).unwrap_or_else(|e| panic!("the tunnel does not come up: {e}"));
        agent
    }

    /// Starts an agent and does not wait: for agents that shall fail, or start before their server.
    ///
    /// # Panics
    ///
    /// When the program cannot be started.
    pub fn launch(
        program: PathBuf,
        kind: &str,
        connect_url: &str,
        endpoint: &str,
        addr: &str,
        args: &[&str],
    ) -> Self {
        Self::launch_with(program, kind, connect_url, endpoint, addr, args, &[])
    }

    /// The same with variables for its environment.
    ///
    /// # Panics
    ///
    /// As [`Self::launch`].
    pub fn launch_with(
        program: PathBuf,
        kind: &str,
        connect_url: &str,
        endpoint: &str,
        addr: &str,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(&program);
        command.envs(env.iter().copied());
        command.args([kind, endpoint, addr, "--connect.url", connect_url]).args(args);
        let process = Process::spawn("piko-agent", &mut command)
            .unwrap_or_else(|e| panic!("{} does not start: {e}", program.display()));
        Self { process, endpoint: endpoint.to_owned() }
    }

    /// Waits until the agent says that its tunnel is up, in a line with number `from` or higher, and returns
    /// the number of the line after it.
    ///
    /// # Errors
    ///
    /// As [`Process::wait_line`].
    pub fn wait_connected(&self, from: usize, within: Duration) -> Result<usize, WaitError> {
        self.wait_event("tunnel connected", from, within)
    }

    /// Waits until the agent says that its tunnel is lost; as [`Self::wait_connected`].
    ///
    /// # Errors
    ///
    /// As [`Process::wait_line`].
    pub fn wait_lost(&self, from: usize, within: Duration) -> Result<usize, WaitError> {
        self.wait_event("tunnel lost", from, within)
    }

    /// A record whose message begins like this: "tunnel lost; reconnecting" says more than that it is lost.
    fn wait_event(&self, msg: &str, from: usize, within: Duration) -> Result<usize, WaitError> {
        let line = self.process.wait_line(from, within, |l| {
            l.json().is_some_and(|v| {
                // The record goes on with what the agent does about it.
                v["msg"].as_str().is_some_and(|m| m.starts_with(msg))
                    && v["endpoint-id"].as_str() == Some(self.endpoint.as_str())
            })
        })?;
        Ok(line.index + 1)
    }
}

/// A running `piko forward tcp`.
#[derive(Debug)]
pub struct Forward {
    /// The process; dropping it kills the forwarder.
    pub process: Process,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Forward {
    /// Starts `piko forward tcp 127.0.0.1:0 <endpoint>` and waits until it listens.
    ///
    /// # Panics
    ///
    /// When it does not within a minute; the message holds its last lines.
    pub fn tcp(proxy: SocketAddr, endpoint: &str, args: &[&str]) -> Self {
        let url = format!("http://{proxy}");
        let mut all = vec!["forward", "tcp", ANY, endpoint];
        if !args.contains(&"--connect.url") {
            all.extend(["--connect.url", &url]);
        }
        all.extend(args);
        let mut command = Command::new(binary("piko"));
        command.args(&all);
        let process = Process::spawn("piko forward", &mut command).unwrap_or_else(|e| panic!("piko: {e}"));
        let (_, record) =
            process.wait_record(0, START, "starting forwarder").unwrap_or_else(|e| panic!("no port: {e}"));
        let text = record["addr"].as_str().unwrap_or_else(|| panic!("no addr in {record}"));
        let addr = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        Self { process, addr }
    }
}

/// The environment variable of a flag: `proxy.timeout` is `PIKO_PROXY_TIMEOUT`.
pub fn variable(flag: &str) -> String {
    format!("PIKO_{}", flag.replace(['.', '-'], "_").to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A stand-in from `tests/fixtures`. Committed, not written by the test: a script that was just written
    /// can be busy, because another thread's child still holds it open.
    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
    }

    #[test]
    fn a_server_is_found_by_its_records() {
        let mut server =
            Server::start_from(fixture("fake-server"), &["--upstream.bind-addr", "127.0.0.1:12"]);
        assert_eq!(server.proxy.port(), 11);
        assert_eq!(server.connect_url(), "http://127.0.0.1:12");
        assert_eq!(server.admin.port(), 13);
        assert_eq!(server.gossip().port(), 14);
        let args = server.process.wait_line(0, START, |l| l.text.starts_with("args:")).expect("arguments");
        assert_eq!(args.text.matches("--upstream.bind-addr").count(), 1, "{}", args.text);
        assert_eq!(args.text.matches("127.0.0.1:0").count(), 3, "{}", args.text);
        server.terminate(START).expect("the end");
    }

    #[test]
    fn an_agent_reports_its_tunnel() {
        let agent = Agent::launch(fixture("fake-agent"), "http", "http://x", "mine", "8080", &[]);
        let up = agent.wait_connected(0, START).expect("up");
        assert_eq!(up, 2, "the other endpoint's record does not count");
        let lost = agent.wait_lost(up, START).expect("lost");
        assert_eq!(agent.wait_connected(lost, START).expect("up again"), 4);
        let nothing = agent.wait_lost(lost, Duration::from_millis(50));
        assert!(matches!(nothing, Err(WaitError::Deadline(_))), "{nothing:?}");
    }
}
