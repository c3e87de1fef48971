//! An agent whose tunnels are cut again and again.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::cluster::{Balancer, Cluster, Ledger, routes};
use piko_tests::process::Process;
use piko_tests::rig::agent_of;

use crate::{Outcome, check, text};

/// What half of the reconnects may add to the memory of a program, and a whole run to its descriptors: nothing.
const GROWTH_BYTES_MAX: u64 = 256 * 1024;
/// Tunnels of the agent, all of which are cut at once. Many, since each of them takes its time to come back when it
/// was cut again and again.
const TUNNELS: usize = 100;
/// Cuts after which everything that is allocated once is there.
const WARM: usize = 2;
/// A node has one tunnel more or less each time, and with each of the two others a link and a kept connection in either
/// direction, or not. A leak shows with every reconnect, of which there are hundreds.
const SLACK: usize = 9;
/// How long until the descriptors of ended connections are given back.
const SETTLE: Duration = Duration::from_secs(10);

pub(crate) fn run(quick: bool) -> Outcome {
    let cuts = if quick { 4 } else { 11 };
    let ledger = Ledger::start();
    let cluster = Cluster::start(3, &["--proxy.access-log.disable", "--drain-delay", "0s"]);
    let balancer = Balancer::start(cluster.upstreams());
    let endpoints: Vec<String> = (0..TUNNELS).map(|i| format!("cut-{i}/{}", ledger.addr())).collect();
    let agent = agent_of(&balancer.url(), &endpoints);
    let mut from = agent.mark();
    cluster.wait_routable("cut-0");
    let programs: Vec<&Process> = cluster
        .members
        .iter()
        .filter_map(|member| member.server.as_ref().map(|server| &server.process))
        .chain([&agent])
        .collect();
    let mut before = Vec::new();
    let mut threads_before = Vec::new();
    let mut half = Vec::new();
    for turn in 0..cuts {
        // What is allocated once is there after some turns on each node.
        if turn == WARM {
            before = programs.iter().map(|program| descriptors(program)).collect::<Result<_, _>>()?;
            threads_before = programs.iter().map(|program| threads(program)).collect::<Result<_, _>>()?;
        }
        if turn == cuts / 2 {
            half = resident(&programs)?;
        }
        balancer.cut();
        for _ in 0..TUNNELS {
            let line = agent.wait_line(from, PATIENCE, |line| line.is_record("tunnel connected"));
            from = line.map_err(|e| format!("turn {turn}: {e}"))?.index + 1;
        }
        let deadline = Instant::now() + PATIENCE;
        while !cluster.proxies().iter().all(|proxy| routes(*proxy, "cut-0")) {
            check(Instant::now() < deadline, || format!("turn {turn}: not routable"))?;
            // Whether a node routes shows in its answers only.
            thread::sleep(Duration::from_millis(2));
        }
    }
    let last = resident(&programs)?;
    for (i, program) in programs.iter().enumerate() {
        let growth = last[i].saturating_sub(half[i]);
        let deadline = Instant::now() + SETTLE;
        while (descriptors(program)?.abs_diff(before[i]) > SLACK || threads(program)? > threads_before[i])
            && Instant::now() < deadline
        {
            // Both are counted in /proc, which tells nobody of a change.
            thread::sleep(Duration::from_millis(20));
        }
        let now = descriptors(program)?;
        let tasks = threads(program)?;
        println!(
            "  {} after {} reconnects: {now} descriptors ({} before), {tasks} threads ({} before), {} KiB resident, \
             {} KiB more than halfway",
            program.name(),
            cuts * TUNNELS,
            before[i],
            threads_before[i],
            last[i] / 1024,
            growth / 1024
        );
        check(now.abs_diff(before[i]) <= SLACK, || format!("{now} descriptors, {} before", before[i]))?;
        check(tasks <= threads_before[i], || format!("{tasks} threads, {} before", threads_before[i]))?;
        check(quick || growth <= GROWTH_BYTES_MAX, || format!("{} grew by {growth} bytes", program.name()))?;
    }
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(20);

fn descriptors(program: &Process) -> Result<usize, String> {
    fs::read_dir(format!("/proc/{}/fd", program.pid())).map(Iterator::count).map_err(text)
}

/// What the kernel schedules. The tasks of a runtime are memory, which is looked at too.
fn threads(program: &Process) -> Result<usize, String> {
    fs::read_dir(format!("/proc/{}/task", program.pid())).map(Iterator::count).map_err(text)
}

fn resident(programs: &[&Process]) -> Result<Vec<u64>, String> {
    programs.iter().map(|program| program.memory().map(|memory| memory.rss_bytes).map_err(text)).collect()
}
