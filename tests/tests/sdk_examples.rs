//! The examples of the SDK as programs of their own, asked through a real server.

use piko_tests::http::{Client, End};
use piko_tests::process::{Agent, Process, Server, Signal, profile_dir};
use piko_tests::service::Service;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// How long anything that happens at once may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Where the examples are: built once, beside the running test, so that what is compiled for it serves again.
fn examples() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let exe = env::current_exe().expect("the running test has a path");
        let dir = profile_dir(&exe).expect("it lies in a target directory");
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--locked", "--package", "piko-client"]);
        cargo.args([
            "--features",
            "tokio,smol",
            "--example",
            "dial",
            "--example",
            "hyper_app",
            "--example",
            "smol_echo",
        ]);
        cargo.arg("--target-dir").arg(dir.parent().expect("a profile lies in a target directory"));
        if dir.ends_with("release") {
            cargo.arg("--release");
        }
        let output = cargo.output().expect("cargo starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        dir.join("examples")
    })
}

/// Starts an example for the endpoint `e` and waits until it listens.
fn start(name: &str, server: &Server) -> Process {
    let mut command = Command::new(examples().join(name));
    command.args([&server.connect_url(), "e"]);
    let process = Process::spawn(name, &mut command).expect("started");
    process.wait_line(0, SOON, |line| line.text == "listening on e").expect("the tunnel");
    process
}

#[test]
fn a_hyper_application_listens() {
    let server = Server::start(&[]);
    let mut app = start("hyper_app", &server);
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    for path in ["/", "/a/b?c=d"] {
        let answer = client.get(path, &[("x-piko-endpoint", "e")]).expect("an answer");
        assert_eq!((answer.status(), answer.end), (200, End::Complete));
        assert_eq!(answer.body.text(), format!("hello from GET {path}\n"));
    }
    app.signal(Signal::Int).expect("sent");
    assert!(app.wait_exit(SOON).expect("the end").success());
}

#[test]
fn an_echo_without_http_library_listens() {
    let server = Server::start(&[]);
    let app = start("smol_echo", &server);
    let mut client = Client::connect(server.proxy).expect("the proxy port");
    let answer = client.get("/any/path", &[("x-piko-endpoint", "e"), ("x-mine", "1")]).expect("an answer");
    let text = answer.body.text();
    assert!(text.starts_with("GET /any/path HTTP/1.1\r\n") && text.contains("\r\nx-mine: 1\r\n"), "{text}");
    drop(app);
}

#[test]
fn a_line_protocol_is_spoken_over_a_dialled_connection() {
    let service = Service::scripted(|stream| {
        let mut writer = stream.try_clone().expect("a copy");
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if writer.write_all(format!("+{line}\r\n").as_bytes()).is_err() {
                return;
            }
        }
        // Behind the end of the client's direction.
        let _ = writer.write_all(b"-bye\r\n");
    });
    let server = Server::start(&[]);
    let _agent = Agent::tcp(&server.connect_url(), "lines", &service.addr().to_string(), &[]);
    let mut command = Command::new(examples().join("dial"));
    command.args([&format!("http://{}", server.proxy), "lines", "PING", "GET a"]);
    let output = command.output().expect("started");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "+PING\n+GET a\n-bye\n", "{output:?}");
    assert!(output.status.success());
}
