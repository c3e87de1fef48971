use super::*;
use proptest::prelude::*;

fn good(program: Program, text: &str) -> Document {
    read(program, text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"))
}

fn bad(program: Program, text: &str) -> (Option<usize>, String) {
    let fault = read(program, text).expect_err(text);
    (fault.line, fault.message)
}

/// `name=value` of every setting, in the order of the names.
fn told(settings: &Settings) -> Vec<String> {
    let mut lines: Vec<_> = settings
        .iter()
        .map(|(flag, value)| match value {
            Value::Bind(addr) => {
                format!("{}={}", flag.name, addr.as_ref().map(ToString::to_string).unwrap_or_default())
            }
            Value::Duration(duration) => format!("{}={duration}", flag.name),
            Value::List(entries) => format!("{}={}", flag.name, entries.join("|")),
            Value::Text(text) => format!("{}={text}", flag.name),
            value => format!("{}={value:?}", flag.name),
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn every_kind_of_value() {
    let text = r#"
# A comment.
proxy:
  bind_addr: 10.26.104.56:8000
  timeout: 1m30s
  http: {max_header_bytes: 64KiB, idle_timeout: 0}
  access_log:
    disable: yes
    request_headers:
      allow_list: [a, "b,c", 7]
upstream:
  rebalance: {threshold: .2, min_conns: 0x10}
cluster:
  node_id: 007
  join:
  - one
  - two:8003
log:
grace_period: "20s"
"#;
    assert_eq!(
        told(&good(Program::Server, text).settings),
        [
            "cluster.join=one|two:8003",
            "cluster.node-id=007",
            "grace-period=20s",
            "proxy.access-log.disable=Bool(true)",
            "proxy.access-log.request-headers.allow-list=a|b,c|7",
            "proxy.bind-addr=10.26.104.56:8000",
            "proxy.http.idle-timeout=0s",
            "proxy.http.max-header-bytes=Size(65536)",
            "proxy.timeout=1m30s",
            "upstream.rebalance.min-conns=Int(16)",
            "upstream.rebalance.threshold=Float(0.2)",
        ]
    );
}

#[test]
fn nothing_says_nothing() {
    for text in
        ["", "\n", "# only a comment\n", "---\n", "---\n...\n", "null", "{}", "proxy:\n", "proxy: ~\n"]
    {
        assert!(good(Program::Server, text).settings.is_empty(), "{text:?}");
    }
    assert!(good(Program::Agent, "listeners:\n").entries.is_empty());
    assert!(good(Program::Agent, "listeners: []\n").entries.is_empty());
    // What has no value keeps its default.
    assert!(good(Program::Server, "proxy: {timeout: , bind_addr: null}").settings.is_empty());
}

#[test]
fn only_the_first_document_counts() {
    let document = good(Program::Server, "grace_period: 1s\n---\nbogus: 1\n");
    assert_eq!(told(&document.settings), ["grace-period=1s"]);
}

#[test]
fn several_servers_are_a_list_or_a_text() {
    for program in [Program::Agent, Program::Forward] {
        for (text, told_as) in [
            ("http://a:1", "http://a:1"),
            ("\"http://a:1,http://b:2\"", "http://a:1,http://b:2"),
            ("[http://a:1]", "http://a:1"),
            ("[http://a:1, https://b/p]", "http://a:1,https://b/p"),
            ("\n    - http://a:1\n    - http://b:2\n", "http://a:1,http://b:2"),
            ("[]", ""),
        ] {
            let document = good(program, &format!("connect:\n  url: {text}\n"));
            assert_eq!(told(&document.settings), [format!("connect.url={told_as}")], "{text}");
        }
        for text in ["{a: b}", "[[http://a:1]]", "7", "true"] {
            let (line, message) = bad(program, &format!("connect:\n  url: {text}\n"));
            assert!(
                message.starts_with("connect.url") && message.contains("invalid type: "),
                "{text}: {message}"
            );
            assert_eq!(line, Some(2), "{text}");
        }
        assert!(good(program, "connect:\n  url:\n").settings.is_empty());
    }
}

#[test]
fn listeners_are_separate() {
    let text = "
listeners:
  - endpoint_id: one
    addr: 4000
    timeout: 15s
    access_log: {disable: true}
  - endpoint_id: two
    addr: localhost:5000
    protocol: tcp
connect: {url: http://localhost:8001, token: t}
";
    let document = good(Program::Agent, text);
    assert_eq!(told(&document.settings), ["connect.token=t", "connect.url=http://localhost:8001"]);
    assert_eq!(
        document.entries.iter().map(told).collect::<Vec<_>>(),
        [
            vec!["access-log.disable=Bool(true)", "addr=4000", "endpoint-id=one", "timeout=15s"],
            vec!["addr=localhost:5000", "endpoint-id=two", "protocol=tcp"],
        ]
    );
    let ports = good(Program::Forward, "ports: [{addr: 3000, endpoint_id: e}]").entries;
    assert_eq!(told(&ports[0]), ["addr=3000", "endpoint-id=e"]);
}

#[test]
fn ports_of_tcp_are_texts_or_sections() {
    let text = "proxy:\n  tcp:\n    ports:\n    - {bind_addr: ':5432', endpoint: my-db}\n    - :22=ssh\n    - endpoint: 7\n      bind_addr: :1\n";
    let document = read(Program::Server, text).expect("is good");
    let list = ["\":5432\"=my-db", ":22=ssh", ":1=7"].map(|entry| entry.replace('"', ""));
    assert_eq!(document.settings[0].1, Value::List(list.into()));
    for (entry, why) in [
        (
            "{bind_addr: ':1', endpont: a}",
            "proxy.tcp.ports[1]: endpont: unknown key (did you mean endpoint?)",
        ),
        ("{bind_addr: ':1'}", "proxy.tcp.ports[1]: missing endpoint"),
        ("{endpoint: a}", "proxy.tcp.ports[1]: missing bind_addr"),
        ("{endpoint: a, endpoint: b}", "proxy.tcp.ports[1]: endpoint: the key stands here twice"),
    ] {
        let text = format!("proxy:\n  tcp:\n    ports:\n    - :22=ssh\n    - {entry}\n");
        let fault = read(Program::Server, &text).expect_err(entry);
        assert_eq!((fault.line, fault.message.as_str()), (Some(5), why), "{entry}");
    }
}

#[test]
fn faults_have_a_line_and_a_key() {
    for (text, line, words) in [
        ("proxy:\n  timout: 1s\n", 2, "proxy.timout: unknown key (did you mean timeout?)"),
        ("prxy:\n  timeout: 1s\n", 1, "prxy: unknown key (did you mean proxy?)"),
        ("proxy:\n  bind-addr: \":1\"\n", 2, "proxy.bind-addr: unknown key (did you mean bind_addr?)"),
        ("bogus: 1\n", 1, "bogus: unknown key"),
        ("a: &a {x: 1}\n", 1, "a: unknown key"),
        ("listeners: []\n", 1, "listeners: unknown key"),
        ("grace_period: 1s\n\ngrace_period: 2s\n", 3, "grace_period: the key stands here twice"),
        ("proxy: {timeout: 1s}\nproxy: {}\n", 2, "proxy: the key stands here twice"),
        (
            "proxy:\n  timeout: soon\n",
            2,
            "proxy.timeout: \"soon\" is no duration (examples: 300ms, 10s, 1m30s)",
        ),
        ("proxy:\n  timeout: 10\n", 2, "proxy.timeout: \"10\" is no duration (examples: 300ms, 10s, 1m30s)"),
        ("proxy:\n  timeout: [1s]\n", 2, "proxy.timeout: invalid type: sequence, expected a duration"),
        ("proxy: 7\n", 1, "proxy: invalid type: "),
        ("proxy:\n  access_log: true\n", 2, "proxy.access_log: invalid type: "),
        ("cluster:\n  join: one\n", 2, "cluster.join: invalid type: string, expected a list"),
        ("cluster:\n  join: [{}]\n", 2, "cluster.join: invalid type: map, expected a text"),
        ("cluster:\n  abort_if_join_fails: maybe\n", 2, "cluster.abort_if_join_fails: \"maybe\" is neither"),
        ("- 1\n", 1, "invalid type: sequence, expected a section of keys"),
        ("proxy:\n  timeout: 1s\n bind_addr: x\n", 3, "did not find expected key"),
        ("proxy: {timeout: 1s\n", 2, "did not find expected ',' or '}'"),
        ("proxy: *x\n", 1, "unknown anchor"),
        ("gossip:\n  bind_addr: \":1\"\n", 1, "gossip: unknown key (it became cluster.gossip)"),
        (
            "proxy:\n  gateway_timeout: 1s\n",
            2,
            "proxy.gateway_timeout: unknown key (it became proxy.timeout)",
        ),
        ("usage: {disable: true}\n", 1, "usage: unknown key: Piko reports nothing"),
    ] {
        let (at, message) = bad(Program::Server, text);
        assert!(message.contains(words), "{text}: {message}");
        assert_eq!(at, Some(line), "{text}: {message}");
    }
    for (text, line, words) in [
        ("listeners:\n- endpoint_id: e\n  adr: 1\n", 3, "listeners[0].adr: unknown key (did you mean addr?)"),
        (
            "listeners:\n- addr: 1\n- http_client:\n    max_idle_cons: 1\n",
            4,
            "listeners[1].http_client.max_idle_cons: unknown key (did you mean max_idle_conns?)",
        ),
        ("listeners: {}\n", 1, "listeners: invalid type: map, expected a list"),
        ("listeners: [1]\n", 1, "listeners[0]: invalid type: "),
        ("listener: []\n", 1, "listener: unknown key (did you mean listeners?)"),
    ] {
        let (at, message) = bad(Program::Agent, text);
        assert!(message.contains(words), "{text}: {message}");
        assert_eq!(at, Some(line), "{text}: {message}");
    }
}

#[test]
fn secrets_are_not_repeated() {
    let (_, message) = bad(Program::Agent, "connect: {token: [hunter2]}");
    assert!(!message.contains("hunter2"), "{message}");
    // A whole file may be the secret, when a path was mistaken for another.
    for text in [
        "hunter2\n",
        "\"hunter2\"\n",
        "# A comment.\nhunter2 and `more`, expected nothing\n",
        "|\n  hunter2\n",
        "&anchor hunter2",
        "!!int hunter2",
        "!hunter2 x",
        "*hunter2",
        "- hunter2",
        "hunter2: x",
    ] {
        let (_, message) = bad(Program::Server, text);
        assert!(!message.contains("hunter2") || text == "hunter2: x", "{text}: {message}");
    }
    let type_of_all = "invalid type: string, expected a section of keys";
    assert_eq!(bad(Program::Server, "hunter2\n"), (Some(1), type_of_all.to_owned()));
    let (_, message) = bad(Program::Server, "4711\n");
    assert!(!message.contains("4711"), "{message}");
    for value in
        ["!!int hunter2", "!!bool hunter2", "!!float hunter2", "!hunter2 [x]", "{hunter2: x}", "*hunter2"]
    {
        let Err(fault) = read(Program::Agent, &format!("connect: {{token: {value}}}")) else { continue };
        assert!(!fault.message.contains("hunter2"), "{value}: {fault:?}");
    }
}

/// Helm prints large numbers like this, and Go's parser takes them where a whole number is wanted.
#[test]
fn whole_numbers_may_have_an_exponent() {
    let text = "proxy: {http: {max_header_bytes: 1.048576e+06}}\n\
                cluster: {gossip: {max_packet_size: 1.4e3}}\nupstream: {rebalance: {min_conns: 1e+06}}\n";
    assert_eq!(
        told(&good(Program::Server, text).settings),
        [
            "cluster.gossip.max-packet-size=Int(1400)",
            "proxy.http.max-header-bytes=Size(1048576)",
            "upstream.rebalance.min-conns=Int(1000000)",
        ]
    );
    for (text, told_as) in [
        (
            "upstream: {rebalance: {min_conns: 1.5}}",
            "upstream.rebalance.min_conns: \"1.5\" is no whole number",
        ),
        ("proxy: {http: {max_header_bytes: 1e-1}}", "proxy.http.max_header_bytes: \"1e-1\" is no size"),
        ("proxy: {timeout: 1e+06}", "proxy.timeout: \"1e+06\" is no duration"),
    ] {
        let (_, message) = bad(Program::Server, text);
        assert!(message.starts_with(told_as), "{message}");
    }
}

#[test]
fn anchors_and_merge_keys() {
    let text = "
proxy:
  access_log: &log
    level: warn
    request_headers: {block_list: [cookie]}
  http: {idle_timeout: 1s}
upstream: {}
";
    let document = good(Program::Server, text);
    assert!(told(&document.settings).contains(&"proxy.access-log.level=warn".to_owned()));
    let text = "
listeners:
  - &first
    endpoint_id: one
    addr: 1
    timeout: 5s
    access_log: {level: warn, disable: true}
  - <<: *first
    endpoint_id: two
    access_log: {level: error}
  - endpoint_id: three
    <<: [{addr: 3}, *first]
";
    let rows: Vec<_> = good(Program::Agent, text).entries.iter().map(told).collect();
    assert_eq!(rows[1], ["access-log.level=error", "addr=1", "endpoint-id=two", "timeout=5s"]);
    assert_eq!(
        rows[2],
        [
            "access-log.disable=Bool(true)",
            "access-log.level=warn",
            "addr=3",
            "endpoint-id=three",
            "timeout=5s"
        ]
    );
    let (line, message) = bad(Program::Agent, "listeners:\n- <<: 7\n");
    assert_eq!(line, Some(2));
    assert!(message.contains("invalid type"), "{message}");
}

#[test]
fn depth_and_repetition_are_bounded() {
    let deep = format!("proxy: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(read(Program::Server, &deep).is_err());
    let mut laughs = String::from("upstream:\n  tenants:\n  - &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        laughs.push_str(&format!("  - &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
    }
    let _ = read(Program::Server, &laughs);
}

const PIECES: &[&str] = &[
    "proxy",
    "upstream",
    "cluster",
    "log",
    "listeners",
    "connect",
    "timeout",
    "bind_addr",
    "join",
    "tenants",
    "access_log",
    "level",
    "<<",
    ": ",
    ":\n",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "&a ",
    "*a",
    "!!str ",
    "!x ",
    "1s",
    "\"",
    "'",
    "|\n",
    ">\n",
    "---\n",
    "...\n",
    "# c\n",
    "null",
    "~",
    "true",
    "7",
    "%YAML 1.1\n",
    "? ",
    "\t",
    "\u{0}",
    "\u{feff}",
    "ä",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "\\PC{0,60}|[-:{}\\[\\]&*!|>'\"%@`#, \n\ta-c]{0,60}") {
        let _ = read(Program::Server, &text);
        let _ = read(Program::Agent, &text);
    }

    #[test]
    fn no_mixture_of_pieces_panics(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..30)) {
        let text = pieces.concat();
        for program in [Program::Server, Program::Agent, Program::Forward] {
            if let Err(fault) = read(program, &text) {
                prop_assert!(!fault.message.is_empty());
            }
        }
    }
}

/// Go knows no such keys, and the same key could stand in its section, too.
#[test]
fn a_key_with_a_dot_is_no_section() {
    let why =
        |first: &str, rest: &str| format!("unknown key (did you mean a section `{first}:` with `{rest}`?)");
    for (program, text, line, told) in [
        (Program::Server, "proxy.timeout: 5s\n", 1, format!("proxy.timeout: {}", why("proxy", "timeout"))),
        (
            Program::Server,
            "cluster: {secret: \"\"}\ncluster.secret: x\n",
            2,
            format!("cluster.secret: {}", why("cluster", "secret")),
        ),
        (
            Program::Server,
            "proxy:\n  tls.client_cas: x\n",
            2,
            format!("proxy.tls.client_cas: {}", why("tls", "client_cas")),
        ),
        (Program::Server, "proxy.tls: {cert: x}\n", 1, format!("proxy.tls: {}", why("proxy", "tls"))),
        (
            Program::Agent,
            "listeners:\n- endpoint_id: e\n  access_log.level: info\n",
            3,
            format!("listeners[0].access_log.level: {}", why("access_log", "level")),
        ),
        (Program::Server, "proxy.nonsense: 5s\n", 1, "proxy.nonsense: unknown key".to_owned()),
        (Program::Server, "proxy.<<: {timeout: 5s}\n", 1, "proxy.<<: ".to_owned()),
    ] {
        let (at, message) = bad(program, text);
        assert_eq!(at, Some(line), "{text}: {message}");
        assert!(message.starts_with(&told), "{text}: {message}");
    }
}
