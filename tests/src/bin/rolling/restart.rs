//! Every node and every agent restarts, gracefully, one after the other.

use std::thread;
use std::time::Duration;

use piko_tests::cluster::{Load, Ready};

use crate::lines::{Lines, Way};
use crate::{LOOK, Outcome, Setup, Size, check, text};

/// Agents of one endpoint.
const AGENTS_EACH: u64 = 2;
/// How long an agent may take to end.
const AGENT_END: Duration = Duration::from_secs(20);

/// The clients go to whichever node is ready.
pub(crate) fn direct(size: &Size) -> Outcome {
    let mut setup = Setup::start(size);
    let ready = Ready::watch(setup.cluster.admins(), LOOK);
    let mix = setup.mix(size, &ready);
    let way =
        Way { targets: mix.targets.clone(), ready: mix.ready.clone(), endpoints: mix.endpoints.clone() };
    under_load(size, &mut setup, Load::start(mix), &way, Duration::ZERO)
}

/// Restarts everything while the load goes on, with a `pause` behind each node, and judges it.
pub(crate) fn under_load(size: &Size, setup: &mut Setup, load: Load, way: &Way, pause: Duration) -> Outcome {
    let lines = Lines::start(way, size.lines);
    let part = size.requests / 10;
    load.wait(part);
    let restarted = (0..size.rounds).try_for_each(|_| roll(setup, &load, pause, size.hasty));
    load.wait(size.requests.max(load.done() + part));
    let lines = lines.judge();
    let judged = setup.judge(load);
    restarted.and(judged).and(lines)
}

/// Restarts every node and every agent once.
pub(crate) fn roll(setup: &mut Setup, load: &Load, pause: Duration, hasty: bool) -> Outcome {
    for i in 0..setup.cluster.members.len() {
        let failed = load.failed();
        let took = setup.cluster.members[i].terminate();
        setup.cluster.members[i].start();
        println!(
            "  {:.1} s, {}: ended in {:.1} s and started again; {} failed meanwhile",
            load.start_time().elapsed().as_secs_f64(),
            setup.cluster.members[i].id,
            took.as_secs_f64(),
            load.failed() - failed
        );
        // What operators do: the next one goes when this one serves.
        for endpoint in &setup.endpoints {
            setup.cluster.wait_routable(endpoint);
        }
        // The pause is what is measured: nginx leaves a node alone for that long once it has refused (docs/reliability.md).
        thread::sleep(pause);
    }
    for i in 0..setup.agents.len() {
        let failed = load.failed();
        let agent = &mut setup.agents[i];
        agent.process.signal(piko_tests::process::Signal::Term).map_err(text)?;
        let status = agent.process.wait_exit(AGENT_END).map_err(text)?;
        check(status.success(), || format!("agent {i} ended with {status}"))?;
        let endpoint = agent.endpoint.clone();
        setup.agents[i] = setup.agent(&endpoint);
        // The other agent of this endpoint goes next. A node that has it alone must have heard of this one, which takes
        // some milliseconds from the moment at which the agent is connected; who does not wait for that makes requests wait.
        if !hasty {
            setup.cluster.wait_listeners(&endpoint, AGENTS_EACH);
        }
        println!(
            "  {:.1} s, agent {i}: ended and started again; {} failed meanwhile",
            load.start_time().elapsed().as_secs_f64(),
            load.failed() - failed
        );
    }
    Ok(())
}
