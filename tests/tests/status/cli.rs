//! `piko server status` to the byte, and the older spellings.

use crate::nodes::{cluster, text};
use piko_tests::cluster::unused_addr;
use piko_tests::flags::run;
use piko_tests::process::{Agent, Server};
use piko_tests::service::Service;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

/// What the command prints and how it ends, asked at this server.
fn piko(server: &Server, command: &str) -> (String, String, Option<i32>) {
    let url = format!("http://{}", server.admin);
    let mut args: Vec<&str> = command.split(' ').collect();
    args.extend(["--server.url", &url]);
    let output = run("piko", &args, &[]);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// What a command prints that succeeds.
fn says(server: &Server, command: &str) -> String {
    let (out, err, code) = piko(server, command);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{command}: {out}");
    out
}

fn listed(server: &Server, id: &str, endpoints: u32, upstreams: u32) -> String {
    format!(
        "- id: {id}\n  status: active\n  proxy_addr: {}\n  admin_addr: {}\n  endpoints: {endpoints}\n  \
         upstreams: {upstreams}\n",
        server.proxy, server.admin
    )
}

#[test]
fn answers_are_those_of_go() {
    let service = Service::start();
    let servers = cluster(2, &[]);
    let addr = service.addr().to_string();
    let url = servers[1].connect_url();
    let _agents = ["my-endpoint", "12:30", "my-endpoint"].map(|id| Agent::http(&url, id, &addr, &[]));
    let first = &servers[0];
    crate::nodes::until(|| text(first.admin, "/status/cluster/nodes/n2").contains("\"my-endpoint\":2"));

    let all = format!("nodes:\n{}{}", listed(first, "n1", 0, 0), listed(&servers[1], "n2", 2, 3));
    for command in [
        "server status cluster nodes",
        "server status cluster nodes --forward n2",
        "server status cluster nodes --status active",
        "server status --output yaml cluster nodes",
        "status cluster nodes",
        "status cluster nodes --forward n2",
    ] {
        assert_eq!(says(first, command), all, "{command}");
    }
    assert_eq!(says(first, "server status cluster nodes --status left"), "nodes: []\n");
    let addresses = format!("proxy_addr: {}\nadmin_addr: {}\n", servers[1].proxy, servers[1].admin);
    let second = format!("id: n2\nstatus: active\n{addresses}endpoints:\n  \"12:30\": 1\n  my-endpoint: 2\n");
    assert_eq!(says(first, "server status cluster node n2"), second);
    assert_eq!(says(first, "server status cluster node local --forward n2"), second);
    assert!(says(first, "server status cluster node local").ends_with("endpoints: {}\n"));
    assert_eq!(says(first, "server status upstream endpoints"), "{}\n");
    assert_eq!(
        says(first, "server status upstream endpoints --forward n2"),
        "\"12:30\": 1\nmy-endpoint: 2\n"
    );
}

#[test]
fn gossip_is_shown_with_a_blank_line_behind_it() {
    let servers = cluster(1, &[]);
    let server = &servers[0];
    let state: Value = serde_json::from_str(&text(server.admin, "/status/gossip/nodes/n1")).expect("JSON");
    let members = |first: &str| {
        format!(
            "{first}id: n1\n  addr: {}\n  version: {}\n  left: false\n  unreachable: false\n  \
             expiry: 0001-01-01T00:00:00Z\n",
            server.gossip(),
            state["version"]
        )
    };
    assert_eq!(says(server, "server status gossip nodes"), format!("nodes:\n{}\n", members("- ")));
    let shown = says(server, "server status gossip node n1");
    let first = format!(
        "nodemetadata:\n{}entries:\n- key: proxy_addr\n  value: {}\n  version: {}\n  internal: false\n  \
         deleted: false\n",
        members("  "),
        server.proxy,
        state["Entries"][0]["version"]
    );
    assert!(shown.starts_with(&first), "{shown}");
    assert!(shown.ends_with("  deleted: false\n\n"), "{shown}");
}

#[test]
fn upstreams_are_shown_by_their_addresses() {
    let service = Service::start();
    let servers = cluster(2, &[]);
    let _agent = Agent::http(&servers[1].connect_url(), "my-endpoint", &service.addr().to_string(), &[]);
    let list: Value = serde_json::from_str(&text(servers[1].admin, "/status/upstreams")).expect("JSON");
    let addr = list[0]["addr"].as_str().expect("an address");
    let want = format!("endpoints:\n  my-endpoint:\n  - {addr}\n");
    assert_eq!(says(&servers[0], "status proxy endpoints --forward n2"), want);
    assert_eq!(says(&servers[0], "status proxy endpoints"), "endpoints: {}\n");
}

#[test]
fn other_forms_hold_the_same() {
    let servers = cluster(1, &[]);
    let server = &servers[0];
    let json: Value =
        serde_json::from_str(&says(server, "server status cluster nodes --output json")).expect("JSON");
    let raw: Value = serde_json::from_str(&text(server.admin, "/status/cluster/nodes")).expect("JSON");
    assert_eq!(json, raw);
    for path in ["gossip/nodes", "gossip/nodes/n1", "cluster/nodes/n1", "upstream/endpoints"] {
        let command = path.replace("nodes/", "node ").replace('/', " ");
        let json = says(server, &format!("server status {command} --output json"));
        let json: Value = serde_json::from_str(&json).expect("JSON");
        let raw: Value = serde_json::from_str(&text(server.admin, &format!("/status/{path}"))).expect("JSON");
        assert_eq!(json, raw, "{path}");
    }
    let table = says(server, "server status cluster nodes --output table");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "STATUS", "PROXY", "ADMIN", "ENDPOINTS", "UPSTREAMS"]);
    assert_eq!(rows[1][..2], ["n1", "active"]);
    assert_eq!(rows.len(), 2);
}

#[test]
fn what_cannot_be_answered_is_said_in_one_line() {
    let servers = cluster(1, &[]);
    let server = &servers[0];
    for (command, line) in [
        (
            "server status cluster nodes --forward n9",
            "failed to get cluster nodes: request: bad status: 404\n",
        ),
        ("server status cluster node n9", "failed to get cluster nodes: n9: request: bad status: 404\n"),
        ("server status gossip nodes --forward n9", "failed to get gossip nodes: request: bad status: 404\n"),
        ("server status gossip node n9", "failed to get gossip node: n9: request: bad status: 404\n"),
        (
            "server status upstream endpoints --forward n9",
            "failed to get upstream endpoints: request: bad status: 404\n",
        ),
        ("status proxy endpoints --forward n9", "failed to get proxy endpoints: request: bad status: 404\n"),
    ] {
        assert_eq!(piko(server, command), (String::new(), line.to_owned(), Some(1)), "{command}");
    }
    for (url, line) in [
        ("", "config: server: missing url [--server.url]\n"),
        (
            "nonsense",
            "config: server: invalid url: not of the form http[s]://host[:port][/path] [--server.url]\n",
        ),
        ("http://u:%zz@h", "config: server: invalid url: a bad % in the login [--server.url]\n"),
        (
            "http://u%3Ax:p@h",
            "config: server: invalid url: a colon in the user name, or a control character in the login [--server.url]\n",
        ),
    ] {
        let output = run("piko", &["server", "status", "cluster", "nodes", "--server.url", url], &[]);
        assert_eq!(String::from_utf8_lossy(&output.stderr), line);
        assert_eq!(output.status.code(), Some(2));
    }
    let gone = unused_addr();
    let url = format!("http://{gone}");
    let output = run("piko", &["server", "status", "cluster", "nodes", "--server.url", &url], &[]);
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        line.starts_with("failed to get cluster nodes: request: connect ") && line.lines().count() == 1,
        "{line}"
    );
    assert_eq!(output.status.code(), Some(1));
}

/// What looks like a flag is one, unless it stands behind `--`.
#[test]
fn an_id_may_begin_with_a_hyphen() {
    let server = Server::start(&["--cluster.node-id=-dash"]);
    let url = format!("http://{}", server.admin);
    for command in ["server status cluster node", "server status gossip node", "status cluster node"] {
        let words: Vec<&str> = command.split(' ').collect();
        let output = run("piko", &[&words[..], &["--server.url", &url, "--", "-dash"]].concat(), &[]);
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("-dash"), "{command}");
        let help = run("piko", &[&words[..], &["--help"]].concat(), &[]);
        assert!(String::from_utf8_lossy(&help.stdout).contains("behind -- where it begins with a hyphen"));
    }
}

/// As the HTTP client of Go does (behaviour reference, CLI 1.2): a login of the URL is sent, and a token counts instead.
#[test]
fn a_login_of_the_url_is_sent_unless_there_is_a_token() {
    // "me:p@ss" in base64.
    for (more, expected) in [(&[][..], "Basic bWU6cEBzcw=="), (&["--server.token=t0ken"], "Bearer t0ken")] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://me:p%40ss@{}", listener.local_addr().expect("an address"));
        let node = std::thread::spawn(move || {
            let (tcp, _) = listener.accept().expect("a connection");
            let mut head = Vec::new();
            let mut reader = BufReader::new(&tcp);
            while !head.ends_with(b"\r\n\r\n") {
                assert_ne!(reader.read_until(b'\n', &mut head).expect("a line"), 0);
            }
            (&tcp).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").expect("sent");
            String::from_utf8(head).expect("text")
        });
        let args = [&["server", "status", "cluster", "nodes", "--server.url", &url], more].concat();
        let output = run("piko", &args, &[]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "nodes: []\n", "{output:?}");
        let head = node.join().expect("a request");
        let sent: Vec<_> = head.lines().filter_map(|line| line.strip_prefix("Authorization: ")).collect();
        assert_eq!(sent, [expected], "{head}");
        assert!(!head.contains("p%40ss"), "{head}");
    }
    let args = ["bench", "http", "--connect.proxy-url", "http://u:hunter2@h"];
    let output = run("piko", &args, &[]);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "config: server: invalid proxy url: user name and password are not supported [--connect.proxy-url]\n"
    );
}
