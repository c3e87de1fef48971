//! System calls per request, counted by strace.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use piko_tests::process::{Process, Signal, socket_fds, tree};

use crate::contenders::Contender;
use crate::load::{self, Workload};

/// How many kinds of calls the report names.
const SHOWN: usize = 5;
/// How long strace may take to attach or to write its summary.
const PATIENCE: Duration = Duration::from_secs(10);
/// The calls that can write to a socket.
const WRITES: [&str; 5] = ["write", "writev", "sendto", "sendmsg", "sendmmsg"];

/// What one process did per request.
#[derive(Debug)]
pub(crate) struct Counted {
    calls: f64,
    kinds: Vec<(String, f64)>,
    tunnel_writes: Option<f64>,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} | ", self.calls)?;
        for (i, (name, n)) in self.kinds.iter().take(SHOWN).enumerate() {
            write!(f, "{}{name} {n:.2}", if i == 0 { "" } else { ", " })?;
        }
        match self.tunnel_writes {
            Some(n) => write!(f, " | {n:.3}"),
            None => write!(f, " | -"),
        }
    }
}

/// Two runs of the load: one for the summary of all calls, one that looks at the tunnel's sockets.
pub(crate) fn count(
    strace: &Path,
    wrk: &Path,
    contender: &Contender,
    process: &Process,
    workload: &Workload,
    seconds: u64,
) -> Result<Counted, String> {
    let out = std::env::temp_dir().join(format!("piko-bench-strace-{}", std::process::id()));
    let traced = |more: &[&str]| -> Result<(u64, String), String> {
        let tracer = attach(strace, process, &out, more)?;
        let load = load::run(wrk, contender, workload, seconds, None)?;
        detach(tracer)?;
        let text = fs::read_to_string(&out).map_err(|e| format!("{}: {e}", out.display()));
        let _ = fs::remove_file(&out);
        Ok((load.requests.max(1), text?))
    };
    let (requests, table) = traced(&["-c"])?;
    let mut kinds: Vec<(String, f64)> =
        summary(&table).into_iter().map(|(name, n)| (name, n as f64 / requests as f64)).collect();
    kinds.sort_by(|a, b| b.1.total_cmp(&a.1));
    let calls = kinds.iter().map(|(_, n)| n).sum();
    let tunnel_writes = match contender.tunnel {
        Some(port) => {
            let fds = socket_fds(process.pid(), port).map_err(|e| format!("sockets: {e}"))?;
            let filter = format!("trace={}", WRITES.join(","));
            let (requests, trace) = traced(&["-e", &filter, "-s", "0"])?;
            Some(writes_to(&trace, &fds) as f64 / requests as f64)
        }
        None => None,
    };
    Ok(Counted { calls, kinds, tunnel_writes })
}

/// Attaches strace to a process and its descendants, and waits until it says so.
fn attach(strace: &Path, process: &Process, out: &Path, more: &[&str]) -> Result<Process, String> {
    let mut command = Command::new(strace);
    command.args(["-f", "-o"]).arg(out).args(more);
    let pids = tree(process.pid());
    for pid in &pids {
        command.args(["-p", &pid.to_string()]);
    }
    let tracer = Process::spawn("strace", &mut command).map_err(|e| format!("strace: {e}"))?;
    let attached = tracer.wait_line(0, PATIENCE, |l| l.text.contains("attached"));
    attached.map_err(|e| format!("strace does not attach: {e}"))?;
    // It says so once per process; the rest follows within moments.
    thread::sleep(Duration::from_millis(100));
    Ok(tracer)
}

/// Interrupts strace, which then lets the process go and writes its summary.
fn detach(mut tracer: Process) -> Result<(), String> {
    tracer.signal(Signal::Int).map_err(|e| format!("strace: {e}"))?;
    tracer.wait_exit(PATIENCE).map_err(|e| format!("strace: {e}"))?;
    Ok(())
}

/// Calls per kind from the table of `strace -c`: share, seconds, microseconds per call, calls, perhaps
/// errors, name.
fn summary(table: &str) -> BTreeMap<String, u64> {
    let row = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let name = *columns.last()?;
        columns.first()?.parse::<f64>().ok()?;
        let calls = columns.get(3)?.parse::<u64>().ok()?;
        (matches!(columns.len(), 5 | 6) && name != "total").then(|| (name.to_owned(), calls))
    };
    table.lines().filter_map(row).collect()
}

/// Calls in a trace whose first argument is one of `fds`.
fn writes_to(trace: &str, fds: &[u32]) -> usize {
    let hit = |line: &&str| {
        // "1234  sendto(17, ..." or, without -f, "sendto(17, ..."; resumed calls were counted at their start.
        let Some((before, after)) = line.split_once('(') else { return false };
        let call = before.rsplit(' ').next().unwrap_or_default();
        let digits = after.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        WRITES.contains(&call) && digits.parse::<u32>().is_ok_and(|fd| fds.contains(&fd))
    };
    trace.lines().filter(hit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 85.71    0.000054          54       100           sendto
 14.29    0.000009           4        20         3 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.000063          21       120         3 total
";
        let expected = [("recvfrom".to_owned(), 20), ("sendto".to_owned(), 100)];
        assert_eq!(summary(table), expected.into());
    }

    #[test]
    fn writes_are_told_apart_by_their_socket() {
        let trace = "\
12  sendto(7, \"\"..., 512, MSG_NOSIGNAL, NULL, 0) = 512
12  sendto(17, \"\"..., 512, MSG_NOSIGNAL, NULL, 0 <unfinished ...>
13  writev(7, [{iov_base=\"\"..., iov_len=3}], 1) = 3
12  <... sendto resumed>) = 512
12  recvfrom(7, \"\"..., 10, 0, NULL, NULL) = 10
--- SIGCHLD (7) ---
";
        assert_eq!(writes_to(trace, &[7]), 2);
        assert_eq!(writes_to(trace, &[17]), 1);
        assert_eq!(writes_to(trace, &[1]), 0);
    }
}
