use super::*;
use std::collections::BTreeSet;

const PROGRAMS: [Program; 6] = [
    Program::Agent,
    Program::Bench,
    Program::Forward,
    Program::Server,
    Program::Status,
    Program::TestCluster,
];

#[test]
fn sorted_without_doubles() {
    for program in PROGRAMS {
        let names: Vec<_> = flags(program).iter().map(|flag| flag.name).collect();
        let sorted: BTreeSet<_> = names.iter().copied().collect();
        assert_eq!(names, sorted.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn defaults_are_of_their_kind() {
    for flag in PROGRAMS.into_iter().flat_map(flags) {
        assert!(flag.kind.parse(flag.default).is_some(), "{}", flag.name);
    }
}

#[test]
fn every_flag_belongs_to_its_program_and_says_something() {
    for program in PROGRAMS {
        for flag in flags(program) {
            let file_only = matches!(flag.yaml, Yaml::Listener | Yaml::Port | Yaml::Same);
            assert!(!flag.verbs.is_empty() || file_only, "{}", flag.name);
            assert!(flag.verbs.iter().all(|verb| verb.program() == program), "{}", flag.name);
            assert!(flag.help.len() > 10 && !flag.help.ends_with('.'), "{}", flag.name);
            assert!(flag.help.starts_with(|c: char| c.is_uppercase()), "{}", flag.name);
        }
    }
}

#[test]
fn variables_are_distinct_and_none_is_one_that_orchestrators_set() {
    for program in PROGRAMS {
        // What only a file can say has no variable.
        let given = || flags(program).iter().filter(|flag| !flag.verbs.is_empty());
        let variables: BTreeSet<_> = given().map(Flag::env).collect();
        assert_eq!(variables.len(), given().count());
        for variable in variables {
            assert!(variable.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{variable}");
            // Kubernetes sets these for a service named "piko" or "piko-…", and Docker links did.
            for taken in ["_PORT", "_SERVICE_HOST", "_ADDR", "_PROTO", "_NAME"] {
                assert!(
                    !variable.ends_with(taken)
                        || variable.ends_with("BIND_ADDR")
                        || variable.ends_with("ADVERTISE_ADDR")
                        || variable.ends_with("TLS_CLIENT_SERVER_NAME"),
                    "{variable}"
                );
            }
        }
    }
}

#[test]
fn names_of_the_environment_and_of_files() {
    let flag = find(Program::Server, "proxy.http.read-header-timeout").expect("in the table");
    assert_eq!(flag.env(), "PIKO_PROXY_HTTP_READ_HEADER_TIMEOUT");
    assert_eq!(flag.yaml_path().as_deref(), Some("proxy.http.read_header_timeout"));
    let flag = find(Program::Agent, "access-log.level").expect("in the table");
    assert_eq!(flag.yaml_path().as_deref(), Some("listeners[].access_log.level"));
    let flag = find(Program::Agent, "endpoints").expect("in the table");
    assert_eq!(flag.yaml_path(), None);
}

#[test]
fn secrets_are_marked_and_each_can_come_from_a_file() {
    for program in PROGRAMS {
        let names: Vec<_> = flags(program).iter().map(|flag| flag.name).collect();
        for flag in flags(program) {
            let sounds_secret = ["secret", "token", "secret-key"].iter().any(|end| flag.name.ends_with(end));
            assert_eq!(flag.secret, sounds_secret, "{}", flag.name);
            let file = format!("{}-file", flag.name);
            assert!(!flag.secret || names.contains(&file.as_str()), "{file}");
        }
    }
}
