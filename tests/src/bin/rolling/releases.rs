//! Two releases side by side: from the other one to this, one process after the other, and back.

use std::time::Duration;

use piko_tests::cluster::{Load, Ready};
use piko_tests::process::{binaries_in, binary};

use crate::lines::{Lines, Way};
use crate::restart::roll;
use crate::{LOOK, Outcome, Setup, Size};

/// Clients go to whichever node is ready; between the first restart and the last one nodes and agents of both releases
/// serve together, in every pairing that comes about.
pub(crate) fn releases(size: &Size) -> Outcome {
    let programs = size.previous.as_deref().and_then(binaries_in);
    let (server, agent) = programs.ok_or("--previous names no directory with piko-server and piko-agent")?;
    let mut setup = Setup::start_of(size, &server, &agent);
    let ready = Ready::watch(setup.cluster.admins(), LOOK);
    let mix = setup.mix(size, &ready);
    let way =
        Way { targets: mix.targets.clone(), ready: mix.ready.clone(), endpoints: mix.endpoints.clone() };
    let load = Load::start(mix);
    let lines = Lines::start(&way, size.lines);
    let part = size.requests / 10;
    load.wait(part);
    let mut rolled = Ok(());
    for (to, server, agent) in
        [("this release", binary("piko-server"), binary("piko-agent")), ("the other one", server, agent)]
    {
        println!("  {:.1} s: on to {to}", load.start_time().elapsed().as_secs_f64());
        for member in &mut setup.cluster.members {
            member.set_program(server.clone());
        }
        setup.agent = agent;
        rolled = rolled.and_then(|()| roll(&mut setup, &load, Duration::ZERO, size.hasty));
        load.wait(load.done() + part);
    }
    load.wait(size.requests);
    let lines = lines.judge();
    let judged = setup.judge(load);
    rolled.and(judged).and(lines)
}
