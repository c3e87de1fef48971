//! A Piko listener on smol without an HTTP library: every request comes back as the answer's body.
//!
//! ```text
//! piko server &
//! cargo run -p piko-client --features smol --example smol_echo -- http://localhost:8001 my-endpoint &
//! curl -H 'x-piko-endpoint: my-endpoint' http://localhost:8000/any/path
//! ```
//!
//! Arguments: the URL of the server's upstream port and the endpoint; without them those above.

use futures::io::{AsyncReadExt, AsyncWriteExt};
use piko_client::smol::{self, Smol};
use piko_client::{Event, Runtime, Stream, Upstream};
use std::error::Error;
use std::io;

/// A request without a body ends with its first blank line, which is all that this example knows of HTTP.
const HEAD_BYTES_MAX: usize = 64 * 1024;

async fn echo(mut stream: Stream) -> io::Result<()> {
    let mut head = Vec::new();
    let mut buf = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let n = stream.read(&mut buf).await?;
        if n == 0 || head.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&buf[..n]);
    }
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", head.len());
    stream.write_all(answer.as_bytes()).await?;
    stream.write_all(&head).await?;
    // Without it the stream would be reset when it is dropped, as one that broke off.
    stream.close().await
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "http://localhost:8001".to_owned());
    let endpoint = args.next().unwrap_or_else(|| "my-endpoint".to_owned());

    smol::block_on(|rt: Smol| async move {
        let upstream = Upstream::new(rt, &url)?.on_event(|event| match event {
            Event::Connected { endpoint, .. } => println!("listening on {endpoint}"),
            Event::Lost { reason, .. } => println!("lost: {reason}; coming back"),
            Event::Failed { error, .. } => println!("no tunnel: {error}"),
            _ => {}
        });
        let listener = upstream.listen(&endpoint).await?;
        loop {
            let stream = listener.accept().await?;
            rt.spawn(async move {
                if let Err(error) = echo(stream).await {
                    eprintln!("{error}");
                }
            });
        }
    })
}
