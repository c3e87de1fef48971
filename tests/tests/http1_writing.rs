//! What the HTTP/1 machines write: framing for every version, method, status and body; keep-alive, pipelining,
//! interim responses, switches, cut responses, deadlines.

use bytes::{BufMut, BytesMut};
use piko_core::http1::{
    BodyLength, ClientConn, Config, Fields, Next, Part, Refused, RequestHead, ResponseHead, Reuse,
    ServerConn, Version,
};
use piko_core::time::Instant;
use std::time::Duration;

const NOW: Instant = Instant::ZERO;

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// A server machine that has read what it can of `input`, and what is left.
fn server(input: &[u8]) -> (ServerConn, Vec<u8>) {
    let mut conn = ServerConn::new(Config::default(), NOW);
    let mut rest = input.to_vec();
    read(&mut conn, &mut rest);
    (conn, rest)
}

/// Reads until no part comes, and names the parts.
fn read(conn: &mut ServerConn, rest: &mut Vec<u8>) -> String {
    let mut seen = String::new();
    loop {
        let (n, part) = conn.handle_input(NOW, rest).expect("legal input");
        let name = match &part {
            None => "",
            Some(Part::Data(_)) => "data ",
            Some(Part::End) => "end ",
            Some(Part::Head(_)) => "head ",
            Some(Part::Interim(_)) => "interim ",
            Some(Part::Switched) => "switched ",
            Some(Part::Trailers(_)) => "trailers ",
        };
        seen.push_str(name);
        let stop = matches!(part, None | Some(Part::Switched));
        rest.drain(..n);
        if stop {
            return seen;
        }
    }
}

fn head(status: u16, block: &[u8], body: BodyLength) -> ResponseHead<'_> {
    ResponseHead { status, reason: b"R", version: Version::Http11, fields: Fields::from_block(block), body }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes a whole response with `payload` in one piece.
fn answer(conn: &mut ServerConn, head: &ResponseHead<'_>, payload: &[u8]) -> (String, Next) {
    let mut out = BytesMut::new();
    conn.send_head(head, &mut out).expect("a request waits");
    if conn.response_has_body() {
        let behind = conn.send_data(payload.len(), &mut out).expect("the body has room");
        out.put_slice(payload);
        out.put_slice(behind);
    }
    let next = conn.send_end(&mut out);
    (text(&out), next)
}

/// Every version × method × status × body, against the framing that RFC 9112 6 and RFC 9110 8.6 ask for.
#[test]
fn response_framing() {
    let clients = [
        ("HTTP/1.1\r\nHost: h", true, true),
        ("HTTP/1.1\r\nHost: h\r\nConnection: close", true, false),
        ("HTTP/1.0", false, false),
        ("HTTP/1.0\r\nConnection: Keep-Alive", false, true),
    ];
    let bodies = [
        (BodyLength::None, &b""[..]),
        (BodyLength::Known(0), b""),
        (BodyLength::Known(3), b"abc"),
        (BodyLength::Chunked, b"abc"),
        (BodyLength::UntilClose, b"abc"),
    ];
    // The block claims another framing, which must never reach the wire.
    let block =
        b"A: b\r\nTransfer-Encoding: gzip\r\nKeep-Alive: 9\r\nUpgrade: u\r\nContent-Length: 3\r\nC: d\r\n";
    for (version, is_11, persist) in clients {
        for method in ["GET", "HEAD", "POST"] {
            for status in [200, 204, 205, 304, 404] {
                for (body, payload) in bodies {
                    let (mut conn, _) = server(format!("{method} / {version}\r\n\r\n").as_bytes());
                    let (got, next) = answer(&mut conn, &head(status, block, body), payload);
                    let bodyless = method == "HEAD" || matches!(status, 204 | 304);
                    let until_close =
                        !bodyless && !is_11 && matches!(body, BodyLength::Chunked | BodyLength::UntilClose);
                    let framing = match body {
                        _ if status == 204 => "",
                        _ if bodyless => "content-length: 3\r\n",
                        BodyLength::None | BodyLength::Known(0) => "content-length: 0\r\n",
                        BodyLength::Known(_) => "content-length: 3\r\n",
                        _ if is_11 => "transfer-encoding: chunked\r\n",
                        _ => "",
                    };
                    let keep = persist && !until_close;
                    let connection = match (keep, is_11) {
                        (false, _) => "connection: close\r\n",
                        (true, false) => "connection: keep-alive\r\n",
                        (true, true) => "",
                    };
                    let payload = match body {
                        _ if bodyless => String::new(),
                        BodyLength::Chunked | BodyLength::UntilClose if is_11 => {
                            "3\r\nabc\r\n0\r\n\r\n".into()
                        }
                        _ => text(payload),
                    };
                    let want =
                        format!("HTTP/1.1 {status} R\r\nA: b\r\nC: d\r\n{framing}{connection}\r\n{payload}");
                    let case = format!("{method} {version} {status} {body:?}");
                    assert_eq!(got, want, "{case}");
                    assert_eq!(next, if keep { Next::KeepAlive } else { Next::Close }, "{case}");
                }
            }
        }
    }
}

#[test]
fn a_length_made_here_is_told_to_head() {
    let (mut conn, _) = server(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    let (got, _) = answer(&mut conn, &head(200, b"", BodyLength::Known(7)), b"");
    assert_eq!(got, "HTTP/1.1 200 R\r\ncontent-length: 7\r\n\r\n");
    let (mut conn, _) = server(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    let (got, _) =
        answer(&mut conn, &head(200, b"Content-Length: 7\r\ncontent-length: 8\r\n", BodyLength::None), b"");
    assert_eq!(got, "HTTP/1.1 200 R\r\n\r\n", "differing lengths are not told");
}

/// RFC 9112 8: towards every client a response that ends early must look like it.
#[test]
fn cut_responses() {
    let cases = [
        ("HTTP/1.1\r\nHost: h", BodyLength::Known(3), Next::Close),
        ("HTTP/1.1\r\nHost: h", BodyLength::Chunked, Next::Close),
        ("HTTP/1.1\r\nHost: h", BodyLength::UntilClose, Next::Close),
        ("HTTP/1.0", BodyLength::Known(3), Next::Close),
        ("HTTP/1.0", BodyLength::Chunked, Next::Abort),
        ("HTTP/1.0", BodyLength::UntilClose, Next::Abort),
    ];
    for (version, body, want) in cases {
        let (mut conn, _) = server(format!("GET / {version}\r\n\r\n").as_bytes());
        let mut out = BytesMut::new();
        assert_eq!(conn.cut(), Next::Close, "nothing was begun");
        conn.send_head(&head(200, b"", body), &mut out).unwrap();
        let before = out.len();
        assert!(conn.send_data(2, &mut out).is_ok());
        assert_eq!(conn.cut(), want, "{version} {body:?}");
        assert!(!text(&out[before..]).contains("0\r\n\r\n"));
    }
}

#[test]
fn a_length_is_a_promise() {
    let (mut conn, _) = server(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut out = BytesMut::new();
    conn.send_head(&head(200, b"", BodyLength::Known(3)), &mut out).unwrap();
    assert_eq!(conn.send_data(4, &mut out), Err(Refused::State));
    assert_eq!(conn.send_data(2, &mut out), Ok(&b""[..]));
    assert_eq!(conn.send_data(2, &mut out), Err(Refused::State));
    assert_eq!(conn.send_end(&mut out), Next::Abort);
    assert_eq!(conn.send_end(&mut out), Next::Abort, "and it stays so");
    assert!(!conn.wants_input() || !conn.is_idle());

    let mut conn = ClientConn::new(Config::default(), NOW);
    conn.send_head(&request(b"POST", BodyLength::Known(3), false), true, &mut out).unwrap();
    assert_eq!(conn.send_end(&mut out), Err(Refused::State));
    assert_eq!(conn.send_data(4, &mut out), Err(Refused::State));
    assert_eq!(conn.send_data(3, &mut out), Ok(&b""[..]));
    assert!(!conn.request_done());
    assert_eq!(conn.send_end(&mut out), Ok(()));
    assert!(conn.request_done());
}

fn request(method: &[u8], body: BodyLength, upgrade: bool) -> RequestHead<'_> {
    RequestHead {
        method,
        target: if method == b"CONNECT" { b"h:1" } else { b"/p" },
        version: Version::Http10,
        fields: Fields::from_block(
            b"Host: h\r\nConnection: x\r\nUpgrade: u\r\nContent-Length: 8\r\nTrailer: t\r\n",
        ),
        body,
        expects_continue: false,
        upgrade,
    }
}

#[test]
fn request_framing() {
    use BodyLength::{Chunked, Known, None};
    let rows: [(&[u8], BodyLength, bool, bool, &str); 8] = [
        (b"GET", None, false, true, ""),
        (b"GET", None, false, false, "connection: close\r\n"),
        (b"POST", Known(0), false, true, "content-length: 0\r\n"),
        (b"POST", Known(9), false, false, "content-length: 9\r\nconnection: close\r\n"),
        (b"POST", Chunked, false, true, "transfer-encoding: chunked\r\n"),
        (b"GET", None, true, true, "connection: upgrade\r\n"),
        (b"GET", None, true, false, "connection: upgrade\r\n"),
        (b"CONNECT", None, true, false, "connection: close\r\n"),
    ];
    for (method, body, upgrade, keep_alive, framing) in rows {
        let mut conn = ClientConn::new(Config::default(), NOW);
        let head = request(method, body, upgrade);
        let mut out = BytesMut::new();
        conn.send_head(&head, keep_alive, &mut out).unwrap();
        let kept = if upgrade && method != b"CONNECT" { "Upgrade: u\r\n" } else { "" };
        let start = format!("{} {} HTTP/1.1\r\nHost: h\r\n", text(method), text(head.target));
        assert_eq!(text(&out), format!("{start}{kept}Trailer: t\r\n{framing}\r\n"));
        assert_eq!(conn.request_done(), matches!(body, None | Known(0)));
        assert_eq!(conn.send_head(&head, keep_alive, &mut out), Err(Refused::State), "one at a time");
    }
    let mut conn = ClientConn::new(Config::default(), NOW);
    let mut out = BytesMut::new();
    assert_eq!(
        conn.send_head(&request(b"GET", BodyLength::UntilClose, false), true, &mut out),
        Err(Refused::State)
    );
    for (method, target) in
        [(&b"G T"[..], &b"/"[..]), (b"GET", b"/ HTTP/1.1\r\nX: y"), (b"GET", b""), (b"", b"/")]
    {
        let head = RequestHead { method, target, ..request(b"GET", None, false) };
        assert_eq!(conn.send_head(&head, true, &mut out), Err(Refused::State));
    }
    assert!(out.is_empty());
}

#[test]
fn trailers_go_where_chunks_go() {
    let fields = Fields::from_block(b"X: y\r\nHost: z\r\nContent-Length: 4\r\n");
    for (version, body, behind) in [
        ("HTTP/1.1\r\nHost: h", BodyLength::Chunked, "0\r\nX: y\r\n\r\n"),
        ("HTTP/1.1\r\nHost: h", BodyLength::Known(0), ""),
        ("HTTP/1.0", BodyLength::Chunked, ""),
    ] {
        let (mut conn, _) = server(format!("GET / {version}\r\n\r\n").as_bytes());
        let mut out = BytesMut::new();
        assert_eq!(conn.send_trailers(&fields, &mut out), Err(Refused::State));
        conn.send_head(&head(200, b"", body), &mut out).unwrap();
        let before = out.len();
        conn.send_trailers(&fields, &mut out).unwrap();
        assert_ne!(conn.send_end(&mut out), Next::Abort);
        assert_eq!(text(&out[before..]), behind, "{version} {body:?}");
    }
    let mut conn = ClientConn::new(Config::default(), NOW);
    let mut out = BytesMut::new();
    conn.send_head(&request(b"POST", BodyLength::Chunked, false), true, &mut out).unwrap();
    let before = out.len();
    assert_eq!(conn.send_data(0, &mut out), Ok(&b""[..]), "an empty chunk would be the end");
    conn.send_trailers(&fields, &mut out).unwrap();
    assert_eq!(conn.send_trailers(&fields, &mut out), Err(Refused::State));
    assert_eq!(conn.send_data(1, &mut out), Err(Refused::State));
    conn.send_end(&mut out).unwrap();
    assert_eq!(text(&out[before..]), "0\r\nX: y\r\n\r\n");
}

/// Whatever does not fit is asked for exactly, and leaves no byte and no state behind.
#[test]
fn no_room() {
    let whole = |room: usize| {
        let (mut conn, _) = server(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut buffer = vec![0; room];
        let mut out = &mut buffer[..];
        let mut steps = 0;
        let verdict = (|| {
            conn.send_head(&head(200, b"A:b\r\n", BodyLength::Chunked), &mut out)?;
            steps += 1;
            conn.send_data(0x1234, &mut out)?;
            steps += 1;
            conn.send_trailers(&Fields::from_block(b"X: y\r\n"), &mut out)
        })();
        let left = out.len();
        let written = buffer[..room - left].to_vec();
        (verdict, steps, written, conn.response_begun())
    };
    let (verdict, _, all, _) = whole(200);
    assert_eq!(verdict, Ok(()));
    assert_eq!(
        text(&all),
        "HTTP/1.1 200 R\r\nA: b\r\ntransfer-encoding: chunked\r\n\r\n1234\r\n0\r\nX: y\r\n\r\n"
    );
    let ends = [52, 58, all.len()];
    for room in 0..all.len() {
        let (verdict, steps, written, begun) = whole(room);
        let start = if steps == 0 { 0 } else { ends[steps - 1] };
        assert_eq!(verdict, Err(Refused::NoRoom(ends[steps] - start)), "{room}");
        assert_eq!(written, all[..start]);
        assert_eq!(begun, steps > 0);
    }
    let (mut conn, _) = server(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    conn.send_head(&head(200, b"", BodyLength::Chunked), &mut BytesMut::new()).unwrap();
    assert_eq!(conn.send_end(&mut &mut [0; 4][..]), Next::Abort, "without the last chunk it is not complete");
}

#[test]
fn pipelined_requests_wait_for_their_turn() {
    let (mut conn, mut rest) = server(
        b"POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nabHEAD /2 HTTP/1.1\r\nHost: h\r\n\r\n\
          GET /3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /4 HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    assert!(conn.request_done() && !conn.wants_input() && !conn.is_idle());
    assert_eq!(read(&mut conn, &mut rest), "", "the second waits");
    assert_eq!(answer(&mut conn, &head(200, b"", BodyLength::Known(1)), b"1").1, Next::KeepAlive);
    assert!(conn.wants_input() && !conn.request_done());
    assert_eq!(read(&mut conn, &mut rest), "head end ");
    assert_eq!(answer(&mut conn, &head(200, b"", BodyLength::Known(1)), b"").1, Next::KeepAlive);
    assert_eq!(read(&mut conn, &mut rest), "head end ");
    let (got, next) = answer(&mut conn, &head(200, b"", BodyLength::Known(1)), b"3");
    assert_eq!(
        (got.as_str(), next),
        ("HTTP/1.1 200 R\r\ncontent-length: 1\r\nconnection: close\r\n\r\n3", Next::Close)
    );
    assert_eq!(read(&mut conn, &mut rest), "", "nothing is read behind a close");
}

#[test]
fn a_fault_does_not_inherit_the_request_before_it() {
    let (mut conn, _) = server(b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(answer(&mut conn, &head(200, b"", BodyLength::Known(1)), b"").1, Next::KeepAlive);
    assert!(conn.handle_input(NOW, b"bad\r\n\r\n").is_err());
    let (got, next) = answer(&mut conn, &head(400, b"", BodyLength::Known(3)), b"bad");
    assert_eq!(got, "HTTP/1.1 400 R\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbad");
    assert_eq!(next, Next::Close);
}

#[test]
fn an_unfinished_request_ends_the_connection() {
    let (mut conn, _) = server(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na");
    assert_eq!(answer(&mut conn, &head(413, b"", BodyLength::Known(0)), b"").1, Next::Close);
    // An End that was not fetched is no unfinished request.
    let mut conn = ServerConn::new(Config::default(), NOW);
    let input = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    assert!(matches!(conn.handle_input(NOW, input), Ok((_, Some(Part::Head(_))))));
    assert_eq!(answer(&mut conn, &head(200, b"", BodyLength::Known(0)), b"").1, Next::KeepAlive);
    assert!(conn.is_idle());
    let mut rest =
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n".to_vec();
    assert_eq!(read(&mut conn, &mut rest), "head data end ", "the old End is gone");
}

#[test]
fn draining_says_so() {
    let (mut conn, _) = server(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    conn.close_after_response();
    let (got, next) = answer(&mut conn, &head(200, b"", BodyLength::Known(0)), b"");
    assert!(got.ends_with("connection: close\r\n\r\n"));
    assert_eq!(next, Next::Close);
}

/// RFC 9110 10.1.1 and 15.2.
#[test]
fn continue_and_interim_responses() {
    let ask = |version: &str| {
        format!(
            "POST / {version}\r\nHost: h\r\nConnection: keep-alive\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
    };
    let (mut conn, mut rest) = server(ask("HTTP/1.1").as_bytes());
    assert!(conn.wants_continue());
    let mut out = BytesMut::new();
    conn.send_head(&head(103, b"Link: l\r\nContent-Length: 3\r\n", BodyLength::None), &mut out).unwrap();
    assert!(conn.wants_continue(), "103 is not what it waits for");
    conn.send_head(&head(100, b"", BodyLength::None), &mut out).unwrap();
    assert!(!conn.wants_continue());
    assert_eq!(text(&out), "HTTP/1.1 103 R\r\nLink: l\r\n\r\nHTTP/1.1 100 R\r\n\r\n");
    rest.extend_from_slice(b"ab");
    assert_eq!(read(&mut conn, &mut rest), "data end ");
    assert_eq!(answer(&mut conn, &head(200, b"", BodyLength::Known(0)), b"").1, Next::KeepAlive);

    let (mut conn, mut rest) = server(ask("HTTP/1.1").as_bytes());
    rest.push(b'a');
    read(&mut conn, &mut rest);
    assert!(!conn.wants_continue(), "it does not wait");

    // Answered without a 100: whether the body follows cannot be known.
    let (mut conn, _) = server(ask("HTTP/1.1").as_bytes());
    let (got, next) = answer(&mut conn, &head(401, b"", BodyLength::Known(0)), b"");
    assert!(got.contains("connection: close"));
    assert_eq!(next, Next::Close);

    let (mut conn, _) = server(ask("HTTP/1.0").as_bytes());
    assert!(!conn.wants_continue());
    let mut out = BytesMut::new();
    conn.send_head(&head(100, b"", BodyLength::None), &mut out).unwrap();
    conn.send_head(&head(103, b"", BodyLength::None), &mut out).unwrap();
    assert!(out.is_empty(), "HTTP/1.0 knows no interim responses");
    assert!(!conn.response_begun());
}

/// RFC 9110 7.8.
#[test]
fn upgrades() {
    let ask = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: u\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
    let (mut conn, mut rest) = server(ask);
    assert!(!conn.wants_input() && rest.starts_with(b"GET /2"), "what follows may be another protocol");
    let mut out = BytesMut::new();
    conn.send_head(&head(101, b"Upgrade: u\r\nContent-Length: 3\r\n", BodyLength::None), &mut out).unwrap();
    assert_eq!(text(&out), "HTTP/1.1 101 R\r\nUpgrade: u\r\nconnection: upgrade\r\n\r\n");
    assert_eq!(read(&mut conn, &mut rest), "switched ");
    assert_eq!(conn.send_data(1, &mut out), Err(Refused::State));
    assert_eq!(conn.cut(), Next::Abort);
    assert!(rest.starts_with(b"GET /2"));

    let (mut conn, mut rest) = server(ask);
    assert_eq!(
        answer(&mut conn, &head(200, b"Upgrade: u\r\n", BodyLength::Known(0)), b"").1,
        Next::KeepAlive
    );
    assert_eq!(read(&mut conn, &mut rest), "head end ", "refused: HTTP goes on");
    let mut out = BytesMut::new();
    assert_eq!(
        conn.send_head(&head(101, b"", BodyLength::None), &mut out),
        Err(Refused::State),
        "not asked for"
    );

    let (mut conn, _) = server(ask);
    let (got, _) = answer(&mut conn, &head(426, b"Upgrade: v\r\n", BodyLength::Known(0)), b"");
    assert_eq!(got, "HTTP/1.1 426 R\r\nUpgrade: v\r\ncontent-length: 0\r\nconnection: upgrade\r\n\r\n");

    // The body of an upgrade request is HTTP, also when the 101 comes before its end.
    let mut start =
        b"POST / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: u\r\nContent-Length: 2\r\n\r\na"
            .to_vec();
    let mut conn = ServerConn::new(Config::default(), NOW);
    assert_eq!(read(&mut conn, &mut start), "head data ");
    conn.send_head(&head(101, b"Upgrade: u\r\n", BodyLength::None), &mut out).unwrap();
    let mut rest = b"braw".to_vec();
    assert_eq!(read(&mut conn, &mut rest), "data end switched ");
    assert_eq!(rest, b"raw");
}

/// RFC 9110 9.3.6.
#[test]
fn connect() {
    let ask = b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let (mut conn, mut rest) = server(ask);
    assert!(!conn.wants_input());
    let mut out = BytesMut::new();
    conn.send_head(&head(200, b"Content-Length: 3\r\n", BodyLength::Known(3)), &mut out).unwrap();
    assert_eq!(text(&out), "HTTP/1.1 200 R\r\n\r\n");
    assert_eq!(read(&mut conn, &mut rest), "switched ");

    // Data for a tunnel that was refused must not be read as a request.
    let (mut conn, mut rest) = server(ask);
    assert_eq!(answer(&mut conn, &head(403, b"", BodyLength::Known(0)), b"").1, Next::Close);
    assert_eq!(read(&mut conn, &mut rest), "");
}

#[test]
fn heads_that_may_not_be_written() {
    let mut out = BytesMut::new();
    let mut conn = ServerConn::new(Config::default(), NOW);
    assert_eq!(
        conn.send_head(&head(200, b"", BodyLength::None), &mut out),
        Err(Refused::State),
        "no request"
    );
    let (mut conn, _) = server(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(conn.send_head(&head(99, b"", BodyLength::None), &mut out), Err(Refused::State));
    assert_eq!(conn.send_head(&head(1000, b"", BodyLength::None), &mut out), Err(Refused::State));
    let split = ResponseHead { reason: b"OK\r\nX: y", ..head(200, b"", BodyLength::None) };
    assert_eq!(conn.send_head(&split, &mut out), Err(Refused::State));
    assert_eq!(conn.send_data(1, &mut out), Err(Refused::State));
    assert!(out.is_empty());
    conn.send_head(&head(200, b"", BodyLength::None), &mut out).unwrap();
    assert_eq!(
        conn.send_head(&head(200, b"", BodyLength::None), &mut out),
        Err(Refused::State),
        "one response"
    );
    assert_eq!(conn.send_head(&head(103, b"", BodyLength::None), &mut out), Err(Refused::State), "too late");
}

#[test]
fn deadlines() {
    let mut config = Config::default();
    config.head_timeout = Some(Duration::from_millis(10));
    config.idle_timeout = Some(Duration::from_millis(50));
    let request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

    // A fresh connection without a byte falls under the head deadline, and bytes do not move it.
    let mut conn = ServerConn::new(config.clone(), at(5));
    assert_eq!(conn.poll_timeout().map(|d| d.at), Some(at(15)));
    conn.handle_input(at(12), &request[..4]).unwrap();
    assert_eq!(conn.poll_timeout().map(|d| d.at), Some(at(15)));
    conn.handle_timeout(at(14));
    assert!(!conn.is_expired());
    conn.handle_timeout(at(15));
    assert!(conn.is_expired() && !conn.wants_input() && conn.poll_timeout().is_none());
    assert!(matches!(conn.handle_input(at(16), request), Ok((0, None))));
    let refused = conn.send_head(&head(408, b"", BodyLength::None), &mut BytesMut::new());
    assert_eq!(refused, Err(Refused::State), "it is closed silently");

    // None while a request is being read or answered; then the idle deadline, from the first call with a time.
    let mut conn = ServerConn::new(config.clone(), at(0));
    conn.handle_input(at(1), request).unwrap();
    assert_eq!(conn.poll_timeout(), None);
    conn.handle_timeout(at(1000));
    assert!(!conn.is_expired());
    assert_eq!(answer(&mut conn, &head(200, b"", BodyLength::Known(0)), b"").1, Next::KeepAlive);
    assert!(conn.poll_timeout().is_some_and(|d| d.at <= at(0)), "it asks for the time");
    conn.handle_timeout(at(2000));
    assert!(!conn.is_expired());
    assert_eq!(conn.poll_timeout().map(|d| d.at), Some(at(2050)));
    // The first byte of the next request starts the head deadline.
    conn.handle_input(at(2040), &request[..1]).unwrap();
    assert_eq!(conn.poll_timeout().map(|d| d.at), Some(at(2050)));
    conn.handle_input(at(2049), request).unwrap();
    assert_eq!(answer(&mut conn, &head(200, b"", BodyLength::Known(0)), b"").1, Next::KeepAlive);
    conn.handle_input(at(3000), b"").unwrap();
    conn.handle_timeout(at(3050));
    assert!(conn.is_expired());

    // A pipelined request that is cut short has its own head deadline.
    let mut conn = ServerConn::new(config, at(0));
    conn.handle_input(at(1), request).unwrap();
    assert_eq!(answer(&mut conn, &head(200, b"", BodyLength::Known(0)), b"").1, Next::KeepAlive);
    conn.handle_input(at(100), b"GET").unwrap();
    assert_eq!(conn.poll_timeout().map(|d| d.at), Some(at(110)));
}

#[test]
fn a_client_connection_carries_one_exchange_after_another() {
    let mut conn = ClientConn::new(Config::default(), NOW);
    let mut out = BytesMut::new();
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    for _ in 0..3 {
        conn.send_head(&request(b"POST", BodyLength::Known(1), false), true, &mut out).unwrap();
        conn.send_data(1, &mut out).unwrap();
        conn.send_end(&mut out).unwrap();
        assert_eq!(conn.reuse(), Reuse::Discard, "not before the answer");
        let (n, _) = conn.handle_input(NOW, answer).unwrap();
        assert!(matches!(conn.handle_input(NOW, &answer[n..]), Ok((1, Some(Part::Data(_))))));
        assert!(matches!(conn.handle_input(NOW, b""), Ok((0, Some(Part::End)))));
        assert_eq!(conn.reuse(), Reuse::Reuse);
    }
    // An early answer leaves a request that is not complete.
    conn.send_head(&request(b"POST", BodyLength::Known(1), false), true, &mut out).unwrap();
    let (n, _) = conn.handle_input(NOW, answer).unwrap();
    conn.handle_input(NOW, &answer[n..]).unwrap();
    assert_eq!(conn.reuse(), Reuse::Discard);
    assert_eq!(
        conn.send_head(&request(b"GET", BodyLength::None, false), true, &mut out),
        Err(Refused::State)
    );
    // Once the rest of it is out, the connection is whole again.
    conn.send_data(1, &mut out).unwrap();
    conn.send_end(&mut out).unwrap();
    assert_eq!(conn.reuse(), Reuse::Reuse);
    // Nobody asked.
    let mut conn = ClientConn::new(Config::default(), NOW);
    assert!(conn.handle_input(NOW, answer).is_err());
    // The last one by request.
    let mut conn = ClientConn::new(Config::default(), NOW);
    conn.send_head(&request(b"GET", BodyLength::None, false), false, &mut out).unwrap();
    let (n, _) = conn.handle_input(NOW, answer).unwrap();
    conn.handle_input(NOW, &answer[n..]).unwrap();
    assert_eq!(conn.reuse(), Reuse::Discard);
}
