//! Files of several authorities, of which some cannot be used.

use crate::{SOON, Setup};
use piko_tests::certs::Authority;
use piko_tests::flags::{Way, agent};
use piko_tests::process::{Process, binary};
use piko_tests::tls::{TlsClient, Trust};
use std::process::Command;

const PASSED_OVER: &str = "certificates of authorities that cannot be used are passed over";
/// Its text is no base64.
const SCRAMBLED: &str = "-----BEGIN CERTIFICATE-----\nMII!\n-----END CERTIFICATE-----\n";
/// It is base64, and no certificate.
const NONSENSE: &str = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
/// It does not end.
const CUT: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n";

/// As Go does (`AppendCertsFromPEM`), but not silently: `client_cas` of a server, `root_cas` of an agent.
#[test]
fn what_cannot_be_used_is_passed_over_and_told_once() {
    let setup = Setup::new();
    let other = Authority::new("others");
    let comment = "# ours\n";
    let bundle = [comment, SCRAMBLED, &other.pem(), NONSENSE, CUT, &setup.authority.pem(), CUT].concat();
    let bundle = setup.folder.put("bundle.pem", &bundle);
    let server = setup.server(Way::Flag, &["upstream", "proxy"], &[("proxy.tls.client-cas", &bundle)]);
    for authority in [&setup.authority, &other] {
        let own = authority.issue(&["client"]);
        let trust = Trust::new(&setup.authority, Some(&own), &[]);
        let mut client = TlsClient::connect(server.proxy, "localhost", &trust).expect("a handshake");
        assert_eq!(client.get("/", &[]).expect("is let in").0, 400);
    }
    let url = format!("https://localhost:{}", server.upstream.port());
    let agent = agent(Way::Flag, &url, "e", "127.0.0.1:9", &[("connect.tls.root-cas", &bundle)]);
    agent.wait_connected(0, SOON).expect("the tunnel");
    for process in [&server.process, &agent.process] {
        let (_, record) = process.wait_record(0, SOON, PASSED_OVER).expect("is told");
        assert_eq!((&record["level"], &record["file"]), (&"warn".into(), &bundle.as_str().into()));
        assert_eq!(record["count"], 4);
        let first = record["first"].as_str().expect("which one, and why");
        assert!(first.starts_with("certificate 1 (line 2): "), "{first}");
        assert_eq!(process.lines(0).iter().filter(|line| line.is_record(PASSED_OVER)).count(), 1);
    }
}

/// Nobody would be let in, or believed, from the first moment on.
#[test]
fn a_bundle_of_which_nothing_is_left_is_refused() {
    let setup = Setup::new();
    for (text, why) in [
        (SCRAMBLED, "open client cas: {}: certificate 1 (line 1): "),
        (NONSENSE, "parse client cas: {}: certificate 1 (line 1): "),
        (CUT, "open client cas: {}: certificate 1 (line 1): "),
        ("# nothing\n", "open client cas: {}: no certificate in it"),
    ] {
        let bundle = setup.folder.put("bundle.pem", text);
        let mut command = Command::new(binary("piko"));
        command.args(["server", "--proxy.tls.cert", &setup.cert, "--proxy.tls.key", &setup.key]);
        command.args(["--proxy.bind-addr", "127.0.0.1:0", "--upstream.bind-addr", "127.0.0.1:0"]);
        command.args(["--admin.bind-addr", "127.0.0.1:0", "--cluster.gossip.bind-addr", "127.0.0.1:0"]);
        command.args(["--proxy.tls.client-cas", &bundle]);
        let mut process = Process::spawn("piko", &mut command).expect("starts");
        assert_eq!(process.wait_exit(SOON).expect("ends").code(), Some(1), "{text}");
        let why = why.replace("{}", &bundle);
        process.wait_line(0, SOON, |line| line.text.contains(&why)).expect(&why);
    }
}
