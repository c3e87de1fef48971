//! The flags of the smaller programs (behaviour reference, CLI 1.2, 2.4 and 2.5).

use super::{Flag, Verb, Yaml, common};
use crate::value::Kind;

const FORWARD_VERBS: &[Verb] = &[Verb::ForwardStart, Verb::ForwardTcp];

const fn forward(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag::new(FORWARD_VERBS, name, kind, default, help)
}

/// What stands under an entry of `ports`, and is an argument of `forward tcp`.
const fn port(name: &'static str, help: &'static str) -> Flag {
    Flag::new(&[], name, Kind::Text, "", help).yaml(Yaml::Port)
}

pub(super) const FORWARD: &[Flag] = &[
    port("addr", "Where to listen: a port of localhost, host:port, or unix:/path"),
    common::config_expand_env(FORWARD_VERBS),
    common::config_path(FORWARD_VERBS),
    common::connect_proxy_url(FORWARD_VERBS),
    common::connect_proxy_url_file(FORWARD_VERBS),
    forward(
        "connect.timeout",
        Kind::Duration,
        "30s",
        "How long a connection to an endpoint may take to come about, retries included",
    ),
    forward(
        "connect.tls.cert",
        Kind::Text,
        "",
        "A PEM file: the certificate to show to a server that asks for one",
    ),
    forward(
        "connect.tls.insecure-skip-verify",
        Kind::Bool,
        "false",
        "Take whatever certificate the server shows: for tests only",
    ),
    forward("connect.tls.key", Kind::Text, "", "A PEM file: the key of --connect.tls.cert"),
    forward(
        "connect.tls.root-cas",
        Kind::Text,
        "",
        "A PEM file: the authorities to trust; those of the machine when empty",
    ),
    forward("connect.token", Kind::Text, "", "The token to authenticate with").secret().reloadable(),
    forward("connect.token-file", Kind::Text, "", "A file that holds the token").reloadable(),
    forward(
        "connect.url",
        Kind::Text,
        "http://localhost:8000",
        "The server's proxy port: http, https, ws or wss; a path is kept as prefix; several, separated by commas, are tried in order",
    ),
    port("endpoint-id", "The endpoint to forward to"),
    common::log_level(FORWARD_VERBS).reloadable(),
    common::log_subsystems(FORWARD_VERBS).reloadable(),
];

const BENCH_VERBS: &[Verb] = &[Verb::BenchHttp];

const fn bench(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag::new(BENCH_VERBS, name, kind, default, help)
}

/// The file of a bench says `server` where its flags say `connect`, as in Go.
pub(super) const BENCH: &[Flag] = &[
    bench("clients", Kind::Int, "100", "How many clients send requests"),
    common::config_expand_env(BENCH_VERBS),
    common::config_path(BENCH_VERBS),
    bench("connect.proxy-url", Kind::Text, "http://localhost:8000", "The server's proxy port")
        .yaml(Yaml::At("server.proxy_url")),
    bench("connect.timeout", Kind::Duration, "5s", "How long one attempt to connect may take")
        .yaml(Yaml::At("server.timeout")),
    bench("connect.upstream-url", Kind::Text, "http://localhost:8001", "The server's upstream port")
        .yaml(Yaml::At("server.upstream_url")),
    bench("endpoints", Kind::Int, "100", "How many endpoints are registered"),
    common::log_level(BENCH_VERBS),
    common::log_subsystems(BENCH_VERBS),
    bench("requests", Kind::Int, "100000", "How many requests are sent"),
    bench("size", Kind::Size, "1024", "How large the body of a request is"),
    bench("upstreams", Kind::Int, "100", "How many upstreams serve the endpoints"),
];

const fn status(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag::new(&[Verb::Status], name, kind, default, help).yaml(Yaml::Absent)
}

pub(super) const STATUS: &[Flag] = &[
    status("forward", Kind::Text, "", "Ask the node of this id, through the one at --server.url"),
    status("output", Kind::Text, "yaml", "How to show the answer: json, table or yaml"),
    status(
        "server.tls.cert",
        Kind::Text,
        "",
        "A PEM file: the certificate to show to a node that asks for one (admin.tls.client-cas)",
    ),
    status(
        "server.tls.insecure-skip-verify",
        Kind::Bool,
        "false",
        "Take whatever certificate is shown at an https URL: for tests only",
    ),
    status("server.tls.key", Kind::Text, "", "A PEM file: the key of --server.tls.cert"),
    status(
        "server.tls.root-cas",
        Kind::Text,
        "",
        "A PEM file: the authorities to trust at an https URL; those of the machine when empty",
    ),
    status("server.token", Kind::Text, "", "The token to authenticate with").secret(),
    status("server.token-file", Kind::Text, "", "A file that holds the token"),
    status("server.url", Kind::Text, "http://localhost:8002", "The admin port of the node"),
];

const TEST_VERBS: &[Verb] = &[Verb::TestCluster];

pub(super) const TEST_CLUSTER: &[Flag] = &[
    common::config_expand_env(TEST_VERBS),
    common::config_path(TEST_VERBS),
    common::log_level(TEST_VERBS),
    common::log_subsystems(TEST_VERBS),
    Flag::new(TEST_VERBS, "nodes", Kind::Int, "3", "How many nodes"),
];
