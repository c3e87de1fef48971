//! The static agent for small devices: how large it is, and what it takes while it waits.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use piko_tests::process::{Agent, Server, memory, profile_dir};
use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const TARGET: &str = "x86_64-unknown-linux-musl";
/// Of the file, as it is shipped.
const SIZE_BYTES_MAX: u64 = 700 * 1024;
/// Resident while a tunnel is up and nobody asks for anything.
const IDLE_RSS_BYTES_MAX: u64 = 1536 * 1024;

#[test]
fn the_static_agent_is_small_and_stays_small() {
    if !target_is_installed() {
        let strict = env::var("CI").is_ok_and(|v| v == "true" || v == "1");
        assert!(!strict, "{TARGET} is not installed, and CI must not skip tests");
        // The print macros are captured by the test runner, a direct write is not.
        let _ =
            writeln!(io::stderr(), "skipped: the_static_agent_is_small: no standard library for {TARGET}");
        return;
    }
    let program = build();
    let bytes = fs::read(&program).expect("the program was just built");
    let size = bytes.len() as u64;
    println!("{size} bytes");
    assert!(size <= SIZE_BYTES_MAX, "{size} bytes, more than {SIZE_BYTES_MAX}");
    assert!(!has_interpreter(&bytes), "a static program asks for no interpreter");

    let server = Server::start(&[]);
    // Nobody listens at the service, and nobody asks for it.
    let agent = Agent::launch(program, "http", &server.connect_url(), "small", "127.0.0.1:9", &[]);
    agent.wait_connected(0, Duration::from_secs(20)).unwrap_or_else(|e| panic!("no tunnel: {e}"));
    let rss = memory(agent.process.pid()).expect("the agent runs").rss_bytes;
    println!("{} KiB resident", rss / 1024);
    assert!(rss <= IDLE_RSS_BYTES_MAX, "{rss} bytes resident, more than {IDLE_RSS_BYTES_MAX}");
}

/// The command of the promise, in the target directory of this test.
fn build() -> PathBuf {
    let exe = env::current_exe().expect("the running test has a path");
    let profile = profile_dir(&exe).expect("the test runs from a target directory");
    let target = profile.parent().expect("a profile lies in a target directory");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in a workspace");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).args(["build", "--locked", "--release", "-p", "piko-agent"]);
    cargo.args(["--target", TARGET, "--no-default-features", "--target-dir"]).arg(target);
    // What the surrounding run was given for itself (coverage, another linker) would be another build.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
        cargo.env_remove(name);
    }
    let output = cargo.output().expect("cargo starts");
    assert!(output.status.success(), "{cargo:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    target.join(TARGET).join("release/piko-agent")
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
