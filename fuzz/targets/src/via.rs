//! Answers of a hostile proxy: `[protocol, login and destination][cuts][answers]`.

use crate::cuts::Cuts;
use bytes::BytesMut;
use piko_core::via::{Destination, Fault, Handshake, Login, Progress, Protocol, TEXT_BYTES_MAX};

/// The longest head of an answer to `CONNECT`.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The longest answers of a SOCKS5 proxy together: method, login, and a reply with a name.
const SOCKS5_BYTES_MAX: usize = 2 + 2 + 4 + 1 + TEXT_BYTES_MAX + 2;
/// More than greeting, login and request together, or the request line and fields of `CONNECT`.
const SAID_BYTES_MAX: usize = 2048;

/// What came of a conversation.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// `None`: more is expected. The number is what belongs to the proxy.
    verdict: Option<Result<usize, Fault>>,
    said: Vec<u8>,
}

/// Talks to the proxy in pieces and at once.
///
/// # Panics
/// When the pieces change what came of it, a verdict does not stay, a limit is exceeded, or something is said behind a
/// fault.
pub fn via(data: &[u8]) {
    let [flags, cuts, wire @ ..] = data else { return };
    let pieces = talk(*flags, wire, Cuts::new(*cuts, wire));
    let whole = talk(*flags, wire, Cuts::whole());
    assert_eq!(pieces.verdict, whole.verdict, "pieces change the verdict");
    // Whoever hears all at once does not say what would have come in front of a fault.
    match whole.verdict {
        Some(Err(_)) => assert!(pieces.said.starts_with(&whole.said), "a fault makes it say more"),
        _ => assert_eq!(pieces.said, whole.said, "pieces change what is said"),
    }
}

fn talk(flags: u8, wire: &[u8], mut cuts: Cuts) -> Outcome {
    let protocol = if flags & 1 == 0 { Protocol::Connect } else { Protocol::Socks5 };
    let login = (flags & 2 != 0).then(|| Login { user: "us".to_owned(), password: "secret".to_owned() });
    let long = "h".repeat(TEXT_BYTES_MAX);
    let host = ["piko.example.com", "10.0.0.1", "2001:db8::1", &long][usize::from(flags >> 2 & 3)];
    let destination = Destination { host, port: 8001 };
    let handshake = Handshake::new(protocol, login.as_ref(), destination);
    let mut handshake = handshake.expect("all of them can be said");
    let (mut said, mut heard, mut rest) = (BytesMut::new(), 0, wire);
    handshake.poll_transmit(&mut said);
    assert!(!said.is_empty(), "we begin");
    let verdict = loop {
        if rest.is_empty() {
            break None;
        }
        let piece = cuts.next(&mut rest);
        match handshake.handle_input(piece) {
            Ok(Progress::More) => {
                heard += piece.len();
                let limit = if flags & 1 == 0 { HEAD_BYTES_MAX } else { SOCKS5_BYTES_MAX };
                assert!(heard <= limit, "it listens for ever");
                handshake.poll_transmit(&mut said);
            }
            Ok(Progress::Done { taken }) => {
                assert!(taken <= piece.len(), "more than there was");
                handshake.poll_transmit(&mut said);
                break Some(Ok(heard + taken));
            }
            Err(fault) => {
                assert_eq!(handshake.poll_transmit(&mut said), 0, "said to somebody who does not understand");
                break Some(Err(fault));
            }
        }
    };
    assert!(said.len() <= SAID_BYTES_MAX, "{} bytes said", said.len());
    settled(&mut handshake, verdict);
    Outcome { verdict, said: said.to_vec() }
}

/// What was decided stays so, whatever comes.
fn settled(handshake: &mut Handshake, verdict: Option<Result<usize, Fault>>) {
    let ended = handshake.handle_eof();
    match verdict {
        None => assert_eq!(ended, Err(Fault::Ended)),
        Some(Ok(_)) => {
            assert_eq!(ended, Ok(()));
            assert_eq!(handshake.handle_input(b"\x05\xff"), Ok(Progress::Done { taken: 0 }));
        }
        Some(Err(fault)) => {
            assert_eq!(ended, Err(fault));
            assert_eq!(handshake.handle_input(b"HTTP/1.1 200\r\n\r\n"), Err(fault));
        }
    }
    assert_eq!(handshake.poll_transmit(&mut BytesMut::new()), 0, "it is over");
}
