//! `config check`, `config print` and `config default`, and what is said of files with mistakes.

use piko_tests::flags::{Settings, run};

use crate::{Folder, fixture};

/// Standard output, standard error and the exit status.
fn says(program: &str, args: &str, more: &[&str], env: Settings<'_>) -> (String, String, i32) {
    let words: Vec<&str> = args.split_whitespace().chain(more.iter().copied()).collect();
    let output = run(program, &words, env);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("is text");
    (text(&output.stdout), text(&output.stderr), output.status.code().expect("ends by itself"))
}

/// Every file in the folder is good for its program.
#[test]
fn check_takes_every_file() {
    // The file of the cluster's secret is read, those of TLS are not.
    let secrets = Folder::new();
    let secret = secrets.write("cluster-secret", "a secret of the cluster");
    let certs = secret.trim_end_matches("/cluster-secret");
    let env = [
        ("CERTS", certs),
        ("POD_NAME", "piko-0"),
        ("NODE", "n"),
        ("SEED", "10.0.0.1"),
        ("ONE", "4000"),
        ("TWO", "localhost:5000"),
        ("SERVER_URL", "http://localhost:8001"),
        ("SECRET_FILE", &secret),
    ];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let name = entry.expect("an entry").file_name().into_string().expect("is text");
        let command = match name.split(['-', '.']).next().expect("a word") {
            "agent" => "agent config check",
            "forward" => "forward config check",
            // They do not start; a test beside this one says so. And bench has no such command.
            "auth" | "tenants" | "bench" => continue,
            _ => "server config check",
        };
        let args = ["--config.path", &fixture(&name), "--config.expand-env"];
        let (out, err, code) = says("piko", command, &args, &env);
        assert!(out.ends_with("the configuration is good\n"), "{name}: {out}");
        assert_eq!((err.as_str(), code), ("", 0), "{name}");
        count += 1;
    }
    assert!(count >= 12, "only {count} files");
}

#[test]
fn what_default_prints_passes_check() {
    let folder = Folder::new();
    for (program, command) in [
        ("piko", "server config"),
        ("piko", "agent config"),
        ("piko", "forward config"),
        ("piko-server", "config"),
        ("piko-agent", "config"),
    ] {
        let (text, err, code) = says(program, &format!("{command} default"), &[], &[]);
        assert_eq!((err.as_str(), code), ("", 0), "{program} {command}");
        let path = folder.write("default.yaml", &text);
        let (out, err, code) = says(program, &format!("{command} check"), &["--config.path", &path], &[]);
        assert!(out.ends_with("the configuration is good\n"), "{program} {command}: {out}{err}");
        assert_eq!(code, 0, "{program} {command}");
    }
}

#[test]
fn print_shows_what_counts_and_where_it_came_from() {
    let path = fixture("everything.yaml");
    let args = ["--config.path", path.as_str(), "--proxy.timeout=9s", "--cluster.secret=hunter2"];
    let (out, _, code) = says("piko", "server config print", &args, &[("PIKO_GRACE_PERIOD", "3s")]);
    assert_eq!(code, 0);
    for line in [
        "  timeout: 9s # --proxy.timeout",
        "grace_period: 3s # PIKO_GRACE_PERIOD",
        &format!("  node_id: my-node # {path}: cluster.node_id"),
        "    interval: 100ms # ",
        "  secret: \"[redacted]\" # --cluster.secret",
        "drain_delay: 3s",
    ] {
        assert!(out.lines().any(|shown| shown.starts_with(line)), "{line}: {out}");
    }
    assert!(!out.contains("hunter2"), "{out}");
    assert!(out.starts_with(&format!("# {path}: upstream.advertise_addr: no effect")), "{out}");
}

/// One line that has the file, the line in it, the key and what was perhaps meant.
#[test]
fn mistakes_have_a_file_a_line_and_a_key() {
    let folder = Folder::new();
    for (text, line) in [
        ("proxy:\n  timout: 1s\n", "parse config: FILE:2: proxy.timout: unknown key (did you mean timeout?)"),
        (
            "proxy:\n  timeout: 10x\n",
            "parse config: FILE:2: proxy.timeout: \"10x\" is no duration (examples: 300ms, 10s, 1m30s)",
        ),
        ("a: [\n", "parse config: FILE:"),
        ("grace_period: 0s\n", "config: missing grace period [FILE: grace_period]"),
        (
            "log: {level: loud}\n",
            "config: log: unsupported level: loud (debug, info, warn or error) [FILE: log.level]",
        ),
    ] {
        let path = folder.write("server.yaml", text);
        let wanted = line.replace("FILE", &path);
        for (program, command) in [("piko-server", ""), ("piko", "server"), ("piko", "server config check")] {
            let (out, err, code) = says(program, command, &["--config.path", &path], &[]);
            assert!(err.starts_with(&wanted), "{program} {command}: {err}");
            assert_eq!((err.lines().count(), out.as_str(), code), (1, "", 1), "{program} {command}: {err}");
        }
    }
    let path = folder.path("nothing.yaml");
    let (_, err, code) = says("piko-server", "", &["--config.path", &path], &[]);
    assert_eq!((err, code), (format!("read file: {path}: no such file or directory\n"), 1));
    let path = folder.write("agent.yaml", "listeners:\n- endpoint_id: e\n  addr: 70000\n");
    for (program, command) in
        [("piko-agent", "start"), ("piko", "agent start"), ("piko-agent", "config check")]
    {
        let (_, err, code) = says(program, command, &["--config.path", &path], &[]);
        let wanted = "config: listener: e: invalid addr: \"70000\"";
        assert!(err.starts_with(wanted) && err.ends_with("agent.yaml: listeners[0].addr]\n"), "{err}");
        assert_eq!(code, 1);
    }
    // What an entry lacks has a place, too.
    for (command, text, told) in [
        (
            "agent start",
            "listeners:\n- {endpoint_id: e, addr: 80}\n- endpoint_id: f\n",
            "config: listener: f: missing addr [FILE: listeners[1].addr]\n",
        ),
        (
            "agent start",
            "listeners:\n- addr: 80\n",
            "config: listener: missing endpoint id [FILE: listeners[0].endpoint_id]\n",
        ),
        (
            "agent start",
            "listeners:\n- {endpoint_id: e, addr: 80, token: \"a\\n\"}\n",
            "config: a control character (such as a line break at the end) [FILE: listeners[0].token]\n",
        ),
        (
            "forward start",
            "ports:\n- endpoint_id: f\n",
            "config: port: f: missing addr [FILE: ports[0].addr]\n",
        ),
        (
            "server",
            "upstream: {auth: {audience: x}}\n",
            "config: authentication is not supported yet, and without it the port would be open [FILE: upstream.auth.audience]\n",
        ),
    ] {
        let path = folder.write("any.yaml", text);
        let (_, err, code) = says("piko", command, &["--config.path", &path], &[]);
        assert_eq!((err, code), (told.replace("FILE", &path), 1), "{text}");
    }
}

/// Without the flag a dollar is a dollar.
#[test]
fn variables_are_expanded_on_request_only() {
    let folder = Folder::new();
    let path = folder.write("server.yaml", "cluster: {node_id: \"${NODE:x}\"}\n");
    for (args, id) in [(&[][..], "\"${NODE:x}\""), (&["--config.expand-env"], "x")] {
        let args = [&["--config.path", path.as_str()], args].concat();
        let (out, _, _) = says("piko", "server config print", &args, &[]);
        assert!(out.contains(&format!("  node_id: {id} # ")), "{out}");
    }
    let env = [("PIKO_CONFIG_PATH", path.as_str()), ("PIKO_CONFIG_EXPAND_ENV", "true"), ("NODE", "mine")];
    let (out, _, _) = says("piko", "server config print", &[], &env);
    assert!(out.contains("  node_id: mine # "), "{out}");
}

#[test]
fn programs_judge_their_settings_before_they_do_anything() {
    let output = run("piko", &["forward", "start"], &[]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "no ports configured\n");
    let output = run("piko", &["forward", "tcp", "70000", "e"], &[]);
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(line.starts_with("port: e: invalid addr: \"70000\""), "{line}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_file_for_the_test_cluster() {
    let folder = Folder::new();
    for (text, line, code) in [
        ("nodes: 0\n", "config: missing nodes [PATH: nodes]\n", 1),
        ("log: {level: loud}\n", "config: log: unsupported level: loud", 1),
        ("log: {subsystems: x}\n", "parse config: ", 1),
        ("node: 3\n", "parse config: ", 1),
    ] {
        let path = folder.write("test.yaml", text);
        let (_, err, status) = says("piko", "test cluster", &["--config.path", &path], &[]);
        let err = err.replace(&path, "PATH");
        assert!(err.starts_with(line) && status == code, "{text}: {err}");
    }
}

/// What is wrong with the file of the cluster's secret, `check` says as a start does.
#[test]
fn the_file_of_the_cluster_secret_is_judged() {
    let folder = Folder::new();
    let empty = folder.write("empty", " \n");
    let large = folder.write("large", &"x".repeat(64 * 1024 + 1));
    let good = folder.write("good", "a secret\n");
    let (missing, directory) = (folder.path("missing"), folder.path("."));
    for (path, why) in [
        (&missing, "no such file or directory"),
        (&directory, "is a directory"),
        (&empty, "the file is empty"),
        (&large, "larger than 64 KiB"),
    ] {
        let file = folder.write("server.yaml", &format!("cluster: {{secret_file: '{path}'}}\n"));
        let told = |origin: &str| format!("config: cluster: {path}: {why} [{origin}]\n");
        for (args, env, line, code) in [
            (["--cluster.secret-file", path], &[][..], told("--cluster.secret-file"), 2),
            (["--config.path", &file], &[], told(&format!("{file}: cluster.secret_file")), 1),
            (
                ["--log.level", "info"],
                &[("PIKO_CLUSTER_SECRET_FILE", path.as_str())],
                told("PIKO_CLUSTER_SECRET_FILE"),
                2,
            ),
        ] {
            for (program, words) in [
                ("piko", "server config check"),
                ("piko-server", "config check"),
                ("piko", "server"),
                ("piko-server", ""),
            ] {
                assert_eq!(says(program, words, &args, env), (String::new(), line.clone(), code), "{words}");
            }
        }
    }
    let (out, err, code) = says("piko", "server config check", &["--cluster.secret-file", &good], &[]);
    assert_eq!((out.as_str(), err.as_str(), code), ("the configuration is good\n", "", 0));
}

/// A password in front of a host is in nothing that is printed, whatever the setting is called.
#[test]
fn passwords_in_urls_are_redacted() {
    let folder = Folder::new();
    let text = "connect: {proxy_url: \"http://user:hunter2@proxy:3128\"}\nlisteners:\n\
                - {endpoint_id: e, addr: \"http://user:hunter2@host:80/path\"}\n";
    let path = folder.write("agent.yaml", text);
    let file = ["--config.path", path.as_str()];
    for program in ["piko agent", "piko-agent"] {
        let (program, rest) = program.split_once(' ').unwrap_or((program, ""));
        let (out, err, code) = says(program, &format!("{rest} config print"), &file, &[]);
        assert!(out.contains("addr: \"http://[redacted]@host:80/path\""), "{out}");
        assert!(out.contains("proxy_url: \"http://[redacted]@proxy:3128\""), "{out}");
        assert!(!out.contains("hunter2") && err.is_empty() && code == 0, "{out}{err}");
    }
    // Nor in what is said of mistakes in them.
    let bad = "http://user:hunter2@host:port";
    let path = folder.write("bad.yaml", &format!("listeners:\n- {{endpoint_id: e, addr: \"{bad}\"}}\n"));
    for args in [
        &["agent", "http", "e", bad][..],
        &["agent", "tcp", "e", bad],
        &["agent", "--endpoints", &format!("e/{bad}")],
        &["agent", "--endpoints", bad],
        &["agent", "start", "--config.path", &path],
        &["agent", "http", "e", "80", "--connect.url", bad],
        &["agent", "http", "e", "80", "--connect.proxy-url", bad],
        &["agent", "http", "e", "80", "--grace-period", bad],
        &["agent", "http", "e", "80", bad],
        &["forward", "tcp", bad, "e"],
        &["forward", "tcp", "80", "e", "--connect.url", bad],
        &["server", "--cluster.join", bad],
        &["server", "--proxy.tcp.ports", bad],
        &["server", "--proxy.bind-addr", bad],
        &["server", "status", "cluster", "nodes", "--server.url", bad],
    ] {
        for (program, args) in [("piko", args), ("piko-agent", &args[1..])] {
            if program == "piko-agent" && args[0] != "http" && args[0] != "tcp" && args[0] != "start" {
                continue;
            }
            let (out, err, code) = says(program, "", args, &[]);
            assert!(code == 1 || code == 2, "{program} {args:?}: {code}");
            assert!(!out.contains("hunter2") && !err.contains("hunter2"), "{program} {args:?}: {out}{err}");
            assert_eq!(err.lines().count(), 1, "{program} {args:?}: {err}");
        }
    }
}

/// A wait that is less than nothing is a mistake, by whatever way it comes.
#[test]
fn negative_durations_are_refused_by_name() {
    let folder = Folder::new();
    let file = |text: &str| folder.write("any.yaml", text);
    for (program, args, told, status) in [
        ("piko-server", vec!["--proxy.timeout=-1s".to_owned()], "--proxy.timeout: \"-1s\" is negative", 2),
        (
            "piko",
            vec!["server".into(), "--grace-period=-1s".into()],
            "--grace-period: \"-1s\" is negative",
            2,
        ),
        (
            "piko-agent",
            vec!["http".into(), "e".into(), "80".into(), "--timeout=-5ms".into()],
            "--timeout: \"-5ms\" is negative",
            2,
        ),
        (
            "piko",
            vec!["forward".into(), "tcp".into(), "80".into(), "e".into(), "--connect.timeout=-1s".into()],
            "--connect.timeout: \"-1s\" is negative",
            2,
        ),
        (
            "piko-server",
            vec!["--config.path".into(), file("drain_delay: -1s\n")],
            ":1: drain_delay: \"-1s\" is negative",
            1,
        ),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (_, err, code) = says(program, "", &args, &[]);
        assert!(err.contains(told) && code == status, "{program} {args:?}: {err} {code}");
    }
    // Go's servers take these for no limit at all.
    let path = file(
        "proxy: {http: {read_timeout: -1s, read_header_timeout: -1s, idle_timeout: -1s, write_timeout: -1s}}\n",
    );
    let (out, err, code) = says("piko", "server config check", &["--config.path", &path], &[]);
    assert_eq!((err.as_str(), code), ("", 0), "{out}");
}
