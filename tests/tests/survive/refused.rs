//! Servers that refuse: for good at the first connection, for a while later.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use piko_tests::process::{Agent, Signal};
use piko_tests::service::Service;

use super::common::{
    PATIENCE, exit_code, free_addr, launch_agent, own_ip, server, server_like, time_to_answer, wait_until,
};

/// A server that answers every request with one status, until it is dropped.
struct Refuser {
    addr: SocketAddr,
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Refuser {
    fn start(addr: SocketAddr, status: u16) -> Self {
        let listener = TcpListener::bind(addr).expect("the port is free");
        let addr = listener.local_addr().expect("its address");
        let (asked, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, over) = (asked.clone(), stop.clone());
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(stream) = stream {
                    // Before the answer: whoever has that has been counted.
                    count.fetch_add(1, Ordering::SeqCst);
                    refuse(stream, status);
                }
            }
        });
        Self { addr, asked, stop, thread: Some(thread) }
    }
}

impl Drop for Refuser {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads a head, answers, and lets the peer close first, so that the port is free at once.
fn refuse(mut stream: TcpStream, status: u16) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let body = r#"{"error":"not today"}"#;
    let answer = format!(
        "HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes());
    let _ = stream.read(&mut byte);
}

#[test]
fn a_fatal_status_at_the_first_connection_ends_the_agent() {
    let service = Service::start();
    for status in [401, 404] {
        let refuser = Refuser::start(SocketAddr::from((own_ip(), 0)), status);
        let url = format!("http://{}", refuser.addr);
        let mut agent = launch_agent(&url, "refused", service.addr(), &[]);
        assert_eq!(exit_code(&mut agent.process, PATIENCE), Some(1));
        let (_, record) = agent.process.wait_record(0, PATIENCE, "failed to run agent").expect("it says why");
        let error = record["error"].as_str().unwrap_or_default();
        assert!(error.contains("refused") && error.contains(&status.to_string()), "{record}");
        assert!(error.contains("not today"), "what the server said: {record}");
        assert_eq!(refuser.asked.load(Ordering::SeqCst), 1, "asked once");
    }
}

#[test]
fn a_fatal_status_later_is_waited_out() {
    let service = Service::start();
    let mut old = server(&[]);
    let mut agent = Agent::http(&old.connect_url(), "later", &service.addr().to_string(), &[]);
    old.process.signal(Signal::Kill).expect("the server runs");
    old.process.wait_exit(PATIENCE).expect("the server is dead");
    agent.wait_lost(0, PATIENCE).expect("lost");
    let refuser = Refuser::start(old.upstream, 401);
    wait_until(PATIENCE, "asked again and again", || refuser.asked.load(Ordering::SeqCst) >= 3);
    drop(refuser);
    assert_eq!(agent.process.try_wait().expect("a child"), None, "it lives");
    agent.process.wait_record(0, PATIENCE, "connect failed; retrying").expect("it says so");
    let new = server_like(&old);
    time_to_answer(&new, "later", PATIENCE);
}

#[test]
fn a_status_that_may_change_is_waited_out_from_the_start() {
    let service = Service::start();
    let refuser = Refuser::start(SocketAddr::from((own_ip(), 0)), 503);
    let mut agent = launch_agent(&format!("http://{}", refuser.addr), "busy", service.addr(), &[]);
    wait_until(PATIENCE, "asked again and again", || refuser.asked.load(Ordering::SeqCst) >= 3);
    assert_eq!(agent.process.try_wait().expect("a child"), None, "it lives");
}

#[test]
fn exit_on_failure_ends_an_agent_whose_server_does_not_come() {
    let service = Service::start();
    let url = format!("http://{}", free_addr());
    let args = ["--connect.exit-on-failure", "--connect.timeout", "1s"];
    let start = Instant::now();
    let mut agent = launch_agent(&url, "exits", service.addr(), &args);
    assert_eq!(exit_code(&mut agent.process, PATIENCE), Some(1));
    assert!(start.elapsed() >= Duration::from_millis(900), "it tries for a second");
    // Without the flag it would try for ever.
    let (_, record) = agent.process.wait_record(0, PATIENCE, "failed to run agent").expect("it says why");
    assert!(record["error"].as_str().is_some_and(|e| e.contains("connect")), "{record}");
}
