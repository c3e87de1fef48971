//! TLS on the built programs: what is spoken, who is let in, what happens to mistakes, and files that change.

#[path = "tls/agent.rs"]
mod agent;
#[path = "tls/bundles.rs"]
mod bundles;
#[path = "tls/cluster.rs"]
mod cluster;
#[path = "tls/files.rs"]
mod files;
#[path = "tls/forward.rs"]
mod forward;
#[path = "tls/hostile.rs"]
mod hostile;
#[path = "tls/itself.rs"]
mod itself;
#[path = "tls/old.rs"]
mod old;
#[path = "tls/openssl.rs"]
mod openssl;
#[path = "tls/ports.rs"]
mod ports;
#[path = "tls/reload.rs"]
mod reload;

use std::time::{Duration, Instant};

use piko_tests::certs::{Authority, Folder, Pair};
use piko_tests::flags::{Way, server};
use piko_tests::process::Server;
use piko_tests::tls::{TlsClient, Trust};

/// How long anything that happens at once may take on a busy machine.
const SOON: Duration = Duration::from_secs(10);
/// The field that names the endpoint of the agents here.
const TO_E: [(&str, &str); 1] = [("x-piko-endpoint", "e")];

/// What a program says when a server wants a certificate of it and gets none, and when it does not know who signed it.
const NONE_SHOWN: &str = "the server refused our certificate: certificate required, and it was shown none";
const STRANGE: &str = "the server refused our certificate: unknown CA";

/// An authority, a certificate of it for this machine, and the files of both.
struct Setup {
    folder: Folder,
    authority: Authority,
    pair: Pair,
    ca: String,
    cert: String,
    key: String,
}

impl Setup {
    fn new() -> Self {
        let (folder, authority) = (Folder::new("tls"), Authority::new("tests"));
        let pair = authority.issue(&["localhost", "127.0.0.1"]);
        let [cert, key] = pair.write(&folder, "server");
        let ca = folder.put("ca.pem", &authority.pem());
        Self { folder, authority, pair, ca, cert, key }
    }

    /// A server with TLS on these ports and further settings.
    fn server(&self, way: Way, ports: &[&str], more: &[(&str, &str)]) -> Server {
        let mut settings = Vec::new();
        for port in ports {
            settings.push((format!("{port}.tls.cert"), self.cert.as_str()));
            settings.push((format!("{port}.tls.key"), self.key.as_str()));
        }
        let mut settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        settings.extend_from_slice(more);
        server(way, &settings)
    }

    /// Believes the authority, and says nothing of itself.
    fn trust(&self) -> Trust {
        Trust::new(&self.authority, None, &[])
    }

    /// A connection to a port of a server.
    fn client(&self, addr: std::net::SocketAddr) -> TlsClient {
        TlsClient::connect(addr, "localhost", &self.trust()).expect("a handshake")
    }
}

/// Looks again and again, at most for [`SOON`].
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < until, "{what}");
        // There is no event to wait for: the other side is a process that is looked at from outside.
        std::thread::sleep(Duration::from_millis(10));
    }
}
