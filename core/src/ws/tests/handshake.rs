use crate::http1::{BodyLength, Fields, RequestHead, Version};
use crate::rng::Rng;
use crate::ws::handshake::{
    Answer, Ask, Refusal, accept_key, judge_request, judge_response, write_request, write_response,
};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use bytes::BytesMut;

const KEY: [u8; 16] = *b"the sample nonce";
const ENCODED: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8; 28] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn head<'a>(method: &'a [u8], target: &'a [u8], block: &'a [u8]) -> RequestHead<'a> {
    RequestHead {
        method,
        target,
        version: Version::Http11,
        fields: Fields::from_block(block),
        body: BodyLength::None,
        expects_continue: false,
        upgrade: true,
    }
}

fn block(without: &str, more: &str) -> String {
    [
        "Host: piko.example:8001",
        "Connection: keep-alive, Upgrade",
        "Upgrade: WebSocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    .into_iter()
    .filter(|line| without.is_empty() || !line.starts_with(without))
    .chain(more.split_terminator('\n'))
    .map(|line| format!("{line}\r\n"))
    .collect()
}

fn judge(without: &str, more: &str) -> Result<[u8; 28], Refusal> {
    judge_request(&head(b"GET", b"/piko/v1/upstream/e1", block(without, more).as_bytes()))
}

#[test]
fn the_accept_value_of_the_rfc() {
    assert_eq!(accept_key(ENCODED), *ACCEPT);
}

#[test]
fn requests_are_accepted_or_refused() {
    assert_eq!(judge("", ""), Ok(*ACCEPT));
    assert_eq!(
        judge("", "Sec-WebSocket-Protocol: chat\nSec-WebSocket-Extensions: permessage-deflate"),
        Ok(*ACCEPT)
    );
    for (without, more) in [
        ("Connection", ""),
        ("Connection", "Connection: close"),
        ("Upgrade", ""),
        ("Upgrade", "Upgrade: websocket2"),
        ("Sec-WebSocket-Version", ""),
        ("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"),
        ("Sec-WebSocket-Key", ""),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key: c2hvcnQ="),
    ] {
        assert_eq!(judge(without, more), Err(Refusal::BadRequest), "-{without} +{more}");
    }
    let block = block("", "");
    let mut old = head(b"GET", b"/", block.as_bytes());
    old.version = Version::Http10;
    assert_eq!(judge_request(&old), Err(Refusal::BadRequest));
    assert_eq!(judge_request(&head(b"POST", b"/", block.as_bytes())), Err(Refusal::BadRequest));
    assert_eq!(judge_request(&head(b"get", b"/", block.as_bytes())), Err(Refusal::BadRequest));
}

#[test]
fn origins_are_compared_with_the_host_by_name_and_port() {
    for good in
        ["http://piko.example:8001", "https://PIKO.Example:8001", "http://u:p@piko.example:8001/path?q#f"]
    {
        assert_eq!(judge("", &format!("Origin: {good}")), Ok(*ACCEPT), "{good}");
    }
    for foreign in [
        "http://piko.example",
        "http://piko.example:80",
        "http://evil.example:8001",
        "null",
        "",
        "http://",
        "piko.example:8001",
    ] {
        assert_eq!(judge("", &format!("Origin: {foreign}")), Err(Refusal::ForeignOrigin), "{foreign}");
    }
    let block = block("", "Origin: http://other:1");
    assert_eq!(judge_request(&head(b"GET", b"http://other:1/p", block.as_bytes())), Ok(*ACCEPT));
    // An origin in the query makes no absolute target.
    let target = b"/p?u=http://other:1/";
    assert_eq!(judge_request(&head(b"GET", target, block.as_bytes())), Err(Refusal::ForeignOrigin));
}

#[test]
fn the_request_has_the_fields_of_a_go_agent() {
    let mut out = BytesMut::new();
    let fields: &[(&str, &[u8])] = &[("User-Agent", b"piko/1.0"), ("Authorization", b"Bearer TOK")];
    write_request(
        &Ask { host: b"127.0.0.1:8001", target: b"/piko/v1/upstream/e1", key: KEY, fields },
        &mut out,
    );
    assert_eq!(
        String::from_utf8(out.to_vec()).unwrap(),
        "GET /piko/v1/upstream/e1 HTTP/1.1\r\nHost: 127.0.0.1:8001\r\nUser-Agent: piko/1.0\r\n\
         Authorization: Bearer TOK\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n\r\n"
    );
}

#[test]
fn configured_values_cannot_break_out_of_their_line() {
    let mut out = BytesMut::new();
    let fields: &[(&str, &[u8])] =
        &[("A", b"x\r\nEvil: 1\0"), ("B\r\nEvil", b"2"), ("", b"3"), ("C d", b"4"), ("E", b"\tok \xe9")];
    write_request(
        &Ask { host: b"h\r\nEvil: 5", target: b"a b\r\n\xc3\xa9%20?x", key: KEY, fields },
        &mut out,
    );
    let text = String::from_utf8_lossy(&out).to_string();
    assert!(text.starts_with(
        "GET /a%20b%0D%0A%C3%A9%20?x HTTP/1.1\r\nHost: h  Evil: 5\r\nA: x  Evil: 1 \r\nE: \tok "
    ));
    assert!(!text.contains("\r\nEvil"));
    assert!(!text.contains("C d"));
}

fn answer(input: &[u8], eof: bool) -> Answer {
    judge_response(&KEY, input, eof, &mut |_| {})
}

#[test]
fn our_own_answer_is_accepted_with_its_fields_and_at_every_cut() {
    let mut out = BytesMut::new();
    write_response(ACCEPT, &[("x-piko-caps", b"v=1")], &mut out);
    let head_bytes = out.len();
    out.extend_from_slice(&[0x82, 0x00]);
    let mut shown: Vec<Vec<u8>> = vec![];
    let got = judge_response(&KEY, &out, false, &mut |fields| shown.push(fields.block().to_vec()));
    assert_eq!(got, Answer::Upgraded { head_bytes });
    let block = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                 x-piko-caps: v=1\r\n";
    assert_eq!(shown, [block.as_bytes()]);
    for cut in 0..head_bytes {
        assert_eq!(answer(&out[..cut], false), Answer::Partial, "cut at {cut}");
        assert!(matches!(answer(&out[..cut], true), Answer::Bad(_)), "ended at {cut}");
    }
}

#[test]
fn interim_answers_are_passed_over() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let mut out = BytesMut::from(interim);
    write_response(ACCEPT, &[], &mut out);
    let mut shown = 0;
    let got = judge_response(&KEY, &out, false, &mut |fields| {
        assert!(fields.block().starts_with(b"Upgrade: websocket\r\n"));
        shown += 1;
    });
    assert_eq!((got, shown), (Answer::Upgraded { head_bytes: out.len() }, 1));
}

#[test]
fn answers_that_are_none_are_bad() {
    let with = |from: &str, to: &str| {
        let mut out = BytesMut::new();
        write_response(ACCEPT, &[("X", b"y")], &mut out);
        let text = String::from_utf8(out.to_vec()).unwrap();
        assert!(text.contains(from));
        answer(text.replace(from, to).as_bytes(), false)
    };
    assert!(matches!(with("X: y", "X: z"), Answer::Upgraded { .. }));
    for (from, to) in [
        ("s3pP", "S3pP"),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Connection: Upgrade", "Connection: close"),
        ("Sec-WebSocket-Accept: ", "Accept: "),
        ("X: y", "Sec-WebSocket-Extensions: permessage-deflate"),
        ("X: y", "Sec-WebSocket-Protocol: chat"),
        ("X: y\r\n", "X: y\n"),
        ("X: y", "X y"),
        ("HTTP/1.1", "SSH-2.0"),
    ] {
        assert!(matches!(with(from, to), Answer::Bad(_)), "{from} -> {to}");
    }
    let endless = [b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'a'; 16 * 1024]].concat();
    assert!(matches!(answer(&endless, false), Answer::Bad(_)));
    assert_eq!(answer(&endless[..16 * 1024 - 1], false), Answer::Partial);
    let many = format!("HTTP/1.1 101 S\r\n{}\r\n", "a: b\r\n".repeat(101));
    assert!(matches!(answer(many.as_bytes(), false), Answer::Bad(_)));
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    assert!(matches!(answer(interim.as_bytes(), false), Answer::Bad(_)));
    assert!(matches!(answer(b"", true), Answer::Bad(_)));
}

fn refused(status: u16, message: &str) -> Answer {
    Answer::Refused { status, message: message.as_bytes().to_vec() }
}

#[test]
fn a_refusal_waits_for_its_message() {
    let text = "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json; charset=utf-8\r\n\
                Content-Length: 25\r\n\r\n{\"error\":\"expired token\"}";
    let head = text.find("{").unwrap();
    assert_eq!(answer(text.as_bytes(), false), refused(401, "expired token"));
    for cut in 0..head {
        assert_eq!(answer(&text.as_bytes()[..cut], false), Answer::Partial);
    }
    for cut in head..text.len() - 2 {
        assert_eq!(answer(&text.as_bytes()[..cut], false), Answer::Partial, "cut at {cut}");
        assert_eq!(answer(&text.as_bytes()[..cut], true), refused(401, ""), "ended at {cut}");
    }
}

#[test]
fn a_refusal_without_a_json_message_does_not_wait() {
    let head = "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 18\r\n\r\n";
    // Its first byte tells a page for a browser, which nobody wants to read here.
    assert_eq!(answer(head.as_bytes(), false), Answer::Partial);
    assert_eq!(answer(format!("{head}<").as_bytes(), false), refused(404, ""));
    assert_eq!(answer(b"HTTP/1.1 503 \r\n\r\n", false), refused(503, ""));
    let json = "HTTP/1.1 502 Bad\r\nContent-Type: Application/JSON\r\n";
    assert_eq!(answer(format!("{json}Content-Length: 0\r\n\r\n").as_bytes(), false), refused(502, ""));
    assert_eq!(answer(format!("{json}Content-Length: 2\r\n\r\n{{}}").as_bytes(), false), refused(502, ""));
    let chunked = format!("{json}Transfer-Encoding: chunked\r\n\r\nf\r\n{{\"error\":\"busy\"}}\r\n0\r\n\r\n");
    assert_eq!(answer(chunked.as_bytes(), false), refused(502, "busy"));
    let endless = format!("{json}\r\n{{\"error\":\"{}", "x".repeat(2000));
    assert_eq!(answer(endless.as_bytes(), false), refused(502, ""));
}

#[test]
fn a_verdict_on_damaged_answers_stays_when_more_bytes_come() {
    let mut good = BytesMut::new();
    write_response(ACCEPT, &[("x-piko-caps", b"v=1")], &mut good);
    let refusal =
        b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\n\r\n{\"error\":\"no \\u00e9\"}";
    let mut rng = Rng::new(11);
    let mut decided = [0; 3];
    for _ in 0..3000 {
        let mut bytes = if rng.below(2) == 0 { good.to_vec() } else { refusal.to_vec() };
        for _ in 0..rng.below(3) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        let mut verdict = Answer::Partial;
        for end in 0..=bytes.len() {
            let next = answer(&bytes[..end], false);
            assert!(verdict == Answer::Partial || verdict == next, "{}", bytes.escape_ascii());
            verdict = next;
        }
        match verdict {
            Answer::Bad(_) => decided[0] += 1,
            Answer::Refused { .. } => decided[1] += 1,
            Answer::Upgraded { .. } => decided[2] += 1,
            Answer::Partial => assert_ne!(answer(&bytes, true), Answer::Partial),
        }
    }
    assert!(decided.iter().all(|count| *count > 100), "{decided:?}");
}

/// A port that speaks TLS, and whatever answers in front of a server, say it in plain words.
#[test]
fn a_refusal_in_plain_words_is_told() {
    let sentence = "Client sent an HTTP request to an HTTPS server.";
    for (text, eof, wanted) in [
        (format!("HTTP/1.0 400 Bad Request\r\n\r\n{sentence}\n"), false, refused(400, sentence)),
        ("HTTP/1.0 400 Bad Request\r\n\r\n".into(), false, Answer::Partial),
        ("HTTP/1.0 400 Bad Request\r\n\r\n".into(), true, refused(400, "")),
        (
            "HTTP/1.1 404 N\r\nContent-Type: Text/Plain; charset=utf-8\r\nContent-Length: 9\r\n\r\nnot found"
                .into(),
            false,
            refused(404, "not found"),
        ),
        ("HTTP/1.1 404 N\r\nContent-Length: 9\r\n\r\nnot f".into(), false, Answer::Partial),
        ("HTTP/1.1 404 N\r\nContent-Length: 9\r\n\r\nnot f".into(), true, refused(404, "not f")),
        ("HTTP/1.1 404 N\r\nContent-Length: 3\r\n\r\nnot found".into(), false, refused(404, "not")),
        ("HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\nx".into(), false, refused(404, "")),
        ("HTTP/1.0 404 N\r\n\r\n \r\na \x1b[31mb\u{e9}\r\nc".into(), false, refused(404, "a [31mb")),
        (
            "HTTP/1.1 404 N\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwords\r\n".into(),
            false,
            refused(404, ""),
        ),
        ("HTTP/1.1 404 N\r\nContent-Type: text/html\r\n\r\n<html>".into(), false, refused(404, "")),
        (format!("HTTP/1.0 404 N\r\n\r\n{}", "x".repeat(5000)), false, refused(404, &"x".repeat(200))),
    ] {
        assert_eq!(answer(text.as_bytes(), eof), wanted, "{text}");
    }
}
