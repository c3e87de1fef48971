//! A web application of hyper that is reached through Piko: no port is open on this machine.
//!
//! ```text
//! piko server &
//! cargo run -p piko-client --features tokio --example hyper_app -- http://localhost:8001 my-endpoint &
//! curl -H 'x-piko-endpoint: my-endpoint' http://localhost:8000/
//! ```
//!
//! Arguments: the URL of the server's upstream port and the endpoint; without them those above.

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use piko_client::Upstream;
use piko_client::tokio::Tokio;
use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

async fn hello(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    Ok(Response::new(format!("hello from {} {}\n", request.method(), request.uri())))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "http://localhost:8001".to_owned());
    let endpoint = args.next().unwrap_or_else(|| "my-endpoint".to_owned());

    let listener = Upstream::new(Tokio::current(), &url)?.listen(&endpoint).await?;
    println!("listening on {endpoint}");
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let stream = accepted?;
                tokio::spawn(async move {
                    // Each stream is one connection of the server, and as good as a socket.
                    let served = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), service_fn(hello))
                        .with_upgrades();
                    if let Err(error) = served.await {
                        eprintln!("{error}");
                    }
                });
            }
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    // No new requests; those that are open have ten seconds.
    listener.close(Duration::from_secs(10)).await;
    Ok(())
}
