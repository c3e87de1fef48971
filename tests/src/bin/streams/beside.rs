//! A small request beside a download, when the tunnel is slow.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::http::Client;
use piko_tests::process::{Agent, Server};
use piko_tests::runs::Outcome;
use piko_tests::service::Service;

use crate::relay::{self, Link};
use crate::road::ENDPOINT;
use crate::{PATIENCE, check, mbit_per_s, quantile, text};

const FIELDS: [(&str, &str); 1] = [("x-piko-endpoint", ENDPOINT)];
const RATE: u64 = 10_000_000 / 8;
/// Of a small request beside the download.
const P50_MAX: Duration = Duration::from_millis(100);
/// Between two small requests.
const PERIOD: Duration = Duration::from_millis(150);

pub(crate) fn run(quick: bool) -> Outcome {
    let requests = if quick { 10 } else { 150 };
    // Some milliseconds' worth of queue, as in a modem that was built with care.
    let link = Link { delay: Duration::from_millis(5), rate: Some(RATE), queue: 16 << 10 };
    let service = Service::start();
    let server = Server::start(&["--proxy.access-log.disable"]);
    let upstream = relay::start(server.upstream, link).map_err(text)?;
    let addr = service.addr().to_string();
    let _agent = Agent::http(&format!("http://{upstream}"), ENDPOINT, &addr, &["--access-log.disable"]);
    let mut alone = small(&server, requests)?;
    let (over, read) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut beside, rate) = thread::scope(|scope| {
        let bulk = scope.spawn(|| download(&server, &over, &read));
        while read.load(Ordering::Relaxed) == 0 && !bulk.is_finished() {
            // The counter tells nobody of a change, and asking every 5 ms is no load.
            thread::sleep(Duration::from_millis(5));
        }
        let (start, from) = (Instant::now(), read.load(Ordering::Relaxed));
        let beside = small(&server, requests);
        let rate = mbit_per_s(read.load(Ordering::Relaxed) - from, start.elapsed());
        over.store(true, Ordering::Relaxed);
        bulk.join().map_err(|_| "the download panicked".to_owned())??;
        Ok::<_, String>((beside?, rate))
    })?;
    for (what, samples) in [("alone", &mut alone), ("beside the download", &mut beside)] {
        println!(
            "  a small request {what}: p50 {:?}, p99 {:?}",
            quantile(samples, 0.5),
            quantile(samples, 0.99)
        );
    }
    println!("  the download got {rate:.1} of 10 Mbit/s");
    let p50 = quantile(&mut beside, 0.5);
    check(quick || p50 <= P50_MAX, || format!("a small request took {p50:?} beside a download"))
}

fn client(server: &Server) -> Result<Client, String> {
    let mut client = Client::connect(server.proxy).map_err(text)?;
    client.set_patience(PATIENCE).map_err(text)?;
    Ok(client)
}

fn small(server: &Server, requests: usize) -> Result<Vec<Duration>, String> {
    let mut client = client(server)?;
    let mut samples = Vec::with_capacity(requests);
    for _ in 0..requests {
        let start = Instant::now();
        let response = client.get("/hello", &FIELDS).map_err(text)?;
        check(response.status() == 200, || format!("{response:?}"))?;
        let took = start.elapsed();
        samples.push(took);
        // A pace, not a wait: the link is to be the download's between two requests.
        thread::sleep(PERIOD.saturating_sub(took));
    }
    Ok(samples)
}

fn download(server: &Server, over: &AtomicBool, read: &AtomicU64) -> Outcome {
    let mut client = client(server)?;
    client.send_head("GET", &format!("/bytes?n={}", 1u64 << 40), &FIELDS).map_err(text)?;
    while !over.load(Ordering::Relaxed) {
        let got = client.read_some(64 << 10).map_err(text)?;
        check(!got.is_empty(), || "the download ended".to_owned())?;
        read.fetch_add(got.len() as u64, Ordering::Relaxed);
    }
    client.abort().map_err(text)
}
