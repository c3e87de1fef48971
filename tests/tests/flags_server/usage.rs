//! The command line itself: completeness, mistakes, help.

use std::collections::BTreeSet;

use piko_config::{Program, flags};
use piko_tests::flags::{Settings, run, shown};

use crate::COVERED;

#[test]
fn help_the_table_and_these_tests_name_the_same_flags() {
    let table: BTreeSet<String> =
        flags(Program::Server).iter().filter(|flag| flag.shown()).map(|flag| flag.name.to_owned()).collect();
    let help: BTreeSet<String> = shown("piko-server", &[]).into_iter().collect();
    let covered: BTreeSet<String> = COVERED.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(help, table, "--help and the table");
    assert_eq!(covered, help, "tests and --help");
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
    let cases: [Mistake; 8] = [
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
