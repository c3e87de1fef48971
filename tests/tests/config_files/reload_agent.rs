//! A new configuration for an agent that serves: listeners that come, go and change, tokens, tunnels that take over.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use piko_tests::http::Client;
use piko_tests::process::{Process, Server, binary};
use piko_tests::service::Service;

use crate::agents::{AGENTS, gate, head_of, wait_connected};
use crate::{Folder, SOON};

const RELOADED: &str = "reloaded";
const REFUSED: &str = "what is new was refused; the old stays";

struct Setup {
    folder: Folder,
    agent: Process,
}

impl Setup {
    /// An agent with this configuration, whose first `tunnels` tunnels are up.
    fn start((program, words): (&str, &[&str]), text: &str, tunnels: usize) -> Self {
        let folder = Folder::new();
        let path = folder.write("agent.yaml", text);
        let mut command = Command::new(binary(program));
        let agent =
            Process::spawn(program, command.args(words).args(["--config.path", &path])).expect("starts");
        wait_connected(&agent, tunnels);
        Self { folder, agent }
    }

    /// Puts a new file there, and returns where the log was before that.
    fn change(&self, text: &str, told: &str) -> usize {
        let from = self.agent.mark();
        self.folder.write("agent.yaml", text);
        self.agent.wait_record(from, SOON, told).expect("the new file is seen");
        from
    }

    fn count(&self, msg: &str) -> usize {
        self.agent.lines(0).iter().filter(|line| line.is_record(msg)).count()
    }
}

fn get(proxy: SocketAddr, target: &str, endpoint: &str) -> u16 {
    let mut client = Client::connect(proxy).expect("the proxy port");
    client.get(target, &[("x-piko-endpoint", endpoint)]).expect("an answer").status()
}

/// Looks again and again until the endpoint answers so.
fn wait_for_status(proxy: SocketAddr, endpoint: &str, status: u16) {
    let until = std::time::Instant::now() + SOON;
    while get(proxy, "/hello", endpoint) != status {
        assert!(std::time::Instant::now() < until, "{endpoint} never answered {status}");
        // There is no event to wait for: the server is a process that is looked at from outside.
        thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// `listeners[]`: another service for what is there, one more, one less; and what is under way goes on.
#[test]
fn listeners_come_and_go() {
    for agent in AGENTS {
        let (one, two, server) = (Service::start(), Service::start(), Server::start(&[]));
        let head = format!("connect: {{url: \"{}\"}}\nlisteners:\n", server.connect_url());
        let entry = |endpoint: &str, service: &Service, rest: &str| {
            format!("- {{endpoint_id: {endpoint}, addr: \"{}\"{rest}}}\n", service.addr())
        };
        let setup = Setup::start(agent, &[head.as_str(), &entry("a", &one, "")].concat(), 1);
        let proxy = server.proxy;
        let under_way = thread::spawn(move || get(proxy, "/slow?head_ms=1500", "a"));
        one.wait_counts(SOON, |counts| counts.requests == 1).expect("the request");

        // Another service: the request under way stays where it is, the tunnel stays up.
        setup.change(&[head.as_str(), &entry("a", &two, ", timeout: 2s")].concat(), RELOADED);
        assert_eq!(get(proxy, "/hello", "a"), 200);
        assert_eq!((one.counts().requests, two.counts().requests), (1, 1));
        assert_eq!(get(proxy, "/slow?head_ms=10000", "a"), 504, "its new timeout");
        assert_eq!(setup.count("tunnel connected"), 1);

        // One more.
        let text = [head.as_str(), &entry("a", &two, ""), &entry("b", &one, "")].concat();
        let from = setup.change(&text, "listener added");
        setup.agent.wait_record(from, SOON, "tunnel connected").expect("its tunnel");
        wait_for_status(proxy, "b", 200);
        assert_eq!(under_way.join().expect("a status"), 200);

        // One less, while it is being asked.
        let under_way = thread::spawn(move || get(proxy, "/slow?head_ms=1000", "a"));
        two.wait_counts(SOON, |counts| counts.requests == 3).expect("the request");
        setup.change(&[head.as_str(), &entry("b", &one, "")].concat(), "listener removed");
        assert_eq!(under_way.join().expect("a status"), 200);
        wait_for_status(proxy, "a", 502);
        assert_eq!(get(proxy, "/hello", "b"), 200);
        assert_eq!(setup.count("tunnel lost; reconnecting"), 0);

        // A mistake in one listener is one of all: nothing comes of it.
        setup.change(&[head.as_str(), &entry("b", &two, ""), "- {endpoint_id: c}\n"].concat(), REFUSED);
        let before = one.counts().requests;
        assert_eq!(get(proxy, "/hello", "b"), 200);
        assert_eq!(one.counts().requests, before + 1);
    }
}

/// A token out of a file is read again when the file changes, and sent with the next connection; the tunnel stays.
/// Another tenant needs another tunnel.
#[test]
fn tokens_and_tenants_change() {
    for agent in AGENTS {
        let (service, server) = (Service::start(), Server::start(&[]));
        let (url, told) = gate(server.upstream);
        let keys = Folder::new();
        let token = keys.write("token", "first\n");
        let text = |tenant: &str| {
            format!(
                "connect: {{url: \"{url}\", token_file: \"{token}\", tenant_id: {tenant}}}\n\
                 listeners:\n- {{endpoint_id: e, addr: \"{}\"}}\n",
                service.addr()
            )
        };
        let setup = Setup::start(agent, &text("one"), 1);
        let head = told.recv_timeout(SOON).expect("a head");
        assert!(head.contains("authorization: bearer first\r\n"), "{head}");

        let from = setup.agent.mark();
        keys.write("token", "second\n");
        setup.agent.wait_record(from, SOON, RELOADED).expect("the new token is seen");
        assert_eq!(get(server.proxy, "/hello", "e"), 200);
        assert_eq!(setup.count("tunnel connected"), 1);

        let from = setup.change(&text("two"), "connecting anew for new settings");
        let head = told.recv_timeout(SOON).expect("a head");
        assert!(head.contains("authorization: bearer second\r\n"), "{head}");
        assert!(head.contains("x-piko-tenant-id: two\r\n"), "{head}");
        setup.agent.wait_record(from, SOON, "tunnel connected").expect("the new tunnel");
        assert_eq!(get(server.proxy, "/hello", "e"), 200);
        assert_eq!(setup.count("tunnel lost; reconnecting"), 0);
        assert!(!setup.agent.tail().contains("second"));
    }
}

/// `connect.url`: the first tunnel drains once the second one is up, so no request of many fails, whether it was under way
/// or not; and it stays where the second one does not come to be.
#[test]
fn no_request_fails_while_tunnels_change() {
    let (service, server) = (Service::start(), Server::start(&[]));
    let gates = [gate(server.upstream), gate(server.upstream)];
    let text = |url: &str| {
        format!(
            "connect: {{url: \"{url}\"}}\nlisteners:\n- {{endpoint_id: e, addr: \"{}\", access_log: {{disable: true}}}}\n",
            service.addr()
        )
    };
    let setup = Setup::start(AGENTS[0], &text(&gates[0].0), 1);
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let proxy = server.proxy;
    let clients: Vec<_> = (0..3)
        .map(|n| {
            let (stop, served) = (stop.clone(), served.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let target = if n == 0 { "/slow?head_ms=100" } else { "/hello" };
                    assert_eq!(get(proxy, target, "e"), 200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for n in 1..=6 {
        let from = setup.change(&text(&gates[n % 2].0), "connecting anew for new settings");
        setup.agent.wait_record(from, SOON, "tunnel connected").expect("the new tunnel");
    }
    // Somebody who wants no agents.
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", nobody.local_addr().expect("an address"));
    let from = setup.change(&text(&url), "connecting anew for new settings");
    head_of(&nobody);
    setup.agent.wait_record(from, SOON, "the old tunnel stays").expect("is told");
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no request failed");
    }
    assert!(served.load(Ordering::Relaxed) > 50, "only {served:?}");
    assert_eq!(get(proxy, "/hello", "e"), 200);
    assert_eq!(setup.count("tunnel lost; reconnecting"), 0);
}

/// What an agent cannot take over is named.
#[test]
fn what_needs_a_restart_says_so() {
    let (service, server) = (Service::start(), Server::start(&[]));
    let text = |rest: &str| {
        let (url, addr) = (server.connect_url(), service.addr());
        format!("connect: {{url: \"{url}\"}}\n{rest}listeners:\n- {{endpoint_id: e, addr: \"{addr}\"}}\n")
    };
    let setup = Setup::start(AGENTS[0], &text(""), 1);
    let told = "new values that count after a restart only";
    setup.change(&text("server: {enabled: true}\n"), told);
    let (_, record) = setup.agent.wait_record(0, SOON, told).expect("the flags");
    assert_eq!(record["flags"], "server.enabled");
}
