//! What happens to files and to programs: odd texts, odd files, links that are swapped, terminals that go away.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use piko_tests::cluster::unused_addr;
use piko_tests::flags::run;
use piko_tests::http::Client;
use piko_tests::process::{Process, Server, Signal, binary, need};

use crate::{Folder, SOON};

/// What `config check` says of a file of these bytes: both outputs, and the status.
fn check(folder: &Folder, program: &str, bytes: &[u8]) -> (String, i32) {
    let path = folder.path("odd.yaml");
    fs::write(&path, bytes).expect("the folder can be written");
    check_at(program, &path)
}

fn check_at(program: &str, path: &str) -> (String, i32) {
    let output = run(program, &["config", "check", "--config.path", path], &[]);
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).expect("is text"), output.status.code().expect("ends by itself"))
}

/// Texts that editors, templates and wrong tools make.
#[test]
fn odd_texts_are_read_or_named() {
    let folder = Folder::new();
    let laughs: String = ('b'..='i')
        .map(|c| format!("{c}: &{c} [{}]\n", vec![format!("*{}", (c as u8 - 1) as char); 9].join(", ")))
        .collect();
    let laughs = format!("a: &a [x, x, x]\n{laughs}");
    let many: String = (0..600_000).map(|n| format!("  - 10.0.{}.{}\n", n / 256 % 256, n % 256)).collect();
    let good = "the configuration is good";
    let cases: [(&[u8], i32, &str); 19] = [
        (b"\xef\xbb\xbfproxy:\n  timeout: 1s\n", 0, good),
        (b"proxy:\r\n  timeout: 1s\r\nlog:\r\n  level: warn\r\n", 0, good),
        (b"", 0, good),
        (b"# nothing\n", 0, good),
        (b"proxy: {timeout: 1s}\n---\nbogus: 1\n", 0, good),
        (
            b"proxy:\n\ttimeout: 1s\n",
            1,
            "odd.yaml:2: the line begins with a tab; YAML is indented with spaces",
        ),
        (
            b"proxy:\n  timeout: 1s\n  timeout: 2s\n",
            1,
            "odd.yaml:3: proxy.timeout: the key stands here twice",
        ),
        (b"log: {}\nproxy: {}\nlog: {}\n", 1, "odd.yaml:3: log: the key stands here twice"),
        (b"proxy:\n  timeout: \xff\xfe\n", 1, "the file is no UTF-8 text"),
        (b"p\0r\0o\0x\0y\0:\0 \0{\0}\0\n\0", 1, "control characters are not allowed"),
        (b"proxy: &p\n  tls: *p\n", 1, "odd.yaml:2: proxy.tls.tls: unknown key"),
        (laughs.as_bytes(), 1, "odd.yaml:1: a: unknown key"),
        (&[b"cluster:\n  join:\n".as_slice(), many.as_bytes()].concat(), 1, "cluster.join: too many entries"),
        (&vec![b'['; 200_000], 1, "odd.yaml:1: more than 500 sections or lists within each other"),
        (&b"upstream: {tenants: [{a: ".repeat(20_000), 1, "odd.yaml:1: more than 500 sections"),
        (&b"- ".repeat(100_000), 1, "parse config: "),
        (&vec![b'x'; 10_000_000], 1, "odd.yaml:1: a word of more than 1 MiB"),
        (&[&b"#"[..], &vec![b'x'; 10_000_000], b"\nproxy: {timeout: 1s}\n"].concat(), 0, good),
        (&vec![b'#'; 17 << 20], 1, "odd.yaml: larger than 16384 KiB"),
    ];
    for (bytes, code, words) in cases {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let (text, status) = check(&folder, "piko-server", bytes);
        assert!(text.contains(words), "{shown:?}: {text}");
        assert_eq!((status, text.lines().count()), (code, 1), "{shown:?}: {text}");
    }
}

/// What stands in the wrong place may be a secret.
#[test]
fn complaints_do_not_show_what_may_be_secret() {
    let folder = Folder::new();
    let secret = "hunter2hunter2";
    for (program, text) in [
        ("piko-server", "cluster:\n  SECRET\n"),
        ("piko-server", "cluster: SECRET\n"),
        ("piko-server", "cluster:\n  secret: [SECRET]\n"),
        ("piko-server", "cluster:\n  secret: SECRET\n   x: 1\n"),
        ("piko-server", "cluster:\n  secret: \"SECRET\n"),
        ("piko-agent", "connect: {token: {SECRET: 1}}\n"),
        ("piko-agent", "connect: {token: \"SECRET\\n\"}\n"),
        ("piko-agent", "connect: {url: \"http://user:SECRET@host:8001\"}\n"),
        ("piko-agent", "connect: {tls: SECRET}\n"),
    ] {
        let (said, status) = check(&folder, program, text.replace("SECRET", secret).as_bytes());
        assert_eq!(status, 1, "{text}: {said}");
        assert!(!said.contains(secret), "{text}: {said}");
    }
}

/// Neither a folder, nor a device without an end, nor what is not there.
#[test]
fn odd_files_are_named() {
    let folder = Folder::new();
    let place = folder.path("");
    for program in ["piko-server", "piko-agent"] {
        for (path, code, words) in [
            (place.as_str(), 1, "is a directory"),
            ("/dev/zero", 1, "/dev/zero: larger than 16384 KiB"),
            ("/nowhere/piko.yaml", 1, "/nowhere/piko.yaml: no such file or directory"),
            ("/dev/null", 0, "the configuration is good"),
        ] {
            let (text, status) = check_at(program, path);
            assert!(text.contains(words), "{program}: {text}");
            assert_eq!(status, code, "{program}: {text}");
        }
    }
    // Every secret has a file, and no such file is large.
    let folder = Folder::new();
    let listener =
        folder.write("agent.yaml", "listeners: [{endpoint_id: e, addr: 80, token_file: /dev/zero}]\n");
    for (program, args) in [
        ("piko-agent", vec!["http", "e", "1", "--connect.token-file", "/dev/zero"]),
        ("piko-agent", vec!["start", "--config.path", &listener]),
        ("piko", vec!["forward", "tcp", "1", "e", "--connect.token-file", "/dev/zero"]),
        ("piko", vec!["server", "status", "cluster", "nodes", "--server.token-file", "/dev/zero"]),
        ("piko-server", [crate::servers::PORTS, &["--cluster.secret-file", "/dev/zero"]].concat()),
    ] {
        let output = run(program, &args, &[]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("/dev/zero: larger than 64 KiB"), "{program} {args:?}: {text}");
        assert!(!output.status.success(), "{program} {args:?}");
    }
    let args = ["--proxy.tls.cert", "/dev/zero", "--proxy.tls.key", "/dev/zero"];
    let output = run("piko-server", &args, &[]);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains("/dev/zero: not a file of certificates"), "{text}");
}

/// What cannot be written is told: a script would go on with half a file.
#[test]
fn a_full_disk_is_no_success() {
    for (program, args) in [
        ("piko", &["server", "config", "default"][..]),
        ("piko-server", &["config", "default"]),
        ("piko-agent", &["config", "default"]),
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
        let mut command = Command::new(binary(program));
        let output = command.args(args).stdout(full).stderr(Stdio::piped()).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.starts_with("write: "), "{program}: {text}");
        assert_eq!(output.status.code(), Some(1), "{program}");
    }
}

/// A program whose log nobody can write serves on.
#[test]
fn a_log_on_a_full_disk_harms_nobody() {
    let folder = Folder::new();
    let addr = folder.path("nothing");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
    // The port is told in the log, which is lost: a free one is found first.
    let free = unused_addr();
    let mut command = Command::new(binary("piko-server"));
    command.args(["--proxy.bind-addr=127.0.0.1:0", "--upstream.bind-addr=127.0.0.1:0"]);
    command.args(["--cluster.gossip.bind-addr=127.0.0.1:0", "--log.level=debug"]);
    command.arg(format!("--admin.bind-addr={free}")).arg(format!("--config.path={}", fresh(&addr)));
    let mut child =
        command.stdout(full.try_clone().expect("a copy")).stderr(full).spawn().expect("it starts");
    let until = std::time::Instant::now() + SOON;
    let ready = loop {
        let asked = Client::connect(free).and_then(|mut client| client.get("/ready", &[]));
        if asked.is_ok_and(|answer| answer.status() == 200) {
            break true;
        }
        if std::time::Instant::now() > until {
            break false;
        }
        // There is no log to wait for.
        std::thread::sleep(Duration::from_millis(10));
    };
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(ready, "the server never was ready");
}

/// An empty file.
fn fresh(path: &str) -> &str {
    fs::write(path, "").expect("the folder can be written");
    path
}

/// A volume of Kubernetes: the file is a link into `..data`, which is a link that is swapped.
#[test]
fn a_swapped_config_map_is_seen() {
    let folder = Folder::new();
    let place = Path::new(&folder.path("")).to_owned();
    let put = |version: &str, text: &str| {
        fs::create_dir(place.join(version)).expect("a place");
        fs::write(place.join(version).join("server.yaml"), text).expect("a place");
        symlink(version, place.join("..data_tmp")).expect("a link");
        fs::rename(place.join("..data_tmp"), place.join("..data")).expect("a swap");
    };
    put("..2026_01", "grace_period: 5s\n");
    symlink("..data/server.yaml", place.join("server.yaml")).expect("a link");
    let path = folder.path("server.yaml");
    let server = Server::start_with(binary("piko-server"), &["--config.path", &path], &[]);
    put("..2026_02", "grace_period: 6s\n");
    // As the kubelet does it, behind the swap.
    fs::remove_dir_all(place.join("..2026_01")).expect("a place");
    let (_, record) = server.process.wait_record(0, SOON, "new values count").expect("a line");
    assert_eq!(record["flags"], "grace-period");
}

/// `--config.path <(decrypt server.yaml)`: a pipe is read once, and SIGHUP does not take an empty one for a configuration.
#[test]
fn a_configuration_out_of_a_pipe() {
    let folder = Folder::new();
    let pipe = folder.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    let writer = {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::write(pipe, "grace_period: 5s\nlog: {level: debug}\n"))
    };
    let mut server = Server::start_with(binary("piko-server"), &["--config.path", &pipe], &[]);
    writer.join().expect("the thread").expect("the server reads");
    server.process.signal(Signal::Hup).expect("sent");
    server.process.wait_line(0, SOON, |line| line.text.contains("nothing to reload")).expect("is told");
    let mut admin = Client::connect(server.admin).expect("the admin port");
    assert_eq!(admin.get("/health", &[]).expect("an answer").status(), 200);
}

/// SIGHUP means "read your files" from the first moment on: it ends no program that is about to read them.
#[test]
fn a_hangup_at_the_very_start_ends_nothing() {
    for (program, words, text) in [
        ("piko", &["server"][..], "grace_period: 0"),
        ("piko-server", &[], "grace_period: 0"),
        ("piko", &["agent", "start"], "listeners: []"),
        ("piko-agent", &["start"], "listeners: []"),
        ("piko", &["forward", "start"], "ports: []"),
    ] {
        let folder = Folder::new();
        let pipe = folder.path("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
        assert!(made.success());
        let mut command = Command::new(binary(program));
        let mut process =
            Process::spawn(program, command.args(words).args(["--config.path", &pipe])).expect("starts");
        // Opened once the program waits for what is in it, so before any of what it does later.
        let mut writer = fs::File::options().write(true).open(&pipe).expect("a reader");
        process.signal(Signal::Hup).expect("it runs");
        writer.write_all(text.as_bytes()).expect("it is still there");
        drop(writer);
        // What it was told is a mistake, which it gets as far as to judge.
        let status = process.wait_exit(SOON).expect("the end");
        assert_eq!(status.code(), Some(1), "{program} {words:?}: {}", process.tail());
    }
}

/// A server that a shell started in some way, ended by its own process id.
struct Started {
    folder: Folder,
    pid: Option<rustix::process::Pid>,
    _shell: Process,
}

impl Started {
    /// Runs `how` in a terminal of its own; `$RUN` in it is the server, whose log is a file.
    fn in_terminal(script: &Path, how: &str) -> Self {
        let folder = Folder::new();
        let server = format!(
            "sh -c 'echo $$ > {pid}; exec {program} --proxy.bind-addr 127.0.0.1:0 --upstream.bind-addr 127.0.0.1:0 \
             --admin.bind-addr 127.0.0.1:0 --cluster.gossip.bind-addr 127.0.0.1:0 --drain-delay 0 > {log} 2>&1'",
            pid = folder.path("pid"),
            log = folder.path("log"),
            program = binary("piko-server").display()
        );
        let mut command = Command::new(script);
        command.args(["-qfc", &how.replace("$RUN", &server), "/dev/null"]);
        // `nohup` leaves a file where it is called.
        command.current_dir(folder.path("."));
        let shell = Process::spawn("script", &mut command).expect("script starts");
        let mut started = Self { folder, pid: None, _shell: shell };
        started.wait_log("starting proxy server");
        let pid = fs::read_to_string(started.folder.path("pid")).expect("the server's id");
        started.pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
        started
    }

    fn wait_log(&self, words: &str) {
        let until = std::time::Instant::now() + SOON;
        loop {
            let text = fs::read_to_string(self.folder.path("log")).unwrap_or_default();
            if text.contains(words) {
                return;
            }
            assert!(std::time::Instant::now() < until, "{words}: {text}");
            // The log is a file, which tells nobody of its growth.
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.pid.expect("the server's id");
        rustix::process::kill_process(pid, signal).expect("it runs");
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// SIGHUP means "read your files" to a server that stands on its own, and "the terminal is gone" to one that was
/// started in a terminal, in the foreground or not.
#[test]
fn a_terminal_that_goes_takes_its_server_along() {
    use rustix::process::Signal as Raw;
    let Some(script) = need("script") else { return };
    // The terminal goes when the one who holds it does.
    let mut started = Started::in_terminal(&script, "$RUN");
    started.signal(Raw::HUP);
    started.wait_log("nothing to reload");
    started._shell.signal(Signal::Kill).expect("it runs");
    started.wait_log("received shutdown signal");
    started.wait_log("shutdown complete");
    started.pid = None;

    // Neither of these two belongs to the terminal that it was started in.
    for how in ["setsid $RUN & sleep 60", "nohup $RUN & sleep 60"] {
        let mut started = Started::in_terminal(&script, how);
        started._shell.signal(Signal::Kill).expect("it runs");
        started.signal(Raw::HUP);
        started.wait_log("nothing to reload");
        let text = fs::read_to_string(started.folder.path("log")).expect("the log");
        assert!(!text.contains("received shutdown signal"), "{how}: {text}");
        started.signal(Raw::TERM);
        started.wait_log("shutdown complete");
        started.pid = None;
    }
}
