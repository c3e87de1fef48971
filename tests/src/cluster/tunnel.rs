//! A tunnel made of a socket, for registering an endpoint at little cost.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
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
}
