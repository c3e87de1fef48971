//! The flags of `piko agent` (behaviour reference, CLI 2.1 and 2.3).

use super::{Effect, Flag, Verb, Yaml, common};
use crate::value::Kind;

/// Every command of the agent.
const VERBS: &[Verb] = &[Verb::Agent, Verb::AgentHttp, Verb::AgentStart, Verb::AgentTcp];

/// Taken by every command of the agent.
const fn flag(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag::new(VERBS, name, kind, default, help)
}

/// What stands under an entry of `listeners` in a file, and is an argument of `agent http` and `agent tcp`.
#[cfg(feature = "yaml")]
const fn entry(name: &'static str, default: &'static str, help: &'static str) -> Flag {
    Flag::new(&[], name, Kind::Text, default, help).yaml(Yaml::Listener)
}

/// Settings of a listener, whatever it speaks. `--endpoints` makes HTTP listeners, so `agent` alone takes them too.
const fn listener(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag::new(&[Verb::Agent, Verb::AgentHttp, Verb::AgentTcp], name, kind, default, help).yaml(Yaml::Listener)
}

/// A build that cannot write it cannot go on where the service expects it.
const fn proxy_protocol(help: &'static str) -> Flag {
    const EFFECT: Effect = if cfg!(feature = "proxy-protocol") {
        Effect::Works
    } else {
        Effect::Refused("this build writes no PROXY protocol headers")
    };
    let mut flag = listener("proxy-protocol", Kind::Text, "", common::help_of(EFFECT, help)).reloadable();
    flag.effect = EFFECT;
    flag
}

/// A build without TLS refuses its flags: what they ask for would not come about.
const fn tls(flag: Flag) -> Flag {
    #[cfg(not(feature = "tls"))]
    let flag = {
        let mut flag = flag.refused("this build speaks no TLS");
        flag.help = common::help_of(flag.effect, flag.help);
        flag
    };
    flag
}

/// Settings of an HTTP listener.
const fn http(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag::new(&[Verb::Agent, Verb::AgentHttp], name, kind, default, help).yaml(Yaml::Listener)
}

pub(super) const FLAGS: &[Flag] = &[
    listener("access-log.disable", Kind::Bool, "false", "Log no requests (HTTP); log connections at level debug (TCP)").reloadable(),
    listener("access-log.level", Kind::Text, "info", "The level of request and connection records: debug, info, warn or error")
        .reloadable(),
    http("access-log.request-headers.allow-list", Kind::List, "", "The only request headers to log").reloadable(),
    http("access-log.request-headers.block-list", Kind::List, "", "Request headers not to log").reloadable(),
    http("access-log.response-headers.allow-list", Kind::List, "", "The only response headers to log").reloadable(),
    http("access-log.response-headers.block-list", Kind::List, "", "Response headers not to log").reloadable(),
    #[cfg(feature = "yaml")]
    entry("addr", "", "The service: a port of localhost, host:port, a URL, or unix:/path").reloadable(),
    common::config_expand_env(VERBS),
    common::config_path(VERBS),
    flag("connect.exit-on-failure", Kind::Bool, "false", "Exit when the first connection does not come about"),
    common::connect_proxy_url(VERBS).reloadable(),
    common::connect_proxy_url_file(VERBS).reloadable(),
    flag("connect.tenant-id", Kind::Text, "", "The tenant to connect as").reloadable(),
    flag("connect.timeout", Kind::Duration, "30s", "How long one attempt to connect may take").reloadable(),
    tls(flag("connect.tls.cert", Kind::Text, "", "A PEM file: the certificate to show to a server that asks for one").reloadable()),
    tls(flag("connect.tls.insecure-skip-verify", Kind::Bool, "false", "Take whatever certificate the server shows: for tests only").reloadable()),
    tls(flag("connect.tls.key", Kind::Text, "", "A PEM file: the key of --connect.tls.cert").reloadable()),
    tls(flag("connect.tls.root-cas", Kind::Text, "", "A PEM file: the authorities to trust; those of the machine when empty").reloadable()),
    flag("connect.token", Kind::Text, "", "The token to authenticate with").secret().reloadable(),
    flag("connect.token-file", Kind::Text, "", "A file that holds the token").reloadable(),
    flag("connect.url", Kind::Text, "http://localhost:8001", "The server's upstream port: http, https, ws or wss; a path is kept as prefix; several, separated by commas, are tried in order").reloadable(),
    #[cfg(feature = "yaml")]
    entry("endpoint-id", "", "The endpoint to register").reloadable(),
    Flag::new(
        &[Verb::Agent],
        "endpoints",
        Kind::List,
        "",
        "HTTP listeners as <endpoint>/<addr>, such as my-endpoint/localhost:4000 (for `agent` without a command)",
    )
    .yaml(Yaml::Absent),
    flag("grace-period", Kind::Duration, "1m", "How long a shutdown waits for what is in flight").reloadable(),
    http("http-client.disable-compression", Kind::Bool, "false", "Do not ask the service for compressed responses")
        .without_effect("no effect: Piko never compresses or unpacks"),
    http("http-client.idle-conn-timeout", Kind::SignedDuration, "1m30s", "How long an idle connection to the service is kept; 0 is for ever").reloadable(),
    http("http-client.keep-alive-timeout", Kind::SignedDuration, "30s", "How often TCP probes an idle connection to the service; 0 is never").reloadable(),
    http("http-client.max-idle-conns", Kind::Int, "100", "How many idle connections to the service are kept; 0 or less is without limit").reloadable(),
    common::log_level(VERBS).reloadable(),
    common::log_subsystems(VERBS).reloadable(),
    #[cfg(feature = "yaml")]
    entry("protocol", "http", "What is spoken with the service: http or tcp").reloadable(),
    proxy_protocol("Begin connections to the service with a PROXY protocol header that names the client: v1 or v2"),
    flag("server.bind-addr", Kind::Bind, ":5000", "Where the agent's own /metrics is served; port 0 picks a free one"),
    flag("server.enabled", Kind::Bool, "false", "Serve /metrics"),
    #[cfg(feature = "yaml")]
    entry("tenant-id", "", "The tenant to register this endpoint as, in place of connect.tenant_id").reloadable(),
    listener("timeout", Kind::Duration, "10s", "How long to wait for the service: to connect, and for the head of a response; 0 is for ever").reloadable(),
    tls(http("tls.cert", Kind::Text, "", "A PEM file: the certificate to show to an https service that asks for one").reloadable()),
    tls(http("tls.insecure-skip-verify", Kind::Bool, "false", "Take whatever certificate the service shows: for tests only").reloadable()),
    tls(http("tls.key", Kind::Text, "", "A PEM file: the key of --tls.cert").reloadable()),
    tls(http("tls.root-cas", Kind::Text, "", "A PEM file: the authorities to trust for the service; those of the machine when empty").reloadable()),
    #[cfg(feature = "yaml")]
    entry("token", "", "The token for this endpoint, in place of connect.token").secret().reloadable(),
    #[cfg(feature = "yaml")]
    entry("token-file", "", "A file that holds the token for this endpoint").reloadable(),
    #[cfg(feature = "yaml")]
    entry("tunnel-tls.cert", "", "A PEM file: the certificate to show to the server for this endpoint; any tunnel_tls takes the place of all of connect.tls").reloadable(),
    #[cfg(feature = "yaml")]
    entry("tunnel-tls.insecure-skip-verify", "false", "Take whatever certificate the server shows for this endpoint: for tests only").kind(Kind::Bool).reloadable(),
    #[cfg(feature = "yaml")]
    entry("tunnel-tls.key", "", "A PEM file: the key of tunnel_tls.cert").reloadable(),
    #[cfg(feature = "yaml")]
    entry("tunnel-tls.root-cas", "", "A PEM file: the authorities to trust for this endpoint").reloadable(),
];
