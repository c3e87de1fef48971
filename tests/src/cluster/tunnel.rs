//! A tunnel made of a socket, for registering an endpoint at little cost.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// An upgraded connection to an upstream port, on which nobody serves: it is registered until it is dropped, or
/// until the server misses an answer to its keep-alive.
#[derive(Debug)]
pub struct Tunnel(TcpStream);

impl Tunnel {
    /// Asks for the upgrade and does not wait for the answer.
    ///
    /// # Errors
    ///
    /// Those of connecting and sending.
    pub fn ask(server: SocketAddr, endpoint: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!(
            "GET /piko/v1/upstream/{endpoint} HTTP/1.1\r\nhost: test\r\nupgrade: websocket\r\n\
             connection: Upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        Ok(Self(stream))
    }

    /// Waits for the 101.
    ///
    /// # Errors
    ///
    /// Those of reading; `InvalidData` when the answer is another one.
    pub fn wait(&mut self) -> io::Result<()> {
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte)?;
            answer.push(byte[0]);
        }
        if answer.starts_with(b"HTTP/1.1 101 ") {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, String::from_utf8_lossy(&answer).into_owned()))
    }

    /// Registers an endpoint.
    ///
    /// # Errors
    ///
    /// As [`Self::ask`] and [`Self::wait`].
    pub fn open(server: SocketAddr, endpoint: &str) -> io::Result<Self> {
        let mut tunnel = Self::ask(server, endpoint)?;
        tunnel.wait()?;
        Ok(tunnel)
    }

    /// Answers every request with an empty 200, until the tunnel ends.
    ///
    /// # Panics
    ///
    /// When there is no thread to be had.
    pub fn answer(self) -> Answering {
        let socket = self.0.try_clone().expect("a descriptor");
        let work = move || {
            let mut tunnel = self.0;
            let _ = tunnel.set_read_timeout(None);
            let _ = tunnel.set_nodelay(true);
            while answer(&mut tunnel).is_ok() {}
        };
        let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(work).expect("a thread");
        Answering { socket, thread: Some(thread) }
    }
}

/// The threads only copy small frames.
const STACK_BYTES: usize = 64 * 1024;

/// A tunnel with a service behind it; dropping it ends it.
#[derive(Debug)]
pub struct Answering {
    socket: TcpStream,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The mux frames of one WebSocket message (wire protocol 3.6, 4.2): a ping is answered, and so is the first data of
/// each stream.
fn answer(tunnel: &mut TcpStream) -> io::Result<()> {
    let mut head = [0; 2];
    tunnel.read_exact(&mut head)?;
    let length = match head[1] {
        126 => {
            let mut more = [0; 2];
            tunnel.read_exact(&mut more)?;
            usize::from(u16::from_be_bytes(more))
        }
        127 => {
            let mut more = [0; 8];
            tunnel.read_exact(&mut more)?;
            usize::try_from(u64::from_be_bytes(more)).unwrap_or(usize::MAX).min(1 << 20)
        }
        short => usize::from(short),
    };
    let mut message = vec![0; length];
    tunnel.read_exact(&mut message)?;
    if head[0] & 0x0f != 2 {
        return Ok(());
    }
    let mut rest = &message[..];
    while let Some((frame, behind)) = rest.split_first_chunk::<12>() {
        let [_, kind, _, flags, s0, s1, s2, s3, value @ ..] = *frame;
        let stream = [s0, s1, s2, s3];
        let size = u32::from_be_bytes(value) as usize;
        rest = behind;
        match kind {
            // Data: the head of a request, which comes in one frame.
            0 if size > 0 => {
                rest = rest.get(size..).unwrap_or_default();
                const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                // The SYN is acknowledged and the stream finished in one.
                let mut frame = vec![0, 0, 0, 2 | 4];
                frame.extend(stream);
                frame.extend((ANSWER.len() as u32).to_be_bytes());
                frame.extend(ANSWER);
                send(tunnel, &frame)?;
            }
            // Ping.
            2 if flags & 1 != 0 => {
                let mut frame = vec![0, 2, 0, 2, 0, 0, 0, 0];
                frame.extend(value);
                send(tunnel, &frame)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// One message, masked with zeros as a client has to.
fn send(tunnel: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let mut message = vec![0x82, 0x80 | u8::try_from(frame.len()).unwrap_or(125), 0, 0, 0, 0];
    message.extend(frame);
    tunnel.write_all(&message)
}
