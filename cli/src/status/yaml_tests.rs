use super::*;
use crate::status::model::Entry;

/// What `github.com/goccy/go-yaml` v1.15.17, the library of Go Piko's command, prints for these texts.
const PRINTED: &[(&str, &str)] = &[
    ("", "\"\""),
    ("a", "a"),
    ("1", "\"1\""),
    ("01", "\"01\""),
    ("0x1f", "\"0x1f\""),
    ("1e5", "1e5"),
    ("1.5", "\"1.5\""),
    ("1_000", "\"1_000\""),
    ("+1", "\"+1\""),
    ("-1", "\"-1\""),
    ("-", "-"),
    ("null", "\"null\""),
    ("~", "\"~\""),
    ("y", "\"y\""),
    ("Yes", "\"Yes\""),
    ("no", "\"no\""),
    ("on", "\"on\""),
    ("OFF", "\"OFF\""),
    ("true", "\"true\""),
    ("True", "\"True\""),
    ("tRue", "tRue"),
    (".inf", ".inf"),
    (".nan", ".nan"),
    ("inf", "inf"),
    ("127.0.0.1:8000", "127.0.0.1:8000"),
    ("[::1]:8000", "\"[::1]:8000\""),
    ("12:30", "\"12:30\""),
    ("0:1", "\"0:1\""),
    ("12:30:45", "12:30:45"),
    ("a: b", "\"a: b\""),
    ("a:", "\"a:\""),
    ("a b", "a b"),
    ("a ", "\"a \""),
    (" a", "\" a\""),
    ("a#b", "\"a#b\""),
    ("a #b", "\"a #b\""),
    ("#a", "\"#a\""),
    ("a\\b", "\"a\\\\b\""),
    ("a\"b", "a\"b"),
    ("it's", "it's"),
    ("'x", "\"'x\""),
    ("- a", "- a"),
    ("a- b", "a- b"),
    ("*a", "\"*a\""),
    ("&a", "\"&a\""),
    ("?a", "?a"),
    ("? a", "? a"),
    ("!a", "\"!a\""),
    ("|", "\"|\""),
    (">", "\">\""),
    ("%a", "\"%a\""),
    ("@a", "\"@a\""),
    ("`a", "\"`a\""),
    ("{a}", "\"{a}\""),
    ("a}", "a}"),
    (",a", "\",a\""),
    ("a,b", "a,b"),
    ("=a", "=a"),
    ("<<", "<<"),
    ("é", "é"),
    ("日本", "日本"),
    ("2001-01-01", "\"2001-01-01\""),
    ("2001-01-01T00:00:00Z", "\"2001-01-01T00:00:00Z\""),
    ("0o17", "\"0o17\""),
    ("0b11", "\"0b11\""),
    ("1abc", "1abc"),
    ("1234567", "\"1234567\""),
    ("1e5x", "1e5x"),
    ("NaN", "NaN"),
    ("Null", "\"Null\""),
    ("endpoint:web", "endpoint:web"),
    ("_internal:left", "_internal:left"),
    ("piko-0-abc1234", "piko-0-abc1234"),
    ("1-2", "1-2"),
    ("9999999999999999999999", "\"9999999999999999999999\""),
    ("1.", "\"1.\""),
    (".5", "\".5\""),
    (".", "."),
    ("...", "..."),
    ("---", "---"),
    ("0", "\"0\""),
    ("00", "\"00\""),
    ("-0", "\"-0\""),
    ("0x", "0x"),
    ("1,000", "1,000"),
    ("😀", "😀"),
    ("12e3", "12e3"),
    ("1e400", "1e400"),
    ("1__0", "\"1__0\""),
    ("_1", "_1"),
    ("1_", "\"1_\""),
    ("0xg", "0xg"),
    ("0X1F", "0X1F"),
    ("08", "08"),
    ("0O7", "0O7"),
    ("+.inf", "+.inf"),
    ("-.Inf", "-.Inf"),
    (".NaN", ".NaN"),
    ("+0x1", "\"+0x1\""),
    ("1:2:3", "1:2:3"),
    ("01:02", "\"01:02\""),
    ("10", "\"10\""),
    ("2e", "2e"),
    ("e2", "e2"),
    ("+", "+"),
    ("--", "--"),
    ("+a", "+a"),
    ("12345e1234567", "12345e1234567"),
    ("nO", "nO"),
    ("N", "\"N\""),
    ("Y", "\"Y\""),
    ("NO", "\"NO\""),
    ("nULL", "nULL"),
    ("TRUE", "\"TRUE\""),
    ("FALSE", "\"FALSE\""),
    ("False", "\"False\""),
    ("ON", "\"ON\""),
    ("On", "\"On\""),
    ("Off", "\"Off\""),
    ("off", "\"off\""),
    ("yes", "\"yes\""),
    ("YES", "\"YES\""),
    ("24:00", "24:00"),
    ("23:59", "\"23:59\""),
    ("1:60", "1:60"),
    ("2001-13-01", "2001-13-01"),
    ("2001-02-30", "2001-02-30"),
    ("2001-02-28", "\"2001-02-28\""),
    ("2001-1-1", "2001-1-1"),
    ("2001-01-01 10:11:12", "\"2001-01-01 10:11:12\""),
    ("2001-01-01t10:11:12Z", "\"2001-01-01t10:11:12Z\""),
    ("2001-01-01T10:11:12", "2001-01-01T10:11:12"),
    ("2001-01-01T10:11:12.5+02:00", "\"2001-01-01T10:11:12.5+02:00\""),
    ("2001-01-01T10:11:12x", "2001-01-01T10:11:12x"),
    ("2001-01-01x", "2001-01-01x"),
    ("1.2.3", "1.2.3"),
    ("-1.5", "\"-1.5\""),
    ("+.5", "\"+.5\""),
    ("-.", "-."),
    ("1_.5", "\"1_.5\""),
    ("1.5_0", "\"1.5_0\""),
    ("0.5", "\"0.5\""),
    ("00.5", "\"00.5\""),
    ("01.5", "\"01.5\""),
    ("0x_1", "\"0x_1\""),
    ("0b2", "0b2"),
    ("0o8", "0o8"),
    ("-0x1f", "\"-0x1f\""),
    ("0_7", "\"0_7\""),
    ("0_8", "0_8"),
    ("007", "\"007\""),
    ("a:b:", "\"a:b:\""),
    ("::", "\"::\""),
    (":", "\":\""),
    (":a", ":a"),
    (": a", "\": a\""),
    (" ", "\" \""),
    ("  a", "\"  a\""),
    ("1 ", "\"1 \""),
    ("é:", "\"é:\""),
    ("]a", "\"]a\""),
    ("}a", "\"}a\""),
    ("a]", "a]"),
    ("~a", "~a"),
    ("127.0.0.1", "127.0.0.1"),
    ("10.0", "\"10.0\""),
    ("1e1.5", "1e1.5"),
    ("1.5e3", "\"1.5e3\""),
    ("0xDEAD", "\"0xDEAD\""),
    ("0xdead_beef", "\"0xdead_beef\""),
    ("NULL", "\"NULL\""),
    ("none", "none"),
];

#[test]
fn text_is_quoted_where_go_quotes_it() {
    for (text, printed) in PRINTED {
        assert_eq!(scalar(text), *printed, "{text}");
    }
}

#[test]
fn control_characters_reach_no_terminal() {
    assert_eq!(scalar("a\u{1b}[31m"), "\"a\\x1b[31m\"");
    assert_eq!(scalar("a\nb\r\t\u{9b}"), "\"a\\nb\\r\\t\\u009b\"");
}

#[test]
fn nothing_is_an_empty_list_or_map() {
    assert_eq!(cluster_nodes(&[]), "nodes: []\n");
    assert_eq!(gossip_nodes(&[]), "nodes: []\n\n");
    assert_eq!(counts(&Counts::new()), "{}\n");
    assert_eq!(proxy_endpoints(&[]), "endpoints: {}\n");
    let node = ClusterNode { id: "1".to_owned(), ..ClusterNode::default() };
    assert_eq!(
        cluster_node(&node),
        "id: \"1\"\nstatus: \"\"\nproxy_addr: \"\"\nadmin_addr: \"\"\nendpoints: {}\n"
    );
}

/// The examples of the behaviour reference, CLI 1.2.
#[test]
fn the_shapes_are_those_of_go() {
    let node = ListedNode {
        id: "n1".to_owned(),
        status: "active".to_owned(),
        proxy_addr: "127.0.0.1:8000".to_owned(),
        admin_addr: "127.0.0.1:8002".to_owned(),
        endpoints: 4,
        upstreams: 4,
    };
    let want = "nodes:\n- id: n1\n  status: active\n  proxy_addr: 127.0.0.1:8000\n  admin_addr: 127.0.0.1:8002\n  \
                endpoints: 4\n  upstreams: 4\n";
    assert_eq!(cluster_nodes(&[node]), want);

    let json = br#"{"id":"n1","addr":"127.0.0.1:8003","version":22,"left":false,"unreachable":false,
        "expiry":"0001-01-01T00:00:00Z","Entries":[{"key":"endpoint:1","value":"1","version":1,"internal":false,
        "deleted":false}]}"#;
    let state: GossipState = serde_json::from_slice(json).unwrap();
    let want = "nodemetadata:\n  id: n1\n  addr: 127.0.0.1:8003\n  version: 22\n  left: false\n  \
                unreachable: false\n  expiry: 0001-01-01T00:00:00Z\nentries:\n- key: endpoint:1\n  value: \"1\"\n  \
                version: 1\n  internal: false\n  deleted: false\n\n";
    assert_eq!(gossip_node(&state), want);
    let back = serde_json::to_string(&state).unwrap();
    assert_eq!(
        back.as_bytes(),
        json.iter().filter(|b| !b.is_ascii_whitespace()).copied().collect::<Vec<_>>()
    );
    let none = GossipState { entries: Some(Vec::<Entry>::new()), ..GossipState::default() };
    assert!(gossip_node(&none).ends_with("entries: []\n\n"));
    let want = "nodes:\n- id: n1\n  addr: 127.0.0.1:8003\n  version: 22\n  left: false\n  unreachable: false\n  \
                expiry: 0001-01-01T00:00:00Z\n\n";
    assert_eq!(gossip_nodes(&[state.node]), want);
}

#[test]
fn the_oldest_form_lists_addresses() {
    let upstream = |endpoint: &str, addr: &str| Upstream {
        endpoint: endpoint.to_owned(),
        addr: addr.to_owned(),
        ..Upstream::default()
    };
    let all = [upstream("b", "10.0.0.1:1"), upstream("a", "[::1]:2"), upstream("b", "10.0.0.2:3")];
    assert_eq!(
        proxy_endpoints(&all),
        "endpoints:\n  a:\n  - \"[::1]:2\"\n  b:\n  - 10.0.0.1:1\n  - 10.0.0.2:3\n"
    );
}
