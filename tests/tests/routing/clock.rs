//! A runtime whose clock a test moves on: what takes a minute of silence takes a moment.

use piko_core::time::Instant;
use piko_driver::{Addr, Io, ListenOptions, Runtime, Timer, Turn};
use piko_runtime_tokio::{Stream, Tokio, TokioIo, TokioListener, TokioTimer, TokioUdp};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

/// How soon a timer sees that the clock was moved.
const LOOK: Duration = Duration::from_millis(1);

/// How far a clock is ahead of the real one, which it never falls behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ahead(Arc<AtomicU64>);

impl Ahead {
    /// Moves the clock on. Whoever is asked something behind this has seen what its timers have to say.
    pub(crate) fn pass(&self, span: Duration) {
        self.0.fetch_add(span.as_nanos() as u64, Ordering::SeqCst);
        // Timers look every now and then, and tokio rounds up to the next millisecond.
        thread::sleep(LOOK * 3);
    }

    fn span(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

/// Tokio with such a clock.
#[derive(Clone)]
pub(crate) struct Moved {
    pub(crate) real: Tokio,
    pub(crate) ahead: Ahead,
}

pub(crate) struct MovedTimer {
    rt: Moved,
    real: TokioTimer,
}

impl Timer for MovedTimer {
    fn poll_until(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at else { return Poll::Pending };
        loop {
            let left = at.since(self.rt.now());
            if left.is_zero() {
                return Poll::Ready(());
            }
            // Whoever moves the clock wakes nobody.
            let look = self.rt.real.now() + left.min(LOOK);
            ready!(self.real.poll_until(cx, Some(look)));
        }
    }
}

impl Runtime for Moved {
    type Tcp = TokioIo;
    type Listener = TokioListener;
    type Udp = TokioUdp;
    type Timer = MovedTimer;
    type Stream = Stream;
    type Wrapped<I: Io> = Stream<I>;

    fn now(&self) -> Instant {
        self.real.now() + self.ahead.span()
    }

    fn timer(&self) -> MovedTimer {
        MovedTimer { rt: self.clone(), real: self.real.timer() }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.real.spawn(task);
    }

    fn poll_end_of_turn(&self, cx: &mut Context<'_>, turn: &mut Turn) -> Poll<()> {
        self.real.poll_end_of_turn(cx, turn)
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.real.resolve(host, port).await
    }

    async fn connect(&self, to: &Addr) -> io::Result<TokioIo> {
        self.real.connect(to).await
    }

    async fn listen(&self, at: &Addr, how: ListenOptions) -> io::Result<TokioListener> {
        self.real.listen(at, how).await
    }

    async fn bind_udp(&self, at: SocketAddr) -> io::Result<TokioUdp> {
        self.real.bind_udp(at).await
    }

    fn detach(io: TokioIo) -> io::Result<std::net::TcpStream> {
        Tokio::detach(io)
    }

    fn adopt(&self, tcp: std::net::TcpStream) -> io::Result<TokioIo> {
        self.real.adopt(tcp)
    }
}
