use super::*;
use crate::table::{Effect, Program, Verb, flags};

fn resolve(command: Command, pairs: &[(&str, &str)]) -> Result<AgentOptions, UsageError> {
    let given: Vec<_> = pairs.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    AgentOptions::from_values(&Values::resolve(command, &given, &|_| None)?)
}

fn http(endpoint: &str, addr: &str) -> Command {
    Command::AgentHttp { endpoint: endpoint.into(), addr: addr.into() }
}

fn tcp(endpoint: &str, addr: &str) -> Command {
    Command::AgentTcp { endpoint: endpoint.into(), addr: addr.into() }
}

fn refusal(command: Command, pairs: &[(&str, &str)]) -> (String, u8) {
    let error = resolve(command, pairs).expect_err("is refused");
    (error.to_string(), error.exit_code())
}

#[test]
fn defaults_are_those_of_go() {
    let options = resolve(http("e", "4000"), &[]).expect("is accepted");
    assert_eq!(options.connect.url.to_string(), "http://localhost:8001");
    assert_eq!(options.connect.timeout, Duration::from_secs(30));
    assert_eq!(options.connect.token, None);
    assert_eq!(options.connect.tenant_id, None);
    assert!(!options.connect.exit_on_failure);
    assert_eq!(options.grace_period, Duration::from_secs(60));
    assert_eq!(options.metrics, None);
    let [listener] = options.listeners.as_slice() else { panic!("{options:?}") };
    assert_eq!((listener.endpoint.as_str(), listener.addr.to_string().as_str()), ("e", "localhost:4000"));
    assert_eq!(listener.protocol, Protocol::Http);
    assert_eq!(listener.timeout, Some(Duration::from_secs(10)));
    assert_eq!(listener.access_log, AccessLogOptions::default());
    assert_eq!(listener.pool.idle_timeout, Some(Duration::from_secs(90)));
    assert_eq!(listener.pool.keep_alive, Some(Duration::from_secs(30)));
    assert_eq!(listener.pool.max_idle, Some(100));
    let start = AgentOptions::default().start;
    assert_eq!(AgentOptions { listeners: Vec::new(), start, ..options }, AgentOptions::default());
}

/// A flag that is read nowhere is a flag without effect.
#[test]
fn every_flag_changes_the_options() {
    for (verb, command) in [(Verb::AgentHttp, http("e", "https://s")), (Verb::AgentTcp, tcp("e", "4000"))] {
        for flag in flags(Program::Agent).iter().filter(|flag| flag.belongs_to(verb)) {
            let text = match flag.name {
                // A file has tests of its own, and these say which one.
                "config.path" | "config.expand-env" => continue,
                "connect.url" => "wss://piko.example.com",
                "connect.proxy-url" => "http://proxy:3128",
                "http-client.max-idle-conns" => "7",
                "log.level" | "access-log.level" => "warn",
                "proxy-protocol" => "v2",
                "server.bind-addr" => "127.0.0.1:0",
                name if name.ends_with("timeout") || name == "grace-period" => "7s",
                _ if flag.default == "false" => "true",
                "connect.proxy-url-file" => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxy-url"),
                "connect.token-file" => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/token"),
                _ => "word",
            };
            // An address to serve metrics on counts only where they are served.
            let before: &[_] = match flag.name {
                "server.bind-addr" => &[("server.enabled", "true")],
                // A certificate and its key come together.
                "connect.tls.cert" | "connect.tls.key" => {
                    &[("connect.url", "https://h"), ("connect.tls.cert", "a"), ("connect.tls.key", "a")]
                }
                // A server that is spoken no TLS with makes them idle, which is told.
                name if name.starts_with("connect.tls.") => &[("connect.url", "https://h")],
                "tls.cert" | "tls.key" => &[("tls.cert", "a"), ("tls.key", "a")],
                _ => &[],
            };
            let default = resolve(command.clone(), before).expect("is accepted");
            let changed =
                resolve(command.clone(), &[before, &[(flag.name, text)]].concat()).expect(flag.name);
            let works = flag.effect == Effect::Works;
            assert_eq!(changed.notices.is_empty(), works, "{}", flag.name);
            let changed = AgentOptions { notices: Vec::new(), start: default.start.clone(), ..changed };
            assert_eq!(changed != default, works, "{}", flag.name);
        }
    }
}

#[test]
fn several_servers_are_kept_in_order() {
    let urls = |text: &str| {
        let connect = resolve(http("e", "4000"), &[("connect.url", text)]).map(|options| options.connect);
        connect.map(|connect| {
            let all = std::iter::once(&connect.url).chain(&connect.fallbacks);
            (all.map(ToString::to_string).collect::<Vec<_>>().join(" "), connect.uses_tls())
        })
    };
    assert_eq!(urls("http://a:1"), Ok(("http://a:1".to_owned(), false)));
    assert_eq!(urls("http://a, wss://b/p/,ws://c"), Ok(("http://a https://b/p http://c".to_owned(), true)));
    for text in [",http://a", "http://a,", "http://a,,http://b", "http://a,b", "http://a,http://u:hunter2@b"]
    {
        let line = urls(text).expect_err(text).to_string();
        assert!(line.starts_with("config: connect: invalid url: ") && !line.contains("hunter2"), "{line}");
    }
    let line = urls("http://a?x").expect_err("a query").to_string();
    assert!(line.contains("query"), "{line}");
}

#[test]
fn messages_are_those_of_go_and_name_the_flag() {
    let ok = || http("e", "4000");
    for (pairs, message) in [
        (&[("connect.url", "")][..], "config: connect: missing url [--connect.url]"),
        (&[("connect.timeout", "0")], "config: connect: missing timeout [--connect.timeout]"),
        (
            &[("server.enabled", "true"), ("server.bind-addr", "")],
            "config: server: missing bind addr [--server.bind-addr]",
        ),
        (&[("log.level", "")], "config: log: missing level [--log.level]"),
        (&[("access-log.level", "")], "config: listener: e: access log: missing level [--access-log.level]"),
        (&[("grace-period", "0")], "config: missing grace period [--grace-period]"),
    ] {
        assert_eq!(refusal(ok(), pairs), (message.to_owned(), 2));
    }
    assert!(resolve(ok(), &[("server.bind-addr", "")]).is_ok());
    assert_eq!(refusal(Command::AgentStart, &[]), ("no listeners configured".to_owned(), 1));
}

#[test]
fn a_bad_url_is_told_without_its_text() {
    for url in ["localhost:8001", "ftp://h", "http://user:hunter2@h"] {
        let (message, code) = refusal(http("e", "1"), &[("connect.url", url)]);
        assert!(message.starts_with("config: connect: invalid url: "), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
        assert!(message.ends_with(" [--connect.url]"), "{message}");
        assert_eq!(code, 2);
    }
}

#[test]
fn arguments_are_checked_before_anything_connects() {
    for (command, message) in [
        (http("", "1"), "listener: missing endpoint id"),
        (http("e", ""), "listener: e: missing addr"),
        (
            http("e", "nope"),
            "listener: e: invalid addr: \"nope\" (examples: 4000, host:4000, https://host/path, unix:/path)",
        ),
        (
            tcp("e", "http://h:1"),
            "listener: e: invalid addr: \"http://h:1\" (examples: 4000, host:4000, unix:/path)",
        ),
        (tcp("e", "65536"), "listener: e: invalid addr: \"65536\" (examples: 4000, host:4000, unix:/path)"),
        (http("a/b", "1"), "listener: a/b: invalid endpoint id (at most 1024 bytes, no slash)"),
    ] {
        assert_eq!(refusal(command, &[]), (message.to_owned(), 2));
    }
    assert!(resolve(http(&"x".repeat(ENDPOINT_ID_BYTES_MAX), "65535"), &[]).is_ok());
    assert!(resolve(http(&"x".repeat(ENDPOINT_ID_BYTES_MAX + 1), "65535"), &[]).is_err());
}

#[test]
fn the_oldest_spelling_makes_http_listeners() {
    let options = resolve(
        Command::Agent,
        &[
            ("endpoints", "my-endpoint/localhost:4000,other/https://h/base"),
            ("endpoints", "third/5000"),
            ("timeout", "3s"),
        ],
    )
    .expect("is accepted");
    let listeners: Vec<_> =
        options.listeners.iter().map(|l| (l.endpoint.as_str(), l.addr.to_string())).collect();
    assert_eq!(
        listeners,
        [
            ("my-endpoint", "localhost:4000".to_owned()),
            ("other", "https://h/base".to_owned()),
            ("third", "localhost:5000".to_owned())
        ]
    );
    assert!(
        options
            .listeners
            .iter()
            .all(|l| l.protocol == Protocol::Http && l.timeout == Some(Duration::from_secs(3)))
    );
    let (message, code) = refusal(Command::Agent, &[("endpoints", "no-slash")]);
    assert!(
        message.starts_with("--endpoints: \"no-slash\" is not of the form <endpoint>/<addr>"),
        "{message}"
    );
    assert_eq!(code, 2);
    assert!(refusal(Command::Agent, &[("endpoints", "e/nope")]).0.starts_with("listener: e: invalid addr"));
    assert_eq!(refusal(http("e", "1"), &[("endpoints", "e/1")]).0, "--endpoints: no flag of this command");
}

#[test]
fn tokens_stay_out_of_dumps_and_control_characters_out_of_headers() {
    let options = resolve(http("e", "1"), &[("connect.token", "s3cret")]).expect("is accepted");
    assert_eq!(options.connect.token.as_ref().map(Secret::reveal), Some("s3cret"));
    assert!(!format!("{options:?}").contains("s3cret"));
    for (key, text) in
        [("connect.token", "s3cret\n"), ("connect.tenant-id", "a\r\nx: y"), ("connect.tenant-id", "\0")]
    {
        let (message, code) = refusal(http("e", "1"), &[(key, text)]);
        assert_eq!(message, format!("--{key}: a control character (such as a line break at the end)"));
        assert_eq!(code, 2);
    }
}

#[test]
fn zero_and_less_are_without_limit() {
    let listener =
        |pairs: &[(&str, &str)]| resolve(http("e", "1"), pairs).expect("is accepted").listeners.remove(0);
    for text in ["0", "-1"] {
        assert_eq!(listener(&[("http-client.max-idle-conns", text)]).pool.max_idle, None);
    }
    assert_eq!(listener(&[("timeout", "0")]).timeout, None);
    for text in ["0", "-1s"] {
        assert_eq!(listener(&[("http-client.idle-conn-timeout", text)]).pool.idle_timeout, None);
        assert_eq!(listener(&[("http-client.keep-alive-timeout", text)]).pool.keep_alive, None);
    }
}

#[test]
fn a_listener_of_ones_own() {
    let listener = ListenerOptions::new(Protocol::Tcp, "e", "db:5432").expect("is accepted");
    assert_eq!((listener.endpoint.as_str(), listener.addr.to_string().as_str()), ("e", "db:5432"));
    assert!(ListenerOptions::new(Protocol::Tcp, "e", "http://h:1").is_err());
}

#[test]
fn faults_that_come_out_of_the_environment_name_their_variables() {
    for (variables, line) in [
        (&[("PIKO_CONNECT_TIMEOUT", "0s")][..], "config: connect: missing timeout [PIKO_CONNECT_TIMEOUT]"),
        (&[("PIKO_GRACE_PERIOD", "0s")], "config: missing grace period [PIKO_GRACE_PERIOD]"),
        (
            &[("PIKO_LOG_LEVEL", "loud")],
            "config: log: unsupported level: loud (debug, info, warn or error) [PIKO_LOG_LEVEL]",
        ),
        (
            &[("PIKO_CONNECT_URL", "ftp://h")],
            "config: connect: invalid url: unsupported scheme (http, https, ws or wss) [PIKO_CONNECT_URL]",
        ),
        (
            &[
                ("PIKO_ACCESS_LOG_REQUEST_HEADERS_ALLOW_LIST", "a"),
                ("PIKO_ACCESS_LOG_REQUEST_HEADERS_BLOCK_LIST", "b"),
            ],
            "config: listener: e: access log: request headers: cannot define both allow list and block list \
             [PIKO_ACCESS_LOG_REQUEST_HEADERS_ALLOW_LIST, PIKO_ACCESS_LOG_REQUEST_HEADERS_BLOCK_LIST]",
        ),
        (
            &[("PIKO_CONNECT_TOKEN", "t\n")],
            "PIKO_CONNECT_TOKEN: a control character (such as a line break at the end)",
        ),
    ] {
        let env =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, text)| text.into());
        let values = Values::resolve(http("e", "1"), &[], &env).expect("is well-formed");
        assert_eq!(AgentOptions::from_values(&values).expect_err("is refused").to_string(), line);
    }
}

#[cfg(feature = "tls")]
#[test]
fn tls_without_a_server_that_speaks_it_is_told() {
    let notices = |url: &str, given: &[(&str, &str)]| {
        resolve(http("e", "1"), &[&[("connect.url", url)], given].concat()).expect("is good").notices
    };
    let line = "connect.tls: no effect without an https:// URL in connect.url";
    let pair = [("connect.tls.cert", "c.pem"), ("connect.tls.key", "k.pem")];
    for given in
        [&[("connect.tls.root-cas", "ca.pem")][..], &[("connect.tls.insecure-skip-verify", "true")], &pair]
    {
        assert_eq!(notices("http://a:8001", given), [line]);
        assert_eq!(notices("ws://a:8001,http://b", given), [line]);
        assert!(notices("https://a", given).is_empty());
        assert!(notices("http://a,wss://b", given).is_empty());
    }
    // That of a service is another matter.
    let skip = [("tls.insecure-skip-verify", "true")];
    assert!(!notices("http://a", &skip).iter().any(|told| told == line));
}

#[cfg(feature = "tls")]
#[test]
fn tls_without_a_service_that_speaks_it_is_told() {
    let notices = |command, given: &[(&str, &str)]| resolve(command, given).expect("is good").notices;
    let line = "tls: no effect without an https:// address of the service";
    let pair = [("tls.cert", "c.pem"), ("tls.key", "k.pem")];
    for given in [&[("tls.root-cas", "ca.pem")][..], &[("tls.insecure-skip-verify", "true")], &pair] {
        for addr in ["4000", "http://a", "unix:/run/a"] {
            assert_eq!(notices(http("e", addr), given), [line], "{addr}");
        }
        assert!(notices(http("e", "https://a"), given).is_empty());
        let several = |entries| [&[("endpoints", entries)], given].concat();
        assert_eq!(notices(Command::Agent, &several("a/1,b/http://c")), [line]);
        assert!(notices(Command::Agent, &several("a/1,b/https://c")).is_empty());
    }
    let path = std::env::temp_dir().join(format!("piko-idle-tls-{}.yaml", std::process::id()));
    let text = "listeners:\n- {endpoint_id: a, addr: 1}\n- {endpoint_id: b, protocol: tcp, addr: 2, tls: {root_cas: x}}\n\
                - {endpoint_id: c, addr: https://c, tls: {root_cas: x}}\n";
    std::fs::write(&path, text).expect("there is room");
    let told = notices(Command::AgentStart, &[("config.path", path.to_str().expect("is text"))]);
    assert_eq!(told, ["listeners[1].tls: no effect without an https:// addr"]);
    let _ = std::fs::remove_file(&path);
}

/// Only two of the same source leave open which one is meant.
#[test]
fn a_token_and_its_file_are_one_setting() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/token");
    let token = |given: &[(&str, &str)], variables: &[(&str, &str)]| {
        let given: Vec<_> = given.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        let env =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, text)| text.into());
        let values = Values::resolve(http("e", "1"), &given, &env).expect("is well-formed");
        let options = AgentOptions::from_values(&values).map_err(|error| error.to_string())?;
        Ok(options.connect.token.expect("there is one").reveal().to_owned())
    };
    let of_file: Result<String, String> = Ok("a-token-of-tests".to_owned());
    let variable = ("PIKO_CONNECT_TOKEN", "of the variable");
    let variable_of_file = ("PIKO_CONNECT_TOKEN_FILE", path);
    assert_eq!(token(&[("connect.token-file", path)], &[variable]), of_file);
    // What does not count is not judged, either.
    assert_eq!(token(&[("connect.token-file", path)], &[("PIKO_CONNECT_TOKEN", "a\nb")]), of_file);
    let of_flag = Ok("of the flag".to_owned());
    assert_eq!(token(&[("connect.token", "of the flag")], &[variable_of_file]), of_flag);
    assert_eq!(token(&[("connect.token", "of the flag")], &[("PIKO_CONNECT_TOKEN_FILE", "/none")]), of_flag);
    // Empty text is no token.
    assert_eq!(token(&[("connect.token", "")], &[variable_of_file]), of_file);
    // A byte order mark is no part of it, and nothing else is no token.
    let marked = std::env::temp_dir().join(format!("piko-token-{}", std::process::id()));
    let path_of_marked = marked.to_str().expect("is text");
    std::fs::write(&marked, "\u{feff}a-token-of-tests\r\n").expect("can be written");
    assert_eq!(token(&[("connect.token-file", path_of_marked)], &[]), of_file);
    std::fs::write(&marked, "\u{feff}").expect("can be written");
    let empty = token(&[("connect.token-file", path_of_marked)], &[]);
    std::fs::remove_file(&marked).expect("it is there");
    assert!(empty.expect_err("no token").contains("the file is empty"));
    let both = "config: connect: token and token-file cannot both be set";
    assert_eq!(
        token(&[], &[variable, variable_of_file]),
        Err(format!("{both} [PIKO_CONNECT_TOKEN, PIKO_CONNECT_TOKEN_FILE]"))
    );
    assert_eq!(
        token(&[("connect.token", "t"), ("connect.token-file", path)], &[variable]),
        Err(format!("{both} [--connect.token, --connect.token-file]"))
    );
}

#[test]
fn headers_for_the_service_have_a_version() {
    for (text, version) in [("", None), ("v1", Some(ProxyProtocol::V1)), ("v2", Some(ProxyProtocol::V2))] {
        for command in [http("e", "4000"), tcp("e", "4000")] {
            let options = resolve(command, &[("proxy-protocol", text)]).expect("is accepted");
            assert_eq!(options.listeners[0].proxy_protocol, version, "{text}");
        }
    }
    let (line, code) = refusal(tcp("e", "4000"), &[("proxy-protocol", "1")]);
    assert!(line.contains("unsupported proxy protocol: \"1\" (v1 or v2)"), "{line}");
    assert_eq!(code, 2);
}

/// A password that stands neither in a command line nor in a configuration.
#[test]
fn the_url_of_a_proxy_can_come_from_a_file() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxy-url");
    let options = resolve(http("e", "1"), &[("connect.proxy-url-file", path)]).expect("is accepted");
    assert_eq!(options.connect.proxy.as_ref().map(ProxyUrl::reveal), Some("http://user:password@proxy:3128"));
    assert!(!format!("{options:?}").contains("password"));
    assert_eq!(options.secret_files, [std::path::Path::new(path)]);
    let both = [("connect.proxy-url-file", path), ("connect.proxy-url", "http://p")];
    let origins = "[--connect.proxy-url, --connect.proxy-url-file]";
    let line = format!("config: connect: proxy-url and proxy-url-file cannot both be set {origins}");
    assert_eq!(refusal(http("e", "1"), &both), (line, 2));
    let token = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/token");
    let (line, _) = refusal(http("e", "1"), &[("connect.proxy-url-file", token)]);
    assert!(line.starts_with("config: connect: invalid proxy url: not of the form "), "{line}");
    assert!(line.ends_with("[--connect.proxy-url-file]"), "{line}");
    let (line, _) = refusal(http("e", "1"), &[("connect.proxy-url-file", "/nowhere")]);
    assert_eq!(line, "config: connect: /nowhere: no such file or directory [--connect.proxy-url-file]");
}
