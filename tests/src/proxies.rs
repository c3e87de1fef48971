//! Proxies between a program and a server, as small as they can be: HTTP `CONNECT` and SOCKS5, by the letter of RFC 9110
//! 9.3.6, RFC 1928 and RFC 1929, and independent of what the product knows of them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP.
    Connect,
    /// SOCKS5.
    Socks5,
}

/// Both kinds, for tests that go through them.
pub const KINDS: [Kind; 2] = [Kind::Connect, Kind::Socks5];

impl Kind {
    /// The scheme of its URL.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Connect => "http",
            Self::Socks5 => "socks5",
        }
    }
}

/// How a proxy treats those who ask.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// Says this, whatever it is asked, and nothing else; the connection stays open.
    Babbles(&'static [u8]),
    /// Reads and never answers.
    Hangs,
    /// Connects those who say this `user:password`.
    Login(&'static str),
    /// Connects everybody.
    Open,
    /// Connects nobody: 403, or reply 2 of SOCKS5.
    Refuses,
}

/// What somebody wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `host:port`, as it was said.
    pub to: String,
    /// `user:password`, where one was said.
    pub login: Option<String>,
}

/// A proxy on a port of its own, which lives as long as the test process. Names below `.invalid`, which nobody else can
/// resolve, are this machine.
#[derive(Debug)]
pub struct OutboundProxy {
    /// Where it listens.
    pub addr: SocketAddr,
    kind: Kind,
    asked: Receiver<Asked>,
}

impl OutboundProxy {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// When there is no port.
    pub fn start(kind: Kind, manner: Manner) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let addr = listener.local_addr().expect("its address");
        let (send, asked) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let send = send.clone();
                // What goes wrong is for the other end to notice.
                thread::spawn(move || serve(stream, kind, manner, &send));
            }
        });
        Self { addr, kind, asked }
    }

    /// Its URL, with `login@` in front of the host where that is not empty.
    pub fn url(&self, login: &str) -> String {
        format!("{}://{login}{}", self.kind.scheme(), self.addr)
    }

    /// What the next one wanted; `None` when nobody comes within this time.
    pub fn asked(&self, within: Duration) -> Option<Asked> {
        self.asked.recv_timeout(within).ok()
    }
}

fn serve(mut stream: TcpStream, kind: Kind, manner: Manner, asked: &Sender<Asked>) -> io::Result<()> {
    if let Manner::Babbles(text) = manner {
        stream.write_all(text)?;
    }
    if let Manner::Babbles(_) | Manner::Hangs = manner {
        let mut rest = Vec::new();
        return stream.read_to_end(&mut rest).map(drop);
    }
    let wanted = if let Manner::Login(login) = manner { Some(login) } else { None };
    let Some(what) = (match kind {
        Kind::Connect => hear_connect(&mut stream, wanted)?,
        Kind::Socks5 => hear_socks5(&mut stream, wanted)?,
    }) else {
        return Ok(());
    };
    let to = what.to.clone();
    // Nobody listens any more once the test is over.
    let _ = asked.send(what);
    let (host, port) = to.rsplit_once(':').ok_or(io::ErrorKind::InvalidData)?;
    let host = if host.ends_with(".invalid") { "127.0.0.1" } else { host.trim_matches(['[', ']']) };
    let far = match manner {
        Manner::Refuses => None,
        _ => TcpStream::connect((host, port.parse().map_err(|_| io::ErrorKind::InvalidData)?)).ok(),
    };
    let (yes, no): (&[u8], &[u8]) = match kind {
        Kind::Connect => (b"HTTP/1.1 200 Connection established\r\n\r\n", b"HTTP/1.1 403 Forbidden\r\n\r\n"),
        Kind::Socks5 => (&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0], &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]),
    };
    let Some(far) = far else { return stream.write_all(no) };
    stream.write_all(yes)?;
    let (back_from, back_to) = (far.try_clone()?, stream.try_clone()?);
    thread::spawn(move || copy(back_from, back_to));
    copy(stream, far)
}

fn copy(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    // Behind a reset as well, or the other end would wait for ever.
    to.shutdown(Shutdown::Write)?;
    copied.map(drop)
}

/// `None` where the login was wrong, which has been said.
fn hear_connect(stream: &mut TcpStream, wanted: Option<&str>) -> io::Result<Option<Asked>> {
    let mut lines = Vec::new();
    for line in BufReader::new(stream.try_clone()?).lines() {
        match line? {
            line if line.is_empty() => break,
            line => lines.push(line),
        }
    }
    let to = lines.first().and_then(|line| line.strip_prefix("CONNECT ")?.strip_suffix(" HTTP/1.1"));
    let to = to.ok_or(io::ErrorKind::InvalidData)?.to_owned();
    let has_host = lines.iter().any(|line| *line == format!("Host: {to}"));
    let login = lines.iter().find_map(|line| line.strip_prefix("Proxy-Authorization: Basic "));
    let login = login.map(decoded);
    if !has_host || wanted.is_some_and(|wanted| login.as_deref() != Some(wanted)) {
        stream
            .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n")?;
        return Ok(None);
    }
    Ok(Some(Asked { to, login }))
}

/// Base64 by the book (RFC 4648 4); what is no letter counts for nothing.
fn decoded(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for value in text.bytes().filter_map(|letter| LETTERS.iter().position(|known| *known == letter)) {
        (bits, count) = (bits << 6 | value as u32, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// As [`hear_connect`].
fn hear_socks5(stream: &mut TcpStream, wanted: Option<&str>) -> io::Result<Option<Asked>> {
    let [version, count] = take(stream)?;
    let mut methods = vec![0; usize::from(count)];
    stream.read_exact(&mut methods)?;
    let method = if wanted.is_some() { 2 } else { 0 };
    if version != 5 || !methods.contains(&method) {
        stream.write_all(&[5, 0xff])?;
        return Ok(None);
    }
    stream.write_all(&[5, method])?;
    let mut login = None;
    if let Some(wanted) = wanted {
        let [_] = take(stream)?;
        let said = format!("{}:{}", text(stream)?, text(stream)?);
        let right = said == wanted;
        stream.write_all(&[1, u8::from(!right)])?;
        if !right {
            return Ok(None);
        }
        login = Some(said);
    }
    let [_, _, _, kind] = take(stream)?;
    let host = match kind {
        1 => Ipv4Addr::from(take(stream)?).to_string(),
        3 => text(stream)?,
        _ => format!("[{}]", Ipv6Addr::from(take(stream)?)),
    };
    let port = u16::from_be_bytes(take(stream)?);
    Ok(Some(Asked { to: format!("{host}:{port}"), login }))
}

fn take<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// With its length in front.
fn text(stream: &mut TcpStream) -> io::Result<String> {
    let [len] = take(stream)?;
    let mut bytes = vec![0; usize::from(len)];
    stream.read_exact(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
