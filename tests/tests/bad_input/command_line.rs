//! Command lines that cannot be meant.

use std::net::TcpListener;
use std::process::Command;

use piko_tests::process::{Process, Source, WaitError, binary};
use piko_tests::rig::PATIENCE;

/// Exit status, standard output and standard error of a program that should end at once.
fn run(program: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary(program));
    let mut process = Process::spawn(program, command.args(args)).expect("the program starts");
    let status = process.wait_exit(PATIENCE).unwrap_or_else(|e| panic!("{program} {args:?} runs on: {e}"));
    // Both streams have been read to their end once no line can come any more.
    let end = process.wait_line(0, PATIENCE, |_| false);
    assert!(!matches!(end, Err(WaitError::Deadline(_))), "{program} {args:?} keeps its output open");
    let of = |source: Source| {
        let lines = process.lines(0).into_iter().filter(|line| line.source == source);
        lines.map(|line| line.text + "\n").collect::<String>()
    };
    (status.code(), of(Source::Stdout), of(Source::Stderr))
}

#[test]
fn usage_errors_exit_2_with_one_line_that_names_the_mistake() {
    for (program, args, named) in [
        ("piko-server", &["--no-such-flag"][..], "no-such-flag"),
        ("piko-server", &["--proxy.bind-addr"], "proxy.bind-addr"),
        ("piko-server", &["--proxy.bind-addr", "nonsense:port"], "nonsense:port"),
        ("piko-server", &["--proxy.bind-addr", ":99999"], "99999"),
        ("piko-server", &["--proxy.timeout", "soon"], "soon"),
        ("piko-server", &["--log.level", "loud"], "--log.level"),
        ("piko-server", &["--grace-period", "0"], "--grace-period"),
        ("piko-server", &["--proxy.bind-addr="], "--proxy.bind-addr"),
        ("piko", &["server", "--log.level", "loud"], "--log.level"),
        ("piko", &["agent", "http", "ep", "8080", "--connect.url", "ftp://h"], "--connect.url"),
        ("piko-agent", &["--no-such-flag"], "no-such-flag"),
        ("piko-agent", &["http", "ep", "8080", "--connect.url", "nonsense"], "--connect.url"),
        ("piko-agent", &["http", "ep", "8080", "--connect.timeout", "0"], "--connect.timeout"),
        ("piko-agent", &["http", "ep", "8080", "--log.level", "LOUD"], "--log.level"),
        ("piko-agent", &["http"], "<endpoint>"),
        ("piko-agent", &["http", "ep"], "<addr>"),
        ("piko-agent", &["http", "ep", "not an address"], "not an address"),
        ("piko-agent", &["http", "ep", "localhost:99999"], "99999"),
        ("piko-agent", &["http", "ep", "ftp://x"], "ftp"),
        ("piko-agent", &["http", "a/b", "8080"], "a/b"),
        ("piko-agent", &["http", "ep", "8080", "--timeout", "x"], "timeout"),
        ("piko-agent", &["dance"], "dance"),
    ] {
        let (code, stdout, stderr) = run(program, args);
        assert_eq!(code, Some(2), "{program} {args:?}: {stderr}");
        assert_eq!(stdout, "", "{program} {args:?}");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{program} {args:?}: {stderr}");
        assert!(stderr.contains(named), "{program} {args:?} does not name {named}: {stderr}");
    }
}

/// Nobody reads what is said: that is no reason to crash, and the status tells the same.
#[test]
fn a_closed_stdout_or_stderr_harms_no_program() {
    let closed = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        writer
    };
    for (program, args, status) in [
        ("piko", &["bogus"][..], 2),
        ("piko", &["--help"], 0),
        ("piko", &["server", "--cluster.gossip.bind-addr", ":8003", "--proxy.bind-addr", "192.0.2.1:1"], 1),
        ("piko-server", &["--bogus"], 2),
        ("piko-server", &["--help"], 0),
        ("piko-server", &["--version"], 0),
        ("piko-agent", &["--bogus"], 2),
        ("piko-agent", &["--help"], 0),
        ("piko-agent", &["tcp", "e", "1", "--http-client.disable-compression"], 2),
        ("piko-agent", &["http", "e", "1", "--server.enabled", "--server.bind-addr", "192.0.2.1:1"], 1),
    ] {
        let mut command = Command::new(binary(program));
        let status_of = command.args(args).stdout(closed()).stderr(closed()).status();
        assert_eq!(status_of.expect("it starts").code(), Some(status), "{program} {args:?}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address").to_string();
    for flag in ["--proxy.bind-addr", "--upstream.bind-addr", "--admin.bind-addr"] {
        let mut args = Vec::new();
        for each in ["--proxy.bind-addr", "--upstream.bind-addr", "--admin.bind-addr"] {
            args.extend([each, if each == flag { addr.as_str() } else { "127.0.0.1:0" }]);
        }
        let (code, stdout, stderr) = run("piko-server", &args);
        assert_eq!(code, Some(1), "{flag}: {stderr}");
        let said = format!("{stdout}{stderr}");
        assert!(said.contains(&addr), "{flag}: {said}");
        assert!(said.contains("in use"), "{flag}: {said}");
    }
}
