//! The programs of the release before this commit, for tests that run both side by side.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::binaries::{binaries_in, profile_dir};

/// The directory with `piko-server` and `piko-agent` of the previous release: the one that `PIKO_PREVIOUS_DIR` names, else
/// what the last tag before this commit builds (once, below the target directory of the running test). `None`, after a
/// visible line, where there is no release yet or this is no clone.
///
/// # Panics
///
/// When the directory has not both programs, or the release does not build: what was asked for is not skipped.
pub fn previous() -> Option<PathBuf> {
    if let Some(dir) = env::var_os("PIKO_PREVIOUS_DIR") {
        let dir = PathBuf::from(dir);
        assert!(binaries_in(&dir).is_some(), "piko-server and piko-agent are not in {}", dir.display());
        return Some(dir);
    }
    let Some(tag) = last_tag() else {
        // The print macros are captured by the test runner, a direct write is not.
        let _ =
            writeln!(io::stderr(), "skipped: there is no previous release, and PIKO_PREVIOUS_DIR names none");
        return None;
    };
    Some(build(&tag).unwrap_or_else(|e| panic!("building {tag}: {e}")))
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in a workspace")
}

/// The last tag before this commit: where this commit is a release itself, the one before it.
fn last_tag() -> Option<String> {
    let mut git = Command::new("git");
    git.current_dir(workspace()).args(["describe", "--tags", "--abbrev=0", "HEAD^"]);
    let output = git.stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}

fn build(tag: &str) -> Result<PathBuf, String> {
    let exe = env::current_exe().map_err(|e| e.to_string())?;
    let profile = profile_dir(&exe).ok_or("the test is not below a target directory")?;
    let place = profile.join("previous").join(tag.replace('/', "-"));
    let programs = place.join("target/debug");
    if binaries_in(&programs).is_some() {
        return Ok(programs);
    }
    let sources = place.join("sources");
    fs::create_dir_all(&sources).map_err(|e| format!("{}: {e}", sources.display()))?;
    let archive = place.join("sources.tar");
    let mut git = Command::new("git");
    git.current_dir(workspace()).args(["archive", "--output"]).arg(&archive).arg(tag);
    run(&mut git)?;
    run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&sources))?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&sources).args([
        "build",
        "--locked",
        "--bins",
        "-p",
        "piko-server",
        "-p",
        "piko-agent",
    ]);
    run(cargo.arg("--target-dir").arg(place.join("target")))?;
    Ok(programs)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}\n{}", output.status, said())) }
}
