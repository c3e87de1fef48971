//! The routes of the service.

use std::io;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use super::conn::{Conn, Request, Then};
use crate::http::{Checksum, Framing, Pieces, checksum_of, pattern};

/// The most that `/echo` collects before it answers.
const ECHO_MAX: usize = 64 << 20;
/// Payload per write.
const BLOCK: usize = 16 * 1024;

/// Answers one request; its body is read even where nobody wants it.
pub(super) fn answer(conn: &mut Conn<'_>, request: &Request) -> io::Result<Then> {
    match request.path.as_str() {
        "/100" => return expect(conn, request),
        "/echo" if request.param("stream") == Some("1") => return echo_stream(conn, request),
        "/echo" => return echo(conn, request),
        "/sum" => return sum(conn, request),
        "/upgrade" => return upgrade(conn, request),
        _ => conn.skip_body(request.framing)?,
    }
    match request.path.as_str() {
        "/103" => {
            conn.write(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n")?;
            text(conn, request, 200, b"hello\n")
        }
        "/bytes" => bytes(conn, request),
        "/close" => {
            conn.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n")?;
            if request.method != "HEAD" {
                conn.write_body(b"hello\n")?;
            }
            Ok(Then::Close)
        }
        "/cut" => cut(conn, request),
        "/headers" => text(conn, request, 200, &request.raw),
        "/hello" => text(conn, request, 200, b"hello\n"),
        "/pass" => {
            conn.shared.count(request.param("gate").unwrap_or_default());
            text(conn, request, 200, b"hello\n")
        }
        "/slow" => slow(conn, request),
        "/sse" => sse(conn, request),
        "/status" => {
            let code = request.number("code", 200).clamp(200, 999) as u16;
            text(conn, request, code, b"")
        }
        "/trailers" => trailers(conn, request),
        "/wait" if conn.shared.wait_for(&request.target, request.number("n", 1)) => {
            text(conn, request, 200, b"hello\n")
        }
        "/wait" => text(conn, request, 503, b"alone\n"),
        _ => text(conn, request, 404, b"no such route\n"),
    }
}

/// A whole answer in one write.
fn text(conn: &mut Conn<'_>, request: &Request, status: u16, body: &[u8]) -> io::Result<Then> {
    let bodiless = status == 204 || status == 304;
    let length = if bodiless { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let head = format!("HTTP/1.1 {status} Test\r\n{length}content-type: text/plain\r\n\r\n");
    if bodiless || request.method == "HEAD" {
        conn.write(head.as_bytes())?;
    } else {
        // Small answers go out as real services send them, in one piece.
        let mut all = head.into_bytes();
        all.extend_from_slice(body);
        conn.write(&all)?;
        let counter = &conn.shared.body_out;
        counter.fetch_add(body.len() as u64, std::sync::atomic::Ordering::SeqCst);
    }
    Ok(Then::Keep)
}

fn head_of(framing: Framing) -> String {
    let field = match framing {
        Framing::Chunked => "transfer-encoding: chunked\r\n".to_owned(),
        Framing::Close => "connection: close\r\n".to_owned(),
        Framing::Length(n) => format!("content-length: {n}\r\n"),
    };
    format!("HTTP/1.1 200 OK\r\n{field}content-type: application/octet-stream\r\n\r\n")
}

/// The framing that the query asks for, for `n` bytes.
fn framing_of(request: &Request, n: u64) -> Framing {
    match request.param("framing") {
        Some("chunked") => Framing::Chunked,
        Some("close") => Framing::Close,
        _ => Framing::Length(n),
    }
}

fn write_piece(conn: &mut Conn<'_>, framing: Framing, piece: &[u8]) -> io::Result<()> {
    if framing == Framing::Chunked { conn.write_chunk(piece) } else { conn.write_body(piece) }
}

fn write_pattern(conn: &mut Conn<'_>, framing: Framing, n: u64) -> io::Result<()> {
    let mut block = [0; BLOCK];
    let mut offset = 0;
    while offset < n {
        let len = (n - offset).min(BLOCK as u64);
        let piece = &mut block[..len as usize];
        pattern(offset, piece);
        write_piece(conn, framing, piece)?;
        offset += len;
    }
    Ok(())
}

fn bytes(conn: &mut Conn<'_>, request: &Request) -> io::Result<Then> {
    let n = request.number("n", 0);
    let framing = framing_of(request, n);
    conn.write(head_of(framing).as_bytes())?;
    if request.method != "HEAD" {
        write_pattern(conn, framing, n)?;
        if framing == Framing::Chunked {
            conn.write(b"0\r\n\r\n")?;
        }
    }
    Ok(if framing == Framing::Close { Then::Close } else { Then::Keep })
}

/// Collects the body, then sends it back: a client may send all of it before it reads.
fn echo(conn: &mut Conn<'_>, request: &Request) -> io::Result<Then> {
    let mut body = Vec::new();
    let mut pieces = Pieces::new(request.framing);
    while let Some(piece) = conn.piece(&mut pieces)? {
        if body.len() + piece.len() > ECHO_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too much to echo"));
        }
        body.extend_from_slice(&piece);
    }
    if request.framing != Framing::Chunked {
        return text(conn, request, 200, &body);
    }
    conn.write(head_of(Framing::Chunked).as_bytes())?;
    for piece in body.chunks(BLOCK) {
        conn.write_chunk(piece)?;
    }
    end_chunked(conn, &pieces)
}

/// Forgets the body as it comes, but for its length and checksum.
fn sum(conn: &mut Conn<'_>, request: &Request) -> io::Result<Then> {
    let (mut len, mut sum) = (0u64, Checksum::default());
    let mut pieces = Pieces::new(request.framing);
    while let Some(piece) = conn.piece(&mut pieces)? {
        len += piece.len() as u64;
        sum.add(&piece);
    }
    text(conn, request, 200, format!("{len} {:016x}\n", sum.value()).as_bytes())
}

/// Sends every piece back at once: both directions are busy at the same time.
fn echo_stream(conn: &mut Conn<'_>, request: &Request) -> io::Result<Then> {
    conn.write(head_of(request.framing).as_bytes())?;
    let mut pieces = Pieces::new(request.framing);
    while let Some(piece) = conn.piece(&mut pieces)? {
        write_piece(conn, request.framing, &piece)?;
    }
    if request.framing == Framing::Chunked { end_chunked(conn, &pieces) } else { Ok(Then::Keep) }
}

/// The last chunk, with the trailers of the request.
fn end_chunked(conn: &mut Conn<'_>, pieces: &Pieces) -> io::Result<Then> {
    let mut end = b"0\r\n".to_vec();
    for line in &pieces.trailers {
        end.extend_from_slice(line);
        end.extend_from_slice(b"\r\n");
    }
    end.extend_from_slice(b"\r\n");
    conn.write(&end)?;
    Ok(Then::Keep)
}

fn expect(conn: &mut Conn<'_>, request: &Request) -> io::Result<Then> {
    if request.param("refuse") == Some("1") {
        conn.write(b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
        // Lingers, so that the reset for the unread body does not overtake the answer.
        conn.input.stream().shutdown(Shutdown::Write)?;
        while !conn.input.take(BLOCK)?.is_empty() {}
        return Ok(Then::Close);
    }
    conn.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    echo(conn, request)
}

fn trailers(conn: &mut Conn<'_>, request: &Request) -> io::Result<Then> {
    let n = request.number("n", 6);
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-checksum\r\n\r\n";
    conn.write(head.as_bytes())?;
    if request.method != "HEAD" {
        write_pattern(conn, Framing::Chunked, n)?;
        let end = format!("0\r\nx-checksum: {:016x}\r\n\r\n", checksum_of(n).value());
        conn.write(end.as_bytes())?;
    }
    Ok(Then::Keep)
}

fn sse(conn: &mut Conn<'_>, request: &Request) -> io::Result<Then> {
    let pause = Duration::from_millis(request.number("ms", 0));
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    conn.write(head.as_bytes())?;
    for i in 0..request.number("n", 1) {
        if i > 0 {
            thread::sleep(pause);
            if !request.param("gate").is_none_or(|gate| conn.shared.wait_until(gate, i)) {
                return Ok(Then::Abort);
            }
        }
        conn.write_chunk(format!("data: {i}\n\n").as_bytes())?;
    }
    conn.write(b"0\r\n\r\n")?;
    Ok(Then::Keep)
}

fn slow(conn: &mut Conn<'_>, request: &Request) -> io::Result<Then> {
    thread::sleep(Duration::from_millis(request.number("head_ms", 0)));
    conn.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")?;
    conn.write_body(b"slo")?;
    thread::sleep(Duration::from_millis(request.number("body_ms", 0)));
    conn.write_body(b"w\n")?;
    Ok(Then::Keep)
}

fn cut(conn: &mut Conn<'_>, request: &Request) -> io::Result<Then> {
    let n = request.number("n", 100);
    let sent = request.number("sent", n / 2).min(n);
    let framing = framing_of(request, n);
    if request.param("framing") == Some("head") {
        conn.write(b"HTTP/1.1 200 OK\r\ncontent-le")?;
    } else {
        conn.write(head_of(framing).as_bytes())?;
        if framing == Framing::Chunked && sent < n {
            // Breaks off inside a chunk: its size promises what does not come.
            conn.write(format!("{n:x}\r\n").as_bytes())?;
            write_pattern(conn, Framing::Length(n), sent)?;
        } else {
            write_pattern(conn, framing, sent)?;
        }
    }
    if request.param("how") == Some("rst") {
        // Gives the bytes a moment to be read, because a reset throws away what the peer has not read.
        thread::sleep(Duration::from_millis(request.number("ms", 50)));
        return Ok(Then::Abort);
    }
    Ok(Then::Close)
}

fn upgrade(conn: &mut Conn<'_>, request: &Request) -> io::Result<Then> {
    let Some(protocol) = request.field("upgrade") else {
        conn.skip_body(request.framing)?;
        return text(conn, request, 426, b"an upgrade was expected\n");
    };
    let head =
        format!("HTTP/1.1 101 Switching Protocols\r\nupgrade: {protocol}\r\nconnection: Upgrade\r\n\r\n");
    conn.write(head.as_bytes())?;
    loop {
        let piece = conn.input.take(BLOCK)?.to_vec();
        if piece.is_empty() {
            return Ok(Then::Close);
        }
        conn.shared.body_in.fetch_add(piece.len() as u64, std::sync::atomic::Ordering::SeqCst);
        conn.write_body(&piece)?;
    }
}
