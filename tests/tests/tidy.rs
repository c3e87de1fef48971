//! What no linter knows: who may use what, how long files may be, and what may not be named where.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a source file without its unit tests.
const LINES_MAX: usize = 800;
/// Half of all source files have at most this many.
const LINES_MEDIAN_MAX: usize = 250;

/// Folders with code of which `unsafe` is part: what `fuzz_target!` expands to, counting allocators, and functions
/// exported to JavaScript.
const UNSAFE_ALLOWED: [&str; 3] = ["fuzz/fuzz_targets", "tests/counting-alloc", "tests/wasm-agent"];

/// The crates of the product: package, folder, and the crates of this workspace that it may use.
const LAYERS: [(&str, &str, &[&str]); 13] = [
    ("piko-core", "core", &[]),
    ("piko-config", "config", &[]),
    ("piko-observe", "observe", &["piko-config", "piko-core"]),
    ("piko-driver", "driver", &["piko-core"]),
    ("piko-sockets", "sockets", &["piko-driver"]),
    ("piko-runtime-tokio", "runtime-tokio", &["piko-core", "piko-driver", "piko-sockets"]),
    ("piko-runtime-smol", "runtime-smol", &["piko-core", "piko-driver", "piko-sockets"]),
    // The runtimes only as optional features.
    ("piko-client", "client", &["piko-core", "piko-driver", "piko-runtime-tokio", "piko-runtime-smol"]),
    (
        "piko-agent",
        "agent",
        &["piko-core", "piko-driver", "piko-client", "piko-config", "piko-observe", "piko-runtime-smol"],
    ),
    ("piko-forward", "forward", &["piko-core", "piko-driver", "piko-client", "piko-config", "piko-observe"]),
    (
        "piko-server",
        "server",
        &["piko-core", "piko-driver", "piko-config", "piko-observe", "piko-runtime-tokio"],
    ),
    (
        "piko-cli",
        "cli",
        &[
            "piko-core",
            "piko-driver",
            "piko-client",
            "piko-config",
            "piko-observe",
            "piko-agent",
            "piko-forward",
            "piko-server",
            "piko-runtime-tokio",
            "piko-runtime-smol",
        ],
    ),
    (
        "piko-fuzz-targets",
        "fuzz/targets",
        &["piko-core", "piko-driver", "piko-client", "piko-config", "piko-observe", "piko-tests"],
    ),
];

/// Everything from outside that these crates may use, ever.
const OUTSIDE: [(&str, &[&str]); 3] = [
    ("core", &["bytes", "httparse", "thiserror", "tracing", "serde"]),
    (
        "driver",
        &[
            "bytes",
            "futures",
            "tracing",
            "rand",
            "rustls",
            "rustls-webpki",
            "futures-rustls",
            "chacha20poly1305",
            "hmac",
            "sha2",
            "async-tungstenite",
        ],
    ),
    ("observe", &["tracing"]),
];

/// Crates that are a runtime or a part of one, and the folders that may depend on it.
const RUNTIMES: [(&[&str], &[&str]); 2] = [
    (&["tokio", "tokio-util", "tokio-stream"], &["runtime-tokio", "server", "cli", "tests"]),
    (
        &["smol", "async-io", "async-executor", "async-task", "blocking"],
        &["runtime-smol", "agent", "cli", "tests"],
    ),
];

/// Files of `agent` and `server` that choose a runtime; all others are generic over it. `cli` holds programs only.
const CHOOSERS: [&str; 2] = ["main.rs", "program.rs"];

/// What each module of core may take from its neighbours; `id`, `rng` and `time` are for all.
const CORE_MODULES: [(&str, &[&str]); 9] = [
    ("gossip", &[]),
    ("http1", &[]),
    ("mux", &[]),
    ("preface", &[]),
    ("proxy", &["http1", "route"]),
    ("route", &[]),
    ("tunnel", &["mux", "preface"]),
    ("via", &[]),
    // The head parser, for the handshake.
    ("ws", &["http1"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in a workspace")
}

/// All files below the root that belong to the repository, by their path from there.
fn files() -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
            let path = entry.expect("a folder entry").path();
            let name = path.file_name().expect("entries have names").to_string_lossy().into_owned();
            let outside = ["target", ".git", "artifacts", "coverage", "node_modules"].contains(&&name[..]);
            if path.is_symlink() || outside || name.starts_with("target-") {
                continue;
            }
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path.strip_prefix(root()).expect("below the root").to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(root(), &mut found);
    found.sort();
    assert!(found.len() > 100, "only {} files below {}", found.len(), root().display());
    found
}

fn sources() -> Vec<(PathBuf, String)> {
    let rust = files().into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs"));
    rust.map(|path| {
        let text = read(&path);
        (path, text)
    })
    .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text before the unit tests, without comments. Strings stay.
fn code(text: &str) -> String {
    let product = text.find("#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at]);
    product.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Whether the file holds tests only.
fn is_test(path: &Path) -> bool {
    let in_folder =
        path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches");
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    in_folder || name == "tests.rs" || name.ends_with("_tests.rs")
}

/// Whether `word` stands in `text` with no letter, digit or underscore at its sides.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let behind = text[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !behind.is_some_and(is_part)
    })
}

/// The dependencies in a manifest, by section header.
fn dependencies(manifest: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut section = String::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim_matches('[').trim_matches(']').to_owned();
            // `[dependencies.name]`
            if let Some((list, name)) = section.rsplit_once('.')
                && list.ends_with("dependencies")
                && list != "workspace.dependencies"
            {
                found.entry(list.to_owned()).or_default().insert(name.to_owned());
            }
        } else if section.ends_with("dependencies")
            && !line.starts_with('#')
            && let Some((name, _)) = line.split_once(['=', '.', ' '])
        {
            found.entry(section.clone()).or_default().insert(name.trim().to_owned());
        }
    }
    found
}

/// What a crate needs to be built, tests apart.
fn needs(folder: &str) -> BTreeSet<String> {
    let manifest = read(&Path::new(folder).join("Cargo.toml"));
    let sections = dependencies(&manifest).into_iter();
    sections.filter(|(section, _)| !section.contains("dev-")).flat_map(|(_, names)| names).collect()
}

fn exists(folder: &str) -> bool {
    root().join(folder).join("Cargo.toml").is_file()
}

#[test]
fn every_member_has_its_layer() {
    let manifest = read(Path::new("Cargo.toml"));
    let list = manifest.split("members = [").nth(1).and_then(|rest| rest.split(']').next()).expect("members");
    let members: BTreeSet<&str> = list.split('"').skip(1).step_by(2).collect();
    assert!(members.contains("core") && members.contains("tests"), "{members:?}");
    for member in members {
        let known = LAYERS.iter().any(|(_, folder, _)| *folder == member) || member.starts_with("tests");
        assert!(known, "{member} is not in the list of this test");
        let text = read(&Path::new(member).join("Cargo.toml"));
        // The counting allocator is a named exception: it cannot be written without `unsafe`.
        let own = member == "tests/counting-alloc" && text.contains("[lints.rust]");
        assert!(
            own || text.contains("[lints]\nworkspace = true"),
            "{member} does not take the workspace's lints"
        );
    }
    assert!(manifest.contains("unsafe_code = \"forbid\""));
}

#[test]
fn crates_use_only_the_layers_below_them() {
    for (package, folder, allowed) in LAYERS.into_iter().filter(|(_, folder, _)| exists(folder)) {
        let needs = needs(folder);
        for name in needs.iter().filter(|name| name.starts_with("piko-")) {
            assert!(allowed.contains(&&name[..]), "{package} depends on {name}");
        }
        assert!(folder == "fuzz/targets" || !needs.contains("piko-tests"), "{package} depends on the tests");
        let all = LAYERS.iter().map(|(name, ..)| *name);
        let forbidden: Vec<String> = all
            .filter(|name| *name != package && !allowed.contains(name))
            .map(|name| name.replace('-', "_"))
            .collect();
        for (path, text) in sources().into_iter().filter(|(path, _)| path.starts_with(folder)) {
            if !path.starts_with(Path::new(folder).join("src")) || is_test(&path) {
                continue;
            }
            let code = code(&text);
            for name in &forbidden {
                assert!(!has_word(&code, name), "{} names {name}", path.display());
            }
        }
    }
    if exists("client") {
        let manifest = read(Path::new("client/Cargo.toml"));
        for line in manifest.lines().filter(|line| line.starts_with("piko-runtime-")) {
            assert!(line.contains("optional = true"), "the client's runtimes are its users' choice: {line}");
        }
    }
}

#[test]
fn inner_crates_take_little_from_outside() {
    for (folder, allowed) in OUTSIDE.into_iter().filter(|(folder, _)| exists(folder)) {
        for name in needs(folder).into_iter().filter(|name| !name.starts_with("piko-")) {
            assert!(allowed.contains(&&name[..]), "{folder} depends on {name}");
        }
    }
}

#[test]
fn runtimes_are_named_only_where_they_are_chosen() {
    let sources = sources();
    for (_, folder, _) in LAYERS.into_iter().filter(|(_, folder, _)| exists(folder)) {
        let needs = needs(folder);
        for (names, users) in RUNTIMES {
            for name in names.iter().filter(|name| needs.contains(**name)) {
                assert!(users.contains(&folder), "{folder} depends on {name}");
            }
        }
        if !["agent", "server", "client", "driver"].contains(&folder) {
            continue;
        }
        let words = [
            "tokio",
            "smol",
            "async_io",
            "async_executor",
            "async_task",
            "piko_runtime_tokio",
            "piko_runtime_smol",
        ];
        let shipped =
            |path: &Path| path.starts_with(folder) && !is_test(path) && !path.starts_with("client/examples");
        for (path, text) in sources.iter().filter(|(path, _)| shipped(path)) {
            let chooses = ["agent", "server"].contains(&folder)
                && CHOOSERS.iter().any(|name| path.file_name().is_some_and(|file| file == *name));
            let code = code(text);
            for word in words.iter().filter(|_| !chooses) {
                let named = has_word(&code, &format!("{word}::")) || code.contains(&format!("{word}::"));
                assert!(!named, "{} names {word}", path.display());
            }
        }
    }
}

#[test]
fn modules_of_core_do_not_import_each_other() {
    let mut seen = 0;
    for (path, text) in sources() {
        let Ok(inside) = path.strip_prefix("core/src") else { continue };
        let module = inside.components().next().expect("a file").as_os_str().to_string_lossy().into_owned();
        let Some((_, allowed)) = CORE_MODULES.iter().find(|(name, _)| *name == module) else { continue };
        if is_test(&path) {
            continue;
        }
        let code = code(&text);
        for (other, _) in
            CORE_MODULES.iter().filter(|(other, _)| *other != module && !allowed.contains(other))
        {
            assert!(!has_word(&code, &format!("crate::{other}")), "{} uses {other}", path.display());
        }
        seen += 1;
    }
    assert!(seen > 40, "only {seen} files of core were looked at");
}

#[test]
fn core_names_nothing_impure() {
    let impure = [
        "std::",
        "SystemTime",
        "HashMap",
        "HashSet",
        "println!",
        "eprintln!",
        "thread_rng",
        "async fn",
        "TcpStream",
        "UdpSocket",
        "include_str!",
        "env!",
    ];
    let mut seen = 0;
    for (path, text) in sources() {
        if !path.starts_with("core/src") || is_test(&path) {
            continue;
        }
        let code = code(&text);
        for word in impure {
            assert!(!code.contains(word), "{} names {word}", path.display());
        }
        assert!(!has_word(&code, "await"), "{} waits", path.display());
        seen += 1;
    }
    assert!(seen > 50, "only {seen} files of core were looked at");
    let lib = read(Path::new("core/src/lib.rs"));
    assert!(lib.contains("#![no_std]") && lib.contains("#![forbid(unsafe_code)]"));
}

#[test]
fn nothing_is_unsafe() {
    for (path, text) in sources() {
        if UNSAFE_ALLOWED.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        // The word in a string of this file is no code.
        if path.ends_with("tests/tests/tidy.rs") {
            continue;
        }
        assert!(!has_word(&code(&text), "unsafe"), "{} is unsafe", path.display());
        for switch in ["allow(unsafe_code)", "expect(unsafe_code)"] {
            assert!(!text.contains(switch), "{} allows unsafe code", path.display());
        }
    }
}

#[test]
fn files_are_short() {
    let mut lengths = Vec::new();
    for (path, text) in sources() {
        if is_test(&path) || path.starts_with("fuzz/fuzz_targets") {
            continue;
        }
        let product = text.find("#[cfg(test)]\nmod tests {").map_or(&text[..], |at| &text[..at]);
        let lines = product.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines: look for the second idea in it", path.display());
        lengths.push(lines);
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median <= LINES_MEDIAN_MAX, "half of {} files have more than {median} lines", lengths.len());
}

#[test]
fn nothing_depends_on_one_machine() {
    // Put together here, so that this file does not name them itself.
    let absolute = ["home", "root", "Users", "work"].map(|top| format!("/{top}/"));
    let outside = ["..", "shared"].join("/");
    for path in files() {
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        // Peers' bytes and names of other hosts are data.
        if path.starts_with("fuzz/corpus")
            || path.starts_with("tests/vectors")
            || path.ends_with("Cargo.lock")
        {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let named = absolute.iter().find(|wanted| {
                line.match_indices(wanted.as_str()).any(|(at, _)| {
                    // Behind a letter it is the middle of a URL or of a relative path.
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}$".contains(c))
                })
            });
            assert!(named.is_none(), "{}:{} names {}", path.display(), number + 1, named.expect("found"));
            assert!(!line.contains(&outside), "{}:{} leaves the repository", path.display(), number + 1);
        }
    }
}

/// What must never be linked into the agent: the other runtime, and what makes it large.
const NOT_IN_AGENT: [&str; 7] =
    ["tokio", "clap", "clap_builder", "async-tungstenite", "tracing-subscriber", "serde_json", "openssl-sys"];

#[test]
fn the_agent_links_no_tokio() {
    if !exists("agent") {
        println!("SKIPPED: there is no crate `agent` yet");
        return;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["tree", "--locked", "-p", "piko-agent", "-e", "normal", "--prefix", "none", "-f", "{p}"])
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("names are text");
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains("piko-agent") && names.contains("piko-core"), "{tree}");
    for name in NOT_IN_AGENT {
        assert!(!names.contains(name), "piko-agent links {name}");
    }
}

#[test]
fn this_test_reads_what_it_thinks() {
    let manifest = "[dependencies]\na.workspace = true\n# b = 1\nc = { version = \"1\" }\n[dev-dependencies]\nd = \"1\"\n\
        [target.'cfg(unix)'.dependencies]\ne = \"1\"\n[dependencies.f]\nversion = \"1\"\n[features]\ng = []\n";
    let found = dependencies(manifest);
    let names = |section: &str| found[section].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(names("dependencies"), ["a", "c", "f"]);
    assert_eq!(names("dev-dependencies"), ["d"]);
    assert_eq!(names("target.'cfg(unix)'.dependencies"), ["e"]);
    assert!(has_word("use tokio::net;", "tokio") && !has_word("use xtokio::net;", "tokio"));
    assert_eq!(code("a // b\n#[cfg(test)]\nmod tests {\n unsafe {}\n}"), "a ");
    assert!(is_test(Path::new("core/src/mux/tests/a.rs")) && !is_test(Path::new("core/src/mux/mod.rs")));
}
