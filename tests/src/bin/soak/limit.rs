//! An agent on a device with 16 MB: many transfers at once in a memory limit.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::http::{End, checksum_of};
use piko_tests::process::{Process, Server, binary, find};
use piko_tests::service::Service;

use crate::{ENDPOINT, FIELDS, NO_LOG, Outcome, check, connect, memory, mib, text};

/// The device's memory for the agent.
const LIMIT_BYTES: u64 = 16_000_000;
/// Address space where control groups are closed to us: the same, and what a program and its libraries map
/// without using it.
const ADDRESS_SPACE_BYTES: u64 = LIMIT_BYTES + (48 << 20);

pub(crate) fn run(quick: bool) -> Outcome {
    let (transfers, n): (usize, u64) = if quick { (16, 1 << 20) } else { (64, 10 << 20) };
    let (service, server) = (Service::start(), Server::start(&NO_LOG));
    let group = Group::new();
    let agent = binary("piko-agent");
    let mut command = match (&group, find("prlimit")) {
        (Some(group), _) => {
            let mut command = Command::new("/bin/sh");
            let script = format!("echo $$ > '{}' && exec \"$@\"", group.dir.join("cgroup.procs").display());
            command.args(["-c", &script, "sh"]).arg(&agent);
            command
        }
        (None, Some(prlimit)) => {
            let mut command = Command::new(prlimit);
            command.arg(format!("--as={ADDRESS_SPACE_BYTES}")).arg(&agent);
            command
        }
        (None, None) => return Err("neither a control group nor prlimit".to_owned()),
    };
    let url = server.connect_url();
    command.args([
        "http",
        ENDPOINT,
        &service.addr().to_string(),
        "--connect.url",
        &url,
        "--access-log.disable",
    ]);
    let mut agent = Process::spawn("piko-agent", &mut command).map_err(text)?;
    agent.wait_record(0, Duration::from_secs(20), "tunnel connected").map_err(text)?;
    let idle = memory(&agent)?.rss_bytes;

    let (sum, start) = (checksum_of(n), Instant::now());
    let outcome = thread::scope(|scope| {
        let server = &server;
        let reading: Vec<_> = (0..transfers)
            .map(|at| {
                scope.spawn(move || {
                    let response = connect(server)?.get(&format!("/bytes?n={n}"), &FIELDS).map_err(text)?;
                    let whole = response.end == End::Complete && response.body.checksum == sum;
                    check(whole, || format!("transfer {at}: {:?}, {} bytes", response.end, response.body.len))
                })
            })
            .collect();
        reading.into_iter().try_for_each(|r| r.join().map_err(|_| "a reader panicked".to_owned())?)
    });
    let took = start.elapsed().as_secs_f64();
    if let Ok(Some(status)) = agent.try_wait() {
        return Err(format!("the agent ended: {status}\n{}", agent.tail()));
    }
    outcome?;
    let kind = if group.is_some() { "control group" } else { "address space" };
    println!("  {transfers} transfers of {} in {took:.1} s; limit: {kind} of {}", mib(n), mib(LIMIT_BYTES));
    let peak = memory(&agent)?.rss_peak_bytes;
    println!("  agent: idle {}, peak {} (RSS)", mib(idle), mib(peak));
    if let Some(used) = group.as_ref().and_then(Group::used_max) {
        println!("  control group: at most {} used", mib(used));
    }
    drop(agent);
    Ok(())
}

/// A memory control group of this run alone.
struct Group {
    dir: PathBuf,
    is_v2: bool,
}

impl Group {
    /// `None` where control groups are closed to this user.
    fn new() -> Option<Self> {
        let name = format!("piko-soak-{}", std::process::id());
        let v1 = PathBuf::from("/sys/fs/cgroup/memory");
        let is_v2 = !v1.is_dir();
        let dir = if is_v2 { PathBuf::from("/sys/fs/cgroup").join(name) } else { v1.join(name) };
        fs::create_dir(&dir).ok()?;
        let group = Self { dir, is_v2 };
        let limit = if is_v2 { "memory.max" } else { "memory.limit_in_bytes" };
        fs::write(group.dir.join(limit), LIMIT_BYTES.to_string()).ok()?;
        Some(group)
    }

    fn used_max(&self) -> Option<u64> {
        let name = if self.is_v2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
        fs::read_to_string(self.dir.join(name)).ok()?.trim().parse().ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Empty once the agent was waited for, which its drop does.
        let _ = fs::remove_dir(&self.dir);
    }
}
