//! The ports of a server: which certificate, which version, which protocol, for whom.

use piko_tests::flags::{WAYS, Way, run};
use piko_tests::process::{Agent, Server, binary};
use piko_tests::service::Service;
use piko_tests::tls::{TlsClient, Trust};
use rustls::ProtocolVersion;

use crate::{NONE_SHOWN, SOON, Setup, TO_E};

/// `*.tls.cert`, `*.tls.key`: each port speaks TLS when it has them, and the others do not.
#[test]
fn each_port_speaks_tls_with_its_own_certificate() {
    for way in WAYS {
        let setup = Setup::new();
        let server = setup.server(way, &["proxy", "upstream", "admin"], &[]);
        for addr in [server.proxy, server.upstream, server.admin] {
            let client = setup.client(addr);
            assert_eq!(client.shown(), setup.pair.der);
            assert_eq!(client.version(), Some(ProtocolVersion::TLSv1_3));
        }
        let (status, _) = setup.client(server.admin).get("/health", &[]).expect("an answer");
        assert_eq!(status, 200);
    }
}

/// Requests come through TLS on both sides, and the service is told.
#[test]
fn requests_pass_through_tls_at_both_ends() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["proxy", "upstream"], &[]);
    let service = Service::start();
    let url = format!("https://localhost:{}", server.upstream.port());
    let args = ["--connect.tls.root-cas", &setup.ca];
    let _agent = Agent::http(&url, "e", &service.addr().to_string(), &args);
    let mut client = setup.client(server.proxy);
    for n in [0, 1, 17_000, 3_000_000] {
        let (status, body) = client.get(&format!("/bytes?n={n}"), &TO_E).expect("an answer");
        assert_eq!((status, body.len()), (200, n));
    }
    let (_, head) = client.get("/headers", &TO_E).expect("an answer");
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    assert!(head.contains("x-forwarded-proto: https\r\n"), "{head}");
}

/// `*.tls.sni-certs`: the certificate with the name that is asked for, wildcards too, else the first.
#[test]
fn several_certificates_are_told_apart_by_name() {
    let setup = Setup::new();
    let (one, wild) = (setup.authority.issue(&["one.example"]), setup.authority.issue(&["*.wild.example"]));
    let [one_cert, one_key] = one.write(&setup.folder, "one");
    // One file with both.
    let wild_file = setup.folder.put("wild", &format!("{}{}", wild.cert, wild.key));
    for port in ["proxy", "upstream", "admin"] {
        let (name, list) = (format!("{port}.tls.sni-certs"), format!("{one_cert}:{one_key},{wild_file}"));
        let server = setup.server(Way::Flag, &[port], &[(&name, &list)]);
        let addr = match port {
            "proxy" => server.proxy,
            "upstream" => server.upstream,
            _ => server.admin,
        };
        let shown = |name: &str| TlsClient::connect(addr, name, &setup.trust()).map(|client| client.shown());
        assert_eq!(shown("one.example").expect("one"), one.der);
        assert_eq!(shown("a.wild.example").expect("wild"), wild.der);
        assert_eq!(shown("localhost").expect("the first"), setup.pair.der);
        // Without a name, as by address; and a wildcard is for one label.
        assert_eq!(shown("127.0.0.1").expect("the first"), setup.pair.der);
        assert!(shown("a.b.wild.example").is_err());
    }
}

/// `*.tls.client-cas`: nobody comes in without a certificate of these authorities.
#[test]
fn clients_must_show_a_certificate_where_authorities_are_given() {
    let setup = Setup::new();
    let stranger = piko_tests::certs::Authority::new("strangers").issue(&["client"]);
    let known = setup.authority.issue(&["client"]);
    for port in ["proxy", "upstream", "admin"] {
        let name = format!("{port}.tls.client-cas");
        let server = setup.server(Way::Env, &[port], &[(&name, &setup.ca)]);
        let addr = match port {
            "proxy" => server.proxy,
            "upstream" => server.upstream,
            _ => server.admin,
        };
        let ask = |own| {
            let trust = Trust::new(&setup.authority, own, &[]);
            TlsClient::connect(addr, "localhost", &trust).and_then(|mut client| client.get("/", &[]))
        };
        assert!(ask(Some(&known)).is_ok());
        let error = ask(None).expect_err("no certificate").to_string();
        assert!(error.contains("CertificateRequired"), "{error}");
        let error = ask(Some(&stranger)).expect_err("another authority").to_string();
        assert!(error.contains("alert"), "{error}");
    }
}

/// `*.tls.min-version`.
#[test]
fn the_oldest_version_is_the_one_that_was_set() {
    let setup = Setup::new();
    let Some(openssl) = piko_tests::process::need("openssl") else { return };
    for port in ["proxy", "upstream", "admin"] {
        for (oldest, welcome) in [("1.2", true), ("1.3", false)] {
            let name = format!("{port}.tls.min-version");
            let server = setup.server(Way::Flag, &[port], &[(&name, oldest)]);
            let addr = match port {
                "proxy" => server.proxy,
                "upstream" => server.upstream,
                _ => server.admin,
            };
            let (good, text) = crate::openssl::handshake(&openssl, addr, &["-tls1_2", "-CAfile", &setup.ca]);
            assert_eq!(good, welcome, "{port}, {oldest}: {text}");
            let (good, text) = crate::openssl::handshake(&openssl, addr, &["-tls1_3", "-CAfile", &setup.ca]);
            assert!(good, "{port}, {oldest}: {text}");
        }
    }
}

/// Only what is served is offered, and a client that offers nothing is served.
#[test]
fn http_1_1_is_what_is_agreed_on() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["proxy"], &[]);
    let agreed = |alpn: &[&str]| {
        let trust = Trust::new(&setup.authority, None, alpn);
        TlsClient::connect(server.proxy, "localhost", &trust).map(|client| client.alpn())
    };
    assert_eq!(agreed(&[]).expect("a handshake"), None);
    assert_eq!(agreed(&["h2", "http/1.1"]).expect("a handshake").as_deref(), Some("http/1.1"));
    let error = agreed(&["h2"]).expect_err("nothing in common").to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

#[test]
fn sessions_are_resumed() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["proxy"], &[]);
    let trust = setup.trust();
    let mut first = TlsClient::connect(server.proxy, "localhost", &trust).expect("a handshake");
    // Tickets come behind the handshake, so something has to be read.
    first.get("/", &TO_E).expect("an answer");
    assert!(!first.was_resumed());
    let second = TlsClient::connect(server.proxy, "localhost", &trust).expect("a handshake");
    assert!(second.was_resumed());
}

/// Half a configuration is a mistake, never a port in plain text.
#[test]
fn what_is_missing_is_named_before_a_port_opens() {
    let setup = Setup::new();
    let cases: [(&[&str], i32, &str); 5] = [
        (
            &["--proxy.tls.client.server-name", "*.x.com"],
            2,
            "config: proxy: tls: client: server name: \"*.x.com\" is no name",
        ),
        (&["--proxy.tls.client-cas", &setup.ca], 2, "config: proxy: tls: missing cert"),
        (&["--proxy.tls.cert", &setup.cert], 2, "config: proxy: tls: missing key"),
        (
            &["--proxy.tls.cert", "/nowhere.pem", "--proxy.tls.key", &setup.key],
            1,
            "proxy tls: load key pair: open /nowhere.pem",
        ),
        (&["--proxy.tls.cert", &setup.cert, "--proxy.tls.key", &setup.cert], 1, "no private key in it"),
    ];
    for (args, code, words) in cases {
        let output = run("piko-server", args, &[]);
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(words), "{args:?}: {text}");
        assert!(!text.contains("starting proxy server"), "{text}");
    }
}

/// The status command: `--server.tls.root-cas`, `--server.tls.insecure-skip-verify`.
#[test]
fn operators_ask_an_admin_port_with_tls() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["admin"], &[]);
    let url = format!("https://localhost:{}", server.admin.port());
    let ask = |more: &[&str]| {
        let mut command = std::process::Command::new(binary("piko"));
        command.args(["server", "status", "upstream", "endpoints", "--server.url", &url]).args(more);
        let output = command.output().expect("piko starts");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (good, text) = ask(&["--server.tls.root-cas", &setup.ca]);
    assert!(good, "{text}");
    let (good, text) = ask(&["--server.tls.insecure-skip-verify"]);
    assert!(good && text.contains("warning"), "{text}");
    let (good, text) = ask(&[]);
    assert!(!good && text.contains("certificate") || text.contains("trusted authorities"), "{text}");
    let (good, text) = ask(&["--server.tls.root-cas", "/nowhere.pem"]);
    assert!(!good && text.contains("open /nowhere.pem"), "{text}");
    // A variable that leads to no authority is told where nothing else says whom to believe.
    let with_variable = |root_cas: &[&str]| {
        let mut command = std::process::Command::new(binary("piko"));
        command.args(["server", "status", "upstream", "endpoints", "--server.url", &url]).args(root_cas);
        let output = command.env("SSL_CERT_FILE", "/nowhere").output().expect("piko starts");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = with_variable(&[]);
    assert!(text.contains("warning: SSL_CERT_FILE names no authorities: open /nowhere: "), "{text}");
    assert_eq!(with_variable(&["--server.tls.root-cas", &setup.ca]), "");
    // Nor is there silence about what does nothing.
    let plain = Server::start(&[]);
    let url = format!("http://{}", plain.admin);
    let mut command = std::process::Command::new(binary("piko"));
    command.args(["server", "status", "upstream", "endpoints", "--server.url", &url]);
    let output = command.args(["--server.tls.root-cas", &setup.ca]).output().expect("piko starts");
    let text = String::from_utf8_lossy(&output.stderr);
    let told = "warning: --server.tls.*: no effect without an https:// URL in --server.url\n";
    assert!(output.status.success() && text == told, "{text}");
}

/// The status command: `--server.tls.cert`, `--server.tls.key`, to a port with `client-cas`.
#[test]
fn operators_show_a_certificate_to_an_admin_port() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["admin"], &[("admin.tls.client-cas", &setup.ca)]);
    let url = format!("https://localhost:{}", server.admin.port());
    let [cert, key] = setup.authority.issue(&["operator"]).write(&setup.folder, "operator");
    let ask = |more: &[&str], env: &[(&str, &str)]| {
        let mut command = std::process::Command::new(binary("piko"));
        command.args(["server", "status", "upstream", "endpoints", "--server.url", &url]);
        command.args(["--server.tls.root-cas", &setup.ca]).args(more).envs(env.iter().copied());
        let output = command.output().expect("piko starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = ask(&["--server.tls.cert", &cert, "--server.tls.key", &key], &[]);
    assert_eq!(code, Some(0), "{text}");
    // Nobody listens there: what the environment says of proxies is not for us.
    let proxy = ("HTTPS_PROXY", "http://127.0.0.1:9");
    let env = [("PIKO_SERVER_TLS_CERT", cert.as_str()), ("PIKO_SERVER_TLS_KEY", &key), proxy];
    let (code, text) = ask(&[], &env);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = ask(&[], &[]);
    assert!(code == Some(1) && text.contains(NONE_SHOWN), "{text}");
    // Half a pair is a mistake of whoever types it.
    let (code, text) = ask(&["--server.tls.cert", &cert], &[]);
    assert!(code == Some(2) && text.contains("server: tls: missing key [--server.tls.cert]"), "{text}");
}

/// The status command: `--server.token` goes out as a bearer token.
#[test]
fn operators_show_a_token() {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("a port"));
    let admin = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
        let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        let mut answering = &stream;
        answering.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").expect("a reader");
        head
    });
    let mut command = std::process::Command::new(binary("piko"));
    command.args([
        "server",
        "status",
        "upstream",
        "endpoints",
        "--server.url",
        &url,
        "--server.token",
        "t0ken",
    ]);
    let output = command.output().expect("piko starts");
    assert!(output.status.success(), "{output:?}");
    let head = admin.join().expect("a request");
    assert!(head.iter().any(|line| line.eq_ignore_ascii_case("authorization: bearer t0ken")), "{head:?}");
}

/// A key with a passphrase, in both forms, is told as what it is.
#[test]
fn an_encrypted_key_is_named() {
    let setup = Setup::new();
    let old = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,8B5AC1F7C1E14BA5\n\n\
               AAAA\n-----END EC PRIVATE KEY-----\n";
    let new = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for text in [old, new] {
        let key = setup.folder.put("encrypted.key", text);
        let output = run("piko-server", &["--proxy.tls.cert", &setup.cert, "--proxy.tls.key", &key], &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        let words = format!("{key}: the key is encrypted; piko takes keys without a passphrase");
        assert!(output.status.code() == Some(1) && said.contains(&words), "{said}");
    }
}

/// `*.tls.sni-certs`: a certificate without names can be given to nobody.
#[test]
fn a_certificate_for_no_name_is_told() {
    let setup = Setup::new();
    let [cert, key] = setup.authority.issue(&[]).write(&setup.folder, "nameless");
    let server = setup.server(Way::Flag, &["proxy"], &[("proxy.tls.sni-certs", &format!("{cert}:{key}"))]);
    let (_, record) = server.process.wait_record(0, SOON, "no client gets this certificate").expect("a line");
    assert_eq!((record["level"].as_str(), record["cert"].as_str()), (Some("warn"), Some(cert.as_str())));
    // The first is for whoever asks for nothing, so it needs no name.
    let settings = [("proxy.tls.cert", cert.as_str()), ("proxy.tls.key", &key)];
    let server = piko_tests::flags::server(Way::Flag, &settings);
    server.process.wait_record(0, SOON, "starting proxy server").expect("it starts");
    let is_told = |line: &piko_tests::process::Line| line.text.contains("no client gets");
    assert!(!server.process.lines(0).iter().any(is_told), "{}", server.process.tail());
}
