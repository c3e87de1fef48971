//! TLS of an agent: to the server, and to each service at an `https` address.

use crate::agent::RunError;
use piko_config::AgentOptions;
use piko_driver::Reloader;

#[cfg(feature = "tls-of-caller")]
pub(crate) use with::{Connectors, Link};
#[cfg(not(feature = "tls-of-caller"))]
pub(crate) use without::{Connectors, Link};

/// The cryptography that TLS is spoken with.
#[cfg(feature = "tls-of-caller")]
pub type Crypto = piko_driver::tls::Crypto;
/// There is none: this build speaks no TLS.
#[cfg(not(feature = "tls-of-caller"))]
#[derive(Clone, Debug)]
pub enum Crypto {}

/// Which parts of the options ask for TLS.
fn wanted(options: &AgentOptions) -> Option<&'static str> {
    if options.connect.uses_tls() {
        return Some("a connect url with https");
    }
    options.listeners.iter().any(|listener| listener.addr.tls).then_some("an https service")
}

#[cfg(feature = "tls-of-caller")]
mod with {
    use super::{AgentOptions, Crypto, Reloader, RunError, wanted};
    use piko_config::ClientTlsOptions;
    use piko_driver::tls::{ClientFiles, Connector, PairFiles};
    use piko_driver::{LoadError, MaybeTls, Reload, Runtime};
    use std::io;
    use std::sync::Arc;

    /// How the parties of an agent are reached.
    #[derive(Debug, Default)]
    pub(crate) struct Connectors {
        /// The server, for each listener; `None` is plainly.
        pub(crate) servers: Vec<Option<Arc<Connector>>>,
        /// One for each listener.
        pub(crate) services: Vec<Link>,
        pub(crate) reloader: Reloader,
    }

    /// How a service is reached.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Link(Option<Arc<Connector>>);

    impl Link {
        /// The handshake with `host`, where there is one.
        pub(crate) async fn secure<R: Runtime>(
            &self,
            io: R::Tcp,
            host: &str,
        ) -> io::Result<MaybeTls<R::Tcp>> {
            match &self.0 {
                None => Ok(MaybeTls::Plain(io)),
                // Boxed, as the handshake's state would be part of every exchange.
                Some(tls) => Box::pin(tls.connect(io, host)).await,
            }
        }
    }

    impl Connectors {
        /// Reads the files of those that are needed.
        pub(crate) fn load(options: &AgentOptions, crypto: Option<Crypto>) -> Result<Self, RunError> {
            let Some(what) = wanted(options) else {
                let services = options.listeners.iter().map(|_| Link::default()).collect();
                let servers = options.listeners.iter().map(|_| None).collect();
                return Ok(Self { servers, services, ..Self::default() });
            };
            let crypto = crypto.ok_or(RunError::Unsupported(what))?;
            let mut parts: Vec<(String, Arc<dyn Reload>)> = Vec::new();
            let mut load = |part: String, settings: &ClientTlsOptions| {
                let connector = Connector::new(files(settings), crypto.clone());
                let connector =
                    Arc::new(connector.map_err(|error: LoadError| RunError::Tls(part.clone(), error))?);
                if settings.insecure_skip_verify {
                    tracing::warn!(target: "main", part = %part, "insecure-skip-verify: whoever answers is believed");
                }
                parts.push((part, connector.clone()));
                Ok(connector)
            };
            let connect = &options.connect;
            let is_shared = options.listeners.iter().any(|listener| listener.tunnel.tls.is_none());
            let shared = (connect.uses_tls() && is_shared)
                .then(|| load("connect: tls".to_owned(), &connect.tls))
                .transpose()?;
            let (mut servers, mut services) = (Vec::new(), Vec::new());
            for listener in &options.listeners {
                let part = || format!("listener: {}: tls", listener.endpoint);
                let connector = listener.addr.tls.then(|| load(part(), &listener.tls)).transpose()?;
                services.push(Link(connector));
                let own = || format!("listener: {}: tunnel tls", listener.endpoint);
                let own =
                    listener.tunnel.tls.as_ref().filter(|_| connect.uses_tls()).map(|tls| load(own(), tls));
                servers.push(own.transpose()?.or_else(|| shared.clone()));
            }
            Ok(Self { servers, services, reloader: Reloader::new(parts) })
        }
    }

    fn files(options: &ClientTlsOptions) -> ClientFiles {
        let pair = |cert: &piko_config::KeyPairFiles| PairFiles {
            cert: (&cert.cert).into(),
            key: (&cert.key).into(),
        };
        ClientFiles {
            cert: options.cert.as_ref().map(pair),
            root_cas: options.root_cas.as_ref().map(Into::into),
            may_trust_nobody: false,
            insecure_skip_verify: options.insecure_skip_verify,
            server_name: options.server_name.clone(),
        }
    }
}

#[cfg(not(feature = "tls-of-caller"))]
mod without {
    use super::{AgentOptions, Crypto, Reloader, RunError, wanted};
    use piko_driver::{MaybeTls, Runtime};
    use std::io;

    /// How the parties of an agent are reached: plainly.
    #[derive(Debug, Default)]
    pub(crate) struct Connectors {
        /// One for each listener.
        pub(crate) services: Vec<Link>,
        pub(crate) reloader: Reloader,
    }

    /// How a service is reached: plainly.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Link;

    impl Link {
        pub(crate) async fn secure<R: Runtime>(&self, io: R::Tcp, _: &str) -> io::Result<MaybeTls<R::Tcp>> {
            Ok(MaybeTls::Plain(io))
        }
    }

    impl Connectors {
        /// Refuses what this build cannot do.
        pub(crate) fn load(options: &AgentOptions, _: Option<Crypto>) -> Result<Self, RunError> {
            match wanted(options) {
                Some(what) => Err(RunError::Unsupported(what)),
                None => {
                    Ok(Self { services: options.listeners.iter().map(|_| Link).collect(), ..Self::default() })
                }
            }
        }
    }
}
