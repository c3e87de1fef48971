//! Writes the hand-made seeds of the corpora: `cargo test -p piko-fuzz-targets --test seeds -- --ignored`.
//! The ordinary test checks that they are there as written here.

use piko_tests::vectors::{load, unhex};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// File names with their contents.
type Seeds = BTreeMap<String, Vec<u8>>;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target)
}

/// The golden frames of Go's yamux, one by one and one after another, for both sides.
fn mux() -> Seeds {
    let mut seeds = Seeds::new();
    let script = [0, 0, 9, 5, 3, 9, 11, 0, 12, 0, 13, 40, 4, 0, 7, 1];
    let mut header = |name: String, flags: u8, wire: &[u8]| {
        let mut seed = vec![flags, 3, script.len() as u8];
        seed.extend(script);
        seed.extend(wire);
        seed.truncate(1024);
        seeds.insert(name, seed);
    };
    let mut all = Vec::new();
    for vector in load("yamux.json") {
        let name = vector["name"].as_str().expect("a name").to_owned();
        let wire = unhex(vector["hex"].as_str().expect("hex digits"));
        if wire.len() < 400 {
            header(
                format!("vector_{name}"),
                if wire.get(7).is_some_and(|id| id % 2 == 0) { 1 | 32 } else { 32 },
                &wire,
            );
            all.extend(wire);
        }
    }
    header("vectors_server".into(), 0, &all);
    header("vectors_client".into(), 1 | 4, &all);
    // Short form: SYN, a window full of data, more credit, FIN; and a flood into a small budget.
    let upload = [0x05, 1, 0, 0, 0x80, 1, 0x40, 0, 0x01, 1, 4, 0, 0x11, 1, 0, 0];
    header("short_upload".into(), 16, &upload);
    let flood: Vec<u8> = (0..20).flat_map(|n| [0x04, 2 * n + 1, 0x20, 0]).collect();
    header("short_flood".into(), 16 | 8, &flood);
    header("short_backlog".into(), 16 | 2, &flood);
    let pings: Vec<u8> = [[0x06, 0, 1, 1]; 17].concat();
    header("short_pings".into(), 16 | 64, &pings);
    header("short_away".into(), 16 | 32, &[0x03, 0, 0, 0, 0x05, 1, 0, 0, 0x03, 0, 0, 2]);
    header("short_resets".into(), 16 | 96, &[0x05, 1, 0, 0, 0x21, 1, 0, 0, 0x22, 2, 0, 0, 0x21, 4, 0, 0]);
    seeds
}

/// First byte and payload.
type Frame = (u8, &'static [u8]);

/// One frame, masked when `masked`.
fn frame(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mut out = vec![first];
    let bit = if masked { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..=125 => out.push(bit | len as u8),
        len => out.extend([bit | 126, (len >> 8) as u8, len as u8]),
    }
    let key = if masked { [1, 2, 3, 4] } else { [0; 4] };
    if masked {
        out.extend(key);
    }
    out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]));
    out
}

fn ws() -> Seeds {
    const LONG: &[u8] = &[b'x'; 300];
    let cases: [(&str, &[Frame]); 12] = [
        ("binary", &[(0x82, b"hello"), (0x82, b""), (0x82, LONG)]),
        ("fragments", &[(0x02, b"one"), (0x00, b""), (0x89, b"between"), (0x00, b"two"), (0x80, b"three")]),
        ("pings", &[(0x89, b""), (0x89, b"a"), (0x8a, b"b"), (0x82, b"data"), (0x89, &[b'p'; 125])]),
        ("close", &[(0x82, b"last"), (0x88, &[3, 0xe8]), (0x82, b"late")]),
        ("close_empty", &[(0x88, b"")]),
        ("close_reason", &[(0x88, b"\x0f\xa0good bye")]),
        ("close_bad_code", &[(0x88, &[3, 0xed])]),
        ("close_bad_utf8", &[(0x88, b"\x03\xe8\xff")]),
        ("close_short", &[(0x88, b"x")]),
        ("text", &[(0x82, b"a"), (0x81, b"text")]),
        ("stray_continuation", &[(0x80, b"a")]),
        ("reserved", &[(0xc2, b"a")]),
    ];
    let mut seeds = Seeds::new();
    for (name, frames) in cases {
        for (role, masked) in [(0u8, true), (1, false)] {
            let wire: Vec<u8> =
                frames.iter().flat_map(|(first, payload)| frame(*first, payload, masked)).collect();
            seeds.insert(format!("{name}_{role}"), [&[role, 3][..], &wire].concat());
        }
    }
    seeds.insert("long_header".into(), [&[1, 0, 0x82, 127, 0, 0, 0, 0, 0, 0, 0, 3][..], b"abc"].concat());
    seeds
}

fn requests() -> Seeds {
    let cases: [(&str, u8, &str); 24] = [
        ("get", 0, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        (
            "pipelined",
            0,
            "\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\nPOST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /c HTTP/1.1\r\nHost:h\r\nConnection: close\r\n\r\n",
        ),
        (
            "chunked",
            4,
            "PUT /x?y=z HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n10 \r\n0123456789abcdef\r\n0\r\nX: y\r\nHost: z\r\n\r\n",
        ),
        ("old", 0, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n"),
        ("old_unknown_length", 4, "GET / HTTP/1.0\r\n\r\n"),
        ("head", 4, "HEAD / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
        ("options", 0, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("absolute", 0, "GET http://h:80/a?b HTTP/1.1\r\nHost: h:80\r\n\r\n"),
        ("connect", 0, "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\nopaque"),
        (
            "upgrade",
            2,
            "GET /s HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nopaque",
        ),
        ("upgrade_refused", 0, "GET /s HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
        ("expect", 0, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok"),
        ("expect_other", 0, "POST / HTTP/1.1\r\nHost: h\r\nExpect: x\r\n\r\n"),
        (
            "both_lengths",
            0,
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("two_lengths", 0, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2, 3\r\n\r\n"),
        ("gzip", 0, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
        ("folded", 0, "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n"),
        ("bare_lf", 0, "GET / HTTP/1.1\nHost: h\n\n"),
        ("two_hosts", 0, "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n"),
        ("version", 0, "GET / HTTP/2.0\r\nHost: h\r\n\r\n"),
        ("other_protocol", 0, "SSH-2.0-OpenSSH_9\r\n"),
        ("version_and_folded", 0, "GET / HTTP/2.0\r\nHost: h\r\nA: b\r\n c\r\n"),
        ("many_fields", 1, "GET / HTTP/1.1\r\nHost: h\r\nA:\r\nB:\r\nC:\r\nD:\r\nE:\r\n\r\n"),
        ("odd_lines", 9, "get /~% HTTP/1.1\r\nhOsT:\th \r\nX:\t \r\nKeep-Alive: 5\r\nTE: trailers\r\n\r\n"),
    ];
    cases
        .into_iter()
        .map(|(name, flags, wire)| (name.into(), [&[flags, 3][..], wire.as_bytes()].concat()))
        .collect()
}

fn responses() -> Seeds {
    let cases: [(&str, u8, &str); 22] = [
        ("length", 0, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
        ("length_old", 16, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
        (
            "chunked",
            0,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3\r\nabc\r\n2;e\r\nde\r\n0\r\nX: y\r\n\r\n",
        ),
        ("chunked_old", 16, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        ("until_close", 0, "HTTP/1.0 200 OK\r\n\r\nabc"),
        ("until_close_old", 16, "HTTP/1.0 200 OK\r\n\r\nabc"),
        ("cut", 0, "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nabc"),
        ("cut_chunk", 16, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n30\r\nabc"),
        (
            "interim",
            0,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        ),
        ("head", 2, "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n"),
        ("connect", 4, "HTTP/1.1 200 OK\r\n\r\nopaque"),
        ("connect_refused", 4, "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"),
        (
            "upgrade",
            8,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\nopaque",
        ),
        ("upgrade_other", 8, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
        ("upgrade_required", 0, "HTTP/1.1 426 Upgrade Required\r\nUpgrade: a/1\r\nContent-Length: 0\r\n\r\n"),
        ("folded", 0, "HTTP/1.1 200 OK\r\nA: b\r\n\tc\r\n  d\r\nContent-Length: 1\r\n\r\nx"),
        (
            "spaced",
            0,
            "HTTP/1.1 200 OK\r\nX-A :a\r\nTransfer-Encoding\t : chunked\r\nConnection : close\r\n\r\n1\r\na\r\n0\r\nX : y\r\n\r\n",
        ),
        ("folded_name", 0, "HTTP/1.1 200 OK\r\nA : b\r\n c\r\nD\r\n : e\r\n\r\n"),
        ("bare_lf", 0, "HTTP/1.1 200\nContent-Length: 1\n\nx"),
        (
            "both_lengths",
            0,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("same_lengths", 6, "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\nContent-Length: 1\r\n\r\nx"),
        ("not_modified", 7, "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: \"a\"\r\n\r\nbehind"),
    ];
    cases
        .into_iter()
        .map(|(name, flags, wire)| (name.into(), [&[flags, 3][..], wire.as_bytes()].concat()))
        .collect()
}

/// The golden messages of Go's codec: datagrams one by one and one after another, and streams.
fn gossip() -> (Seeds, Seeds) {
    let (mut datagrams, mut streams) = (Seeds::new(), Seeds::new());
    let mut all: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    for vector in load("gossip.json") {
        let name = vector["name"].as_str().expect("a name").to_owned();
        let wire = unhex(vector["hex"].as_str().expect("hex digits"));
        if wire.len() > 1_000 || name.contains("_version_") && !name.contains("decode") {
            continue;
        }
        if name.contains("join_response") || name.contains("leave_response") {
            let role = if name.contains("join") { 2 } else { 3 };
            streams.insert(format!("vector_{name}"), [&[role, 3][..], &wire].concat());
            streams.insert(format!("vector_{name}_stranger"), [&[role | 4, 0][..], &wire].concat());
        } else if matches!(wire[..], [3 | 4, 0, ..]) {
            streams.insert(format!("vector_{name}"), [&[0, 5][..], &wire].concat());
        } else if matches!(wire[..], [1 | 2, 0, ..]) {
            for source in [0, 1] {
                let mut seed = vec![source];
                seed.extend((wire.len() as u16).to_be_bytes());
                seed.extend(&wire);
                let together = all.entry(source).or_default();
                if together.len() + seed.len() <= 1_000 {
                    together.extend(&seed);
                }
                if source == 0 || wire.len() < 60 {
                    datagrams.insert(format!("vector_{name}_{source}"), seed);
                }
            }
        }
    }
    for (source, seed) in all {
        datagrams.insert(format!("vectors_{source}"), seed);
    }
    streams.insert("nested".into(), [&[0, 7, 3, 0][..], &[0x91; 900]].concat());
    streams.insert("nils".into(), [&[0, 2, 3, 0, 0x80, 0xdc, 3, 0x84][..], &[0xc0; 901], &[0x90]].concat());
    streams.insert("long".into(), vec![0, 1, 4, 0, 0x80, 0xdb, 0xff, 0xff, 0xff, 0xff]);
    (datagrams, streams)
}

/// What a length of `bytes` bytes stands in front of.
fn vector(bytes: usize, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("short").to_be_bytes();
    [&length[4 - bytes..], content].concat()
}

/// ClientHellos in records of all sizes, and PROXY headers of both versions.
fn preface() -> Seeds {
    let mut seeds = Seeds::new();
    let hello = |extensions: &[u8]| {
        let suites = vector(2, &[0x13, 1, 0x13, 2]);
        let rest = [suites, vector(1, &[0]), vector(2, extensions)].concat();
        [&[1][..], &vector(3, &[&[3, 3][..], &[7; 32], &[0], &rest].concat())].concat()
    };
    let named =
        |name: &[u8]| [&[0, 0][..], &vector(2, &vector(2, &[&[0][..], &vector(2, name)].concat()))].concat();
    let records = |message: &[u8], size: usize| -> Vec<u8> {
        message.chunks(size).flat_map(|piece| [&[22, 3, 1][..], &vector(2, piece)].concat()).collect()
    };
    let message =
        hello(&[&[0, 43, 0, 3, 2, 3, 4][..], &named(b"db.example.com"), &[0, 21, 0, 1, 0]].concat());
    seeds.insert("hello".into(), records(&message, 4096));
    seeds.insert("hello_in_pieces".into(), records(&message, 9));
    seeds.insert("hello_and_more".into(), [&records(&message, 60)[..], b"\x17\x03\x03\0\x05hello"].concat());
    seeds.insert("hello_without_name".into(), records(&hello(&[]), 4096));
    seeds.insert("hello_two_names".into(), records(&hello(&[named(b"a.b"), named(b"c.d")].concat()), 4096));
    seeds.insert("hello_too_long".into(), b"\x16\x03\x01\x00\x04\x01\x00\x40\x01".to_vec());
    let start = b"\r\n\r\n\0\r\nQUIT\n";
    let v2 =
        |command: u8, family: u8, block: &[u8]| [&start[..], &[command, family], &vector(2, block)].concat();
    let v4 = [10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0x01, 0xbb];
    seeds.insert("v1_tcp4".into(), b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET".to_vec());
    seeds.insert("v1_tcp6".into(), b"PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 1 2\r\n".to_vec());
    seeds.insert("v1_unknown".into(), b"PROXY UNKNOWN whatever\r\n".to_vec());
    seeds.insert("v2_tcp4".into(), v2(0x21, 0x11, &v4));
    seeds.insert("v2_tlv".into(), v2(0x21, 0x11, &[&v4[..], &[4, 0, 3, 0, 0, 0]].concat()));
    seeds.insert("v2_tcp6".into(), v2(0x21, 0x21, &[&[0xfd; 32][..], &[0, 80, 1, 187]].concat()));
    seeds.insert("v2_unix".into(), v2(0x21, 0x31, &[b'/'; 216]));
    seeds.insert("v2_local".into(), v2(0x20, 0, &[]));
    seeds
}

/// Answers of both kinds of proxy, to all kinds of destinations, with and without a login.
fn via() -> Seeds {
    const NO_LOGIN: u8 = 0;
    const LOGIN: u8 = 2;
    let mut seeds = Seeds::new();
    let mut put = |name: &str, flags: u8, wire: &[u8]| {
        seeds.insert(name.into(), [&[flags, 2][..], wire].concat());
    };
    put("connect", NO_LOGIN, b"HTTP/1.1 200 Connection established\r\n\r\nopaque");
    put("connect_fields", LOGIN, b"HTTP/1.0 299 x\r\nContent-Length: 5\r\nA: b\r\n\r\nHTTP/1.1");
    put(
        "connect_interim",
        8,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nLink: y\r\n\r\nHTTP/1.1 200\r\n\r\n",
    );
    put("connect_bare_lf", 12, b"HTTP/1.1 204\n\n\x16\x03\x01");
    put("connect_login", NO_LOGIN, b"HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\n\r\nno");
    put("connect_refused", 4, b"HTTP/1.1 503 x\r\n\r\n");
    put("connect_cut", NO_LOGIN, b"HTTP/1.1 200 OK\r\nA: ");
    put("connect_other", NO_LOGIN, b"SSH-2.0-x\r\n");
    put("connect_status", NO_LOGIN, b"HTTP/1.1 2 0\r\n\r\n");
    let socks = |flags: u8| 1 | flags;
    let v4 = [5, 0, 0, 1, 10, 0, 0, 1, 0x1f, 0x41];
    put("socks", socks(NO_LOGIN), &[&[5, 0][..], &v4, b"opaque"].concat());
    put("socks_login", socks(LOGIN), &[&[5, 2, 1, 0][..], &v4, b"HTTP/1.1"].concat());
    put("socks_login_not_wanted", socks(LOGIN), &[&[5, 0][..], &v4].concat());
    put("socks_login_refused", socks(LOGIN), &[5, 2, 1, 1]);
    put("socks_login_answer", socks(LOGIN), &[5, 2, 5, 0]);
    put("socks_wants_login", socks(NO_LOGIN), &[5, 2]);
    put("socks_no_method", socks(8), &[5, 0xff]);
    put("socks_other_method", socks(8), &[5, 1]);
    put("socks_name", socks(12), &[&[5, 0, 5, 0, 0, 3, 4][..], b"host", &[0, 80]].concat());
    put("socks_long_name", socks(4), &[&[5, 0, 5, 0, 0, 3, 255][..], &[b'n'; 255], &[0, 80, 1]].concat());
    put("socks_v6", socks(8), &[&[5, 0, 5, 0, 0, 4][..], &[0xfd; 16], &[0, 80]].concat());
    put("socks_address", socks(NO_LOGIN), &[5, 0, 5, 0, 0, 2]);
    put("socks_refused", socks(NO_LOGIN), &[5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
    put("socks_four", socks(NO_LOGIN), &[0, 90, 0, 0]);
    seeds
}

fn all() -> [(&'static str, Seeds); 8] {
    let (datagrams, streams) = gossip();
    [
        ("gossip_datagram", datagrams),
        ("gossip_stream", streams),
        ("http1_request", requests()),
        ("http1_response", responses()),
        ("mux_input", mux()),
        ("preface", preface()),
        ("via", via()),
        ("ws_input", ws()),
    ]
}

/// A tool and no check: `cargo test -p piko-fuzz-targets --test seeds -- --ignored write` after the seeds were changed here. The
/// test below holds the files against them.
#[test]
#[ignore = "writes into the source tree, which running the tests must leave as it is"]
fn write() {
    for (target, seeds) in all() {
        for (name, seed) in seeds {
            let file = folder(target).join(format!("seed_{name}"));
            fs::write(&file, seed).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
    }
}

#[test]
fn the_seeds_are_as_written_here() {
    for (target, seeds) in all() {
        for (name, seed) in seeds {
            let file = folder(target).join(format!("seed_{name}"));
            let found = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert!(found == seed, "{} differs: write the seeds again", file.display());
        }
    }
}
