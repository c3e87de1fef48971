//! A new configuration for a server that serves: what counts at once, what is refused, and that nothing drops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use piko_tests::http::Client;
use piko_tests::process::{Agent, Process, Server, Signal, binary};
use piko_tests::service::Service;

use crate::{Folder, SOON};

const TO_E: (&str, &str) = ("x-piko-endpoint", "e");

struct Setup {
    folder: Folder,
    server: Server,
    _agent: Agent,
    _service: Service,
}

impl Setup {
    fn start(text: &str) -> Self {
        let folder = Folder::new();
        let path = folder.write("server.yaml", text);
        let service = Service::start();
        let args = ["--config.path", &path, "--config.expand-env"];
        let server = Server::start_with(binary("piko-server"), &args, &[]);
        let agent = Agent::http(&server.connect_url(), "e", &service.addr().to_string(), &["--timeout=0"]);
        Self { folder, server, _agent: agent, _service: service }
    }

    fn client(&self) -> Client {
        Client::connect(self.server.proxy).expect("the proxy port")
    }

    /// Puts a new file there, waits for the record that tells what came of it, and returns that.
    fn change(&self, text: &str, told: &str) -> serde_json::Value {
        let from = self.server.process.mark();
        self.folder.write("server.yaml", text);
        self.server.process.wait_record(from, SOON, told).expect("the new file is seen").1
    }

    /// The value of a series in `/metrics`.
    fn metric(&self, series: &str) -> String {
        let mut admin = Client::connect(self.server.admin).expect("the admin port");
        let text = admin.get("/metrics", &[]).expect("an answer").body.text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).to_owned()
    }
}

const APPLIED: &str = "reloaded";
const REFUSED: &str = "what is new was refused; the old stays";
/// Names the flags, in front of [`APPLIED`].
const NEW_VALUES: &str = "new values count";

#[test]
fn the_log_the_access_log_and_limits_change() {
    let setup = Setup::start("proxy: {access_log: {disable: true}}\n");
    let mut client = setup.client();
    assert_eq!(client.get("/hello", &[TO_E]).expect("an answer").status(), 200);
    let record =
        setup.change("proxy: {timeout: 2s, access_log: {level: warn}}\nlog: {level: debug}\n", APPLIED);
    assert_eq!(record["part"], "configuration");
    let (_, record) = setup.server.process.wait_record(0, SOON, NEW_VALUES).expect("the flags");
    assert_eq!(record["flags"], "log.level, proxy.access-log.disable, proxy.access-log.level, proxy.timeout");
    // The same connection is served on, and its next request is logged as the new file says.
    let from = setup.server.process.mark();
    assert_eq!(client.get("/hello?again", &[TO_E]).expect("an answer").status(), 200);
    let (at, record) = setup.server.process.wait_record(from, SOON, "request").expect("a record");
    assert_eq!(record["level"], "warn");
    assert_eq!(setup.client().get("/slow?head_ms=10000", &[TO_E]).expect("an answer").status(), 504);
    setup.server.process.wait_record(at + 1, SOON, "request").expect("its record");
    // Records of level debug are written from here on, and no longer after the next change.
    let is_debug = |line: &piko_tests::process::Line| line.json().is_some_and(|r| r["level"] == "debug");
    setup.server.process.wait_line(from, SOON, is_debug).expect("a record of level debug");
    setup.change("log: {level: info}\nproxy: {access_log: {disable: true}}\n", APPLIED);
    let from = setup.server.process.mark();
    assert_eq!(setup.client().get("/slow?head_ms=1000", &[TO_E]).expect("an answer").status(), 200);
    assert!(setup.server.process.lines(from).is_empty(), "{}", setup.server.process.tail());
    assert_eq!(setup.metric("piko_reloads_total{outcome=\"loaded\"}"), "2");
}

#[test]
fn a_broken_file_has_no_effect() {
    let mut setup = Setup::start("proxy: {timeout: 1m, access_log: {disable: true}}\n");
    let mut client = setup.client();
    for (text, words) in [
        ("proxy: {timeout: soon}\n", "server.yaml:1: proxy.timeout: "),
        ("proxy: {timeout: 1ms}\nproxi: {}\n", "server.yaml:2: proxi: unknown key (did you mean proxy?)"),
        ("proxy: {timeout: 1ms}\nlog: {level: loud}\n", "config: log: unsupported level: loud"),
        ("proxy: {timeout: 1ms}\nupstream: {auth: {audience: x}}\n", "authentication is not supported yet"),
        ("[", "parse config: "),
        ("", "server.yaml: nothing but comments"),
        ("# a template that failed\n", "server.yaml: nothing but comments"),
        (
            "upstream: {auth: {hmac_secret_key: \"${HKEY}\"}}\n",
            "upstream.auth.hmac_secret_key: the variable HKEY",
        ),
    ] {
        let record = setup.change(text, REFUSED);
        assert!(record["error"].as_str().is_some_and(|error| error.contains(words)), "{record}");
        assert_eq!(client.get("/slow?head_ms=50", &[TO_E]).expect("an answer").status(), 200);
    }
    assert_eq!(setup.metric("piko_reloads_total{outcome=\"refused\"}"), "8");
    assert_eq!(setup.metric("piko_reloads_total{outcome=\"loaded\"}"), "0");
    assert_eq!(setup.metric("piko_reload_current"), "0");
    // A signal asks again, and gets the same answer.
    let from = setup.server.process.mark();
    setup.server.process.signal(Signal::Hup).expect("sent");
    setup.server.process.wait_record(from, SOON, REFUSED).expect("the answer");
    setup.change("proxy: {timeout: 300ms}\n", APPLIED);
    assert_eq!(setup.metric("piko_reload_current"), "1");
    assert_eq!(client.get("/slow?head_ms=3000", &[TO_E]).expect("an answer").status(), 504);
}

#[test]
fn a_directory_in_place_of_the_file_is_refused() {
    let mut setup = Setup::start("proxy: {timeout: 1m}\n");
    let from = setup.server.process.mark();
    let path = setup.folder.path("server.yaml");
    std::fs::remove_file(&path).expect("is there");
    std::fs::create_dir(&path).expect("the folder can be written");
    let is_told = |line: &piko_tests::process::Line| {
        let record = line.json().filter(|record| record["msg"] == REFUSED);
        record.is_some_and(|record| {
            record["error"].as_str().is_some_and(|e| e.ends_with("server.yaml: is a directory"))
        })
    };
    setup.server.process.wait_line(from, SOON, is_told).expect("it is seen");
    assert_eq!(setup.metric("piko_reload_current"), "0");
    let from = setup.server.process.mark();
    setup.server.process.signal(Signal::Hup).expect("sent");
    setup.server.process.wait_line(from, SOON, is_told).expect("the answer");
    std::fs::remove_dir(&path).expect("is there");
    setup.change("proxy: {timeout: 2m}\n", NEW_VALUES);
    setup.server.process.wait_record(from, SOON, APPLIED).expect("is good");
    assert_eq!(setup.metric("piko_reload_current"), "1");
}

#[test]
fn a_device_in_place_of_the_file_is_refused() {
    let setup = Setup::start("proxy: {timeout: 1m}\n");
    let from = setup.server.process.mark();
    let path = setup.folder.path("server.yaml");
    std::fs::remove_file(&path).expect("is there");
    std::os::unix::fs::symlink("/dev/null", &path).expect("the folder can be written");
    let is_told = |line: &piko_tests::process::Line| {
        let record = line.json().filter(|record| record["msg"] == REFUSED);
        record.is_some_and(|record| record["error"].as_str().is_some_and(|e| e.contains("no file any more")))
    };
    setup.server.process.wait_line(from, SOON, is_told).expect("it is seen");
    assert_eq!(setup.metric("piko_reload_current"), "0");
    setup.change("proxy: {timeout: 2m}\n", NEW_VALUES);
}

#[test]
fn what_needs_a_restart_says_so() {
    let setup = Setup::start("{}\n");
    let record = setup.change("cluster: {join: [10.0.0.1]}\n", "new values that count after a restart only");
    assert_eq!(record["flags"], "cluster.join");
}

/// In a file and by flag alone: what a start would refuse is refused, and a new secret waits for a restart.
#[test]
fn the_file_of_the_cluster_secret_is_read_again() {
    for by_flag in [false, true] {
        let folder = Folder::new();
        let secret = folder.write("secret", "one\n");
        let config = folder.write("server.yaml", &format!("cluster: {{secret_file: '{secret}'}}\n"));
        let args = if by_flag { ["--cluster.secret-file", &secret] } else { ["--config.path", &config] };
        let mut server = Server::start_with(binary("piko-server"), &args, &[]);
        let refused = |server: &mut Server, from, why: &str| {
            let record = server.process.wait_record(from, SOON, REFUSED).expect("it is seen").1;
            assert!(record["error"].as_str().is_some_and(|error| error.contains(why)), "{record}");
        };
        let from = server.process.mark();
        std::fs::remove_file(&secret).expect("is there");
        refused(&mut server, from, "secret: no such file or directory [");
        let from = server.process.mark();
        folder.write("secret", " \n");
        refused(&mut server, from, "secret: the file is empty [");
        let from = server.process.mark();
        std::fs::remove_file(&secret).expect("is there");
        std::os::unix::fs::symlink("/dev/null", &secret).expect("the folder can be written");
        refused(&mut server, from, "secret: no file, but a device");
        let from = server.process.mark();
        folder.write("secret", "two\n");
        let told = "new values that count after a restart only";
        let record = server.process.wait_record(from, SOON, told).expect("it is seen").1;
        assert_eq!(record["flags"], "cluster.secret-file");
        server.process.wait_record(from, SOON, APPLIED).expect("it is seen");
        // Once is enough, and the secret in use is nothing new.
        let from = server.process.mark();
        server.process.signal(Signal::Hup).expect("sent");
        server.process.wait_record(from, SOON, APPLIED).expect("the answer");
        let last = server.process.mark();
        folder.write("secret", "one\n");
        server.process.wait_record(last, SOON, APPLIED).expect("it is seen");
        let again = server.process.lines(from).iter().any(|line| line.is_record(told));
        assert!(!again);
    }
}

/// `proxy.http.idle-timeout`, `.max-header-bytes` and `.read-header-timeout`: connections that begin have the new ones, and
/// those that are open keep theirs.
#[test]
fn limits_of_connections_change_for_those_that_begin() {
    let setup = Setup::start("{}\n");
    let mut old = setup.client();
    assert_eq!(old.get("/hello", &[TO_E]).expect("an answer").status(), 200);
    setup.change(
        "proxy: {http: {idle_timeout: 3s, read_header_timeout: 3s, max_header_bytes: 1KiB}}\n",
        APPLIED,
    );
    let (_, record) = setup.server.process.wait_record(0, SOON, NEW_VALUES).expect("the flags");
    let flags = "proxy.http.idle-timeout, proxy.http.max-header-bytes, proxy.http.read-header-timeout";
    assert_eq!(record["flags"], flags);

    let mut idle = setup.client();
    assert_eq!(idle.get("/hello", &[TO_E]).expect("an answer").status(), 200);
    assert!(idle.read_some(1).expect("a clean end").is_empty(), "it was idle for too long");
    let mut slow = setup.client();
    slow.send(b"GET / HTTP/1.1\r\n").expect("sent");
    let end = slow.read_response("GET").head;
    assert!(end.is_none_or(|head| head.status == 408), "its head took too long");
    let long = "x".repeat(8000);
    let fields = [TO_E, ("x-long", long.as_str())];
    assert_eq!(setup.client().get("/hello", &fields).expect("an answer").status(), 431);

    // All of that is no matter of the connection that was there before.
    assert_eq!(old.get("/hello", &fields).expect("an answer").status(), 200);
}

/// `upstream.rebalance.*`: off at the start, on from the new file on.
#[test]
fn rebalancing_is_switched_on() {
    let folder = Folder::new();
    let path = folder.write("server.yaml", "{}\n");
    let one = Server::start_with(binary("piko-server"), &["--config.path", &path], &[]);
    let _two = Server::start(&["--cluster.join", &one.gossip().to_string()]);
    let service = Service::start();
    let endpoints: Vec<String> = (0..6).map(|n| format!("e{n}/{}", service.addr())).collect();
    let _agent = piko_tests::rig::agent_of(&one.connect_url(), &endpoints);
    folder.write("server.yaml", "upstream: {rebalance: {threshold: 0.2, shed_rate: 1, min_conns: 2}}\n");
    let (_, record) = one.process.wait_record(0, SOON, "rebalance; shedding connections").expect("a record");
    assert_eq!(record["local_conns"], 6);
}

/// A hang-up ends most programs; this one reads its file, and goes on where there is none.
#[test]
fn a_hang_up_is_no_end() {
    let mut server = Server::start(&[]);
    server.process.signal(Signal::Hup).expect("sent");
    server.process.wait_line(0, SOON, |line| line.text.contains("nothing to reload")).expect("is told");
    assert_eq!(
        Client::connect(server.admin)
            .expect("the admin port")
            .get("/health", &[])
            .expect("an answer")
            .status(),
        200
    );
}

/// The agent's file is one of those that it reads again, beside its certificates.
#[test]
fn an_agent_takes_over_its_logs() {
    let folder = Folder::new();
    let (service, server) = (Service::start(), Server::start(&[]));
    let text = |rest: &str| {
        let (url, addr) = (server.connect_url(), service.addr());
        format!("connect: {{url: \"{url}\"}}\nlisteners:\n- {{endpoint_id: e, addr: \"{addr}\", {rest}}}\n")
    };
    let path = folder.write("agent.yaml", &text("access_log: {disable: true}"));
    let mut command = std::process::Command::new(binary("piko-agent"));
    let mut agent =
        Process::spawn("piko-agent", command.args(["start", "--config.path", &path])).expect("starts");
    agent.wait_record(0, SOON, "tunnel connected").expect("the tunnel");
    let get = || {
        let mut client = Client::connect(server.proxy).expect("the proxy port");
        assert_eq!(client.get("/hello", &[TO_E]).expect("an answer").status(), 200);
    };
    get();
    let from = agent.mark();
    folder.write("agent.yaml", &text("access_log: {level: warn}"));
    agent.wait_record(from, SOON, "reloaded").expect("the new file is seen");
    get();
    let (_, record) = agent.wait_record(from, SOON, "request").expect("a record");
    assert_eq!(record["level"], "warn");
    let from = agent.mark();
    folder.write("agent.yaml", &text("acces_log: {level: warn}"));
    let refused = "what is new was refused; the old stays";
    let (_, record) = agent.wait_record(from, SOON, refused).expect("the new file is seen");
    assert!(
        record["error"].as_str().is_some_and(|error| error.contains("did you mean access_log?")),
        "{record}"
    );
    let from = agent.mark();
    agent.signal(Signal::Hup).expect("sent");
    agent.wait_record(from, SOON, refused).expect("the file is as bad as before");
    get();
    assert!(agent.lines(0).iter().filter(|line| line.is_record("tunnel connected")).count() == 1);
}

#[test]
fn no_request_fails_while_files_change() {
    let setup = Setup::start("proxy: {access_log: {disable: true}}\n");
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|n| {
            let (mut client, stop, served) = (setup.client(), stop.clone(), served.clone());
            let proxy = setup.server.proxy;
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // Half of them keep their connection, half open a new one for each request.
                    if n % 2 == 0 {
                        client = Client::connect(proxy).expect("the proxy port");
                    }
                    assert_eq!(client.get("/hello", &[TO_E]).expect("an answer").status(), 200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for n in 1..=5 {
        setup.change(&format!("proxy: {{timeout: {n}0s, access_log: {{disable: true}}}}\n"), APPLIED);
        setup.change("proxy: [\n", REFUSED);
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no request failed");
    }
    assert!(served.load(Ordering::Relaxed) > 100, "only {served:?}");
}
