//! Every flag that `piko-agent --help` shows has an effect that somebody can see, on the built program.

#[path = "flags_agent/access_log.rs"]
mod access_log;
#[path = "flags_agent/connect.rs"]
mod connect;
#[path = "flags_agent/service.rs"]
mod service;
#[path = "flags_agent/usage.rs"]
mod usage;

use std::time::Duration;

use piko_tests::flags::{Settings, Way, agent};
use piko_tests::http::Client;
use piko_tests::process::{Agent, Server};
use piko_tests::service::Service;

/// How long anything that happens at once may take on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// The flags with a test in this program; compared with the table and with `--help`.
const COVERED: &[&str] = &[
    "access-log.disable",
    "access-log.level",
    "access-log.request-headers.allow-list",
    "access-log.request-headers.block-list",
    "access-log.response-headers.allow-list",
    "access-log.response-headers.block-list",
    // Both in `tests/config_files.rs`.
    "config.expand-env",
    "config.path",
    "connect.exit-on-failure",
    "connect.tenant-id",
    "connect.timeout",
    // Both in `tests/proxies.rs`.
    "connect.proxy-url",
    "connect.proxy-url-file",
    // Those of TLS: all in `tests/tls.rs`.
    "connect.tls.cert",
    "connect.tls.insecure-skip-verify",
    "connect.tls.key",
    "connect.tls.root-cas",
    "connect.token",
    // In `tests/config_files.rs`.
    "connect.token-file",
    "connect.url",
    "endpoints",
    "grace-period",
    // Has none, which is answered.
    "http-client.disable-compression",
    "http-client.idle-conn-timeout",
    "http-client.keep-alive-timeout",
    "http-client.max-idle-conns",
    "log.level",
    "log.subsystems",
    // In `tests/tcp.rs`.
    "proxy-protocol",
    "server.bind-addr",
    "server.enabled",
    "timeout",
    "tls.cert",
    "tls.insecure-skip-verify",
    "tls.key",
    "tls.root-cas",
];

/// A server, the test service, and an agent with these settings between them.
struct Setup {
    server: Server,
    agent: Agent,
    service: Service,
}

impl Setup {
    fn start(way: Way, settings: Settings<'_>) -> Self {
        Self::with_service(way, settings, Service::start())
    }

    fn with_service(way: Way, settings: Settings<'_>, service: Service) -> Self {
        let server = Server::start(&[]);
        let agent = agent(way, &server.connect_url(), "e", &service.addr().to_string(), settings);
        agent.wait_connected(0, SOON).expect("the tunnel");
        Self { server, agent, service }
    }

    /// A connection to the proxy port.
    fn client(&self) -> Client {
        Client::connect(self.server.proxy).expect("the proxy port")
    }
}

/// The field that names the endpoint of [`Setup`].
const TO_E: (&str, &str) = ("x-piko-endpoint", "e");
