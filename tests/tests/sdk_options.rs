//! What a program can tell the SDK, on both runtimes: servers, tokens, proxies, pauses, a service to forward to; and the
//! promises of the Go SDK that ours keeps (behaviour reference, agent and SDK, 5).

#[path = "sdk_options/forwarder.rs"]
mod forwarder;
#[path = "sdk_options/names.rs"]
mod names;
#[path = "sdk_options/reaching.rs"]
mod reaching;
#[path = "sdk_options/table.rs"]
mod table;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use piko_client::{Event, Listener, Runtime, Upstream};
use piko_driver::{Shutdown, timeout_at};
use std::future::{Future, poll_fn};
use std::thread;
use std::time::Duration;

/// How long anything that happens at once may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Runs `test` on a thread of its own with tokio, and then on another with smol.
macro_rules! on_both {
    ($($case:ident)*) => {
        mod tokio {
            $(#[test] fn $case() { crate::on_tokio(super::$case); })*
        }
        mod smol {
            $(#[test] fn $case() { crate::on_smol(super::$case); })*
        }
    };
}
pub(crate) use on_both;

fn on_tokio<F: Future<Output = ()>>(test: impl FnOnce(piko_client::tokio::Tokio) -> F) {
    piko_client::tokio::block_on(test);
}

fn on_smol<F: Future<Output = ()>>(test: impl FnOnce(piko_client::smol::Smol) -> F) {
    piko_client::smol::block_on(test);
}

/// Runs blocking work beside the runtime and waits for what it gives.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = Shutdown::new();
    let told = done.clone();
    let worker = thread::spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        told.trigger();
        result
    });
    done.wait().await;
    worker.join().expect("it catches").expect("no panic beside the runtime")
}

/// Takes every stream of a listener, and keeps it: nobody is connected with a program that takes none.
fn take_all<R: Runtime>(rt: &R, listener: Listener<R>) {
    rt.spawn(async move {
        let mut kept = Vec::new();
        while let Ok(stream) = poll_fn(|cx| listener.poll_accept(cx)).await {
            kept.push(stream);
        }
    });
}

/// What happened, one line each.
struct Events<R> {
    rt: R,
    lines: UnboundedReceiver<String>,
}

impl<R: Runtime> Events<R> {
    /// Has `upstream` tell its events.
    fn of(rt: &R, upstream: Upstream<R>) -> (Upstream<R>, Self) {
        let (send, lines) = unbounded();
        let upstream = upstream.on_event(move |event| {
            let line = match event {
                Event::Connecting { url, .. } => format!("connecting {url}"),
                Event::Connected { url, .. } => format!("connected {url}"),
                Event::Failed { url, error, wait, .. } => {
                    let next = match wait {
                        None => "no further",
                        Some(Duration::ZERO) => "next",
                        Some(_) => "waits",
                    };
                    format!("failed {url} {error}; {next}")
                }
                Event::Lost { .. } => "lost".to_owned(),
                Event::Ended { error: Some(error), .. } => format!("ended {error}"),
                Event::Ended { error: None, .. } => "ended".to_owned(),
                _ => "something else".to_owned(),
            };
            // The test may be over.
            let _ = send.unbounded_send(line);
        });
        (upstream, Self { rt: rt.clone(), lines })
    }

    async fn next(&mut self) -> String {
        let next = timeout_at(&self.rt, Some(self.rt.now() + SOON), self.lines.next()).await;
        next.expect("an event in time").expect("a listener that lives")
    }

    /// Those up to the first that begins like this.
    async fn until(&mut self, wanted: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.starts_with(wanted)) {
            lines.push(self.next().await);
        }
        lines
    }
}
