//! Hosts with addresses of their own: network namespaces around a router, whose lines can be cut.

use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::find;

/// What the hosts speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

/// Some hosts; dropping it removes them, and with them whatever still sends.
#[derive(Debug)]
pub struct Net {
    family: Family,
    prefix: String,
    hosts: usize,
}

impl Net {
    /// Makes `hosts` hosts that reach each other. `None`, after a visible line, where the machine or the user cannot.
    ///
    /// # Panics
    ///
    /// When root cannot do it and `CI` is `true` (or `1`).
    pub fn new(family: Family, hosts: usize) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("pk{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // Made first, so that what is half made is removed.
        let net = Self { family, prefix, hosts };
        match net.make() {
            Ok(()) => Some(net),
            Err(why) => {
                let ci = env::var("CI").is_ok_and(|v| v == "true" || v == "1");
                // Somebody without the right to make hosts cannot do anything about it.
                assert!(!ci || !geteuid().is_root(), "network namespaces: {why}, and CI must not skip tests");
                let name = thread::current().name().unwrap_or("unnamed").to_owned();
                let _ = writeln!(io::stderr(), "skipped: {name}: network namespaces: {why}");
                None
            }
        }
    }

    fn make(&self) -> Result<(), String> {
        let hub = self.name("hub");
        ip(&["netns", "add", &hub])?;
        for what in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            let write = || std::fs::write(format!("/proc/sys/net/{what}"), "1");
            self.inside(&hub, write).map_err(|e| format!("{what}: {e}"))?;
        }
        for i in 0..self.hosts {
            let (host, line) = (self.host(i), format!("v{i}"));
            ip(&["netns", "add", &host])?;
            ip(&["-n", &hub, "link", "add", &line, "type", "veth", "peer", "name", "eth0", "netns", &host])?;
            let (router, own) = (self.at(i, 1), self.at(i, 2));
            let bits = if self.family == Family::V4 { 24 } else { 64 };
            for (ns, dev, addr) in [(&hub, line.as_str(), router), (&host, "eth0", own)] {
                let addr = format!("{addr}/{bits}");
                // An address of IPv6 is otherwise not usable for a second or two.
                let nodad: &[&str] = if self.family == Family::V4 { &[] } else { &["nodad"] };
                ip(&[&["-n", ns, "addr", "add", &addr, "dev", dev], nodad].concat())?;
                ip(&["-n", ns, "link", "set", dev, "up"])?;
            }
            ip(&["-n", &host, "link", "set", "lo", "up"])?;
            ip(&["-n", &host, "route", "add", "default", "via", &router.to_string()])?;
        }
        Ok(())
    }

    fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.prefix)
    }

    fn host(&self, i: usize) -> String {
        self.name(&format!("h{i}"))
    }

    fn at(&self, host: usize, last: u8) -> IpAddr {
        match self.family {
            Family::V4 => Ipv4Addr::new(10, 77, host as u8, last).into(),
            Family::V6 => Ipv6Addr::new(0xfd77, host as u16, 0, 0, 0, 0, 0, last.into()).into(),
        }
    }

    /// The address of a host.
    pub fn addr(&self, host: usize) -> IpAddr {
        self.at(host, 2)
    }

    /// Runs `work` on a host: its sockets are there, and so are the processes that it starts.
    ///
    /// # Panics
    ///
    /// When the host cannot be entered, or with `work`.
    pub fn on<T: Send>(&self, host: usize, work: impl FnOnce() -> T + Send) -> T {
        self.inside(&self.host(host), work)
    }

    fn inside<T: Send>(&self, namespace: &str, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{namespace}")).expect("the namespace is there");
        // A thread of its own: one that has moved stays where it is.
        let done = thread::scope(|scope| {
            let entered = || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("the namespace takes this thread");
                work()
            };
            scope.spawn(entered).join()
        });
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// From here on nothing that one host sends to another arrives, and nobody is told.
    ///
    /// # Panics
    ///
    /// When the router does not take the rule.
    pub fn cut(&self, from: usize, to: usize) {
        self.rule("add", from, to);
    }

    /// Takes a cut back.
    ///
    /// # Panics
    ///
    /// When there was none.
    pub fn mend(&self, from: usize, to: usize) {
        self.rule("del", from, to);
    }

    fn rule(&self, what: &str, from: usize, to: usize) {
        let family = if self.family == Family::V4 { "-4" } else { "-6" };
        let [from, to] = [from, to].map(|host| self.addr(host).to_string());
        let hub = self.name("hub");
        ip(&[family, "-n", &hub, "rule", what, "from", &from, "to", &to, "blackhole"])
            .unwrap_or_else(|e| panic!("the router does not take a rule: {e}"));
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for i in 0..self.hosts {
            let _ = ip(&["netns", "del", &self.host(i)]);
        }
        let _ = ip(&["netns", "del", &self.name("hub")]);
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let program = find("ip").ok_or("ip not found")?;
    let output = Command::new(program).args(args).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
