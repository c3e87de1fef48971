//! A line protocol over a connection to an endpoint: sends each line of the arguments, and prints the line that comes
//! back. Redis speaks such a protocol, if one asks it inline.
//!
//! ```text
//! piko server &
//! piko agent tcp my-redis 6379 &
//! cargo run -p piko-client --features tokio --example dial -- http://localhost:8000 my-redis PING "SET a 1" "GET a"
//! ```
//!
//! Arguments: the URL of the server's proxy port and the endpoint (without them those above), and the lines.

use piko_client::Dialer;
use piko_client::tokio::Tokio;
use std::error::Error;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "http://localhost:8000".to_owned());
    let endpoint = args.next().unwrap_or_else(|| "my-redis".to_owned());

    let dialer = Dialer::new(Tokio::current(), &url)?;
    let (reader, mut writer) = tokio::io::split(dialer.dial(&endpoint).await?);
    let mut answers = BufReader::new(reader).lines();
    for line in args {
        writer.write_all(format!("{line}\r\n").as_bytes()).await?;
        match answers.next_line().await? {
            Some(answer) => println!("{answer}"),
            None => return Err("the service has ended the connection".into()),
        }
    }
    // Ends our direction; whatever the service still has to say comes before its own end.
    writer.shutdown().await?;
    while let Some(answer) = answers.next_line().await? {
        println!("{answer}");
    }
    Ok(())
}
