//! Peers that stop reading.

use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::http::{Checksum, Client, checksum_of, pattern};
use piko_tests::rig::{HOST, PATIENCE, Rig, agent_of};

use crate::hostile::{Idle, beside_load};

/// What each of them asks for, in bytes: more than all windows and socket buffers together.
const EACH: u64 = 32 << 20;

/// Fifty clients ask for much and read nothing: what they do not take stays at the service.
#[test]
fn fifty_readers_that_stopped_cost_no_memory() {
    beside_load(|rig| {
        let target = format!("/bytes?n={EACH}");
        let mut stalled: Vec<Client> = (0..50)
            .map(|_| {
                let mut client = rig.client();
                client.set_patience(PATIENCE).expect("an option");
                client.send_head("GET", &target, &[("host", HOST)]).expect("sent");
                client
            })
            .collect();
        // All are under way before anything is looked at.
        for client in &mut stalled {
            assert_eq!(client.read_head().expect("a head").status, 200);
        }
        // The others go on at full speed: a whole transfer of the same size passes them all.
        let response = rig.get(&target);
        assert_eq!((response.body.len, response.body.checksum), (EACH, checksum_of(EACH)));
        let sent = rig.service.counts().body_out;
        assert!(sent < 30 * EACH, "the service could send {sent} bytes: somebody holds them");
        // One of them wakes up and gets all of its bytes.
        let mut woken = stalled.swap_remove(20);
        let mut sum = Checksum::default();
        let mut left = EACH as usize;
        while left > 0 {
            let piece = woken.read_some(left).expect("more bytes");
            assert!(!piece.is_empty(), "cut with {left} bytes to go");
            sum.add(&piece);
            left -= piece.len();
        }
        assert_eq!(sum, checksum_of(EACH));
    });
}

/// What thirty resets take that have a wait each.
const WAITS_OF_THIRTY: Duration = Duration::from_secs(60);

/// Two hundred, which is more than the server may hold: the longest waiting ones are cut, and those who read wait for
/// that once.
#[test]
fn two_hundred_readers_that_stopped_hold_up_nobody_for_long() {
    beside_load(|rig| {
        let target = format!("/bytes?n={EACH}");
        let stalled: Vec<Client> = (0..200)
            .map(|_| {
                let mut client = rig.client();
                client.set_patience(PATIENCE).expect("an option");
                // What it does not read stays in the server rather than in the kernel.
                let small = socket2::SockRef::from(client.stream()).set_recv_buffer_size(4096);
                small.expect("an option");
                client.send_head("GET", &target, &[("host", HOST)]).expect("sent");
                client
            })
            .collect();
        // Somebody who reads, all the time until the tunnel has seen the worst. One reset for every wait of 2 s would
        // take a minute to get there, and hold up each request for as many of them as its bytes need.
        let (mut client, mut longest) = (rig.client(), Duration::ZERO);
        client.set_patience(PATIENCE).expect("an option");
        let begin = Instant::now();
        while resets(rig) < 30 {
            let cut = resets(rig);
            assert!(begin.elapsed() < WAITS_OF_THIRTY * 2 / 3, "{cut} of 200 readers that stopped were cut");
            let asked = Instant::now();
            let response = client.get("/bytes?n=40000", &[("host", HOST)]).expect("sent");
            assert_eq!((response.status(), response.body.checksum), (200, checksum_of(40_000)));
            longest = longest.max(asked.elapsed());
        }
        eprintln!("{} cut after {:?}; a request took {longest:?} at most", resets(rig), begin.elapsed());
        // One wait, a second one of somebody who stopped later, and what a machine makes of them that does other things.
        assert!(longest < WAITS_OF_THIRTY / 6, "{longest:?}");
        drop(stalled);
    });
}

/// How many streams the server has reset for their memory.
fn resets(rig: &Rig) -> u64 {
    let lines = rig.server.process.lines(0);
    let records = lines.iter().filter_map(piko_tests::process::Line::json);
    records.filter_map(|record| record["resets"].as_u64()).sum()
}

/// Uploads to a service that does not read.
#[test]
fn fifty_uploads_that_nobody_reads_cost_no_memory() {
    // The load needs a service that answers, so the deaf one has an agent of its own.
    beside_load(|rig| {
        let (hold, held) = mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let deaf = piko_tests::rig::scripted(move |_, _| {
            let _ = held.lock().expect("no panic").recv();
            Err(std::io::ErrorKind::NotConnected.into())
        });
        let url = rig.server.connect_url();
        let agent = piko_tests::process::Agent::http(&url, "deaf", &deaf.addr().to_string(), &[]);
        let idle = Idle::of(&agent.process);
        let mut block = vec![0; 64 * 1024];
        pattern(0, &mut block);
        let mut clients = Vec::new();
        for _ in 0..50 {
            let mut client = rig.client();
            client.set_patience(Duration::from_millis(50)).expect("an option");
            let length = EACH.to_string();
            client
                .send_head("POST", "/", &[("host", "deaf.test"), ("content-length", &length)])
                .expect("sent");
            // Until the whole way is full.
            while client.send(&block).is_ok() {}
            clients.push(client);
        }
        idle.check(&agent.process);
        drop(hold);
    });
}

/// Requests that wait for a service that says nothing. With 48 KiB for each they would be above the bound.
const WAITING: usize = 1_500;

/// Sends as many times `request` to a service that takes connections and is silent, and waits until all have come there.
fn wait_in_vain(rig: &Rig, request: &[u8]) {
    let service = TcpListener::bind("127.0.0.1:0").expect("a free port");
    // A dial that finds the queue of 128 full is tried again by the kernel after seconds.
    rustix::net::listen(&service, 4096).expect("a longer queue");
    let addr = service.local_addr().expect("bound");
    let (come, all) = mpsc::channel();
    let silent = thread::spawn(move || {
        let held: Vec<_> = service.incoming().take(WAITING).collect();
        come.send(held).expect("the test waits");
    });
    let agent = agent_of(&rig.server.connect_url(), &[format!("silent/{addr}")]);
    let idle = Idle::of(&agent);
    let clients: Vec<Client> = (0..WAITING)
        .map(|_| {
            let mut client = rig.client();
            client.send(request).expect("sent");
            client
        })
        .collect();
    let held = all.recv_timeout(PATIENCE).expect("all requests arrive");
    idle.check(&agent);
    drop((clients, held));
    silent.join().expect("no panic");
}

/// A copy for another try is a favour: where many would be kept, most requests go without.
#[test]
fn copies_of_requests_that_wait_are_few() {
    beside_load(|rig| {
        let head = "PUT / HTTP/1.1\r\nHost: silent.test\r\nContent-Length: 49152\r\n\r\n";
        wait_in_vain(rig, &[head.as_bytes(), &vec![b'x'; 48 * 1024]].concat());
    });
}

/// What is sent ahead stays with the client's kernel, all but a little.
#[test]
fn requests_ahead_of_one_that_waits_are_not_collected() {
    beside_load(|rig| {
        let one = "GET / HTTP/1.1\r\nHost: silent.test\r\n\r\n";
        wait_in_vain(rig, one.repeat(48 * 1024 / one.len()).as_bytes());
    });
}
