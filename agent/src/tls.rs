//! TLS of an agent: to the server, and to each service at an `https` address.

use crate::agent::RunError;
use piko_config::AgentOptions;
use piko_driver::Reload;
use std::sync::Arc;

#[cfg(feature = "tls-of-caller")]
pub(crate) use with::{Connectors, Link, ServerLink};
#[cfg(all(feature = "tls-of-caller", feature = "yaml"))]
pub(crate) use with::{Prepared, is_same};
#[cfg(not(feature = "tls-of-caller"))]
pub(crate) use without::{Connectors, Link, ServerLink};
#[cfg(all(not(feature = "tls-of-caller"), feature = "yaml"))]
pub(crate) use without::{Prepared, is_same};

/// The cryptography that TLS is spoken with.
#[cfg(feature = "tls-of-caller")]
pub type Crypto = piko_driver::tls::Crypto;
/// There is none: this build speaks no TLS.
#[cfg(not(feature = "tls-of-caller"))]
#[derive(Clone, Debug)]
pub enum Crypto {}

/// How each listener is reached, and how it reaches its service.
pub(crate) type Links = Vec<(ServerLink, Link)>;
/// What is read again when it changes, each with its name for the log.
type Parts = Vec<(String, Arc<dyn Reload>)>;

/// Which parts of the options ask for TLS.
fn wanted(options: &AgentOptions) -> Option<&'static str> {
    if options.connect.uses_tls() {
        return Some("a connect url with https");
    }
    options.listeners.iter().any(|listener| listener.addr.tls).then_some("an https service")
}

#[cfg(feature = "tls-of-caller")]
mod with {
    use super::{AgentOptions, Crypto, Links, Parts, RunError, wanted};
    use piko_config::ClientTlsOptions;
    use piko_driver::tls::{ClientFiles, Connector, LoadedClient, PairFiles};
    use piko_driver::{LoadError, MaybeTls, Reload, Runtime};
    use std::io;
    use std::sync::Arc;

    /// Everything that TLS is spoken with, by what it is for: the name of the part, and which one of those with that name.
    #[derive(Debug, Default)]
    pub(crate) struct Connectors {
        crypto: Option<Crypto>,
        known: Vec<((String, usize), Arc<Connector>)>,
    }

    /// How one listener reaches its server, `None` is plainly.
    pub(crate) type ServerLink = Option<Arc<Connector>>;

    /// What new options need, read and judged.
    #[derive(Debug)]
    pub(crate) struct Prepared {
        /// One for each listener.
        pub(crate) links: Links,
        known: Vec<((String, usize), Arc<Connector>)>,
        taken: Vec<(Arc<Connector>, LoadedClient)>,
    }

    /// How a service is reached.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Link(Option<Arc<Connector>>);

    impl Link {
        /// Which certificates and authorities count at the moment ([`Connector::version`]).
        pub(crate) fn version(&self) -> u32 {
            self.0.as_ref().map_or(0, |tls| tls.version())
        }

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

    impl PartialEq for Link {
        /// Whether it is the same one, whatever its files hold.
        fn eq(&self, other: &Self) -> bool {
            is_same(&self.0, &other.0)
        }
    }

    /// Whether both are the same connector, or none.
    pub(crate) fn is_same(one: &ServerLink, other: &ServerLink) -> bool {
        one.as_ref().map(Arc::as_ptr) == other.as_ref().map(Arc::as_ptr)
    }

    impl Connectors {
        pub(crate) fn new(crypto: Option<Crypto>) -> Self {
            Self { crypto, known: Vec::new() }
        }

        /// Reads the files that these options name and that are not read already.
        pub(crate) fn prepare(&self, options: &AgentOptions) -> Result<Prepared, RunError> {
            let mut prepared = Prepared { links: Vec::new(), known: Vec::new(), taken: Vec::new() };
            let connect = &options.connect;
            let is_shared = options.listeners.iter().any(|listener| listener.tunnel.tls.is_none());
            let shared = match connect.uses_tls() && is_shared {
                true => Some(self.load(options, &mut prepared, "connect: tls".to_owned(), &connect.tls)?),
                false => None,
            };
            for listener in &options.listeners {
                let service = match listener.addr.tls {
                    true => {
                        let part = format!("listener: {}: tls", listener.endpoint);
                        Some(self.load(options, &mut prepared, part, &listener.tls)?)
                    }
                    false => None,
                };
                let server = match listener.tunnel.tls.as_ref().filter(|_| connect.uses_tls()) {
                    Some(own) => {
                        let part = format!("listener: {}: tunnel tls", listener.endpoint);
                        Some(self.load(options, &mut prepared, part, own)?)
                    }
                    None => shared.clone(),
                };
                prepared.links.push((server, Link(service)));
            }
            Ok(prepared)
        }

        fn load(
            &self,
            options: &AgentOptions,
            prepared: &mut Prepared,
            part: String,
            settings: &ClientTlsOptions,
        ) -> Result<Arc<Connector>, RunError> {
            let fail = |error: LoadError| RunError::Tls(part.clone(), error);
            let nth = prepared.known.iter().filter(|((known, _), _)| *known == part).count();
            let known = self.known.iter().find(|((known, n), _)| *known == part && *n == nth);
            let (connector, is_new) = match known {
                Some((_, connector)) => {
                    let loaded = connector.load(files(settings)).map_err(fail)?;
                    let is_new = loaded.is_some();
                    prepared.taken.extend(loaded.map(|loaded| (connector.clone(), loaded)));
                    (connector.clone(), is_new)
                }
                None => {
                    let what = wanted(options).unwrap_or("TLS");
                    let crypto = self.crypto.clone().ok_or(RunError::Unsupported(what))?;
                    (Arc::new(Connector::new(files(settings), crypto).map_err(fail)?), true)
                }
            };
            if is_new && settings.insecure_skip_verify {
                tracing::warn!(target: "main", part = %part, "insecure-skip-verify: whoever answers is believed");
            }
            prepared.known.push(((part, nth), connector.clone()));
            Ok(connector)
        }

        /// What was prepared counts from here on. Gives what is to be read again when it changes.
        pub(crate) fn take(&mut self, known: Prepared) -> (Links, Parts) {
            for (connector, loaded) in known.taken {
                connector.take(loaded);
            }
            self.known = known.known;
            let parts = self.known.iter();
            let parts =
                parts.map(|((part, _), connector)| (part.clone(), connector.clone() as Arc<dyn Reload>));
            (known.links, parts.collect())
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
    use super::{AgentOptions, Crypto, Links, Parts, RunError, wanted};
    use piko_driver::{MaybeTls, Runtime};
    use std::io;

    /// How the parties of an agent are reached: plainly.
    #[derive(Debug, Default)]
    pub(crate) struct Connectors;

    /// How one listener reaches its server: plainly.
    pub(crate) type ServerLink = ();

    /// How a service is reached: plainly.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub(crate) struct Link;

    impl Link {
        pub(crate) async fn secure<R: Runtime>(&self, io: R::Tcp, _: &str) -> io::Result<MaybeTls<R::Tcp>> {
            Ok(MaybeTls::Plain(io))
        }
    }

    /// What new options need: nothing.
    #[derive(Debug)]
    pub(crate) struct Prepared {
        /// One for each listener.
        pub(crate) links: Links,
    }

    /// All are the same.
    #[cfg(feature = "yaml")]
    pub(crate) fn is_same((): &ServerLink, (): &ServerLink) -> bool {
        true
    }

    impl Connectors {
        pub(crate) fn new(_: Option<Crypto>) -> Self {
            Self
        }

        /// Refuses what this build cannot do.
        pub(crate) fn prepare(&self, options: &AgentOptions) -> Result<Prepared, RunError> {
            match wanted(options) {
                Some(what) => Err(RunError::Unsupported(what)),
                None => Ok(Prepared { links: options.listeners.iter().map(|_| ((), Link)).collect() }),
            }
        }

        /// There is nothing to read again.
        pub(crate) fn take(&mut self, known: Prepared) -> (Links, Parts) {
            (known.links, Vec::new())
        }
    }
}
