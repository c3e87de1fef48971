//! The table against what Go has (`go.tsv`), and against the pages that are made of both.
//!
//! The pages are written anew by `PIKO_WRITE_PAGES=1 cargo test -p piko-config --test reference`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use piko_config::{Effect, Flag, Program, Verb, Yaml, flags};

const PROGRAMS: [(Program, &str); 6] = [
    (Program::Server, "server"),
    (Program::Agent, "agent"),
    (Program::Forward, "forward"),
    (Program::Bench, "bench"),
    (Program::Status, "status"),
    (Program::TestCluster, "test cluster"),
];

/// Where Go's default is not ours, and why (behaviour reference, "Decided where Go's way is not ours").
const OTHER_DEFAULTS: [(&str, &str); 2] = [
    ("proxy.http.read-timeout", "off: a limit of 10 s on the whole request cuts slow uploads"),
    ("proxy.http.write-timeout", "off: a limit of 10 s on the whole response cuts long ones"),
];

/// What `--help` of one command below `status` shows: it belongs to the question, not to how a node is asked, and has
/// neither variable nor key. `every_flag_of_help_stands_in_the_reference` of the crate `piko-cli` finds what is missing here.
const OF_STATUS: [Apart; 1] = [Apart {
    flag: "--status",
    help: "Only nodes that are active, unreachable or left; `cluster nodes`, no variable",
    test: "answers_are_those_of_go",
}];

/// A flag that is not in the table.
struct Apart {
    flag: &'static str,
    help: &'static str,
    test: &'static str,
}

/// A line of `go.tsv`.
struct Known {
    program: Program,
    name: &'static str,
    key: &'static str,
    default: &'static str,
    test: &'static str,
}

fn known() -> Vec<Known> {
    let lines = include_str!("go.tsv").lines().filter(|line| !line.starts_with('#'));
    let rows = lines.map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [program, name, key, default, test] = fields[..] else { panic!("{line}") };
        let program = PROGRAMS.iter().find(|(_, known)| *known == program).expect(line).0;
        Known { program, name, key, default, test }
    });
    rows.collect()
}

fn flag(program: Program, name: &str) -> &'static Flag {
    let found = flags(program).iter().find(|flag| flag.name == name);
    found.unwrap_or_else(|| panic!("{program:?} has no {name}"))
}

#[test]
fn every_flag_and_key_of_go_is_in_the_table() {
    let known = known();
    assert_eq!(known.len(), 153, "as many as the reference lists");
    let distinct: BTreeSet<_> = known.iter().map(|row| (format!("{:?}", row.program), row.name)).collect();
    assert_eq!(distinct.len(), known.len());
    for row in &known {
        let flag = flag(row.program, row.name);
        assert_eq!(flag.yaml_path().unwrap_or_else(|| "-".to_owned()), row.key, "{}", row.name);
        let ours = flag.kind.parse(flag.default).expect("a default");
        let same = flag.kind.parse(row.default).as_ref() == Some(&ours);
        let excused = OTHER_DEFAULTS.iter().any(|(name, _)| *name == row.name);
        assert_eq!(same, !excused, "{}: Go has {}, ours is {}", row.name, row.default, flag.default);
        // What Go takes on the command line is taken on the command line.
        let file_only = ["endpoint-id", "addr", "protocol", "upstream.tenants"].contains(&row.name);
        assert_eq!(flag.verbs.is_empty(), file_only, "{}", row.name);
    }
}

/// What is said to come later does nothing, and everything else has a test by that name.
#[test]
fn every_flag_of_go_has_a_test_or_comes_later() {
    let sources = sources(&root(), &["tests/tests", "cli/src", "config/src"]);
    let tls = self::sources(&root(), &["tests/tests/tls"]);
    for row in known() {
        let flag = flag(row.program, row.name);
        let later = matches!(flag.effect, Effect::Refused(_));
        assert_eq!(row.test == "later", later, "{}", row.name);
        if row.test == "tls" {
            // The tests go through ports and programs, so it is the name behind theirs that stands there; of a pair of
            // files the second may be called by its last word.
            let (_, rest) = row.name.split_once("tls.").expect("a name of TLS");
            let last = rest.rsplit('.').next().unwrap_or(rest);
            let names = [format!("tls.{rest}"), format!("`.{last}`")];
            assert!(names.iter().any(|name| tls.iter().any(|text| text.contains(name))), "{}", row.name);
            continue;
        }
        let definition = format!("fn {}(", row.test);
        assert!(later || sources.iter().any(|text| text.contains(&definition)), "{}: {}", row.name, row.test);
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("lies in a workspace").to_owned()
}

/// The texts of all sources in these folders.
fn sources(root: &Path, folders: &[&str]) -> Vec<String> {
    fn walk(folder: &Path, texts: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("the folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, texts);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                texts.push(std::fs::read_to_string(&path).expect("is text"));
            }
        }
    }
    let mut texts = Vec::new();
    for folder in folders {
        walk(&root.join(folder), &mut texts);
    }
    texts
}

/// Compares a page with what it should say, or writes it where that is asked for.
fn page(name: &str, text: &str) {
    let path = root().join("docs").join(name);
    if std::env::var_os("PIKO_WRITE_PAGES").is_some() {
        std::fs::write(&path, text).expect("the page can be written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == text,
        "docs/{name} is out of step with the table: PIKO_WRITE_PAGES=1 cargo test -p piko-config --test reference"
    );
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", text.replace('|', "\\|")) }
}

#[test]
fn the_reference_is_made_of_the_table() {
    let mut text = String::from(
        "# Reference: every flag, variable and key\n\n\
         Made from the table of the crate `piko-config`; a test keeps it in step. How they are used stands in\n\
         [configure.md](configure.md).\n\n\
         A flag's variable is `PIKO_` and its name in capitals, with `_` for dots and hyphens. *live* is what a running\n\
         program takes over when its file changes or at SIGHUP.\n",
    );
    for (program, name) in PROGRAMS {
        let title = if program == Program::Status { "server status" } else { name };
        let _ = writeln!(
            text,
            "\n## piko {title}\n\n| flag | kind | default | key | |\n| --- | --- | --- | --- | --- |"
        );
        for flag in flags(program) {
            let shown = if flag.verbs.is_empty() { String::new() } else { cell(&format!("--{}", flag.name)) };
            let kind = flag.kind.value_name().unwrap_or("bool");
            let key = flag.yaml_path().unwrap_or_default();
            let mut remark = flag.help.to_owned();
            if let Some(why) = flag.remark() {
                let _ = write!(remark, " (*{why}*)");
            }
            let commands = commands(flag, program);
            if !commands.is_empty() {
                let _ = write!(remark, "; {commands}");
            }
            if flag.reloadable {
                remark.push_str("; *live*");
            }
            let (default, key) = (cell(flag.default), cell(&key));
            let _ =
                writeln!(text, "| {shown} | {kind} | {default} | {key} | {} |", remark.replace('|', "\\|"));
        }
        for apart in OF_STATUS.iter().filter(|_| program == Program::Status) {
            let _ = writeln!(text, "| {} | string |  |  | {} |", cell(apart.flag), apart.help);
        }
    }
    text.push_str(
        "\nEvery command also takes `--help` (`-h`), and those whose help shows it `--version` (`-v`).\n",
    );
    page("reference.md", &text);
}

/// Which commands take a flag of the agent, where not all of them do.
fn commands(flag: &Flag, program: Program) -> String {
    let takes = |verb| flag.belongs_to(verb);
    match program {
        Program::Agent if flag.verbs.is_empty() || takes(Verb::AgentStart) => String::new(),
        Program::Agent if takes(Verb::AgentTcp) => "`agent http`, `agent tcp`".to_owned(),
        Program::Agent if takes(Verb::AgentHttp) => "`agent http`".to_owned(),
        Program::Agent => "`agent`".to_owned(),
        _ => String::new(),
    }
}

#[test]
fn the_proof_is_made_of_the_table() {
    let known = known();
    let later = known.iter().filter(|row| row.test == "later").count();
    let mut text = format!(
        "# Flags and keys of Go Piko v0.9\n\n\
         All {n} flags and keys of Go Piko v0.9 are accepted: {n} of {n}. {works} do what they do there, each with the test\n\
         that sees it; {later} come later: they are checked, and a program says that they have no effect, or does not start\n\
         where that would leave a port open. Made from the table of `piko-config`; a test keeps it in step.\n",
        n = known.len() + OF_STATUS.len(),
        works = known.len() + OF_STATUS.len() - later,
    );
    for (program, name) in PROGRAMS {
        let title = if program == Program::Status { "server status" } else { name };
        let _ = writeln!(
            text,
            "\n## piko {title}\n\n| flag or key | Go's default | ours | seen by |\n| --- | --- | --- | --- |"
        );
        for row in known.iter().filter(|row| row.program == program) {
            let flag = flag(program, row.name);
            let name = match flag.verbs.is_empty() || flag.yaml == Yaml::Port {
                true => cell(row.key),
                false => cell(&format!("--{}", row.name)),
            };
            let why = OTHER_DEFAULTS.iter().find(|(name, _)| *name == row.name);
            let ours = match why {
                Some((_, why)) => format!("{} ({why})", cell(flag.default)),
                None if flag.default == row.default => "the same".to_owned(),
                None => cell(flag.default),
            };
            let test = match row.test {
                "later" => "later".to_owned(),
                "tls" => "`tests/tls.rs`".to_owned(),
                test => cell(test),
            };
            let _ = writeln!(text, "| {name} | {} | {ours} | {test} |", cell(row.default));
        }
        for apart in OF_STATUS.iter().filter(|_| program == Program::Status) {
            let _ = writeln!(
                text,
                "| {} (`cluster nodes`) |  | the same | {} |",
                cell(apart.flag),
                cell(apart.test)
            );
        }
    }
    page("flags-of-go.md", &text);
}
