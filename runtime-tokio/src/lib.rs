//! [`Runtime`] on tokio: sockets, time and tasks for the driver. No protocol.
//!
//! [`block_on`] starts a single-threaded tokio runtime on the calling thread and runs a future on it. More
//! threads means more of them: call `block_on` on each, and give each its own listener
//! ([`ListenOptions::reuse_port`]). Work that is not tiny belongs into [`Runtime::spawn`]ed tasks; the main
//! future only waits for their end.
//!
//! ```
//! use piko_driver::Runtime;
//! use piko_runtime_tokio::Tokio;
//!
//! let addresses = piko_runtime_tokio::block_on(|rt: Tokio| async move { rt.resolve("127.0.0.1", 80).await });
//! assert_eq!(addresses.unwrap().len(), 1);
//! ```
//!
//! A program that already runs tokio makes a [`Tokio`] from its [`Handle`], of any flavour. A
//! multi-threaded one costs 20 to 45 % more CPU per request (performance guide 3.2). The handle's runtime
//! needs its IO and its time driver; futures of this crate must be polled on it.
//!
//! `poll_end_of_turn` requeues the task: tokio's single-threaded scheduler is first in, first out, and puts
//! a task that wakes itself behind all that are ready.

mod clock;
mod io;
mod listener;
#[cfg(windows)]
mod no_unix;
mod stream;
mod timer;
mod udp;

pub use io::TokioIo;
pub use listener::TokioListener;
pub use stream::Stream;
pub use timer::TokioTimer;
pub use udp::TokioUdp;

#[cfg(windows)]
use no_unix::{UnixListener, UnixStream};
use piko_core::time::Instant;
use piko_driver::{Addr, Io, ListenOptions, Runtime, Turn};
use std::future::Future;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Builder, Handle, RuntimeFlavor};

/// A tokio runtime as the driver sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tokio {
    handle: Handle,
}

impl From<Handle> for Tokio {
    fn from(handle: Handle) -> Self {
        Self { handle }
    }
}

impl Tokio {
    /// The runtime that the calling task runs on.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn current() -> Self {
        Self { handle: Handle::current() }
    }
}

/// Starts a single-threaded runtime on this thread, runs `main` on it and returns what it returns.
///
/// Tasks that are still there when `main` ends are dropped; a name lookup that hangs is not waited for.
///
/// # Panics
///
/// When the operating system refuses what a runtime needs at its start (file descriptors), and when called
/// from within an asynchronous task.
pub fn block_on<F: Future>(main: impl FnOnce(Tokio) -> F) -> F::Output {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the operating system gives a fresh runtime its descriptors");
    let rt = Tokio::from(runtime.handle().clone());
    let output = runtime.block_on(async move { main(rt).await });
    runtime.shutdown_background();
    output
}

impl Runtime for Tokio {
    type Tcp = TokioIo;
    type Listener = TokioListener;
    type Udp = TokioUdp;
    type Timer = TokioTimer;
    type Stream = Stream;
    type Wrapped<I: Io> = Stream<I>;

    fn now(&self) -> Instant {
        clock::now()
    }

    fn timer(&self) -> TokioTimer {
        TokioTimer::new(self.handle.clone())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(task));
    }

    fn poll_end_of_turn(&self, cx: &mut Context<'_>, turn: &mut Turn) -> Poll<()> {
        turn.poll_requeue(cx)
    }

    fn wakes_in_order(&self) -> bool {
        // Threads that share their tasks run the one that was woken last first.
        self.handle.runtime_flavor() == RuntimeFlavor::CurrentThread
    }

    async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }

    async fn connect(&self, to: &Addr) -> std::io::Result<TokioIo> {
        match to {
            Addr::Ip(addr) => TokioIo::dialled(TcpStream::connect(addr).await?),
            Addr::Unix(path) => Ok(TokioIo::unix(UnixStream::connect(path).await?)),
        }
    }

    async fn listen(&self, at: &Addr, how: ListenOptions) -> std::io::Result<TokioListener> {
        let _on_this_runtime = self.handle.enter();
        TokioListener::open(at, how)
    }

    async fn bind_udp(&self, at: SocketAddr) -> std::io::Result<TokioUdp> {
        let _on_this_runtime = self.handle.enter();
        TokioUdp::bind(at)
    }

    fn detach(io: TokioIo) -> std::io::Result<std::net::TcpStream> {
        io.into_std()
    }

    fn adopt(&self, tcp: std::net::TcpStream) -> std::io::Result<TokioIo> {
        let _on_this_runtime = self.handle.enter();
        tcp.set_nonblocking(true)?;
        Ok(TokioIo::tcp(TcpStream::from_std(tcp)?))
    }
}
