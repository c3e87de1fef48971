//! What the tests share.

use futures::future::join;
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use piko_driver::{Addr, Io, ListenOptions, Listener, Probe, Runtime, Timer};
use std::future::{Future, poll_fn};
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::task::Poll;
use std::time::Duration;

/// Longer than any of these tests takes on a busy machine: a lost wake-up fails instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test on a thread of its own and fails when it hangs.
pub(crate) fn within_patience(test: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let _done = done;
        test();
    });
    match finished.recv_timeout(PATIENCE) {
        Err(RecvTimeoutError::Timeout) => panic!("hangs"),
        _ => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

pub(crate) async fn listen<R: Runtime>(rt: &R) -> (R::Listener, Addr) {
    let any = Addr::Ip((Ipv4Addr::LOCALHOST, 0).into());
    let listener = rt.listen(&any, ListenOptions::default()).await.expect("listens");
    let at = Addr::Ip(listener.local_addr().expect("TCP has an address"));
    (listener, at)
}

pub(crate) async fn accept<L: Listener>(listener: &mut L) -> io::Result<L::Io> {
    poll_fn(|cx| listener.poll_accept(cx)).await
}

/// A client and its server, connected.
pub(crate) async fn pair<R: Runtime>(rt: &R) -> (R::Tcp, R::Tcp) {
    let (mut listener, at) = listen(rt).await;
    let (client, server) = join(rt.connect(&at), accept(&mut listener)).await;
    (client.expect("connects"), server.expect("accepts"))
}

pub(crate) async fn sleep<R: Runtime>(rt: &R, span: Duration) {
    let (mut timer, at) = (rt.timer(), rt.now() + span);
    while rt.now() < at {
        poll_fn(|cx| timer.poll_until(cx, Some(at))).await;
    }
}

/// Waits until the other end's doing has arrived here.
pub(crate) async fn turns_spoilt<R: Runtime>(rt: &R, io: &mut R::Tcp) {
    for _ in 0..1000 {
        if io.probe() == Probe::Spoilt {
            return;
        }
        sleep(rt, Duration::from_millis(1)).await;
    }
    panic!("the connection stays quiet");
}

pub(crate) async fn read_exactly(io: &mut (impl AsyncRead + AsyncWrite + Unpin), len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    io.read_exact(&mut bytes).await.expect("reads");
    bytes
}

/// What the future says at once, `None` when it would wait.
pub(crate) async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        Poll::Ready(match Pin::as_mut(&mut future).poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// Bytes in which no two regions are alike (xorshift).
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// FNV-1a: depends on the order of the bytes.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// How many connections, both ends in this process, the limit on descriptors lets two suites have at once.
pub(crate) fn connections_allowed(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    let Some(Ok(limit)) = limit.map(str::parse::<usize>) else { return wanted };
    wanted.min(limit.saturating_sub(128) / 4)
}

/// A directory of this test alone, removed at the end.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("piko-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
