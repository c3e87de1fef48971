use super::*;
use crate::options::{AgentOptions, ServerOptions};
use crate::values::Command;

fn server(pairs: &[(&str, &str)]) -> Result<ServerOptions, String> {
    let given: Vec<_> = pairs.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    let values = Values::resolve(Command::Server, &given, &|_| None).map_err(|error| error.to_string())?;
    ServerOptions::from_values(&values).map_err(|error| error.to_string())
}

fn agent(pairs: &[(&str, &str)]) -> Result<AgentOptions, String> {
    let given: Vec<_> = pairs.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    let command = Command::AgentHttp { endpoint: "e".into(), addr: "https://localhost".into() };
    let values = Values::resolve(command, &given, &|_| None).map_err(|error| error.to_string())?;
    AgentOptions::from_values(&values).map_err(|error| error.to_string())
}

fn files(cert: &str, key: &str) -> KeyPairFiles {
    KeyPairFiles { cert: cert.into(), key: key.into() }
}

#[test]
fn a_port_without_a_certificate_is_plain() {
    let options = ServerOptions::default();
    assert_eq!((options.proxy.tls, options.upstream.tls, options.admin.tls), (None, None, None));
    assert_eq!(options.proxy.tls_client, ClientTlsOptions::default());
}

#[test]
fn each_port_has_its_own_files() {
    for port in ["proxy", "upstream", "admin"] {
        let name = |key: &str| format!("{port}.tls.{key}");
        let names = ["cert", "key", "client-cas", "min-version", "sni-certs"].map(name);
        let texts = ["c.pem", "k.pem", "ca.pem", "1.3", "a.pem:b.pem,both.pem"];
        let given: Vec<_> = names.iter().map(String::as_str).zip(texts).collect();
        let options = server(&given).expect("is accepted");
        let expected = ServerTlsOptions {
            certs: vec![files("c.pem", "k.pem"), files("a.pem", "b.pem"), files("both.pem", "both.pem")],
            client_cas: Some("ca.pem".into()),
            min_version: TlsVersion::V13,
        };
        let ports =
            [("proxy", options.proxy.tls), ("upstream", options.upstream.tls), ("admin", options.admin.tls)];
        for (other, tls) in ports {
            assert_eq!(tls, (other == port).then(|| expected.clone()), "{port}, {other}");
        }
    }
}

#[test]
fn half_a_configuration_is_refused_in_the_words_of_go() {
    for port in ["proxy", "upstream", "admin"] {
        for (key, text, missing) in [
            ("cert", "c.pem", "key"),
            ("key", "k.pem", "cert"),
            ("client-cas", "ca.pem", "cert"),
            ("sni-certs", "c.pem:k.pem", "cert"),
            ("min-version", "1.3", "cert"),
        ] {
            let name = format!("{port}.tls.{key}");
            let refused = server(&[(&name, text)]).expect_err("is refused");
            assert_eq!(refused, format!("config: {port}: tls: missing {missing} [--{name}]"));
        }
    }
    let pair = [("proxy.tls.cert", "c"), ("proxy.tls.key", "k")];
    let refused = server(&[&pair[..], &[("proxy.tls.min-version", "1.1")]].concat()).expect_err("is refused");
    assert!(refused.starts_with("config: proxy: tls: unsupported min version: \"1.1\""), "{refused}");
    let refused = server(&[&pair[..], &[("proxy.tls.sni-certs", "c:")]].concat()).expect_err("is refused");
    assert!(refused.starts_with("config: proxy: tls: sni certs: \"c:\""), "{refused}");
}

#[test]
fn outgoing_connections_of_a_node() {
    let pair = [("proxy.tls.cert", "c"), ("proxy.tls.key", "k")];
    let client = [
        ("proxy.tls.client.cert", "cc"),
        ("proxy.tls.client.key", "ck"),
        ("proxy.tls.client.root-cas", "ca"),
        ("proxy.tls.client.server-name", "n"),
        ("proxy.tls.client.insecure-skip-verify", "true"),
    ];
    let options = server(&[&pair[..], &client[..]].concat()).expect("is accepted");
    let expected = ClientTlsOptions {
        cert: Some(files("cc", "ck")),
        insecure_skip_verify: true,
        root_cas: Some("ca".into()),
        server_name: Some("n".into()),
    };
    assert_eq!(options.proxy.tls_client, expected);
    assert_eq!(options.notices, Vec::<String>::new());
    // Nodes speak TLS with each other when this port does, so these alone do nothing, and say so.
    let options = server(&client).expect("is accepted");
    assert_eq!(options.notices.len(), 1, "{:?}", options.notices);
    let refused = server(&[("admin.tls.client.cert", "c")]).expect_err("is refused");
    assert_eq!(refused, "config: admin: tls: client: missing key [--admin.tls.client.cert]");
}

#[test]
fn the_agent_has_settings_towards_the_server_and_towards_the_service() {
    let options = agent(&[
        ("connect.tls.cert", "c"),
        ("connect.tls.key", "k"),
        ("connect.tls.root-cas", "ca"),
        ("connect.tls.insecure-skip-verify", "true"),
        ("tls.root-cas", "service-ca"),
    ])
    .expect("is accepted");
    assert_eq!(options.connect.tls.cert, Some(files("c", "k")));
    assert_eq!(options.connect.tls.root_cas.as_deref(), Some("ca"));
    assert!(options.connect.tls.insecure_skip_verify);
    let service = &options.listeners[0].tls;
    assert_eq!((service.root_cas.as_deref(), service.insecure_skip_verify), (Some("service-ca"), false));
    assert_eq!(
        agent(&[("connect.tls.cert", "c")]).expect_err("is refused"),
        "config: connect: tls: missing key [--connect.tls.cert]"
    );
    assert_eq!(
        agent(&[("tls.key", "k")]).expect_err("is refused"),
        "config: listener: e: tls: missing cert [--tls.key]"
    );
}

#[test]
fn a_server_name_that_is_none_is_refused_by_name() {
    let long = format!("{}.x", "a".repeat(64));
    for port in ["proxy", "admin"] {
        let key = format!("{port}.tls.client.server-name");
        for bad in [
            "a b", "*.x.com", "a..b", ".a", ".", "a..", "-a.b", "a-.b", "1.2.3", "[::1]", "a:443", "ä.de",
            &long,
        ] {
            let refused = server(&[(&key, bad)]).expect_err(bad);
            let begin = format!("config: {port}: tls: client: server name: \"{bad}\" is no name");
            assert!(refused.starts_with(&begin) || bad == long, "{refused}");
            assert!(refused.ends_with(&format!("[--{key}]")), "{refused}");
        }
        for good in
            ["piko", "a_b.example.com", "example.com.", "10.0.0.1", "::1", "xn--4ca.de", "1.example", "A.B"]
        {
            server(&[(&key, good)]).expect(good);
        }
    }
}
