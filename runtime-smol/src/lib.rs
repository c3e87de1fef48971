//! [`Runtime`] on parts of smol (async-task, blocking) and a small executor and reactor over mio: small, and without
//! tokio. No protocol.
//!
//! [`block_on`] makes an executor and a reactor, and runs them together with a future on the calling thread.
//! Work that is not tiny belongs into [`Runtime::spawn`]ed tasks: the main future is polled at most once per
//! turn of the executor, so it should only wait.
//!
//! ```
//! use piko_driver::Runtime;
//! use piko_runtime_smol::Smol;
//!
//! let addresses = piko_runtime_smol::block_on(|rt: Smol| async move { rt.resolve("127.0.0.1", 80).await });
//! assert_eq!(addresses.unwrap().len(), 1);
//! ```
//!
//! Each thread with a `block_on` has a reactor of its own. There is no other thread, apart from those that
//! `blocking` starts to resolve names and ends a while after, and a thread that has nothing to do sleeps until
//! it has. Sockets and timers of one `block_on` may be used from other threads; each use of them that makes
//! the sleeping thread do something costs a system call.
//!
//! `poll_end_of_turn` requeues the task: the executor's queue is first in, first out, and a task that wakes
//! itself stands behind all that are ready.
//!
//! For Unix: the reactor announces bare descriptors, which Windows has no notion of. There this crate is empty.
#![cfg(unix)]

mod alarms;
mod clock;
mod executor;
mod io;
mod listener;
mod reactor;
mod timer;
mod udp;

pub use io::SmolIo;
pub use listener::SmolListener;
pub use timer::SmolTimer;
pub use udp::SmolUdp;

use crate::executor::{Executor, Runner};
use crate::reactor::{Reactor, Sleeper, Source};
use piko_core::time::Instant;
use piko_driver::{Addr, Io, ListenOptions, Runtime, Stream, Turn};
use std::future::Future;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// How many tasks run at most before sockets and timers are looked at.
const TASKS_PER_TURN: usize = 256;

/// An executor and its reactor as the driver sees them. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Smol {
    executor: &'static Executor,
    reactor: &'static Reactor,
}

impl Smol {
    /// A Unix socket that somebody else has made, such as one end of a pair.
    pub fn adopt_unix(&self, unix: UnixStream) -> std::io::Result<SmolIo> {
        unix.set_nonblocking(true)?;
        Ok(SmolIo::unix(Source::new(self.reactor, unix)?))
    }
}

/// Runs `main`, and every task that it spawns, on this thread, and returns what `main` returns.
///
/// Made for the life of a process: each call leaks its executor and reactor (some hundred bytes, no file
/// descriptors), and tasks that are still there when `main` ends are neither run any further nor dropped.
/// Whoever needs a clean end waits for them.
///
/// # Panics
///
/// When the operating system refuses what the reactor needs at its start (file descriptors).
pub fn block_on<F: Future>(main: impl FnOnce(Smol) -> F) -> F::Output {
    let mut turns = Turns::new();
    let caller = Arc::new(Caller { reactor: turns.rt.reactor, called: AtomicBool::new(true) });
    let waker = Waker::from(caller.clone());
    let mut cx = Context::from_waker(&waker);
    let mut main = pin!(main(turns.rt));
    loop {
        turns.rt.reactor.begin_turn();
        if caller.called.swap(false, Ordering::AcqRel) {
            if let Poll::Ready(value) = main.as_mut().poll(&mut cx) {
                return value;
            }
        }
        turns.take();
    }
}

/// The part of [`block_on`] that is the same for every future.
struct Turns {
    rt: Smol,
    runner: Runner,
    sleeper: Sleeper,
}

impl Turns {
    fn new() -> Self {
        let (reactor, sleeper) = Reactor::open().expect("the operating system gives a reactor");
        let reactor: &'static Reactor = Box::leak(Box::new(reactor));
        let executor: &'static Executor = Box::leak(Box::new(Executor::new(reactor)));
        Self { rt: Smol { executor, reactor }, runner: Runner::new(executor), sleeper }
    }

    /// Runs the tasks that are ready, then looks after sockets and timers. Sleeps when there is nothing to
    /// do.
    fn take(&mut self) {
        let Smol { executor, reactor } = self.rt;
        let nothing_left = self.runner.run(TASKS_PER_TURN);
        // The order counts: first the thread is said to sleep, then it looks once more.
        let sleeps = nothing_left && reactor.fall_asleep() && executor.is_idle();
        self.sleeper.turn(reactor, sleeps);
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.rt.reactor.close();
    }
}

/// Wakes the thread of a `block_on`.
struct Caller {
    reactor: &'static Reactor,
    called: AtomicBool,
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.called.store(true, Ordering::Release);
        self.reactor.call();
    }
}

impl Runtime for Smol {
    type Tcp = SmolIo;
    type Listener = SmolListener;
    type Udp = SmolUdp;
    type Timer = SmolTimer;
    /// futures-io is what programs on smol read and write with.
    type Stream = Stream;
    type Wrapped<I: Io> = I;

    fn now(&self) -> Instant {
        clock::now()
    }

    fn timer(&self) -> SmolTimer {
        SmolTimer::new(self.reactor)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Boxed, so that the executor's code exists once and not once per kind of task: 25 KiB of a small agent. It boxes
        // large tasks in any case.
        self.executor.spawn(Box::pin(task));
    }

    fn poll_end_of_turn(&self, cx: &mut Context<'_>, turn: &mut Turn) -> Poll<()> {
        turn.poll_requeue(cx)
    }

    fn wakes_in_order(&self) -> bool {
        true
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
            Addr::Ip(addr) => SmolIo::dial(self.reactor, *addr).await,
            Addr::Unix(path) => SmolIo::dial_unix(self.reactor, path),
        }
    }

    async fn listen(&self, at: &Addr, how: ListenOptions) -> std::io::Result<SmolListener> {
        SmolListener::open(self.reactor, at, how)
    }

    async fn bind_udp(&self, at: SocketAddr) -> std::io::Result<SmolUdp> {
        SmolUdp::bind(self.reactor, at)
    }

    fn detach(io: SmolIo) -> std::io::Result<TcpStream> {
        io.into_std()
    }

    fn adopt(&self, tcp: TcpStream) -> std::io::Result<SmolIo> {
        tcp.set_nonblocking(true)?;
        Ok(SmolIo::tcp(Source::new(self.reactor, tcp)?))
    }
}
