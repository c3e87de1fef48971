//! Where the programs under test come from: a directory that was given, or one build per test process.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};

/// The packages that hold the programs, and the program of each.
const PROGRAMS: [(&str, &str); 3] =
    [("piko-cli", "piko"), ("piko-server", "piko-server"), ("piko-agent", "piko-agent")];

/// The path of `piko`, `piko-server` or `piko-agent`.
///
/// `PIKO_BIN_DIR` names a directory of finished programs. Without it each program that is asked for is built
/// once per test process, into the target directory and profile of the running test.
///
/// # Panics
///
/// When the program is missing or the build fails, with what cargo said.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = built.entry(name.to_owned()).or_insert_with(|| {
        if let Some(dir) = env::var_os("PIKO_BIN_DIR") {
            return PathBuf::from(dir);
        }
        let package = PROGRAMS.iter().find(|(_, program)| *program == name).map(|(package, _)| *package);
        let package = package.unwrap_or_else(|| panic!("{name} is no program of this workspace"));
        let exe = env::current_exe().expect("the running test has a path");
        build(&exe, &[package]).unwrap_or_else(|e| panic!("building {name}: {e}"))
    });
    let path = dir.join(name);
    assert!(path.is_file(), "{name} is not in {}", dir.display());
    path
}

/// The server and the agent in `dir`, when both are there.
pub fn binaries_in(dir: &Path) -> Option<(PathBuf, PathBuf)> {
    let (server, agent) = (dir.join("piko-server"), dir.join("piko-agent"));
    (server.is_file() && agent.is_file()).then_some((server, agent))
}

/// The directory into which cargo puts programs of the build that `exe` belongs to.
pub fn profile_dir(exe: &Path) -> Option<PathBuf> {
    layout(exe, &is_target_dir).map(|l| l.dir)
}

/// Builds all programs of `packages` beside `exe` and returns their directory.
///
/// Test processes that run at the same time build one after the other: the lock file lies in the target
/// directory, next to what it protects.
///
/// # Errors
///
/// What went wrong, in words, with the output of cargo when it ran.
pub fn build(exe: &Path, packages: &[&str]) -> Result<PathBuf, String> {
    let layout = layout(exe, &is_target_dir)
        .ok_or_else(|| format!("{} is not below a target directory of cargo", exe.display()))?;
    fs::create_dir_all(&layout.target).map_err(|e| format!("{}: {e}", layout.target.display()))?;
    let lock_path = layout.target.join(".piko-tests.lock");
    let lock = File::create(&lock_path).map_err(|e| format!("{}: {e}", lock_path.display()))?;
    // Released when the file is closed, also when this process dies.
    flock(&lock, FlockOperation::LockExclusive).map_err(|e| format!("{}: {e}", lock_path.display()))?;

    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in a workspace");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).args(["build", "--locked", "--bins", "--profile", &layout.profile]);
    cargo.arg("--target-dir").arg(&layout.target);
    if let Some(triple) = &layout.triple {
        cargo.args(["--target", triple]);
    }
    for package in packages {
        cargo.args(["-p", package]);
    }
    let output = cargo.output().map_err(|e| format!("cargo does not start: {e}"))?;
    if !output.status.success() {
        return Err(format!("{cargo:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    Ok(layout.dir)
}

/// Which build a program belongs to.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    /// The target directory.
    target: PathBuf,
    /// The target triple, when the build was made with `--target`.
    triple: Option<String>,
    /// The profile as `--profile` wants it.
    profile: String,
    /// Where the programs are.
    dir: PathBuf,
}

/// Cargo keeps this file only at the top of a target directory, not in the directory of a triple.
fn is_target_dir(dir: &Path) -> bool {
    dir.join(".rustc_info.json").is_file()
        || env::var_os("CARGO_TARGET_DIR").is_some_and(|d| Path::new(&d) == dir)
}

/// Takes `<target>[/<triple>]/<profile>[/deps|/examples]/<exe>` apart.
fn layout(exe: &Path, is_target: &dyn Fn(&Path) -> bool) -> Option<Layout> {
    let mut dir = exe.parent()?;
    if dir.ends_with("deps") || dir.ends_with("examples") {
        dir = dir.parent()?;
    }
    let profile = match dir.file_name()?.to_str()? {
        "debug" => "dev",
        other => other,
    };
    let above = dir.parent()?;
    let (target, triple) = if is_target(above) {
        (above, None)
    } else {
        let target = above.parent().filter(|t| is_target(t))?;
        (target, Some(above.file_name()?.to_str()?.to_owned()))
    };
    Some(Layout { target: target.to_owned(), triple, profile: profile.to_owned(), dir: dir.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(exe: &str) -> Option<Layout> {
        layout(Path::new(exe), &|dir| dir == Path::new("/t"))
    }

    #[test]
    fn the_place_of_a_test_tells_its_build() {
        let debug = at("/t/debug/deps/e2e-0123").expect("a test of the dev profile");
        assert_eq!(debug.profile, "dev");
        assert_eq!(debug.triple, None);
        assert_eq!(debug.dir, Path::new("/t/debug"));

        let cross = at("/t/x86_64-unknown-linux-musl/release/bench").expect("a program of a cross build");
        assert_eq!(cross.profile, "release");
        assert_eq!(cross.triple.as_deref(), Some("x86_64-unknown-linux-musl"));
        assert_eq!(cross.target, Path::new("/t"));

        assert_eq!(at("/t/profiling/examples/x").expect("an example").profile, "profiling");
    }

    #[test]
    fn a_program_elsewhere_has_no_build() {
        assert_eq!(at("/usr/bin/env"), None);
        assert_eq!(at("/env"), None);
    }

    #[test]
    fn the_running_test_is_found() {
        let exe = env::current_exe().expect("a path");
        let dir = profile_dir(&exe).expect("the test runs from a target directory");
        assert!(exe.starts_with(&dir));
    }

    #[test]
    fn a_failed_build_says_what_cargo_said() {
        let exe = env::current_exe().expect("a path");
        let error = build(&exe, &["no-such-package-of-piko"]).expect_err("there is no such package");
        assert!(error.contains("no-such-package-of-piko"), "{error}");
    }
}
