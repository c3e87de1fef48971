//! Peers that stop reading.

use piko_tests::http::{Checksum, Client, checksum_of, pattern};
use piko_tests::rig::{HOST, PATIENCE};

use crate::hostile::beside_load;

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

/// Uploads to a service that does not read.
#[test]
fn fifty_uploads_that_nobody_reads_cost_no_memory() {
    // The load needs a service that answers, so the deaf one has an agent of its own.
    beside_load(|rig| {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let deaf = piko_tests::rig::scripted(move |_, _| {
            let _ = held.lock().expect("no panic").recv();
            Err(std::io::ErrorKind::NotConnected.into())
        });
        let url = rig.server.connect_url();
        let agent = piko_tests::process::Agent::http(&url, "deaf", &deaf.addr().to_string(), &[]);
        let idle = crate::hostile::Idle::of(&agent.process);
        let mut block = vec![0; 64 * 1024];
        pattern(0, &mut block);
        let mut clients = Vec::new();
        for _ in 0..50 {
            let mut client = rig.client();
            client.set_patience(std::time::Duration::from_millis(50)).expect("an option");
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
