//! Files of servers.

use std::time::{Duration, Instant};

use piko_tests::cluster::unused_addr;
use piko_tests::http::Client;
use piko_tests::process::{Agent, Line, Signal};
use piko_tests::service::Service;
use serde_json::Value;

use crate::{Folder, SOON, fixture, launch, server};

fn node_id(server: &piko_tests::process::Server) -> String {
    let (_, record) = server.process.wait_record(0, SOON, "starting piko server").expect("the start");
    record["node-id"].as_str().expect("a name").to_owned()
}

/// The chart's node joins its headless service before its ports are open, so it is looked at from outside.
#[test]
fn the_file_of_the_helm_chart() {
    let process =
        launch("piko-server", PORTS, "helm.yaml", &[("POD_NAME", "piko-0"), ("RELEASE", "piko.invalid")]);
    let (_, record) = process.wait_record(0, SOON, "starting piko server").expect("the start");
    let id = record["node-id"].as_str().expect("a name");
    assert!(id.starts_with("piko-0-") && id.len() == "piko-0-".len() + 7, "{id}");
    process
        .wait_line(0, SOON, |line| line.text.contains("piko.invalid"))
        .expect("the name of the file is looked up");
}

/// Ports of the kernel's choice.
pub(crate) const PORTS: &[&str] = &[
    "--proxy.bind-addr=127.0.0.1:0",
    "--upstream.bind-addr=127.0.0.1:0",
    "--admin.bind-addr=127.0.0.1:0",
    "--cluster.gossip.bind-addr=127.0.0.1:0",
];

#[test]
fn the_file_of_the_demo() {
    let server = server("compose.yaml", &["--cluster.node-id-prefix", "piko-2-"], &[]);
    assert!(node_id(&server).starts_with("piko-2-"));
    let (_, record) =
        server.process.wait_record(0, SOON, "failed to join cluster; trying on").expect("nobody is there");
    assert_eq!(record["level"], "warn");
}

/// No flag says where to listen. Kubernetes sets the variable for a service that is called piko.
#[test]
fn ports_of_a_file() {
    let env = [("PIKO_PORT", "tcp://10.0.0.1:8000")];
    let process = launch("piko-server", &[], "ports.yaml", &env);
    for port in ["proxy", "upstream", "admin"] {
        let (_, record) =
            process.wait_record(0, SOON, &format!("starting {port} server")).expect("the port is open");
        let addr = record["addr"].as_str().expect("an address");
        assert!(addr.starts_with("127.0.0.1:") && !addr.ends_with(":800"), "{port}: {addr}");
        if port == "admin" {
            let mut admin = Client::connect(addr.parse().expect("an address")).expect("the admin port");
            let nodes = admin.get("/status/cluster/nodes", &[]).expect("an answer").body.text();
            assert!(nodes.contains("\"proxy_addr\":\"10.26.104.56:8000\""), "{nodes}");
        }
    }
}

#[test]
fn an_access_log() {
    let service = Service::start();
    let mut server = server("access-log.yaml", &[], &[]);
    let agent = Agent::http(&server.connect_url(), "e", &service.addr().to_string(), &[]);
    let fields = [("x-piko-endpoint", "e"), ("x-one", "1"), ("x-two", "2"), ("connection", "close")];
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    assert_eq!(client.get("/hello", &fields).expect("an answer").status(), 200);
    server.terminate(SOON).expect("the end");
    drop(agent);
    let lines = server.process.lines(0);
    let record = lines.iter().filter_map(Line::json).find(|record| record["subsystem"] == "proxy.access");
    let record = record.expect("a record");
    assert_eq!(record["level"], "warn");
    let names = |which: &str| -> Vec<String> {
        let headers = record["request"][which].as_object().expect("an object");
        headers.keys().map(|name| name.to_ascii_lowercase()).collect()
    };
    assert!(names("request_headers").contains(&"x-one".to_owned()), "{record}");
    assert!(!names("request_headers").contains(&"x-two".to_owned()), "{record}");
    assert_eq!(names("response_headers"), ["content-type"]);
}

#[test]
fn timeouts_and_sizes() {
    let service = Service::start();
    let mut server = server("timeouts.yaml", &[], &[]);
    let _agent = Agent::http(&server.connect_url(), "e", &service.addr().to_string(), &[]);
    let to_e = ("x-piko-endpoint", "e");
    let get = |target: &str, fields: &[(&str, &str)]| {
        Client::connect(server.proxy).expect("the proxy port").get(target, fields).expect("an answer")
    };
    assert_eq!(get("/hello", &[to_e]).status(), 200);
    assert_eq!(get("/slow?head_ms=3000", &[to_e]).status(), 504);
    let long = "x".repeat(20 * 1024);
    assert_eq!(get("/hello", &[to_e, ("x-long", &long)]).status(), 431);
    assert!(server.terminate(SOON).expect("ends within its grace period").success());
}

#[test]
fn a_quiet_log() {
    // It does not say where it listens, so it is told.
    let admin = unused_addr().to_string();
    let words = [&[PORTS[0], PORTS[1], PORTS[3], "--admin.bind-addr"][..], &[admin.as_str()]].concat();
    let mut process = launch("piko-server", &words, "quiet.yaml", &[]);
    let until = Instant::now() + SOON;
    while Client::connect(admin.parse().expect("an address")).is_err() {
        assert!(Instant::now() < until, "{}", process.tail());
        // No event tells of a port that nobody is told of.
        std::thread::sleep(Duration::from_millis(10));
    }
    process.signal(Signal::Int).expect("sent");
    process.signal(Signal::Int).expect("sent");
    process.wait_exit(SOON).expect("the end");
    assert_eq!(process.lines(0).len(), 0, "{}", process.tail());
    // A flag beats the file, and a variable does.
    for (words, env) in [(&["--log.level=info"][..], &[][..]), (&[], &[("PIKO_LOG_LEVEL", "info")])] {
        let process = launch("piko-server", &[PORTS, words].concat(), "quiet.yaml", env);
        process.wait_record(0, SOON, "starting proxy server").expect("the port is open");
    }
}

#[test]
fn a_cluster_with_a_secret_in_a_file() {
    let folder = Folder::new();
    let secret = folder.write("secret", "a secret of some length\n");
    let wrong = folder.write("wrong", "another secret of some length\n");
    let seed = server("quiet.yaml", &["--log.level=info", "--cluster.secret-file", &secret], &[]);
    let addr = seed.gossip().to_string();
    let start = |node: &str, secret: &str| {
        let env = [("NODE", node), ("SEED", &addr), ("SECRET_FILE", secret)];
        server("cluster.yaml", &["--cluster.join-timeout=1s", "--cluster.abort-if-join-fails=false"], &env)
    };
    let member = start("member", &secret);
    assert_eq!(node_id(&member), "member");
    let nodes = |server: &piko_tests::process::Server| -> usize {
        let mut admin = Client::connect(server.admin).expect("the admin port");
        let text = admin.get("/status/cluster/nodes", &[]).expect("an answer").body.text();
        serde_json::from_str::<Value>(&text).expect("JSON").as_array().expect("a list").len()
    };
    let until = Instant::now() + SOON;
    while nodes(&member) != 2 {
        assert!(Instant::now() < until, "{}", member.process.tail());
        // The news comes with a datagram, of which no record tells.
        std::thread::sleep(Duration::from_millis(5));
    }
    let stranger = start("stranger", &wrong);
    assert_eq!(nodes(&stranger), 1);
}

/// Whoever has configured who may come in must not get a server that lets everybody in.
#[test]
fn files_with_authentication_or_tenants_do_not_start() {
    for (file, key) in [("auth.yaml", "upstream.auth."), ("tenants.yaml", "upstream.tenants")] {
        let mut process = launch("piko-server", PORTS, file, &[("HMAC_SECRET_KEY", "hunter2")]);
        process.wait_line(0, SOON, |_| true).expect("a line");
        assert_eq!(process.wait_exit(SOON).expect("the end").code(), Some(1), "{file}");
        let lines = process.lines(0);
        assert_eq!(lines.len(), 1, "{file}: {}", process.tail());
        let line = &lines[0].text;
        assert!(
            line.starts_with("config: authentication is not") || line.starts_with("config: tenants are not")
        );
        assert!(line.contains(&format!(" [{}: {key}", fixture(file))), "{line}");
        assert!(line.contains("not supported yet") && !line.contains("hunter2"), "{line}");
    }
}

/// An authentication that came out empty is a mistake; one that is written out as empty is what Go takes it for: none.
#[test]
fn an_authentication_that_is_empty_does_not_start() {
    let folder = Folder::new();
    let server = |text: &str, more: &[&str], env: &[(&str, &str)]| {
        let path = folder.write("server.yaml", text);
        let words = [PORTS, &["--config.path", &path, "--config.expand-env"], more].concat();
        let mut command = std::process::Command::new(piko_tests::process::binary("piko-server"));
        command.args(words).envs(env.iter().copied());
        piko_tests::process::Process::spawn("piko-server", &mut command).expect("starts")
    };
    let key = "upstream: {auth: {hmac_secret_key: \"${HKEY}\"}}\n";
    let refused = |mut process: piko_tests::process::Process, code, told: &str| {
        assert_eq!(process.wait_exit(SOON).expect("the end").code(), Some(code), "{}", process.tail());
        process.wait_line(0, SOON, |line| line.text.contains(told)).expect(told);
    };
    for env in [&[][..], &[("HKEY", "")]] {
        refused(
            server(key, &[], env),
            1,
            ":1: upstream.auth.hmac_secret_key: the variable HKEY is unset or empty",
        );
    }
    refused(server("upstream: {tenants: [${NO}]}\n", &[], &[]), 1, ":1: upstream.tenants: the variable NO ");
    for flag in
        ["upstream.auth.hmac-secret-key", "proxy.auth.jwks.endpoint", "admin.auth.hmac-secret-key-file"]
    {
        refused(
            server("{}\n", &[&format!("--{flag}=")], &[]),
            2,
            &format!("--{flag}: an empty value protects nothing"),
        );
    }
    let text = "upstream: {auth: {hmac_secret_key: \"\"}, tenants: []}\nproxy: {auth: {rsa_public_key: }}\n";
    let open = server(text, &[], &[("PIKO_ADMIN_AUTH_HMAC_SECRET_KEY", "")]);
    let (_, record) = open.wait_record(0, SOON, "authentication").expect("says who is let in");
    for port in ["proxy", "upstream", "admin", "gossip"] {
        assert_eq!(record[port], "none", "{record}");
    }
}
