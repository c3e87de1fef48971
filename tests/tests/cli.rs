//! `piko` as a command line: exit status, which stream, one line.

use piko_tests::http::Client;
use piko_tests::process::{Agent, Process, Server, Signal, binary};
use piko_tests::service::Service;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const END: Duration = Duration::from_secs(15);

fn piko(args: &[&str]) -> Output {
    Command::new(binary("piko")).args(args).output().expect("piko starts")
}

#[test]
fn help_and_version_go_to_stdout_and_succeed() {
    let version = format!("piko version {}\n", env!("CARGO_PKG_VERSION"));
    for args in [&[][..], &["--help"], &["help", "server"], &["agent"], &["demo", "--help"]] {
        let output = piko(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("Usage: piko"), "{args:?}");
        assert!(output.stderr.is_empty(), "{args:?}");
    }
    for args in [&["--version"][..], &["-v"], &["server", "-v"], &["agent", "--version"]] {
        let output = piko(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), version, "{args:?}");
    }
}

#[test]
fn mistakes_are_one_line_on_stderr_and_exit_with_2() {
    let cases: [(&[&str], &str); 10] = [
        (&["forward", "3000"], "missing argument: <endpoint>"),
        (&["forward", "unix:/run/redis.sock"], "<endpoint>"),
        (&["forward", "bogus"], "unknown command: \"bogus\""),
        (&["forward", "3000", "my-endpoint", "bogus"], "bogus"),
        (&["bogus"], "bogus"),
        (&["forward", "3000x", "my-endpoint"], "3000x"),
        (&["--bogus"], "--bogus"),
        (&["server", "--proxy.timeout", "10x"], "10x"),
        (&["agent", "http", "my-endpoint", "not an address"], "not an address"),
        (&["demo", "--proxy.bind-addr", ":1"], "--proxy.bind-addr"),
    ];
    for (args, named) in cases {
        let output = piko(args);
        let line = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {line}");
        assert!(line.ends_with('\n') && line.lines().count() == 1 && line.contains(named), "{line}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

/// `piko help | head -1` must not end in a panic.
#[test]
fn a_reader_who_leaves_is_no_failure() {
    for (program, args) in
        [("piko", &["--help"][..]), ("piko-server", &["--help"]), ("piko-agent", &["--help"])]
    {
        for args in [args, &["--version"]] {
            let mut command = Command::new(binary(program));
            let (reader, writer) = std::io::pipe().expect("a pipe");
            // Nobody reads from the start on.
            drop(reader);
            command.args(args).stdout(writer).stderr(Stdio::piped());
            let mut child = command.spawn().expect("the program starts");
            let mut complaint = String::new();
            let stderr = child.stderr.as_mut().expect("piped");
            stderr.read_to_string(&mut complaint).expect("text");
            let status = child.wait().expect("the end");
            assert_eq!((status.code(), complaint.as_str()), (Some(0), ""), "{program} {args:?}: {status}");
        }
    }
}

#[test]
fn server_and_agent_work_and_drain() {
    let service = Service::start();
    // Flags would have to stand behind the command, so the ports come as variables.
    let any = "127.0.0.1:0";
    let ports = ["PROXY", "UPSTREAM", "ADMIN", "CLUSTER_GOSSIP"].map(|port| format!("PIKO_{port}_BIND_ADDR"));
    let mut env = ports.each_ref().map(|name| (name.as_str(), any)).to_vec();
    env.push(("PIKO_DRAIN_DELAY", "0s"));
    let mut server = Server::start_with(binary("piko"), &["server"], &env);
    let port = service.addr().port().to_string();
    let mut agent = Command::new(binary("piko"));
    agent.args(["agent", "http", "mine", &port, "--connect.url", &server.connect_url()]);
    let process = Process::spawn("piko agent", &mut agent).expect("piko starts");
    let mut agent = Agent { process, endpoint: "mine".to_owned() };
    agent.wait_connected(0, END).expect("the tunnel comes up");

    let mut slow = Client::connect(server.proxy).expect("the server");
    slow.send_head("GET", "/slow?head_ms=1000", &[("x-piko-endpoint", "mine")]).expect("a request");
    service.wait_counts(END, |counts| counts.requests == 1).expect("it arrives");
    agent.process.signal(Signal::Term).expect("the agent runs");
    let answer = slow.read_response("GET");
    assert_eq!((answer.status(), &answer.body.bytes[..]), (200, &b"slow\n"[..]), "{answer:?}");
    let code = agent.process.wait_exit(END).expect("the agent ends").code();
    assert_eq!(code, Some(0), "{}", agent.process.tail());
    assert_eq!(server.terminate(END).expect("the server ends").code(), Some(0));
}

/// The usual soft limit is 1,024, which a thousand requests exceed; here it is smaller, and so is the crowd.
#[test]
fn an_agent_raises_its_soft_limit_on_open_files() {
    const CROWD: usize = 100;
    let service = Service::start();
    let server = Server::start(&[]);
    let mut agent = Command::new("sh");
    agent.args(["-c", "ulimit -S -n 64 && exec \"$@\"", "sh"]).arg(binary("piko-agent"));
    let port = service.addr().port().to_string();
    agent.args(["http", "mine", &port, "--connect.url", &server.connect_url()]);
    let process = Process::spawn("piko-agent", &mut agent).expect("a shell");
    let agent = Agent { process, endpoint: "mine".to_owned() };
    agent.wait_connected(0, END).expect("the tunnel comes up");

    // The service answers only when all are there.
    let target = format!("/wait?n={CROWD}");
    let mut crowd: Vec<Client> =
        (0..CROWD).map(|_| Client::connect(server.proxy).expect("the server")).collect();
    for client in &mut crowd {
        client.set_patience(END).expect("an option");
        client.send_head("GET", &target, &[("x-piko-endpoint", "mine")]).expect("a request");
    }
    for client in &mut crowd {
        let answer = client.read_response("GET");
        assert_eq!((answer.status(), &answer.body.bytes[..]), (200, &b"hello\n"[..]), "{answer:?}");
    }
}

/// Each of its connections is two descriptors; here the limit is smaller than the usual one, and so is the crowd.
#[test]
fn a_forwarder_raises_its_soft_limit_on_open_files() {
    const CROWD: usize = 100;
    let service = Service::scripted(|mut stream| {
        let copy = stream.try_clone();
        let _ = copy.and_then(|mut from| std::io::copy(&mut from, &mut stream));
    });
    let server = Server::start(&[]);
    let _agent = Agent::tcp(&server.connect_url(), "mine", &service.addr().to_string(), &[]);
    let mut forward = Command::new("sh");
    forward.args(["-c", "ulimit -S -n 64 && exec \"$@\"", "sh"]).arg(binary("piko"));
    let url = format!("http://{}", server.proxy);
    forward.args(["forward", "127.0.0.1:0", "mine", "--connect.url", &url]);
    let process = Process::spawn("piko forward", &mut forward).expect("a shell");
    let (_, record) = process.wait_record(0, END, "starting forwarder").expect("a port");
    let addr = record["addr"].as_str().expect("an address");

    let mut crowd: Vec<TcpStream> = (0..CROWD).map(|_| TcpStream::connect(addr).expect("the port")).collect();
    for client in &mut crowd {
        client.set_read_timeout(Some(END)).expect("an option");
        client.write_all(b"ping").expect("sent");
    }
    for client in &mut crowd {
        let mut back = [0; 4];
        client.read_exact(&mut back).expect("an echo");
        assert_eq!(&back, b"ping");
    }
}
