//! The TLS port that routes by name: a ClientHello is looked at, and everything goes on as it came.

use super::Raw;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use piko_core::id::EndpointId;
use piko_core::preface::{HELLO_BYTES_MAX, HelloFault, Judged, alert, server_name};
use piko_core::time::Instant;
use piko_driver::{Io, Runtime, timeout_at};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// TLS alerts (RFC 8446 6).
const UNEXPECTED_MESSAGE: u8 = 10;
const HANDSHAKE_FAILURE: u8 = 40;
const DECODE_ERROR: u8 = 50;
const INTERNAL_ERROR: u8 = 80;
const UNRECOGNIZED_NAME: u8 = 112;

/// A hello in more pieces is none: each is looked at from the start, and what comes byte by byte would be looked at
/// thousands of times.
const PIECES_MAX: usize = 64;
/// What a client still says behind an alert is read for this long, so that the alert is not overtaken by a reset.
const LINGER: Duration = Duration::from_millis(500);

/// Where hellos lead.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// Only names right below this one lead anywhere; without it the first label of any name counts.
    pub(crate) domain: Option<Arc<str>>,
}

impl Names {
    /// The endpoint of a name: its first label, as it is of a Host (wire protocol 6.1).
    fn endpoint(&self, name: &[u8]) -> Option<EndpointId> {
        let name = std::str::from_utf8(name).ok()?;
        let (label, rest) = name.split_once('.')?;
        let is_below = self.domain.as_ref().is_none_or(|domain| rest.eq_ignore_ascii_case(domain));
        if !is_below || rest.is_empty() || name.parse::<IpAddr>().is_ok() {
            return None;
        }
        EndpointId::new(label.as_bytes()).ok()
    }
}

/// Why a connection was refused: what stands in the metric, and what its client hears.
struct Refused {
    cause: &'static str,
    alert: u8,
}

impl Refused {
    fn new(cause: &'static str, alert: u8) -> Self {
        Self { cause, alert }
    }

    fn of(fault: HelloFault) -> Self {
        match fault {
            HelloFault::NoName => Self::new("no-server-name", UNRECOGNIZED_NAME),
            HelloFault::NotTls => Self::new("not-tls", UNEXPECTED_MESSAGE),
            HelloFault::TooLong => Self::new("hello-too-long", HANDSHAKE_FAILURE),
            _ => Self::new("malformed-hello", DECODE_ERROR),
        }
    }
}

/// Serves one connection of the port.
pub(super) async fn serve<R: Runtime, C: Io>(raw: &Raw<R>, names: &Names, mut io: C) {
    let Some((waiting, until)) = raw.wait(&mut io, &raw.node.sni_tcp) else { return };
    let Some(mut client) = raw.enter(io, until).await else { return };
    let found = find(raw, names, &mut client, until).await;
    drop(waiting);
    match found {
        Ok(None) => {}
        Ok(Some((hello, endpoint))) => {
            let metrics = &raw.node.sni_tcp;
            if let Err(client) = raw.carry(client, &hello, &endpoint, metrics).await {
                refuse(raw, client, INTERNAL_ERROR).await;
            }
        }
        Err((refused, name)) => {
            raw.node.sni_tcp.failed(refused.cause);
            raw.complain(client.info(), refused.cause, &name);
            refuse(raw, client, refused.alert).await;
        }
    }
}

/// What a client said, and where it leads; nothing when it ended before it began. Or why not, and the name.
async fn find<R: Runtime, C: Io>(
    raw: &Raw<R>,
    names: &Names,
    client: &mut C,
    until: Instant,
) -> Result<Option<(Vec<u8>, EndpointId)>, (Refused, String)> {
    let hello = Box::pin(timeout_at(&raw.rt, Some(until), read(client))).await;
    let (hello, name) = match hello {
        Ok(Ok(Some(found))) => found,
        Ok(Ok(None)) => return Ok(None),
        Ok(Err(refused)) => return Err((refused, String::new())),
        Err(_) => return Err((Refused::new("hello-timeout", HANDSHAKE_FAILURE), String::new())),
    };
    match names.endpoint(&name).filter(|endpoint| raw.node.is_served(endpoint)) {
        Some(endpoint) => Ok(Some((hello, endpoint))),
        None => {
            let name = String::from_utf8_lossy(&name).into_owned();
            Err((Refused::new("unknown-name", UNRECOGNIZED_NAME), name))
        }
    }
}

/// A hello and the name in it; nothing when the client ended before it began.
async fn read<C: Io>(client: &mut C) -> Result<Option<(Vec<u8>, Vec<u8>)>, Refused> {
    let mut hello = Vec::new();
    let mut chunk = [0; 2048];
    for _ in 0..PIECES_MAX {
        let room = chunk.len().min(HELLO_BYTES_MAX.saturating_sub(hello.len()));
        let n = match client.read(&mut chunk[..room]).await {
            Ok(n @ 1..) => n,
            _ if hello.is_empty() => return Ok(None),
            _ => return Err(Refused::new("cut-hello", DECODE_ERROR)),
        };
        hello.extend_from_slice(&chunk[..n]);
        match server_name(&hello) {
            Judged::Done(name) => return Ok(Some((hello, name))),
            Judged::Partial if hello.len() < HELLO_BYTES_MAX => {}
            Judged::Partial => return Err(Refused::of(HelloFault::TooLong)),
            Judged::Bad(fault) => return Err(Refused::of(fault)),
        }
    }
    Err(Refused::of(HelloFault::TooLong))
}

/// Says why, ends, and hears out what is on the way.
async fn refuse<R: Runtime, C: Io>(raw: &Raw<R>, mut client: C, description: u8) {
    let last = async {
        client.write_all(&alert(description)).await?;
        client.flush().await?;
        poll_fn(|cx| Pin::new(&mut client).poll_close(cx)).await?;
        let mut left = HELLO_BYTES_MAX;
        let mut chunk = [0; 2048];
        while left > 0 {
            match client.read(&mut chunk).await? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
        }
        std::io::Result::Ok(())
    };
    let _ = Box::pin(timeout_at(&raw.rt, Some(raw.rt.now() + LINGER), last)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(domain: Option<&str>, name: &str) -> Option<String> {
        let names = Names { domain: domain.map(Arc::from) };
        names.endpoint(name.as_bytes()).map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn the_first_label_is_the_endpoint() {
        let found = |name: &str| Some(name.to_owned());
        assert_eq!(endpoint(None, "my-db.tcp.example.com"), found("my-db"));
        assert_eq!(endpoint(None, "My-DB.a"), found("My-DB"));
        for name in ["my-db", ".a", "a.", "127.0.0.1", ""] {
            assert_eq!(endpoint(None, name), None, "{name}");
        }
        assert_eq!(endpoint(Some("tcp.example.com"), "my-db.TCP.example.com"), found("my-db"));
        for name in
            ["my-db.example.com", "x.my-db.tcp.example.com", "tcp.example.com", "my-db.tcp.example.com.a"]
        {
            assert_eq!(endpoint(Some("tcp.example.com"), name), None, "{name}");
        }
    }
}
