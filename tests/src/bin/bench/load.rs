//! wrk: the workloads, one run, and what it says.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use piko_tests::process::Process;

use crate::bench_file;
use crate::contenders::{Contender, ENDPOINT};

/// One kind of load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    connections: u32,
    path: &'static str,
    close: bool,
    /// What a connection waits before each request, in milliseconds: half as much to one and a half times that, by chance.
    pause_ms: u32,
}

/// All kinds, in the order of the report.
pub(crate) const WORKLOADS: [Workload; 6] = [
    Workload {
        name: "small",
        title: "128 bytes, 64 keep-alive connections",
        connections: 64,
        path: "/small",
        close: false,
        pause_ms: 0,
    },
    Workload {
        name: "one",
        title: "128 bytes, one connection",
        connections: 1,
        path: "/small",
        close: false,
        pause_ms: 0,
    },
    Workload {
        name: "64k",
        title: "64 KiB, 64 keep-alive connections",
        connections: 64,
        path: "/64k",
        close: false,
        pause_ms: 0,
    },
    Workload {
        name: "1m",
        title: "1 MiB, 64 keep-alive connections",
        connections: 64,
        path: "/1m",
        close: false,
        pause_ms: 0,
    },
    // The same rate for everybody, below what any of them can, with clients that have time to sleep.
    Workload {
        name: "1m-paced",
        title: "1 MiB, 64 connections that pause for 150 ms",
        connections: 64,
        path: "/1m",
        close: false,
        pause_ms: 150,
    },
    Workload {
        name: "close",
        title: "128 bytes, a new connection per request, 64 at a time",
        connections: 64,
        path: "/small",
        close: true,
        pause_ms: 0,
    },
];

/// What wrk measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) errors: u64,
}

/// One measurement: the load, and the processor time of each process in microseconds per request.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) load: Load,
    pub(crate) cpu_us: Vec<(String, f64)>,
}

impl Sample {
    /// All processes of the contender together.
    pub(crate) fn cpu_sum(&self) -> f64 {
        self.cpu_us.iter().map(|(_, us)| us).sum()
    }
}

/// Loads one contender and reads its processor time before and after.
pub(crate) fn measure(
    wrk: &Path,
    contender: &Contender,
    workload: &Workload,
    seconds: u64,
    cpu: Option<u32>,
) -> Result<Sample, String> {
    let before = times(contender)?;
    let load = run(wrk, contender, workload, seconds, cpu)?;
    let after = times(contender)?;
    let requests = load.requests.max(1) as f64;
    let cpu_us = after
        .into_iter()
        .zip(before)
        .map(|((role, after), (_, before))| {
            (role, after.saturating_sub(before).as_secs_f64() * 1e6 / requests)
        })
        .collect();
    Ok(Sample { load, cpu_us })
}

fn times(contender: &Contender) -> Result<Vec<(String, Duration)>, String> {
    let of = |p: &Process| p.cpu_time().map(|t| (p.name().to_owned(), t));
    let all: Result<_, _> = contender.processes.iter().map(of).collect();
    all.map_err(|e| format!("processor time of {}: {e}", contender.name))
}

/// One run of wrk.
pub(crate) fn run(
    wrk: &Path,
    contender: &Contender,
    workload: &Workload,
    seconds: u64,
    cpu: Option<u32>,
) -> Result<Load, String> {
    let mut command = pinned(cpu, wrk);
    command.args(["-t", "1", "-c", &workload.connections.to_string(), "-d", &format!("{seconds}s")]);
    command.arg("-s").arg(bench_file("report.lua"));
    // Everybody gets the field that Piko routes by, so that all parse the same bytes.
    command.args(["-H", &format!("x-piko-endpoint: {ENDPOINT}")]);
    if workload.close {
        command.args(["-H", "Connection: close"]);
    }
    let scheme = if contender.tls { "https" } else { "http" };
    command.arg(format!("{scheme}://127.0.0.1:{}{}", contender.port, workload.path));
    if workload.pause_ms > 0 {
        command.args(["--", &workload.pause_ms.to_string()]);
    }
    let mut process = Process::spawn("wrk", &mut command).map_err(|e| format!("wrk: {e}"))?;
    let limit = Duration::from_secs(seconds + 30);
    let line = process.wait_line(0, limit, |l| l.text.starts_with("BENCH "));
    let line = line.map_err(|e| format!("wrk against {}: {e}", contender.name))?;
    process.wait_exit(limit).map_err(|e| format!("wrk: {e}"))?;
    parse(&line.text).ok_or_else(|| format!("wrk said {:?}", line.text))
}

/// A command on one processor, or on any.
pub(crate) fn pinned(cpu: Option<u32>, program: &Path) -> Command {
    let Some(cpu) = cpu else { return Command::new(program) };
    // taskset becomes the program, so the process id stays ours.
    let mut command = Command::new("taskset");
    command.args(["-c", &cpu.to_string()]).arg(program);
    command
}

fn parse(line: &str) -> Option<Load> {
    let numbers: Option<Vec<u64>> =
        line.strip_prefix("BENCH ")?.split_whitespace().map(|n| n.parse().ok()).collect();
    let [requests, duration_us, p50, p99, errors] = numbers?[..] else { return None };
    let per_second = requests as f64 * 1e6 / duration_us.max(1) as f64;
    Some(Load { requests, per_second, p50_us: p50 as f64, p99_us: p99 as f64, errors })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_script_is_read() {
        let load = parse("BENCH 1000 2000000 120 900 3").expect("a legal line");
        let expected = Load { requests: 1000, per_second: 500.0, p50_us: 120.0, p99_us: 900.0, errors: 3 };
        assert_eq!(load, expected);
        assert_eq!(parse("BENCH 1 2 3"), None);
        assert_eq!(parse("Requests/sec: 12"), None);
    }
}
