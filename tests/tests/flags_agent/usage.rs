//! The command line itself: completeness, mistakes, help, every spelling.

use std::collections::BTreeSet;
use std::process::Command;

use piko_config::{Program, flags};
use piko_tests::flags::{Settings, WAYS, Way, run, shown};
use piko_tests::http::Client;
use piko_tests::process::{Agent, Process, Server, Signal, binary};
use piko_tests::service::Service;

use crate::{COVERED, SOON};

#[test]
fn help_the_table_and_these_tests_name_the_same_flags() {
    let table: BTreeSet<String> =
        flags(Program::Agent).iter().filter(|flag| flag.shown()).map(|flag| flag.name.to_owned()).collect();
    let covered: BTreeSet<String> = COVERED.iter().map(|&name| name.to_owned()).collect();
    let help: BTreeSet<String> = shown("piko-agent", &[]).into_iter().collect();
    assert_eq!(help, table, "--help and the table");
    assert_eq!(covered, help, "tests and --help");
    // No command has a flag of its own that the list of all does not show.
    for command in ["http", "tcp", "start"] {
        let of_command: BTreeSet<String> = shown("piko-agent", &[command]).into_iter().collect();
        assert!(!of_command.is_empty() && of_command.is_subset(&help), "{command}");
    }
}

#[test]
fn help_and_version_are_printed_on_stdout() {
    for args in [["--help"], ["-h"], ["--version"], ["-v"]] {
        let output = run("piko-agent", &args, &[]);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(output.stderr.is_empty() && !output.stdout.is_empty(), "{args:?}: {output:?}");
    }
}

/// Arguments, variables, and what the line must name.
type Mistake = (&'static [&'static str], Settings<'static>, &'static str);

/// A mistake ends the program with status 2 and one line that names it, before anything connects.
#[test]
fn mistakes_are_named_in_one_line() {
    let cases: [Mistake; 22] = [
        (&["--endpoints", "a/4000", "http", "b", "4000"], &[], "--endpoints: no flag of this command"),
        (&["--endpoints", ""], &[], "--endpoints: \"\" is not of the form"),
        (&["--bogus"], &[], "--bogus"),
        (&["bogus"], &[], "bogus"),
        (&["http"], &[], "<endpoint> <addr>"),
        (&["http", "e"], &[], "<addr>"),
        (&["http", "e", "80", "90"], &[], "\"90\""),
        (&["http", "e", "80", "--timeout"], &[], "--timeout"),
        (&["http", "e", "80", "--timeout", "10x"], &[], "\"10x\""),
        (&["http", "e", "80", "--http-client.max-idle-conns", "many"], &[], "many"),
        (&["http", "e", "80", "--endpoints", "a/80"], &[], "--endpoints"),
        (&["http", "", "80"], &[], "missing endpoint id"),
        (&["http", "a/b", "80"], &[], "invalid endpoint id"),
        (&["http", "e", ""], &[], "missing addr"),
        (&["http", "e", "x:y:z"], &[], "\"x:y:z\""),
        (&["http", "e", "localhost:99999"], &[], "\"localhost:99999\""),
        (&["http", "e", "ftp://localhost:80"], &[], "\"ftp://localhost:80\""),
        (&["tcp", "e", "http://localhost:80"], &[], "\"http://localhost:80\""),
        (&["--endpoints", "no-address"], &[], "\"no-address\""),
        (&["http", "e", "80", "--server.enabled", "--server.bind-addr", "5000"], &[], "\"5000\""),
        (&["http", "e", "80"], &[("PIKO_TIMEOUT", "10x")], "PIKO_TIMEOUT"),
        (&["http", "e", "80"], &[("PIKO_CONNECT_TOKEN", "secret\n")], "PIKO_CONNECT_TOKEN"),
    ];
    for (args, env, named) in cases {
        let output = run("piko-agent", args, env);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{args:?}: {stderr}");
        assert!(stderr.contains(named), "{args:?}: {stderr}");
        assert!(!stderr.contains("secret"), "{stderr}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

/// Values that can be read and not be meant: Go's words, the flag, and the status of every mistake (Go exits with 1).
#[test]
fn invalid_values_keep_the_words_of_go() {
    let cases: [(&str, &str); 5] = [
        ("--connect.url=localhost:8001", "config: connect: invalid url: "),
        ("--connect.url=", "config: connect: missing url"),
        ("--connect.timeout=0", "config: connect: missing timeout"),
        ("--log.level=loud", "config: log: unsupported level: loud"),
        ("--grace-period=0", "config: missing grace period"),
    ];
    for (arg, words) in cases {
        let output = run("piko-agent", &["http", "e", "80", arg], &[]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arg}: {stderr}");
        assert!(stderr.starts_with(words), "{arg}: {stderr}");
        let flag = arg.split('=').next().unwrap_or_default();
        assert!(stderr.trim_end().ends_with(&format!(" [{flag}]")), "{arg}: {stderr}");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{arg}: {stderr}");
    }
}

#[test]
fn a_flag_without_effect_is_accepted_and_answered() {
    let args = [
        "http",
        "e",
        "80",
        "--http-client.disable-compression",
        "--connect.exit-on-failure",
        "--connect.timeout=100ms",
    ];
    let output = run("piko-agent", &[&args[..], &["--connect.url", "http://127.0.0.1:1"]].concat(), &[]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let notice = stderr.lines().next().unwrap_or_default();
    assert!(notice.contains("--http-client.disable-compression") && notice.contains("no effect"), "{stderr}");
}

/// Addresses that Go takes and that cannot be meant: they are taken, and what is dropped of them is told.
#[test]
fn what_an_address_says_in_vain_is_told() {
    let login = "no effect: the user name and password are not sent to the service";
    let fragment = "no effect: the part behind # is not sent to the service";
    let folder = piko_tests::certs::Folder::new("addresses");
    let file =
        folder.put("agent.yaml", "listeners:\n  - {endpoint_id: e, addr: \"http://u:hunter2@h/#f\"}\n");
    for (args, notices) in [
        (&["http", "e", "http://u:hunter2@127.0.0.1:1/"][..], vec![format!("addr: {login}")]),
        (&["http", "e", "http://127.0.0.1:1/#f"], vec![format!("addr: {fragment}")]),
        (&["tcp", "e", "0"], vec!["addr: no service can be at port 0".to_owned()]),
        (&["http", "e", "http://h:0"], vec!["addr: no service can be at port 0".to_owned()]),
        (&["--endpoints", "a/1,b/http://u@h"], vec![format!("--endpoints: b: {login}")]),
        (
            &["start", "--config.path", &file],
            vec![format!("listeners[0].addr: {login}"), format!("listeners[0].addr: {fragment}")],
        ),
        (&["http", "e", "unix:/run/a#b"], Vec::new()),
    ] {
        // It ends at once, as there is no server.
        let gone =
            ["--connect.url=http://127.0.0.1:1", "--connect.exit-on-failure", "--connect.timeout=100ms"];
        let output = run("piko-agent", &[args, &gone].concat(), &[]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let told: Vec<&str> = stderr.lines().take_while(|line| !line.starts_with('{')).collect();
        assert_eq!(
            told.get(..notices.len()),
            Some(&notices.iter().map(String::as_str).collect::<Vec<_>>()[..]),
            "{stderr}"
        );
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
}

/// The grammar of addresses: each form that is accepted reaches the service.
#[test]
fn every_form_of_address_reaches_the_service() {
    let server = Server::start(&[]);
    let service = Service::start();
    let port = service.addr().port();
    let forms = [
        format!("{port}"),
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("http://127.0.0.1:{port}"),
    ];
    for (n, addr) in forms.iter().enumerate() {
        let endpoint = format!("e{n}");
        let _agent = Agent::http(&server.connect_url(), &endpoint, addr, &[]);
        let mut client = Client::connect(server.proxy).expect("the proxy port");
        let answer = client.get("/hello", &[("x-piko-endpoint", &endpoint)]).expect("an answer");
        assert_eq!(answer.body.text(), "hello\n", "{addr}");
    }
    // A path stands before that of the request.
    let _agent = Agent::http(&server.connect_url(), "base", &format!("http://127.0.0.1:{port}/base"), &[]);
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    let answer = client.get("/hello", &[("x-piko-endpoint", "base")]).expect("an answer");
    assert_eq!(answer.status(), 404, "there is no /base/hello");
}

/// The oldest spelling of the documentation, with one tunnel per entry.
#[test]
fn the_oldest_spelling_works() {
    for way in WAYS {
        let server = Server::start(&[]);
        let service = Service::start();
        let list = format!("my-endpoint/{0},other/{0}", service.addr());
        let mut command = Command::new(binary("piko-agent"));
        command.args(["--connect.url", &server.connect_url()]);
        match way {
            Way::Env => command.env("PIKO_ENDPOINTS", &list),
            Way::Flag => command.args(["--endpoints", &list]),
        };
        let mut process = Process::spawn("piko-agent", &mut command).expect("started");
        for endpoint in ["my-endpoint", "other"] {
            let up = |line: &piko_tests::process::Line| {
                line.json().is_some_and(|r| r["msg"] == "tunnel connected" && r["endpoint-id"] == endpoint)
            };
            process.wait_line(0, SOON, up).expect("a tunnel");
            let mut client = Client::connect(server.proxy).expect("the proxy port");
            let host = format!("{endpoint}.example.com");
            assert_eq!(client.get("/hello", &[("host", &host)]).expect("an answer").body.text(), "hello\n");
        }
        process.signal(Signal::Term).expect("sent");
        assert!(process.wait_exit(SOON).expect("the end").success());
    }
}

#[test]
fn nothing_to_do_is_told() {
    let output = run("piko-agent", &["start"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end(), "no listeners configured");
    // As a group of commands in Go: alone it shows what there is.
    let output = run("piko-agent", &[], &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("--connect.url"), "{output:?}");
}
