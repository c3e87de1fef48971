//! An endpoint is routable before its 101 leaves: an upstream that was told "you are connected" gets the very
//! next request.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use piko_tests::http::{End, Response};

use super::common::{PATIENCE, client, server};

/// Rounds of each case: what is tested is a race.
const ROUNDS: usize = 25;

/// An upstream made of bytes: a WebSocket with a mask of zeros, yamux frames by hand.
struct Upstream {
    stream: TcpStream,
}

impl Upstream {
    fn ask(server: SocketAddr, endpoint: &str) -> Self {
        let mut stream = TcpStream::connect(server).expect("the port is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        stream.set_nodelay(true).expect("an option");
        let head = format!(
            "GET /piko/v1/upstream/{endpoint} HTTP/1.1\r\nhost: test\r\nupgrade: websocket\r\n\
             connection: Upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        Self { stream }
    }

    fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).expect("bytes");
        bytes
    }

    /// Reads the rest of the 101, of which the first byte is known.
    fn read_101(&mut self) {
        let mut head = vec![b'H'];
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.read::<1>());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    }

    /// One message of the server; all are short.
    fn message(&mut self) -> Vec<u8> {
        let [first, len] = self.read();
        assert_eq!(first, 0x82, "a whole binary message");
        let len = match len {
            126 => u16::from_be_bytes(self.read()).into(),
            n => usize::from(n),
        };
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body).expect("a message");
        body
    }

    /// Waits for a request on stream 2 and answers it.
    fn answer(&mut self) {
        let mut input = Vec::new();
        while !input.windows(4).any(|w| w == b"\r\n\r\n") {
            input.extend(self.message());
        }
        assert!(input.starts_with(&[0, 1, 0, 1, 0, 0, 0, 2]), "the SYN of stream 2: {input:?}");
        let body = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello\n";
        let mut frames = vec![0, 1, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0];
        frames.extend([0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, body.len() as u8]);
        frames.extend(body);
        frames.extend([0, 1, 0, 4, 0, 0, 0, 2, 0, 0, 0, 0]);
        assert!(frames.len() < 126);
        let mut message = vec![0x82, 0x80 | frames.len() as u8, 0, 0, 0, 0];
        message.extend(frames);
        self.stream.write_all(&message).expect("sent");
    }
}

fn ask(proxy: SocketAddr, endpoint: &str) -> Response {
    client(proxy).get("/", &[("x-piko-endpoint", endpoint)]).expect("sent")
}

fn judge(response: &Response) {
    assert_eq!((response.status(), &response.end), (200, &End::Complete), "{response:?}");
    assert_eq!(response.body.bytes, b"hello\n");
}

#[test]
fn a_request_behind_the_101_finds_the_endpoint() {
    let server = server(&[]);
    for round in 0..ROUNDS {
        let endpoint = format!("behind-{round}");
        let mut upstream = Upstream::ask(server.upstream, &endpoint);
        assert_eq!(upstream.read(), *b"H");
        upstream.read_101();
        let (proxy, endpoint) = (server.proxy, endpoint.clone());
        let asking = thread::spawn(move || ask(proxy, &endpoint));
        upstream.answer();
        judge(&asking.join().expect("a client"));
    }
}

#[test]
fn a_request_at_the_first_byte_of_the_101_finds_the_endpoint() {
    let server = server(&[]);
    for round in 0..ROUNDS {
        let endpoint = format!("first-{round}");
        // The client is connected before, so that nothing stands between the byte and the request.
        let mut asking = client(server.proxy);
        let mut upstream = Upstream::ask(server.upstream, &endpoint);
        assert_eq!(upstream.read(), *b"H");
        asking.send_head("GET", "/", &[("x-piko-endpoint", &endpoint)]).expect("sent");
        upstream.read_101();
        upstream.answer();
        judge(&asking.read_response("GET"));
    }
}
