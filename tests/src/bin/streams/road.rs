//! Service, agent, server and forwarder, as users have them.

use std::net::{SocketAddr, TcpStream};

use piko_tests::process::{Agent, Forward, Memory, Process, Server};
use piko_tests::runs::Outcome;
use piko_tests::service::Service;

use crate::relay::{self, Link};
use crate::{GROWTH_BYTES_MAX, PATIENCE, check, mib, service, text};

pub(crate) const ENDPOINT: &str = "streams";

/// Ends before what it goes through, hence the order.
pub(crate) struct Road {
    pub(crate) forward: Forward,
    pub(crate) agent: Agent,
    pub(crate) server: Server,
    _service: Service,
    idle: [Memory; 3],
}

impl Road {
    /// With a `link` between agent and server, or without one.
    pub(crate) fn start(link: Option<Link>) -> Result<Self, String> {
        let service = service::start();
        let server = Server::start(&["--proxy.access-log.disable"]);
        let upstream = match link {
            Some(link) => relay::start(server.upstream, link).map_err(text)?,
            None => server.upstream,
        };
        let (url, addr) = (format!("http://{upstream}"), service.addr().to_string());
        let agent = Agent::tcp(&url, ENDPOINT, &addr, &["--access-log.disable"]);
        let forward = Forward::tcp(server.proxy, ENDPOINT, &[]);
        // One connection, so that what is only allocated once is not counted as growth.
        let mut warm = connect(forward.addr)?;
        service::ask(&mut warm, service::DOWN, 8).map_err(text)?;
        service::receive(&mut warm, 8).map_err(text)?;
        let idle = [memory(&forward.process)?, memory(&server.process)?, memory(&agent.process)?];
        Ok(Self { forward, agent, server, _service: service, idle })
    }

    /// A connection to the service, by way of the forwarder.
    pub(crate) fn connect(&self) -> Result<TcpStream, String> {
        connect(self.forward.addr)
    }

    /// Prints the peaks of the programs and judges their growth over idle.
    pub(crate) fn judge_memory(&self, what: &str) -> Outcome {
        let processes = [&self.forward.process, &self.server.process, &self.agent.process];
        for (process, idle) in processes.into_iter().zip(self.idle) {
            let peak = memory(process)?.rss_peak_bytes;
            let (name, growth) = (process.name(), peak.saturating_sub(idle.rss_bytes));
            println!("  {what}: {name} idle {}, peak {}", mib(idle.rss_bytes), mib(peak));
            check(growth <= GROWTH_BYTES_MAX, || format!("{what}: {name} grew by {}", mib(growth)))?;
        }
        Ok(())
    }
}

/// A connection whose reads and writes fail rather than last for ever.
pub(crate) fn connect(addr: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(addr).map_err(text)?;
    stream.set_nodelay(true).map_err(text)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(text)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(text)?;
    Ok(stream)
}

fn memory(process: &Process) -> Result<Memory, String> {
    process.memory().map_err(|e| format!("{}: {e}", process.name()))
}
