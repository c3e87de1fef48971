//! No secret is in any log, however much is logged.

use std::process::Command;

use piko_tests::certs::{Authority, Folder as Certs};
use piko_tests::http::Client;
use piko_tests::process::{Process, binary};
use piko_tests::service::Service;

use crate::{Folder, SOON};

/// Every subsystem that there is: each writes all that it has to say.
const SUBSYSTEMS: &str = "access, admin, agent, client, cluster, config, core, driver, forwarder, gossip, main, proxy, \
    proxy.access, proxy.http, proxy.tcp, proxy.tcp.access, runtime_smol, runtime_tokio, server, upstream";

/// What must not be seen. Each stands in one place only, so that what leaks is known by its name.
const SECRETS: [&str; 7] = [
    "s3cret-of-the-cluster",
    "s3cret-of-the-agent",
    "s3cret-of-the-listener",
    "s3cret-of-the-service",
    "s3cret-of-the-forwarder",
    "s3cret-of-the-client",
    "s3cret-of-a-mistake",
];

fn start(program: &str, words: &[&str]) -> Process {
    let mut command = Command::new(binary(program));
    Process::spawn(program, command.args(words)).expect("starts")
}

/// Two nodes with TLS, an agent, a forwarder, a request and a connection, at level debug with every subsystem on, each
/// with all the secrets that it can be given; then a new configuration with a mistake, and the end.
#[test]
fn no_secret_is_logged() {
    let (folder, certs, authority) = (Folder::new(), Certs::new("secrets"), Authority::new("secrets"));
    let pair = authority.issue(&["localhost", "127.0.0.1"]);
    let [cert, key] = pair.write(&certs, "all");
    let ca = certs.put("ca.pem", &authority.pem());
    let service = Service::start();
    let log = format!("log: {{level: debug, subsystems: [{SUBSYSTEMS}]}}\n");

    let node = |name: &str, join: &str| {
        let tls = format!(
            "tls: {{cert: {cert}, key: {key}, client_cas: {ca}, client: {{cert: {cert}, key: {key}, root_cas: {ca}}}}}"
        );
        let secret = SECRETS[0];
        let text = format!(
            "{log}cluster: {{secret: {secret}, join: [{join}], gossip: {{bind_addr: '127.0.0.1:0'}}}}\n\
             proxy: {{bind_addr: '127.0.0.1:0', {tls}}}\n\
             upstream: {{bind_addr: '127.0.0.1:0', tls: {{cert: {cert}, key: {key}}}}}\n\
             admin: {{bind_addr: '127.0.0.1:0'}}\ndrain_delay: 0s\n"
        );
        let path = folder.write(&format!("{name}.yaml"), &text);
        (start("piko-server", &["--config.path", &path]), text)
    };
    let addr = |process: &Process, what: &str, field: &str| {
        let (_, record) = process.wait_record(0, SOON, what).expect(what);
        record[field].as_str().expect("an address").to_owned()
    };
    let (mut one, text) = node("one", "");
    let (mut two, _) = node("two", &format!("'{}'", addr(&one, "starting gossip", "bind-addr")));
    let upstream = addr(&one, "starting upstream server", "addr");
    let port = upstream.rsplit_once(':').expect("a port").1;

    let agent_text = format!(
        "{log}connect: {{url: 'https://localhost:{port}', token: {}, tls: {{root_cas: {ca}}}}}\nlisteners:\n\
         - {{endpoint_id: e, addr: 'http://user:{}@{}', token: {}}}\n\
         - {{endpoint_id: t, addr: '{}', protocol: tcp}}\n",
        SECRETS[1],
        SECRETS[3],
        service.addr(),
        SECRETS[2],
        service.addr()
    );
    let path = folder.write("agent.yaml", &agent_text);
    let mut agents: Vec<Process> = [("piko-agent", &["start"][..]), ("piko", &["agent", "start"])]
        .into_iter()
        .map(|(program, words)| start(program, &[words, &["--config.path", &path]].concat()))
        .collect();
    for agent in &agents {
        agent.wait_record(0, SOON, "tunnel connected").expect("the tunnel");
    }

    // Through the other node, which forwards it.
    let proxy = addr(&two, "starting proxy server", "addr");
    let forward_text = format!(
        "{log}connect: {{url: 'https://localhost:{}', token: {}, tls: {{root_cas: {ca}, cert: {cert}, key: {key}}}}}\n\
         ports: [{{addr: '127.0.0.1:0', endpoint_id: t}}]\n",
        proxy.rsplit_once(':').expect("a port").1,
        SECRETS[4]
    );
    let path = folder.write("forward.yaml", &forward_text);
    let mut forwarder = start("piko", &["forward", "start", "--config.path", &path]);
    let open = addr(&forwarder, "starting forwarder", "addr");
    let answer = |client: &mut Client| {
        let token = format!("Bearer {}", SECRETS[5]);
        client.get(
            "/hello",
            &[("x-piko-authorization", &token), ("authorization", &token), ("cookie", SECRETS[5])],
        )
    };
    let mut client = Client::connect(open.parse().expect("an address")).expect("the forwarder");
    assert_eq!(answer(&mut client).expect("an answer").status(), 200);

    // A mistake beside each of them.
    for (name, text, process) in [
        ("one.yaml", text, &one),
        ("agent.yaml", agent_text, &agents[0]),
        ("agent.yaml", String::new(), &agents[1]),
    ] {
        if !text.is_empty() {
            folder.write(name, &format!("{text}bogus: {}\n", SECRETS[6]));
        }
        process.wait_record(0, SOON, "what is new was refused; the old stays").expect("a refusal");
    }

    // A connection that is open keeps a server for its grace period.
    drop(client);
    let mut all = vec![&mut forwarder];
    all.extend(agents.iter_mut());
    all.extend([&mut two, &mut one]);
    let mut talkative = 0;
    for process in all {
        process.signal(piko_tests::process::Signal::Term).expect("runs");
        process.wait_exit(SOON).expect("ends");
        let lines = process.lines(0);
        let has = |what: &str| lines.iter().any(|line| line.text.contains(what));
        talkative += usize::from(has("\"level\":\"debug\""));
        for secret in SECRETS {
            let leak = lines.iter().find(|line| line.text.contains(secret));
            assert!(leak.is_none(), "{}: {secret}: {leak:?}", process.name());
        }
        // Nor the keys of certificates, line by line.
        for line in pair.key.lines().filter(|line| !line.starts_with("-----") && line.len() > 16) {
            assert!(!has(line), "{}: a private key", process.name());
        }
    }
    // All but the forwarder, which has nothing to say at that level.
    assert_eq!(talkative, 4);
}
