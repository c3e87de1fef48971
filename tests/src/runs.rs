//! The long runs that are binaries of their own: named on the command line, run in order, told in a line each.

use std::process::ExitCode;
use std::time::Instant;

/// Why a run failed, in words.
pub type Outcome = Result<(), String>;

/// Runs those of `runs` that `names` asks for by name or as `all`; fails when one of them does.
pub fn run_each<R>(runs: &[(&str, R)], names: &[String], mut run: impl FnMut(&R) -> Outcome) -> ExitCode {
    let mut failed = false;
    for (name, one) in runs.iter().filter(|(run, _)| names.iter().any(|n| n == run || n == "all")) {
        let start = Instant::now();
        let outcome = run(one);
        let took = start.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => println!("{name}: ok in {took:.1} s"),
            Err(text) => {
                failed = true;
                println!("{name}: FAILED after {took:.1} s: {text}");
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The command line of runs that have no flag but `--quick`: the names, and whether it was given. `None` when nothing
/// is named, or something unknown.
pub fn quick_and_names<R>(runs: &[(&str, R)]) -> Option<(bool, Vec<String>)> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let quick = args.iter().any(|a| a == "--quick");
    let names: Vec<String> = args.into_iter().filter(|a| a != "--quick").collect();
    let known = |name: &String| name == "all" || runs.iter().any(|(n, _)| n == name);
    (!names.is_empty() && names.iter().all(known)).then_some((quick, names))
}
