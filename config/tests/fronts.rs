//! Both fronts read the same table, so they must take and refuse the same command lines.

use std::collections::BTreeSet;
use std::ffi::OsString;

use piko_config::{
    AgentInvocation, AgentOptions, Program, ServerInvocation, UsageError, Verb, flags, front_clap,
    front_lexopt,
};
use proptest::prelude::*;

/// What came of a command line. Help texts may differ between the fronts; what is run and what is said may not.
#[derive(Debug, PartialEq)]
enum Outcome {
    Help,
    Refused(String, u8),
    Run(Box<AgentOptions>),
    Version,
}

fn outcome(result: Result<AgentInvocation, UsageError>) -> Outcome {
    match result {
        Ok(AgentInvocation::Help(text)) => {
            assert!(text.contains("Usage: "), "{text}");
            Outcome::Help
        }
        Ok(AgentInvocation::Run(options)) => Outcome::Run(Box::new(options)),
        Ok(AgentInvocation::Version) => Outcome::Version,
        Err(error) => {
            // The suggestions come from two different measures of likeness.
            let line = error.to_string();
            let without_hint = line.split(" (did you mean").next().unwrap_or_default();
            Outcome::Refused(without_hint.to_owned(), error.exit_code())
        }
    }
}

fn both<S: Into<OsString> + Clone>(args: &[S], env: &dyn Fn(&str) -> Option<OsString>) -> (Outcome, Outcome) {
    let clap = outcome(front_clap::parse_agent(args.iter().cloned(), env));
    let lexopt = outcome(front_lexopt::parse_agent(args.iter().cloned(), env));
    (clap, lexopt)
}

fn agreed(args: &[&str]) -> Outcome {
    let (clap, lexopt) = both(args, &|_| None);
    assert_eq!(clap, lexopt, "{args:?}");
    lexopt
}

fn run(args: &[&str]) -> AgentOptions {
    match agreed(args) {
        Outcome::Run(options) => *options,
        other => panic!("{args:?}: {other:?}"),
    }
}

fn refusal(args: &[&str]) -> String {
    match agreed(args) {
        Outcome::Refused(line, 2) => line,
        other => panic!("{args:?}: {other:?}"),
    }
}

#[test]
fn good_command_lines_give_the_same_options() {
    for args in [
        &["http", "e", "4000"][..],
        &["http", "--", "e", "4000"],
        &["http", "e", "--", "4000"],
        &["http", "e", "4000", "--timeout", "1s"],
        &["http", "e", "4000", "--timeout=1s"],
        &["http", "--timeout", "1s", "e", "4000"],
        &["--timeout", "1s", "http", "e", "4000"],
        &["--timeout", "1s", "http", "e", "4000", "--timeout", "2s"],
        &["http", "e", "4000", "--http-client.keep-alive-timeout", "-1s"],
        &["http", "e", "4000", "--access-log.disable"],
        &["http", "e", "4000", "--access-log.disable=false"],
        &["http", "e", "4000", "--access-log.disable", "--access-log.disable=f"],
        &["http", "e", "4000", "--access-log.request-headers.allow-list", "a,b"],
        &["http", "--log.subsystems", "a", "--log.subsystems=b,c", "e", "4000"],
        &["--log.subsystems", "a", "http", "e", "4000", "--log.subsystems", "b"],
        &["http", "e", "4000", "--log.subsystems="],
        &["http", "e", "4000", "--connect.token", "--connect.url"],
        &["http", "e", "4000", "--connect.token", "--"],
        &["http", "e", "4000", "--connect.token", "-h"],
        &["http", "e", "4000", "--connect.token=a=b"],
        &["http", "e", "4000", "--connect.token="],
        &["http", "e", "4000", "--http-client.max-idle-conns", "-1"],
        &["http", "e", "4000", "--http-client.disable-compression"],
        &["http", "help", "4000"],
        &["http", "e", "unix:/run/x"],
        &["http", "e", "https://h:1/p?q"],
        &["tcp", "e", "db:5432", "--timeout", "0"],
        &["tcp", "--server.enabled", "e", "1"],
        &["--endpoints", "my-endpoint/localhost:4000"],
        &["--endpoints=a/1,b/2", "--endpoints", "c/3", "--timeout", "1s"],
    ] {
        run(args);
    }
    assert_eq!(
        run(&["--timeout", "1s", "http", "e", "1", "--timeout", "2s"]).listeners,
        run(&["http", "e", "1", "--timeout=2s"]).listeners
    );
    assert_eq!(
        run(&["--log.subsystems", "a", "http", "e", "1", "--log.subsystems", "b"]).log.subsystems,
        ["a", "b"]
    );
    assert_eq!(run(&["--endpoints=a/1,b/2", "--endpoints", "c/3"]).listeners.len(), 3);
    let token = run(&["http", "e", "1", "--connect.token", "--connect.url"]).connect.token;
    assert_eq!(token.as_ref().map(piko_config::Secret::reveal), Some("--connect.url"));
    assert_eq!(run(&["http", "e", "1", "--http-client.disable-compression"]).notices.len(), 1);
}

#[test]
fn bad_command_lines_give_the_same_line() {
    for (args, line) in [
        (&["bogus"][..], "unknown command: \"bogus\""),
        (&["httpp", "e", "1"], "unknown command: \"httpp\""),
        (&["http"], "missing argument: <endpoint> <addr>"),
        (&["http", "e"], "missing argument: <addr>"),
        (&["tcp", "e"], "missing argument: <addr>"),
        (&["http", "e", "1", "more"], "unexpected argument: \"more\""),
        (&["start", "more"], "unexpected argument: \"more\""),
        (&["http", "e", "1", "--server.enabled", "false"], "unexpected argument: \"false\""),
        (&["--bogus"], "unknown flag: --bogus"),
        (&["http", "e", "1", "--bogus=x"], "unknown flag: --bogus"),
        (&["http", "e", "1", "-x"], "unknown flag: -x"),
        (&["http", "e", "-5"], "unknown flag: -5"),
        (&["http", "e", "1", "-v"], "unknown flag: -v"),
        (&["http", "e", "1", "--version"], "unknown flag: --version"),
        (&["start", "--timeout", "1s"], "unknown flag: --timeout"),
        (&["--timeout", "1s", "start"], "--timeout: no flag of this command"),
        (
            &["tcp", "e", "1", "--http-client.max-idle-conns", "5"],
            "unknown flag: --http-client.max-idle-conns",
        ),
        (
            &["--http-client.max-idle-conns", "5", "tcp", "e", "1"],
            "--http-client.max-idle-conns: no flag of this command",
        ),
        (&["http", "e", "1", "--endpoints", "a/1"], "unknown flag: --endpoints"),
        (&["--endpoints", "a/1", "http", "e", "1"], "--endpoints: no flag of this command"),
        (&["--endpoints", ""], "--endpoints: \"\" is not of the form <endpoint>/<addr>"),
        (&["--endpoints="], "--endpoints: \"\" is not of the form <endpoint>/<addr>"),
        (
            &["http", "e", "1", "--timeout", "--connect.timeout=1s"],
            "--timeout: \"--connect.timeout=1s\" looks like a flag: a value is missing",
        ),
        (&["http", "e", "1", "--timeout"], "--timeout: needs a value"),
        (
            &["http", "e", "1", "--timeout", "10x"],
            "--timeout: \"10x\" is no duration (examples: 300ms, 10s, 1m30s)",
        ),
        (&["http", "e", "1", "--timeout="], "--timeout: \"\" is no duration (examples: 300ms, 10s, 1m30s)"),
        (&["http", "e", "1", "--server.enabled=yes"], "--server.enabled: \"yes\" is neither true nor false"),
        (&["http", "e", "1", "--server.enabled="], "--server.enabled: \"\" is neither true nor false"),
        (&["http", "e", "1", "--help=x"], "--help: takes no value"),
        (&["--version=x"], "--version: takes no value"),
        (&["help", "bogus"], "unknown command: \"bogus\""),
        (&["http", "", "1"], "listener: missing endpoint id"),
        (&["http", "e", ""], "listener: e: missing addr"),
        (
            &["tcp", "e", "unix:x"],
            "listener: e: invalid addr: \"unix:x\" (examples: 4000, host:4000, unix:/path)",
        ),
    ] {
        assert_eq!(refusal(args), line, "{args:?}");
    }
    assert_eq!(agreed(&["start"]), Outcome::Refused("no listeners configured".into(), 1));
    // What can be read and cannot be meant is a mistake like any other.
    for (args, line) in [
        (
            &["http", "e", "1", "--log.level", "loud"],
            "config: log: unsupported level: loud (debug, info, warn or error) [--log.level]",
        ),
        (
            &["http", "e", "1", "--connect.url", "ftp://h"],
            "config: connect: invalid url: unsupported scheme (http, https, ws or wss) [--connect.url]",
        ),
        (&["http", "e", "1", "--grace-period", "0"], "config: missing grace period [--grace-period]"),
    ] {
        assert_eq!(agreed(args), Outcome::Refused(line.into(), 2), "{args:?}");
    }
}

#[test]
fn help_and_version_are_found_alike() {
    for args in [
        &[][..],
        &["-h"],
        &["--help"],
        &["help"],
        &["help", "http"],
        &["http", "-h"],
        &["http", "e", "--help"],
        &["start", "-h"],
        &["-h", "bogus"],
        &["--timeout", "10x", "-h"],
        &["--log.level", "debug"],
    ] {
        assert_eq!(agreed(args), Outcome::Help, "{args:?}");
    }
    for args in [&["-v"][..], &["--version"], &["--log.level", "debug", "-v"], &["-v", "bogus"]] {
        assert_eq!(agreed(args), Outcome::Version, "{args:?}");
    }
}

#[test]
fn near_misses_are_answered_with_the_right_name() {
    for (args, hint) in [
        (&["http", "e", "1", "--timout", "1s"][..], "did you mean --timeout?"),
        (&["http", "e", "1", "--connect.tokn", "1s"], "did you mean --connect.token?"),
        (&["htp", "e", "1"], "did you mean http?"),
    ] {
        for result in [front_clap::parse_agent(args, &|_| None), front_lexopt::parse_agent(args, &|_| None)] {
            let line = result.expect_err("is refused").to_string();
            assert!(line.contains(hint), "{line}");
        }
    }
}

#[test]
fn the_environment_counts_in_both() {
    let env = |name: &str| match name {
        "PIKO_ENDPOINTS" => Some("e/1".into()),
        "PIKO_TIMEOUT" => Some("3s".into()),
        "PIKO_CONNECT_TOKEN" => Some(OsString::new()),
        _ => None,
    };
    for args in [&[][..], &["http", "e", "1"]] {
        let (clap, lexopt) = both::<&str>(args, &env);
        let Outcome::Run(options) = &lexopt else { panic!("{lexopt:?}") };
        assert_eq!(options.listeners[0].timeout, Some(std::time::Duration::from_secs(3)));
        assert_eq!(options.connect.token, None);
        assert_eq!(clap, lexopt);
    }
    let bad = |name: &str| (name == "PIKO_TIMEOUT").then(|| "soon".into());
    let (clap, lexopt) = both(&["tcp", "e", "1"], &bad);
    let line = "PIKO_TIMEOUT: \"soon\" is no duration (examples: 300ms, 10s, 1m30s)";
    assert_eq!(lexopt, Outcome::Refused(line.into(), 2));
    assert_eq!(clap, lexopt);
}

#[cfg(unix)]
#[test]
fn arguments_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStringExt;
    let junk = || OsString::from_vec(vec![b'a', 0xff]);
    for args in [
        vec!["http".into(), junk(), "1".into()],
        vec!["http".into(), "e".into(), "1".into(), "--connect.token".into(), junk()],
    ] {
        let (clap, lexopt) = both(&args, &|_| None);
        assert_eq!(lexopt, Outcome::Refused("an argument is no UTF-8 text".into(), 2));
        assert_eq!(clap, lexopt);
    }
}

/// The names of flags that a help text has at the start of a line.
fn shown(help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let names = lines.filter_map(|line| line.split([' ', '[', '=', ',']).find(|word| word.starts_with("--")));
    names.map(|name| name.trim_start_matches("--").to_owned()).collect()
}

#[test]
fn help_shows_every_flag_its_default_and_what_does_not_work() {
    for (args, verb) in [
        (&["-h"][..], Verb::Agent),
        (&["http", "-h"], Verb::AgentHttp),
        (&["start", "-h"], Verb::AgentStart),
        (&["tcp", "-h"], Verb::AgentTcp),
    ] {
        let mut expected: BTreeSet<_> = flags(Program::Agent)
            .iter()
            .filter(|flag| flag.shown() && flag.belongs_to(verb))
            .map(|flag| flag.name.to_owned())
            .collect();
        expected.insert("help".into());
        if verb == Verb::Agent {
            expected.insert("version".into());
        }
        for result in [front_clap::parse_agent(args, &|_| None), front_lexopt::parse_agent(args, &|_| None)] {
            let Ok(AgentInvocation::Help(help)) = result else { panic!("{result:?}") };
            assert_eq!(shown(&help), expected, "{help}");
            assert!(help.contains("(default 30s) [env PIKO_CONNECT_TIMEOUT]"), "{help}");
        }
    }
    let Ok(ServerInvocation::Help(help)) = front_clap::parse_server(["--help"], &|_| None) else { panic!() };
    assert!(help.contains("Usage: piko-server") && help.contains("(default :8000)"), "{help}");
    let server = || flags(Program::Server).iter().filter(|flag| !flag.verbs.is_empty());
    let (works, rest) = help.split_once("\nRefused:\n").expect("what is refused has a place of its own");
    for flag in server() {
        let (part, other) = if flag.works() { (works, rest) } else { (rest, works) };
        assert!(shown(part).contains(flag.name) && !shown(other).contains(flag.name), "{help}");
        let line = |line: &&str| line.contains(&format!("[env {}]", flag.env()));
        let line = help.lines().find(line).expect("its paragraph");
        assert!(flag.remark().is_none_or(|remark| line.contains(&remark)), "{line}");
    }
}

#[test]
fn a_server_reads_its_flags() {
    let parse = |args: &[&str]| front_clap::parse_server(args, &|_| None);
    let Ok(ServerInvocation::Run(options)) =
        parse(&["--proxy.bind-addr=127.0.0.1:0", "--proxy.timeout", "1m30s"])
    else {
        panic!()
    };
    assert_eq!(options.proxy.bind.to_string(), "127.0.0.1:0");
    assert_eq!(options.proxy.timeout, Some(std::time::Duration::from_secs(90)));
    // Go ignores the word and takes the switch as on.
    let Ok(ServerInvocation::Run(options)) =
        parse(&["--proxy.access-log.disable", "false", "--grace-period=2s"])
    else {
        panic!()
    };
    assert!(options.proxy.access_log.disable);
    assert_eq!(options.grace_period, std::time::Duration::from_secs(2));
    assert!(options.notices[0].starts_with("ignored argument: \"false\""), "{:?}", options.notices);
    assert_eq!(parse(&["-v"]), Ok(ServerInvocation::Version));
    for (args, line) in [
        (&["--proxy.timout", "1s"][..], "unknown flag: --proxy.timout (did you mean --proxy.timeout?)"),
        (&["--proxy.timeout"], "--proxy.timeout: needs a value"),
        (
            &["--proxy.timeout", "10x"],
            "--proxy.timeout: \"10x\" is no duration (examples: 300ms, 10s, 1m30s)",
        ),
    ] {
        let error = parse(args).expect_err("is refused");
        assert_eq!((error.to_string().as_str(), error.exit_code()), (line, 2));
    }
}

#[test]
fn clap_finds_no_fault_with_the_commands() {
    front_clap::server_command().debug_assert();
    front_clap::agent_command().debug_assert();
    let piko = clap::Command::new("piko")
        .subcommand(front_clap::server_command().subcommand(clap::Command::new("status")))
        .subcommand(front_clap::agent_command());
    let matches = piko.try_get_matches_from(["piko", "server", "status"]).expect("is accepted");
    assert_eq!(matches.subcommand().and_then(|(_, server)| server.subcommand_name()), Some("status"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_mixture_of_words_is_judged_alike(args in prop::collection::vec(prop::sample::select(WORDS), 0..7)) {
        let (mut clap, mut lexopt) = both(&args, &|_| None);
        if args.contains(&"--") {
            // clap does not say whether a word too many stood behind the double dash, so it calls `--x` a flag there.
            for outcome in [&mut clap, &mut lexopt] {
                if let Outcome::Refused(line, 2) = outcome {
                    line.clear();
                }
            }
        }
        prop_assert_eq!(clap, lexopt);
    }
}

const WORDS: &[&str] = &[
    "http",
    "tcp",
    "start",
    "help",
    "e",
    "4000",
    "host:1",
    "",
    "--",
    "-h",
    "-v",
    "-x",
    "--help",
    "--version",
    "--timeout",
    "1s",
    "10x",
    "--timeout=1s",
    "--timeout=",
    "--server.enabled",
    "--server.enabled=false",
    "--server.enabled=",
    "--log.subsystems",
    "--log.subsystems=a,\"b",
    "--endpoints",
    "a/1",
    "--endpoints=a/1",
    "--connect.token",
    "--http-client.max-idle-conns=-1",
    "-1",
    "--bogus",
    "--bogus=1",
    "--http-client.disable-compression",
    "--access-log.level",
    "-",
    "---",
    "-hv",
    "--timeout=-1s",
];

/// The text of `--help` of every command of `piko-agent`, as it was agreed on.
///
/// The files are written anew by `PIKO_WRITE_PAGES=1 cargo test -p piko-config --all-features --test fronts agreed`.
#[test]
fn the_help_of_the_small_agent_is_what_was_agreed_on() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    for words in ["", "http", "tcp", "start", "config"] {
        let arguments = words.split_whitespace().chain(["--help"]);
        let Ok(AgentInvocation::Help(text)) = front_lexopt::parse_agent(arguments, &|_| None) else {
            panic!("{words} --help")
        };
        let path = folder.join(format!("piko-agent {words}").trim().replace(' ', "-") + ".txt");
        if std::env::var_os("PIKO_WRITE_PAGES").is_some() {
            std::fs::create_dir_all(&folder).expect("the folder can be made");
            std::fs::write(&path, &text).expect("the folder can be written");
        }
        let agreed = std::fs::read_to_string(&path).expect("is text");
        assert!(
            agreed == text,
            "{words} --help has changed; when that was meant: PIKO_WRITE_PAGES=1\n{text}"
        );
    }
}
