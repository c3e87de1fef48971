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
    let env = [
        ("POD_NAME", "piko-0"),
        ("NODE", "n"),
        ("SEED", "10.0.0.1"),
        ("ONE", "4000"),
        ("TWO", "localhost:5000"),
        ("SERVER_URL", "http://localhost:8001"),
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
        ("nodes: 0\n", "validate: missing nodes\n", 1),
        ("log: {level: loud}\n", "config: log: unsupported level: loud", 1),
        ("log: {subsystems: x}\n", "parse config: ", 1),
        ("node: 3\n", "parse config: ", 1),
    ] {
        let path = folder.write("test.yaml", text);
        let (_, err, status) = says("piko", "test cluster", &["--config.path", &path], &[]);
        assert!(err.starts_with(line) && status == code, "{text}: {err}");
    }
}
