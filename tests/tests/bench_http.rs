//! `piko bench http` as users run it: what it prints, what it counts, and when it is content.

use piko_tests::certs::{Authority, Folder};
use piko_tests::process::{Agent, Process, Server, Signal, binary};
use piko_tests::service::Service;
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// A run of the tests takes a second or two; this is for machines that are busy.
const END: Duration = Duration::from_secs(40);

/// The command, against `server`.
fn bench(server: &Server, args: &[&str]) -> Process {
    let mut command = Command::new(binary("piko"));
    command.args(["bench", "http"]).args(args);
    for (flag, url) in [
        ("--connect.proxy-url", format!("http://{}", server.proxy)),
        ("--connect.upstream-url", server.connect_url()),
    ] {
        if !args.contains(&flag) {
            command.args([flag, &url]);
        }
    }
    Process::spawn("bench", &mut command).expect("piko starts")
}

/// Its end, and what it printed that is no record of its log.
fn outcome(mut bench: Process) -> (ExitStatus, Vec<String>) {
    let status = bench.wait_exit(END).unwrap_or_else(|e| panic!("no end: {e}\n{}", bench.tail()));
    let lines = bench.lines(0).into_iter().filter(|line| line.json().is_none()).map(|line| line.text);
    (status, lines.collect())
}

/// The number between `before` and `behind`.
fn number(line: &str, before: &str, behind: &str) -> f64 {
    let number = line.strip_prefix(before).and_then(|rest| rest.split_once(behind));
    number.and_then(|(number, _)| number.parse().ok()).unwrap_or_else(|| panic!("no number in {line:?}"))
}

#[test]
fn a_bench_counts_what_it_sent() {
    let server = Server::start(&[]);
    let args =
        ["--requests", "700", "--clients", "9", "--endpoints", "5", "--upstreams", "8", "--size", "3KiB"];
    let (status, lines) = outcome(bench(&server, &args));
    assert!(status.success(), "{lines:?}");
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(number(&lines[0], "Throughput: ", " requests/sec") > 0.0);
    assert_eq!(lines[1], "Requests: 700 answered, 0 failed");
    assert!(lines[2].starts_with("Latency: p50 ") && lines[2].contains(", p99 "), "{}", lines[2]);
}

/// Go's names in the environment and in a file, where what flags call `connect` is called `server`.
#[test]
fn a_bench_takes_a_file_and_variables() {
    let server = Server::start(&[]);
    let folder = Folder::new("bench");
    let (proxy, upstream) = (server.proxy, server.upstream);
    // Its own records of that level are silenced, but those of this subsystem.
    let text = format!(
        "requests: 40\nclients: 3\nendpoints: 2\nupstreams: 1\nsize: 10\nlog: {{level: $LEVEL, subsystems: [bench]}}\n\
         server: {{proxy_url: 'http://{proxy}', upstream_url: 'http://{upstream}', timeout: 7s}}\n"
    );
    let path = folder.put("bench.yaml", &text);
    let mut command = Command::new(binary("piko"));
    command.args(["bench", "http", "--config.path", &path, "--config.expand-env", "--clients", "2"]);
    command.env("LEVEL", "error").env("PIKO_REQUESTS", "41");
    let bench = Process::spawn("bench", &mut command).expect("piko starts");
    let (_, record) = bench.wait_record(0, END, "starting benchmark").unwrap_or_else(|e| panic!("{e}"));
    let shown = ["requests", "clients", "endpoints", "upstreams"].map(|name| record[name].as_u64());
    // The second endpoint has no upstream, so nothing is sent there.
    assert_eq!(shown, [Some(41), Some(2), Some(1), Some(1)], "{record}");
    let own =
        |line: &piko_tests::process::Line| line.json().is_some_and(|record| record["subsystem"] != "bench");
    assert!(!bench.lines(0).iter().any(own), "{}", bench.tail());
    let (status, lines) = outcome(bench);
    assert!(status.success(), "{lines:?}");
    assert_eq!(lines[1], "Requests: 41 answered, 0 failed");
}

/// Somebody else serves one of the endpoints, too, and says something else. A path stays in front.
#[test]
fn wrong_answers_are_failures_and_no_requests() {
    let server = Server::start(&[]);
    let service = Service::start();
    let agent = Agent::http(&server.connect_url(), "endpoint-1", &service.addr().to_string(), &[]);
    agent.wait_connected(0, END).unwrap_or_else(|e| panic!("no tunnel: {e}"));
    let url = format!("http://{}/hello", server.proxy);
    let counts =
        ["--requests", "200", "--clients", "4", "--endpoints", "2", "--upstreams", "2", "--size", "100"];
    let (status, lines) =
        outcome(bench(&server, &[&["--connect.proxy-url", url.as_str()][..], &counts].concat()));
    assert_eq!(status.code(), Some(1), "{lines:?}");
    let (answered, failed) = lines[1].split_once(" answered, ").expect("two numbers");
    let answered = number(&format!("{answered} "), "Requests: ", " ");
    let failed = number(failed, "", " failed");
    assert!(failed > 0.0 && answered > 0.0 && answered + failed == 200.0, "{lines:?}");
    let told: f64 = lines[3..].iter().map(|line| number(line, "Failed: ", " x ")).sum();
    assert_eq!(told, failed, "{lines:?}");
    assert!(lines[3].ends_with(" x the answer is not what was sent"), "{lines:?}");
    // Beside them there were only the six bytes of each look whether the endpoint is known.
    let asked = service.counts().body_in as f64 - failed * 100.0;
    assert!(asked >= 0.0 && asked % 6.0 == 0.0, "{asked} bytes more");
}

#[test]
fn ctrl_c_ends_a_bench_with_the_result_so_far() {
    let server = Server::start(&[]);
    let args = ["--requests", "1000000000", "--clients", "2", "--endpoints", "1", "--upstreams", "1"];
    let mut bench = bench(&server, &args);
    bench.wait_record(0, END, "starting benchmark").unwrap_or_else(|e| panic!("{e}"));
    // Time is the subject: whatever is answered until somebody has seen enough. No event tells of it.
    std::thread::sleep(Duration::from_millis(300));
    bench.signal(Signal::Int).expect("it runs");
    let (status, lines) = outcome(bench);
    assert!(status.success(), "{lines:?}");
    assert!(number(&lines[0], "Throughput: ", " requests/sec") > 0.0);
    assert!(number(&lines[1], "Requests: ", " answered, 0 failed") > 0.0);
}

#[test]
fn a_bench_without_a_server_says_so() {
    let server = Server::start(&[]);
    // Nobody listens at port 9 of this machine.
    for (flag, url, said) in [
        ("--connect.upstream-url", "http://127.0.0.1:9", "no connection within 300ms: "),
        ("--connect.proxy-url", "http://127.0.0.1:9", "endpoint-0: connect: connection refused"),
    ] {
        let args = [flag, url, "--connect.timeout", "300ms", "--upstreams", "1"];
        let bench = bench(&server, &args);
        let (_, record) =
            bench.wait_record(0, END, "failed to run benchmark").unwrap_or_else(|e| panic!("{e}"));
        assert!(record["error"].as_str().is_some_and(|error| error.contains(said)), "{record}");
        let (status, lines) = outcome(bench);
        assert_eq!((status.code(), lines), (Some(1), Vec::new()), "{url}");
    }
}

/// https URLs on both sides, or on one, with the authorities that the environment names, as in Go.
#[test]
fn a_bench_speaks_tls() {
    let (folder, authority) = (Folder::new("bench"), Authority::new("tests"));
    let [cert, key] = authority.issue(&["localhost"]).write(&folder, "server");
    let ca = folder.put("ca.pem", &authority.pem());
    let pair =
        |port: &str| [format!("--{port}.tls.cert"), cert.clone(), format!("--{port}.tls.key"), key.clone()];
    for ports in [&["proxy", "upstream"][..], &["proxy"], &["upstream"]] {
        let args: Vec<String> = ports.iter().copied().flat_map(pair).collect();
        let server = Server::start(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let run = |roots: &str| {
            let url = |name: &str, addr: std::net::SocketAddr| match ports.contains(&name) {
                true => format!("https://localhost:{}", addr.port()),
                false => format!("http://{addr}"),
            };
            let mut command = Command::new(binary("piko"));
            command.args(["bench", "http", "--connect.proxy-url", &url("proxy", server.proxy)]);
            command.args(["--connect.upstream-url", &url("upstream", server.upstream)]);
            command.args(["--requests", "200", "--clients", "3", "--endpoints", "2", "--upstreams", "2"]);
            command.args(["--connect.timeout", "2s"]).env("SSL_CERT_FILE", roots);
            Process::spawn("bench", &mut command).expect("piko starts")
        };
        let (status, lines) = outcome(run(&ca));
        assert!(status.success(), "{ports:?}: {lines:?}");
        assert_eq!(lines[1], "Requests: 200 answered, 0 failed");
        let others = folder.put("others.pem", &Authority::new("others").pem());
        let bench = run(&others);
        let (_, record) =
            bench.wait_record(0, END, "failed to run benchmark").unwrap_or_else(|e| panic!("{e}"));
        let why = record["error"].as_str().expect("a reason");
        assert!(why.contains("UnknownIssuer"), "{ports:?}: {why}");
        assert_eq!(outcome(bench).0.code(), Some(1));
    }
}
