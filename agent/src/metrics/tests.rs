use super::*;
use piko_driver::{Addr, ListenOptions, Listener as _, Tasks, accept};
use piko_runtime_smol::{Smol, block_on};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// A metrics port, and a client on a thread of its own; `client` is given the address and what ends the port.
fn with_port<T: Send + 'static>(client: impl FnOnce(SocketAddr, Shutdown) -> T + Send + 'static) -> T {
    let counted = Counted::default();
    let served = counted.http("e");
    served.begin();
    block_on(|rt: Smol| async move {
        let at = Addr::Ip(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = rt.listen(&at, ListenOptions::default()).await.expect("a free port");
        let addr = listener.local_addr().expect("TCP");
        let (quit, tasks) = (Shutdown::new(), Tasks::new());
        let metrics = Arc::new(Metrics::new(counted, Default::default()));
        let ended = quit.clone();
        rt.spawn(accept(rt, listener, quit.clone(), tasks.clone(), move |io, guard| {
            let (metrics, quit) = (metrics.clone(), ended.clone());
            async move {
                metrics.serve(&rt, io, &quit).await;
                drop(guard);
            }
        }));
        let (done, over) = (Shutdown::new(), quit.clone());
        let told = done.clone();
        let client = std::thread::spawn(move || {
            // Also when an assertion fails, or the port would be waited for.
            let result = catch_unwind(AssertUnwindSafe(|| client(addr, over)));
            told.trigger();
            result.unwrap_or_else(|cause| resume_unwind(cause))
        });
        done.wait().await;
        quit.trigger();
        tasks.idle().await;
        client.join().expect("the client's assertions")
    })
}

/// One response with a length: its head and its body.
fn response(stream: &mut TcpStream) -> (String, String) {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a whole head");
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).expect("text");
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.expect("a length")];
    stream.read_exact(&mut body).expect("a whole body");
    (head, String::from_utf8(body).expect("text"))
}

#[test]
fn one_connection_is_scraped_again_and_again() {
    with_port(|addr, _| {
        let mut stream = TcpStream::connect(addr).expect("listening");
        for path in ["/metrics", "/metrics?x=1", "/metrics"] {
            write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").expect("connected");
            let (head, body) = response(&mut stream);
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains(CONTENT_TYPE), "{head}");
            assert!(body.contains("piko_agent_requests_in_flight{endpoint=\"e\"} 1\n"), "{body}");
            assert!(body.contains("piko_build_info") && body.ends_with('\n'), "{body}");
        }
    });
}

#[test]
fn requests_may_come_in_pieces_and_in_heaps() {
    with_port(|addr, _| {
        let mut stream = TcpStream::connect(addr).expect("listening");
        stream.set_nodelay(true).expect("TCP");
        for b in b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" {
            stream.write_all(&[*b]).expect("connected");
        }
        assert!(response(&mut stream).0.starts_with("HTTP/1.1 200 "));
        let heap = "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
                    GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(heap.as_bytes()).expect("connected");
        let (head, body) = response(&mut stream);
        assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
        assert_eq!(body, "404 page not found");
        assert!(response(&mut stream).0.starts_with("HTTP/1.1 404 "));
        assert!(response(&mut stream).0.starts_with("HTTP/1.1 200 "));
        assert_eq!(stream.read(&mut [0]).expect("a clean end"), 0);
    });
}

#[test]
fn garbage_is_refused_and_the_connection_ended() {
    with_port(|addr, _| {
        let mut stream = TcpStream::connect(addr).expect("listening");
        stream.write_all(b"\x16\x03\x01 what is this\r\n\r\n").expect("connected");
        assert!(response(&mut stream).0.starts_with("HTTP/1.1 400 "));
        assert_eq!(stream.read(&mut [0]).expect("a clean end"), 0);
    });
}

#[test]
fn an_idle_connection_ends_with_the_agent() {
    with_port(|addr, quit| {
        let mut stream = TcpStream::connect(addr).expect("listening");
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").expect("connected");
        assert!(response(&mut stream).0.starts_with("HTTP/1.1 200 "));
        quit.trigger();
        assert_eq!(stream.read(&mut [0]).expect("a clean end"), 0);
    });
}
