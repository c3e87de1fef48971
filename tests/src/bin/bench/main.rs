//! The ratio table: Piko beside the proxies and tunnels that people would use otherwise.
//!
//! `tests/benches/README.md` says how to run and read it; the configurations of the rivals lie beside it.

mod args;
mod contenders;
mod crowd;
mod load;
mod report;
mod syscalls;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use piko_tests::process::find;

use args::Args;
use contenders::{Contender, NAMES, Scratch, Starter};
use load::{WORKLOADS, Workload};
use report::Results;

/// Load generator and back end.
const LOAD_CPU: u32 = 0;
/// Everything under test.
const TEST_CPU: u32 = 1;

fn main() -> ExitCode {
    let args = match args::parse(std::env::args().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(text) => {
            eprintln!("{text}\n{}", args::HELP);
            return ExitCode::from(2);
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("bench: {text}");
            ExitCode::FAILURE
        }
    }
}

/// A file of `tests/benches`.
pub(crate) fn bench_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(name)
}

fn run(args: &Args) -> Result<(), String> {
    let wrk = find("wrk").ok_or("wrk not found")?;
    let workloads = chosen(&args.workloads, &WORKLOADS, |w| w.name)?;
    let mut names = chosen(&args.contenders, &NAMES, |n| n)?;
    if args.contenders.is_empty() {
        // The keep-alives of so many tunnels would be in everybody's figures.
        names.retain(|name| *name != "piko-many" && !contenders::speaks_tls(name));
    }
    if args.old.is_none() && args.contenders.is_empty() {
        names.retain(|n| *n != "piko-old");
    }
    let scratch = Scratch::new()?;
    report::machine();
    if args.syscalls {
        return count(args, &wrk, &scratch, &names, &workloads);
    }
    let mut results = Results::default();
    for pinned in [true, false] {
        if !(if pinned { args.pinned } else { args.unpinned }) {
            continue;
        }
        if pinned && !can_pin() {
            eprintln!("not pinned: that takes taskset and two processors");
            continue;
        }
        measure(args, &wrk, &scratch, pinned, &names, &workloads, &mut results)?;
    }
    report::print(args, &names, &workloads, &results);
    Ok(())
}

/// The wanted ones of `all`, all of them when nothing was named.
fn chosen<T: Copy>(wanted: &[String], all: &[T], name: impl Fn(&T) -> &str) -> Result<Vec<T>, String> {
    if let Some(unknown) = wanted.iter().find(|w| !all.iter().any(|a| name(a) == w.as_str())) {
        return Err(format!("nothing is called {unknown}"));
    }
    Ok(all.iter().copied().filter(|a| wanted.is_empty() || wanted.iter().any(|w| w == name(a))).collect())
}

fn can_pin() -> bool {
    find("taskset").is_some() && std::thread::available_parallelism().is_ok_and(|n| n.get() > 1)
}

/// Starts whom it can, and notes why it could not start the others.
fn start_all(
    starter: &Starter<'_>,
    names: &[&'static str],
    mut unable: impl FnMut(&'static str, String),
) -> Vec<Contender> {
    let mut started = Vec::new();
    for name in names {
        match starter.start(name) {
            Ok(contender) => started.push(contender),
            Err(why) => {
                eprintln!("{name}: not measured: {why}");
                unable(name, why);
            }
        }
    }
    started
}

/// All rounds with or without pinning. Contenders take turns, so that a noisy moment hits all of them.
fn measure(
    args: &Args,
    wrk: &Path,
    scratch: &Scratch,
    pinned: bool,
    names: &[&'static str],
    workloads: &[Workload],
    results: &mut Results,
) -> Result<(), String> {
    let (load_cpu, test_cpu) = if pinned { (Some(LOAD_CPU), Some(TEST_CPU)) } else { (None, None) };
    let (backend, _backend_process) = contenders::backend(scratch, load_cpu)?;
    let starter = Starter { scratch, cpu: test_cpu, backend, old: args.old.as_deref() };
    let started = start_all(&starter, names, |name, why| results.not_measured(name, why));
    for contender in &started {
        // Connections, caches and pools shall not be new in the first round of the first ones only.
        load::run(wrk, contender, &WORKLOADS[0], 1, load_cpu)?;
    }
    for round in 0..args.rounds {
        for workload in workloads {
            for contender in &started {
                if contender.name == "nginx-chain" && workload.name != "one" && args.contenders.is_empty() {
                    // The chain is the yardstick for latency and for nothing else.
                    continue;
                }
                let kind = if pinned { "pinned" } else { "unpinned" };
                eprintln!(
                    "{kind}, round {} of {}: {}, {}",
                    round + 1,
                    args.rounds,
                    workload.name,
                    contender.name
                );
                let sample = load::measure(wrk, contender, workload, args.seconds, load_cpu)?;
                results.add(workload.name, contender.name, pinned, round, sample);
            }
        }
    }
    Ok(())
}

/// Counts system calls instead of time; unpinned, because strace changes all times anyway.
fn count(
    args: &Args,
    wrk: &Path,
    scratch: &Scratch,
    names: &[&'static str],
    workloads: &[Workload],
) -> Result<(), String> {
    let strace = find("strace").ok_or("strace not found")?;
    let (backend, _backend_process) = contenders::backend(scratch, None)?;
    let starter = Starter { scratch, cpu: None, backend, old: args.old.as_deref() };
    let started = start_all(&starter, names, |_, _| {});
    println!(
        "| workload | contender | process | calls per request | the most frequent | tunnel writes per request |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for workload in workloads {
        for contender in &started {
            for process in &contender.processes {
                let counted = syscalls::count(&strace, wrk, contender, process, workload, args.seconds)?;
                println!("| {} | {} | {} | {counted} |", workload.name, contender.name, process.name());
            }
        }
    }
    Ok(())
}
