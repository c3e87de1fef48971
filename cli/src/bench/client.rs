//! One connection to the proxy port: requests whose answers are compared with what was sent.

use super::Plan;
use bytes::{Buf, BytesMut};
use piko_core::http1::{BodyLength, ClientConn, Config, Fields, Part, RequestHead, Reuse, Version};
use piko_driver::{Addr, Runtime};
use piko_runtime_tokio::Stream;
use std::fmt;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Why a request does not count.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection.
    Connect(io::ErrorKind),
    /// The connection broke.
    Lost(io::ErrorKind),
    /// The answer was no HTTP, or too short.
    Malformed,
    /// Another status than 200.
    Status(u16),
    /// No agreement on TLS, and why.
    Tls(String),
    /// It took too long.
    Timeout,
    /// The bytes were others.
    Wrong,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(kind) => write!(f, "connect: {kind}"),
            Self::Lost(kind) => write!(f, "connection lost: {kind}"),
            Self::Malformed => f.write_str("the answer is no HTTP, or not all of it"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Tls(why) => f.write_str(why),
            Self::Timeout => f.write_str("timeout"),
            Self::Wrong => f.write_str("the answer is not what was sent"),
        }
    }
}

/// What goes both ways: a bare socket, whose figures are not to depend on the possibility of TLS, or one under TLS.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// A connection that carries one request after the other.
pub(super) struct Client {
    io: Box<dyn Duplex>,
    http: ClientConn,
    input: BytesMut,
    out: BytesMut,
}

impl Client {
    /// Connects within the time of the plan.
    pub(super) async fn connect(plan: &Plan) -> Result<Self, Failure> {
        let io = timeout(plan.timeout, dial(plan))
            .await
            .unwrap_or(Err(Failure::Connect(io::ErrorKind::TimedOut)))?;
        let http = ClientConn::new(Config::default(), plan.rt.now());
        Ok(Self { io, http, input: BytesMut::new(), out: BytesMut::new() })
    }

    /// Sends `body` to `endpoint` and compares the answer. True when the connection can be used again.
    pub(super) async fn ask(&mut self, plan: &Plan, endpoint: &str, body: &[u8]) -> Result<bool, Failure> {
        self.send(plan, endpoint, body).map_err(|()| Failure::Lost(io::ErrorKind::NotConnected))?;
        self.io.write_all_buf(&mut self.out).await.map_err(lost)?;
        let (mut rest, mut status) = (body, 0);
        loop {
            let part = self.http.handle_input(plan.rt.now(), &self.input);
            let (used, part) = part.map_err(|_| Failure::Malformed)?;
            let silent = part.is_none() && used == 0;
            let mut over = false;
            match part {
                Some(Part::Head(head)) => status = head.status,
                Some(Part::Data(range)) => rest = take(rest, &self.input[range], status)?,
                Some(Part::End) => over = true,
                _ => {}
            }
            self.input.advance(used);
            if over {
                break;
            }
            if silent && self.io.read_buf(&mut self.input).await.map_err(lost)? == 0 {
                let whole = self.http.handle_eof(plan.rt.now());
                if !whole.map_err(|_| Failure::Malformed)? {
                    return Err(Failure::Lost(io::ErrorKind::UnexpectedEof));
                }
                break;
            }
        }
        match status {
            200 if rest.is_empty() => Ok(self.http.reuse() == Reuse::Reuse),
            200 => Err(Failure::Wrong),
            status => Err(Failure::Status(status)),
        }
    }

    fn send(&mut self, plan: &Plan, endpoint: &str, body: &[u8]) -> Result<(), ()> {
        let fields = format!("host: {}\r\nx-piko-endpoint: {endpoint}\r\n", plan.authority);
        let head = RequestHead {
            // With a body, as Go's bench sends it.
            method: b"GET",
            target: plan.path.as_bytes(),
            version: Version::Http11,
            fields: Fields::from_block(fields.as_bytes()),
            body: BodyLength::Known(body.len() as u64),
            expects_continue: false,
            upgrade: false,
        };
        self.http.send_head(&head, true, &mut self.out).map_err(drop)?;
        if !body.is_empty() {
            let behind = self.http.send_data(body.len(), &mut self.out).map_err(drop)?;
            self.out.extend_from_slice(body);
            self.out.extend_from_slice(behind);
        }
        self.http.send_end(&mut self.out).map_err(drop)
    }
}

/// A connection to the first address of the proxy port that takes one.
async fn dial(plan: &Plan) -> Result<Box<dyn Duplex>, Failure> {
    let refused = |error: io::Error| Failure::Connect(error.kind());
    let Some(tls) = &plan.tls else {
        let tcp = TcpStream::connect((plan.host.as_str(), plan.port)).await.map_err(refused)?;
        tcp.set_nodelay(true).map_err(lost)?;
        return Ok(Box::new(tcp));
    };
    let mut last = Failure::Connect(io::ErrorKind::NotFound);
    for addr in plan.rt.resolve(&plan.host, plan.port).await.map_err(refused)? {
        match plan.rt.connect(&Addr::Ip(addr)).await {
            Ok(io) => {
                let io =
                    tls.connect(io, &plan.host).await.map_err(|error| Failure::Tls(error.to_string()))?;
                return Ok(Box::new(Stream::from(io)));
            }
            Err(error) => last = refused(error),
        }
    }
    Err(last)
}

/// What is still to come behind `got`. Of an answer with another status nothing is compared.
fn take<'b>(rest: &'b [u8], got: &[u8], status: u16) -> Result<&'b [u8], Failure> {
    if status != 200 {
        return Ok(rest);
    }
    rest.strip_prefix(got).ok_or(Failure::Wrong)
}

fn lost(error: io::Error) -> Failure {
    Failure::Lost(error.kind())
}
