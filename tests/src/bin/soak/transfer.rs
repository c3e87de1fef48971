//! Large bodies in each framing and direction, with checksums, also towards receivers that stop reading.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use piko_tests::http::{Client, End, checksum_of, pattern};
use piko_tests::service::Service;

use crate::{FIELDS, Outcome, Setup, check, mib, text};

/// Bytes that may be under way between a sender and a receiver that does not read: windows, pipes, sockets.
const UNDER_WAY_MAX: u64 = 32 << 20;
/// A sender that moves nothing for so long has been stopped.
const STILL: Duration = Duration::from_millis(500);
/// Payload per write.
const BLOCK: usize = 64 * 1024;

pub(crate) fn run(quick: bool) -> Outcome {
    let n: u64 = if quick { 16 << 20 } else { 1 << 30 };
    let sum = checksum_of(n).value();
    let setup = Setup::start()?;
    for framing in ["length", "chunked", "close"] {
        let start = Instant::now();
        let target = format!("/bytes?n={n}&framing={framing}");
        let response = setup.client()?.get(&target, &FIELDS).map_err(text)?;
        judge(&format!("down, {framing}"), n, start);
        // A body that ends with its connection leaves the server in chunks.
        check(response.end == End::Complete, || format!("down, {framing}: {:?}", response.end))?;
        let whole = response.body.len == n && response.body.checksum.value() == sum;
        check(whole, || format!("down, {framing}: other bytes, {} of {n}", response.body.len))?;
    }
    for framing in ["length", "chunked"] {
        let start = Instant::now();
        let mut client = setup.client()?;
        upload(&mut client, framing, n)?;
        let response = client.read_response("POST");
        judge(&format!("up, {framing}"), n, start);
        let want = format!("{n} {sum:016x}\n");
        check(response.body.text() == want, || format!("up, {framing}: {response:?}"))?;
    }
    setup.judge_memory("transfers")?;
    drop(setup);
    stopped_client(n)?;
    stopped_service(n)
}

fn judge(what: &str, n: u64, start: Instant) {
    let rate = n as f64 / start.elapsed().as_secs_f64();
    println!("  {what}: {} at {}/s", mib(n), mib(rate as u64));
}

/// Sends `n` bytes of the pattern.
fn upload(client: &mut Client, framing: &str, n: u64) -> Outcome {
    let length = n.to_string();
    let mut fields = FIELDS.to_vec();
    fields.push(match framing {
        "chunked" => ("transfer-encoding", "chunked"),
        _ => ("content-length", &length),
    });
    client.send_head("POST", "/sum", &fields).map_err(text)?;
    let mut block = vec![0; BLOCK];
    let mut offset = 0;
    while offset < n {
        let len = (n - offset).min(BLOCK as u64) as usize;
        pattern(offset, &mut block[..len]);
        let sent = match framing {
            "chunked" => client.send_chunk(&block[..len]),
            _ => client.send(&block[..len]),
        };
        sent.map_err(|e| format!("up, {framing}: {e} after {offset} bytes"))?;
        offset += len as u64;
    }
    if framing == "chunked" {
        client.send_last_chunk(&[]).map_err(text)?;
    }
    Ok(())
}

/// The client asks for a large body and reads nothing; the service is stopped, not the programs filled.
fn stopped_client(n: u64) -> Outcome {
    let setup = Setup::start()?;
    let mut client = setup.client()?;
    client.send_head("GET", &format!("/bytes?n={n}&framing=length"), &FIELDS).map_err(text)?;
    setup.service.wait_counts(crate::PATIENCE, |c| c.body_out > 0).ok_or("the service sends nothing")?;
    let under_way = until_still(|| setup.service.counts().body_out);
    println!("  down, the client stopped: {} under way", mib(under_way));
    check(under_way <= UNDER_WAY_MAX.min(n), || format!("{under_way} bytes under way"))?;
    setup.judge_memory("down, stopped")?;
    let response = client.read_response("GET");
    let whole = response.end == End::Complete && response.body.checksum == checksum_of(n);
    check(whole, || format!("after the stop: {:?}, {} bytes", response.end, response.body.len))
}

/// A gate that a service waits at.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

/// The service reads the head of an upload and nothing more; the client is stopped.
fn stopped_service(n: u64) -> Outcome {
    let gate = Arc::new(Gate::default());
    let held = gate.clone();
    let service = Service::scripted(move |mut stream| {
        let mut byte = [0; 1];
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
            head.push(byte[0]);
        }
        if head.starts_with(b"GET ") {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        } else if let Ok(open) = held.open.lock() {
            // The end of the connection, as the answer, is as good as any.
            drop(held.changed.wait_while(open, |open| !*open));
        }
    });
    let setup = Setup::over(service)?;
    let sent = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let mut client = setup.client()?;
    client.set_patience(Duration::from_secs(2)).map_err(text)?;
    let (count, done) = (sent.clone(), over.clone());
    let sending = thread::spawn(move || {
        let length = n.to_string();
        let fields = [FIELDS[0], ("content-length", length.as_str())];
        let mut ok = client.send_head("POST", "/hold", &fields).is_ok();
        let block = vec![7; BLOCK];
        while ok && count.load(Ordering::SeqCst) < n {
            ok = client.send(&block).is_ok();
            count.fetch_add(BLOCK as u64, Ordering::SeqCst);
        }
        done.store(true, Ordering::SeqCst);
    });
    let under_way = until_still(|| sent.load(Ordering::SeqCst));
    println!("  up, the service stopped: {} under way", mib(under_way));
    let judged =
        check(under_way < n && under_way <= UNDER_WAY_MAX, || format!("{under_way} bytes under way"))
            .and_then(|()| setup.judge_memory("up, stopped"));
    if let Ok(mut open) = gate.open.lock() {
        *open = true;
    }
    gate.changed.notify_all();
    let _ = sending.join();
    judged
}

/// The value of a counter once it stands still.
fn until_still(counter: impl Fn() -> u64) -> u64 {
    let (mut last, mut since) = (counter(), Instant::now());
    while since.elapsed() < STILL {
        thread::sleep(Duration::from_millis(10));
        let now = counter();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}
