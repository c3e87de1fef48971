//! Many connections, many bytes, readers that stall.

use crate::common::{ENDPOINT, Way, WebSocket, body, connect, echo, echo_at_end};
use piko_tests::http::pattern;
use piko_tests::service::Service;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const MIB: usize = 1 << 20;

#[test]
fn two_thousand_connections_live_side_by_side() {
    const CONNECTIONS: usize = 2000;
    let service = echo();
    let way = Way::local(service.addr());
    let open = Arc::new(AtomicUsize::new(0));
    // WebSockets right at the server: a forwarder would need another 4,000 descriptors in this process's ulimit.
    let threads: Vec<_> = (0..20)
        .map(|_| {
            let (open, proxy) = (open.clone(), way.proxy);
            std::thread::spawn(move || {
                let mut all: Vec<_> = (0..CONNECTIONS / 20)
                    .map(|_| {
                        let mut client = WebSocket::open(proxy, ENDPOINT, &[]).expect("a connection");
                        // Heard back, so that the queue of the service's listener, which is short, is never full.
                        client.send(b"hello ").expect("sent");
                        assert_eq!(client.read_exactly(6), b"hello ");
                        open.fetch_add(1, Ordering::Relaxed);
                        client
                    })
                    .collect();
                while open.load(Ordering::Relaxed) < CONNECTIONS {
                    // All at once is the point; nothing tells when the others are there but their count.
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                for (n, client) in all.iter_mut().enumerate() {
                    client.send(n.to_string().as_bytes()).expect("sent");
                }
                for (n, mut client) in all.into_iter().enumerate() {
                    client.stream.shutdown(Shutdown::Write).expect("half closed");
                    let (bytes, _) = client.read_to_end();
                    assert_eq!(bytes, n.to_string().as_bytes());
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert_eq!(service.counts().connections as usize, CONNECTIONS);
}

/// In bounded memory: the programs hold windows, not what passes through.
#[test]
fn a_gibibyte_passes_whole_and_is_not_kept() {
    // Debug builds move some hundred MiB a second; a quarter of it shows the same there.
    const BYTES: usize = if cfg!(debug_assertions) { 256 * MIB } else { 1024 * MIB };
    let (tell, told) = std::sync::mpsc::channel();
    let service = Service::scripted(move |mut stream| {
        let (mut at, mut buf, mut want) = (0, vec![0; MIB], vec![0; MIB]);
        while let Ok(n @ 1..) = stream.read(&mut buf) {
            pattern(at, &mut want[..n]);
            if buf[..n] != want[..n] {
                break;
            }
            at += n as u64;
        }
        let _ = tell.send(at);
    });
    let way = Way::local(service.addr());
    let forward = way.forward();
    let mut client = connect(forward.addr);
    let (mut at, mut buf) = (0, vec![0; MIB]);
    let start = Instant::now();
    while at < BYTES as u64 {
        pattern(at, &mut buf);
        client.write_all(&buf).expect("sent");
        at += MIB as u64;
    }
    client.shutdown(Shutdown::Write).expect("half closed");
    let received = told.recv_timeout(3 * crate::common::PATIENCE).expect("the end");
    assert_eq!(received, BYTES as u64);
    println!("{} MiB/s", (BYTES / MIB) as f64 / start.elapsed().as_secs_f64());
    for process in [&way.servers[0].process, &way.agent.process, &forward.process] {
        let peak = process.memory().expect("it runs").rss_bytes;
        assert!(peak < 64 * MIB as u64, "{}: {peak} bytes", process.name());
    }
}

#[test]
fn a_reader_that_stalls_holds_up_nobody_else() {
    let service = Service::scripted(|mut stream| {
        // Sends without end to whoever asks for it, else echoes.
        let mut first = [0];
        if stream.read_exact(&mut first).is_err() {
            return;
        }
        if first == *b"!" {
            let flood = body(MIB);
            while stream.write_all(&flood).is_ok() {}
            return;
        }
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut buf) {
            if stream.write_all(&buf[..n]).is_err() {
                return;
            }
        }
    });
    let way = Way::local(service.addr());
    let forward = way.forward();
    let mut stalled: Vec<_> = (0..4).map(|_| connect(forward.addr)).collect();
    for client in &mut stalled {
        client.write_all(b"!").expect("sent");
        client.read_exact(&mut [0; 1000]).expect("the flood has begun");
    }
    let mut client = connect(forward.addr);
    client.write_all(b"e").expect("sent");
    for _ in 0..200 {
        client.write_all(b"ping").expect("sent");
        client.read_exact(&mut [0; 4]).expect("an echo beside four stalled readers");
    }
    // And they go on where they stopped.
    let mut more = vec![0; 4 * MIB];
    stalled[0].read_exact(&mut more).expect("the flood goes on");
    let whole = body(MIB);
    for (n, byte) in more.iter().enumerate() {
        assert_eq!(*byte, whole[(1000 + n) % MIB], "byte {n}");
    }
}

#[test]
fn many_clients_end_in_both_orders_at_once() {
    let service = echo_at_end();
    let way = Way::across_nodes(service.addr());
    let forward = way.forward();
    std::thread::scope(|scope| {
        for n in 0..32 {
            let addr = forward.addr;
            scope.spawn(move || {
                let mut client = connect(addr);
                let sent = body(10_000 * n);
                client.write_all(&sent).expect("sent");
                client.shutdown(Shutdown::Write).expect("half closed");
                let mut back = Vec::new();
                client.read_to_end(&mut back).expect("a clean end");
                assert!(back == sent, "{n}");
            });
        }
    });
}
