//! README.md does what it says: its first commands, Getting Started word for word, its code, its links.

use piko_client::Upstream;
use piko_runtime_tokio::Stream;
use piko_runtime_tokio::Tokio;
use piko_tests::cluster::unused_addr;
use piko_tests::http::Client;
use piko_tests::process::{Process, Server, binary, need};
use rustix::process::{Pid, Signal, kill_process_group};
use std::error::Error;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const START: Duration = Duration::from_secs(60);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in a workspace")
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("README.md")
}

/// A fenced block, and the number of the line where its text begins.
struct Block {
    language: String,
    text: String,
    line: usize,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(language), None) => {
                open = Some(Block { language: language.to_owned(), text: String::new(), line: number + 2 });
            }
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block does not end");
    blocks
}

/// The commands of the section with this heading, in their order.
fn commands(heading: &str) -> Vec<String> {
    let readme = readme();
    let (_, section) = readme.split_once(&format!("\n{heading}\n")).expect("the heading");
    let section = section.split("\n## ").next().unwrap_or_default();
    let shell = blocks(section).into_iter().filter(|block| block.language == "sh");
    shell.map(|block| block.text.trim().to_owned()).collect()
}

/// A command in a terminal: a shell and all that it starts, killed together.
struct Terminal {
    process: Process,
}

impl Terminal {
    fn run(dir: &Path, command: &str, env: &[(&str, &str)]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(dir).envs(env.iter().copied()).process_group(0);
        Self { process: Process::spawn(command, &mut shell).expect("a shell") }
    }

    /// Waits for a record of the log and gives its `addr`.
    fn addr(&self, msg: &str) -> SocketAddr {
        let (_, record) = self.process.wait_record(0, START, msg).unwrap_or_else(|e| panic!("{msg}: {e}"));
        record["addr"].as_str().unwrap_or_default().parse().unwrap_or_else(|e| panic!("{record}: {e}"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The shell is not waited for before this, so the number still means its group.
        if let Some(group) = i32::try_from(self.process.pid()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// A directory of this test, removed at its end.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A place that looks like a clone in which the program was built.
fn clone_like() -> Dir {
    let dir = Dir(std::env::temp_dir().join(format!("piko-readme-{}", std::process::id())));
    let release = dir.0.join("target").join("release");
    fs::create_dir_all(&release).expect("a directory");
    symlink(binary("piko"), release.join("piko")).expect("a link");
    dir
}

/// Waits until somebody listens on this port.
fn wait_open(port: u16) {
    let deadline = Instant::now() + START;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nobody listens on {port}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_first_commands_are_demo_and_test() {
    let blocks = blocks(&readme());
    let shell: Vec<_> = blocks.iter().filter(|block| block.language == "sh").collect();
    let wanted = ["cargo run --release -- demo\n", "cargo test --workspace\n"];
    for (block, wanted) in shell.iter().zip(wanted) {
        assert_eq!(block.text, wanted);
        assert!(block.line < 60, "{wanted} stands at line {}", block.line);
    }
    // The picture is indented, so that the commands are the first fenced blocks of any language.
    assert!(blocks[0].language == "sh", "another block stands before the commands");
    let picture = readme().lines().position(|line| line.starts_with("    ") && line.contains("──►"));
    assert!(picture.is_some_and(|line| line < shell[0].line), "a picture comes first");
}

/// Nothing is replaced but the ports, which other programs may have.
#[test]
fn getting_started_works_word_for_word() {
    if need("curl").is_none() || need("python3").is_none() {
        return;
    }
    let commands = commands("## Getting started");
    let [build, server, agent, service, request] = &commands[..] else {
        panic!("other commands: {commands:?}")
    };
    assert_eq!(build, "cargo build --release", "makes ./target/release/piko");
    let dir = clone_like();

    let any = "127.0.0.1:0";
    let ports = ["PIKO_PROXY_BIND_ADDR", "PIKO_UPSTREAM_BIND_ADDR", "PIKO_ADMIN_BIND_ADDR"];
    let server = Terminal::run(&dir.0, server, &ports.map(|name| (name, any)));
    let (proxy, upstream) = (server.addr("starting proxy server"), server.addr("starting upstream server"));

    let service_port = unused_addr().port();
    let moved = |command: &str, from: &str, to: u16| {
        assert!(command.contains(from), "{command} names no port {from}");
        command.replace(from, &to.to_string())
    };
    let url = format!("http://localhost:{}", upstream.port());
    let agent = moved(agent, "4000", service_port);
    let agent = Terminal::run(&dir.0, &agent, &[("PIKO_CONNECT_URL", &url)]);
    agent.process.wait_record(0, START, "tunnel connected").unwrap_or_else(|e| panic!("the agent: {e}"));

    let _service = Terminal::run(&dir.0, &moved(service, "4000", service_port), &[]);
    wait_open(service_port);

    let request = moved(request, "8000", proxy.port());
    let output = Command::new("sh").args(["-c", &request]).output().expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{request}: {output:?}");
    assert!(text.contains("Directory listing for /") && text.contains("target/"), "{text}");
}

#[test]
fn links_lead_somewhere() {
    for file in ["README.md", "docs/architecture.md"] {
        let path = root().join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
        let mut rest = text.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let (link, after) = after.split_once(')').expect("a link ends");
            let target = path.parent().expect("a directory").join(link.split('#').next().unwrap_or_default());
            assert!(link.starts_with("http") || target.exists(), "{file}: {link}");
            rest = after;
        }
    }
}

/// The code of the README. Only the URL is another one.
async fn listen(url: &str) -> Result<(), Box<dyn Error>> {
    let rt = Tokio::from(tokio::runtime::Handle::current());
    let listener = Upstream::new(rt, url)?.listen("my-endpoint").await?;
    while let Ok(stream) = listener.accept().await {
        tokio::spawn(serve(stream)); // AsyncRead and AsyncWrite of tokio
    }
    Ok(())
}

/// One request, one answer.
async fn serve(mut stream: Stream) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).await.is_ok() {
        head.push(byte[0]);
    }
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhello\n";
    if stream.write_all(answer).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

#[test]
fn the_code_is_the_code_that_runs_here() {
    let here: Vec<&str> = include_str!("readme.rs").lines().map(str::trim).collect();
    let code = blocks(&readme()).into_iter().find(|block| block.language == "rust").expect("a block of Rust");
    let lines = code.text.lines().map(str::trim).filter(|line| !line.is_empty());
    let (urls, others): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("let url = "));
    assert_eq!(urls, ["let url = \"http://localhost:8001\";"]);
    for line in others {
        assert!(here.contains(&line), "{line}");
    }
}

#[test]
fn the_code_serves_a_request() {
    let server = Server::start(&[]);
    let url = server.connect_url();
    std::thread::spawn(move || {
        piko_runtime_tokio::block_on(|_| async move { listen(&url).await.map_err(|error| error.to_string()) })
    });
    server.process.wait_record(0, START, "upstream connected").expect("the listener comes up");
    let mut client = Client::connect(server.proxy).expect("the server");
    let hello = client.get("/", &[("x-piko-endpoint", "my-endpoint")]).expect("a request");
    assert_eq!((hello.status(), &hello.body.bytes[..]), (200, &b"hello\n"[..]), "{hello:?}");
}
