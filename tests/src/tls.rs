//! A blocking TLS client for tests, which shows what it was shown.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ProtocolVersion, RootCertStore,
    SignatureScheme, StreamOwned,
};

use crate::certs::{Authority, Pair};

/// How long the client waits for bytes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whom a client believes and who it says it is. Tickets of one value's connections are used by its next.
#[derive(Clone, Debug)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Believes `authority`, shows `own` where asked, and asks for these protocols (ALPN).
    ///
    /// # Panics
    ///
    /// When the certificates are none.
    pub fn new(authority: &Authority, own: Option<&Pair>, alpn: &[&str]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority.der())).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("ring speaks both");
        let builder = builder.with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
                let chain = vec![CertificateDer::from(pair.der.clone())];
                builder.with_client_auth_cert(chain, key).expect("a pair")
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self(Arc::new(config))
    }

    /// Believes whatever it is shown: for measurements, where certificates are not the point.
    ///
    /// # Panics
    ///
    /// Never: ring speaks both versions.
    pub fn anybody() -> Self {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("ring speaks both");
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
        Self(Arc::new(builder.with_no_client_auth()))
    }

    /// The first message of a client that asks for `name`, as it goes over the wire.
    ///
    /// # Panics
    ///
    /// When `name` is none.
    pub fn hello(&self, name: &str) -> Vec<u8> {
        let name = ServerName::try_from(name.to_owned()).expect("a server name");
        let mut client = ClientConnection::new(self.0.clone(), name).expect("a session");
        let mut hello = Vec::new();
        client.write_tls(&mut hello).expect("memory takes it");
        hello
    }

    /// Without tickets: every handshake is a full one.
    #[must_use]
    pub fn without_resumption(&self) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        config.resumption = rustls::client::Resumption::disabled();
        Self(Arc::new(config))
    }
}

/// One connection.
#[derive(Debug)]
pub struct TlsClient(StreamOwned<ClientConnection, TcpStream>);

impl TlsClient {
    /// Connects and does the whole handshake, asking for `name`.
    ///
    /// # Errors
    ///
    /// Those of connecting and of TLS; a server that refuses a client's certificate says so only with the first read
    /// (RFC 8446 4.4.2.4).
    ///
    /// # Panics
    ///
    /// When `name` is none.
    pub fn connect(addr: SocketAddr, name: &str, trust: &Trust) -> io::Result<Self> {
        let tcp = TcpStream::connect_timeout(&addr, PATIENCE)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(name.to_owned()).expect("a server name");
        let mut stream =
            StreamOwned::new(ClientConnection::new(trust.0.clone(), name).map_err(io::Error::other)?, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self(stream))
    }

    /// The server's certificate.
    ///
    /// # Panics
    ///
    /// When the session was resumed by a version that does not remember it.
    pub fn shown(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().expect("a server shows a certificate")[0].to_vec()
    }

    /// The version that is spoken.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.0.conn.protocol_version()
    }

    /// The protocol that was agreed on (ALPN).
    pub fn alpn(&self) -> Option<String> {
        self.0.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
    }

    /// Whether a ticket of an earlier connection was taken.
    pub fn was_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// `GET` on a connection that stays open: the status and the body.
    ///
    /// # Errors
    ///
    /// Those of the connection; `InvalidData` for an answer without a length.
    pub fn get(&mut self, target: &str, fields: &[(&str, &str)]) -> io::Result<(u16, Vec<u8>)> {
        let mut head = format!("GET {target} HTTP/1.1\r\nhost: test\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.0.write_all(head.as_bytes())?;
        let mut input = Vec::new();
        let mut chunk = [0; 16 * 1024];
        let end = loop {
            if let Some(at) = input.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            input.extend_from_slice(read_some(&mut self.0, &mut chunk)?);
        };
        let text = String::from_utf8_lossy(&input[..end]).to_ascii_lowercase();
        let bad = || io::Error::new(io::ErrorKind::InvalidData, text.clone());
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(bad)?;
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        let mut body = input.split_off(end);
        let length = length.ok_or_else(bad)?;
        while body.len() < length {
            body.extend_from_slice(read_some(&mut self.0, &mut chunk)?);
        }
        Ok((status, body))
    }

    /// Without this type around it.
    pub fn into_stream(self) -> StreamOwned<ClientConnection, TcpStream> {
        self.0
    }

    /// The stream, for what this type does not do.
    pub fn stream(&mut self) -> &mut StreamOwned<ClientConnection, TcpStream> {
        &mut self.0
    }
}

fn read_some<'c>(from: &mut impl Read, chunk: &'c mut [u8]) -> io::Result<&'c [u8]> {
    match from.read(chunk)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n => Ok(&chunk[..n]),
    }
}

/// Verifies nothing.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
