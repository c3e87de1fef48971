//! The flags of `piko server` (behaviour reference, CLI 2.1 and 2.2).

use super::{Flag, Verb, Yaml, common};
use crate::value::Kind;

const VERBS: &[Verb] = &[Verb::Server];

const fn flag(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag::new(VERBS, name, kind, default, help)
}

/// A key of authentication: to start without it would leave a port open that somebody wants closed.
const fn auth(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    flag(name, kind, default, help)
        .refused("authentication is not supported yet, and without it the port would be open")
}

// The same words for each port.
const CERT: &str =
    "A PEM file: the certificate chain of this port, which speaks TLS with it; read again when it changes";
const KEY: &str = "A PEM file: the key of the certificate";
const CLIENT_CAS: &str = "A PEM file: authorities; clients must show a certificate of one of them";
const MIN_VERSION: &str = "The oldest version of TLS to speak: 1.2 or 1.3";
const SNI_CERTS: &str = "More certificates as <cert>:<key>, or one file with both; a client gets the one with the name that it asks for";
const CLIENT_CERT: &str = "A PEM file: the certificate to show to other nodes that ask for one";
const CLIENT_KEY: &str = "A PEM file: the key of the certificate for other nodes";
const CLIENT_ROOT_CAS: &str =
    "A PEM file: the authorities to trust for other nodes; those of the machine when empty";
const CLIENT_SERVER_NAME: &str =
    "The name to find in the certificates of other nodes; their address when empty";
const CLIENT_INSECURE: &str = "Take whatever certificate other nodes show: for tests only";
const NO_CLIENT: &str = "no effect: nodes do not reach each other at the upstream port";

pub(super) const FLAGS: &[Flag] = &[
    flag(
        "admin.advertise-addr",
        Kind::Bind,
        "",
        "The admin address that other nodes are told; the one really bound when empty",
    ),
    auth("admin.auth.audience", Kind::Text, "", "The audience that a token must be for"),
    auth(
        "admin.auth.disable-disconnect-on-expiry",
        Kind::Bool,
        "false",
        "Keep the connections of an agent whose token expires",
    ),
    auth(
        "admin.auth.ecdsa-public-key",
        Kind::Text,
        "",
        "The ECDSA public key that tokens are verified with, as PEM",
    ),
    auth("admin.auth.hmac-secret-key", Kind::Text, "", "The secret that tokens are verified with").secret(),
    auth(
        "admin.auth.hmac-secret-key-file",
        Kind::Text,
        "",
        "A file that holds the secret that tokens are verified with",
    ),
    auth("admin.auth.issuer", Kind::Text, "", "The issuer that a token must come from"),
    auth("admin.auth.jwks.cache-ttl", Kind::Duration, "0", "How often the key set is fetched again"),
    auth("admin.auth.jwks.endpoint", Kind::Text, "", "The http, https or file URL of a key set"),
    auth("admin.auth.jwks.timeout", Kind::Duration, "0", "How long fetching the key set may take"),
    auth(
        "admin.auth.rsa-public-key",
        Kind::Text,
        "",
        "The RSA public key that tokens are verified with, as PEM",
    ),
    flag(
        "admin.bind-addr",
        Kind::Bind,
        ":8002",
        "Where to listen for status, health and metrics requests; port 0 picks a free one",
    ),
    flag("admin.tls.cert", Kind::Text, "", CERT).reloadable(),
    flag("admin.tls.client-cas", Kind::Text, "", CLIENT_CAS).reloadable(),
    flag("admin.tls.client.cert", Kind::Text, "", CLIENT_CERT).reloadable(),
    flag("admin.tls.client.insecure-skip-verify", Kind::Bool, "false", CLIENT_INSECURE).reloadable(),
    flag("admin.tls.client.key", Kind::Text, "", CLIENT_KEY).reloadable(),
    flag("admin.tls.client.root-cas", Kind::Text, "", CLIENT_ROOT_CAS).reloadable(),
    flag("admin.tls.client.server-name", Kind::Text, "", CLIENT_SERVER_NAME).reloadable(),
    flag("admin.tls.key", Kind::Text, "", KEY).reloadable(),
    flag("admin.tls.min-version", Kind::Text, "1.2", MIN_VERSION).reloadable(),
    flag("admin.tls.sni-certs", Kind::List, "", SNI_CERTS).reloadable(),
    flag(
        "cluster.abort-if-join-fails",
        Kind::Bool,
        "true",
        "End the process when no node could be joined in time",
    ),
    flag(
        "cluster.gossip.advertise-addr",
        Kind::Bind,
        "",
        "The gossip address that other nodes are told; the one really bound when empty",
    ),
    flag(
        "cluster.gossip.bind-addr",
        Kind::Bind,
        ":8003",
        "Where to listen for other nodes, over UDP and TCP; port 0 picks a free one",
    ),
    flag("cluster.gossip.interval", Kind::Duration, "100ms", "The time between two rounds of gossip"),
    flag(
        "cluster.gossip.max-packet-size",
        Kind::Int,
        "1400",
        "The most bytes of a gossip datagram; the same on all nodes",
    ),
    flag(
        "cluster.join",
        Kind::List,
        "",
        "Nodes to join: addresses, or names that have an address for each node; the port is that of the own gossip when left out",
    ),
    flag("cluster.join-timeout", Kind::Duration, "1m", "How long to try to join"),
    flag(
        "cluster.node-id",
        Kind::Text,
        "",
        "The name of this node, different at every start; made up when empty",
    ),
    flag(
        "cluster.node-id-prefix",
        Kind::Text,
        "",
        "What a made-up node id starts with; no effect next to --cluster.node-id",
    ),
    flag(
        "cluster.secret",
        Kind::Text,
        "",
        "What all nodes share: gossip is sealed with it, and only nodes that know it may forward requests",
    )
    .secret(),
    flag("cluster.secret-file", Kind::Text, "", "A file that holds the cluster secret"),
    common::config_expand_env(VERBS),
    common::config_path(VERBS),
    flag(
        "drain-delay",
        Kind::Duration,
        "3s",
        "How long a shutdown goes on serving, not ready, until load balancers have noticed",
    )
    .reloadable(),
    flag("grace-period", Kind::Duration, "1m", "How long a shutdown waits for what is in flight")
        .reloadable(),
    common::log_level(VERBS).reloadable(),
    common::log_subsystems(VERBS).reloadable(),
    flag("proxy.access-log.disable", Kind::Bool, "false", "Log no requests").reloadable(),
    flag(
        "proxy.access-log.level",
        Kind::Text,
        "info",
        "The level of request records: debug, info, warn or error",
    )
    .reloadable(),
    flag("proxy.access-log.request-headers.allow-list", Kind::List, "", "The only request headers to log")
        .reloadable(),
    flag("proxy.access-log.request-headers.block-list", Kind::List, "", "Request headers not to log")
        .reloadable(),
    flag("proxy.access-log.response-headers.allow-list", Kind::List, "", "The only response headers to log")
        .reloadable(),
    flag("proxy.access-log.response-headers.block-list", Kind::List, "", "Response headers not to log")
        .reloadable(),
    flag(
        "proxy.advertise-addr",
        Kind::Bind,
        "",
        "The proxy address that other nodes are told; the one really bound when empty",
    ),
    auth("proxy.auth.audience", Kind::Text, "", "The audience that a token must be for"),
    auth(
        "proxy.auth.disable-disconnect-on-expiry",
        Kind::Bool,
        "false",
        "Keep the connections of an agent whose token expires",
    ),
    auth(
        "proxy.auth.ecdsa-public-key",
        Kind::Text,
        "",
        "The ECDSA public key that tokens are verified with, as PEM",
    ),
    auth("proxy.auth.hmac-secret-key", Kind::Text, "", "The secret that tokens are verified with").secret(),
    auth(
        "proxy.auth.hmac-secret-key-file",
        Kind::Text,
        "",
        "A file that holds the secret that tokens are verified with",
    ),
    auth("proxy.auth.issuer", Kind::Text, "", "The issuer that a token must come from"),
    auth("proxy.auth.jwks.cache-ttl", Kind::Duration, "0", "How often the key set is fetched again"),
    auth("proxy.auth.jwks.endpoint", Kind::Text, "", "The http, https or file URL of a key set"),
    auth("proxy.auth.jwks.timeout", Kind::Duration, "0", "How long fetching the key set may take"),
    auth(
        "proxy.auth.rsa-public-key",
        Kind::Text,
        "",
        "The RSA public key that tokens are verified with, as PEM",
    ),
    flag(
        "proxy.bind-addr",
        Kind::Bind,
        ":8000",
        "Where to listen for requests to endpoints; port 0 picks a free one",
    ),
    flag(
        "proxy.http.idle-timeout",
        Kind::SignedDuration,
        "5m",
        "How long a connection may wait for its next request; 0 is --proxy.http.read-timeout, less than 0 is for ever",
    )
    .reloadable(),
    flag(
        "proxy.http.max-header-bytes",
        Kind::Size,
        "1048576",
        "How large the head of a request may be; 0 is the default",
    )
    .reloadable(),
    flag(
        "proxy.http.read-header-timeout",
        Kind::SignedDuration,
        "10s",
        "How long the head of a request may take; 0 is --proxy.http.read-timeout, less than 0 is for ever",
    )
    .reloadable(),
    flag(
        "proxy.http.read-timeout",
        Kind::SignedDuration,
        "0",
        "The longest pause while reading the body of a request; 0 is one minute",
    )
    .reloadable(),
    flag(
        "proxy.http.write-timeout",
        Kind::SignedDuration,
        "0",
        "The longest pause in a response; 0 is one minute while its client takes nothing, and for ever while its service says nothing",
    )
    .reloadable(),
    flag(
        "proxy.proxy-protocol.trusted",
        Kind::List,
        "",
        "Networks whose connections may begin with a PROXY protocol header, such as 10.0.0.0/8: those of load balancers; the client that it names is the one that counts",
    ),
    flag(
        "proxy.routing.prefer-local",
        Kind::Bool,
        "true",
        "Take an upstream of this node unless another node is clearly less busy; false spreads requests evenly over the cluster",
    ),
    flag(
        "proxy.tcp.ports",
        Kind::List,
        "",
        "TCP ports whose connections all go to one endpoint, each as <addr>=<endpoint>; in a file also as entries of bind_addr and endpoint",
    )
    .reloadable(),
    flag(
        "proxy.tcp.sni.bind-addr",
        Kind::Bind,
        "",
        "Where to listen for TLS clients of TCP endpoints: the first label of the name that they ask for is the endpoint, and TLS is the service's; nowhere when empty",
    ),
    flag(
        "proxy.tcp.sni.domain",
        Kind::Text,
        "",
        "The only domain whose names lead to endpoints at --proxy.tcp.sni.bind-addr; any when empty",
    ),
    flag(
        "proxy.timeout",
        Kind::Duration,
        "30s",
        "How long to wait for the head of a response; 0 is for ever",
    )
    .reloadable(),
    flag("proxy.tls.cert", Kind::Text, "", CERT).reloadable(),
    flag("proxy.tls.client-cas", Kind::Text, "", CLIENT_CAS).reloadable(),
    flag("proxy.tls.client.cert", Kind::Text, "", CLIENT_CERT).reloadable(),
    flag("proxy.tls.client.insecure-skip-verify", Kind::Bool, "false", CLIENT_INSECURE).reloadable(),
    flag("proxy.tls.client.key", Kind::Text, "", CLIENT_KEY).reloadable(),
    flag("proxy.tls.client.root-cas", Kind::Text, "", CLIENT_ROOT_CAS).reloadable(),
    flag("proxy.tls.client.server-name", Kind::Text, "", CLIENT_SERVER_NAME).reloadable(),
    flag("proxy.tls.key", Kind::Text, "", KEY).reloadable(),
    flag("proxy.tls.min-version", Kind::Text, "1.2", MIN_VERSION).reloadable(),
    flag("proxy.tls.sni-certs", Kind::List, "", SNI_CERTS).reloadable(),
    flag("upstream.advertise-addr", Kind::Bind, "", "Not used: nodes do not reach each other there")
        .without_effect("no effect: no node needs the upstream address of another"),
    auth("upstream.auth.audience", Kind::Text, "", "The audience that a token must be for"),
    auth(
        "upstream.auth.disable-disconnect-on-expiry",
        Kind::Bool,
        "false",
        "Keep the connections of an agent whose token expires",
    ),
    auth(
        "upstream.auth.ecdsa-public-key",
        Kind::Text,
        "",
        "The ECDSA public key that tokens are verified with, as PEM",
    ),
    auth("upstream.auth.hmac-secret-key", Kind::Text, "", "The secret that tokens are verified with")
        .secret(),
    auth(
        "upstream.auth.hmac-secret-key-file",
        Kind::Text,
        "",
        "A file that holds the secret that tokens are verified with",
    ),
    auth("upstream.auth.issuer", Kind::Text, "", "The issuer that a token must come from"),
    auth("upstream.auth.jwks.cache-ttl", Kind::Duration, "0", "How often the key set is fetched again"),
    auth("upstream.auth.jwks.endpoint", Kind::Text, "", "The http, https or file URL of a key set"),
    auth("upstream.auth.jwks.timeout", Kind::Duration, "0", "How long fetching the key set may take"),
    auth(
        "upstream.auth.rsa-public-key",
        Kind::Text,
        "",
        "The RSA public key that tokens are verified with, as PEM",
    ),
    flag("upstream.bind-addr", Kind::Bind, ":8001", "Where to listen for agents; port 0 picks a free one"),
    flag("upstream.rebalance.min-conns", Kind::Count, "50", "Nodes with fewer agents than this shed none").reloadable(),
    flag(
        "upstream.rebalance.shed-rate",
        Kind::Float,
        "0.005",
        "The most agents to shed each second, as a share of the nodes' average",
    )
    .reloadable(),
    flag(
        "upstream.rebalance.threshold",
        Kind::Float,
        "0",
        "How far above the nodes' average a node has to be to shed agents, as a share of it; 0 is never",
    )
    .reloadable(),
    Flag::new(&[], "upstream.tenants", Kind::List, "", "Tenants, each with an authentication of its own")
        .yaml(Yaml::Same)
        .refused("tenants are not supported yet, and without them the port would be open"),
    flag("upstream.tls.cert", Kind::Text, "", CERT).reloadable(),
    flag("upstream.tls.client-cas", Kind::Text, "", CLIENT_CAS).reloadable(),
    flag("upstream.tls.client.cert", Kind::Text, "", CLIENT_CERT).without_effect(NO_CLIENT),
    flag("upstream.tls.client.insecure-skip-verify", Kind::Bool, "false", CLIENT_INSECURE)
        .without_effect(NO_CLIENT),
    flag("upstream.tls.client.key", Kind::Text, "", CLIENT_KEY).without_effect(NO_CLIENT),
    flag("upstream.tls.client.root-cas", Kind::Text, "", CLIENT_ROOT_CAS).without_effect(NO_CLIENT),
    flag("upstream.tls.client.server-name", Kind::Text, "", CLIENT_SERVER_NAME).without_effect(NO_CLIENT),
    flag("upstream.tls.key", Kind::Text, "", KEY).reloadable(),
    flag("upstream.tls.min-version", Kind::Text, "1.2", MIN_VERSION).reloadable(),
    flag("upstream.tls.sni-certs", Kind::List, "", SNI_CERTS).reloadable(),
];
