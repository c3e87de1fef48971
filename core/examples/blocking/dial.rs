//! From a URL to an upgraded socket.

use super::{MIN_WAIT, WRITE_WAIT, World};
use bytes::BytesMut;
use piko_core::tunnel::Failure;
use piko_core::ws::handshake::{Answer, Ask, judge_response, write_request};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Connects and upgrades within `limit`; gives the socket and the bytes that came behind the answer.
///
/// # Errors
/// What to tell the `Reconnector`, and why in words.
pub(super) fn dial(
    w: &mut World,
    url: &str,
    endpoint: &str,
    limit: Duration,
) -> Result<(TcpStream, Vec<u8>), (Failure, String)> {
    let retry = |error: io::Error| (Failure::Retry, error.to_string());
    let end = w.now() + limit;
    let place =
        url.strip_prefix("http://").ok_or((Failure::Fatal { status: 0 }, "not an http:// URL".to_owned()))?;
    let (host, base) = place.split_at(place.find('/').unwrap_or(place.len()));
    let mut tcp = Err(io::Error::from(ErrorKind::AddrNotAvailable));
    for address in host.to_socket_addrs().map_err(retry)? {
        tcp = TcpStream::connect_timeout(&address, end.since(w.now()).max(MIN_WAIT));
        if tcp.is_ok() {
            break; // `localhost` has two addresses, and only one of them may listen.
        }
    }
    let mut tcp = tcp.map_err(retry)?;
    tcp.set_nodelay(true).and_then(|()| tcp.set_write_timeout(Some(WRITE_WAIT))).map_err(retry)?;

    let key: [u8; 16] = w.random().map_err(retry)?;
    let target = format!("{}/piko/v1/upstream/{}", base.trim_end_matches('/'), percent_encoded(endpoint));
    let mut request = BytesMut::new();
    write_request(&Ask { host: host.as_bytes(), target: target.as_bytes(), key, fields: &[] }, &mut request);
    tcp.write_all(&request).map_err(retry)?;
    let (mut answer, mut eof) = (Vec::new(), false);
    loop {
        match judge_response(&key, &answer, eof, &mut |_| ()) {
            Answer::Upgraded { head_bytes } => return Ok((tcp, answer.split_off(head_bytes))),
            Answer::Refused { status, message } => {
                let message = message.escape_ascii();
                return Err((Failure::from_status(status), format!("refused with {status}: {message}")));
            }
            Answer::Bad(why) => return Err((Failure::Retry, why.to_owned())),
            Answer::Partial => {
                tcp.set_read_timeout(Some(end.since(w.now()).max(MIN_WAIT))).map_err(retry)?;
                let mut chunk = [0; 1024];
                let n = tcp.read(&mut chunk).map_err(retry)?;
                answer.extend_from_slice(&chunk[..n]);
                eof = n == 0;
            }
        }
    }
}

/// An endpoint id may hold anything but a slash; in a path most of it needs an escape (RFC 3986 2.3).
fn percent_encoded(id: &str) -> String {
    id.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}
