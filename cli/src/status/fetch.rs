//! One `GET` of an admin port, on the machines of `piko-core`.

use bytes::{Buf, BytesMut};
use futures::io::{AsyncReadExt, AsyncWriteExt};
use piko_config::{ClientTlsOptions, ConnectUrl, KeyPairFiles, Secret, StatusOptions};
use piko_core::http1::{BodyLength, ClientConn, Config, Fields, Part, RequestHead, Version};
use piko_core::via::Login;
use piko_driver::tls::{ClientFiles, Connector, PairFiles, useless_authorities};
use piko_driver::{Addr, MaybeTls, Runtime, timeout_at};
use piko_runtime_tokio::Tokio;
use std::io;
use std::time::Duration;

/// The whole question, as in Go.
const LIMIT: Duration = Duration::from_secs(15);
/// More than the state of a large cluster, and less than what would hurt who asks.
const BODY_BYTES_MAX: usize = 256 << 20;
/// One read of the connection.
const READ_BYTES: usize = 16 * 1024;
/// What is shown of a server's reason.
const REASON_CHARS_MAX: usize = 300;

/// Where to ask.
#[derive(Debug)]
pub(super) struct Source {
    url: ConnectUrl,
    /// How an https URL is asked.
    tls: Option<Connector>,
    token: Option<Secret>,
    login: Option<Login>,
    forward: Option<String>,
}

impl Source {
    /// The text says what is wrong with the files of certificates.
    pub(super) fn parse(query: &StatusOptions) -> Result<Self, String> {
        let url = query.url.clone();
        let pair = |files: &KeyPairFiles| PairFiles { cert: (&files.cert).into(), key: (&files.key).into() };
        let files = ClientFiles {
            cert: query.tls.cert.as_ref().map(pair),
            root_cas: query.tls.root_cas.as_ref().map(Into::into),
            insecure_skip_verify: query.tls.insecure_skip_verify,
            ..ClientFiles::default()
        };
        let connector = url.tls.then(|| Connector::new(files, piko_server::program::crypto())).transpose();
        let by_machine = query.tls.root_cas.is_none() && !query.tls.insecure_skip_verify;
        if url.tls && by_machine {
            useless_authorities().iter().for_each(|line| eprintln!("warning: {line}"));
        }
        let tls = connector.map_err(|error| format!("tls: {error}"))?;
        if !url.tls && query.tls != ClientTlsOptions::default() {
            eprintln!("warning: --server.tls.*: no effect without an https:// URL in --server.url");
        } else if query.tls.insecure_skip_verify {
            eprintln!("warning: --server.tls.insecure-skip-verify: whoever answers is believed");
        }
        let login = query.login.as_ref();
        let login = login
            .map(|(user, password)| Login { user: user.clone(), password: password.reveal().to_owned() });
        Ok(Self { url, tls, login, token: query.token.clone(), forward: query.forward.clone() })
    }

    /// The body of a 200; an error in Go's words where Go has some.
    pub(super) fn get(&self, path: &str) -> Result<Vec<u8>, String> {
        let mut target = format!("{}{path}", self.url.prefix);
        if let Some(id) = &self.forward {
            target.push_str("?forward=");
            target.push_str(&segment(id));
        }
        piko_runtime_tokio::block_on(|rt| async move {
            let until = rt.now() + LIMIT;
            match timeout_at(&rt, Some(until), self.ask(&rt, &target)).await {
                Ok(answer) => answer,
                Err(_) => Err("timed out".to_owned()),
            }
        })
    }

    async fn ask(&self, rt: &Tokio, target: &str) -> Result<Vec<u8>, String> {
        let (host, port) = (&self.url.host, self.url.port);
        let addrs = rt.resolve(host, port).await.map_err(|error| format!("resolve {host}: {error}"))?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address").to_string();
        for addr in addrs {
            match rt.connect(&Addr::Ip(addr)).await {
                Ok(io) => {
                    let io = match &self.tls {
                        Some(tls) => tls.connect(io, host).await.map_err(|error| error.to_string())?,
                        None => MaybeTls::Plain(io),
                    };
                    return self.exchange(rt, io, target).await;
                }
                Err(error) => last = format!("connect {addr}: {error}"),
            }
        }
        Err(last)
    }

    async fn exchange(
        &self,
        rt: &Tokio,
        mut io: MaybeTls<<Tokio as Runtime>::Tcp>,
        target: &str,
    ) -> Result<Vec<u8>, String> {
        let mut http = ClientConn::new(Config::default(), rt.now());
        let mut fields = format!(
            "Host: {}\r\nUser-Agent: piko/{}\r\nAccept: application/json\r\n",
            self.url.authority(),
            env!("CARGO_PKG_VERSION")
        );
        if let Some(token) = &self.token {
            fields.extend(["Authorization: Bearer ", token.reveal(), "\r\n"]);
        } else if let Some(login) = &self.login {
            let mut value = BytesMut::new();
            login.put_basic(&mut value).map_err(|_| "a login that cannot be sent")?;
            fields.extend(["Authorization: ", &String::from_utf8_lossy(&value), "\r\n"]);
        }
        let head = RequestHead {
            method: b"GET",
            target: target.as_bytes(),
            version: Version::Http11,
            fields: Fields::from_block(fields.as_bytes()),
            body: BodyLength::None,
            expects_continue: false,
            upgrade: false,
        };
        let mut request = BytesMut::new();
        http.send_head(&head, false, &mut request).map_err(|error| error.to_string())?;
        io.write_all(&request).await.map_err(|error| error.to_string())?;
        let (mut input, mut chunk) = (BytesMut::new(), vec![0; READ_BYTES]);
        let (mut body, mut status) = (Vec::new(), 0);
        loop {
            let now = rt.now();
            loop {
                let (used, part) =
                    http.handle_input(now, &input).map_err(|fault| format!("malformed response: {fault}"))?;
                match part {
                    None => {
                        input.advance(used);
                        break;
                    }
                    Some(Part::Head(head)) => status = head.status,
                    Some(Part::Data(range)) => body.extend_from_slice(&input[range]),
                    Some(Part::End) => return judge(status, body),
                    Some(_) => {}
                }
                input.advance(used);
                if body.len() > BODY_BYTES_MAX {
                    return Err("the answer is too long".to_owned());
                }
            }
            let n = io.read(&mut chunk).await.map_err(|error| error.to_string())?;
            if n == 0 {
                let whole = http.handle_eof(now).map_err(|fault| fault.to_string())?;
                return if whole { judge(status, body) } else { Err("no answer".to_owned()) };
            }
            input.extend_from_slice(&chunk[..n]);
        }
    }
}

fn judge(status: u16, body: Vec<u8>) -> Result<Vec<u8>, String> {
    match reason(&body) {
        _ if status == 200 => Ok(body),
        Some(reason) => Err(format!("bad status: {status}: {reason}")),
        None => Err(format!("bad status: {status}")),
    }
}

/// What a server says of its refusal, where it says something: the members `error` and `cause` of its JSON, or one line of
/// text, such as that it speaks TLS; without what could move a terminal's cursor.
fn reason(body: &[u8]) -> Option<String> {
    let words = match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(answer) => {
            let error = answer.get("error")?.as_str()?;
            let cause = answer.get("cause").and_then(serde_json::Value::as_str);
            cause.map_or_else(|| error.to_owned(), |cause| format!("{error} ({cause})"))
        }
        Err(_) => {
            let text = std::str::from_utf8(body).ok()?.trim();
            let is_line = !text.is_empty() && !text.starts_with(['<', '{']) && !text.contains('\n');
            is_line.then(|| text.to_owned())?
        }
    };
    Some(words.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect())
}

/// One path segment or query value (RFC 3986): unreserved bytes stay, others are escaped.
pub(super) fn segment(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_server() {
        let told = |body: &[u8]| judge(502, body.to_vec()).expect_err("refused");
        let body = br#"{"error":"upstream unreachable","hop":"server","cause":"tls-failed"}"#;
        assert_eq!(told(body), "bad status: 502: upstream unreachable (tls-failed)");
        assert_eq!(told(br#"{"error":"go \u001b[2Jaway"}"#), "bad status: 502: go [2Jaway");
        for nothing in [&b""[..], b"<html>", b"{}", b"{\"error\":1}"] {
            assert_eq!(told(nothing), "bad status: 502");
        }
        let plain = b"Client sent an HTTP request to an HTTPS server.\n";
        assert_eq!(told(plain), "bad status: 502: Client sent an HTTP request to an HTTPS server.");
        assert_eq!(told(b"two\nlines"), "bad status: 502");
        assert_eq!(judge(200, body.to_vec()), Ok(body.to_vec()));
    }
}
