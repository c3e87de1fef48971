//! Certificates and keys that the cryptography here does not read, and what is said of them.

use crate::SOON;
use crate::agent::failure;
use piko_tests::certs::Folder;
use piko_tests::flags::{Way, agent, server};
use piko_tests::process::{Process, binary, need};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const NOWHERE: &str = "127.0.0.1:9";
const VERSION_1: &str = "a certificate of X.509 version 1; make one of version 3 (openssl x509 -req -extfile";

fn run(openssl: &Path, args: &[&str]) {
    let output = Command::new(openssl).args(args).output().expect("openssl starts");
    assert!(output.status.success(), "{args:?}: {output:?}");
}

/// A certificate without extensions, signed with its own key; good for a hundred years. `openssl x509 -req` of version 3.0
/// makes such ones, newer ones do not.
fn version_1() -> [String; 2] {
    ["v1.pem", "v1.key"].map(|name| format!("{}/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR")))
}

#[test]
fn an_own_certificate_of_version_1_is_named() {
    let [cert, key] = version_1();
    let told = format!("v1.pem: {VERSION_1}");
    let settings = [("connect.tls.cert", cert.as_str()), ("connect.tls.key", &key)];
    let mut own = agent(Way::Flag, "https://localhost:1", "e", NOWHERE, &settings);
    assert_eq!(own.process.wait_exit(SOON).expect("nothing to try").code(), Some(1));
    let line = own.process.wait_line(0, SOON, |line| line.text.contains(&told)).expect("is told");
    assert!(!line.text.contains("peer"), "{}", line.text);
    let mut command = Command::new(binary("piko-server"));
    command.args(["--proxy.tls.cert", &cert, "--proxy.tls.key", &key, "--proxy.bind-addr", "127.0.0.1:0"]);
    let mut own = Process::spawn("piko-server", &mut command).expect("starts");
    assert_eq!(own.wait_exit(SOON).expect("is refused").code(), Some(1));
    let line = own.wait_line(0, SOON, |line| line.text.contains(&told)).expect("is told");
    assert!(!line.text.contains("peer"), "{}", line.text);
}

/// Ends with this value.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As a server, also for those who believe anybody: its key could not be read, either.
#[test]
fn the_certificate_of_version_1_of_a_server_is_named() {
    let Some(openssl) = need("openssl") else { return };
    let [cert, key] = version_1();
    let mut command = Command::new(&openssl);
    command.args(["s_server", "-accept", "127.0.0.1:0", "-cert", &cert, "-key", &key]);
    let mut peer =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    let out = peer.stdout.take().expect("piped");
    let _peer = Peer(peer);
    // It says where it listens: ACCEPT 127.0.0.1:12345.
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(out)).map_while(Result::ok);
    let accept = lines.find(|line| line.starts_with("ACCEPT")).expect("listens");
    let port = accept.rsplit(':').next().expect("a port").trim();
    let url = format!("https://localhost:{port}");
    for settings in [("connect.tls.root-cas", cert.as_str()), ("connect.tls.insecure-skip-verify", "true")] {
        let why = failure(&agent(Way::Flag, &url, "e", NOWHERE, &[settings]));
        assert!(why.contains(&format!("invalid peer certificate: {VERSION_1}")), "{why}");
    }
}

/// `piko-agent` (ring) has no P-521, and says so; `piko-server` (aws-lc) has.
#[test]
fn a_key_that_cannot_be_used_is_named() {
    let Some(openssl) = need("openssl") else { return };
    let folder = Folder::new("old");
    let [cert, key] = ["p521.pem", "p521.key"].map(|name| folder.file(name));
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521", "-nodes", "-subj", "/CN=agent"];
    run(&openssl, &[&["req", "-x509", "-keyout", &key, "-out", &cert], &curve[..]].concat());
    let settings = [("connect.tls.cert", cert.as_str()), ("connect.tls.key", &key)];
    let mut own = agent(Way::Flag, "https://localhost:1", "e", NOWHERE, &settings);
    assert_eq!(own.process.wait_exit(SOON).expect("nothing to try").code(), Some(1));
    let told = "p521.key: a private key that cannot be used (ECDSA P-521): RSA of at least 2048 bits, \
                ECDSA P-256 and P-384, and Ed25519 can";
    own.process.wait_line(0, SOON, |line| line.text.contains(told)).expect(told);
    server(Way::Flag, &[("proxy.tls.cert", &cert), ("proxy.tls.key", &key)]);
}
