//! A small sample of the long runs (`src/bin/soak`, `src/bin/streams`).

use std::process::Command;

#[track_caller]
fn sample(program: &str) {
    let output = Command::new(program).args(["all", "--quick"]).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{text}");
}

#[test]
fn the_long_runs_hold_in_small() {
    sample(env!("CARGO_BIN_EXE_soak"));
}

#[test]
fn the_runs_of_streams_hold_in_small() {
    sample(env!("CARGO_BIN_EXE_streams"));
}
