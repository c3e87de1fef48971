//! Certificates that are their own authority, as plain `openssl req -x509` makes them (CA:TRUE).

use crate::agent::failure;
use crate::{SOON, Setup};
use piko_tests::certs::{Folder, Pair};
use piko_tests::flags::{Way, agent, server};
use piko_tests::http::Client;
use piko_tests::process::{Agent, Server, binary};

const NOWHERE: &str = "127.0.0.1:9";

/// A server whose upstream port shows this certificate, and the URL of that port under `host`.
fn showing(pair: &Pair, folder: &Folder, name: &str) -> (Server, String, String) {
    let [cert, key] = pair.write(folder, name);
    let server = server(Way::Flag, &[("upstream.tls.cert", &cert), ("upstream.tls.key", &key)]);
    let url = format!("https://localhost:{}", server.upstream.port());
    (server, url, cert)
}

#[test]
fn a_server_may_be_its_own_root() {
    let folder = Folder::new("itself");
    let (server, url, cert) = showing(&Pair::of_itself(&["localhost"]), &folder, "itself");
    let trusting =
        |url: &str, endpoint| agent(Way::Flag, url, endpoint, NOWHERE, &[("connect.tls.root-cas", &cert)]);
    trusting(&url, "e").wait_connected(0, SOON).expect("the tunnel");
    // As an authority of the machine.
    let env = [("SSL_CERT_FILE", cert.as_str())];
    let of_machine = Agent::launch_with(binary("piko-agent"), "http", &url, "f", NOWHERE, &[], &env);
    of_machine.wait_connected(0, SOON).expect("the tunnel");
    // Its name is looked at all the same.
    let why = failure(&trusting(&format!("https://127.0.0.1:{}", server.upstream.port()), "g"));
    assert!(why.contains("not valid for"), "{why}");
}

#[test]
fn one_that_has_expired_is_not_believed() {
    let folder = Folder::new("itself");
    let (_server, url, cert) = showing(&Pair::of_itself_expired(&["localhost"]), &folder, "itself");
    let why = failure(&agent(Way::Flag, &url, "e", NOWHERE, &[("connect.tls.root-cas", &cert)]));
    assert!(why.contains("expired"), "{why}");
}

/// Only a root stands for itself: neither another of the same making, nor an authority below a root.
#[test]
fn other_authorities_are_no_servers() {
    let setup = Setup::new();
    let other = setup.folder.put("other.pem", &Pair::of_itself(&["localhost"]).cert);
    let (_one, url, _) = showing(&Pair::of_itself(&["localhost"]), &setup.folder, "itself");
    let (_two, below, _) = showing(&setup.authority.issue_authority(&["localhost"]), &setup.folder, "below");
    for (url, roots) in [(&url, &other), (&below, &setup.ca)] {
        let why = failure(&agent(Way::Flag, url, "e", NOWHERE, &[("connect.tls.root-cas", roots)]));
        assert!(why.contains("CA:TRUE") && why.contains("none of the roots"), "{why}");
    }
}

#[test]
fn a_client_may_be_its_own_root() {
    let setup = Setup::new();
    let [cert, key] = Pair::of_itself(&["agent"]).write(&setup.folder, "itself");
    let server = setup.server(Way::Flag, &["upstream"], &[("upstream.tls.client-cas", &cert)]);
    let url = format!("https://localhost:{}", server.upstream.port());
    let showing = |cert: &str, key: &str| {
        let settings = [
            ("connect.tls.root-cas", setup.ca.as_str()),
            ("connect.tls.cert", cert),
            ("connect.tls.key", key),
        ];
        agent(Way::Flag, &url, "e", NOWHERE, &settings)
    };
    showing(&cert, &key).wait_connected(0, SOON).expect("the tunnel");
    let [cert, key] = Pair::of_itself(&["agent"]).write(&setup.folder, "other");
    let why = failure(&showing(&cert, &key));
    assert!(why.contains("certificate unknown"), "{why}");
    // One that has expired, and is a root.
    let [cert, key] = Pair::of_itself_expired(&["agent"]).write(&setup.folder, "expired");
    let strict = setup.server(Way::Flag, &["upstream"], &[("upstream.tls.client-cas", &cert)]);
    let url = format!("https://localhost:{}", strict.upstream.port());
    let settings =
        [("connect.tls.root-cas", setup.ca.as_str()), ("connect.tls.cert", &cert), ("connect.tls.key", &key)];
    let why = failure(&agent(Way::Flag, &url, "e", NOWHERE, &settings));
    assert!(why.contains("certificate expired"), "{why}");
}

#[test]
fn a_service_may_be_its_own_root() {
    let folder = Folder::new("itself");
    let [cert, key] = Pair::of_itself(&["localhost"]).write(&folder, "itself");
    // An admin port is a service with TLS that is at hand.
    let service = server(Way::Flag, &[("admin.tls.cert", &cert), ("admin.tls.key", &key)]);
    let addr = format!("https://localhost:{}", service.admin.port());
    let server = Server::start(&[]);
    let agent = agent(Way::Flag, &server.connect_url(), "e", &addr, &[("tls.root-cas", &cert)]);
    agent.wait_connected(0, SOON).expect("the tunnel");
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    assert_eq!(client.get("/health", &crate::TO_E).expect("an answer").status(), 200);
}
