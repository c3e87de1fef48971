//! A small sample of the long runs (`src/bin/soak`).

use std::process::Command;

#[test]
fn the_long_runs_hold_in_small() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_soak")).args(["all", "--quick"]).output().expect("soak starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{text}");
}
