//! The sample service: a small HTTP/1.1 server on the machines of `piko-core`.
//!
//! | route | answer |
//! |---|---|
//! | `/` | a few words |
//! | `/echo` | the request's body, piece by piece while it arrives; over a WebSocket, its messages |
//! | `/sse?n=5` | so many server-sent events |
//! | `POST /kill/2` | kills the second server of the demo |

use super::websocket;
use bytes::{Buf, BytesMut};
use piko_core::http1::{
    BodyLength, Config, Fields, Next, Part, RequestHead, ResponseHead, ServerConn, Version,
};
use piko_core::ws::handshake;
use piko_driver::{Runtime, Shutdown, TaskGuard, Tasks};
use piko_runtime_tokio::Tokio;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Events of `/sse` when the query does not say how many.
const EVENTS: u64 = 5;
/// From one event to the next.
const EVENT_PAUSE: Duration = Duration::from_millis(300);
/// After a failed accept (out of descriptors) the port rests, so that it does not spin.
const REST: Duration = Duration::from_millis(50);

const PLAIN: &[u8] = b"content-type: text/plain; charset=utf-8\r\n";
const EVENT_STREAM: &[u8] = b"content-type: text/event-stream\r\ncache-control: no-store\r\n";

const WELCOME: &str = "Hello from the sample service. This answer came through a tunnel.

  /       this text
  /echo   sends the body of a request back; a WebSocket too
  /sse    server-sent events
";

/// Kills the server of this number; false when there is none.
pub(super) type Kill = Arc<dyn Fn(usize) -> bool + Send + Sync>;

/// A service with an open port.
pub(super) struct SampleService {
    rt: Tokio,
    kill: Kill,
    listener: TcpListener,
    addr: SocketAddr,
}

impl SampleService {
    /// Opens a port of the system's choice.
    pub(super) async fn bind(rt: Tokio, host: IpAddr, kill: Kill) -> io::Result<Self> {
        let listener = TcpListener::bind((host, 0)).await?;
        let addr = listener.local_addr()?;
        Ok(Self { rt, kill, listener, addr })
    }

    /// Where it listens.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop`, then ends what is under way.
    pub(super) async fn run(self, stop: Shutdown) {
        let Self { rt, kill, listener, .. } = self;
        let tasks = Tasks::new();
        loop {
            let accepted = tokio::select! {
                () = stop.wait() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, _)) => {
                    let conn = Conn::new(rt.clone(), tcp, stop.clone(), kill.clone());
                    let serve = |mut conn: Conn, guard: TaskGuard| async move {
                        // Whoever breaks HTTP, or goes away, is hung up on.
                        let _ = conn.serve().await;
                        drop(guard);
                    };
                    drop(tokio::spawn(serve(conn, tasks.enter())));
                }
                Err(error) => {
                    tracing::warn!(target: "service", %error, "accept failed");
                    tokio::time::sleep(REST).await;
                }
            }
        }
        drop(listener);
        tasks.idle().await;
    }
}

/// What a request asks for.
#[derive(Debug)]
enum Route {
    Echo(BodyLength),
    Events(u64),
    Kill(usize),
    Text(u16, &'static str),
    /// With the accept value.
    WebSocket([u8; 28]),
}

impl Route {
    fn of(head: &RequestHead<'_>) -> Self {
        let question = head.target.iter().position(|byte| *byte == b'?');
        let (path, query) = head.target.split_at(question.unwrap_or(head.target.len()));
        match path {
            b"/" => Self::Text(200, WELCOME),
            b"/echo" if head.upgrade => match handshake::judge_request(head) {
                Ok(accept) => Self::WebSocket(accept),
                Err(_) => Self::Text(400, "not a WebSocket handshake\n"),
            },
            b"/echo" => Self::Echo(head.body),
            b"/sse" => Self::Events(events(query)),
            // A page that somebody else wrote shall not kill anything.
            _ if head.method == b"POST" && head.fields.first("origin").is_none() => match killed(path) {
                Some(n) => Self::Kill(n),
                None => Self::Text(404, "no such route; see /\n"),
            },
            _ => Self::Text(404, "no such route; see /\n"),
        }
    }
}

/// The number in `?n=…`.
fn events(query: &[u8]) -> u64 {
    let number = query.strip_prefix(b"?n=").and_then(|digits| std::str::from_utf8(digits).ok());
    number.and_then(|digits| digits.parse().ok()).unwrap_or(EVENTS)
}

/// The number in `/kill/…`.
fn killed(path: &[u8]) -> Option<usize> {
    std::str::from_utf8(path.strip_prefix(b"/kill/")?).ok()?.parse().ok()
}

struct Conn {
    rt: Tokio,
    kill: Kill,
    tcp: TcpStream,
    http: ServerConn,
    input: BytesMut,
    out: BytesMut,
    stop: Shutdown,
}

impl Conn {
    fn new(rt: Tokio, tcp: TcpStream, stop: Shutdown, kill: Kill) -> Self {
        let mut config = Config::default();
        // Its client is the agent, which minds the time itself.
        (config.head_timeout, config.idle_timeout) = (None, None);
        let http = ServerConn::new(config, rt.now());
        Self { rt, kill, tcp, http, input: BytesMut::new(), out: BytesMut::new(), stop }
    }

    async fn serve(&mut self) -> io::Result<()> {
        self.tcp.set_nodelay(true)?;
        while let Some(route) = self.next().await? {
            match route {
                Route::Echo(body) => self.echo(body).await?,
                Route::Events(n) => self.events(n).await?,
                Route::Kill(n) if (self.kill)(n) => self.text(200, "killed\n").await?,
                Route::Kill(_) => self.text(404, "no such server\n").await?,
                Route::Text(status, text) => self.text(status, text).await?,
                Route::WebSocket(accept) => return self.websocket(&accept).await,
            }
            let next = self.http.send_end(&mut self.out);
            self.flush().await?;
            match next {
                Next::Abort => return self.tcp.set_zero_linger(),
                Next::Close => return self.tcp.shutdown().await,
                Next::KeepAlive => {}
            }
        }
        Ok(())
    }

    /// The next request; `None` at the end of the connection, and when the demo stops.
    async fn next(&mut self) -> io::Result<Option<Route>> {
        loop {
            let (used, part) = self.http.handle_input(self.rt.now(), &self.input).map_err(broken)?;
            let route = match part {
                Some(Part::Head(head)) => Some(Route::of(&head)),
                _ => None,
            };
            self.input.advance(used);
            if route.is_some() {
                return Ok(route);
            }
            let stop = self.stop.clone();
            let read = unless(&stop, self.tcp.read_buf(&mut self.input)).await.transpose()?;
            // Stopped, or the end of the connection.
            if matches!(read, None | Some(0)) {
                return Ok(None);
            }
        }
    }

    /// The next piece of the request's body; `None` behind the last one.
    async fn piece(&mut self) -> io::Result<Option<BytesMut>> {
        loop {
            let (used, part) = self.http.handle_input(self.rt.now(), &self.input).map_err(broken)?;
            let (range, end) = match part {
                Some(Part::Data(range)) => (Some(range), false),
                Some(Part::End) => (None, true),
                // Trailers say nothing that is sent back.
                Some(_) => (None, false),
                None if used > 0 => (None, false),
                None => {
                    if self.tcp.read_buf(&mut self.input).await? == 0 {
                        self.http.handle_eof(self.rt.now()).map_err(broken)?;
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    continue;
                }
            };
            let piece = range.map(|range| BytesMut::from(&self.input[range]));
            self.input.advance(used);
            if piece.is_some() || end {
                return Ok(piece);
            }
        }
    }

    async fn text(&mut self, status: u16, text: &str) -> io::Result<()> {
        while self.piece().await?.is_some() {}
        self.head(status, PLAIN, BodyLength::Known(text.len() as u64))?;
        self.data(text.as_bytes()).await
    }

    async fn echo(&mut self, body: BodyLength) -> io::Result<()> {
        if self.http.wants_continue() {
            self.head(100, b"", BodyLength::None)?;
            self.flush().await?;
        }
        self.head(200, PLAIN, body)?;
        // The answer begins before the question is over.
        self.flush().await?;
        while let Some(piece) = self.piece().await? {
            self.data(&piece).await?;
        }
        Ok(())
    }

    async fn events(&mut self, n: u64) -> io::Result<()> {
        while self.piece().await?.is_some() {}
        self.head(200, EVENT_STREAM, BodyLength::Chunked)?;
        let stop = self.stop.clone();
        for event in 1..=n {
            self.data(format!("data: event {event} of {n}\n\n").as_bytes()).await?;
            if event < n && unless(&stop, tokio::time::sleep(EVENT_PAUSE)).await.is_none() {
                // So many were promised: whoever gets fewer has to see that they were cut.
                self.tcp.set_zero_linger()?;
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        Ok(())
    }

    async fn websocket(&mut self, accept: &[u8; 28]) -> io::Result<()> {
        let mut fields = b"upgrade: websocket\r\nsec-websocket-accept: ".to_vec();
        fields.extend_from_slice(accept);
        fields.extend_from_slice(b"\r\n");
        self.head(101, &fields, BodyLength::None)?;
        self.flush().await?;
        let stop = self.stop.clone();
        unless(&stop, websocket::echo(&mut self.tcp, &mut self.input)).await.unwrap_or(Ok(()))
    }

    fn head(&mut self, status: u16, fields: &[u8], body: BodyLength) -> io::Result<()> {
        let reason: &[u8] = match status {
            100 => b"Continue",
            101 => b"Switching Protocols",
            200 => b"OK",
            400 => b"Bad Request",
            _ => b"Not Found",
        };
        let fields = Fields::from_block(fields);
        let head = ResponseHead { status, reason, version: Version::Http11, fields, body };
        self.http.send_head(&head, &mut self.out).map_err(|refused| io::Error::other(format!("{refused:?}")))
    }

    /// Sends a piece of the response at once, with the head when that has not left yet.
    async fn data(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.http.response_has_body() && !piece.is_empty() {
            let sent = self.http.send_data(piece.len(), &mut self.out);
            let behind = sent.map_err(|refused| io::Error::other(format!("{refused:?}")))?;
            self.out.extend_from_slice(piece);
            self.out.extend_from_slice(behind);
        }
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.tcp.write_all_buf(&mut self.out).await
    }
}

/// Runs `work` unless the demo stops first.
async fn unless<T>(stop: &Shutdown, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = stop.wait() => None,
        done = work => Some(done),
    }
}

fn broken(fault: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault.to_string())
}
