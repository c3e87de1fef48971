//! TLS of a node: what its options mean for the driver.

use crate::server::StartError;
use piko_config::reload::Part;
use piko_config::{ClientTlsOptions, KeyPairFiles, ServerOptions, ServerTlsOptions, TlsVersion};
use piko_driver::tls::{Acceptor, ClientFiles, Connector, Crypto, PairFiles, ServerFiles};
use piko_driver::{LoadError, Reload, Reloader};
use std::io;
use std::sync::Arc;

/// Everything of a node that TLS is spoken with. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeTls {
    pub(crate) proxy: Option<Arc<Acceptor>>,
    pub(crate) upstream: Option<Arc<Acceptor>>,
    pub(crate) admin: Option<Arc<Acceptor>>,
    /// To the proxy ports of other nodes, which speak TLS when this one does.
    pub(crate) to_proxy: Option<Arc<Connector>>,
    /// To their admin ports, likewise.
    pub(crate) to_admin: Option<Arc<Connector>>,
    pub(crate) reloader: Reloader,
}

impl NodeTls {
    /// How the admin ports of other nodes are reached; `None` is plainly.
    pub(crate) fn connector(&self) -> Option<&Connector> {
        self.to_admin.as_deref()
    }

    /// Reads all files.
    ///
    /// # Errors
    /// Which part cannot be used, and why.
    pub(crate) fn load(options: &ServerOptions, crypto: Option<&Crypto>) -> Result<Self, StartError> {
        let mut tls = Self::default();
        let mut parts: Vec<(String, Arc<dyn Reload>)> = Vec::new();
        let ports = [
            ("proxy", &options.proxy.tls, &mut tls.proxy),
            ("upstream", &options.upstream.tls, &mut tls.upstream),
            ("admin", &options.admin.tls, &mut tls.admin),
        ];
        for (port, settings, place) in ports {
            let Some(settings) = settings else { continue };
            let part = format!("{port} tls");
            let crypto = crypto.ok_or_else(|| missing(&part))?.clone();
            let acceptor =
                Acceptor::new(server_files(settings), crypto).map_err(|error| refused(&part, error))?;
            let acceptor = Arc::new(acceptor);
            parts.push((part, acceptor.clone()));
            *place = Some(acceptor);
            let own = match port {
                "proxy" => Some(&options.proxy.tls_client),
                "admin" => Some(&options.admin.tls_client),
                _ => None,
            };
            if settings.client_cas.is_some() && own.is_some_and(|own| own.cert.is_none()) {
                tracing::warn!(
                    target: "server",
                    "{port}.tls.client-cas without {port}.tls.client.cert: other nodes with the same settings refuse this one"
                );
            }
        }
        let others = [
            ("proxy", tls.proxy.is_some(), &options.proxy.tls_client, &mut tls.to_proxy),
            ("admin", tls.admin.is_some(), &options.admin.tls_client, &mut tls.to_admin),
        ];
        for (port, _, settings, place) in others.into_iter().filter(|(_, spoken, ..)| *spoken) {
            let part = format!("{port} tls client");
            let crypto = crypto.ok_or_else(|| missing(&part))?.clone();
            let mut files = client_files(settings);
            let connector = match Connector::new(files.clone(), crypto.clone()) {
                // A node that is alone, or whose operators never ask for another one, needs no authorities: what cannot
                // be verified fails when it is dialled.
                Err(error) if *settings == ClientTlsOptions::default() => {
                    tracing::warn!(target: "server", { part, %error }, "no other node can be reached by TLS");
                    files.may_trust_nobody = true;
                    Connector::new(files, crypto)
                }
                connector => connector,
            };
            let connector = Arc::new(connector.map_err(|error| refused(&part, error))?);
            if settings.insecure_skip_verify {
                tracing::warn!(target: "server", part, "insecure-skip-verify: whoever answers in place of a node is believed");
            }
            parts.push((part, connector.clone()));
            *place = Some(connector);
        }
        tls.reloader = Reloader::new(parts);
        Ok(tls)
    }
}

/// Takes over other files, versions and names while the node runs. Whether a port speaks TLS at all is decided at its
/// start: clients and other nodes would have to change in the same moment.
pub(crate) struct TlsPart {
    acceptors: [(&'static str, Option<Arc<Acceptor>>); 3],
    connectors: [(&'static str, Option<Arc<Connector>>); 2],
}

impl TlsPart {
    pub(crate) fn new(tls: &NodeTls) -> Self {
        Self {
            acceptors: [
                ("proxy", tls.proxy.clone()),
                ("upstream", tls.upstream.clone()),
                ("admin", tls.admin.clone()),
            ],
            connectors: [("proxy", tls.to_proxy.clone()), ("admin", tls.to_admin.clone())],
        }
    }

    fn settings<'o>(options: &'o ServerOptions, port: &str) -> Option<&'o ServerTlsOptions> {
        match port {
            "proxy" => options.proxy.tls.as_ref(),
            "upstream" => options.upstream.tls.as_ref(),
            _ => options.admin.tls.as_ref(),
        }
    }
}

impl Part<ServerOptions> for TlsPart {
    fn prepare(&self, options: &ServerOptions) -> Result<Box<dyn FnOnce() + Send>, String> {
        let mut changes: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        for (port, acceptor) in &self.acceptors {
            let (Some(acceptor), Some(settings)) = (acceptor, Self::settings(options, port)) else {
                continue;
            };
            let loaded =
                acceptor.load(server_files(settings)).map_err(|error| format!("{port} tls: {error}"))?;
            let acceptor = acceptor.clone();
            changes.extend(
                loaded.map(|loaded| -> Box<dyn FnOnce() + Send> { Box::new(move || acceptor.take(loaded)) }),
            );
        }
        for (port, connector) in &self.connectors {
            let (Some(connector), Some(_)) = (connector, Self::settings(options, port)) else { continue };
            let settings =
                if *port == "proxy" { &options.proxy.tls_client } else { &options.admin.tls_client };
            let mut files = client_files(settings);
            // As at the start, where the same comes with a warning.
            files.may_trust_nobody = *settings == ClientTlsOptions::default();
            let loaded = connector.load(files).map_err(|error| format!("{port} tls client: {error}"))?;
            let connector = connector.clone();
            changes.extend(
                loaded.map(|loaded| -> Box<dyn FnOnce() + Send> { Box::new(move || connector.take(loaded)) }),
            );
        }
        Ok(Box::new(move || changes.into_iter().for_each(|change| change())))
    }

    fn is_waiting(&self, options: &ServerOptions, flag: &str) -> bool {
        self.acceptors.iter().any(|(port, acceptor)| {
            let is_of_port = flag.strip_prefix(port).is_some_and(|rest| rest.starts_with(".tls."));
            is_of_port && (acceptor.is_none() || Self::settings(options, port).is_none())
        })
    }
}

fn missing(part: &str) -> StartError {
    StartError::of(part, io::Error::new(io::ErrorKind::Unsupported, "no cryptography was given"))
}

fn refused(part: &str, error: LoadError) -> StartError {
    StartError::of(part, io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn pair(files: &KeyPairFiles) -> PairFiles {
    PairFiles { cert: (&files.cert).into(), key: (&files.key).into() }
}

fn server_files(options: &ServerTlsOptions) -> ServerFiles {
    ServerFiles {
        certs: options.certs.iter().map(pair).collect(),
        client_cas: options.client_cas.as_ref().map(Into::into),
        only_tls13: options.min_version == TlsVersion::V13,
    }
}

fn client_files(options: &ClientTlsOptions) -> ClientFiles {
    ClientFiles {
        cert: options.cert.as_ref().map(pair),
        root_cas: options.root_cas.as_ref().map(Into::into),
        may_trust_nobody: false,
        insecure_skip_verify: options.insecure_skip_verify,
        server_name: options.server_name.clone(),
    }
}
