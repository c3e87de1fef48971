//! Ten thousand endpoints that nobody asks for.

use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

use piko_client::Upstream;
use piko_client::tokio::Tokio;
use piko_driver::Shutdown;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many.
pub(crate) const ENDPOINTS: usize = 10_000;
/// Tunnels that are opened at once.
const AT_ONCE: usize = 200;

/// Listeners on [`ENDPOINTS`] endpoints, from a thread of this process, until it is dropped.
#[derive(Debug)]
pub(crate) struct Crowd {
    stop: Shutdown,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Returns once all are registered.
    pub(crate) fn register(url: &str) -> Result<Self, String> {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).map_err(|e| format!("files: {e}"))?;
        let stop = Shutdown::new();
        let (stopped, url) = (stop.clone(), url.to_owned());
        let (said, heard) = channel();
        let thread = thread::spawn(move || {
            piko_client::tokio::block_on(|rt: Tokio| async move {
                let listeners = listen(rt, &url).await;
                let failed = listeners.as_ref().err().cloned();
                // The receiver waits, or has gone together with whoever wanted this.
                let _ = said.send(failed);
                if listeners.is_ok() {
                    stopped.wait().await;
                }
            });
        });
        let crowd = Self { stop, thread: Some(thread) };
        match heard.recv() {
            Ok(None) => Ok(crowd),
            Ok(Some(error)) => Err(error),
            Err(_) => Err("the crowd's thread ended".to_owned()),
        }
    }
}

async fn listen(rt: Tokio, url: &str) -> Result<Vec<piko_client::Listener<Tokio>>, String> {
    let upstream = Upstream::new(rt, url).map_err(|e| e.to_string())?;
    let mut listeners = Vec::with_capacity(ENDPOINTS);
    for first in (0..ENDPOINTS).step_by(AT_ONCE) {
        let batch = first..ENDPOINTS.min(first + AT_ONCE);
        let names: Vec<_> = batch.map(|i| format!("crowd-{i}")).collect();
        let opened = futures::future::join_all(names.iter().map(|name| upstream.listen(name))).await;
        for listener in opened {
            listeners.push(listener.map_err(|e| e.to_string())?);
        }
    }
    Ok(listeners)
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.trigger();
        if let Some(thread) = self.thread.take() {
            // It has panicked, which was said on its way.
            let _ = thread.join();
        }
    }
}
