//! The command line itself: completeness, mistakes, help.

use std::collections::BTreeSet;

use piko_config::{Effect, Program, flags};
use piko_tests::flags::{Settings, WAYS, Way, run, server, shown};

use crate::{COVERED, SOON};

#[test]
fn help_the_table_and_these_tests_name_the_same_flags() {
    let table: BTreeSet<String> =
        flags(Program::Server).iter().filter(|flag| flag.shown()).map(|flag| flag.name.to_owned()).collect();
    let help: BTreeSet<String> = shown("piko-server", &[]).into_iter().collect();
    let covered: BTreeSet<String> = COVERED.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(help, table, "--help and the table");
    // The two tests below go through the flags that do not work, so no list of them has to be kept.
    let idle = flags(Program::Server).iter().filter(|flag| flag.shown() && !flag.works());
    let idle: BTreeSet<String> = idle.map(|flag| flag.name.to_owned()).collect();
    assert!(covered.is_disjoint(&idle), "tests and what does not work");
    assert_eq!(&covered | &idle, help, "tests and --help");
}

#[test]
fn help_and_version_are_printed_on_stdout() {
    for args in [["--help"], ["-h"], ["--version"], ["-v"]] {
        let output = run("piko-server", &args, &[]);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(output.stderr.is_empty() && !output.stdout.is_empty(), "{args:?}: {output:?}");
    }
}

/// Arguments, variables, and what the line must name.
type Mistake = (&'static [&'static str], Settings<'static>, &'static str);

/// A mistake ends the program with status 2 and one line that names it.
#[test]
fn mistakes_are_named_in_one_line() {
    let cases: [Mistake; 10] = [
        (
            &["--proxy.timeout", "--admin.bind-addr", ":0"],
            &[],
            "--proxy.timeout: \"--admin.bind-addr\" looks like a flag: a value is missing",
        ),
        (
            &["--admin.bind-addr", "--proxy.timeout", "1s"],
            &[],
            "--admin.bind-addr: \"--proxy.timeout\" looks like a flag",
        ),
        (&["--bogus"], &[], "--bogus"),
        (&["--proxy.timeout"], &[], "--proxy.timeout"),
        (&["--proxy.timeout", "10x"], &[], "\"10x\""),
        (&["--proxy.bind-addr", "8000"], &[], "\"8000\""),
        (&["--proxy.access-log.disable=maybe"], &[], "maybe"),
        (&["--proxy.http.max-header-bytes", "much"], &[], "much"),
        (&[], &[("PIKO_PROXY_TIMEOUT", "10x")], "PIKO_PROXY_TIMEOUT"),
        (&["-x"], &[], "-x"),
    ];
    for (args, env, named) in cases {
        let output = run("piko-server", args, env);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{args:?}: {stderr}");
        assert!(stderr.contains(named), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

/// What would leave a port open that somebody wants closed: no server starts with it, whatever way it was given.
#[test]
fn what_is_refused_starts_no_server() {
    let of_server = || flags(Program::Server).iter().filter(|flag| !flag.verbs.is_empty());
    let refused: Vec<_> = of_server().filter(|flag| matches!(flag.effect, Effect::Refused(_))).collect();
    assert_eq!(refused.len(), 3 * 10);
    for flag in refused {
        let text = match flag.kind.value_name() {
            None => "true",
            Some("duration") => "7s",
            Some(_) => "word",
        };
        let (arg, env) = (format!("--{}={text}", flag.name), flag.env());
        for (args, env, named) in [
            (&[&*arg][..], &[][..], format!("--{}: ", flag.name)),
            (&[], &[(&*env, text)], format!("{env}: ")),
        ] {
            let output = run("piko-server", args, env);
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{named}{stderr}");
            assert!(stderr.starts_with(&named) && stderr.contains("the port would be open"), "{stderr}");
            assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
        }
    }
}

/// What does nothing is answered at the start, each in a line, and the server runs.
#[test]
fn what_has_no_effect_is_answered() {
    let idle: Vec<_> =
        flags(Program::Server).iter().filter(|flag| matches!(flag.effect, Effect::None(_))).collect();
    let settings = idle.iter().map(|flag| match flag.kind.value_name() {
        None => (flag.name, "true"),
        Some(_) => (flag.name, ":1"),
    });
    let settings: Vec<_> = settings.collect();
    for way in WAYS {
        let server = server(way, &settings);
        for flag in &idle {
            let given = if way == Way::Flag { format!("--{}", flag.name) } else { flag.env() };
            let notice = format!("{given}: {}", flag.remark().expect("does not work"));
            server.process.wait_line(0, SOON, |line| line.text == notice).expect(&notice);
        }
    }
}

/// Values that can be read and not be meant: Go's words, the flag, and the status of every mistake (Go exits with 1).
#[test]
fn invalid_values_keep_the_words_of_go() {
    let cases: [(&[&str], &str); 3] = [
        (&["--log.level", "loud"], "config: log: unsupported level: loud"),
        (&["--admin.bind-addr="], "config: admin: missing bind addr"),
        (&["--grace-period", "0"], "config: missing grace period"),
    ];
    for (args, words) in cases {
        let output = run("piko-server", args, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.starts_with(words), "{args:?}: {stderr}");
        let flag = args[0].trim_end_matches('=');
        assert!(stderr.trim_end().ends_with(&format!(" [{flag}]")), "{args:?}: {stderr}");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{args:?}: {stderr}");
    }
}
