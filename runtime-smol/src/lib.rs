//! [`Runtime`] on the parts of smol (async-io, async-executor, blocking): small, and without tokio. No
//! protocol.
//!
//! [`block_on`] makes an executor, and runs it together with a future and with the process's reactor on the
//! calling thread. Work that is not tiny belongs into [`Runtime::spawn`]ed tasks: the main future is polled
//! once per turn of the executor, so it should only wait.
//!
//! ```
//! use piko_driver::Runtime;
//! use piko_runtime_smol::Smol;
//!
//! let addresses = piko_runtime_smol::block_on(|rt: Smol| async move { rt.resolve("127.0.0.1", 80).await });
//! assert_eq!(addresses.unwrap().len(), 1);
//! ```
//!
//! One reactor serves the whole process, so a second thread with a `block_on` of its own shares it and gains
//! little. async-io keeps a helper thread for the time when nobody is in `block_on`; it sleeps otherwise.
//!
//! `poll_end_of_turn` requeues the task: the executor's queues are first in, first out, and a task that wakes
//! itself stands behind all that are ready.

mod clock;
mod io;
mod listener;
mod timer;
mod udp;

pub use io::SmolIo;
pub use listener::SmolListener;
pub use timer::SmolTimer;
pub use udp::SmolUdp;

use async_executor::StaticExecutor;
use async_io::Async;
use piko_core::time::Instant;
use piko_driver::{Addr, ListenOptions, Runtime, Stream, Turn};
use std::future::Future;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll};

/// An executor and the process's reactor as the driver sees them. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Smol {
    executor: &'static StaticExecutor,
}

/// Runs `main`, and every task that it spawns, on this thread, and returns what `main` returns.
///
/// Made for the life of a process: each call leaks its executor (some hundred bytes), and tasks that are
/// still there when `main` ends are neither run any further nor dropped. Whoever needs a clean end waits for
/// them.
///
/// # Panics
///
/// When the operating system refuses what the reactor needs at its start (file descriptors, a thread).
pub fn block_on<F: Future>(main: impl FnOnce(Smol) -> F) -> F::Output {
    let executor: &'static StaticExecutor = Box::leak(Box::new(StaticExecutor::new()));
    async_io::block_on(executor.run(async move { main(Smol { executor }).await }))
}

impl Runtime for Smol {
    type Tcp = SmolIo;
    type Listener = SmolListener;
    type Udp = SmolUdp;
    type Timer = SmolTimer;
    /// futures-io is what programs on smol read and write with.
    type Stream = Stream;

    fn now(&self) -> Instant {
        clock::now()
    }

    fn timer(&self) -> SmolTimer {
        SmolTimer::new()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.executor.spawn(task).detach();
    }

    fn poll_end_of_turn(&self, cx: &mut Context<'_>, turn: &mut Turn) -> Poll<()> {
        turn.poll_requeue(cx)
    }

    async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let name = (host.to_owned(), port);
        blocking::unblock(move || Ok(name.to_socket_addrs()?.collect())).await
    }

    async fn connect(&self, to: &Addr) -> std::io::Result<SmolIo> {
        match to {
            Addr::Ip(addr) => SmolIo::dialled(Async::<TcpStream>::connect(*addr).await?),
            Addr::Unix(path) => Ok(SmolIo::unix(Async::<UnixStream>::connect(path).await?)),
        }
    }

    async fn listen(&self, at: &Addr, how: ListenOptions) -> std::io::Result<SmolListener> {
        SmolListener::open(at, how)
    }

    async fn bind_udp(&self, at: SocketAddr) -> std::io::Result<SmolUdp> {
        SmolUdp::bind(at)
    }

    fn detach(io: SmolIo) -> std::io::Result<TcpStream> {
        io.into_std()
    }

    fn adopt(&self, tcp: TcpStream) -> std::io::Result<SmolIo> {
        Ok(SmolIo::tcp(Async::new(tcp)?))
    }
}
