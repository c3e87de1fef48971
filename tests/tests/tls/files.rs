//! Configuration files with TLS, as operators have them.

use std::process::Command;

use piko_tests::process::{Process, Server, binary};

use crate::{SOON, Setup, TO_E, wait_for};

fn fixture(name: &str) -> String {
    format!("{}/fixtures/config/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Two nodes with TLS everywhere and an agent with a certificate, all out of files, in front of a service with TLS (which
/// is the admin port of a node).
#[test]
fn a_cluster_with_tls_everywhere() {
    let mut setup = Setup::new();
    setup.pair = setup.authority.issue(&["localhost", "127.0.0.1"]);
    let place = setup.folder.path().to_str().expect("is text").to_owned();
    setup.folder.put("tls.crt", &setup.pair.cert);
    setup.folder.put("tls.key", &setup.pair.key);
    setup.folder.put("ca.crt", &setup.authority.pem());
    setup.folder.put("cluster-secret", "a secret of the cluster\n");
    let path = fixture("tls.yaml");
    let args = ["--config.path", path.as_str(), "--config.expand-env"];
    let one = Server::start_with(binary("piko-server"), &args, &[("CERTS", &place)]);
    let seed = one.gossip().to_string();
    let two = Server::start_with(binary("piko-server"), &args, &[("CERTS", &place), ("SEED", &seed)]);

    let service = format!("https://localhost:{}", two.admin.port());
    let url = format!("https://localhost:{}", one.upstream.port());
    let mut command = Command::new(binary("piko-agent"));
    command.args(["start", "--config.path", &fixture("agent-tls.yaml"), "--config.expand-env"]);
    command.envs([("CERTS", &place), ("ONE", &service), ("SERVER_URL", &url)]);
    let agent = Process::spawn("piko-agent", &mut command).expect("starts");
    agent.wait_record(0, SOON, "tunnel connected").expect("the tunnel");

    // At the node of the agent, and through the other one.
    for node in [&one, &two] {
        let mut client = setup.client(node.proxy);
        wait_for("an answer", || client.get("/health", &TO_E).expect("an answer").0 == 200);
    }
    // An agent without a certificate is nobody.
    let args = ["e", "1", "--connect.url", &url, "--connect.tls.root-cas", &setup.ca];
    let mut command = Command::new(binary("piko-agent"));
    let stranger = Process::spawn("piko-agent", command.arg("http").args(args)).expect("starts");
    let (_, record) = stranger.wait_record(0, SOON, "connect failed; retrying").expect("is told");
    assert_eq!(record["error"], crate::NONE_SHOWN);
    // Its command for operators, with the node named as the other one.
    let url = format!("https://localhost:{}", two.admin.port());
    let mut command = Command::new(binary("piko"));
    command.args(["server", "status", "cluster", "nodes", "--server.url", &url]);
    let output = command.args(["--server.tls.root-cas", &setup.ca]).output().expect("piko starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.matches("status: active").count() == 2, "{output:?}");
}
