use super::*;
use crate::values::Command;

fn values(command: Command, given: &[(&str, &str)]) -> Values {
    let given: Vec<_> = given.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    Values::resolve(command, &given, &|_| None).expect("is good")
}

/// A file of its own with this text, gone when dropped.
struct Temporary(std::path::PathBuf);

impl Temporary {
    fn with(text: &str) -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("piko-print-{}-{n}.yaml", std::process::id()));
        std::fs::write(&path, text).expect("the folder can be written");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("is text")
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const COMMANDS: [Command; 5] =
    [Command::AgentStart, Command::BenchHttp, Command::ForwardStart, Command::Server, Command::TestCluster];

#[test]
fn the_defaults_load_and_change_nothing() {
    for command in COMMANDS {
        let text = Task::Default.run(&Values::defaults(command.clone())).expect("has defaults");
        let file = Temporary::with(&text);
        let loaded = values(command.clone(), &[("config.path", file.path())]);
        let defaults = Values::defaults(command.clone());
        for flag in flags(loaded.program()).iter().filter(|flag| flag.name != "config.path") {
            assert_eq!(loaded.value(flag.name), defaults.value(flag.name), "{command:?} {}", flag.name);
            let stands = matches!(flag.yaml, Yaml::Same | Yaml::At(_)) && flag.works();
            assert_eq!(loaded.source(flag.name) == Source::File, stands, "{command:?} {}", flag.name);
        }
        assert!(Task::Check.run(&loaded).expect("is good").ends_with("the configuration is good\n"));
        // What does not work is told of too, with what would happen.
        for flag in flags(loaded.program()).iter().filter(|flag| !flag.works()) {
            let given = format!(" [--{}, {}]", flag.name, flag.env());
            let given = if flag.verbs.is_empty() { "" } else { &given };
            let line = format!("#   {}{given}\n", flag.yaml_path().expect("a key"));
            assert!(text.contains(&line), "{text}");
            assert!(text.contains(&flag.remark().expect("does not work")), "{text}");
        }
    }
}

#[test]
fn the_example_in_the_defaults_loads() {
    for (command, list) in [(Command::AgentStart, "listeners"), (Command::ForwardStart, "ports")] {
        let text = Task::Default.run(&Values::defaults(command.clone())).expect("has defaults");
        let (_, example) = text.split_once("# Such as:\n").expect("has an example");
        let example: String = example
            .lines()
            .take_while(|line| !line.is_empty())
            .map(|line| format!("{}\n", &line[2..]))
            .collect();
        assert!(example.starts_with(&format!("{list}:\n")), "{example}");
        let file = Temporary::with(&example);
        let loaded = values(command, &[("config.path", file.path())]);
        assert_eq!(loaded.rows(), 1);
        let text = Task::Check.run(&loaded).expect("is good");
        assert_eq!(text, "the configuration is good\n");
    }
}

#[test]
fn what_is_printed_loads_and_is_the_same() {
    let given = [
        ("proxy.bind-addr", "127.0.0.1:1"),
        ("cluster.join", "a,\"b \"\"quoted\"\"\",\"c\nd\",no,7"),
        ("proxy.timeout", "1m30s"),
        ("upstream.rebalance.threshold", "0.25"),
        ("cluster.node-id", "null"),
        ("log.subsystems", ""),
    ];
    let one = values(Command::Server, &given);
    let text = print(&one);
    assert!(text.contains("  timeout: 1m30s # --proxy.timeout\n"), "{text}");
    let file = Temporary::with(&text);
    let other = values(Command::Server, &[("config.path", file.path())]);
    for flag in flags(Program::Server).iter().filter(|flag| flag.name != "config.path") {
        assert_eq!(one.value(flag.name), other.value(flag.name), "{}: {text}", flag.name);
    }
    let file = Temporary::with(
        "listeners:\n- {endpoint_id: a, addr: 1, access_log: {request_headers: {allow_list: [x]}}}\n- {endpoint_id: b, addr: 2}\n",
    );
    let one = values(Command::AgentStart, &[("config.path", file.path())]);
    let text = print(&one);
    let file = Temporary::with(&text);
    let other = values(Command::AgentStart, &[("config.path", file.path())]);
    let listeners = |values| AgentOptions::from_values(values).expect("is good").listeners;
    assert_eq!(listeners(&one), listeners(&other), "{text}");
}

#[test]
fn secrets_stay_out() {
    let given = [
        ("connect.token", "hunter2"),
        ("connect.url", "http://user:hunter2@host:1/path,http://user:hunter2@host:2"),
        ("connect.proxy-url", "http://hunter2@proxy"),
    ];
    let text = print(&values(Command::AgentStart, &given));
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("token: \"[redacted]\"") && text.contains("@host:1/path"), "{text}");
    let text = print(&values(Command::Server, &[("cluster.secret", "hunter2")]));
    assert!(!text.contains("hunter2"), "{text}");
    assert!(print(&Values::defaults(Command::Server)).contains("secret: \"\""));
}

/// A secret and its file are one setting, of which the stronger source counts.
#[test]
fn of_a_secret_and_its_file_the_one_that_counts_is_printed() {
    let printed = |command: Command, text: &str, variable: &str| {
        let file = Temporary::with(text);
        let env = |name: &str| (name == variable).then(|| "given".into());
        let given = [("config.path", file.path().to_owned())];
        print(&Values::resolve(command, &given, &env).expect("is good"))
    };
    for (command, section, name) in
        [(Command::Server, "cluster", "secret"), (Command::AgentStart, "connect", "token")]
    {
        let variable = format!("PIKO_{}_{}", section.to_uppercase(), name.to_uppercase());
        let text = printed(command.clone(), &format!("{section}: {{{name}_file: /run/it}}\n"), &variable);
        assert!(text.contains(&format!("  {name}: \"[redacted]\" # {variable}\n")), "{text}");
        assert!(!text.contains(&format!("{name}_file:")), "{text}");
        let variable = format!("{variable}_FILE");
        let text = printed(command, &format!("{section}: {{{name}: it}}\n"), &variable);
        assert!(text.contains(&format!("  {name}_file: given # {variable}\n")), "{text}");
        assert!(!text.contains(&format!("  {name}:")), "{text}");
    }
    assert!(print(&Values::defaults(Command::Server)).contains("secret_file: \"\""));
}

#[test]
fn values_of_a_list_have_their_origin_beside_them() {
    for (command, list, text) in [
        (
            Command::AgentStart,
            "listeners",
            "- {endpoint_id: a, addr: 1}\n- {endpoint_id: b, addr: 2, access_log: {level: warn}}\n",
        ),
        (Command::ForwardStart, "ports", "- {endpoint_id: a, addr: 1}\n- {endpoint_id: b, addr: 2}\n"),
    ] {
        let file = Temporary::with(&format!("{list}:\n{text}"));
        let printed = print(&values(command.clone(), &[("config.path", file.path())]));
        let path = file.path();
        for line in [
            format!(" addr: \"1\" # {path}: {list}[0].addr\n"),
            format!("    endpoint_id: b # {path}: {list}[1].endpoint_id\n"),
        ] {
            assert!(printed.contains(&line), "{line}{printed}");
        }
        if command == Command::AgentStart {
            assert!(
                printed.contains(&format!("level: warn # {path}: listeners[1].access_log.level\n")),
                "{printed}"
            );
            assert!(printed.contains("timeout: 10s\n"), "{printed}");
        }
        let again = Temporary::with(&printed);
        assert_eq!(values(command, &[("config.path", again.path())]).rows(), 2);
    }
}

#[test]
fn what_cannot_be_meant_is_no_good_configuration() {
    let error = Task::Check.run(&values(Command::Server, &[("grace-period", "0")])).unwrap_err();
    assert_eq!(error.to_string(), "config: missing grace period [--grace-period]");
    let text = Task::Check.run(&values(Command::AgentStart, &[])).expect("is good");
    assert!(text.starts_with("# no listeners"), "{text}");
}
