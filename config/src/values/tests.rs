use super::*;
use std::ffi::OsString;

fn given(pairs: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    pairs.iter().map(|(name, text)| (*name, (*text).to_owned())).collect()
}

fn server(pairs: &[(&'static str, &str)], env: &[(&str, &str)]) -> Result<Values, UsageError> {
    let env =
        |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, text)| OsString::from(*text));
    Values::resolve(Command::Server, &given(pairs), &env)
}

#[test]
fn flags_beat_the_environment_which_beats_defaults() {
    let env = [("PIKO_PROXY_TIMEOUT", "2s")];
    let values = server(&[], &[]).unwrap();
    assert_eq!(
        (values.duration("proxy.timeout"), values.source("proxy.timeout")),
        (Duration::from_secs(30), Source::Default)
    );
    let values = server(&[], &env).unwrap();
    assert_eq!(
        (values.duration("proxy.timeout"), values.source("proxy.timeout")),
        (Duration::from_secs(2), Source::Environment)
    );
    assert_eq!(values.origin("proxy.timeout"), "PIKO_PROXY_TIMEOUT");
    let values = server(&[("proxy.timeout", "3s")], &env).unwrap();
    assert_eq!(
        (values.duration("proxy.timeout"), values.source("proxy.timeout")),
        (Duration::from_secs(3), Source::Flag)
    );
    assert_eq!(values.origin("proxy.timeout"), "--proxy.timeout");
}

#[test]
fn the_last_scalar_counts_and_lists_collect() {
    let values = server(
        &[
            ("proxy.timeout", "1s"),
            ("log.subsystems", "a,b"),
            ("proxy.timeout", "2s"),
            ("log.subsystems", "\"c,d\""),
        ],
        &[("PIKO_LOG_SUBSYSTEMS", "x")],
    )
    .unwrap();
    assert_eq!(values.duration("proxy.timeout"), Duration::from_secs(2));
    assert_eq!(values.list("log.subsystems"), ["a", "b", "c,d"]);
    // An earlier value that is wrong stays wrong.
    assert!(server(&[("proxy.timeout", "x"), ("proxy.timeout", "2s")], &[]).is_err());
}

#[test]
fn an_empty_variable_is_unset_and_a_bad_one_is_named() {
    let values = server(&[], &[("PIKO_PROXY_TIMEOUT", ""), ("PIKO_UNHEARD_OF", "x")]).unwrap();
    assert_eq!(values.source("proxy.timeout"), Source::Default);
    let error = server(&[], &[("PIKO_PROXY_TIMEOUT", "10x")]).unwrap_err();
    assert_eq!(error.to_string(), "PIKO_PROXY_TIMEOUT: \"10x\" is no duration (examples: 300ms, 10s, 1m30s)");
    assert_eq!(error.exit_code(), 2);
    // A flag covers a bad variable: it is not even read.
    assert!(server(&[("proxy.timeout", "1s")], &[("PIKO_PROXY_TIMEOUT", "10x")]).is_ok());
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_named() {
    use std::os::unix::ffi::OsStringExt;
    let env = |name: &str| (name == "PIKO_LOG_LEVEL").then(|| OsString::from_vec(vec![0xff]));
    let error = Values::resolve(Command::Server, &[], &env).unwrap_err();
    assert_eq!(error.to_string(), "PIKO_LOG_LEVEL: the value is no UTF-8 text");
}

#[test]
fn variables_of_other_commands_are_ignored_and_their_flags_refused() {
    let env = |name: &str| (name == "PIKO_HTTP_CLIENT_MAX_IDLE_CONNS").then(|| OsString::from("many"));
    let tcp = || Command::AgentTcp { endpoint: "e".into(), addr: "1".into() };
    assert_eq!(Values::resolve(tcp(), &[], &env).unwrap().int("http-client.max-idle-conns"), 100);
    let http = Command::AgentHttp { endpoint: "e".into(), addr: "1".into() };
    let error = Values::resolve(http, &[], &env).unwrap_err();
    assert_eq!(error.to_string(), "PIKO_HTTP_CLIENT_MAX_IDLE_CONNS: \"many\" is no whole number of 64 bits");
    let error =
        Values::resolve(tcp(), &given(&[("http-client.max-idle-conns", "1")]), &|_| None).unwrap_err();
    assert_eq!(error.to_string(), "--http-client.max-idle-conns: no flag of this command");
}

#[test]
fn flags_without_effect_are_told_when_given_only() {
    assert_eq!(server(&[], &[]).unwrap().notices(), &[] as &[String]);
    let notice = "no effect: no node needs the upstream address of another";
    let values = server(&[("upstream.advertise-addr", ":0")], &[]).unwrap();
    assert_eq!(values.notices(), [format!("--upstream.advertise-addr: {notice}")]);
    let values = server(&[], &[("PIKO_UPSTREAM_ADVERTISE_ADDR", ":0")]).unwrap();
    assert_eq!(values.notices(), [format!("PIKO_UPSTREAM_ADVERTISE_ADDR: {notice}")]);
}

#[test]
fn the_token_is_in_no_dump() {
    let secret = "eyJhbGciOi";
    let values = Values::resolve(Command::Agent, &given(&[("connect.token", secret)]), &|_| None).unwrap();
    assert_eq!(values.text("connect.token"), secret);
    let dump = format!("{values:?}");
    assert!(!dump.contains(secret), "{dump}");
    assert!(dump.contains("\"connect.token\": [redacted]"), "{dump}");
    assert!(dump.contains("localhost:8001"), "{dump}");
}

#[test]
fn every_kind_has_its_reader() {
    let values = Values::defaults(Command::Server);
    assert_eq!(values.bind("proxy.bind-addr").map(ToString::to_string).as_deref(), Some(":8000"));
    assert_eq!(values.size("proxy.http.max-header-bytes"), 1 << 20);
    assert_eq!(values.text("log.level"), "info");
    assert!(!values.flag("proxy.access-log.disable"));
    assert_eq!(values.optional_duration("proxy.http.read-timeout"), None);
    assert_eq!(values.program(), Program::Server);
    assert_eq!(server(&[("proxy.bind-addr", "")], &[]).unwrap().bind("proxy.bind-addr"), None);
}

#[test]
#[should_panic(expected = "no flag is called proxy.time")]
fn a_name_that_the_table_lacks_is_our_mistake() {
    let _ = Values::defaults(Command::Server).duration("proxy.time");
}

#[test]
#[should_panic(expected = "proxy.timeout is of another kind")]
fn a_reader_of_the_wrong_kind_is_our_mistake() {
    let _ = Values::defaults(Command::Server).text("proxy.timeout");
}

/// `net/http` of Go takes a negative limit for none; a negative wait is a mistake.
#[test]
fn only_limits_of_go_may_be_negative() {
    use crate::value::Kind;
    let unlimited = [
        "http-client.idle-conn-timeout",
        "http-client.keep-alive-timeout",
        "proxy.http.idle-timeout",
        "proxy.http.read-header-timeout",
        "proxy.http.read-timeout",
        "proxy.http.write-timeout",
    ];
    let mut seen = 0;
    for program in [Program::Agent, Program::Bench, Program::Forward, Program::Server] {
        for flag in flags(program) {
            match flag.kind {
                Kind::Duration => {
                    assert_eq!(flag.kind.parse("-1s"), None, "{}", flag.name);
                    let line = UsageError::bad_value("--x", flag, "-1s").to_string();
                    assert_eq!(line, "--x: \"-1s\" is negative, which no such duration can be");
                }
                Kind::SignedDuration => {
                    assert!(unlimited.contains(&flag.name), "{}", flag.name);
                    assert!(flag.kind.parse("-1s").is_some());
                    seen += 1;
                }
                _ => {}
            }
        }
    }
    assert_eq!(seen, unlimited.len());
}

#[test]
fn an_empty_flag_opens_nothing() {
    for name in [
        "admin.auth.jwks.endpoint",
        "cluster.secret",
        "cluster.secret-file",
        "proxy.auth.rsa-public-key",
        "proxy.tls.client-cas",
        "upstream.auth.audience",
        "upstream.auth.ecdsa-public-key",
        "upstream.auth.hmac-secret-key",
        "upstream.auth.hmac-secret-key-file",
    ] {
        let error = server(&[(name, "")], &[]).expect_err(name);
        let wanted = format!("--{name}: an empty value protects nothing; ");
        assert!(error.to_string().starts_with(&wanted) && error.exit_code() == 2, "{error}");
        // An empty variable is one that is not set.
        let variable = format!("PIKO_{}", name.to_uppercase().replace(['.', '-'], "_"));
        assert!(server(&[], &[(&variable, "")]).is_ok(), "{name}");
    }
    // Off is the state of these without a flag as well.
    assert!(server(&[("proxy.auth.disable-disconnect-on-expiry", "false")], &[]).is_ok());
    assert!(server(&[("proxy.tls.cert", "")], &[]).is_ok());
}
