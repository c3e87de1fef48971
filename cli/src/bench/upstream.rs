//! The upstreams: every request is answered with its own body.

use bytes::{Buf, BytesMut};
use piko_client::Listener;
use piko_core::http1::{BodyLength, Config, Fields, Next, Part, ResponseHead, ServerConn, Version};
use piko_driver::Runtime;
use piko_runtime_tokio::{Stream, Tokio};
use std::io;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Serves what comes in until the listener is over.
pub(super) fn serve(rt: Tokio, listener: Rc<Listener<Tokio>>) {
    drop(tokio::task::spawn_local(async move {
        while let Ok(stream) = listener.accept().await {
            let rt = rt.clone();
            drop(tokio::task::spawn_local(async move {
                // Whoever goes away is hung up on.
                let _ = echo(rt, stream).await;
            }));
        }
    }));
}

async fn echo(rt: Tokio, mut stream: Stream) -> io::Result<()> {
    let mut config = Config::default();
    // Its client is the server, which minds the time itself.
    (config.head_timeout, config.idle_timeout) = (None, None);
    let mut http = ServerConn::new(config, rt.now());
    let (mut input, mut body, mut out) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
    loop {
        let (used, part) = http.handle_input(rt.now(), &input).map_err(other)?;
        let silent = part.is_none() && used == 0;
        let mut over = false;
        match part {
            Some(Part::Data(range)) => body.extend_from_slice(&input[range]),
            Some(Part::End) => over = true,
            _ => {}
        }
        input.advance(used);
        if over {
            answer(&mut http, &body, &mut out).map_err(other)?;
            body.clear();
            let next = http.send_end(&mut out);
            stream.write_all_buf(&mut out).await?;
            if next != Next::KeepAlive {
                return stream.shutdown().await;
            }
        } else if silent && stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

fn answer(http: &mut ServerConn, body: &[u8], out: &mut BytesMut) -> Result<(), String> {
    let head = ResponseHead {
        status: 200,
        reason: b"OK",
        version: Version::Http11,
        fields: Fields::from_block(b"content-type: application/octet-stream\r\n"),
        body: BodyLength::Known(body.len() as u64),
    };
    http.send_head(&head, out).map_err(|refused| format!("{refused:?}"))?;
    if http.response_has_body() && !body.is_empty() {
        let behind = http.send_data(body.len(), out).map_err(|refused| format!("{refused:?}"))?;
        out.extend_from_slice(body);
        out.extend_from_slice(behind);
    }
    Ok(())
}

fn other(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
