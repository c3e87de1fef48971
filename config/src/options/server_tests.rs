use super::*;
use crate::options::{HeaderFilter, LogLevel, NodeIdRule};
use crate::table::{Effect, Program, flags};

fn options(pairs: &[(&str, &str)]) -> Result<ServerOptions, UsageError> {
    let given: Vec<_> = pairs.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    ServerOptions::from_values(&Values::resolve(Command::Server, &given, &|_| None)?)
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    let error = options(pairs).expect_err("is refused");
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

#[test]
fn defaults_are_those_of_go_but_for_the_two_that_are_off() {
    let options = ServerOptions::default();
    assert_eq!(options.proxy.bind.to_string(), ":8000");
    assert_eq!(options.upstream.bind.to_string(), ":8001");
    assert_eq!(options.admin.bind.to_string(), ":8002");
    assert_eq!(options.cluster.gossip.bind.to_string(), ":8003");
    assert_eq!(options.cluster.node_id, NodeIdRule::Generate { prefix: String::new() });
    assert_eq!(options.grace_period, Duration::from_secs(60));
    assert_eq!(options.proxy.timeout, Some(Duration::from_secs(30)));
    assert!(options.proxy.routing.prefer_local);
    assert_eq!(options.proxy.http.read_timeout, None);
    assert_eq!(options.proxy.http.write_timeout, None);
    assert_eq!(options.proxy.http.read_header_timeout, Some(Duration::from_secs(10)));
    assert_eq!(options.proxy.http.idle_timeout, Some(Duration::from_secs(300)));
    assert_eq!(options.proxy.http.max_header_bytes, 1 << 20);
    assert_eq!(options.proxy.access_log, AccessLogOptions::default());
    assert_eq!(options.log, LogOptions::default());
    assert_eq!(options.log.level, LogLevel::Info);
}

/// A flag that is read nowhere is a flag without effect.
#[test]
fn every_flag_changes_the_options() {
    let default = ServerOptions::default();
    for flag in flags(Program::Server) {
        if matches!(flag.effect, Effect::Refused(_)) || flag.name.starts_with("config.") {
            // The former change nothing, a file has tests of its own, and the latter say which one.
            continue;
        }
        let text = match flag.name {
            name if name.ends_with("-addr") => "127.0.0.1:0",
            "cluster.abort-if-join-fails" | "proxy.routing.prefer-local" => "false",
            "cluster.gossip.max-packet-size" | "upstream.rebalance.min-conns" => "700",
            "upstream.rebalance.shed-rate" | "upstream.rebalance.threshold" => "0.5",
            "cluster.gossip.interval" | "drain-delay" => "7s",
            "proxy.access-log.disable" => "true",
            "proxy.proxy-protocol.trusted" => "10.0.0.0/8",
            "proxy.tcp.ports" => ":0=e",
            "proxy.http.max-header-bytes" => "4KiB",
            "log.level" | "proxy.access-log.level" => "warn",
            name if name.ends_with("timeout") || name == "grace-period" => "7s",
            name if name.ends_with("min-version") => "1.3",
            name if name.ends_with("skip-verify") => "true",
            _ => "word",
        };
        // What belongs to TLS says something only next to a certificate and its key.
        let port = flag.name.split('.').next().expect("a name has a first part");
        let pair = ["cert", "key", "client.cert", "client.key"].map(|key| format!("{port}.tls.{key}"));
        let mut given = vec![(flag.name, text)];
        let (with_tls, of_client) = (flag.name.contains(".tls."), flag.name.contains(".tls.client."));
        given.extend(pair[..2].iter().filter(|_| with_tls).map(|name| (name.as_str(), "file")));
        given.extend(pair[2..].iter().filter(|_| of_client).map(|name| (name.as_str(), "file")));
        if flag.name == "proxy.tcp.sni.domain" {
            given.push(("proxy.tcp.sni.bind-addr", ":0"));
        }
        let mut default = default.clone();
        if with_tls {
            let without: Vec<_> = given[1..].iter().filter(|(name, _)| *name != flag.name).copied().collect();
            default = options(&without).unwrap_or(default);
            default.notices.clear();
        }
        let changed = options(&given).expect(flag.name);
        let works = flag.effect == Effect::Works;
        let start = default.start.clone();
        let differs = ServerOptions { notices: Vec::new(), start, ..changed.clone() } != default;
        assert_eq!(differs, works, "{}", flag.name);
        assert_eq!(changed.notices.is_empty(), works, "{}", flag.name);
    }
}

/// Nothing is open that somebody wants closed.
#[test]
fn what_would_leave_a_port_open_is_refused() {
    let refused: Vec<_> =
        flags(Program::Server).iter().filter(|flag| matches!(flag.effect, Effect::Refused(_))).collect();
    assert_eq!(refused.len(), 3 * 10 + 1);
    for flag in refused.into_iter().filter(|flag| !flag.verbs.is_empty()) {
        let text = match flag.default {
            "false" => "true",
            "0" => "7s",
            _ => "word",
        };
        let error = options(&[(flag.name, text)]).expect_err(flag.name);
        assert!(error.to_string().starts_with(&format!("--{}: ", flag.name)), "{error}");
        assert_eq!(error.exit_code(), 2, "{error}");
        // What is off or zero asks for nothing; what is empty was meant to be something.
        let default = options(&[(flag.name, flag.default)]).map(|options| options.notices);
        assert_eq!(default.is_err(), flag.default.is_empty(), "{default:?}");
    }
}

#[test]
fn zero_and_less_follow_go() {
    let http = |pairs: &[(&str, &str)]| options(pairs).expect("is accepted").proxy.http;
    let seconds = |n| Some(Duration::from_secs(n));
    let read = ("proxy.http.read-timeout", "4s");
    let header = |text| ("proxy.http.read-header-timeout", text);
    let idle = |text| ("proxy.http.idle-timeout", text);
    assert_eq!(http(&[read, header("0")]).read_header_timeout, seconds(4));
    assert_eq!(http(&[header("0")]).read_header_timeout, None);
    assert_eq!(http(&[read, header("-1s")]).read_header_timeout, None);
    assert_eq!(http(&[read, header("1s")]).read_header_timeout, seconds(1));
    assert_eq!(http(&[read, idle("0")]).idle_timeout, seconds(4));
    assert_eq!(http(&[read, idle("-1s")]).idle_timeout, None);
    for text in ["0", "-5"] {
        assert_eq!(http(&[("proxy.http.max-header-bytes", text)]).max_header_bytes, 1 << 20);
    }
    for text in ["0", "0s"] {
        assert_eq!(options(&[("proxy.timeout", text)]).expect("is accepted").proxy.timeout, None);
    }
}

#[test]
fn a_given_node_id_makes_its_prefix_idle() {
    let node_id = |pairs: &[(&str, &str)]| options(pairs).expect("is accepted").cluster.node_id;
    let prefix = ("cluster.node-id-prefix", "piko-1-");
    assert_eq!(node_id(&[prefix]), NodeIdRule::Generate { prefix: "piko-1-".into() });
    assert_eq!(node_id(&[prefix, ("cluster.node-id", "n1")]), NodeIdRule::Given("n1".into()));
}

#[test]
fn messages_are_those_of_go_and_name_the_flag() {
    assert_eq!(
        refusal(&[("cluster.gossip.bind-addr", "")]),
        "config: cluster: gossip: missing bind addr [--cluster.gossip.bind-addr]"
    );
    assert_eq!(refusal(&[("proxy.bind-addr", "")]), "config: proxy: missing bind addr [--proxy.bind-addr]");
    assert_eq!(
        refusal(&[("upstream.bind-addr", "")]),
        "config: upstream: missing bind addr [--upstream.bind-addr]"
    );
    assert_eq!(refusal(&[("admin.bind-addr", "")]), "config: admin: missing bind addr [--admin.bind-addr]");
    assert_eq!(refusal(&[("log.level", "")]), "config: log: missing level [--log.level]");
    assert!(refusal(&[("log.level", "INFO")]).starts_with("config: log: unsupported level: INFO"));
    assert_eq!(
        refusal(&[("proxy.access-log.level", "")]),
        "config: proxy: access log: missing level [--proxy.access-log.level]"
    );
    assert!(
        refusal(&[("proxy.access-log.level", "x")])
            .starts_with("config: proxy: access log: unsupported level: x")
    );
    assert_eq!(refusal(&[("grace-period", "0")]), "config: missing grace period [--grace-period]");
    // The first section that is wrong is told.
    assert_eq!(
        refusal(&[("grace-period", "0"), ("admin.bind-addr", "")]),
        "config: admin: missing bind addr [--admin.bind-addr]"
    );
}

#[test]
fn header_lists_exclude_each_other_unless_the_log_is_off() {
    for which in ["request", "response"] {
        let allow = format!("proxy.access-log.{which}-headers.allow-list");
        let block = format!("proxy.access-log.{which}-headers.block-list");
        assert_eq!(
            refusal(&[(&allow, "a"), (&block, "b")]),
            format!(
                "config: proxy: access log: {which} headers: cannot define both allow list and block list \
                 [--{allow}, --{block}]"
            )
        );
        let off = options(&[(&allow, "a"), (&block, "b"), ("proxy.access-log.disable", "true")])
            .expect("is accepted");
        assert!(off.proxy.access_log.disable);
    }
    let log = options(&[
        ("proxy.access-log.request-headers.allow-list", "a,b"),
        ("proxy.access-log.response-headers.block-list", "c"),
    ])
    .expect("is accepted")
    .proxy
    .access_log;
    assert_eq!(log.request_headers, HeaderFilter::Allow(vec!["a".into(), "b".into()]));
    assert_eq!(log.response_headers, HeaderFilter::Block(vec!["c".into()]));
    assert!(options(&[("proxy.access-log.level", "x"), ("proxy.access-log.disable", "true")]).is_ok());
}

#[test]
fn bad_addresses_are_told_before_anything_listens() {
    let error = options(&[("proxy.bind-addr", "8000")]).expect_err("is refused");
    assert_eq!(
        error.to_string(),
        "--proxy.bind-addr: \"8000\" is no address to listen on (examples: :8000, 127.0.0.1:8000, [::1]:8000)"
    );
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn each_limit_lands_in_its_own_field() {
    let http = options(&[
        ("proxy.http.read-timeout", "1s"),
        ("proxy.http.write-timeout", "2s"),
        ("proxy.http.read-header-timeout", "3s"),
        ("proxy.http.idle-timeout", "4s"),
        ("proxy.http.max-header-bytes", "8KiB"),
    ])
    .expect("is accepted")
    .proxy
    .http;
    let seconds = |n| Some(Duration::from_secs(n));
    assert_eq!((http.read_timeout, http.write_timeout), (seconds(1), seconds(2)));
    assert_eq!((http.read_header_timeout, http.idle_timeout), (seconds(3), seconds(4)));
    assert_eq!(http.max_header_bytes, 8192);
}

/// Go keeps it in an unsigned number of 64 bits.
#[test]
fn as_many_connections_as_go_can_count() {
    let min_conns = |text: &str| {
        let given = [("upstream.rebalance.min-conns", text.to_owned())];
        let values =
            Values::resolve(Command::Server, &given, &|_| None).map_err(|error| error.to_string())?;
        let options = ServerOptions::from_values(&values).map_err(|error| error.to_string())?;
        Ok::<_, String>(options.upstream.rebalance.min_conns)
    };
    for text in ["18446744073709551615", "0xffffffffffffffff", "9223372036854775808"] {
        assert_eq!(min_conns(text), Ok(usize::try_from(i64::MAX).unwrap_or(usize::MAX)), "{text}");
    }
    assert_eq!(min_conns("7"), Ok(7));
    assert!(min_conns("18446744073709551616").is_err_and(|told| told.contains("no whole number of 64 bits")));
    assert!(min_conns("-1").is_err_and(|told| told.contains("cannot be negative")));
}
