//! Files that change while the program runs.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use piko_tests::flags::{Way, agent, run};
use piko_tests::http::Client;
use piko_tests::process::{Process, Server, Signal, binary};
use piko_tests::tls::{TlsClient, Trust};

use crate::{SOON, Setup, wait_for};

fn metric(setup: &Setup, server: &Server, line: &str) -> String {
    let (_, text) = setup.client(server.admin).get("/metrics", &[]).expect("metrics");
    let text = String::from_utf8_lossy(&text).into_owned();
    let found = text.lines().find_map(|l| l.strip_prefix(line)).unwrap_or_else(|| panic!("{line}: {text}"));
    found.trim().to_owned()
}

#[test]
fn new_certificates_are_served_within_a_second_and_old_connections_live_on() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["proxy", "admin"], &[]);
    let mut old = setup.client(server.proxy);
    let fresh = setup.authority.issue(&["localhost"]);
    fresh.write(&setup.folder, "server");
    let began = Instant::now();
    wait_for("the new certificate", || setup.client(server.proxy).shown() == fresh.der);
    // A busy machine may be late; the long run measures it.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(old.get("/", &[]).expect("an answer").0, 400);
    assert_eq!(old.shown(), setup.pair.der);
    wait_for("the metric", || metric(&setup, &server, "piko_reloads_total{outcome=\"loaded\"}") == "2");
    assert_eq!(metric(&setup, &server, "piko_reload_current"), "1");
}

/// As Kubernetes does it: the files are links into a folder, which is a link that is swapped.
#[test]
fn a_swapped_link_is_seen() {
    let mut setup = Setup::new();
    let place = setup.folder.path().to_owned();
    let write = |folder: &str, pair: &piko_tests::certs::Pair| {
        fs::create_dir(place.join(folder)).expect("a place");
        fs::write(place.join(folder).join("tls.crt"), &pair.cert).expect("a place");
        fs::write(place.join(folder).join("tls.key"), &pair.key).expect("a place");
    };
    write("first", &setup.pair);
    std::os::unix::fs::symlink("first", place.join("..data")).expect("a link");
    for name in ["tls.crt", "tls.key"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), place.join(name)).expect("a link");
    }
    (setup.cert, setup.key) = (setup.folder.file("tls.crt"), setup.folder.file("tls.key"));
    let server = setup.server(Way::Flag, &["proxy"], &[]);
    let fresh = setup.authority.issue(&["localhost"]);
    write("second", &fresh);
    std::os::unix::fs::symlink("second", place.join("..data_tmp")).expect("a link");
    fs::rename(place.join("..data_tmp"), place.join("..data")).expect("a swap");
    wait_for("the new certificate", || setup.client(server.proxy).shown() == fresh.der);
}

#[test]
fn what_is_broken_has_no_effect_and_is_told() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["proxy", "admin"], &[]);
    let mark = server.process.mark();
    fs::write(&setup.cert, "no certificate").expect("a place");
    let (_, line) =
        server.process.wait_record(mark, SOON, "what is new was refused; the old stays").expect("a line");
    assert!(line["error"].as_str().expect("a reason").contains("no certificate in it"), "{line}");
    assert_eq!(setup.client(server.proxy).shown(), setup.pair.der);
    assert_eq!(metric(&setup, &server, "piko_reload_current"), "0");
    assert_ne!(metric(&setup, &server, "piko_reloads_total{outcome=\"refused\"}"), "0");
    // A key of another certificate is refused as well, and what is mended is taken.
    fs::write(&setup.cert, setup.authority.issue(&["localhost"]).cert).expect("a place");
    let what = "is not the key of";
    server.process.wait_line(mark, SOON, |line| line.text.contains(what)).expect(what);
    assert_eq!(setup.client(server.proxy).shown(), setup.pair.der);
    fs::write(&setup.cert, &setup.pair.cert).expect("a place");
    wait_for("the metric", || metric(&setup, &server, "piko_reload_current") == "1");
}

/// SIGHUP reads everything at once.
#[test]
fn a_hangup_reads_the_files() {
    let setup = Setup::new();
    let mut server = setup.server(Way::Flag, &["proxy"], &[]);
    let mark = server.process.mark();
    server.process.signal(Signal::Hup).expect("it runs");
    server.process.wait_record(mark, SOON, "reloaded").expect("a line");
    assert_eq!(setup.client(server.proxy).shown(), setup.pair.der);
}

/// Whoever was let in by authorities that are gone does not come back, ticket or not.
#[test]
fn authorities_change_too() {
    let setup = Setup::new();
    let others = piko_tests::certs::Authority::new("others");
    let cas = setup.folder.put("clients.pem", &others.pem());
    let server = setup.server(Way::Flag, &["proxy"], &[("proxy.tls.client-cas", &cas)]);
    let ask = |trust: &Trust| {
        TlsClient::connect(server.proxy, "localhost", trust).and_then(|mut c| c.get("/", &[]))
    };
    let before = Trust::new(&setup.authority, Some(&others.issue(&["client"])), &[]);
    let after = Trust::new(&setup.authority, Some(&setup.authority.issue(&["client"])), &[]);
    assert!(ask(&before).is_ok() && ask(&after).is_err());
    setup.folder.put("clients.pem", &setup.authority.pem());
    wait_for("the new authority", || ask(&after).is_ok());
    assert!(ask(&before).is_err());
}

/// An agent with a new certificate keeps its tunnel, and shows the new one with the next.
#[test]
fn an_agent_reads_its_files_again() {
    let setup = Setup::new();
    let mut server = setup.server(Way::Flag, &["upstream"], &[("upstream.tls.client-cas", &setup.ca)]);
    let [cert, key] = setup.authority.issue(&["agent"]).write(&setup.folder, "agent");
    let settings =
        [("connect.tls.root-cas", setup.ca.as_str()), ("connect.tls.cert", &cert), ("connect.tls.key", &key)];
    let url = format!("https://localhost:{}", server.upstream.port());
    let mut agent = agent(Way::Flag, &url, "e", "127.0.0.1:9", &settings);
    let up = agent.wait_connected(0, SOON).expect("the tunnel");
    setup.authority.issue(&["agent"]).write(&setup.folder, "agent");
    agent.process.wait_record(up, SOON, "reloaded").expect("a line");
    agent.process.signal(Signal::Hup).expect("it runs");
    agent.process.wait_record(up, SOON, "reading files again").expect("a line");
    // The server goes on without a word about the agent.
    assert!(!server.process.lines(0).iter().any(|line| line.is_record("upstream disconnected")));
    server.terminate(SOON).expect("the end");
}

/// A kept connection to a service whose authority is gone is as good as none, whether other contents, another path or
/// another flag brought that about; what the service is in the middle of, it finishes.
#[test]
fn an_agent_keeps_no_connection_to_a_service_that_it_no_longer_believes() {
    let setup = Setup::new();
    // A service with TLS: the admin port of a server.
    let server = setup.server(Way::Flag, &["admin"], &[]);
    let others = setup.folder.put("others.pem", &piko_tests::certs::Authority::new("others").pem());
    let roots = setup.folder.put("roots.pem", &setup.authority.pem());
    let text = |tls: &str| {
        let (url, port) = (server.connect_url(), server.admin.port());
        format!(
            "connect: {{url: \"{url}\"}}\n\
             listeners: [{{endpoint_id: e, addr: \"https://localhost:{port}\", tls: {{{tls}}}}}]\n"
        )
    };
    let by_roots = text(&format!("root_cas: {roots}"));
    let path = setup.folder.put("agent.yaml", &by_roots);
    for (program, words) in [("piko", &["agent", "start"][..]), ("piko-agent", &["start"])] {
        let mut command = Command::new(binary(program));
        let agent =
            Process::spawn(program, command.args(words).args(["--config.path", &path])).expect("starts");
        agent.wait_record(0, SOON, "tunnel connected").expect("the tunnel");
        let mut client = Client::connect(server.proxy).expect("the proxy port");
        let mut ask = || client.get("/health", &[("x-piko-endpoint", "e")]).expect("an answer").status();
        // Each change is in effect when its line is there.
        let put = |name: &str, text: &str| {
            let mark = agent.mark();
            setup.folder.put(name, text);
            agent.wait_record(mark, SOON, "reloaded").expect("a line");
        };
        let good = setup.authority.pem();
        for _ in 0..2 {
            assert_eq!(ask(), 200, "{program}");
        }
        put("roots.pem", &fs::read_to_string(&others).expect("a file"));
        assert_eq!(ask(), 502, "{program}: other contents");
        put("roots.pem", &good);
        assert_eq!(ask(), 200, "{program}");
        put("agent.yaml", &text(&format!("root_cas: {others}")));
        assert_eq!(ask(), 502, "{program}: another path");
        put("agent.yaml", &text(&format!("root_cas: {others}, insecure_skip_verify: true")));
        assert_eq!(ask(), 200, "{program}");
        put("agent.yaml", &text(&format!("root_cas: {others}")));
        assert_eq!(ask(), 502, "{program}: another flag");
        put("agent.yaml", &by_roots);
        assert_eq!(ask(), 200, "{program}");
    }
}

/// A server whose certificates are named in a file, with `tls` for the proxy port, and the path of that file.
fn of_a_file(setup: &Setup, tls: &str) -> (Server, String) {
    let path = setup.folder.put("server.yaml", &format!("proxy: {{tls: {{{tls}}}}}\n"));
    let program = binary("piko-server");
    (Server::start_with(program, &["--config.path", &path], &[]), path)
}

/// Other files for the same port: its certificate, more by name, authorities for clients, the oldest version.
#[test]
fn other_paths_count_without_a_restart() {
    let setup = Setup::new();
    let (cert, key) = (&setup.cert, &setup.key);
    let (server, path) = of_a_file(&setup, &format!("cert: {cert}, key: {key}"));
    let mut old = setup.client(server.proxy);
    let put = |tls: &str| fs::write(&path, format!("proxy: {{tls: {{{tls}}}}}\n")).expect("a place");

    let fresh = setup.authority.issue(&["localhost"]);
    let [fresh_cert, fresh_key] = fresh.write(&setup.folder, "fresh");
    put(&format!("cert: {fresh_cert}, key: {fresh_key}"));
    wait_for("the new certificate", || setup.client(server.proxy).shown() == fresh.der);
    // The line about it comes behind it, and must not be taken for the next one.
    server.process.wait_record(0, SOON, "new values count").expect("a line");

    let named = setup.authority.issue(&["named.example"]);
    let [named_cert, named_key] = named.write(&setup.folder, "named");
    let tls = format!(
        "cert: {fresh_cert}, key: {fresh_key}, sni_certs: ['{named_cert}:{named_key}'], client_cas: {}, min_version: '1.3'",
        setup.ca
    );
    // The certificate is in use a moment before the line that says so.
    let told = "new values count";
    let mark = server.process.wait_record(0, SOON, told).expect("a line").0 + 1;
    put(&tls);
    let (_, record) = server.process.wait_record(mark, SOON, told).expect("a line");
    assert_eq!(record["flags"], "proxy.tls.client-cas, proxy.tls.min-version, proxy.tls.sni-certs");
    let own = setup.authority.issue(&["client"]);
    let known = Trust::new(&setup.authority, Some(&own), &[]);
    let client = TlsClient::connect(server.proxy, "named.example", &known).expect("a handshake");
    assert_eq!(client.shown(), named.der);
    let stranger =
        TlsClient::connect(server.proxy, "localhost", &setup.trust()).and_then(|mut c| c.get("/", &[]));
    assert!(stranger.is_err(), "nobody without a certificate");

    // A path that leads nowhere is refused, and what was good stays.
    put("cert: /nowhere.pem, key: /nowhere.pem");
    let refused = "what is new was refused; the old stays";
    let (_, line) = server.process.wait_record(mark, SOON, refused).expect("a line");
    assert!(line["error"].as_str().expect("a reason").contains("open /nowhere.pem"), "{line}");
    assert_eq!(
        TlsClient::connect(server.proxy, "named.example", &known).expect("a handshake").shown(),
        named.der
    );
    // Whoever lets everybody in is told what he does.
    put(&format!("cert: {fresh_cert}, key: {fresh_key}"));
    let told = "what kept others out is gone: everybody is let in from here on";
    let (_, record) = server.process.wait_record(mark, SOON, told).expect("a warning");
    assert_eq!((&record["level"], &record["flags"]), (&"warn".into(), &"proxy.tls.client-cas".into()));
    assert_eq!(setup.client(server.proxy).get("/", &[]).expect("an answer").0, 400);
    // The connection of the beginning has seen none of this.
    assert_eq!(old.get("/", &[]).expect("an answer").0, 400);
    assert_eq!(old.shown(), setup.pair.der);
}

/// A name that no certificate can be for would break every hop, without a word until then.
#[test]
fn a_server_name_that_is_none_is_refused() {
    let setup = Setup::new();
    let pair = format!("cert: {}, key: {}", setup.cert, setup.key);
    let (server, path) = of_a_file(&setup, &pair);
    let mark = server.process.mark();
    let text = format!("proxy: {{tls: {{{pair}, client: {{server_name: 'a b'}}}}}}\n");
    fs::write(&path, &text).expect("a place");
    let refused = "what is new was refused; the old stays";
    let (_, record) = server.process.wait_record(mark, SOON, refused).expect("a line");
    let why = record["error"].as_str().expect("a reason");
    let words = "config: proxy: tls: client: server name: \"a b\" is no name";
    let is_placed = |why: &str| why.contains("server.yaml:") && why.contains("proxy.tls.client.server_name");
    assert!(why.contains(words) && is_placed(why), "{why}");
    // As at a start, with the status of a fault of a file.
    let output = run("piko-server", &["--config.path", &path], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains(words) && is_placed(&said), "{said}");
}

/// Whether a port speaks TLS is for the next start: clients would have to change in the same moment.
#[test]
fn a_port_keeps_its_tls_until_the_restart() {
    let setup = Setup::new();
    let (server, path) = of_a_file(&setup, &format!("cert: {}, key: {}", setup.cert, setup.key));
    fs::write(&path, format!("upstream: {{tls: {{cert: {}, key: {}}}}}\n", setup.cert, setup.key))
        .expect("a place");
    let told = "new values that count after a restart only";
    let (_, record) = server.process.wait_record(0, SOON, told).expect("a line");
    assert_eq!(record["flags"], "proxy.tls.cert, proxy.tls.key, upstream.tls.cert, upstream.tls.key");
    assert_eq!(setup.client(server.proxy).shown(), setup.pair.der);
}

/// A file that comes back as it was is in order again, though it looks as it did when it was read.
#[test]
fn a_file_that_comes_back_is_mended() {
    let setup = Setup::new();
    let server = setup.server(Way::Flag, &["proxy"], &[]);
    let admin = |line: &str| {
        let mut client = Client::connect(server.admin).expect("the admin port");
        let text = client.get("/metrics", &[]).expect("metrics").body.text();
        text.lines().any(|found| found == line)
    };
    let away = setup.folder.file("away");
    fs::rename(&setup.cert, &away).expect("a place");
    wait_for("the refusal", || admin("piko_reload_current 0"));
    fs::rename(&away, &setup.cert).expect("a place");
    wait_for("the repair", || admin("piko_reload_current 1"));
}
