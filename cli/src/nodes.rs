//! Server nodes inside this process, each on a thread and a runtime of its own, so that one can be killed: what its
//! runtime held is gone at once, sockets included, as if a process had died.

use piko_config::ServerOptions;
use piko_driver::Shutdown;
use piko_server::{Bound, Server};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// A node that runs.
#[derive(Debug)]
pub(crate) struct LocalNode {
    /// Its name.
    pub(crate) id: String,
    /// Where it listens.
    pub(crate) bound: Bound,
    stop: Shutdown,
    kill: Shutdown,
    ended: Shutdown,
    thread: Option<JoinHandle<()>>,
}

/// Kills a node, from anywhere. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Killer(Shutdown);

impl Killer {
    /// Ends the node without a word to anybody.
    pub(crate) fn kill(&self) {
        self.0.trigger();
    }
}

impl LocalNode {
    /// Starts a node and waits until its ports are open.
    ///
    /// # Errors
    ///
    /// Why they are not.
    pub(crate) fn start(options: ServerOptions) -> Result<Self, String> {
        let (stop, kill, ended) = (Shutdown::new(), Shutdown::new(), Shutdown::new());
        let (said, heard) = mpsc::channel();
        let signals = (stop.clone(), kill.clone(), ended.clone());
        let thread = thread::Builder::new().name("node".to_owned()).spawn(move || {
            let (stop, kill, ended) = signals;
            piko_runtime_tokio::block_on(|rt| async move {
                let server = match Server::bind(rt, options).await {
                    Ok(server) => server,
                    Err(error) => {
                        let _ = said.send(Err(error.to_string()));
                        return;
                    }
                };
                let _ = said.send(Ok((server.id().to_owned(), server.bound())));
                tokio::select! {
                    ended = server.run(stop) => if let Err(error) = ended {
                        tracing::error!(target: "main", %error, "failed to run server");
                    },
                    () = kill.wait() => {}
                }
            });
            // The runtime is gone by here, with all that it held.
            ended.trigger();
        });
        let thread = Some(thread.map_err(|error| error.to_string())?);
        let (id, bound) = heard.recv().map_err(|_| "the node's thread ended".to_owned())??;
        Ok(Self { id, bound, stop, kill, ended, thread })
    }

    /// Asks it to end in order.
    pub(crate) fn stop(&self) {
        self.stop.trigger();
    }

    /// What kills it.
    pub(crate) fn killer(&self) -> Killer {
        Killer(self.kill.clone())
    }

    /// Ready once it has ended, in whichever way.
    pub(crate) async fn ended(&self) {
        self.ended.wait().await;
    }
}

impl Drop for LocalNode {
    fn drop(&mut self) {
        self.kill.trigger();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
