//! A listener whose connections all go to one service.

use crate::known::Known;
use crate::listener::Listener;
use crate::reach::connect;
use crate::url::host_and_port;
use piko_core::id::EndpointId;
use piko_driver::{Addr, Ends, Io, Relayed, Runtime, Stream, Tasks, relay, timeout_at};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long connecting to the service may take, as at an agent unless it is told otherwise.
const DIAL: Duration = Duration::from_secs(10);

/// A service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Tcp { host: String, port: u16 },
    Unix(std::path::PathBuf),
}

impl Target {
    /// `4000`, `host:4000` or `unix:/path`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return path.starts_with('/').then(|| Self::Unix(path.into()));
        }
        let (host, port) = match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => ("localhost", text.parse().ok().filter(|&port| port != 0)?),
            false => match host_and_port(text).ok()? {
                (host, Some(port)) => (host, port),
                (_, None) => return None,
            },
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        host.bytes().all(is_host).then(|| Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Forwards the connections of one endpoint to one service until it is closed; made by
/// [`Upstream::listen_and_forward`](crate::Upstream::listen_and_forward). Dropping it ends the tunnel and every
/// connection at once.
pub struct Forwarder<R: Runtime> {
    listener: Arc<Listener<R>>,
    tasks: Tasks,
}

impl<R: Runtime> fmt::Debug for Forwarder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder").field("endpoint", self.endpoint()).finish_non_exhaustive()
    }
}

impl<R: Runtime> Forwarder<R> {
    pub(crate) fn start(listener: Listener<R>, target: Target) -> Self {
        let rt = listener.runtime().clone();
        let forwarder = Self { listener: Arc::new(listener), tasks: Tasks::new() };
        let (listener, tasks) = (forwarder.listener.clone(), forwarder.tasks.clone());
        let (target, accepting) = (Arc::new(target), forwarder.tasks.enter());
        rt.clone().spawn(async move {
            while let Ok(stream) = poll_fn(|cx| listener.poll_accept(cx)).await {
                let (serving, listener) = (rt.clone(), listener.clone());
                let (target, guard) = (target.clone(), tasks.enter());
                rt.spawn(async move {
                    serve(&serving, stream, &target, listener.endpoint()).await;
                    drop(guard);
                });
            }
            drop(accepting);
        });
        forwarder
    }

    /// The endpoint it listens on.
    pub fn endpoint(&self) -> &EndpointId {
        self.listener.endpoint()
    }

    /// Ready once it has been closed and every connection is over. A lost tunnel is replaced and no reason to end.
    pub async fn wait(&self) {
        self.tasks.idle().await;
    }

    /// Stops gently: no reconnects, no new connections; open ones go on for at most `grace`
    /// ([`Duration::MAX`] is for ever). Ready when all is over.
    pub async fn close(&self, grace: Duration) {
        self.listener.close(grace).await;
        self.wait().await;
    }

    /// Ends the tunnel and every connection at once.
    pub fn shutdown(&self) {
        self.listener.shutdown();
    }
}

impl<R: Runtime> Drop for Forwarder<R> {
    fn drop(&mut self) {
        // Its tasks hold the listener too.
        self.shutdown();
    }
}

/// One connection, until both ends have ended.
async fn serve<R: Runtime>(rt: &R, mut stream: Stream, target: &Target, endpoint: &EndpointId) {
    let mut io = match dial(rt, target).await {
        Ok(io) => io,
        Err(error) => {
            tracing::warn!(target: "client", { "endpoint-id" = %endpoint, addr = %target, %error }, "failed to dial service");
            // The server has accepted the connection on our behalf: a reset is how its client learns that there is none.
            return stream.abort();
        }
    };
    let Relayed { from_a, from_b, result } = relay(rt, &mut stream, &mut io, Ends::default()).await;
    let cut = result.err().map(tracing::field::display);
    tracing::debug!(
        target: "client",
        { "endpoint-id" = %endpoint, "bytes-in" = from_a, "bytes-out" = from_b, cut }, "connection closed");
}

async fn dial<R: Runtime>(rt: &R, target: &Target) -> io::Result<R::Tcp> {
    let until = rt.now() + DIAL;
    let dialled = async {
        match target {
            Target::Tcp { host, port } => {
                connect(rt, host, *port, until, &Known::default()).await.map_err(Into::into)
            }
            Target::Unix(path) => rt.connect(&Addr::Unix(path.clone())).await,
        }
    };
    timeout_at(rt, Some(until), dialled).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_services_are_read() {
        for (text, shown) in [
            ("4000", "localhost:4000"),
            ("db.internal:5432", "db.internal:5432"),
            ("[::1]:1", "::1:1"),
            ("unix:/run/x", "unix:/run/x"),
            ("unix:///run/x", "unix:/run/x"),
        ] {
            assert_eq!(Target::parse(text).expect(text).to_string(), shown);
        }
        for text in
            ["", "0", "65536", "host", "host:", "host:x", ":1", "http://h:1", "a b:1", "unix:x", "unix:"]
        {
            assert_eq!(Target::parse(text), None, "{text}");
        }
    }
}
