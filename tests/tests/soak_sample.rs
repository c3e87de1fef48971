//! A small sample of the long runs (`src/bin/soak`, `src/bin/streams`).

use std::process::Command;

/// One after the other: some of them judge time.
#[test]
fn the_long_runs_hold_in_small() {
    for program in [env!("CARGO_BIN_EXE_soak"), env!("CARGO_BIN_EXE_streams")] {
        let output = Command::new(program).args(["all", "--quick"]).output().expect("the program starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        println!("{text}");
    }
}
