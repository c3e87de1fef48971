//! Every flag that `piko-server --help` shows has an effect that somebody can see, on the built program.

#[path = "flags_server/access_log.rs"]
mod access_log;
#[path = "flags_server/admin.rs"]
mod admin;
#[path = "flags_server/cluster.rs"]
mod cluster;
#[path = "flags_server/limits.rs"]
mod limits;
#[path = "flags_server/ports.rs"]
mod ports;
#[path = "flags_server/usage.rs"]
mod usage;

use std::time::Duration;

use piko_tests::flags::{Settings, Way, server};
use piko_tests::http::Client;
use piko_tests::process::{Agent, Server};
use piko_tests::service::Service;

/// How long anything that happens at once may take on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// The flags with a test in this program; compared with the table and with `--help`.
const COVERED: &[&str] = &[
    "admin.advertise-addr",
    "admin.bind-addr",
    // Those of TLS: all in `tests/tls.rs`.
    "admin.tls.cert",
    "admin.tls.client-cas",
    "admin.tls.client.cert",
    "admin.tls.client.insecure-skip-verify",
    "admin.tls.client.key",
    "admin.tls.client.root-cas",
    "admin.tls.client.server-name",
    "admin.tls.key",
    "admin.tls.min-version",
    "admin.tls.sni-certs",
    "cluster.abort-if-join-fails",
    "cluster.gossip.advertise-addr",
    "cluster.gossip.bind-addr",
    "cluster.gossip.interval",
    "cluster.gossip.max-packet-size",
    "cluster.join",
    "cluster.join-timeout",
    "cluster.node-id",
    "cluster.node-id-prefix",
    // Both in `tests/cluster_secret.rs`.
    "cluster.secret",
    "cluster.secret-file",
    // Both in `tests/config_files.rs`.
    "config.expand-env",
    "config.path",
    "drain-delay",
    "grace-period",
    "log.level",
    "log.subsystems",
    "proxy.access-log.disable",
    "proxy.access-log.level",
    "proxy.access-log.request-headers.allow-list",
    "proxy.access-log.request-headers.block-list",
    "proxy.access-log.response-headers.allow-list",
    "proxy.access-log.response-headers.block-list",
    "proxy.advertise-addr",
    "proxy.bind-addr",
    "proxy.http.idle-timeout",
    "proxy.http.max-header-bytes",
    "proxy.http.read-header-timeout",
    "proxy.http.read-timeout",
    "proxy.http.write-timeout",
    // In `tests/tcp.rs`, with the two below.
    "proxy.proxy-protocol.trusted",
    "proxy.routing.prefer-local",
    "proxy.tcp.ports",
    "proxy.tcp.sni.bind-addr",
    "proxy.tcp.sni.domain",
    "proxy.timeout",
    "proxy.tls.cert",
    "proxy.tls.client-cas",
    "proxy.tls.client.cert",
    "proxy.tls.client.insecure-skip-verify",
    "proxy.tls.client.key",
    "proxy.tls.client.root-cas",
    "proxy.tls.client.server-name",
    "proxy.tls.key",
    "proxy.tls.min-version",
    "proxy.tls.sni-certs",
    "upstream.bind-addr",
    "upstream.rebalance.min-conns",
    "upstream.rebalance.shed-rate",
    "upstream.rebalance.threshold",
    "upstream.tls.cert",
    "upstream.tls.client-cas",
    "upstream.tls.key",
    "upstream.tls.min-version",
    "upstream.tls.sni-certs",
];

/// A server with these settings and the test service behind the endpoint `e`.
struct Setup {
    server: Server,
    agent: Agent,
    #[expect(dead_code, reason = "lives as long as the setup")]
    service: Service,
}

impl Setup {
    fn start(way: Way, settings: Settings<'_>) -> Self {
        let service = Service::start();
        let server = server(way, settings);
        let agent = Agent::http(&server.connect_url(), "e", &service.addr().to_string(), &["--timeout=0"]);
        Self { server, agent, service }
    }

    /// A connection to the proxy port.
    fn client(&self) -> Client {
        Client::connect(self.server.proxy).expect("the proxy port")
    }
}

/// The field that names the endpoint of [`Setup`].
const TO_E: (&str, &str) = ("x-piko-endpoint", "e");
