//! The agent: to the server, and to a service.

use std::process::Command;

use piko_tests::flags::{WAYS, Way, agent};
use piko_tests::http::Client;
use piko_tests::process::{Agent, Process, Server, binary};
use piko_tests::service::Service;

use crate::{NONE_SHOWN, SOON, STRANGE, Setup, TO_E};

fn url(server: &Server) -> String {
    format!("wss://localhost:{}", server.upstream.port())
}

/// The agent's own words about why it has no tunnel.
pub(crate) fn failure(agent: &Agent) -> String {
    let line = agent.process.wait_line(0, SOON, |line| {
        line.json().is_some_and(|v| v["msg"].as_str().is_some_and(|m| m.starts_with("connect failed")))
    });
    line.expect("a failed attempt").json().expect("a record")["error"].as_str().expect("a reason").to_owned()
}

/// `connect.tls.root-cas`, `connect.tls.insecure-skip-verify`.
#[test]
fn the_server_must_be_who_it_says() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["upstream"], &[]);
    let addr = "127.0.0.1:9";
    for way in WAYS {
        let good = agent(way, &url(&server), "e", addr, &[("connect.tls.root-cas", &setup.ca)]);
        good.wait_connected(0, SOON).expect("the tunnel");
        let careless = agent(way, &url(&server), "f", addr, &[("connect.tls.insecure-skip-verify", "true")]);
        careless.wait_connected(0, SOON).expect("the tunnel");
        let warned = careless.process.wait_line(0, SOON, |line| line.text.contains("insecure-skip-verify"));
        assert!(warned.expect("a warning").text.contains("\"warn\""));
        let other = setup.folder.put("other.pem", &piko_tests::certs::Authority::new("others").pem());
        let wrong = agent(way, &url(&server), "g", addr, &[("connect.tls.root-cas", &other)]);
        let why = failure(&wrong);
        assert!(why.contains("UnknownIssuer"), "{why}");
    }
    // The right authority and a name that is not in the certificate.
    let by_address = format!("https://[::1]:{}", server.upstream.port()).replace("[::1]", "127.0.0.2");
    let wrong = agent(Way::Flag, &by_address, "h", addr, &[("connect.tls.root-cas", &setup.ca)]);
    let why = failure(&wrong);
    assert!(why.contains("not valid for") || why.contains("refused"), "{why}");
}

#[test]
fn an_expired_server_is_not_believed() {
    let setup = Setup::new();
    let expired = setup.authority.issue_expired(&["localhost"]);
    let [cert, key] = expired.write(&setup.folder, "expired");
    let settings = [("upstream.tls.cert", cert.as_str()), ("upstream.tls.key", &key)];
    let server = piko_tests::flags::server(Way::Flag, &settings);
    let agent = agent(Way::Flag, &url(&server), "e", "127.0.0.1:9", &[("connect.tls.root-cas", &setup.ca)]);
    let why = failure(&agent);
    assert!(why.contains("expired"), "{why}");
}

/// `connect.tls.cert`, `connect.tls.key`.
#[test]
fn the_agent_shows_its_certificate() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["upstream"], &[("upstream.tls.client-cas", &setup.ca)]);
    let [cert, key] = setup.authority.issue(&["agent"]).write(&setup.folder, "agent");
    let roots = ("connect.tls.root-cas", setup.ca.as_str());
    for way in WAYS {
        let with = [roots, ("connect.tls.cert", &cert), ("connect.tls.key", &key)];
        agent(way, &url(&server), "e", "127.0.0.1:9", &with).wait_connected(0, SOON).expect("the tunnel");
    }
    let why = failure(&agent(Way::Flag, &url(&server), "e", "127.0.0.1:9", &[roots]));
    assert_eq!(why, NONE_SHOWN);
    let strangers = piko_tests::certs::Authority::new("strangers").issue(&["agent"]);
    let [cert, key] = strangers.write(&setup.folder, "stranger");
    let with = [roots, ("connect.tls.cert", cert.as_str()), ("connect.tls.key", &key)];
    assert_eq!(failure(&agent(Way::Flag, &url(&server), "e", "127.0.0.1:9", &with)), STRANGE);
}

/// What looks like TLS from one side only.
#[test]
fn a_server_without_tls_is_told() {
    let server = Server::start(&[]);
    let setup = Setup::new();
    let roots = [("connect.tls.root-cas", setup.ca.as_str())];
    let why = failure(&agent(Way::Flag, &url(&server), "e", "127.0.0.1:9", &roots));
    assert_eq!(why, "tls: the server does not speak TLS on this port");
}

/// The server's own sentence is the reason, not that there was no handshake.
#[test]
fn a_plain_url_to_a_port_with_tls_is_told() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["upstream"], &[]);
    let mut agent = agent(Way::Flag, &server.connect_url(), "e", "127.0.0.1:9", &[]);
    assert_eq!(agent.process.wait_exit(SOON).expect("no wait cures that").code(), Some(1));
    let told = "400: Client sent an HTTP request to an HTTPS server.";
    agent.process.wait_line(0, SOON, |line| line.text.contains(told)).expect(told);
}

/// Trust without a flag: `SSL_CERT_FILE`, and a clear word where the machine has nothing.
#[test]
fn authorities_of_the_machine_are_found_where_the_environment_says() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["upstream"], &[]);
    let launch = |env: &[(&str, &str)]| {
        Agent::launch_with(binary("piko-agent"), "http", &url(&server), "e", "127.0.0.1:9", &[], env)
    };
    launch(&[("SSL_CERT_FILE", &setup.ca)]).wait_connected(0, SOON).expect("the tunnel");
    // A folder of its own: other files in it are passed over.
    let folder = setup.folder.path().join("authorities");
    std::fs::create_dir(&folder).expect("a place");
    std::fs::write(folder.join("ca.pem"), setup.authority.pem()).expect("a place");
    std::fs::write(folder.join("README"), "no certificate").expect("a place");
    let folder = folder.to_str().expect("text");
    launch(&[("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_DIR", folder)])
        .wait_connected(0, SOON)
        .expect("the tunnel");
    // A variable that leads nowhere is told, as others may be trusted then than those who set it meant.
    let empty = setup.folder.put("empty.pem", "no certificate");
    for (file, why) in [("/nowhere", "open /nowhere: "), (&empty, "empty.pem: no certificate in it")] {
        let agent = launch(&[("SSL_CERT_FILE", file), ("SSL_CERT_DIR", folder)]);
        let told = "a variable that names no authorities";
        let (_, record) = agent.process.wait_record(0, SOON, told).expect("a warning");
        assert_eq!((&record["level"], &record["variable"]), (&"warn".into(), &"SSL_CERT_FILE".into()));
        assert!(record["error"].as_str().is_some_and(|error| error.contains(why)), "{record}");
        assert_eq!(record["trusted"], folder, "{record}");
    }
    let mut bare = launch(&[("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_DIR", "/nowhere")]);
    let status = bare.process.wait_exit(SOON).expect("nothing to try");
    assert_eq!(status.code(), Some(1));
    let told = "connect: tls: no trusted authorities";
    let line = bare.process.wait_line(0, SOON, |line| line.text.contains(told)).expect("a reason");
    assert!(line.text.contains("set SSL_CERT_FILE"), "{}", line.text);
}

#[test]
fn files_that_cannot_be_used_end_the_agent_at_once() {
    let setup = Setup::new();
    let broken =
        setup.folder.put("broken.pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    for (settings, words) in [
        ([("connect.tls.root-cas", "/nowhere.pem")], "connect: tls: open root cas: open /nowhere.pem"),
        ([("connect.tls.root-cas", broken.as_str())], "connect: tls: open root cas"),
    ] {
        let mut agent = agent(Way::Flag, "https://localhost:1", "e", "127.0.0.1:9", &settings);
        assert_eq!(agent.process.wait_exit(SOON).expect("nothing to try").code(), Some(1));
        agent.process.wait_line(0, SOON, |line| line.text.contains(words)).expect(words);
    }
}

/// A service that speaks TLS: a Piko admin port is one that is at hand.
/// `tls.root-cas`, `tls.insecure-skip-verify`, `tls.cert`, `tls.key`.
#[test]
fn an_https_service_is_reached_and_verified() {
    let setup = Setup::new();
    let service = setup.server(Way::Flag, &["admin"], &[("admin.tls.client-cas", &setup.ca)]);
    let [cert, key] = setup.authority.issue(&["agent"]).write(&setup.folder, "agent");
    let addr = format!("https://localhost:{}", service.admin.port());
    let server = Server::start(&[]);
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    let own = [("tls.cert", cert.as_str()), ("tls.key", &key)];
    let strangers = piko_tests::certs::Authority::new("strangers");
    let [cert, key] = strangers.issue(&["agent"]).write(&setup.folder, "stranger");
    let strange = [("tls.cert", cert.as_str()), ("tls.key", &key)];
    for (endpoint, settings, status) in [
        ("good", vec![("tls.root-cas", setup.ca.as_str()), own[0], own[1]], 200),
        ("careless", vec![("tls.insecure-skip-verify", "true"), own[0], own[1]], 200),
        ("nameless", vec![("tls.root-cas", &setup.ca)], 502),
        ("stranger", vec![("tls.root-cas", &setup.ca), strange[0], strange[1]], 502),
    ] {
        for way in WAYS {
            let agent = agent(way, &server.connect_url(), endpoint, &addr, &settings);
            agent.wait_connected(0, SOON).expect("the tunnel");
            // Twice: the second time over the kept connection, tickets between.
            for _ in 0..2 {
                let answer = client.get("/health", &[("x-piko-endpoint", endpoint)]).expect("an answer");
                assert_eq!(answer.status(), status, "{endpoint}");
                if status == 502 {
                    let error = answer.value("x-piko-error").expect("says why");
                    assert_eq!(error, "hop=agent; cause=tls-failed", "{endpoint}");
                    assert!(answer.body.text().contains("\"cause\":\"tls-failed\""), "{endpoint}");
                }
            }
            // With TLS 1.3 the refusal comes behind a handshake that went well, and is told all the same.
            let told = "the service ended the TLS connection";
            let alert = match endpoint {
                "nameless" => NONE_SHOWN,
                "stranger" => STRANGE,
                _ => continue,
            };
            let (_, record) = agent.process.wait_record(0, SOON, told).expect("a reason");
            assert_eq!(record["error"], alert);
        }
    }
    // Nobody asked for a certificate, but nobody believes ours either: the reason is in the agent's log.
    let other = setup.folder.put("other.pem", &piko_tests::certs::Authority::new("others").pem());
    let wrong = agent(Way::Flag, &server.connect_url(), "wrong", &addr, &[("tls.root-cas", &other)]);
    wrong.wait_connected(0, SOON).expect("the tunnel");
    assert_eq!(client.get("/health", &[("x-piko-endpoint", "wrong")]).expect("an answer").status(), 502);
    let line = wrong.process.wait_record(0, SOON, "failed to dial service").expect("a line").1;
    assert!(line["error"].as_str().expect("a reason").contains("UnknownIssuer"), "{line}");
    assert_eq!((&line["endpoint-id"], &line["cause"]), (&"wrong".into(), &"tls-failed".into()), "{line}");
}

/// The agent of the other runtime and the other cryptography.
#[test]
fn piko_agent_speaks_tls_too() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["upstream"], &[]);
    let service = Service::start();
    let mut command = Command::new(binary("piko"));
    command.args(["agent", "http", "e", &service.addr().to_string(), "--connect.url", &url(&server)]);
    command.args(["--connect.tls.root-cas", &setup.ca]);
    let process = Process::spawn("piko", &mut command).expect("piko starts");
    let agent = Agent { process, endpoint: "e".to_owned() };
    agent.wait_connected(0, SOON).expect("the tunnel");
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    assert_eq!(client.get("/bytes?n=1000000", &TO_E).expect("an answer").status(), 200);
}

/// A server that takes no agent (503, so that it tries again), and says of each connection whether it resumed a session.
fn unwilling(pair: &piko_tests::certs::Pair) -> (u16, std::sync::mpsc::Receiver<bool>) {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use std::io::{Read, Write};
    let chain = vec![CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions of the provider")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    let config = std::sync::Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let (tell, told) = std::sync::mpsc::channel();
    // Ends with the process: nothing waits for it.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let session = rustls::ServerConnection::new(config.clone()).expect("a session");
            let mut stream = rustls::StreamOwned::new(session, stream.expect("a connection"));
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a head");
                head.push(byte[0]);
            }
            let resumed = stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).and_then(|()| stream.flush()).expect("the agent reads");
            if tell.send(resumed).is_err() {
                return;
            }
        }
    });
    (port, told)
}

/// The second connection of an agent costs its server no signature, with either cryptography.
#[test]
fn agents_resume_their_sessions() {
    let setup = Setup::new();
    for (program, words) in [("piko-agent", &["http"][..]), ("piko", &["agent", "http"])] {
        let (port, told) = unwilling(&setup.pair);
        let mut command = Command::new(binary(program));
        command.args(words).args(["e", "127.0.0.1:9", "--connect.url", &format!("https://localhost:{port}")]);
        command.args(["--connect.tls.root-cas", &setup.ca]);
        let _agent = Process::spawn(program, &mut command).expect("starts");
        let resumed: Vec<bool> = (0..2).map(|_| told.recv_timeout(SOON).expect("a connection")).collect();
        assert_eq!(resumed, [false, true], "{program}");
    }
}

/// `tunnel_tls` of a listener: in place of all of `connect.tls`, and for that listener alone.
#[test]
fn each_listener_of_a_file_has_its_own() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["upstream"], &[("upstream.tls.client-cas", &setup.ca)]);
    let [cert, key] = setup.authority.issue(&["agent"]).write(&setup.folder, "agent");
    let other = setup.folder.put("other.pem", &piko_tests::certs::Authority::new("others").pem());
    let (url, ca) = (url(&server), &setup.ca);
    let file = setup.folder.put(
        "agent.yaml",
        &format!(
            "connect: {{url: \"{url}\", tls: {{root_cas: {other}, cert: {cert}, key: {key}}}}}\n\
             listeners:\n\
             - {{endpoint_id: shared, addr: \"9\"}}\n\
             - {{endpoint_id: own, addr: \"9\", protocol: tcp, tunnel_tls: {{root_cas: {ca}, cert: {cert}, key: {key}}}}}\n\
             - {{endpoint_id: bare, addr: \"9\", tunnel_tls: {{root_cas: {ca}}}}}\n"
        ),
    );
    for (program, words) in [("piko", &["agent", "start"][..]), ("piko-agent", &["start"])] {
        let mut command = Command::new(binary(program));
        let process =
            Process::spawn(program, command.args(words).args(["--config.path", &file])).expect("starts");
        // The record of an endpoint, and why there is no tunnel.
        let record = |endpoint: &str, begin: &str| {
            let line = process.wait_line(0, SOON, |line| {
                line.json().is_some_and(|v| {
                    v["endpoint-id"] == endpoint && v["msg"].as_str().is_some_and(|m| m.starts_with(begin))
                })
            });
            let record = line.unwrap_or_else(|error| panic!("{program}: {endpoint}: {error}")).json();
            record.and_then(|v| v["error"].as_str().map(str::to_owned)).unwrap_or_default()
        };
        record("own", "tunnel connected");
        let why = record("shared", "connect failed");
        assert!(why.contains("UnknownIssuer"), "{program}: {why}");
        let why = record("bare", "connect failed");
        assert_eq!(why, NONE_SHOWN, "{program}");
    }
}
