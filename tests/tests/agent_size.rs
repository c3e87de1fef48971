//! The static agent for small devices: how large it is, and what it takes while it waits.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use piko_tests::certs::{Authority, Folder};
use piko_tests::flags;
use piko_tests::process::{Agent, Server, memory, profile_dir, variable};
use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const TARGET: &str = "x86_64-unknown-linux-musl";
/// Of the file without TLS, as it is shipped.
const SIZE_BYTES_MAX: u64 = 700 * 1024;
/// Of the file with TLS: 1.9 MiB.
const SIZE_WITH_TLS_BYTES_MAX: u64 = 19 * 1024 * 1024 / 10;
/// Resident while a tunnel is up and nobody asks for anything.
const IDLE_RSS_BYTES_MAX: u64 = 1536 * 1024;

#[test]
fn the_static_agent_is_small_and_stays_small() {
    let Some(program) = build(&["--no-default-features"], SIZE_BYTES_MAX) else { return };
    let server = Server::start(&[]);
    // Nobody listens at the service, and nobody asks for it.
    let agent = Agent::launch(program, "http", &server.connect_url(), "small", "127.0.0.1:9", &[]);
    agent.wait_connected(0, Duration::from_secs(20)).unwrap_or_else(|e| panic!("no tunnel: {e}"));
    let rss = memory(agent.process.pid()).expect("the agent runs").rss_bytes;
    println!("{} KiB resident", rss / 1024);
    assert!(rss <= IDLE_RSS_BYTES_MAX, "{rss} bytes resident, more than {IDLE_RSS_BYTES_MAX}");
}

/// What a build leaves out it refuses with a sentence, whether a flag or a variable asks for it: going on without it would
/// be another connection than the one that was asked for.
#[test]
fn the_smallest_agent_says_what_it_cannot_do() {
    let Some(program) = build(&["--no-default-features"], SIZE_BYTES_MAX) else { return };
    for (name, value, sentence) in [
        ("connect.proxy-url", "http://proxy:3128", "this build connects through no proxy"),
        ("connect.proxy-url-file", "/nowhere", "this build connects through no proxy"),
        ("proxy-protocol", "v2", "this build writes no PROXY protocol headers"),
        ("config.path", "agent.yaml", "this build reads no configuration files"),
    ] {
        let (flag, variable) = (format!("--{name}"), variable(name));
        for (origin, is_flag) in [(&flag, true), (&variable, false)] {
            let mut command = Command::new(&program);
            command.args(["http", "small", "127.0.0.1:9"]);
            if is_flag {
                command.args([origin, value]);
            } else {
                command.env(origin, value);
            }
            let output = command.output().expect("the agent starts");
            assert_eq!(String::from_utf8_lossy(&output.stderr), format!("{origin}: {sentence}\n"));
            assert_eq!(output.status.code(), Some(2), "{origin}");
        }
    }
}

/// With TLS, and without anything of the machine: a static program that is told whom to trust.
#[test]
fn the_static_agent_with_tls_is_small_enough_and_needs_no_machine() {
    let Some(program) = build(&[], SIZE_WITH_TLS_BYTES_MAX) else { return };
    let (folder, authority) = (Folder::new("static"), Authority::new("static"));
    let [cert, key] = authority.issue(&["localhost"]).write(&folder, "server");
    let ca = folder.put("ca.pem", &authority.pem());
    let server = flags::server(flags::Way::Flag, &[("upstream.tls.cert", &cert), ("upstream.tls.key", &key)]);
    let url = format!("https://localhost:{}", server.upstream.port());
    for (args, env) in [
        (&["--connect.tls.root-cas", ca.as_str()][..], &[][..]),
        (&[], &[("SSL_CERT_FILE", ca.as_str()), ("SSL_CERT_DIR", "/nowhere")]),
    ] {
        let agent = Agent::launch_with(program.clone(), "http", &url, "tls", "127.0.0.1:9", args, env);
        agent.wait_connected(0, Duration::from_secs(20)).unwrap_or_else(|e| panic!("no tunnel: {e}"));
        println!("{} KiB resident", memory(agent.process.pid()).expect("the agent runs").rss_bytes / 1024);
    }
}

/// The command of the promise, in the target directory of this test.
fn build(features: &[&str], size_bytes_max: u64) -> Option<PathBuf> {
    if !target_is_installed() {
        let strict = env::var("CI").is_ok_and(|v| v == "true" || v == "1");
        assert!(!strict, "{TARGET} is not installed, and CI must not skip tests");
        // The print macros are captured by the test runner, a direct write is not.
        let _ = writeln!(io::stderr(), "skipped: the static agent: no standard library for {TARGET}");
        return None;
    }
    // Both builds put their program in the same place.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let exe = env::current_exe().expect("the running test has a path");
    let profile = profile_dir(&exe).expect("the test runs from a target directory");
    let target = profile.parent().expect("a profile lies in a target directory");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in a workspace");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).args(["build", "--locked", "--release", "-p", "piko-agent"]);
    cargo.args(["--target", TARGET]).args(features).arg("--target-dir").arg(target);
    // ring has some C, which must not be compiled against glibc.
    cargo.env("CC_x86_64_unknown_linux_musl", "musl-gcc");
    // What the surrounding run was given for itself (coverage, another linker) would be another build.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
        cargo.env_remove(name);
    }
    let output = cargo.output().expect("cargo starts");
    assert!(output.status.success(), "{cargo:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    let built = target.join(TARGET).join("release/piko-agent");
    let bytes = fs::read(&built).expect("the program was just built");
    let size = bytes.len() as u64;
    println!("{features:?}: {size} bytes");
    assert!(size <= size_bytes_max, "{size} bytes, more than {size_bytes_max}");
    assert!(!has_interpreter(&bytes), "a static program asks for no interpreter");
    let own = built.with_file_name(format!("piko-agent-{}", features.len()));
    fs::copy(&built, &own).expect("a place beside it");
    Some(own)
}

fn target_is_installed() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    output.is_ok_and(|o| Path::new(String::from_utf8_lossy(&o.stdout).trim()).is_dir())
}

/// True when a program header asks for a dynamic loader (`PT_INTERP` of elf(5)).
fn has_interpreter(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let word = |at: usize| u16::from_le_bytes([elf[at], elf[at + 1]]) as usize;
    let start = u64::from_le_bytes(elf[32..40].try_into().expect("eight bytes")) as usize;
    let (size, count) = (word(54), word(56));
    assert!(count > 0, "no program headers");
    (0..count).any(|n| {
        let at = start + n * size;
        u32::from_le_bytes(elf[at..at + 4].try_into().expect("four bytes")) == PT_INTERP
    })
}
